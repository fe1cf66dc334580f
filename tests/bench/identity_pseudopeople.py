"""Identity on the United States sample that pseudopeople ships: its census beside W-2 forms, 1040 forms, social
security and a second census, pair precision, recall and F1 at the rules as committed.

`python tests/bench/identity_pseudopeople.py --data FOLDER [--only 1040]`

A folder without the files is filled, for which the environment needs pseudopeople: `pip install pseudopeople`. It is no
dependency; an environment of its own can make the files: `python tests/bench/identity_pseudopeople.py --data FOLDER
--make`.
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

ROOT = Path(__file__).resolve().parents[2]
# File: generator, and its options.
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "census": ("generate_decennial_census", {"year": 2020, "seed": 3}),
    "second census": ("generate_decennial_census", {"year": 2020, "seed": 4}),
    "W-2": ("generate_taxes_w2_and_1099", {"year": 2020, "seed": 3}),
    "1040": ("generate_taxes_1040", {"year": 2020, "seed": 3}),
    "social security": ("generate_social_security", {"seed": 3}),
}
COLUMNS = {
    "first_name": "first_name", "last_name": "last_name", "date_of_birth": "date_of_birth", "city": "city",
    "address_line_1": ["street_number", "street_name", "unit_number"], "state_code": "state", "zip_code": "zipcode",
    "gender": "sex",
}  # fmt: skip
READ = [part for columns in COLUMNS.values() for part in ([columns] if isinstance(columns, str) else columns)]


def made(folder: Path) -> None:
    """The files that the folder lacks."""
    absent = [name for name in FILES if not (folder / f"{name}.csv").exists()]
    if not absent:
        return
    try:
        import pseudopeople
    except ImportError:
        raise SystemExit(f"{folder} lacks {', '.join(absent)}: pip install pseudopeople, and run this again") from None
    folder.mkdir(parents=True, exist_ok=True)
    for name in absent:
        generator, options = FILES[name]
        rows = getattr(pseudopeople, generator)(verbose=False, **options)
        rows.astype(str).where(rows.notna(), None).to_csv(folder / f"{name}.csv", index=False)


def read(folder: Path, name: str) -> "pl.DataFrame":
    """Records (unique_id, entity_id and `READ`), whose postal address is that of the mailbox where there is one."""
    import polars as pl

    rows = pl.read_csv(folder / f"{name}.csv", infer_schema_length=0)
    mailed = {f"mailing_address_{column}": column for column in READ if f"mailing_address_{column}" in rows.columns}
    rows = rows.rename(mailed).with_row_index("at")
    told = [pl.col(column) if column in rows.columns else pl.lit(None, pl.String).alias(column) for column in READ]
    found = rows.select(pl.concat_str(pl.lit(f"{name}-"), "at").alias("unique_id"), *told, entity_id="simulant_id")
    return found.with_columns(pl.when(pl.col(column) != "").then(pl.col(column)) for column in READ)


def measure(rows: "pl.DataFrame") -> str:
    import yaml

    from customer360.models.identity import IdentityRules, pairwise, resolve
    from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
    from customer360.models.identity.evidence.standardize import standardize

    mapping = PeopleMapping.model_validate({"unique_id": "unique_id", "columns": COLUMNS})
    rules = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text("utf-8")))
    own = mapping.applied_to(rules)
    found = resolve(standardize(people_records({"people": rows.drop("entity_id")}, mapping), own), own)
    groups = found.assignments.join(rows.select("entity_id", record_id="unique_id"), on="record_id")
    pairs, largest = pairwise(groups), groups["person_id"].value_counts()["count"].max()
    bits = found.model.deciding(own).decision.accepts_from
    scores = f"{pairs.precision:.3f} | {pairs.recall:.3f} | {pairs.f1:.3f}"
    return f"{rows.height:,} | {bits:.2f} | {scores} | {largest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=list(FILES)[1:], action="append", help="what stands beside the census")
    parser.add_argument("--make", action="store_true", help="only fill the folder")
    options = parser.parse_args()
    made(options.data)
    if options.make:
        return
    import polars as pl
    from conditions import conditions

    logging.getLogger("splink").setLevel(logging.ERROR)
    print(conditions("polars", "duckdb", "splink"))
    print("| census and | records | bits | P | R | F1 | largest person |\n" + "|---" * 7 + "|")
    for name in options.only or list(FILES)[1:]:
        rows = pl.concat([read(options.data, file) for file in ("census", name)])
        print(f"| {name} | {measure(rows)} |", flush=True)


if __name__ == "__main__":
    main()
