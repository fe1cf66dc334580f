"""Rows of values with types (workbooks, Avro, XML) as records: a column keeps its type where all its values
share one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import polars as pl

from customer360.platform.sources.formats.records import DEAD, Records, numbered

ROWS = 50_000  # that a piece holds
SMALLEST, LARGEST = -(2**63), 2**63 - 1


def pieces_of(rows: Iterable[Mapping[str, Any]], names: Sequence[str] = ()) -> Iterator[Records]:
    """Records of rows, in pieces; ``names`` come first, keys that they lack after them. Nested values become JSON
    text.
    """
    found, position = iter(rows), 0
    while part := list(islice(found, ROWS)):
        keys = dict.fromkeys([*names, *(key for row in part for key in row)])
        frame = pl.DataFrame([column(key, [row.get(key) for row in part]) for key in keys], height=len(part))
        numbers = pl.int_range(position + 1, position + len(part) + 1, eager=True)
        position += len(part)
        yield Records(numbered(frame, numbers), pl.DataFrame(schema=DEAD))


def column(name: str, values: Sequence[Any]) -> pl.Series:
    """Values as a series: whole numbers, numbers, truth, dates and instants where all are such, else text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int} and all(SMALLEST <= v <= LARGEST for v in values if v is not None):
        return pl.Series(name, values, pl.Int64)
    if float in kinds and kinds <= {int, float} and all(abs(v) < 2**53 for v in values if isinstance(v, int)):
        return pl.Series(name, values, pl.Float64)
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean)
    if kinds == {date}:
        return pl.Series(name, values, pl.Date)
    if kinds and kinds <= {date, datetime} and len({_zoned(value) for value in values if value is not None}) == 1:
        return pl.Series(name, [_instant(value) for value in values], pl.Datetime("us"))
    return pl.Series(name, [text(value) for value in values], pl.String)


def text(value: Any) -> str | None:
    """A value as text; None stays None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=text)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"PT{value.total_seconds():g}S"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _zoned(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if _zoned(value) else value
    return datetime(value.year, value.month, value.day)
