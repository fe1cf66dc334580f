"""How a contract is stored: its Delta schema, its partitions, and partition values as values again."""

from __future__ import annotations

from datetime import date
from functools import cache

import polars as pl
from deltalake import Schema

from customer360.platform import tables
from customer360.platform.lake.buckets import BUCKET
from customer360.platform.tables import Table


def delta_schema(table: type[Table]) -> Schema:
    """The columns of a contract as Delta stores them, with the bucket of tables that have one."""
    columns = tables.schema(table) | ({BUCKET: pl.Int32()} if tables.spec(table).bucketed else {})
    return _schema_of(tuple(columns.items()))


@cache
def _schema_of(columns: tuple[tuple[str, pl.DataType], ...]) -> Schema:
    return Schema.from_arrow(pl.Schema(columns))


def constant(value: str | None, to: pl.DataType) -> pl.Expr:
    """A partition value, which Delta keeps as text, as an expression of its column's type."""
    if value is not None and to == pl.Date:
        return pl.lit(date.fromisoformat(value))
    return pl.lit(value).cast(to)


def partition_columns(table: type[Table]) -> list[str]:
    """Columns that the files of a table are parted by."""
    spec = tables.spec(table)
    return [*spec.partition_by, *([BUCKET] if spec.bucketed else [])]
