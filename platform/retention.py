"""Rows that are older than they may be kept leave bronze by the road of an erasure: they go, or, of what the accounts
need (``erasure="anonymize"``), what names a person does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import ConfigError
from customer360.platform.lake import File, Lake
from customer360.platform.tables import Table

_NOTES = "_retention"


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


def without_age(names: Iterable[str]) -> list[str]:
    """Tables of which no row says when it is from, so that none can be too old."""
    return sorted(name for name in names if not age_columns(tables.by_name(name)))


def retire(lake: Lake, keep_days: Mapping[str, int], as_of: date) -> dict[str, int]:
    """Take rows out that are older than their table keeps them, counted back from ``as_of``. Rows by table that went or
    were emptied. A row whose age is not known stays: unknown is not old; so does one that its contract says lasts.

    Files that cannot hold anything too old are not read: their log says so, or a note of when they were read before.

    Raises:
        ConfigError: see `checked`.
    """
    checked(keep_days)
    done = {}
    for name, days in sorted(keep_days.items()):
        if lake.exists(name) and (rows := _retired(lake, name, as_of - timedelta(days=days))):
            done[name] = rows
    return done


def _retired(lake: Lake, name: str, before: date) -> int:
    noted = _Noted.of(lake, name)
    doubtful = [f for f in lake.files(name) if noted.may_hold_older(f, before)]
    if not doubtful:
        return 0
    table = tables.by_name(name)
    declared = tables.spec(table)
    # A row of which it cannot be told lasts: it may be a refusal that was not read.
    can_go = ~declared.lasting(lake.scan(name)).fill_null(True) if declared.lasting else pl.lit(True)
    if declared.erasure != "delete":
        can_go &= pl.any_horizontal(pl.col(c).is_not_null() for c in _personal(table))
    aged = []
    for file in doubtful:
        oldest = lake.scan(name, [file]).filter(can_go).select(_age(table).min()).collect().item()
        if oldest is not None and oldest < before:
            aged.append(file)
        else:
            noted.oldest[file.path] = oldest
    noted.save(lake)
    is_old = can_go & (_age(table) < before).fill_null(False)
    return lake.rewrite(name, partial(_without, table, is_old), reason="retention", files=aged) if aged else 0


@dataclass
class _Noted:
    """What is known of the age of the files of a table: ``oldest`` by path, of the rows that may go, None where there
    is none, from a reading before; ``least`` value by path and age column, from the log."""

    name: str
    oldest: dict[str, date | None]
    least: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, lake: Lake, name: str) -> _Noted:
        stored = json.loads(lake.get(f"{_NOTES}/{name}.json") or b"{}")
        oldest = {path: None if day is None else date.fromisoformat(day) for path, day in stored.items()}
        return cls(name, oldest, lake.least(name, age_columns(tables.by_name(name))))

    def may_hold_older(self, file: File, before: date) -> bool:
        if file.path in self.oldest:
            day = self.oldest[file.path]
            return day is not None and day < before
        columns, told = age_columns(tables.by_name(self.name)), self.least.get(file.path, {})
        return any(c not in told or (told[c] is not None and _day(told[c]) < before) for c in columns)

    def save(self, lake: Lake) -> None:
        """Keep it for the next time, where what may go is a matter of the file alone."""
        if tables.spec(tables.by_name(self.name)).lasting is None:
            kept = {path: day and day.isoformat() for path, day in sorted(self.oldest.items()) if path in self.least}
            lake.put(f"{_NOTES}/{self.name}.json", json.dumps(kept).encode())


def _day(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value


def _age(table: type[Table]) -> pl.Expr:
    return pl.max_horizontal(pl.col(c).cast(pl.Date) for c in age_columns(table))


def _personal(table: type[Table]) -> tuple[str, ...]:
    return (*tables.pii_columns(table), "_rescued")


def _without(table: type[Table], old: pl.Expr, rows: pl.DataFrame) -> pl.DataFrame:
    if tables.spec(table).erasure == "delete":
        return rows.filter(~old)
    return rows.with_columns(pl.when(~old).then(pl.col(c)).alias(c) for c in _personal(table))
