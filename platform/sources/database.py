"""Databases as sources: a relation or a query of a named connection, read whole or from where its cursor stands.

What a run reads is fixed as bounds of values before it is read; the new cursor stands in the same manifest, so it holds
when the batch is committed and not before. Whatever may have been missed is read again: equal rows are duplicates.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import polars as pl
import sqlalchemy as sa
from pydantic import Field, PrivateAttr, field_validator, model_validator

from customer360.platform import ledger
from customer360.platform.connections import Connection
from customer360.platform.connections.databases import Database, Pieces, Rows, Session
from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.known import Known, inputs_of
from customer360.platform.ledger import Batch, Input
from customer360.platform.settings import Frozen, MicroBatch, Settings
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.records import Records, of_frame, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.windows import (
    Span,
    before,
    bound_of,
    cuts,
    is_beyond,
    latest,
    read,
    span_of_time,
    unordered,
    written,
)

PIECE = 250_000  # rows
UNREAD = "unread"  # the digest of a first load, until it was read
SIZES = ("batch_size", "parallel_partitions", "interval_minutes")
BYTES = ("bytea", "bytes", "bytearray", "memoryview", "binary", "varbinary", "rowversion")
OF_SPANS = ("upto", "overlap")  # of a cursor
Bound = int | float | datetime.datetime | datetime.date | str


class Partition(Frozen):
    """Rows in ranges of a key that never changes, to be read side by side: a number, a time or text, best indexed.

    The bounds of the ranges stand in the manifest, so take no personal value.
    """

    by: str
    parts: int = Field(default=4, ge=1, le=10_000)


class DatabaseSource(Source):
    """Rows of one relation or query."""

    connects: ClassVar[type[Connection] | None] = Database
    kind: Literal["database"] = "database"
    relation: str = ""  # table or view: name, or schema.name; double quotes around a part keep its dots
    query: str = ""  # one SELECT, instead of a relation
    strategy: Literal["full", "incremental", "micro_batch"] = "full"
    column: str = ""  # by which rows are newer than others: the time of their last change, or a number that grows
    lag: str | int | None = None  # how long before the cursor rows may still appear: 10 minutes, 1 day; numbers: 1000
    start: Bound | None = None  # of the column: rows below it are left alone
    end: Bound | None = None  # of the column: rows from it on are left alone
    partition: Partition | None = None  # of a full load
    batch_size: int | None = Field(default=None, ge=1)  # of a micro-batch, in rows
    parallel_partitions: int | None = Field(default=None, ge=1)  # into which a micro-batch is cut at least
    interval_minutes: int | None = Field(default=None, ge=1)  # between micro-batches, for who schedules
    load_frequency: Literal["daily", "weekly", "monthly"] | None = None  # of a full load; None: every run looks
    enabled: bool = True
    _seen: dict[str, dict[str, Any]] = PrivateAttr(default_factory=dict)  # by input, what its reading is to tell

    @field_validator("lag")
    @classmethod
    def _is_a_span(cls, lag: str | int | None) -> str | int | None:
        if isinstance(lag, str):
            span_of_time(lag)
        return lag

    @model_validator(mode="after")
    def _fits_its_strategy(self) -> Self:
        if bool(self.relation) == bool(self.query):
            raise ValueError("a database source has a relation or a query")
        full = self.strategy == "full"
        if full == bool(self.column):
            raise ValueError(
                f"strategy: {self.strategy} {'has no' if full else 'needs the'} column that says what is new"
            )
        if full and (self.lag is not None or self.start is not None or self.end is not None):
            raise ValueError("lag, start and end belong to strategy: incremental or micro_batch")
        if not full and (self.mode == "snapshot" or self.partition or self.load_frequency):
            raise ValueError("mode: snapshot, partition and load_frequency belong to strategy: full")
        if self.strategy != "micro_batch" and (self.batch_size or self.parallel_partitions or self.interval_minutes):
            raise ValueError("batch_size, parallel_partitions and interval_minutes belong to strategy: micro_batch")
        if self.mode == "snapshot" and self.partition and not self.parts:
            raise ValueError("a snapshot with a partition needs parts: true, as all ranges together are the whole")
        return self

    def completed(self, settings: Settings) -> Self:
        """This source with what ``micro_batches`` says of its system and table, where it does not itself."""
        if self.strategy != "micro_batch":
            return self
        named = (m for m in settings.micro_batches if (m.system, m.table) == (self.system, self.table))
        usual = next(named, MicroBatch(system=self.system, table=self.table))
        own = {key: value for key in SIZES if (value := getattr(self, key)) is not None}
        sizes = {key: getattr(usual, key) for key in SIZES}
        return self.model_copy(update=sizes | own | {"enabled": self.enabled and usual.enabled})

    @property
    def _rows(self) -> Rows:
        return Rows(self.relation, self.query)

    @property
    def _server(self) -> Database:
        assert isinstance(self.connected, Database)
        return self.connected

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """Bounds of what is new since the cursor. One of the full strategy is a digest of all rows; one of the others
        is where the column ended, with digests of what may still change before that.
        """
        if not self.enabled or self._is_early(known):
            return Discovery()
        with self._server.session() as session:
            columns = self._columns(session)
            cursor, again = _cursor(known)
            if self.strategy == "full":
                spans, after = self._all(session, columns, cursor, known)
            else:
                spans, after = self._newer(session, columns, cursor, known)
        inputs = [Input(self._named(place), detail) for place, detail in enumerate(spans, 1)]
        if inputs:
            inputs[0] = replace(inputs[0], detail=inputs[0].detail | _types(columns, known))
        elif self.load_frequency and not inputs_of(known).filter(pl.col("name") == self._first).is_empty():
            return Discovery(
                touched=(Input(self._first, {"modified": _now().isoformat()}),)
            )  # so that the look is noted
        return Discovery(tuple(inputs), after | {"again": again} if again else after)

    def _is_early(self, known: Sequence[Batch]) -> bool:
        """Whether a full load is not due: it was looked for on the same day, in the same week or month."""
        last = next((b.created_at for b in reversed(known) if not b.inline), None)
        if self.load_frequency is None or last is None:
            return False
        noted = inputs_of(known).filter(pl.col("name") == self._first)["modified"].max()
        if isinstance(noted, int):  # microseconds
            last = max(last, datetime.datetime.fromtimestamp(noted / 1e6, datetime.UTC).isoformat())
        parts = {"daily": lambda day: day, "weekly": lambda day: day.isocalendar()[:2],
                 "monthly": lambda day: (day.year, day.month)}  # fmt: skip
        part = parts[self.load_frequency]
        today = _now().date()
        return bool(part(datetime.datetime.fromisoformat(last).date()) == part(today))

    def _named(self, place: int) -> str:
        return f"{self.relation or 'query'}/{place:05d}"

    @property
    def _first(self) -> str:
        return self._named(1)

    def _columns(self, session: Session) -> dict[str, str]:
        columns = session.columns(self._rows)
        asked = [self.column] if self.column else [self.partition.by] if self.partition else []
        if lacking := [name for name in asked if name not in columns]:
            raise SourceError(f"{self.relation or 'the query'} lacks the column {lacking[0]!r}; it has "
                              f"{', '.join(map(repr, columns))}")  # fmt: skip
        for name in asked:
            if columns[name].lower() in BYTES:
                raise unordered("bytes", repr(name))
        return columns

    def _all(
        self, session: Session, columns: dict[str, str], cursor: dict[str, Any], known: Sequence[Batch]
    ) -> tuple[list[Any], Any]:
        """All rows, where they are not those of the last load. A first load has nothing to be compared with: its digest
        is that of its read.
        """
        if not cursor and not self.partition:
            return [Span().written() | {"nulls": True}], {"digest": UNREAD}
        if cursor.get("digest") == UNREAD and any(piece.detail.get("waits") for b in known for piece in b.inputs):
            return [], {}  # until it was read, nobody knows what it holds
        digest = session.digest(self._rows, columns)
        if digest == cursor.get("digest"):
            return [], {}
        spans = [Span()]
        if self.partition:
            count = int(digest.partition(":")[0])
            parts = self.partition.parts
            spans = cuts(session, self._rows, self.partition.by, Span(), max(1, -(-count // parts)))
            spans = [*spans[: parts - 1], Span(spans[min(parts, len(spans)) - 1].after)]
        # A row without a key lies in no range: the first takes them, too
        details = [span.written() | ({"nulls": True} if not place else {}) for place, span in enumerate(spans)]
        return details, {"digest": digest}

    def _newer(
        self, session: Session, columns: dict[str, str], cursor: dict[str, Any], known: Sequence[Batch]
    ) -> tuple[list[Any], Any]:
        """Rows of the column beyond the cursor, and what changed before it: in the lag, without a time, of a time that
        is still to come.
        """
        kind = columns[self.column]
        timeless = session.timeless(self.column, kind)
        timely = replace(self._rows, conditions=(~timeless, *self._window()))
        value: sa.ColumnElement[Any] = sa.column(self.column)
        upto = session.answer(timely.select(sa.func.max(value)))[0][0]
        if isinstance(upto, bytes | bytearray | memoryview):
            raise unordered("bytes", repr(self.column))
        stood = read(cursor.get("upto"))
        limit = latest(stood if upto is None else upto, kind, session, self.timezone)
        odd = {"timeless": replace(self._rows, conditions=(timeless,))}
        marks: dict[str, Any] = {"timeless": True}
        if is_beyond(upto, limit):
            odd["beyond"] = replace(timely, conditions=(*timely.conditions, value > sa.literal(limit)))
            marks["beyond"] = written(limit)
            timely = replace(timely, conditions=(*timely.conditions, value <= sa.literal(limit)))
            upto = session.answer(timely.select(sa.func.max(value)))[0][0]
        if is_beyond(stood, limit):  # by a version that took such a time for the end: what came since lies before it
            earlier, _ = _cursor(known, lambda held: not is_beyond(read(held.get("upto")), limit))
            cursor = cursor | {"upto": None, "overlap": None} | {k: v for k, v in earlier.items() if k in OF_SPANS}
            stood = read(cursor["upto"])
        upto, spans = stood if upto is None else upto, list[Any]()
        ends: dict[str, Any] = {}
        if upto is not None:
            low = before(upto, self.lag, self.column)
            after = None if stood is None else before(stood, self.lag, self.column)
            overlap = self._digest(session, columns, timely, Span(low, upto))
            again = stood is not None and self._digest(session, columns, timely, Span(after, stood))
            if upto != stood or again != cursor.get("overlap"):
                is_whole = after is None or after <= low  # not where rows are gone: then it holds less than the lag
                for span in self._cut(session, timely, Span(after, upto)):
                    late = {"low": written(low)} if is_whole and span.upto > low else {}
                    spans.append(span.written() | late)
            ends = {"upto": written(upto), "overlap": overlap}
        for what, rows in odd.items():
            ends[what] = session.digest(rows, columns)
            if not ends[what].startswith("0:") and ends[what] != cursor.get(what):
                spans.append({what: marks[what]})
        return spans, ends

    def _window(self) -> tuple[sa.ColumnElement[bool], ...]:
        value: sa.ColumnElement[Any] = sa.column(self.column)
        above = () if self.start is None else (value >= sa.literal(self.start),)
        return (*above, *(() if self.end is None else (value < sa.literal(self.end),)))

    def _digest(self, session: Session, columns: dict[str, str], timely: Rows, span: Span) -> str:
        return session.digest(replace(timely, conditions=(*timely.conditions, *span.conditions(self.column))), columns)

    def _cut(self, session: Session, timely: Rows, span: Span) -> list[Span]:
        if self.strategy != "micro_batch":
            return [span]
        size, partitions = self.batch_size or 1, self.parallel_partitions or 1
        within = replace(timely, conditions=(*timely.conditions, *span.conditions(self.column)))
        ((count,),) = session.answer(within.select(sa.func.count()))
        least = partitions if count >= size else 1
        return cuts(session, timely, self.column, span, max(1, min(size, -(-count // least))))

    def window(self, start: str, until: str) -> tuple[Input, ...]:
        if self.strategy == "full":
            raise ConfigError(f"{self.name}: a full load has no window; `run --reland {self.name}` reads it all again")
        with self._server.session() as session:
            self._columns(session)
            ((like,),) = session.answer(self._rows.select(sa.func.max(sa.column(self.column))))
            zone = "UTC" if session.instants else self.timezone
        if like is None:
            raise ConfigError(f"{self.name}: the column {self.column} holds no value, so that no window has rows")
        first, last = (bound_of(text, like, zone) for text in (start, until))
        if not first < last:
            raise ConfigError(f"{self.name}: the window from {start} to {until} is empty")
        name = f"{self.relation or 'query'}/again {start}..{until}"
        return (Input(name, {"from": written(first), "before": written(last)}),)

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        """Rows between the bounds of an input as they are now, in the order of the column that says what is newer."""
        with self._server.session() as session:
            columns = self._columns(session)
            session.snapshot()
            rows = self._within(session, columns, piece.detail)
            if (seen := self._seen.pop(piece.name, None)) is not None:
                seen |= self._as_read(session, columns, rows, piece.detail)
            position, notes = 1, tuple(piece.detail.get("changed", ()))
            for frame in Pieces(PIECE).of(session.frames(rows, columns)):
                yield replace(of_frame(frame, position), notes=notes)
                position += frame.height

    def state(self, landing: Landing, piece: Input) -> dict[str, Any]:
        """Digests of the rows of an input. They are filled in when it is read, as only then they are of the rows that
        land: what changes between a look and its read, even there and back, is seen by the next look.
        """
        self._seen[piece.name] = {}
        return self._seen[piece.name]

    def _as_read(self, session: Session, columns: dict[str, str], rows: Rows, detail: dict[str, Any]) -> dict[str, Any]:
        rows = replace(rows, order=())
        if self.strategy == "full":
            return {"as_read": {"digest": session.digest(rows, columns)}}
        if odd := [what for what in ("timeless", "beyond") if what in detail]:
            return {"as_read": {odd[0]: session.digest(rows, columns)}}
        if "low" not in detail:
            return {}
        return {"as_read": {"overlap": self._digest(session, columns, rows, Span(read(detail["low"])))}}

    def _within(self, session: Session, columns: dict[str, str], detail: dict[str, Any]) -> Rows:
        if self.strategy == "full":
            by = self.partition.by if self.partition else ""
            bounds = Span.of(detail).conditions(by)
            if bounds and detail.get("nulls"):
                bounds = (sa.and_(*bounds) | sa.column(by).is_(None),)
            return replace(self._rows, conditions=bounds)
        timeless = session.timeless(self.column, columns[self.column])
        if detail.get("timeless"):
            return replace(self._rows, conditions=(timeless,))
        if "from" in detail:
            value: sa.ColumnElement[Any] = sa.column(self.column)
            again = (value >= sa.literal(read(detail["from"])), value < sa.literal(read(detail["before"])))
            return replace(self._rows, conditions=(~timeless, *again), order=(self.column,))
        span = Span(read(detail["beyond"])) if "beyond" in detail else Span.of(detail)
        bounds = (~timeless, *self._window(), *span.conditions(self.column))
        return replace(self._rows, conditions=bounds, order=(self.column,))

    def reader_options(self) -> dict[str, Any]:
        return {"relation": self.relation, "query": self.query}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _cursor(
    known: Sequence[Batch], holds: Callable[[dict[str, Any]], bool] = lambda _: True
) -> tuple[dict[str, Any], list[int]]:
    """Where to go on, and the numbers of batches that were taken back so that their rows are read again.

    The cursor is that of the newest batch; of the one before the first that was taken back since, whose rows no later
    cursor leads to. Cursors that do not ``holds`` are passed over.
    """
    again: list[int] = (ledger.last_cursor(known) or {}).get("again", [])
    numbers = {batch.seq for batch in known}
    last = known.last if isinstance(known, Known) else max(numbers, default=0)
    missing = sorted(set(range(1, last + 1)) - numbers - set(again))
    upto = missing[0] if missing else last + 1
    stands = (b for b in reversed(known) if b.seq < upto and b.cursor is not None and holds(b.cursor))
    found = next(stands, None)
    return _as_landed(found) if found else {}, [*again, *missing]


def _as_landed(batch: Batch) -> dict[str, Any]:
    """The cursor of a batch with the digests of its rows as they were read, where that is known."""
    cursor, read_as = dict(batch.cursor), dict[str, list[list[int]]]()
    for piece in batch.inputs:
        for what, digest in piece.detail.get("as_read", {}).items():
            read_as.setdefault(what, []).append([int(part) for part in digest.split(":")])
    for what, parts in read_as.items():
        count, total = (sum(column) for column in zip(*parts, strict=True))
        cursor[what] = f"{count}:{total}"
    return cursor


def _types(columns: dict[str, str], known: Sequence[Batch]) -> dict[str, Any]:
    """What the manifest notes of the columns: their types, and which are of another type than at the last load."""
    last: dict[str, str] = next((b.inputs[0].detail.get("types", {}) for b in reversed(known) if b.inputs), {})
    changed = [
        f"the type of {name} is {kind}, it was {last[name]}"
        for name, kind in columns.items()
        if name in last and last[name] != kind
    ]
    return {"types": columns} | ({"changed": changed} if changed else {})
