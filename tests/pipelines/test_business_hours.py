"""Open minutes equal a count of minutes one by one, over changes of the clocks; deadlines lead back to them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from customer360.pipelines.business_hours import DAYS, EPOCH, MINUTE_US, Calendar, hours_between, read_span

ZONES = {
    "Europe/Berlin": datetime(2026, 3, 27, tzinfo=UTC),
    "America/New_York": datetime(2026, 10, 30, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 3, tzinfo=UTC),  # by half an hour
    "America/Sao_Paulo": datetime(2018, 11, 2, tzinfo=UTC),  # at midnight
    "Asia/Kolkata": datetime(2026, 4, 3, tzinfo=UTC),
}
WEEKS = [
    {day: ["00:00-24:00"] for day in DAYS},
    {day: ["00:30-01:30", "02:00-12:00"] for day in DAYS},
    {"MON": ["09:00-17:00"], "TUE": ["09:00-12:15", "13:00-18:00"]},
]


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def counted(calendar: Calendar, begin: datetime, end: datetime) -> int:
    """Minutes of the interval at whose beginning the local clock lies in a span."""
    zone, found = ZoneInfo(calendar.timezone), 0
    while begin < end:
        clock = begin.astimezone(zone)
        spans = [] if clock.date() in calendar.holidays else calendar.hours.get(DAYS[clock.weekday()], [])
        minute = clock.hour * 60 + clock.minute
        found += any(low <= minute < high for low, high in map(read_span, spans))
        begin += timedelta(minutes=1)
    return found


@settings(max_examples=40)
@given(st.sampled_from(sorted(ZONES)), st.sampled_from(WEEKS), st.integers(0, 3000), st.integers(0, 5000))
def test_open_minutes_are_those_that_one_counts(zone: str, week: dict[str, list[str]], after: int, long: int) -> None:
    calendar = Calendar(timezone=zone, hours=week, holidays=[date(2026, 11, 2)])
    begin = ZONES[zone] + timedelta(minutes=after)
    end = begin + timedelta(minutes=long)
    hours = hours_between(calendar, us(begin), us(end))
    worked = hours.worked(np.array([us(begin), us(end)]))
    assert (worked[1] - worked[0]) // MINUTE_US == counted(calendar, begin, end)
    due = hours.after(worked)
    assert (hours.worked(due) == worked).all()
    assert ((due <= np.array([us(begin), us(end)])) | (worked == 0)).all()


def test_a_deadline_lies_in_open_hours() -> None:
    """Eight open hours after Friday, 16:00, of a desk that works nine to five."""
    calendar = Calendar(hours={day: ["09:00-17:00"] for day in DAYS[:5]}, holidays=[date(2026, 1, 12)])
    opened = us(datetime(2026, 1, 9, 16, tzinfo=UTC))
    hours = hours_between(calendar, opened, opened)
    due = hours.after(hours.worked(np.array([opened])) + 8 * 60 * MINUTE_US)
    assert due[0] == us(datetime(2026, 1, 13, 16, tzinfo=UTC))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"timezone": "Mars/Base"}, "no IANA time zone"),
        ({"hours": {"MON": ["22:00-06:00"]}}, "one over midnight as two"),
        ({"hours": {"MON": ["9-17"]}}, "HH:MM"),
        ({"hours": {"MONDAY": ["09:00-17:00"]}}, "unknown days"),
        ({"hours": {"MON": ["09:00-12:00", "11:00-13:00"]}}, "overlap"),
        ({"hours": {}}, "without an open hour"),
    ],
)
def test_a_calendar_that_is_none_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Calendar.model_validate(wrong)
