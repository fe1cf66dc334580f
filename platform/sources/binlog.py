"""Changes of one relation of MySQL or MariaDB as a source, by the binary log: inserts, updates and deletions in the
order of their commits. The log keeps them as long as the server says; the source only notes how far it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import polars as pl
import sqlalchemy as sa
from pydantic import Field, model_validator

from customer360.platform import telemetry
from customer360.platform.connections import Connection
from customer360.platform.connections.databases import Rows, Session
from customer360.platform.connections.mysql import MySQL
from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch, Input, last_cursor
from customer360.platform.sources.base import Discovery, Lag, Source
from customer360.platform.sources.formats.records import Records, of_frame, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.changes.binlog import (
    Binlog,
    Event,
    Group,
    Place,
    Unreadable,
    files_of,
    server_of,
    settings_faults,
    status_of,
)
from customer360.platform.sources.protocols.changes.records import (
    DELETES,
    SCHEMA,
    Record,
    Values,
    frame_of,
    of_snapshot,
    record,
)

PIECE = 50_000  # changes of one piece
ANEW = "`on_lost: snapshot` reads the relation anew"


class BinlogSource(Source):
    """Changes of ``relation``. Of each record ``change.kind`` is ``snapshot``, ``insert``, ``update`` or ``delete``;
    beside it stand ``change.id``, ``change.at``, ``change.lsn`` (file and place), ``change.transaction`` (its GTID),
    ``change.changed``, ``change.old`` and ``change.new``. A deletion deletes its key unless ``deleted`` says else; a
    row whose key changed is a deletion and an update.

    The first batch notes where the log ends and reads the relation; what changed in between comes again with the
    second. A place is a file and an offset of one server; of MariaDB it is also its GTIDs, by which a replica that took
    its server's place goes on.
    """

    connects: ClassVar[type[Connection] | None] = MySQL
    rereads: ClassVar[Literal["each", "newest", "never"]] = "newest"

    kind: Literal["binlog"] = "binlog"
    relation: str = Field(min_length=1)  # of the connection's database, or schema.name
    server_id: int = Field(default=0, ge=0, le=2**32 - 1)  # as no other replica has it; 0: one made of the name
    snapshot: bool = True  # read what stands before the first change
    batch_size: int = Field(default=100_000, ge=1)  # events of one batch, about: transactions are whole
    # The relation was emptied: stop, pass it by, delete all that it had, or land a record whose kind is ``truncate``
    on_truncate: Literal["refuse", "ignore", "delete", "record"] = "refuse"
    on_lost: Literal["refuse", "snapshot"] = "refuse"  # the server threw away what was not read: read it anew

    @model_validator(mode="after")
    def _deletes(self) -> Self:
        return self if self.deleted or self.group_by else self.model_copy(update={"deleted": DELETES})

    @property
    def is_in_order(self) -> bool:
        return True

    @property
    def lane(self) -> str:
        """A server hangs up on one of two that ask under one id."""
        return f"binlog {self._log.server_id}"

    @property
    def connected(self) -> MySQL:
        found = super().connected
        assert isinstance(found, MySQL)
        return found

    @property
    def _log(self) -> Binlog:
        schema, _, table = self.relation.rpartition(".")
        own = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4]) | 1 << 31
        return Binlog(self.connected, schema or self.connected.database, table, self.server_id or own)

    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """What the log holds since the last batch, up to about ``batch_size`` events; at first all rows.

        Raises:
            SourceError: the server does not write what is needed, or threw away what was not read yet.
        """
        end = status_of(self.connected)
        cursor = last_cursor(known)
        with self.connected.session() as session:
            self._check(session)
            server = server_of(session)
            if cursor is None:
                self._warn_of_cascades(session)
        if cursor is None:
            return self._anew(end, server, {"rows": self.snapshot})
        after = Place.read(cursor["place"])
        if (str(after), cursor["server"]) == (str(end), server):
            return Discovery()
        try:
            if server != cursor["server"] and cursor.get("gtids"):
                after = self._moved(after, cursor["gtids"])
            elif lost := self._lost(after, end, cursor, server):
                raise Unreadable(f"{self.connected.where}: {lost}")
            detail, has_changes = self._range(after, end)
        except Unreadable as lost:
            if self.on_lost == "refuse":
                raise SourceError(f"{lost}; {ANEW}") from None
            telemetry.log.warning(f"{self.name}: {lost}; reads {self.relation} anew")
            return self._anew(end, server, {"rows": True, "emptied": True})
        upto = Place.read(detail["upto"])
        if not has_changes and (after == end or (upto.file == after.file and server == cursor["server"])):
            return Discovery()
        stands = self._cursor(upto, server)
        detail |= {"server": server, "gtids": [cursor.get("gtids"), stands["gtids"]]}
        name = f"{self.relation}/{detail['after']}-{detail['upto']}"
        return Discovery((Input(name, detail),), stands)

    def _anew(self, end: Place, server: str, detail: dict[str, Any]) -> Discovery:
        stands = self._cursor(end, server)
        detail |= {"server": server, "gtids": [None, stands["gtids"]]}
        return Discovery((Input(f"{self.relation}/rows", detail),), stands)

    def _cursor(self, place: Place, server: str) -> dict[str, Any]:
        return {"place": str(place), "server": server, "begun": self._log.begun(place.file),
                "gtids": self._log.gtids(place)}  # fmt: skip

    def _moved(self, after: Place, gtids: str) -> Place:
        """A place in the log of another server, where this one's goes on."""
        found = self._log.place_after(gtids)
        telemetry.event(f"{self.name}: goes on in the log of another server: at {found}, not {after} (GTID {gtids})")
        return found

    def _lost(self, after: Place, end: Place, cursor: dict[str, Any], server: str) -> str:
        """Why what came after a place is not to be had; empty where it is."""
        if server != cursor["server"]:
            return f"it is server {server}, and the place {after} is one in the log of server {cursor['server']}"
        if end < after:
            return f"its log ends at {end}, and was read up to {after}: it was begun anew"
        if after.file not in files_of(self.connected):
            return f"{after.file} is gone (binlog_expire_logs_seconds, PURGE): changes since {after} are lost"
        if cursor.get("begun") not in (None, self._log.begun(after.file)):
            return f"its {after.file} is another file than the one that was read up to {after}: the log was begun anew"
        return ""

    def _range(self, after: Place, end: Place) -> tuple[dict[str, Any], bool]:
        """The bounds of a batch, and whether anything happened to the relation in them. One in which the relation was
        emptied begins after that, where that deletes.
        """
        count, emptied, last = 0, False, after
        has_changes = False
        for group in self._log.groups(after, end):
            if group.is_emptied and self.on_truncate == "delete":
                if has_changes:
                    return _detail(after, last, emptied), True
                after, emptied = group.end, True
            for event in group.events:
                event.check()
            has_changes = has_changes or bool(group.events) or group.is_emptied
            count += len(group.events)
            last = group.end
            if count >= self.batch_size:
                return _detail(after, last, emptied), True
        return _detail(after, max(last, end), emptied), has_changes

    def read(self, landing: Landing, piece: Input) -> Records:
        return together(self.pieces(landing, piece))

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        with self.connected.session() as session:
            columns = session.columns(self._rows)
            key = self._check(session)
            is_empty = True
            if "upto" in piece.detail:
                log = replace(self._log, kinds=self._kinds(session))
                found = self._changes(log.groups(*self._here(piece, server_of(session))), columns, key)
            else:
                found = self._standing(session, piece)
            for records in found:
                yield records
                is_empty = False
        if is_empty:  # a mapping finds its columns, and there is nothing in them
            names = {**dict.fromkeys(columns, pl.String), **SCHEMA}
            yield replace(of_frame(pl.DataFrame(schema=names)), keyed=True)

    def behind(self, known: Sequence[Batch]) -> Lag | None:
        """Bytes of the log since what is in bronze."""
        if (cursor := last_cursor(known)) is None:
            return None
        after = Place.read(cursor["place"])
        with self.connected.session() as session:
            server = server_of(session)
        if server != cursor["server"] and cursor.get("gtids"):
            after = self._log.place_after(cursor["gtids"])
        sizes = files_of(self.connected)
        return Lag(sum(n for file, n in sizes.items() if Place.of(file, 0) >= after[:1]) - after.offset, "bytes")

    @property
    def _rows(self) -> Rows:
        return Rows(f'"{self._log.schema}"."{self._log.table}"')

    def _standing(self, session: Session, piece: Input) -> Iterator[Records]:
        """All rows, as of one moment."""
        if not piece.detail["rows"]:
            return
        if piece.detail.get("server", "") not in ("", server_of(session)) and (upto := piece.detail["gtids"][1]):
            self._log.place_after(upto)  # rows that are older than what is read after them would stay so
        session.snapshot()
        first = 1
        for frame in session.frames(self._rows, session.columns(self._rows)):
            yield of_snapshot(frame, first)
            first += frame.height

    def _here(self, piece: Input, server: str) -> tuple[Place, Place]:
        """The bounds of an input in the log of the server that is asked now, whichever it was when they were fixed.

        Raises:
            Unreadable: they are none of it.
        """
        after, upto = Place.read(piece.detail["after"]), Place.read(piece.detail["upto"])
        if piece.detail.get("server", server) == server:
            return after, upto
        first, last = piece.detail["gtids"]
        if not first or not last:
            raise Unreadable(
                f"{self.connected.where} is server {server}, and {piece.name} is of the log of server "
                f"{piece.detail['server']}; {ANEW} once `customer360 batch drop` let the batch go"
            )
        return self._moved(after, first), self._moved(upto, last)

    def _changes(self, groups: Iterator[Group], columns: dict[str, str], key: Sequence[str]) -> Iterator[Records]:
        held, first = list[Record](), 1
        for group in groups:
            if group.is_emptied:
                held += self._emptied(group, columns)
            while group.events:  # their rows are let go one after another: a transaction may be large
                event = group.events.popleft()
                held += [r for place, row in enumerate(event.rows) for r in _records(event, group, place, row, key)]
                if len(held) >= PIECE:
                    yield frame_of(held, first)
                    first, held = first + len(held), []
        if held:
            yield frame_of(held, first)

    def _emptied(self, group: Group, columns: dict[str, str]) -> list[Record]:
        said = f"{self.relation} was emptied (TRUNCATE) at {group.end}"
        if self.on_truncate == "record":
            about = {"id": str(group.end), "lsn": str(group.end), "transaction": group.transaction,
                     "at": group.at.isoformat() if group.at else None}  # fmt: skip
            return [record("truncate", dict.fromkeys(columns), about)]
        if self.on_truncate == "ignore":
            telemetry.log.warning(f"{self.name}: {said}; ignored")
            return []
        raise SourceError(
            f"{said}: drop the batch, and `on_truncate: delete` deletes the rows that it had then, "
            "`on_truncate: ignore` keeps them"
        )

    def _check(self, session: Session) -> tuple[str, ...]:
        """The columns of its primary key.

        Raises:
            SourceError: it has none, or the server's log does not hold what is needed.
        """
        if faults := settings_faults(session):
            raise SourceError(f"{self.connected.where}: SET GLOBAL {', '.join(faults)}")
        packed = [name for name, kind in self._kinds(session).items() if "COMPRESSED" in kind]
        if packed:
            raise SourceError(
                f"columns of {self.relation} of {self.connected.where} are COMPRESSED, which its log does not tell: "
                f"{', '.join(packed)}"
            )
        log = self._log
        of = sa.table("KEY_COLUMN_USAGE", schema="information_schema")
        is_key = (
            (sa.column("TABLE_SCHEMA") == log.schema)
            & (sa.column("TABLE_NAME") == log.table)
            & (sa.column("CONSTRAINT_NAME") == "PRIMARY")
        )
        asked: sa.Select[Any] = sa.select(sa.column("COLUMN_NAME")).select_from(of).where(is_key)
        if key := tuple(str(name) for (name,) in session.answer(asked)):
            return key
        raise SourceError(
            f"{self.relation} of {self.connected.where} is no table, or has no primary key that tells its rows apart: "
            f"ALTER TABLE {self.relation} ADD PRIMARY KEY (…)"
        )

    def _kinds(self, session: Session) -> dict[str, str]:
        """The types of its columns, as the server names them."""
        of = sa.table("COLUMNS", schema="information_schema")
        here = (sa.column("TABLE_SCHEMA") == self._log.schema) & (sa.column("TABLE_NAME") == self._log.table)
        asked: Any = sa.select(sa.column("COLUMN_NAME"), sa.column("COLUMN_TYPE"))
        asked = asked.select_from(of).where(here)
        return {str(name): str(kind) for name, kind in session.answer(asked)}

    def _warn_of_cascades(self, session: Session) -> None:
        """Rows that a foreign key deletes or changes are in no log."""
        of = sa.table("REFERENTIAL_CONSTRAINTS", schema="information_schema")
        acts = sa.column("DELETE_RULE").in_(("CASCADE", "SET NULL"))
        moves = sa.column("UPDATE_RULE").in_(("CASCADE", "SET NULL"))
        here = (sa.column("CONSTRAINT_SCHEMA") == self._log.schema) & (sa.column("TABLE_NAME") == self._log.table)
        found = session.answer(sa.select(sa.column("CONSTRAINT_NAME")).select_from(of).where(here & (acts | moves)))
        if names := ", ".join(sorted(str(name) for (name,) in found)):
            telemetry.log.warning(
                f"{self.name}: the server logs nothing of what foreign keys of {self.relation} delete or change "
                f"({names}: CASCADE, SET NULL): such rows stay as they were"
            )


def _detail(after: Place, upto: Place, emptied: bool) -> dict[str, Any]:
    return {"after": str(after), "upto": str(upto)} | ({"emptied": True} if emptied else {})


def _records(
    event: Event, group: Group, place: int, row: tuple[Values | None, Values | None], key: Sequence[str]
) -> Iterator[Record]:
    """A change as records: one, or two where the key of a row changed."""
    old, new = row
    about = {
        "at": event.at.isoformat(), "lsn": str(event.place), "transaction": group.transaction,
    }  # fmt: skip
    own = f"{event.place}:{place}"
    if event.kind == "delete":
        yield record("delete", old or {}, {**about, "id": own}, old=old)
        return
    if event.kind == "update" and any((old or {}).get(name) != (new or {}).get(name) for name in key):
        yield record("delete", old or {}, {**about, "id": f"{own}k"}, old=old)
    yield record(event.kind, new or {}, {**about, "id": own}, old=old, new=new, is_old_whole=old is not None)
