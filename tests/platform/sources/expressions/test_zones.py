"""Times of places that each have a zone of their own, and instants that are asked for what a clock shows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from customer360.platform.sources.casting import fit
from customer360.platform.sources.expressions import sql
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import Mapping
from customer360.platform.sources.values import Reading, zonenames
from customer360.platform.tables import Date, String, Table, Timestamp

WINTER, SUMMER = datetime(2026, 1, 10, 21, 0, tzinfo=UTC), datetime(2026, 7, 10, 21, 0, tzinfo=UTC)


def read(
    registries: None, expression: str, own: str | None = None, **columns: list[str | None] | pl.Series
) -> list[Any]:
    class Till(Table, table="bronze.t_till", key=("TILL_ID",)):
        """One row per sale of a till."""

        TILL_ID = String(nullable=True)
        SOLD_AT = Timestamp(nullable=True)
        SOLD_ON = Date(nullable=True)

    height = len(next(iter(columns.values())))
    texts = {n: c if isinstance(c, pl.Series) else pl.Series(c, dtype=pl.String) for n, c in columns.items()}
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


@pytest.mark.parametrize(
    "names",
    [
        ("Eastern Time (US & Canada)", "Pacific Time (US & Canada)"),
        ("Eastern Standard Time", "Pacific Standard Time"),
        ("(GMT-05:00) Eastern Time (US & Canada)", " pacific time (us & canada) "),
    ],
    ids=["of shops", "of Windows", "with their offset"],
)
def test_a_zone_may_have_the_name_that_a_program_shows(registries: None, names: tuple[str, str]) -> None:
    east, west = names
    columns: dict[str, list[str | None]] = {"sold": [*LOCAL], "zone": [east, west]}
    assert read(registries, "sold AT TIME ZONE zone", **columns) == [WINTER, SUMMER]
    chosen = f"sold AT TIME ZONE CASE WHEN sold LIKE '2026%' THEN '{east}' ELSE '{west}' END"
    assert read(registries, chosen, **columns) == [WINTER, SUMMER]
    assert read(registries, f"sold AT TIME ZONE '{east}'", sold=LOCAL[:1]) == [WINTER]


def test_every_name_of_a_zone_means_one_that_can_be_asked() -> None:
    shown = pl.DataFrame({"z": list(zonenames.PLACES), "clock": [datetime(2026, 7, 10, 12)] * len(zonenames.PLACES)})
    found = (
        sql.select(shown, {"v": "timezone(place(z), clock)"})["v"]
        .dt.convert_time_zone("UTC")
        .dt.replace_time_zone(None)
    )
    wanted = [shown["clock"][0].replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for zone in zonenames.PLACES.values()]
    assert found.to_list() == [moment.replace(tzinfo=None) for moment in wanted]


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
    zone: list[str | None] = ["America/New_York", "Mare Tranquillitatis", "America/New_York"]
    assert read(registries, "sold AT TIME ZONE zone", sold=sold, zone=zone) == [WINTER, None, None]


def at(hour: int, minute: int = 0, day: int = 10, month: int = 7) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "sold", "expected"),
    [
        # an instant stays one where an instant is wanted, and is a clock of the place elsewhere
        ("sold AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'", "2026-07-10 14:00:00", at(14)),
        ("DATE sold AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'", "2026-07-10 23:00:00", date(2026, 7, 11)),
        ("DATE CAST(sold AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' AS DATE)", "2026-07-10 23:00",
         date(2026, 7, 11)),
        ("CAST(sold AT TIME ZONE 'Europe/Berlin' AS TIMESTAMPTZ)", "2026-07-10 14:00:00", at(12)),
        ("to_timestamp(epoch(sold AT TIME ZONE 'Europe/Berlin'))", "2026-07-10 14:00:00", at(12)),
        ("to_timestamp(date_part('epoch', sold AT TIME ZONE 'Europe/Berlin'))", "2026-07-10 14:00:00", at(12)),
        (
            "CASE WHEN sold AT TIME ZONE 'Europe/Berlin' = '2026-07-10 12:00:00Z' THEN '2026-01-01' END",
            "2026-07-10 14:00:00",
            at(0, day=1, month=1),
        ),
        (
            "TIMESTAMP '2026-07-10' + INTERVAL (hour(sold AT TIME ZONE 'Europe/Berlin')) HOUR",
            "2026-07-10T12:00:00Z",
            at(14),
        ),
        (
            "TIMESTAMP '2026-07-10' + to_minutes(date_diff('minute', TIMESTAMPTZ '2026-07-10 10:00:00Z', "
            "sold AT TIME ZONE 'Europe/Berlin'))",
            "2026-07-10 14:00:00",
            at(2),
        ),
        ("CAST(strftime(sold AT TIME ZONE 'Europe/Berlin', '%Y-%m-%d %H:%M') AS TIMESTAMP)", "2026-07-10T12:00Z",
         at(14)),
        ("DATE (sold AT TIME ZONE 'Europe/Berlin') - INTERVAL 4 HOUR", "2026-07-10T23:30:00Z", date(2026, 7, 10)),
        ("date_trunc('day', sold AT TIME ZONE 'Asia/Tokyo') AT TIME ZONE 'Asia/Tokyo'", "2026-07-10 14:00Z",
         at(15, 0, 9)),
        ("date_trunc('day', sold AT TIME ZONE 'Asia/Tokyo') AT TIME ZONE 'Asia/Tokyo'", "2026-07-10 14:00",
         at(15, 0, 9)),
        # a sum of a text without an offset is a clock, too
        ("(sold + INTERVAL 2 HOUR) AT TIME ZONE 'Europe/Berlin'", "2026-07-10 12:00:00", at(12)),
        ("(sold + INTERVAL 2 HOUR) AT TIME ZONE 'Europe/Berlin'", "2026-07-10", at(0)),
        ("(sold - INTERVAL 2 HOUR) AT TIME ZONE 'Europe/Berlin'", "2026-07-10T12:00:00Z", at(10)),
        # clocks that show a time twice mean the earlier; those that leave it out, the hour after
        ("sold AT TIME ZONE 'Europe/Berlin'", "2026-10-25 02:30:00", at(0, 30, 25, 10)),
        ("sold AT TIME ZONE 'Europe/Berlin'", "2026-10-25 03:30:00", at(2, 30, 25, 10)),
        ("sold AT TIME ZONE 'Europe/Berlin'", "2026-03-29 02:30:00", at(1, 30, 29, 3)),
        ("sold AT TIME ZONE 'Australia/Lord_Howe'", "2026-04-05 01:45:00", at(14, 45, 4, 4)),
    ],
)  # fmt: skip
def test_what_surrounds_it_decides(registries: None, expression: str, sold: str, expected: Any) -> None:
    assert read(registries, expression, sold=[sold]) == [expected]


@pytest.mark.parametrize("zone", ["UTC", None])
def test_typed_times_are_read_as_texts_are(registries: None, zone: str | None) -> None:
    typed = pl.Series([datetime(2026, 7, 10, 14)], dtype=pl.Datetime("us", zone))
    wanted = at(14) if zone else at(12)
    assert read(registries, "sold AT TIME ZONE 'Europe/Berlin'", sold=typed) == [wanted]
    late = pl.Series([datetime(2026, 7, 10, 23)], dtype=pl.Datetime("us", zone))
    assert read(registries, "DATE sold AT TIME ZONE 'Europe/Berlin'", sold=late) == [date(2026, 7, 11 if zone else 10)]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("sold AT TIME ZONE 'Europe/Berln'", "Europe/Berlin"),
        ("sold AT TIME ZONE CASE sold WHEN 'a' THEN 'Europe/Rome' ELSE 'Europe/Rom' END", "Europe/Rome"),
        ("CAST(sold AT TIME ZONE 'Europe/Berlin' AS TIMESTAMP)", "CAST(… AS TIMESTAMPTZ)"),
        ("CAST(sold AT TIME ZONE 'Europe/Berlin' AS VARCHAR)", "CAST(… AS TIMESTAMPTZ)"),
        ("date_trunc('day', sold AT TIME ZONE 'Europe/Berlin')", "CAST(… AS TIMESTAMPTZ)"),
        ("CASE WHEN sold AT TIME ZONE 'Europe/Berlin' > DATE '2026-01-01' THEN sold END", "CAST(… AS TIMESTAMPTZ)"),
        ("date_trunc('hour', sold) AT TIME ZONE 'Europe/Berlin'", "CAST(… AS TIMESTAMP)"),
    ],
)
def test_what_cannot_be_decided_is_a_fault(registries: None, expression: str, told: str) -> None:
    class Till(Table, table="bronze.t_till", key=("SOLD_AT",)):
        """One row per sale of a till."""

        SOLD_AT = Timestamp(nullable=True)

    (fault,) = Mapping({"SOLD_AT": expression}).faults(Till, ["sold"])
    assert fault.startswith("SOLD_AT: ") and told in fault and "\n" not in fault
