"""Times after their own landing: facts are refused, versions are put in their place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.platform import tables
from customer360.platform.quality.ahead import RULE
from customer360.platform.run.records import Current, current_records
from customer360.platform.tables import String, Table, Timestamp

DAY = timedelta(days=1)
LANDED = datetime(2026, 11, 1, tzinfo=UTC)  # batch 1; a day later each further one


@pytest.fixture
def sales(registries: None) -> type[Table]:
    class Sales(Table, table="bronze.t_sales", key=("ID",), version="CHANGED", past=("SOLD", "SENT")):
        """One row per sale."""

        ID = String(nullable=False)
        STATE = String()
        SOLD = Timestamp()
        SENT = Timestamp(nullable=True)
        CHANGED = Timestamp(nullable=True)

    return Sales


def judged(table: type[Table], *rows: tuple[int, dict[str, Any]], **options: Any) -> Current:
    full = [
        {"_source": "s", "_source_system": "A", "_seq": seq, "_file": f"{seq}.csv", "_position": i, "_ingested_at": LANDED + (seq - 1) * DAY, "ID": "1"} | row  # noqa: E501
        for i, (seq, row) in enumerate(rows, 1)
    ]  # fmt: skip
    frame = pl.DataFrame(full, schema=tables.schema(table))
    found, turned = (current_records(table, f, set(), **options) for f in (frame, frame.reverse()))
    assert found.rows.equals(turned.rows)
    counts = ("silver", "quarantined", "duplicates", "superseded")
    assert found.facts["bronze"] == found.rows.height + sum(found.facts[c] for c in counts[1:])
    return found


def sale(state: str, changed: datetime | None = None, sold: datetime = LANDED - DAY, **more: Any) -> dict[str, Any]:
    return {"STATE": state, "SOLD": sold, "CHANGED": changed, **more}


def test_a_fact_that_had_not_happened_when_it_landed_is_refused_with_its_reason(sales: type[Table]) -> None:
    found = judged(sales, (1, sale("till of 2027", sold=datetime(2027, 6, 15, tzinfo=UTC))))
    assert found.rows.is_empty()
    assert found.quarantined.select("rule", "column_name", "value").rows() == [
        (RULE, "SOLD", "2027-06-15 00:00:00.000000+00:00")
    ]


@pytest.mark.parametrize(("hours", "kept"), [(0, 1), (38, 1), (38.1, 0)])
def test_the_margin_covers_a_zone_that_nobody_named(sales: type[Table], hours: float, kept: int) -> None:
    row = sale("x", sold=LANDED + timedelta(hours=hours))
    assert judged(sales, (1, row)).rows.height == kept
    assert judged(sales, (1, row), margin=timedelta(hours=40)).rows.height == 1


def test_an_optional_time_ahead_costs_the_row_nothing(sales: type[Table]) -> None:
    found = judged(sales, (1, sale("sent", SENT=LANDED + 9 * DAY)))
    assert found.rows["SENT"].to_list() == [None]
    assert found.facts[f"nulled|SENT|{RULE}"] == 1


def test_the_same_time_is_fine_in_a_later_delivery(sales: type[Table]) -> None:
    sold = LANDED + 3 * DAY
    found = judged(sales, (1, sale("early", sold=sold)), (5, sale("late", sold=sold)))
    assert found.rows["STATE"].to_list() == ["late"]
    assert found.quarantined.is_empty(), "delivered again, and valid"


FAR = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("deliveries", "current"),
    [
        ([(1, "wrong clock", FAR), (2, "later", LANDED - 9 * DAY)], "later"),
        ([(1, "first", LANDED - 9 * DAY), (2, "wrong clock", FAR)], "wrong clock"),
        ([(1, "first", LANDED - 9 * DAY), (2, "wrong clock", FAR), (3, "third", LANDED - 8 * DAY)], "third"),
        ([(1, "new", LANDED - 2 * DAY), (2, "wrong clock", FAR), (3, "old", LANDED - 8 * DAY)], "wrong clock"),
        ([(1, "wrong clock", FAR), (2, "another", FAR + DAY)], "another"),
    ],
)
def test_a_version_ahead_is_as_new_as_what_came_before_it(
    sales: type[Table], deliveries: list[tuple[int, str, datetime]], current: str
) -> None:
    found = judged(sales, *((seq, sale(state, changed)) for seq, state, changed in deliveries))
    assert found.rows["STATE"].to_list() == [current]
    assert found.facts["redated|CHANGED"] == sum(changed >= FAR for _, _, changed in deliveries)


def test_a_version_ahead_of_which_nothing_came_before_has_no_date(sales: type[Table]) -> None:
    assert judged(sales, (1, sale("alone", FAR))).rows["CHANGED"].to_list() == [None]
