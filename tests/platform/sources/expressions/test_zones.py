"""Times of places that each have a zone of their own, and instants that are asked for what a clock shows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from customer360.platform.sources.casting import fit
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import Mapping
from customer360.platform.sources.values import Reading
from customer360.platform.tables import Date, String, Table, Timestamp

WINTER, SUMMER = datetime(2026, 1, 10, 21, 0, tzinfo=UTC), datetime(2026, 7, 10, 21, 0, tzinfo=UTC)


def read(registries: None, expression: str, own: str | None = None, **columns: list[str | None]) -> list[Any]:
    class Till(Table, table="bronze.t_till", key=("TILL_ID",)):
        """One row per sale of a till."""

        TILL_ID = String(nullable=True)
        SOLD_AT = Timestamp(nullable=True)
        SOLD_ON = Date(nullable=True)

    height = len(next(iter(columns.values())))
    texts = {name: pl.Series(held, dtype=pl.String) for name, held in columns.items()}
    records = pl.DataFrame({POSITION: range(height), **texts})
    target = "SOLD_ON" if expression.startswith("DATE ") else "SOLD_AT"
    mapping = Mapping({target: expression.removeprefix("DATE ")})
    assert mapping.faults(Till, list(columns), records) == []
    found = fit(records, Till, mapping, Reading(timezone=own)).frame
    return found[target].to_list()


LOCAL = ["2026-01-10 16:00:00", "10.07.2026 14:00"]
PLACES = ["America/New_York", "America/Los_Angeles"]
ZONE_OF = "CASE place WHEN 'East' THEN 'America/New_York' WHEN 'West' THEN 'America/Los_Angeles' END"


@pytest.mark.parametrize("own", [None, "Europe/Berlin"])
@pytest.mark.parametrize(
    "expression",
    [
        "sold AT TIME ZONE zone",
        "timezone(zone, sold)",
        "(day || ' ' || clock) AT TIME ZONE zone",
        f"sold AT TIME ZONE {ZONE_OF}",
        "COALESCE(later AT TIME ZONE zone, sold AT TIME ZONE zone)",
        "(sold AT TIME ZONE zone) + INTERVAL 0 HOUR",
        "CASE WHEN sold AT TIME ZONE 'UTC' < '2026-06-01' THEN sold AT TIME ZONE zone ELSE sold AT TIME ZONE zone END",
    ],
)
def test_each_row_is_of_the_zone_that_it_names(registries: None, expression: str, own: str | None) -> None:
    columns: dict[str, list[str | None]] = {
        "sold": [*LOCAL],
        "day": [text.split(" ")[0] for text in LOCAL],
        "clock": [text.split(" ")[1] for text in LOCAL],
        "zone": [*PLACES],
        "place": ["East", "West"],
        "later": [None, None],
    }
    assert read(registries, expression, own, **columns) == [WINTER, SUMMER]


def test_a_text_with_an_offset_is_an_instant_whatever_the_zone(registries: None) -> None:
    sold: list[str | None] = ["2026-01-10T21:00:00Z", "2026-07-10T23:00:00+02:00", "2026-07-10 14:00:00", None]
    found = read(registries, "sold AT TIME ZONE 'America/Los_Angeles'", sold=sold)
    assert found == [WINTER, SUMMER, SUMMER, None]


def test_a_date_is_that_of_the_place(registries: None) -> None:
    sold: list[str | None] = ["2026-01-10T23:30:00Z", "2026-01-11 00:30:00"]
    for expression in (
        "DATE CAST(sold AT TIME ZONE 'Europe/Berlin' AS DATE)",
        "DATE sold AT TIME ZONE 'Europe/Berlin'",
    ):
        assert read(registries, expression, sold=sold) == [date(2026, 1, 11)] * 2


def test_what_names_no_place_or_no_time_is_refused_alone(registries: None) -> None:
    sold: list[str | None] = ["2026-01-10 16:00:00", "2026-01-10 16:00:00", "never"]
    zone: list[str | None] = ["America/New_York", "Eastern Time (US & Canada)", "America/New_York"]
    assert read(registries, "sold AT TIME ZONE zone", sold=sold, zone=zone) == [WINTER, None, None]
