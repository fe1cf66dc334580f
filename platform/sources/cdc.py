"""Changes of one relation of PostgreSQL as a source, by a logical replication slot: inserts, updates and deletions in
the order of their commits. The slot moves on when a batch is in bronze; until then it gives the same changes again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from customer360.platform.sources.base import Discovery, Lag, Source
from customer360.platform.sources.formats.records import Records, of_frame, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.changes.pgoutput import Change, Decoder
from customer360.platform.sources.protocols.changes.records import (
    DELETES,
    SCHEMA,
    Kind,
    Record,
    Values,
    frame_of,
    of_snapshot,
    record,
)
from customer360.platform.sources.protocols.changes.relations import Relation, Shape, literal
from customer360.platform.sources.protocols.changes.slots import BEGINNING, LostChanges, Slot, lsn_of, number, one

PIECE = 50_000  # changes of one piece
_SLOT = re.compile(r"[^a-z0-9_]")


class Cdc(Source):
    """Changes of ``relation``, whose ``publication`` stands in the database. Of each record ``change.kind`` is
    ``snapshot``, ``insert``, ``update`` or ``delete``; beside it stand ``change.id`` (tells it from all others),
    ``change.at`` (when it was committed, UTC), ``change.lsn``, ``change.transaction``, ``change.changed`` (names of
    columns, a JSON list), ``change.old`` and ``change.new`` (JSON objects), and ``change.unsent``: columns that the log
    did not hold, as they are large and did not change, with the values that the row had when the change was read. A
    deletion deletes its key unless ``deleted`` says else; a row whose key changed is a deletion and an update.

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
    # The relation was emptied: stop, pass it by, delete all that it had, or land a record whose kind is ``truncate``
    on_truncate: Literal["refuse", "ignore", "delete", "record"] = "refuse"
    on_lost: Literal["refuse", "snapshot"] = "refuse"  # changes that the slot does not hold: read the relation anew

    @model_validator(mode="after")
    def _deletes(self) -> Self:
        if self.deleted or self.group_by:
            return self
        return self.model_copy(update={"deleted": DELETES})

    @property
    def connected(self) -> PostgreSQL:
        found = super().connected
        assert isinstance(found, PostgreSQL)
        return found

    @property
    def is_in_order(self) -> bool:
        return True

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
            return self._anew(self._slot, {"rows": self.snapshot})
        cursor = _landed(known)
        with self.connected.session() as session:
            slot = Slot(session, self._of(cursor or last_cursor(known)), self)
            slot.warn_of_what_piles_up()
            if cursor is None:
                return Discovery()  # the slot gives the changes of a batch that waits; those after it when it landed
            self._checked(session)
            try:
                slot.check(cursor)
            except LostChanges as fault:
                if self.on_lost == "refuse":
                    raise
                telemetry.log.warning(f"{self.name}: {fault}")
                return self._anew(slot.name, {"rows": True, "emptied": True})
            slot.move(cursor["lsn"])  # where a crash came between a commit and its release
            count = 0
            while not count:
                flushed = one(session, sa.func.pg_current_wal_flush_lsn())
                count, upto, total = self._ahead(session, slot.name)
                if not count:
                    slot.move(upto if total else flushed)  # other relations' changes go
                    if self._looks or not total:
                        return Discovery()
            detail = {"after": cursor["lsn"], "upto": upto, "slot": slot.name}
            if self.on_truncate == "delete":
                detail |= self._cut(session, detail)
        name = f"{self.relation}/{cursor['lsn']}-{detail['upto']}"
        return Discovery((Input(name, detail),), {"lsn": detail["upto"], "slot": slot.name})

    def _anew(self, slot: str, detail: dict[str, Any]) -> Discovery:
        """All rows of the relation, and what changes from then on."""
        piece = Input(f"{self.relation}/rows", {**detail, "slot": slot})
        return Discovery((piece,), {"lsn": BEGINNING, "slot": slot})

    def _cut(self, session: Session, detail: dict[str, Any]) -> dict[str, str]:
        """Where a batch ends and, as ``emptied``, where in it the relation was emptied: that is in its first
        transaction or not in it at all, so that what a batch holds is all that the relation has since.
        """
        decoder, before, emptied, is_first = Decoder(), detail["upto"], "", True
        truncated, own = "", 0
        for lsn, message in self._messages(session, detail):
            for change in decoder.changes(message):
                if change.relation == self._relation.name and change.lsn >= number(detail["after"]):
                    own += 1
                    truncated = lsn if change.kind == "truncate" else truncated
            if message[:1] != b"C":
                continue
            if truncated and (emptied or not is_first):
                return {"upto": before} | ({"emptied": emptied} if emptied else {})
            before, emptied = lsn_of(int.from_bytes(message[10:18])), emptied or truncated
            is_first, truncated, own = is_first and not own, "", 0
        return {"emptied": emptied} if emptied else {}

    def _messages(self, session: Session, detail: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
        """The messages of a batch, each with its place in the log."""
        peek = self._peek(self._of(detail), upto=detail["upto"])
        rows = Rows(query=f"SELECT lsn::text AS lsn, data FROM {peek}")
        for frame in session.frames(rows, {"lsn": "text", "data": "bytea"}):
            for lsn, message in frame.iter_rows():
                yield lsn, bytes.fromhex(message)

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

    def behind(self, known: Sequence[Batch]) -> Lag | None:
        """Bytes that the database's log has grown by, whatever they hold, since what is in bronze."""
        if (cursor := last_cursor(known)) is None:
            return None
        with self.connected.session() as session:
            return Lag(Slot(session, self._of(cursor), self).behind("confirmed_flush_lsn"), "bytes")

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
            yield of_snapshot(frame, first)
            first += frame.height

    def _changes(self, session: Session, piece: Input, shape: Shape) -> Iterator[Records]:
        after, emptied = number(piece.detail["after"]), number(piece.detail.get("emptied", BEGINNING))
        decoder, wanted = Decoder(), self._relation.name
        held: list[Change] = []
        first = 1
        for lsn, message in self._messages(session, piece.detail):
            for change in decoder.changes(message):
                if change.relation == wanted and change.lsn >= after and number(lsn) > emptied:
                    held.append(change)
            if len(held) >= PIECE and message[:1] == b"C":
                rows = self._of_changes(held, shape)
                if rows:
                    yield frame_of(rows, first)
                first, held = first + len(rows), []
        if rows := self._of_changes(held, shape):
            yield frame_of(rows, first)

    def _of_changes(self, changes: list[Change], shape: Shape) -> list[Record]:
        """Changes as records, with what the log did not hold of them."""
        if any(change.unsent for change in changes):
            with self.connected.session() as beside:  # that of the log is being read
                changes = self._relation.filled(beside, shape, changes)
        return [record for change in changes for record in self._records(change, shape)]

    def _records(self, change: Change, shape: Shape) -> list[Record]:
        """A change as records: one, or two where the key of a row changed."""
        if change.kind == "truncate":
            return self._of_truncate(change, shape)
        if change.kind == "delete":
            return [_record("delete", change, change.old or {})]
        new, old = change.new or {}, change.old or {}
        told = [name for name in shape.key if name in old and (change.is_old_whole or old[name] is not None)]
        moved = any(new.get(name) != old[name] for name in told)
        gone = [_record("delete", change, old, "-key")] if change.kind == "update" and moved else []
        return [*gone, _record(change.kind, change, new)]

    def _of_truncate(self, change: Change, shape: Shape) -> list[Record]:
        said = f"{change.relation} was emptied (TRUNCATE) at {change.committed_at}"
        if self.on_truncate == "record":
            return [_record("truncate", change, dict.fromkeys(shape.columns))]
        if self.on_truncate == "ignore":
            telemetry.log.warning(f"{self.name}: {said}; ignored")
            return []
        raise SourceError(
            f"{said}: drop the batch if one waits, and `on_truncate: delete` deletes the rows that it had then, "
            "`on_truncate: ignore` keeps them"
        )

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


def _landed(known: Sequence[Batch]) -> dict[str, Any] | None:
    """Where the newest batch that does not wait ended; None where one waits."""
    for batch in reversed(known):
        if any(piece.detail.get("waits") for piece in batch.inputs):
            return None
        if batch.cursor is not None:
            return dict(batch.cursor)
    return None


def _record(kind: Kind, change: Change, values: Values, part: str = "") -> Record:
    return record(
        kind,
        values,
        {
            "id": f"{lsn_of(change.lsn)}-{change.number}{part}",
            "at": change.committed_at.isoformat(),
            "lsn": lsn_of(change.lsn),
            "transaction": str(change.transaction),
        },
        old=change.old,
        new=change.new,
        is_old_whole=change.is_old_whole,
        unsent=change.unsent if kind != "delete" else (),
    )
