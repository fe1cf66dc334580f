"""Until when the data are complete: days that had ended, in the zone of their source, when their facts landed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.pipelines import last_complete_day_end
from customer360.platform import tables
from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake
from customer360.serve.compose import compose

AT = datetime.fromisoformat
TOKYO, LA = {"jp": "Asia/Tokyo"}, {"la": "America/Los_Angeles"}


@pytest.fixture(autouse=True)
def composed() -> None:
    compose()


def put(lake: Lake, table: str, rows: list[dict[str, Any]]) -> None:
    schema = tables.schema(tables.by_name(table))
    lake.ensure(tables.by_name(table))
    frame = pl.DataFrame([dict.fromkeys(schema) | row for row in rows], schema=schema)
    for name in {row.get("_source") for row in rows} if table.startswith("bronze") else {None}:
        part = frame.filter(pl.col("_source") == name) if name else frame
        folder = {"_source": name} if name else {"bucket": "0"}
        add = lake.write_file(table, part, folder)
        lake.replace(table, [add], scope={"_source": name} if name else {}, app=f"test-{name}", app_version=1)


def sold(lake: Lake, *facts: tuple[str, str, str], table: str = "bronze.transactions") -> None:
    """Facts (source, instant, landing), each of a subject of its own."""
    at = tables.spec(tables.by_name(table)).past[0]
    rows = [
        {"_source": source, at: AT(moment).astimezone(UTC), tables.LANDED: AT(landing).astimezone(UTC)}
        for source, moment, landing in facts
    ]
    put(lake, table, rows)
    if table == "bronze.transactions":
        days = [{"subject_id": str(n), "on": row[at].date()} for n, row in enumerate(rows)]
        put(lake, "silver.subject_days", days)


TILL_AT_NIGHT = [("till", f"2026-05-0{n}T12:00:00Z", f"2026-05-0{n + 1}T01:00:00Z") for n in range(1, 5)]


@pytest.mark.parametrize(
    ("facts", "zones", "expected"),
    [
        (TILL_AT_NIGHT, {}, "2026-05-05"),
        ([*TILL_AT_NIGHT, ("till", "2026-05-05T10:00:00Z", "2026-05-05T11:00:00Z")], {}, "2026-05-05"),
        ([*TILL_AT_NIGHT, ("web", "2026-05-04T10:00:00Z", "2026-05-04T11:00:00Z")], {}, "2026-05-04"),
        ([("till", "2026-05-04T10:00:00Z", "2026-11-28T11:00:00Z")], {}, "2026-05-05"),
        ([("till", "2026-05-04T10:00:00Z", "2026-05-04T11:00:00Z")], {}, "2026-05-05"),  # nothing came before it
        # Tokyo's 4 May ends at 15:00 UTC, before the UTC date does.
        ([*TILL_AT_NIGHT[:3], ("jp", "2026-05-04T10:00:00Z", "2026-05-04T15:30:00Z")], TOKYO, "2026-05-05"),
        ([*TILL_AT_NIGHT[:3], ("jp", "2026-05-04T10:00:00Z", "2026-05-04T15:30:00Z")], {}, "2026-05-04"),
        ([*TILL_AT_NIGHT[:3], ("jp", "2026-05-04T10:00:00Z", "2026-05-04T14:30:00Z")], TOKYO, "2026-05-04"),
        # An evening in Los Angeles lies on the next UTC date, which a file of after midnight there closes.
        ([*TILL_AT_NIGHT, ("la", "2026-05-05T04:00:00Z", "2026-05-05T07:30:00Z")], LA, "2026-05-06"),
        ([*TILL_AT_NIGHT, ("la", "2026-05-05T04:00:00Z", "2026-05-05T06:30:00Z")], LA, "2026-05-05"),
    ],
)  # fmt: skip
def test_a_day_counts_that_had_ended_where_it_was_sold(
    lake: Lake, facts: list[tuple[str, str, str]], zones: dict[str, str], expected: str
) -> None:
    sold(lake, *facts)
    assert str(last_complete_day_end(lake, zones)) == expected


def busy(until: int) -> list[tuple[str, str, str]]:
    return [
        ("till", f"2026-05-{day:02}T12:00:0{n % 10}Z", "2026-11-28T01:00:00Z")
        for day in range(1, until + 1)
        for n in range(30)
    ]


def test_a_quiet_day_counts_and_a_wrong_clock_does_not(lake: Lake) -> None:
    sold(lake, *busy(9), ("till", "2026-05-10T12:00:00Z", "2026-11-28T01:00:00Z"))
    assert last_complete_day_end(lake) == date(2026, 5, 11)
    sold(lake, *busy(9), ("till", "2026-10-10T12:00:00Z", "2026-11-28T01:00:00Z"))
    assert last_complete_day_end(lake) == date(2026, 5, 10)


def test_without_purchases_other_facts_say_how_far_the_data_go(lake: Lake) -> None:
    lake.ensure(tables.by_name("silver.subject_days"))
    with pytest.raises(LakeError, match="there is no day"):
        last_complete_day_end(lake)
    since = {"REGISTRATION_DATE": date(2020, 1, 2)}
    put(lake, "bronze.customers", [{"_source": "crm", tables.LANDED: AT("2026-06-03T08:00:00+00:00")} | since])
    assert last_complete_day_end(lake) == date(2026, 6, 3), "no fact at all: the day on which it landed"
    orders = [("shop", f"2026-05-0{n}T12:00:00Z", "2026-06-03T08:00:00Z") for n in (1, 4)]
    sold(lake, *orders, ("shop", "2026-12-24T12:00:00Z", "2026-06-03T08:00:00Z"), table="bronze.online_orders")
    assert last_complete_day_end(lake) == date(2026, 5, 5), "the order of December had not happened"


def test_a_correction_does_not_close_a_day(lake: Lake) -> None:
    noon = AT("2026-05-05T12:00:00+00:00")
    rows = [{"_source": "till", "TRANSACTION_DATE": noon, tables.LANDED: noon + timedelta(hours=1)}]
    put(lake, "bronze.transactions", [*rows, rows[0] | {tables.LANDED: noon + timedelta(days=2), "_replay_of": "x"}])
    put(lake, "silver.subject_days", [{"subject_id": "a", "on": noon.date() - timedelta(days=n)} for n in range(3)])
    assert last_complete_day_end(lake) == date(2026, 5, 5)
