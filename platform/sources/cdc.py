"""Changes of one relation of PostgreSQL as a source, by a logical replication slot: inserts, updates and deletions in
the order of their commits. The slot moves on when a batch is in bronze; until then it gives the same changes again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import polars as pl
import sqlalchemy as sa
from pydantic import Field, model_validator

from customer360.platform import telemetry
from customer360.platform.connections import Connection
from customer360.platform.connections.databases import Rows, Session
from customer360.platform.connections.postgresql import PostgreSQL
from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.sources.base import Discovery, Source
from customer360.platform.sources.formats.records import Records, of_frame, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.changes.pgoutput import Change, Decoder, Values
from customer360.platform.sources.protocols.changes.relations import Relation, Shape, literal

PIECE = 50_000  # changes of one piece
BEGINNING = "0/0"
PILED_UP = 1 << 30  # bytes of the database's log that a slot keeps, from which a run says so
NAMES = ("kind", "at", "lsn", "transaction", "changed", "old", "new", "unsent")  # columns change.… of each record
SCHEMA = {f"change.{name}": pl.String for name in NAMES}
CONFIRMED = "_slots"  # folder of the lake: how far it let each slot go, as the name of an object
_SLOT = re.compile(r"[^a-z0-9_]")


class Cdc(Source):
    """Changes of ``relation``, whose ``publication`` stands in the database. Of each record ``change.kind`` is
    ``snapshot``, ``insert``, ``update`` or ``delete``; beside it stand ``change.at`` (when it was committed, UTC),
    ``change.lsn``, ``change.transaction``, ``change.changed`` (names of columns, a JSON list), ``change.old`` and
    ``change.new`` (JSON objects), and ``change.unsent``: columns that the log did not hold, as they are large and did
    not change, with the values that the row had when the change was read. A deletion deletes its key unless ``deleted``
    says else; a row whose key changed is a deletion and an insertion.

    The first batch makes the slot and reads the relation as it is then; what changes after that is in the slot.
    """

    connects: ClassVar[type[Connection] | None] = PostgreSQL
    rereads: ClassVar[Literal["each", "newest", "never"]] = "never"

    kind: Literal["cdc"] = "cdc"
    relation: str = Field(min_length=1)  # schema.name
    publication: str = "customer360"
    slot: str = Field(default="", pattern=r"^[a-z0-9_]{0,63}$")  # empty: one of this source and lake
    snapshot: bool = True  # read what stands before the first change
    batch_size: int = Field(default=100_000, ge=1)  # changes of one batch, about: transactions are whole
    on_truncate: Literal["refuse", "ignore"] = "refuse"

    @model_validator(mode="after")
    def _deletes(self) -> Self:
        if self.deleted or self.group_by:
            return self
        return self.model_copy(update={"deleted": "\"change.kind\" = 'delete'"})

    @property
    def connected(self) -> PostgreSQL:
        found = super().connected
        assert isinstance(found, PostgreSQL)
        return found

    @property
    def lane(self) -> str:
        return f"slot {self._slot}"

    @property
    def _slot(self) -> str:
        """The slot that a first batch makes; it stays that of the lake wherever the lake is moved to."""
        if self.slot:
            return self.slot
        root = self._lake.root if self._lake else ""
        own = hashlib.sha256(f"{root}\n{self.name}".encode()).hexdigest()[:8]
        return f"customer360_{_SLOT.sub('_', self.name.lower())}"[:54] + f"_{own}"

    def _of(self, stated: dict[str, Any]) -> str:
        """The slot that a cursor or an input names; those of before they named it had the name of the source."""
        return self.slot or stated.get("slot") or f"customer360_{_SLOT.sub('_', self.name.lower())}"[:63]

    @property
    def _relation(self) -> Relation:
        return Relation.named(self.relation)

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """The changes that the slot holds, up to about ``batch_size``; at first the rows of the relation.

        Raises:
            SourceError: the slot is gone, was moved on by somebody else, or may not be read.
        """
        if last_cursor(known) is None:
            stated = {"slot": self._slot}
            first = Input(f"{self.relation}/rows", {"rows": self.snapshot, **stated})
            return Discovery((first,), {"lsn": BEGINNING, **stated})
        cursor = _landed(known)
        with self.connected.session() as session:
            slot = Slot(session, self._of(cursor or last_cursor(known)), self)
            slot.warn_of_what_piles_up()
            if cursor is None:
                return Discovery()  # the slot gives the changes of a batch that waits; those after it when it landed
            self._checked(session)
            slot.check(cursor)
            slot.move(cursor["lsn"])  # where a crash came between a commit and its release
            count = 0
            while not count:
                flushed = _one(session, sa.func.pg_current_wal_flush_lsn())
                count, upto, total = self._ahead(session, slot.name)
                if not count:
                    slot.move(upto if total else flushed)  # other relations' changes go
                    if self._looks or not total:
                        return Discovery()
        name = f"{self.relation}/{cursor['lsn']}-{upto}"
        stated = {"slot": slot.name}
        piece = Input(name, {"after": cursor["lsn"], "upto": upto, **stated})
        return Discovery((piece,), {"lsn": upto, **stated})

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        with self.connected.session() as session:
            shape = self._checked(session)
            changes = "upto" in piece.detail
            found = self._changes(session, piece, shape) if changes else self._rows(session, piece)
            is_empty = True
            for records in found:
                yield records
                is_empty = False
        if is_empty:  # a mapping finds its columns, and there is nothing in them
            names = {**dict.fromkeys(shape.columns, pl.String), **SCHEMA}
            yield replace(of_frame(pl.DataFrame(schema=names)), keyed=True)

    def release(self, landing: Landing, batch: Batch) -> None:
        """Let the database forget what is in bronze."""
        if batch.cursor:
            with self.connected.session() as session:
                Slot(session, self._of(batch.cursor), self).move(batch.cursor["lsn"])

    def _checked(self, session: Session) -> Shape:
        """The shape of the relation.

        Raises:
            SourceError: it is not published, or its updates and deletions do not tell their rows.
        """
        self._check_publication(session)
        shape = self._relation.shape(session)
        if self._tells_of_old_rows(session):
            self._relation.check(shape)
        return shape

    def _tells_of_old_rows(self, session: Session) -> bool:
        query = (
            f"SELECT pubupdate OR pubdelete AS tells FROM pg_publication WHERE pubname = {literal(self.publication)}"
        )
        return any(tells for (tells,) in session.answer(Rows(query=query).select()))

    def _rows(self, session: Session, piece: Input) -> Iterator[Records]:
        """All rows, once there is a slot that holds what changes from now on."""
        if not self._looks:
            Slot(session, self._of(piece.detail), self).make()
        if not piece.detail["rows"]:
            return
        rows, first = self._relation.rows, 1
        columns = session.columns(rows)
        for frame in session.frames(rows, columns):
            about = {"change.kind": "snapshot", **dict.fromkeys(list(SCHEMA)[1:])}
            values = [pl.lit(value, pl.String).alias(name) for name, value in about.items()]
            yield of_frame(frame.with_columns(values), first)
            first += frame.height

    def _changes(self, session: Session, piece: Input, shape: Shape) -> Iterator[Records]:
        after, upto = _number(piece.detail["after"]), piece.detail["upto"]
        decoder, wanted = Decoder(), self._relation.name
        messages = Rows(query=f"SELECT data FROM {self._peek(self._of(piece.detail), upto=upto)}")
        held: list[Change] = []
        first = 1
        for frame in session.frames(messages, {"data": "bytea"}):
            for message in frame["data"]:
                for change in decoder.changes(bytes.fromhex(message)):
                    if change.relation == wanted and change.lsn >= after:
                        held.append(change)
            if len(held) >= PIECE:
                rows = self._of_changes(held, shape)
                if rows:
                    yield _frame_of(rows, first)
                first, held = first + len(rows), []
        if rows := self._of_changes(held, shape):
            yield _frame_of(rows, first)

    def _of_changes(self, changes: list[Change], shape: Shape) -> list[dict[str, str | None]]:
        """Changes as records, with what the log did not hold of them."""
        if any(change.unsent for change in changes):
            with self.connected.session() as beside:  # that of the log is being read
                changes = self._relation.filled(beside, shape, changes)
        return [record for change in changes for record in self._records(change, shape.key)]

    def _records(self, change: Change, key: Sequence[str]) -> list[dict[str, str | None]]:
        """A change as records: one, or two where the key of a row changed."""
        if change.kind == "truncate":
            if self.on_truncate == "ignore":
                telemetry.log.warning(f"{self.name}: {change.relation} was emptied at {change.committed_at}; ignored")
                return []
            raise SourceError(
                f"{change.relation} was emptied (TRUNCATE) at {change.committed_at}: delete its rows by a full load, "
                "then go on with `on_truncate: ignore`"
            )
        if change.kind == "delete":
            return [_record("delete", change, change.old or {})]
        new, old = change.new or {}, change.old or {}
        told = [name for name in key if name in old and (change.is_old_whole or old[name] is not None)]
        moved = any(new.get(name) != old[name] for name in told)
        gone = [_record("delete", change, old)] if change.kind == "update" and moved else []
        return [*gone, _record(change.kind, change, new)]

    def _check_publication(self, session: Session) -> None:
        """Raises SourceError where the relation is in no publication of that name, with what makes one."""
        of = self._relation
        query = (
            f"SELECT count(*) AS n FROM pg_publication_tables WHERE pubname = {literal(self.publication)} "
            f"AND schemaname = {literal(of.schema)} AND tablename = {literal(of.table)}"
        )
        ((count,),) = session.answer(Rows(query=query).select())
        if not count:
            raise SourceError(
                f"{self.connected.where} has no publication {self.publication} of {of.name}: "
                f"CREATE PUBLICATION {self.publication} FOR TABLE {of.plain}"
            )

    def _ahead(self, session: Session, slot: str) -> tuple[int, str | None, int]:
        """How many changes of the relation the slot gives, the end of the last transaction, and how many messages there
        are.
        """
        of = self._relation
        described = f"{of.schema}\0{of.table}\0".encode().hex()  # what follows the number of a relation
        length = len(described) // 2
        query = (
            f"WITH m AS MATERIALIZED (SELECT data FROM {self._peek(slot, count=self.batch_size)}), "
            "r AS (SELECT DISTINCT substring(data from 2 for 4) AS oid FROM m WHERE get_byte(data, 0) = 82 "
            f"AND substring(data from 6 for {length}) = decode('{described}', 'hex')) "
            "SELECT count(*) FILTER (WHERE get_byte(data, 0) IN (68, 73, 85) "
            "AND substring(data from 2 for 4) IN (SELECT oid FROM r) OR get_byte(data, 0) = 84 "
            "AND EXISTS (SELECT FROM r WHERE position(r.oid IN substring(data from 7)) > 0)) AS changes, "
            "max(encode(substring(data from 11 for 8), 'hex')) FILTER (WHERE get_byte(data, 0) = 67) AS ends, "
            "count(*) AS messages FROM m"
        )
        ((count, ends, total),) = session.answer(Rows(query=query).select())
        return count, None if ends is None else f"{int(ends[:8], 16):X}/{int(ends[8:], 16):X}", total

    def _peek(self, slot: str, upto: str | None = None, count: int | None = None) -> str:
        """The messages of the slot as a relation; the slot stays where it is."""
        until = f"'{upto}'" if upto else "NULL"
        return (
            f"pg_logical_slot_peek_binary_changes('{slot}', {until}, {count or 'NULL'}, "
            f"'proto_version', '1', 'publication_names', {literal(self.publication)})"
        )


@dataclass(frozen=True)
class Slot:
    """The replication slot of a source, which only what its lake noted before may move on: where somebody else moved
    it, changes are lost, and nothing in the database tells of them.
    """

    session: Session
    name: str
    source: Cdc

    def stands(self) -> str | None:
        """How far the slot was confirmed; None where there is none."""
        held = self._told(sa.cast(sa.column("confirmed_flush_lsn"), sa.Text))
        return None if held is None else str(held)

    def make(self) -> None:
        """Make the slot unless it stands, and note from where it holds what changes."""
        if self.stands() is None:
            _one(self.session, sa.func.pg_create_logical_replication_slot(self.name, "pgoutput"))
            telemetry.event(f"made the replication slot {self.name} on {self.source.connected.where}")
        self._note(self.stands() or BEGINNING)

    def check(self, cursor: dict[str, Any]) -> None:
        """Raises SourceError where the slot is gone, or was moved beyond all that this lake confirmed."""
        stands, noted = self.stands(), self._noted()
        where = f"the replication slot {self.name} of {self.source.connected.where}"
        anew = "give the source another name (and slot) to read the relation anew"
        if stands is None:
            raise SourceError(f"{where} is gone: changes since {cursor['lsn']} are lost; {anew}")
        if noted is None and "slot" not in cursor:  # a lake of before this was noted
            self._note(stands)
        elif _number(stands) > (own := max(_number(cursor["lsn"]), noted or 0)):
            raise SourceError(
                f"{where} stands at {stands}, and this lake confirmed no more than {_lsn(own)}: another lake, or this "
                f"one before it was restored, took the changes between; {anew}"
            )

    def move(self, upto: str | None) -> None:
        """Confirm what the slot gave up to a place, where it does not stand there. A look leaves it where it is."""
        stands = self.stands()
        if stands and upto and not self.source._looks and _number(upto) > _number(stands):
            self._note(upto)
            _one(self.session, sa.func.pg_replication_slot_advance(self.name, upto))

    def warn_of_what_piles_up(self) -> None:
        behind = self._told(sa.func.pg_wal_lsn_diff(sa.func.pg_current_wal_lsn(), sa.column("restart_lsn")))
        if behind is not None and behind > PILED_UP:
            telemetry.log.warning(
                f"{self.source.name}: {self.source.connected.where} keeps {int(behind) >> 20:,} MiB of its log for "
                f"slot {self.name}"
            )

    def _told(self, wanted: sa.ColumnElement[Any]) -> Any:
        slots = sa.select(wanted).select_from(sa.table("pg_replication_slots"))
        found = self.session.answer(slots.where(sa.column("slot_name") == self.name))
        return found[0][0] if found else None

    @property
    def _notes(self) -> str:
        return f"{CONFIRMED}/{self.source.name}/{self.name}"

    def _noted(self) -> int | None:
        lake = self.source._lake
        return (
            max((int(path.rpartition("/")[2], 16) for path in lake.objects(self._notes)), default=None)
            if lake
            else None
        )

    def _note(self, lsn: str) -> None:
        """Before the slot moves: a crash between leaves a note that is ahead of it."""
        lake = self.source._lake
        if lake and not self.source._looks:
            path = f"{self._notes}/{_number(lsn):016X}"
            lake.put(path, b"")
            lake.delete([older for older in lake.objects(self._notes) if older < path])


def _landed(known: Sequence[Batch]) -> dict[str, Any] | None:
    """Where the newest batch that does not wait ended; None where one waits."""
    for batch in reversed(known):
        if any(piece.detail.get("waits") for piece in batch.inputs):
            return None
        if batch.cursor is not None:
            return dict(batch.cursor)
    return None


def _one(session: Session, expression: Any) -> str:
    return str(session.answer(sa.select(sa.cast(expression, sa.Text)))[0][0])


def _number(lsn: str) -> int:
    """A place in the log as a number: two halves in hexadecimal."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _lsn(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def _record(kind: str, change: Change, values: Values) -> dict[str, str | None]:
    old, new = change.old, change.new
    changed = None
    if old is not None and new is not None and change.is_old_whole:
        changed = [name for name, value in new.items() if old.get(name) != value]
    about = {
        "kind": kind,
        "at": change.committed_at.isoformat(),
        "lsn": _lsn(change.lsn),
        "transaction": str(change.transaction),
        "changed": _json(changed),
        "old": _json(old),
        "new": _json(new),
        "unsent": _json(list(change.unsent) or None) if kind != "delete" else None,
    }
    return {**values, **{f"change.{name}": value for name, value in about.items()}}


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _frame_of(rows: list[dict[str, str | None]], first: int) -> Records:
    names = dict.fromkeys(name for row in rows for name in row)
    return of_frame(pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"), first)
