"""Identity on files with few duplicates or none, and few columns: wrong pairs, and right ones found, at the rules as
committed.

`python tests/bench/identity_few.py [--records 5000] [--generator households] [--seed 41] [--only all] [--share 0.3]`

The people are those of a generator of `people`, by default the second one's households: one record each, and further
records of some. Beside what is found stands what the columns can tell at most: how many of the pairs that agree in all
of them, none missing, are one person.
"""

import argparse
import logging
from pathlib import Path

import polars as pl
import yaml
from conditions import conditions
from people import households, retail

from customer360.models.identity import IdentityRules, resolve
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.evidence.standardize import standardize
from customer360.models.identity.weighing.relatives import COMPARISON

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"first_name": "first_name", "last_name": "surname"}
PLACE = {"address_line_1": "address", "city": "city", "state_code": "state", "zip_code": "zip"}
COLUMNS = {
    "name and address": NAMES | PLACE,
    "name and birth date": NAMES | {"date_of_birth": "dob"},
    "name and e-mail": NAMES | {"email_address": "email"},
    "all": NAMES | PLACE | {"date_of_birth": "dob", "email_address": "email", "phone_number": "phone"},
}
GENERATORS = {"households": households, "retail": retail}
SHARES = (0.0, 0.001, 0.005, 0.01, 0.05, 0.3)
EQUAL = ("exact", "same street and place")  # levels of values that are the same


def population(records: int, share: float, generator: str = "households", seed: int = 41) -> pl.DataFrame:
    """One record a person of `records` people, and of `share` of them a further one."""
    rows = GENERATORS[generator](2 * records, seed).sort("entity_id", "unique_id")
    rows = rows.with_columns(place=pl.int_range(pl.len()).over("entity_id"))
    first = rows.filter(pl.col("place") == 0).head(records)
    again = rows.filter(pl.col("place") == 1).join(first, on="entity_id", how="semi").head(round(records * share))
    return pl.concat([first, again]).drop("place")


def pairs(groups: pl.DataFrame, by: list[str]) -> int:
    sizes = groups.group_by(by).len()["len"].cast(pl.Int64)
    return int((sizes * (sizes - 1) // 2).sum())


def agreeing(edges: pl.DataFrame, truth: pl.DataFrame) -> tuple[int, int]:
    """Scored pairs that agree in everything, and how many of them are one person."""
    levels = pl.col("evidence").list.eval(
        pl.element().struct.field("level").is_in(EQUAL) | (pl.element().struct.field("comparison") == COMPARISON)
    )
    pairs = edges.filter(pl.col("evidence").is_not_null()).filter(levels.list.all())
    for side in "lr":
        ends = truth.rename({"record_id": f"record_id_{side}", "entity_id": f"entity_{side}"})
        pairs = pairs.join(ends, on=f"record_id_{side}")
    return pairs.height, int((pairs["entity_l"] == pairs["entity_r"]).sum())


def measure(
    rows: pl.DataFrame, columns: dict[str, str], rules: IdentityRules
) -> tuple[int, int, int, float, tuple[int, int]]:
    """True pairs, pairs of one person by the resolution, how many of those are true, the bits they took, and
    `agreeing`."""
    mapping = PeopleMapping.model_validate({"unique_id": "unique_id", "columns": columns})
    own = mapping.applied_to(rules)
    made = resolve(standardize(people_records({"people": rows.drop("entity_id")}, mapping), own), own)
    truth = rows.select(record_id="unique_id", entity_id="entity_id")
    found = made.assignments.join(truth, on="record_id")
    counts = (pairs(found, by) for by in (["entity_id"], ["cluster_key"], ["cluster_key", "entity_id"]))
    return *counts, made.model.deciding(own).decision.accepts_from, agreeing(made.edges, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--generator", choices=list(GENERATORS), default="households")
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--only", choices=list(COLUMNS), action="append", help="columns; default: each of them")
    parser.add_argument("--share", type=float, action="append", help="shares of people with a second record")
    options = parser.parse_args()
    logging.getLogger("splink").setLevel(logging.ERROR)
    rules = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
    print(conditions("polars", "duckdb", "splink"))
    print("| columns | duplicates | bits | true pairs | wrong | right | precision | recall | agree in all: right |")
    print("|---" * 9 + "|")
    for name in options.only or COLUMNS:
        for share in options.share or SHARES:
            rows = population(options.records, share, options.generator, options.seed)
            true, found, right, bits, (equal, one) = measure(rows, COLUMNS[name], rules)
            precision = f"{right / found:.3f}" if found else "-"
            recall = f"{right / true:.3f}" if true else "-"
            counted = f"{bits:.2f} | {true} | {found - right} | {right}"
            print(f"| {name} | {share:.1%} | {counted} | {precision} | {recall} | {one} of {equal} |", flush=True)


if __name__ == "__main__":
    main()
