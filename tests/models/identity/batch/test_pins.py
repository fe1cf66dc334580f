"""What is pinned speaks of names that come later as a rebuild with them would."""

import polars as pl
import pytest

from customer360.models.identity import IdentityRules
from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.pins import evidence, pinned
from customer360.models.identity.batch.state import State
from customer360.models.identity.weighing.comparisons import borne

RULES = IdentityRules()
GIVEN = ("Anna", "Peter", "Laura", "Nina", "Oscar", "Paula")
FAMILY = ("Miller", "Ortega", "Novak", "Larsen", "Rossi", "Keller", "Duval")
HOME = {"address_line_1": "900 Cedar Lane", "city": "Delft", "zip_code": "19999", "phone_number": "4155559999"}


def standing(one: str, family: str) -> list[dict[str, str]]:
    """Ninety people, a sixth of whom have a second record, and one at home in Cedar Lane. No birth dates."""
    rows = [
        {
            "record_id": f"S{again}/{at:03}", "first_name": GIVEN[at % 6], "last_name": FAMILY[at % 7],
            "address_line_1": f"{at + 3} Oak Street", "city": "Delft", "zip_code": f"{10000 + at}",
            "phone_number": f"415555{1000 + at}", "email_address": f"m{at}x@mail{at % 7}.com",
        }
        for at in range(90)
        for again in range(2 if at % 6 == 0 else 1)
    ]  # fmt: skip
    return [*rows, HOME | {"record_id": "X/1", "first_name": one, "last_name": family, "email_address": None}]


def verdict(rows: list[dict[str, str]], batch: list[dict[str, str]]) -> tuple[bool, dict[str, float | None]]:
    """Whether X/1 and X/2 are one person, and what part of all records bears each's given name."""
    schema = dict.fromkeys(("record_id", "first_name", "last_name", "email_address", *HOME), pl.String)
    pins, known = pinned(pl.DataFrame(rows, schema=schema), RULES)
    known = known.with_row_index("record").cast({"record": pl.Int64})
    resolved = resolve_batch(State.empty(known.drop("record")), known, (), pins, RULES)
    if batch:
        more = evidence(pl.DataFrame(batch, schema=schema), pins, RULES)
        more = more.with_row_index("record", known.height).cast({"record": pl.Int64})
        resolved = resolve_batch(resolved.state, more, (), pins, RULES)
        known = pl.concat([known, more.select(known.columns)])
    persons = dict(resolved.clusters.iter_rows())
    two = known.filter(pl.col("record_id").is_in(["X/1", "X/2"])).sort("record_id")
    one, other = (persons.get(number, number) for number in two["record"])
    return one == other, dict(two.select("record_id", borne("given")).iter_rows())


@pytest.mark.parametrize(
    ("one", "other", "family"),
    [("千代子", "美代子", "佐藤"), ("伟", "娟", "王"), ("建国", "建军", "王")],
)
def test_a_name_that_comes_later_is_no_error_of_a_name_that_one_record_has(one: str, other: str, family: str) -> None:
    """Two of one home, of whom the second is the first of that name, in a batch as at once."""
    rows, second = standing(one, family), HOME | {"record_id": "X/2", "first_name": other, "last_name": family}
    at_once, together = verdict([*rows, second], [])
    as_batch, later = verdict(rows, [second])
    assert not at_once and not as_batch
    assert later["X/2"] == together["X/2"] == together["X/1"] == pytest.approx(1 / 107)


def test_what_an_error_makes_of_a_common_name_is_told_when_it_comes_later() -> None:
    rows, second = standing("Oscar", "Berg"), HOME | {"record_id": "X/2", "first_name": "Osca", "last_name": "Berg"}
    assert verdict([*rows, second], [])[0] and verdict(rows, [second])[0]
