"""Changes as records: the columns of the row, and beside them what the change is, under ``change.…``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import polars as pl

from customer360.platform.sources.formats.records import Records, of_frame

Values = dict[str, str | None]
Record = dict[str, str | None]
Kind = Literal["snapshot", "insert", "update", "delete", "truncate", "tombstone", "none"]

# id: tells a change from all others of its log, the same whenever it is read; at: when it was committed (UTC)
NAMES = ("id", "kind", "at", "lsn", "transaction", "changed", "old", "new", "unsent")
SCHEMA = {f"change.{name}": pl.String for name in NAMES}
DELETES = "\"change.kind\" = 'delete'"


def record(
    kind: Kind,
    values: Values,
    about: Mapping[str, str | None] = {},
    *,
    old: Values | None = None,
    new: Values | None = None,
    is_old_whole: bool = False,
    unsent: Sequence[str] = (),
) -> Record:
    """A change of a row as a record. ``values`` are those of its columns; ``about`` are its id, at, lsn, transaction.

    Which columns changed is known where ``old`` are all values of before; else ``change.changed`` is null.
    """
    changed = None
    if old is not None and new is not None and is_old_whole:
        changed = [name for name, value in new.items() if old.get(name) != value]
    own = {
        **about,
        "kind": kind,
        "changed": as_json(changed),
        "old": as_json(old),
        "new": as_json(new),
        "unsent": as_json(list(unsent) or None),
    }
    return {**values, **{f"change.{name}": own.get(name) for name in NAMES}}


def of_snapshot(frame: pl.DataFrame, first: int) -> Records:
    """Rows that stood before the first change."""
    kind = pl.lit("snapshot", pl.String).alias("change.kind")
    nothing = [pl.lit(None, pl.String).alias(name) for name in SCHEMA if name != "change.kind"]
    return of_frame(frame.with_columns(kind, *nothing), first)


def frame_of(rows: list[Record], first: int) -> Records:
    """Records of changes, whose positions begin with ``first``."""
    names = dict.fromkeys(name for row in rows for name in row)
    return of_frame(pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"), first)


def as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
