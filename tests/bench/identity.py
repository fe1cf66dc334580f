"""Accuracy and time of identity resolution on data with truth: `python tests/bench/identity.py [--data DIR]`."""

import argparse
import logging
import resource
from pathlib import Path
from time import perf_counter

import polars as pl
import yaml

from customer360.models.identity import IdentityRules, b_cubed, pairwise, resolve, standardize

ROOT = Path(__file__).resolve().parents[2]


def retail(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Records as silver.customer_records has them, and (record_id, entity_id)."""
    records = pl.read_parquet(folder / "retail_200k.parquet").rename(
        {
            "unique_id": "record_id",
            "surname": "last_name",
            "email": "email_address",
            "phone": "phone_number",
            "dob": "date_of_birth",
            "address": "address_line_1",
            "state": "state_code",
            "zip": "zip_code",
        }
    )
    truth = pl.read_parquet(folder / "retail_200k_truth.parquet").rename({"unique_id": "record_id"})
    return records, truth.select("record_id", "entity_id")


def febrl3(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """As `retail`; the column soc_sec_id is a further identifier."""
    raw = pl.read_csv(folder / "febrl_dataset3.csv", infer_schema=False)
    raw = raw.rename({name: name.strip() for name in raw.columns})
    raw = raw.with_columns(pl.all().str.strip_chars()).with_columns(pl.when(pl.all() != "").then(pl.all()))
    records = raw.select(
        "date_of_birth",
        "soc_sec_id",
        record_id="rec_id",
        first_name="given_name",
        last_name="surname",
        address_line_1=pl.concat_str("street_number", "address_1", separator=" ", ignore_nulls=True),
        city="suburb",
        zip_code="postcode",
        state_code="state",
        country_code=pl.lit("AU"),
    )
    truth = raw.select(record_id="rec_id", entity_id=pl.col("rec_id").str.extract(r"^rec-(\d+)-"))
    return records, truth


def measure(name: str, records: pl.DataFrame, truth: pl.DataFrame, rules: IdentityRules) -> dict[str, object]:
    start = perf_counter()
    standard = standardize(records, rules)
    seconds = {"standardize": perf_counter() - start}
    resolution = resolve(standard, rules)
    seconds |= resolution.seconds
    found = resolution.assignments.join(truth, on="record_id")
    pairs, cubed = pairwise(found), b_cubed(found)
    exact = found.group_by("entity_id").agg(pl.col("cluster_key").n_unique(), members=pl.len())
    sizes = found.group_by("cluster_key").agg(pl.col("entity_id").n_unique().alias("people"), pl.len())
    whole = sizes.filter(pl.col("people") == 1).join(found.unique("cluster_key"), on="cluster_key")
    whole = whole.join(exact, on="entity_id").filter(pl.col("len") == pl.col("members"))
    return {
        "data": name,
        "records": records.height,
        "edges": resolution.edges.height,
        **{phase: round(taken, 2) for phase, taken in seconds.items()},
        "total": round(sum(seconds.values()), 2),
        "pair P": round(pairs.precision, 4),
        "pair R": round(pairs.recall, 4),
        "pair F1": round(pairs.f1, 4),
        "B3 P": round(cubed.precision, 4),
        "B3 R": round(cubed.recall, 4),
        "B3 F1": round(cubed.f1, 4),
        "exact": round(whole.height / exact.height, 4),
        "replaced": len(resolution.model.diagnostics["replaced"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "identity")
    folder = parser.parse_args().data
    logging.getLogger("splink").setLevel(logging.ERROR)
    rules = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
    with_number = rules.blocking.model_copy(update={"identifiers": ("soc_sec_id",)})
    rows = [
        measure("retail_200k", *retail(folder), rules),
        measure("febrl3", *febrl3(folder), rules.model_copy(update={"blocking": with_number})),
        measure("febrl3, no number", *febrl3(folder), rules),
    ]
    table = pl.DataFrame(rows).transpose(include_header=True, header_name="", column_names=[r["data"] for r in rows])
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(table[1:])
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
