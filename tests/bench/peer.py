"""Plain Splink on the records that identity resolution is given, as its tutorials have it: a comparison of its library
for each column, blocking on two fields at a time, clusters from a probability of .95; told nothing of the data.
"""

from contextlib import suppress
from itertools import combinations

import polars as pl
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

_MOST = 0.95  # the probability from which the tutorials cluster
_TEXTS = (
    "first_name",
    "last_name",
    "email_address",
    "phone_number",
    "date_of_birth",
    "address_line_1",
    "city",
    "zip_code",
)
_COMPARED = {
    "first_name": cl.NameComparison("first_name").configure(term_frequency_adjustments=True),
    "last_name": cl.NameComparison("last_name").configure(term_frequency_adjustments=True),
    "email_address": cl.EmailComparison("email_address"),
    "phone_number": cl.LevenshteinAtThresholds("phone_number", [1, 2]),
    "date_of_birth": cl.DateOfBirthComparison("date_of_birth", input_is_string=True),
    "address_line_1": cl.LevenshteinAtThresholds("address_line_1", [1, 2]).configure(term_frequency_adjustments=True),
    "city": cl.LevenshteinAtThresholds("city", [1, 2]).configure(term_frequency_adjustments=True),
    "zip_code": cl.LevenshteinAtThresholds("zip_code", [1, 2]),
}


def plain_splink(records: pl.DataFrame) -> pl.DataFrame:
    """Clusters (record_id, cluster_key) of records as `people_records` has them; full names are taken apart at the
    first and the last space."""
    rows = _texts(records)
    names = [name for name in _TEXTS if name in rows.columns]
    blocks = [name for name in names if name != "city"]
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="record_id",
        comparisons=[_COMPARED[name] for name in names],
        blocking_rules_to_generate_predictions=[block_on(*pair) for pair in combinations(blocks, 2)],
    )
    linker = Linker(
        DuckDBAPI().register(rows.to_arrow(), dataset_display_name="people"), settings, log_level="CRITICAL"
    )
    training = linker.training
    strict = [block_on("first_name", "last_name", third) for third in blocks[2:4]]
    training.estimate_probability_two_random_records_match(strict, recall=0.6)
    training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in (block_on("first_name", "last_name"), block_on(*blocks[-2:])):
        with suppress(ValueError):  # a share of nothing, which it refuses: its defaults stay for what the rule trains
            training.estimate_parameters_using_expectation_maximisation(rule)
    found = linker.inference.predict(threshold_match_probability=0.2)
    made = linker.clustering.cluster_pairwise_predictions_at_threshold(found, threshold_match_probability=_MOST)
    frame = pl.DataFrame(pl.from_arrow(made.as_pyarrow_table()))
    return frame.select("record_id", cluster_key=pl.col("cluster_id").cast(pl.String))


def _texts(records: pl.DataFrame) -> pl.DataFrame:
    """The columns that hold something, lower case, nothing for what is empty."""
    if "full_name" in records.columns:
        whole = pl.col("full_name").str.strip_chars()
        apart = {"first_name": whole.str.extract(r"^(\S+)\s"), "last_name": whole.str.extract(r"\s(\S+)$")}
        known = (name for name in apart if name in records.columns)
        records = records.with_columns(**apart | {name: pl.coalesce(name, apart[name]) for name in known})
    texts = [
        pl.col(name).cast(pl.String).str.to_lowercase().str.strip_chars() for name in _TEXTS if name in records.columns
    ]
    rows = records.select("record_id", *(pl.when(text != "").then(text) for text in texts))
    return rows.select("record_id", *(name for name in rows.columns[1:] if rows[name].null_count() < rows.height))
