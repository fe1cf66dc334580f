"""When commands are due: by the clock of a place, through its changes, and as other schedulers read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from customer360.platform.errors import ConfigError
from customer360.platform.schedules import Schedule, as_cron_jobs, as_crontab, due


def schedule(**keys: Any) -> Schedule:
    return Schedule.model_validate({"command": "run", **keys})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told(found: Any) -> list[str]:
    return [f"{moment:%m-%d %H:%M}" for moment in found]


def test_a_night_of_berlin_is_another_hour_in_summer() -> None:
    nightly = schedule(cron="0 3 * * *", timezone="Europe/Berlin")
    assert told(nightly.moments(at("2026-03-27"), at("2026-03-31"))) == [
        "03-27 02:00",
        "03-28 02:00",
        "03-29 01:00",
        "03-30 01:00",
    ]


def test_an_hour_that_is_left_out_comes_right_after_and_one_that_comes_twice_is_one() -> None:
    nightly = schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert told(nightly.moments(at("2026-03-28 12:00"), at("2026-03-29 12:00"))) == ["03-29 01:00"]
    assert told(nightly.moments(at("2026-10-24 12:00"), at("2026-10-25 12:00"))) == ["10-25 00:30"]


def test_intervals_are_of_the_clock_of_the_world() -> None:
    often = schedule(every_minutes=7)
    found = list(often.moments(at("2026-03-29"), at("2026-03-30")))
    assert len(found) == len(set(found)) and {b - a for a, b in pairwise(found)} == {timedelta(minutes=7)}
    assert list(often.moments(found[3], found[3])) == []


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [("all", (["01:00", "02:00", "03:00"], [])), ("last", (["03:00"], ["01:00", "02:00"])),
     ("none", ([], ["01:00", "02:00", "03:00"]))],
)  # fmt: skip
def test_what_passed_while_nobody_looked(catch_up: str, expected: tuple[list[str], list[str]]) -> None:
    hourly = schedule(cron="0 * * * *", catch_up=catch_up)
    chosen, passed = due(hourly, at("2026-05-01 00:00"), at("2026-05-01 03:30"))
    assert ([f"{m:%H:%M}" for m in chosen], [f"{m:%H:%M}" for m in passed]) == expected
    now = due(hourly, at("2026-05-01 03:00"), at("2026-05-01 04:00:30"))
    assert [f"{m:%H:%M}" for m in now[0]] == ["04:00"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "either cron or every_minutes"),
        ({"cron": "0 3 * *"}, "no cron expression"),
        ({"cron": "0 3 * * *", "every_minutes": 5}, "either cron or every_minutes"),
        ({"cron": "0 3 * * *", "timezone": "Berlin"}, "no IANA time zone"),
        ({"cron": "0 3 * * *", "command": "run 'x"}, "command: No closing quotation"),
        ({"cron": "0 0 30 2 *"}, "no cron expression"),  # no February has it
        ({"every_minutes": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_no_schedule_is_said(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as fault:
        schedule(**keys)
    assert said in str(fault.value)


def test_other_schedulers() -> None:
    named = {
        "nightly": schedule(cron="0 3 * * *", timezone="Europe/Berlin", description="all", timeout_minutes=90),
        "often": schedule(command="run --source web", every_minutes=5, catch_up="none"),
        "off": schedule(every_minutes=7, enabled=False),
    }
    table = as_crontab(named, "customer360", "/etc/c360.yaml")
    assert "CRON_TZ=Europe/Berlin\n0 3 * * * CUSTOMER360_CONFIG=/etc/c360.yaml customer360 run\n" in table
    assert "*/5 * * * * CUSTOMER360_CONFIG=/etc/c360.yaml customer360 run --source web\n" in table
    jobs = list(yaml.safe_load_all(as_cron_jobs(named, "shop/c360:1", "/etc/c360.yaml")))
    assert [job["spec"]["schedule"] for job in jobs] == ["0 3 * * *", "*/5 * * * *"]
    assert {job["spec"]["concurrencyPolicy"] for job in jobs} == {"Forbid"}
    assert jobs[0]["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 5400
    with pytest.raises(ConfigError, match="no interval of 7 minutes"):
        as_crontab({"odd": schedule(every_minutes=7)}, "customer360", "x")
