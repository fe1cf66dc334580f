"""Rows that are older than they may be kept leave bronze by the road of an erasure: they go, or, of what the accounts
need (``erasure="anonymize"``), what names a person does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.tables import Table


def age_columns(table: type[Table]) -> tuple[str, ...]:
    """Columns that say when a row is from; the latest of them counts."""
    declared = tables.spec(table)
    return tuple(dict.fromkeys([*declared.past, *([declared.version] if declared.version else [])]))


def checked(keep_days: Mapping[str, int]) -> None:
    """Raise ConfigError for a table that cannot be kept for a time: none of bronze, or without a time of its own."""
    for name in keep_days:
        table = tables.by_name(name)
        if tables.spec(table).layer != "bronze" or tables.spec(table).erasure == "none":
            raise ConfigError(f"keep_days: {name} is no table of personal sources; what is built on one follows it")
        if not age_columns(table):
            raise ConfigError(f"keep_days: rows of {name} do not say when they are from, so they have no age")


def retire(lake: Lake, keep_days: Mapping[str, int], as_of: date) -> dict[str, int]:
    """Take rows out that are older than their table keeps them, counted back from ``as_of``. Rows by table that went or
    were emptied. A row whose age is not known stays: unknown is not old.

    Raises:
        ConfigError: see `checked`.
    """
    checked(keep_days)
    done = {}
    for name, days in sorted(keep_days.items()):
        if not lake.exists(name):
            continue
        table, before = tables.by_name(name), as_of - timedelta(days=days)
        old = _is_old(table, before)
        if lake.scan(name).select(old.any()).collect().item():
            done[name] = lake.rewrite(name, partial(_without, table, old), reason="retention")
    return {name: rows for name, rows in done.items() if rows}


def _is_old(table: type[Table], before: date) -> pl.Expr:
    latest = pl.max_horizontal(pl.col(c).cast(pl.Date) for c in age_columns(table))
    return (latest < before).fill_null(False)


def _without(table: type[Table], old: pl.Expr, rows: pl.DataFrame) -> pl.DataFrame:
    if tables.spec(table).erasure == "delete":
        return rows.filter(~old)
    personal = (*tables.pii_columns(table), "_rescued")
    return rows.with_columns(pl.when(~old).then(pl.col(c)).alias(c) for c in personal)
