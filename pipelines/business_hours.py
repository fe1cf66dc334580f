"""Time that a desk works: minutes between two moments in its opening hours, and the moment after so many of them.

A calendar is a week of spans by local clock, a zone and days off. A minute counts where the local clock lies within a
span, so that a span over the night in which clocks change has the minutes that the night had.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import Field, field_validator

from customer360.platform.settings import Frozen

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
WHOLE_DAY = 24 * 60
MINUTE_US = 60_000_000
AHEAD = timedelta(days=800)  # that hours are laid out beyond the last moment asked for: a deadline lies within them
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def minutes_of(clock: str) -> int:
    """Minutes since midnight of ``HH:MM``, up to 24:00. Raises ValueError for anything else."""
    hour, _, minute = clock.strip().partition(":")
    if not (hour.isdigit() and minute.isdigit() and int(minute) < 60 and int(hour) * 60 + int(minute) <= WHOLE_DAY):
        raise ValueError(f"{clock!r} is no time of day; write HH:MM, at most 24:00")
    return int(hour) * 60 + int(minute)


class Calendar(Frozen):
    """Opening hours: spans as ``09:00-17:00`` by day of the week (days left out are closed), and days off."""

    timezone: str = "UTC"
    hours: dict[str, list[str]] = {day: ["00:00-24:00"] for day in DAYS}
    holidays: list[date] = Field(default=[])

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is no IANA time zone, as Europe/Berlin is one") from None
        return name

    @field_validator("hours")
    @classmethod
    def _readable(cls, hours: dict[str, list[str]]) -> dict[str, list[str]]:
        if strange := sorted(set(hours) - set(DAYS)):
            raise ValueError(f"unknown days {strange}; days are {', '.join(DAYS)}")
        for day, spans in hours.items():
            ends = [read_span(span) for span in spans]
            if any(later[0] < earlier[1] for earlier, later in zip(sorted(ends), sorted(ends)[1:], strict=False)):
                raise ValueError(f"{day}: spans overlap: {', '.join(spans)}")
        if not any(hours.values()):
            raise ValueError("a calendar without an open hour never answers; leave hours out for around the clock")
        return hours


def read_span(span: str) -> tuple[int, int]:
    """Minutes of the beginning and the end of ``09:00-17:00``. Raises ValueError: it is none, or ends before it
    begins."""
    start, dash, end = span.partition("-")
    if not dash or minutes_of(start) >= minutes_of(end):
        raise ValueError(f"{span!r} is no span of one day; write 09:00-17:00, and one over midnight as two")
    return minutes_of(start), minutes_of(end)


class Hours:
    """A calendar laid out between two days, for many questions at once; moments are Int64 microseconds since 1970."""

    def __init__(self, calendar: Calendar, first: date, last: date) -> None:
        spans = [span for day in _days(first, last) for span in _open(calendar, day)]
        self._starts = np.array([start for start, _ in spans], dtype=np.int64)
        self._lengths = np.array([end - start for start, end in spans], dtype=np.int64)
        self._before = np.concatenate([[0], np.cumsum(self._lengths)]).astype(np.int64)

    def worked(self, moments: np.ndarray) -> np.ndarray:
        """Open microseconds from the first day to each moment: Int64 [n]."""
        if not len(self._starts):
            return np.zeros(len(moments), dtype=np.int64)
        at = np.searchsorted(self._starts, moments, side="right") - 1
        span = np.maximum(at, 0)
        into = np.clip(moments - self._starts[span], 0, self._lengths[span])
        return np.where(at < 0, 0, self._before[span] + into)

    def after(self, worked: np.ndarray) -> np.ndarray:
        """The first moment at which so many open microseconds have passed: Int64 [n], -1 beyond the last day."""
        at = np.searchsorted(self._before, worked, side="left") - 1
        span = np.clip(at, 0, len(self._starts) - 1)
        return np.where(at >= len(self._starts), -1, self._starts[span] + worked - self._before[span])


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def hours_between(calendar: Calendar, first_us: int, last_us: int) -> Hours:
    """The hours from the day before the first moment to long after the last one."""
    first, last = (EPOCH + timedelta(microseconds=int(us)) for us in (first_us, last_us))
    return Hours(calendar, first.date() - timedelta(days=2), (last + AHEAD).date())


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def _open(calendar: Calendar, day: date) -> Iterator[tuple[int, int]]:
    """The spans of a local day in microseconds since 1970, in order; two of one span where the clock was set back."""
    spans = [] if day in calendar.holidays else calendar.hours.get(DAYS[day.weekday()], [])
    found = []
    for begin, end, offset in _segments(calendar.timezone, day) if spans else ():
        midnight = _us(datetime.combine(day, time(), UTC)) - offset
        for opens, closes in map(read_span, spans):
            start, stop = max(begin, midnight + opens * MINUTE_US), min(end, midnight + closes * MINUTE_US)
            if start < stop:
                found.append((start, stop))
    return iter(sorted(found))


def _segments(name: str, day: date) -> list[tuple[int, int, int]]:
    """The parts of a local day with one distance to UTC each: (begin, end, distance) in microseconds."""
    zone = _zone(name)
    first, last = (datetime.combine(day + timedelta(days=n), time(), zone).astimezone(UTC) for n in (0, 1))
    own = [_offset(zone, first), _offset(zone, last)]
    if own[0] == own[1]:
        return [(_us(first), _us(last), own[0])]
    low, high = 0, int((last - first).total_seconds() // 60)
    while high - low > 1:  # the minute of the change
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, first + timedelta(minutes=middle)) == own[0] else (low, middle)
    change = _us(first) + high * MINUTE_US
    return [(_us(first), change, own[0]), (change, _us(last), own[1])]


def _offset(zone: ZoneInfo, moment: datetime) -> int:
    distance = moment.astimezone(zone).utcoffset()
    assert distance is not None
    return distance // timedelta(microseconds=1)


def _us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)
