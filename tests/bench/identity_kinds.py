"""Identity on kinds of homes and names of which it is plain who is one person and who is two, planted among generated
people, at the rules as committed: of each kind how many groups come out right.

`python tests/bench/identity_kinds.py [--records 5000] [--seed 1 --seed 2] [--groups 6]`
"""

import argparse
import logging
from collections import Counter
from pathlib import Path

import polars as pl
import yaml
from conditions import conditions
from kinds import COLUMNS, judged, town

from customer360.models.identity import IdentityRules, Resolution, resolve
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.evidence.standardize import standardize

ROOT = Path(__file__).resolve().parents[2]
NAMED = ("first_name", "last_name", "full_name", "email_address", "phone_number", "date_of_birth", "gender",
         "address_line_1", "city", "state_code", "zip_code")  # fmt: skip
MAPPING = PeopleMapping.model_validate({
    "unique_id": "unique_id", "columns": dict(zip(NAMED, COLUMNS, strict=True)),
})  # fmt: skip


def rules() -> IdentityRules:
    return IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text("utf-8")))


def resolved(rows: pl.DataFrame) -> Resolution:
    own = MAPPING.applied_to(rules())
    return resolve(standardize(people_records({"town": rows.select("unique_id", *COLUMNS)}, MAPPING), own), own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--seed", type=int, action="append", help="towns; default: 1 to 4")
    parser.add_argument("--groups", type=int, default=6, help="of each kind in a town")
    options = parser.parse_args()
    logging.getLogger("splink").setLevel(logging.ERROR)
    print(conditions("polars", "duckdb", "splink"))
    right: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for seed in options.seed or range(1, 5):
        rows = town(seed, options.records, options.groups)
        for kind, (good, number) in judged(rows, resolved(rows).assignments).items():
            right[kind] += good
            every[kind] += number
    print("| kind | groups right, of all |\n|---|---|")
    for kind, number in every.items():
        print(f"| {kind} | {right[kind]} of {number} |")


if __name__ == "__main__":
    main()
