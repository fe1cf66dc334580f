"""Messages of Debezium as changes: with the schema beside the payload or without, from files and from topics.

https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-events: ``op`` says what a
message is, ``before`` and ``after`` hold the row, ``source`` its place in the log. What a number or a Base64 text
stands for, the schema tells, or ``types`` of the source where there is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import polars as pl
from pydantic import BaseModel, field_validator, model_validator

from customer360.platform.errors import SourceError
from customer360.platform.sources.formats.records import POSITION, Records, dead_letters
from customer360.platform.sources.protocols.changes.logical import (
    UNAVAILABLE,
    Type,
    is_unavailable,
    moment_of,
    text_of,
    type_of,
)
from customer360.platform.sources.protocols.changes.records import SCHEMA, Kind, Record, Values, record

OPERATIONS: dict[str, Kind] = {"c": "insert", "u": "update", "d": "delete", "r": "snapshot", "t": "truncate"}
MESSAGE = "m"  # an application's own entry of the log of PostgreSQL: of no row
DELETES = "\"change.kind\" IN ('delete', 'tombstone')"
OF_A_ROW = "\"change.kind\" <> 'none'"
PLACES = ("lsn", "change_lsn", "commit_lsn", "scn", "pos", "ord")  # names of a connector for a place in its log
UNSTEADY = ("ts_ms", "ts_us", "ts_ns", "snapshot", "version", "sequence")  # of a source: no part of what a change is


class Enveloped(BaseModel):
    """Keys of sources whose records may be messages of Debezium."""

    envelope: Literal["", "debezium"] = ""
    types: dict[str, str] = {}  # by column, what a message without a schema does not say: MicroTimestamp, Decimal(2)
    # The table was emptied: stop, pass it by, or land a record whose kind is ``truncate``
    on_truncate: Literal["refuse", "ignore", "record"] = "refuse"

    @field_validator("types")
    @classmethod
    def _known(cls, given: dict[str, str]) -> dict[str, str]:
        for name in given.values():
            type_of(name)
        return given

    @model_validator(mode="after")
    def _follows(self) -> Self:
        """A deletion deletes, and what is of no row is left out, unless the source says else."""
        said: Any = self
        if not self.envelope:
            if self.types:
                raise ValueError("types: belongs to envelope: debezium")
            return self
        where = f"({OF_A_ROW}) AND ({said.where})" if said.where else OF_A_ROW
        deleted = said.deleted or ("" if said.group_by else DELETES)
        return self if OF_A_ROW in said.where else self.model_copy(update={"where": where, "deleted": deleted})

    def opened(self, records: Records, keys: Mapping[int, str | None] | None = None) -> Records:
        """Messages as changes. ``keys`` are those of messages without a value, by position; see `changes`."""
        return changes(records, self, keys or {}) if self.envelope else records


@dataclass
class _Opened:
    rows: list[Record] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    dead: list[tuple[int, str, bytes]] = field(default_factory=list)
    unavailable: set[str] = field(default_factory=set)


def changes(records: Records, said: Enveloped, keys: Mapping[int, str | None]) -> Records:
    """Records of messages as records of changes, each at its position; what is no message is a dead letter.

    Raises:
        SourceError: a table was emptied, and the source does not say what that means.
    """
    given = {name: type_of(kind) for name, kind in said.types.items()}
    schemas: dict[str, dict[str, Type]] = {}
    done = _Opened()
    for row in records.frame.iter_rows(named=True):
        place = row.pop(POSITION)
        try:
            if place in keys:
                made = _of_tombstone(keys[place], given)
            else:
                message, types = _message(row, schemas)
                made = _of_message(message, types | given, said, done)
        except (ValueError, TypeError, KeyError, AttributeError) as fault:
            raw = json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False, default=str)
            done.dead.append((place, f"no message of Debezium: {_reason(fault)}", raw.encode()))
            continue
        done.rows.append(made)
        done.places.append(place)
    names = {**dict.fromkeys(name for row in done.rows for name in row), **SCHEMA}
    frame = pl.DataFrame(done.rows, schema=dict.fromkeys(names, pl.String), orient="row")
    frame = frame.select(pl.Series(POSITION, done.places, dtype=pl.Int64), pl.all())
    dead = pl.concat([records.dead, dead_letters(done.dead)]).sort(POSITION)
    return Records(frame, dead, records.lines, (*records.notes, *_notes(done)), keyed=True)


def _notes(done: _Opened) -> Iterator[str]:
    if done.unavailable:
        yield (
            f"of {', '.join(sorted(done.unavailable))} some values were not sent, as they are large and did not "
            "change: read as empty, and named in change.unsent; ALTER TABLE … REPLICA IDENTITY FULL sends them"
        )


def _reason(fault: Exception) -> str:
    return str(fault) if isinstance(fault, ValueError) and fault.args else f"{type(fault).__name__}"


def _message(row: dict[str, Any], schemas: dict[str, dict[str, Type]]) -> tuple[dict[str, Any], dict[str, Type]]:
    """The payload of a message, and the types of its columns that its schema tells."""
    if (payload := row.get("payload")) is not None:
        schema = str(row.get("schema") or "null")
        if schema not in schemas:
            schemas[schema] = _types(json.loads(schema))
        return _object(payload), schemas[schema]
    if row.get("op") is None:
        raise ValueError("it has neither op nor payload (flattened messages are read without `envelope:`)")
    nested = ("before", "after", "source", "transaction")
    return row | {name: _object(row[name]) for name in nested if row.get(name) is not None}, {}


def _object(text: Any) -> dict[str, Any]:
    found = json.loads(text, parse_float=str) if isinstance(text, str) else text
    if not isinstance(found, dict):
        raise ValueError("a part of it is no object")
    return found


def _types(schema: Any) -> dict[str, Type]:
    """The types of the columns of a row, by what the schema says of ``after`` and ``before``."""
    found: dict[str, Type] = {}
    for part in (schema or {}).get("fields") or ():
        if part.get("field") in ("before", "after"):
            for column in part.get("fields") or ():
                scale = (column.get("parameters") or {}).get("scale")
                name = str(column.get("name") or "").rpartition(".")[2]
                found[column["field"]] = Type(name or str(column.get("type")), int(scale or 0))
    return found


def _of_message(message: dict[str, Any], types: dict[str, Type], said: Enveloped, done: _Opened) -> Record:
    operation, source = str(message.get("op")), message.get("source") or {}
    if operation == MESSAGE:
        return record("none", {})
    if operation not in OPERATIONS:
        raise ValueError(f"its op is {operation}")
    kind = OPERATIONS[operation]
    at = _moment(source) or _moment(message)
    if kind == "truncate" and said.on_truncate != "record":
        if said.on_truncate == "ignore":
            return record("none", {})
        raise SourceError(
            f"{source.get('table') or 'the table'} was emptied (TRUNCATE) at {at}: `on_truncate: ignore` keeps its "
            "rows; to delete them, read the table anew by a snapshot"
        )
    before, after = (_values(message.get(side), types) for side in ("before", "after"))
    unsent = [name for name, value in (after or {}).items() if value == UNAVAILABLE]
    done.unavailable.update(unsent)
    filled = None if after is None else {k: (before or {}).get(k) if v == UNAVAILABLE else v for k, v in after.items()}
    values = (before if kind == "delete" else filled) or {}
    if kind in ("insert", "update", "delete", "snapshot") and not values:
        raise ValueError(f"its op is {operation}, and it has no row")
    about = {"id": _id(source, message), "at": at, "lsn": _place(source), "transaction": _transaction(source, message)}
    is_old_whole = kind == "update" and before is not None
    return record(kind, values, about, old=before, new=filled, is_old_whole=is_old_whole, unsent=unsent)


def _of_tombstone(key: str | None, types: dict[str, Type]) -> Record:
    """A message without a value: the key is gone, of which a message before it told, unless a compaction took that."""
    try:
        found = _object(key)
    except (ValueError, TypeError):
        return record("none", {})
    return record("tombstone", _values(found.get("payload", found), types) or {})


def _values(row: Any, types: dict[str, Type]) -> Values | None:
    if row is None:
        return None
    return {
        name: UNAVAILABLE if is_unavailable(value) else text_of(value, types.get(name))
        for name, value in _object(row).items()
    }


def _id(source: dict[str, Any], message: dict[str, Any]) -> str:
    """The same for a message that is delivered again: of its place in the log and of what it says."""
    steady = {name: value for name, value in source.items() if name not in UNSTEADY}
    parts = [steady, message.get("op"), message.get("before"), message.get("after")]
    parts += [] if _place(source) else [message.get("ts_ms")]  # without a place equal changes are told apart by when
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:30]


def _place(source: dict[str, Any]) -> str | None:
    place = next((source[name] for name in PLACES if source.get(name) is not None), None)
    file = source.get("file")
    return f"{file}:{place}" if file and place is not None else _text(place)


def _transaction(source: dict[str, Any], message: dict[str, Any]) -> str | None:
    return _text(source.get("txId") or source.get("gtid") or (message.get("transaction") or {}).get("id"))


def _moment(of: dict[str, Any]) -> str | None:
    """When, in UTC, as finely as it is said."""
    for name, per_second in (("ts_us", 1_000_000), ("ts_ms", 1_000)):
        if said := of.get(name):  # some connectors say 0 of rows that stood before
            moment = moment_of(int(said), per_second)
            return None if moment is None else f"{moment}+00:00"
    return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
