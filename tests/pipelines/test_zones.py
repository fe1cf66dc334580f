"""Moments by the clocks of whom they are about."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from pydantic import ValidationError

from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.zones import is_zone, local_time

SUMMER, WINTER = datetime(2026, 7, 1, 2, 30, tzinfo=UTC), datetime(2026, 1, 1, 2, 30, tzinfo=UTC)


def local(*rows: tuple[datetime, str | None], otherwise: str | None = None) -> list[datetime | None]:
    schema = {"at": pl.Datetime("us", "UTC"), "zone": pl.String}
    return local_time(pl.LazyFrame(list(rows), schema=schema, orient="row"), otherwise).collect()["local"].to_list()


def test_a_moment_is_told_by_the_clock_of_its_zone_in_summer_and_winter() -> None:
    told = local((SUMMER, "America/Chicago"), (WINTER, "America/Chicago"), (WINTER, "Asia/Kolkata"), (WINTER, "UTC"))
    assert told == [
        datetime(2026, 6, 30, 21, 30),
        datetime(2025, 12, 31, 20, 30),
        datetime(2026, 1, 1, 8, 0),
        datetime(2026, 1, 1, 2, 30),
    ]


@pytest.mark.parametrize("zone", [None, "", "Mars/Phobos", "../etc", "+02:00 (home)"])
def test_without_a_known_zone_the_hour_is_unknown_or_that_of_the_rule(zone: str | None) -> None:
    assert local((SUMMER, zone)) == [None]
    assert local((SUMMER, zone), otherwise="Europe/Berlin") == [datetime(2026, 7, 1, 4, 30)]
    assert local((SUMMER, zone), (SUMMER, "Asia/Tokyo"), otherwise="UTC") == [
        datetime(2026, 7, 1, 2, 30),
        datetime(2026, 7, 1, 11, 30),
    ]


def test_no_rows_are_no_rows() -> None:
    assert local() == [] and is_zone("Europe/Berlin")


def test_a_rule_file_names_a_zone_that_there_is() -> None:
    assert EnrichmentRules(customer_time_zone="Europe/Berlin").customer_time_zone == "Europe/Berlin"
    with pytest.raises(ValidationError, match="no IANA time zone"):
        EnrichmentRules(customer_time_zone="Berlin")
