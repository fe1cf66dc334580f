"""Changes of one relation of PostgreSQL as a source, by a logical replication slot: inserts, updates and deletions in
the order of their commits. The slot moves on when a batch is in bronze; until then it gives the same changes again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
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
from customer360.platform.sources.formats.records import Records, no_records, of_frame, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.changes.pgoutput import Change, Decoder, Values

PIECE = 50_000  # changes of one piece
BEGINNING = "0/0"
PILED_UP = 1 << 30  # bytes of the database's log that a slot keeps, from which a run says so
NAMES = ("kind", "at", "lsn", "transaction", "changed", "old", "new")  # columns change.… of each record
SCHEMA = {f"change.{name}": pl.String for name in NAMES}
_SLOT = re.compile(r"[^a-z0-9_]")


class Cdc(Source):
    """Changes of ``relation``, whose ``publication`` stands in the database. Of each record ``change.kind`` is
    ``snapshot``, ``insert``, ``update`` or ``delete``; beside it stand ``change.at`` (when it was committed, UTC),
    ``change.lsn``, ``change.transaction``, ``change.changed`` (names of columns, a JSON list), ``change.old`` and
    ``change.new`` (JSON objects). A deletion deletes its key unless ``deleted`` says else; a row whose key changed is a
    deletion and an insertion.

    The first batch makes the slot and reads the relation as it is then; what changes after that is in the slot.
    """

    connects: ClassVar[type[Connection] | None] = PostgreSQL

    kind: Literal["cdc"] = "cdc"
    relation: str = Field(min_length=1)  # schema.name
    publication: str = "customer360"
    slot: str = Field(default="", pattern=r"^[a-z0-9_]{0,63}$")  # empty: customer360_ and the name of the source
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
        return self.slot or f"customer360_{_SLOT.sub('_', self.name.lower())}"[:63]

    @property
    def _relation(self) -> str:
        return self.relation if "." in self.relation else f"public.{self.relation}"

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """The changes that the slot holds, up to about ``batch_size``; at first the rows of the relation.

        Raises:
            SourceError: the slot is gone, or may not be read.
        """
        cursor = last_cursor(known)
        if cursor is None:
            return Discovery((Input(f"{self.relation}/rows", {"rows": self.snapshot}),), {"lsn": BEGINNING})
        newest = known[-1] if known else None
        if newest and any(piece.detail.get("waits") for piece in newest.inputs):
            return Discovery()  # the slot gives the changes of a batch that waits; when it is in bronze, those after it
        with self.connected.session() as session:
            self._check_publication(session)
            self._warn_of_what_piles_up(session)
            flushed = _one(session, sa.func.pg_current_wal_flush_lsn())
            self._move(session, cursor["lsn"])  # where a crash came between a commit and its release
            count, upto, total = self._ahead(session)
            if not count:
                self._move(session, upto or (flushed if not total else None))  # other relations' changes go
                return Discovery()
        name = f"{self.relation}/{cursor['lsn']}-{upto}"
        return Discovery((Input(name, {"after": cursor["lsn"], "upto": upto}),), {"lsn": upto})

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        with self.connected.session() as session:
            found = self._changes(session, piece) if "upto" in piece.detail else self._rows(session, piece)
            is_empty = True
            for records in found:
                yield records
                is_empty = False
        if is_empty:
            yield no_records()

    def release(self, landing: Landing, batch: Batch) -> None:
        """Let the database forget what is in bronze."""
        if batch.cursor:
            with self.connected.session() as session:
                self._move(session, batch.cursor["lsn"])

    def _rows(self, session: Session, piece: Input) -> Iterator[Records]:
        """All rows, once there is a slot that holds what changes from now on."""
        self._check_publication(session)
        if not self._stands(session):
            _one(session, sa.func.pg_create_logical_replication_slot(self._slot, "pgoutput"))
            telemetry.event(f"made the replication slot {self._slot} on {self.connected.where}")
        if not piece.detail["rows"]:
            return
        rows, first = Rows(self.relation), 1
        columns = session.columns(rows)
        for frame in session.frames(rows, columns):
            about = {"change.kind": "snapshot", **dict.fromkeys(list(SCHEMA)[1:])}
            values = [pl.lit(value, pl.String).alias(name) for name, value in about.items()]
            yield of_frame(frame.with_columns(values), first)
            first += frame.height

    def _changes(self, session: Session, piece: Input) -> Iterator[Records]:
        after, upto = _number(piece.detail["after"]), piece.detail["upto"]
        decoder, wanted, key = Decoder(), self._relation, self._key(session)
        messages = Rows(query=f"SELECT data FROM {self._peek(upto=upto)}")
        held: list[dict[str, str | None]] = []
        first = 1
        for frame in session.frames(messages, {"data": "bytea"}):
            for message in frame["data"]:
                for change in decoder.changes(bytes.fromhex(message)):
                    if change.relation == wanted and change.lsn >= after:
                        held += self._records(change, key)
            if len(held) >= PIECE:
                yield _frame_of(held, first)
                first, held = first + len(held), []
        if held:
            yield _frame_of(held, first)

    def _records(self, change: Change, key: list[str]) -> list[dict[str, str | None]]:
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
        moved = any(old.get(name) is not None and new.get(name) != old[name] for name in key)
        gone = [_record("delete", change, old)] if change.kind == "update" and moved else []
        return [*gone, _record(change.kind, change, new)]

    def _key(self, session: Session) -> list[str]:
        """The columns of the primary key of the relation."""
        query = (
            "SELECT a.attname::text AS name FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
            "AND a.attnum = ANY(i.indkey) WHERE i.indisprimary "
            f"AND i.indrelid = to_regclass('{_quoted(self._relation)}')"
        )
        return [name for (name,) in session.answer(Rows(query=query).select())]

    def _check_publication(self, session: Session) -> None:
        """Raises SourceError where the relation is in no publication of that name, with what makes one."""
        query = (
            f"SELECT count(*) AS n FROM pg_publication_tables WHERE pubname = '{_quoted(self.publication)}' "
            f"AND schemaname || '.' || tablename = '{_quoted(self._relation)}'"
        )
        ((count,),) = session.answer(Rows(query=query).select())
        if not count:
            raise SourceError(
                f"{self.connected.where} has no publication {self.publication} of {self._relation}: "
                f"CREATE PUBLICATION {self.publication} FOR TABLE {self._relation}"
            )

    def _stands(self, session: Session) -> str | None:
        """How far the slot was confirmed; None where there is none."""
        slots = sa.table("pg_replication_slots")
        held = sa.cast(sa.column("confirmed_flush_lsn"), sa.Text)
        named = sa.select(held).select_from(slots).where(sa.column("slot_name") == self._slot)
        found = session.answer(named)
        return str(found[0][0]) if found else None

    def _ahead(self, session: Session) -> tuple[int, str | None, int]:
        """How many changes the slot gives, the end of the last transaction, and how many messages there are."""
        query = (
            "SELECT count(*) FILTER (WHERE get_byte(data, 0) IN (68, 73, 84, 85)) AS changes, "
            "max(encode(substring(data from 11 for 8), 'hex')) FILTER (WHERE get_byte(data, 0) = 67) AS ends, "
            f"count(*) AS messages FROM {self._peek(count=self.batch_size)}"
        )
        ((count, ends, total),) = session.answer(Rows(query=query).select())
        return count, None if ends is None else f"{int(ends[:8], 16):X}/{int(ends[8:], 16):X}", total

    def _peek(self, upto: str | None = None, count: int | None = None) -> str:
        """The messages of the slot as a relation; the slot stays where it is."""
        until = f"'{upto}'" if upto else "NULL"
        return (
            f"pg_logical_slot_peek_binary_changes('{self._slot}', {until}, {count or 'NULL'}, "
            f"'proto_version', '1', 'publication_names', '{_quoted(self.publication)}')"
        )

    def _move(self, session: Session, upto: str | None) -> None:
        """Confirm what the slot gave up to a place, where it does not stand there."""
        stands = self._stands(session)
        if stands is None and upto not in (None, BEGINNING):
            raise SourceError(
                f"the replication slot {self._slot} is gone from {self.connected.where}: changes since {upto} are "
                "lost; give the source another name to read the relation anew"
            )
        if stands and upto and _number(upto) > _number(stands):
            _one(session, sa.func.pg_replication_slot_advance(self._slot, upto))

    def _warn_of_what_piles_up(self, session: Session) -> None:
        slots = sa.table("pg_replication_slots")
        behind = sa.func.pg_wal_lsn_diff(sa.func.pg_current_wal_lsn(), sa.column("restart_lsn"))
        found = session.answer(sa.select(behind).select_from(slots).where(sa.column("slot_name") == self._slot))
        if found and found[0][0] is not None and found[0][0] > PILED_UP:
            telemetry.log.warning(
                f"{self.name}: {self.connected.where} keeps {int(found[0][0]) >> 20:,} MiB of its log for slot "
                f"{self._slot}"
            )


def _one(session: Session, expression: Any) -> str:
    return str(session.answer(sa.select(sa.cast(expression, sa.Text)))[0][0])


def _quoted(name: str) -> str:
    return name.replace("'", "''")


def _number(lsn: str) -> int:
    """A place in the log as a number: two halves in hexadecimal."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _lsn(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def _record(kind: str, change: Change, values: Values) -> dict[str, str | None]:
    old, new = change.old, change.new
    changed = None
    if old is not None and new is not None and None not in old.values():
        changed = [name for name, value in new.items() if old.get(name) != value]
    about = {
        "kind": kind,
        "at": change.committed_at.isoformat(),
        "lsn": _lsn(change.lsn),
        "transaction": str(change.transaction),
        "changed": _json(changed),
        "old": _json(old),
        "new": _json(new),
    }
    return {**values, **{f"change.{name}": value for name, value in about.items()}}


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _frame_of(rows: list[dict[str, str | None]], first: int) -> Records:
    names = dict.fromkeys(name for row in rows for name in row)
    return of_frame(pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"), first)
