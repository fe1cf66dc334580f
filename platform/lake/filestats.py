"""Statistics of data files, by which readers skip them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime
from decimal import Decimal as PyDecimal
from functools import cache
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.lake.stored import partition_columns
from customer360.platform.tables import Table

# No text: any may name a person, whatever its column is for, and the log outlives an erasure.
_STATISTICS_TYPES = (pl.Int64, pl.Int32, pl.Float64, pl.Date, pl.Datetime, pl.Decimal)


def statistics_columns(table: type[Table]) -> str:
    """Columns that may have statistics, as the table property names them."""
    hidden, declared = tables.pii_columns(table), tables.spec(table)
    columns = tables.schema(table).items()
    return ",".join(
        c
        for c, t in columns
        if t.base_type() in _STATISTICS_TYPES and c not in hidden and c not in declared.partition_by
    )


@cache
def form_of(table: type[Table]) -> str:
    """What of a contract decides how its table is stored, as a digest."""
    said = [str(tables.schema(table)), partition_columns(table), statistics_columns(table)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def statistics_of(table: type[Table], frame: pl.DataFrame) -> str:
    """Delta file statistics. Text and columns with personal data get none: the log outlives an erasure."""
    hidden = tables.pii_columns(table)
    columns = {s.name: s for s in frame if s.dtype.base_type() in _STATISTICS_TYPES and s.name not in hidden}
    if not columns or frame.is_empty():
        return json.dumps({"numRecords": frame.height})
    # By column: as one query of three expressions a column it takes three times as long on few rows.
    bounds = {c: (values.min(), values.max()) for c, values in columns.items()}
    kept = {c: b for c, b in bounds.items() if None not in b and all(_bounded(v) for v in b)}
    return json.dumps(
        {
            "numRecords": frame.height,
            "minValues": {c: _stat(b[0]) for c, b in kept.items()},
            "maxValues": {c: _stat(b[1]) for c, b in kept.items()},
            "nullCount": {c: values.null_count() for c, values in columns.items()},
        }
    )


def _bounded(value: object) -> bool:
    return value == value  # no NaN


def _stat(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, PyDecimal) else value
