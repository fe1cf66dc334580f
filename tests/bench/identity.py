"""Accuracy and time of identity resolution on data with truth, all at the committed rules, without labels:

`python tests/bench/identity.py [--data DIR] [--only NAME] [--scale RECORDS]`
"""

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl
import yaml
from conditions import conditions, measured
from people import households, retail

from customer360.models.identity import IdentityRules, Resolution, b_cubed, pairwise, resolve, standardize
from customer360.models.identity.evaluate import exact_share
from customer360.models.identity.mapping import PeopleMapping, people_records
from customer360.serve.people_files import read_table

ROOT = Path(__file__).resolve().parents[2]
RETAIL = {
    "unique_id": "unique_id",
    "columns": {
        "first_name": "first_name", "last_name": "surname", "email_address": "email", "phone_number": "phone",
        "date_of_birth": "dob", "address_line_1": "address", "city": "city", "state_code": "state", "zip_code": "zip",
    },
}  # fmt: skip
FEBRL = {
    "unique_id": "rec_id",
    "country": "AU",
    "identifiers": ["soc_sec_id"],
    "columns": {
        "first_name": "given_name", "last_name": "surname", "address_line_1": ["street_number", "address_1"],
        "city": "suburb", "zip_code": "postcode", "state_code": "state", "date_of_birth": "date_of_birth",
    },
}  # fmt: skip
FEBRL_BARE = FEBRL | {
    "identifiers": [],
    "columns": {name: column for name, column in FEBRL["columns"].items() if name != "date_of_birth"},  # type: ignore[attr-defined]
}
# As somebody would map it who says nothing of country, number or house.
FEBRL_PLAIN = {
    "unique_id": "rec_id",
    "columns": FEBRL["columns"] | {"address_line_1": "address_1"},  # type: ignore[operator]
}
HISTORICAL = {
    "unique_id": "unique_id",
    "country": "GB",
    "columns": {
        "first_name": "first_name", "last_name": "surname", "full_name": "full_name", "date_of_birth": "dob",
        "zip_code": "postcode_fake", "gender": "gender",
    },
}  # fmt: skip
FAKE = {
    "unique_id": "unique_id",
    "columns": {
        "first_name": "first_name", "last_name": "surname", "date_of_birth": "dob", "city": "city",
        "email_address": "email",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Files, their mapping, and the truth: a function from the raw rows to the entity of each."""

    files: tuple[str, ...]
    mapping: dict[str, Any]
    entity: Callable[[], pl.Expr] = field(default=lambda: pl.col("cluster"))


def _febrl_entity() -> pl.Expr:
    return pl.col("rec_id").str.strip_chars().str.extract(r"^rec-(\d+)-")


CASES = {
    "fake_1000": Case(("fake_1000.csv",), FAKE),
    "febrl1": Case(("febrl_dataset1.csv",), FEBRL, _febrl_entity),
    "febrl2": Case(("febrl_dataset2.csv",), FEBRL, _febrl_entity),
    "febrl3": Case(("febrl_dataset3.csv",), FEBRL, _febrl_entity),
    "febrl4": Case(("febrl_dataset4a.csv", "febrl_dataset4b.csv"), FEBRL, _febrl_entity),
    "febrl1 plain": Case(("febrl_dataset1.csv",), FEBRL_PLAIN, _febrl_entity),
    "febrl2 plain": Case(("febrl_dataset2.csv",), FEBRL_PLAIN, _febrl_entity),
    "febrl3 plain": Case(("febrl_dataset3.csv",), FEBRL_PLAIN, _febrl_entity),
    "febrl4 plain": Case(("febrl_dataset4a.csv", "febrl_dataset4b.csv"), FEBRL_PLAIN, _febrl_entity),
    "febrl3 bare": Case(("febrl_dataset3.csv",), FEBRL_BARE, _febrl_entity),
    "historical_50k": Case(("historical_50k.parquet",), HISTORICAL),
    "historical_50k names only": Case(
        ("historical_50k.parquet",),
        HISTORICAL | {"columns": {"full_name": "full_name", "date_of_birth": "dob", "zip_code": "postcode_fake"}},
    ),
    "retail_200k": Case(("retail_200k.parquet",), RETAIL, lambda: pl.col("entity_id")),
}


def load(name: str, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, PeopleMapping]:
    """Records, truth (record_id, entity_id) and mapping of a case."""
    case = CASES[name]
    files = {file: read_table(folder / file) for file in case.files}
    mapping = PeopleMapping.model_validate(case.mapping)
    rows = pl.concat([frame.rename({column: column.strip() for column in frame.columns}) for frame in files.values()])
    if name == "retail_200k":
        rows = pl.read_parquet(folder / "retail_200k_truth.parquet")
    truth = rows.select(record_id=pl.col(mapping.unique_id).cast(pl.String).str.strip_chars(), entity_id=case.entity())
    return people_records(files, mapping), truth, mapping


def generated(name: str, records: int) -> tuple[pl.DataFrame, pl.DataFrame, PeopleMapping]:
    """As `load`, of a generator."""
    rows = {"retail": retail, "households": households}[name](records)
    mapping = PeopleMapping.model_validate(RETAIL)
    truth = rows.select(record_id="unique_id", entity_id="entity_id")
    return people_records({name: rows.drop("entity_id")}, mapping), truth, mapping


def run(
    records: pl.DataFrame, mapping: PeopleMapping, rules: IdentityRules
) -> tuple[Resolution, dict[str, float], IdentityRules]:
    rules = mapping.applied_to(rules)
    start = perf_counter()
    standard = standardize(records, rules)
    seconds = {"standardize": perf_counter() - start}
    resolution = resolve(standard, rules)
    return resolution, seconds | resolution.seconds, rules


def measure(
    name: str, records: pl.DataFrame, truth: pl.DataFrame, mapping: PeopleMapping, rules: IdentityRules
) -> dict[str, object]:
    done = measured(lambda: run(records, mapping, rules))
    resolution, seconds, _ = done.result
    found = resolution.assignments.join(truth, on="record_id")
    pairs, cubed = pairwise(found), b_cubed(found)
    return {
        "data": name,
        "records": records.height,
        "edges": resolution.edges.height,
        "pair P": f"{pairs.precision:.4f}",
        "pair R": f"{pairs.recall:.4f}",
        "pair F1": f"{pairs.f1:.4f}",
        "B3 F1": f"{cubed.f1:.4f}",
        "exact": f"{exact_share(found):.4f}",
        "one person": resolution.model.diagnostics["vetoes"].get(
            "one person in spite of another given name", "not asked"
        ),
        "replaced": len(resolution.model.diagnostics["replaced"]),
        "phases s": " ".join(f"{taken:.1f}" for taken in seconds.values()),
        "total s": f"{sum(seconds.values()):.1f}",
        "cpu s": f"{done.cpu:.1f}",
        "peak GiB": f"{done.peak:.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "identity")
    parser.add_argument("--only", action="append", choices=[*CASES, "households"], help="cases; default: all")
    parser.add_argument("--scale", type=int, action="append", help="records of the retail generator instead")
    options = parser.parse_args()
    logging.getLogger("splink").setLevel(logging.ERROR)
    rules = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
    rows = []
    print(conditions("polars", "duckdb", "splink"))
    if options.scale:
        rows += [measure(f"retail {size:,}", *generated("retail", size), rules) for size in options.scale]
    else:
        for name in options.only or [*CASES, "households"]:
            data = generated(name, 200_000) if name == "households" else load(name, options.data)
            rows.append(measure(name, *data, rules))
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
