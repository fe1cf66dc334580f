"""Identity beside plain Splink on directories with errors: ten populations of 0.1 to 50 % duplicates, without number
and birth date, neither of the two told anything about them.

`python tests/bench/identity_errors.py [--records 4000] [--only 3] [--homes 0.2] [--seed 100]`

Splink's model is that of its tutorials: name comparisons, distances of street and postal code, blocking on two fields
at a time, clusters from a probability of .95.
"""

import argparse
import logging
from contextlib import suppress
from pathlib import Path

import polars as pl
import splink.comparison_library as cl
import yaml
from conditions import conditions
from misspelled import PROFILES, directory
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

from customer360.models.identity import IdentityRules, pairwise, resolve
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.evidence.standardize import standardize

ROOT = Path(__file__).resolve().parents[2]
SHARES = (0.001, 0.005, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
MAPPING = PeopleMapping.model_validate({
    "unique_id": "unique_id", "country": "AU",
    "columns": {
        "first_name": "given_name", "last_name": "surname", "address_line_1": ["street_number", "address_1"],
        "city": "suburb", "zip_code": "postcode", "state_code": "state",
    },
})  # fmt: skip
_MOST = 0.95  # the probability from which the tutorials cluster


def ours(rows: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    own = MAPPING.applied_to(rules)
    made = resolve(standardize(people_records({"people": rows.drop("entity_id")}, MAPPING), own), own)
    return made.assignments.select("record_id", "cluster_key")


def plain_splink(rows: pl.DataFrame) -> pl.DataFrame:
    rules = [
        block_on("given_name", "surname"), block_on("surname", "postcode"), block_on("given_name", "postcode"),
        block_on("address_1", "street_number"), block_on("surname", "address_1"), block_on("given_name", "address_1"),
        block_on("suburb", "street_number"),
    ]  # fmt: skip
    settings = SettingsCreator(
        link_type="dedupe_only",
        blocking_rules_to_generate_predictions=rules,
        comparisons=[
            cl.NameComparison("given_name").configure(term_frequency_adjustments=True),
            cl.NameComparison("surname").configure(term_frequency_adjustments=True),
            cl.LevenshteinAtThresholds("address_1", [1, 2]).configure(term_frequency_adjustments=True),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            cl.LevenshteinAtThresholds("postcode", [1, 2]),
            cl.LevenshteinAtThresholds("suburb", [1, 2]).configure(term_frequency_adjustments=True),
        ],
    )
    api = DuckDBAPI()
    linker = Linker(
        api.register(rows.drop("entity_id").to_arrow(), dataset_display_name="people"), settings, log_level="CRITICAL"
    )
    training = linker.training
    training.estimate_probability_two_random_records_match(
        [block_on("given_name", "surname", "postcode"), block_on("given_name", "surname", "address_1")], recall=0.6
    )
    training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in (block_on("given_name", "surname"), block_on("address_1", "street_number")):
        with suppress(ValueError):  # a share of nothing, which it refuses: its defaults stay for what the rule trains
            training.estimate_parameters_using_expectation_maximisation(rule)
    found = linker.inference.predict(threshold_match_probability=0.2)
    made = linker.clustering.cluster_pairwise_predictions_at_threshold(found, threshold_match_probability=_MOST)
    frame = pl.DataFrame(pl.from_arrow(made.as_pyarrow_table()))
    return frame.select(record_id="unique_id", cluster_key=pl.col("cluster_id").cast(pl.String))


def measure(rows: pl.DataFrame, clusters: pl.DataFrame) -> tuple[float, float, float]:
    """Precision, recall and F1 of pairs."""
    truth = rows.select(record_id="unique_id", entity_id="entity_id")
    found = pairwise(clusters.join(truth, on="record_id"))
    return found.precision, found.recall, found.f1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--only", type=int, action="append", help="number of a population, from 0")
    parser.add_argument("--homes", type=float, default=0.2, help="share who live with one of their surname")
    parser.add_argument("--seed", type=int, default=100, help="of the first population; the others count on")
    options = parser.parse_args()
    logging.getLogger("splink").setLevel(logging.CRITICAL)
    rules = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
    print(conditions("polars", "duckdb", "splink"))
    print("| population | errors | duplicates | ours P, R, F1 | plain Splink P, R, F1 |\n|---|---|---|---|---|")
    for place, share in enumerate(SHARES):
        if options.only and place not in options.only:
            continue
        profile = list(PROFILES)[place % len(PROFILES)]
        rows = directory(options.records, share, profile, options.seed + place, options.homes)
        figures = (measure(rows, ours(rows, rules)), measure(rows, plain_splink(rows)))
        shown = " | ".join(", ".join(f"{figure:.3f}" for figure in one) for one in figures)
        print(f"| {place} | {profile} | {share:.1%} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
