"""Organisations on public files with truth, at the committed rules and without labels, and plain Splink beside them:

`python tests/bench/identity_organisations.py --data FOLDER [--only NAME]`

FOLDER holds the files under the names of `FILES`, which says where each is published; those that are absent are left
out. Splink: names by Jaro-Winkler levels, phone, street, zip, birth date; blocked on any of them or the name's start,
trained by expectation maximisation, its own connected components, at the best of several thresholds by the truth.
"""

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import splink.comparison_library as cl
import yaml
from conditions import conditions
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

from customer360.models.files.people import read_table
from customer360.models.identity import IdentityRules, b_cubed, pairwise, resolve
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.evidence.standardize import standardize
from customer360.platform.errors import SourceError

ROOT = Path(__file__).resolve().parents[2]
SITES, APPLICANTS, NAMES = "csv_example_input_with_true_ids.csv", "patstat_input.csv", "patstat_reference.csv"
RESTAURANTS = "restaurants.csv"
SENZING = ("senzing_customers.csv", "senzing_reference.csv", "senzing_watchlist.csv")
FOREIGNERS = {1000: "data_1000.csv", 10000: "data_10000.csv"}
# Name of the file here -> repository and path on GitHub.
FILES = {
    SITES: "dedupeio/dedupe-examples csv_example/", APPLICANTS: "dedupeio/dedupe-examples patent_example/",
    NAMES: "dedupeio/dedupe-examples patent_example/", RESTAURANTS: "id, name, addr, city, phone, entity",
    **dict.fromkeys((*SENZING, "senzing_actual_truthset_key.csv"), "Senzing/truth-sets truthsets/demo/"),
    **dict.fromkeys(FOREIGNERS.values(), "ncn-foreigners/BlockingPy benchmark/"),
}  # fmt: skip
Loaded = tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]
FIRM = {"unique_id": "id", "entity": "organisation"}


def sites(folder: Path) -> Loaded:
    rows = _texts(folder / SITES).with_columns(id="Id")
    columns = {
        "organisation_name": "Site name", "address_line_1": "Address", "zip_code": "Zip", "phone_number": "Phone",
        "email_address": "Email Address", "website": "Website",
    }  # fmt: skip
    return rows, rows.select(record_id="id", entity_id="True Id"), FIRM | {"columns": columns}


def applicants(folder: Path) -> Loaded:
    rows = _texts(folder / APPLICANTS).join(_texts(folder / NAMES), on="person_id").with_columns(id="person_id")
    columns = {"organisation_name": "person_name"}
    return rows, rows.select(record_id="id", entity_id="leuven_id"), FIRM | {"columns": columns}


def restaurants(folder: Path) -> Loaded:
    rows = _texts(folder / RESTAURANTS)
    columns = {"organisation_name": "name", "address_line_1": "addr", "city": "city", "phone_number": "phone"}
    return rows, rows.select(record_id="id", entity_id="entity"), FIRM | {"columns": columns}


def places(load: Callable[[Path], Loaded]) -> Callable[[Path], Loaded]:
    """The same records as sites of their firms."""

    def loaded(folder: Path) -> Loaded:
        rows, truth, mapping = load(folder)
        return rows, truth, mapping | {"entity": "site"}

    return loaded


def senzing(folder: Path) -> Loaded:
    rows = pl.concat([_texts(folder / name) for name in SENZING], how="diagonal")
    key = _texts(folder / "senzing_actual_truthset_key.csv")
    of = pl.concat_str("DATA_SOURCE", "RECORD_ID", separator="/")
    columns = {
        "entity_type": "RECORD_TYPE", "organisation_name": "PRIMARY_NAME_ORG", "gender": "GENDER",
        "full_name": ["PRIMARY_NAME_FULL", "NATIVE_NAME_FULL"], "last_name": "PRIMARY_NAME_LAST",
        "first_name": ["PRIMARY_NAME_FIRST", "PRIMARY_NAME_MIDDLE"], "date_of_birth": "DATE_OF_BIRTH",
        "email_address": "EMAIL_ADDRESS", "address_line_1": ["ADDR_FULL", "ADDR_LINE1"], "city": "ADDR_CITY",
        "state_code": "ADDR_STATE", "zip_code": "ADDR_POSTAL_CODE", "country_code": "ADDR_COUNTRY",
        "phone_number": "PHONE_NUMBER",
    }  # fmt: skip
    mapping = {"unique_id": "id", "columns": columns}
    return rows.with_columns(id=of), key.select(record_id=of, entity_id="CLUSTER_ID"), mapping


def foreigners(records: int) -> Callable[[Path], Loaded]:
    def load(folder: Path) -> Loaded:
        rows = _texts(folder / FOREIGNERS[records]).with_columns(id="Unnamed: 0")
        columns = {
            "first_name": "imie", "last_name": "nazwisko", "full_name": ["imie", "imie2", "nazwisko"],
            "date_of_birth": "data_ur", "city": "gmina", "country_code": "kraj",
        }  # fmt: skip
        truth = rows.select(record_id="id", entity_id="true_id")
        return rows, truth, {"unique_id": "id", "columns": columns}

    return load


CASES: dict[str, Callable[[Path], Loaded]] = {
    "childcare sites": sites,
    "childcare sites, as sites": places(sites),
    "patent applicants, names alone": applicants,
    "restaurants": restaurants,
    "restaurants, as sites": places(restaurants),
    "Senzing truth set, people and firms, without ids": senzing,
    "foreigners 1,500": foreigners(1000),
    "foreigners 15,000": foreigners(10000),
}


def _texts(file: Path) -> pl.DataFrame:
    return read_table(file).cast(pl.String)


def by_splink(standard: pl.DataFrame) -> dict[float, pl.DataFrame]:
    """Clusters of plain Splink by match weight."""
    rows = standard.select(
        unique_id="record_id",
        name=_lower(standard, "organisation_name"), given="given_name_std", family="family_name_std",
        birth="dob_std", phone=_digits(standard), street="street_std", zip="zip_std",
    ).with_columns(start=pl.col("name").str.head(6))  # fmt: skip
    kinds = {
        "name": cl.JaroWinklerAtThresholds("name", [0.95, 0.88]).configure(term_frequency_adjustments=True),
        "given": cl.JaroWinklerAtThresholds("given", [0.95, 0.88]),
        "family": cl.JaroWinklerAtThresholds("family", [0.95, 0.88]),
        "birth": cl.LevenshteinAtThresholds("birth", 1), "phone": cl.ExactMatch("phone"),
        "street": cl.JaroWinklerAtThresholds("street", 0.92), "zip": cl.ExactMatch("zip"),
    }  # fmt: skip
    known = [column for column in rows.columns if rows[column].null_count() < rows.height]
    blocks = [column for column in ("phone", "street", "birth", "family", "given", "start") if column in known]
    api = DuckDBAPI()
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[kind for column, kind in kinds.items() if column in known],
        blocking_rules_to_generate_predictions=[block_on(column) for column in blocks],
    )
    records = api.register(rows.to_arrow(), dataset_display_name="records")
    linker = Linker(records, settings, log_level=logging.ERROR)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=7)
    for column in blocks:
        if column != "start" or len(known) < 5:
            linker.training.estimate_parameters_using_expectation_maximisation(block_on(column))
    edges = linker.inference.predict(threshold_match_weight=-4)
    found = {}
    for weight in (-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0):
        made = linker.clustering.cluster_pairwise_predictions_at_threshold(edges, threshold_match_weight=weight)
        frame = pl.DataFrame(pl.from_arrow(made.as_pyarrow_table()))
        found[weight] = frame.select(record_id="unique_id", cluster_key="cluster_id")
    return found


def _lower(standard: pl.DataFrame, name: str) -> pl.Expr:
    return pl.col(name).str.to_lowercase() if name in standard.columns else pl.lit(None, pl.String)


def _digits(standard: pl.DataFrame) -> pl.Expr:
    if "phone_number" not in standard.columns:
        return pl.lit(None, pl.String)
    digits = pl.col("phone_number").str.replace_all(r"[^0-9]", "").str.tail(10)
    return pl.when(digits != "").then(digits)


def measure(name: str, loaded: Loaded, rules: IdentityRules, splink: bool) -> list[str]:
    rows, truth, stated = loaded
    mapping = PeopleMapping.model_validate(stated)
    own = mapping.applied_to(rules)
    standard = standardize(people_records({name: rows}, mapping), own)
    start = time.perf_counter()
    made = resolve(standard, own)
    taken = time.perf_counter() - start
    lines = [_line(name, "here", made.assignments.join(truth, on="record_id"), f"{taken:.1f}")]
    if splink:
        try:
            found = {w: c.join(truth, on="record_id") for w, c in by_splink(standard).items()}
            best = max(found, key=lambda weight: pairwise(found[weight]).f1)
            lines.append(_line(name, f"Splink, best at {best:g} bits", found[best], "-"))
        except ValueError as fault:
            lines.append(f"| {name} | Splink | {type(fault).__name__}: {str(fault).splitlines()[0][:80]} |")
    return lines


def _line(name: str, way: str, found: pl.DataFrame, seconds: str) -> str:
    pairs, cubed = pairwise(found), b_cubed(found)
    told = (f"{value:.3f}" for value in (pairs.precision, pairs.recall, pairs.f1, cubed.f1))
    return f"| {name} | {found.height:,} | {way} | {' | '.join(told)} | {seconds} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=list(CASES))
    parser.add_argument("--no-splink", action="store_true")
    options = parser.parse_args()
    logging.getLogger("splink").setLevel(logging.ERROR)
    rules = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
    print(conditions("polars", "duckdb", "splink"))
    print("| data | records | way | pair P | pair R | pair F1 | B3 F1 | seconds |\n|---|---|---|---|---|---|---|---|")
    for name in options.only or CASES:
        try:
            loaded = CASES[name](options.data)
        except (SourceError, pl.exceptions.PolarsError) as absent:
            print(f"| {name} | {str(absent).splitlines()[0]} |")
            continue
        print("\n".join(measure(name, loaded, rules, not options.no_splink)), flush=True)


if __name__ == "__main__":
    main()
