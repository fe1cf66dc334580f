"""What of a server's rows is new: bounds of values, from where a source stands to where its column ends.

Bounds stand in manifests, so they are JSON values: a number or text as itself, any other value with the name of its
type. ``Span`` is all values above ``after`` up to ``upto``; None leaves that end open.
"""

from __future__ import annotations

import datetime
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from customer360.platform.connections.databases import Rows, Session
from customer360.platform.errors import SourceError

TYPES: dict[str, Callable[[str], Any]] = {
    "timestamp": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "decimal": Decimal,
}
_SPAN = re.compile(r"^\s*(\d+)\s*(s|second|m|minute|h|hour|d|day)s?\s*$")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LAGS = {datetime.datetime: datetime.timedelta(minutes=10), datetime.date: datetime.timedelta(days=1)}
LAG_OF_NUMBERS = 1000


@dataclass(frozen=True)
class Span:
    """Values of a column above ``after``, up to and with ``upto``."""

    after: Any = None
    upto: Any = None

    def conditions(self, column: str) -> tuple[sa.ColumnElement[bool], ...]:
        value: sa.ColumnElement[Any] = sa.column(column)
        above = () if self.after is None else (value > sa.literal(self.after),)
        return (*above, *(() if self.upto is None else (value <= sa.literal(self.upto),)))

    def written(self) -> dict[str, Any]:
        """As JSON values; open ends are absent."""
        ends = (("after", self.after), ("upto", self.upto))
        return {name: written(end) for name, end in ends if end is not None}

    @staticmethod
    def of(detail: dict[str, Any]) -> Span:
        return Span(read(detail.get("after")), read(detail.get("upto")))


def written(value: Any) -> Any:
    """A value of a column as a JSON value. Raises SourceError where it is none that a manifest can hold."""
    if isinstance(value, datetime.datetime):
        return {"timestamp": value.isoformat(sep=" ")}
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, UUID):
        return str(value)
    raise unordered(type(value).__name__)


def unordered(kind: str, column: str = "that bounds are taken of") -> SourceError:
    """That a column cannot say which rows are newer or where ranges end."""
    return SourceError(f"the column {column} holds {kind}: take one of times, numbers or text")


def read(stored: Any) -> Any:
    """The value that `written` made a JSON value of."""
    if not isinstance(stored, dict):
        return stored
    ((kind, text),) = stored.items()
    return TYPES[kind](text)


def span_of_time(text: str) -> datetime.timedelta:
    """A lag such as ``90 s``, ``10 minutes``, ``2h`` or ``1 day``. Raises ValueError."""
    found = _SPAN.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no span of time; write 90s, 10 minutes, 2 hours or 1 day")
    return datetime.timedelta(seconds=int(found[1]) * SECONDS[found[2][0]])


def before(value: Any, lag: str | int | None, column: str) -> Any:
    """The value that lies ``lag`` before another one, where its type has such; by default ten minutes, a day of dates,
    1,000 of numbers.

    Raises:
        SourceError: the lag is none of such values.
    """
    if isinstance(value, datetime.date):
        of_type = LAGS[datetime.datetime if isinstance(value, datetime.datetime) else datetime.date]
        if isinstance(lag, int):
            raise SourceError(f"lag: {lag} is no span of time, and {column} holds times; write 10 minutes")
        span = of_type if lag is None else span_of_time(lag)
        if not isinstance(value, datetime.datetime):
            span = datetime.timedelta(days=-(-span // datetime.timedelta(days=1)))
        return value - span
    if isinstance(value, int | Decimal | float):
        if isinstance(lag, str):
            raise SourceError(f"lag: {lag} is a span of time, and {column} holds numbers; write how many of them")
        return value - (LAG_OF_NUMBERS if lag is None else lag)
    if lag is not None:
        raise SourceError(f"lag: {column} holds text; a lag needs times or numbers")
    return value


def latest(value: Any, kind: str, session: Session, zone: str | None) -> Any:
    """Up to where values like ``value`` of a column of type ``kind`` can say what is newer: times until now, finite
    numbers; None where there is no such end. Times without a zone are of ``zone``.
    """
    if isinstance(value, float) and math.isinf(value):
        return sys.float_info.max
    is_date = isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    if not isinstance(value, datetime.date) and kind not in ("date", "timestamp", "timestamptz"):
        return None
    now = session.now()
    if (isinstance(value, datetime.datetime) and value.tzinfo is not None) or kind == "timestamptz":
        return now
    here = now.astimezone(ZoneInfo("UTC" if zone is None or kind in session.instants else zone))
    return here.date() if is_date or kind == "date" else here.replace(tzinfo=None)


def bound_of(text: str, like: Any, zone: str | None) -> Any:
    """A bound that a person wrote, as a value such as ``like``. Moments without an offset are of ``zone``, else UTC.

    Raises:
        SourceError: it is none.
    """
    try:
        if isinstance(like, datetime.datetime):
            here = ZoneInfo(zone or "UTC")
            at = datetime.datetime.fromisoformat(text)
            at = at if at.tzinfo else at.replace(tzinfo=here)
            return at if like.tzinfo else at.astimezone(here).replace(tzinfo=None)
        if isinstance(like, datetime.date):
            return datetime.date.fromisoformat(text)
        if isinstance(like, str):
            return text
        found = Decimal(text)
        return int(found) if isinstance(like, int) and found == found.to_integral_value() else found
    except (ValueError, ArithmeticError):
        raise SourceError(f"{text!r} is no bound: the column holds values like {like}") from None


def is_beyond(value: Any, limit: Any) -> bool:
    """Whether a value lies beyond a limit; text of a column of times is a time that no calendar here has."""
    return limit is not None and value is not None and (isinstance(value, str) or bool(value > limit))


def cuts(session: Session, rows: Rows, column: str, span: Span, size: int) -> list[Span]:
    """A span in parts of about ``size`` rows each: equal values are never parted, so one may be larger."""
    value: sa.ColumnElement[Any] = sa.column(column)
    place = sa.func.row_number().over(order_by=value).label("place")
    within = Rows(rows.relation, rows.query, (*rows.conditions, *span.conditions(column), value.is_not(None)))
    numbered = within.select(value, place).subquery("numbered")
    ends = sa.select(numbered.c[column]).where(numbered.c.place % size == 0).order_by(numbered.c[column])
    found: list[Any] = []
    for (end,) in session.answer(ends):
        if end != span.upto and (not found or end != found[-1]):
            found.append(end)
    bounds: Sequence[Any] = [span.after, *found, span.upto]
    return [Span(a, b) for a, b in pairwise(bounds)]
