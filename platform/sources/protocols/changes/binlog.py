"""The binary log of MySQL and MariaDB: where it stands, and its events between two places, a transaction at a time."""

from __future__ import annotations

import datetime
import json
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from customer360.platform.connections.databases import Session
from customer360.platform.connections.mysql import MySQL, MySQLSession
from customer360.platform.connections.rowwise import plain
from customer360.platform.errors import ConfigError, SourceError, TransientError
from customer360.platform.sources.protocols.changes.records import Values

NEEDED = {"log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL"}
# Where a server has these: events that they write cannot be read
UNWANTED = {"log_bin_compress": "OFF", "binlog_transaction_compression": "OFF", "binlog_row_value_options": "''"}
COMPRESSED, PAYLOAD, PARTIAL, INCIDENT = 0xA5, 0x28, 0x27, 0x1A  # numbers of events: MariaDB's from the first on
PURGED, DENIED = (1236,), (1045, 1142, 1227)
UNNAMED = "UNKNOWN_COL"  # how the client names columns that the log does not
_EMPTIED = re.compile(r"\s*(?:/\*.*?\*/\s*)*TRUNCATE\s+(?:TABLE\s+)?(?:`?([^`.\s]+)`?\.)?`?([^`.\s;]+)`?", re.I | re.S)

_WITHIN = re.compile(
    r"\s*(BEGIN|SAVEPOINT|RELEASE\s|ROLLBACK\s+TO|XA\s+(START|BEGIN|END))\b", re.I
)  # statements that end no transaction


class Unreadable(SourceError):
    """The log does not hold what came next, or not so that it can be read; the relation itself can be read anew."""


class Place(NamedTuple):
    """A place in the log: places of one server compare as they follow each other."""

    number: int  # of the file
    offset: int
    file: str

    @classmethod
    def of(cls, file: str, offset: int) -> Place:
        return cls(int(file.rpartition(".")[2]), offset, file)

    @classmethod
    def read(cls, text: str) -> Place:
        """Of ``file:offset``."""
        file, _, offset = text.rpartition(":")
        return cls.of(file, int(offset))

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


@dataclass(frozen=True)
class Event:
    """Rows of a relation that one event changed: values before and after of each, those that there are."""

    kind: Literal["insert", "update", "delete"]
    place: Place  # where it ends
    at: datetime.datetime
    raw: Any

    def check(self) -> None:
        """Raises Unreadable where the log does not name its columns."""
        if any(not column.name or column.name.startswith(UNNAMED) for column in self.raw.columns):
            raise Unreadable(
                f"the event at {self.place} does not name its columns: it was written before "
                "binlog_row_metadata = FULL, or its table is another one now"
            )

    @property
    def rows(self) -> list[tuple[Values | None, Values | None]]:
        """Raises Unreadable as ``check`` does."""
        self.check()
        types = {column.name: column for column in self.raw.columns}
        old, new = ("before_values", "after_values") if self.kind == "update" else ("values", "values")
        return [
            (
                None if self.kind == "insert" else _texts(row[old], types),
                None if self.kind == "delete" else _texts(row[new], types),
            )
            for row in self.raw.rows
        ]


@dataclass
class Group:
    """A transaction, or a statement that is none: where it ends, and what it did to a relation."""

    end: Place
    transaction: str | None = None
    events: deque[Event] = field(default_factory=deque)
    is_emptied: bool = False
    at: datetime.datetime | None = None  # of what was emptied


@dataclass(frozen=True)
class Binlog:
    """The log of a server for one relation."""

    server: MySQL
    schema: str
    table: str
    server_id: int  # under which we ask, as no other replica does

    def begun(self, file: str) -> int | None:
        """When a file of the log was begun, in seconds since 1970: a log that was begun anew has another such file."""
        _, _, first = _library()
        with _said(self.server):
            stream = self._stream([first], Place.of(file, 4))
            try:
                return next((int(raw.timestamp) for raw in stream), None)
            finally:
                stream.close()

    def groups(self, after: Place, upto: Place) -> Iterator[Group]:
        """What happened after a place, up to another; groups that did nothing to the relation have no events.

        Raises:
            SourceError: the server does not let us read its log.
            Unreadable: it does not have that place any more, or the log holds what cannot be read.
            TransientError: it does not answer.
        """
        kinds, rows, _ = _library()
        with _said(self.server):
            stream = self._stream(kinds, after)
            try:
                yield from self._grouped(stream, rows, upto)
            finally:
                stream.close()

    def _grouped(self, stream: Any, rows: dict[Any, Any], upto: Place) -> Iterator[Group]:
        group, file = Group(upto), stream.log_file
        for raw in stream:
            place = Place.of(stream.log_file, stream.log_pos)
            if place > upto:
                return
            name = type(raw).__name__
            if name == "RotateEvent":
                # Numbers of tables are those of a server that did not stop in between, which begins a file. One of
                # these also comes after each connection: the client makes a new one within a statement too
                if stream.log_file != file:
                    stream.table_map = {}
                file = stream.log_file
            elif name in ("GtidEvent", "MariadbGtidEvent"):
                group.transaction = str(raw.gtid)
            elif type(raw) in rows:
                at = datetime.datetime.fromtimestamp(raw.timestamp, datetime.UTC)
                group.events.append(Event(rows[type(raw)], place, at, raw))
            elif fault := _unreadable(raw, group):
                raise Unreadable(f"the log at {place} {fault}")
            elif name in ("XidEvent", "XAPrepareEvent") or (name == "QueryEvent" and not _WITHIN.match(raw.query)):
                group.end = place
                group.is_emptied = name == "QueryEvent" and self._is_emptied(raw)
                group.at = datetime.datetime.fromtimestamp(raw.timestamp, datetime.UTC)
                yield group
                group = Group(upto)

    def _is_emptied(self, raw: Any) -> bool:
        found = _EMPTIED.match(raw.query)
        default = raw.schema.decode() if isinstance(raw.schema, bytes) else raw.schema
        return found is not None and (found[1] or default, found[2]) == (self.schema, self.table)

    def _stream(self, kinds: list[Any], after: Place) -> Any:
        from pymysqlreplication import BinLogStreamReader

        server = self.server
        said: dict[str, Any] = {
            "host": server.host, "port": server.port, "user": server.user, "passwd": server.secret("password") or "",
            "charset": "utf8mb4", "connect_timeout": max(1, round(server.connect_seconds)),
            "read_timeout": max(1, round(server.answer_seconds)),
        }  # fmt: skip
        said |= {"unix_socket": server.socket} if server.socket else {}
        said |= {"ssl": {"ca": server.ssl_ca}} if server.ssl_ca else {}
        return BinLogStreamReader(
            said, self.server_id, resume_stream=True, log_file=after.file, log_pos=after.offset, blocking=False,
            only_events=kinds, only_schemas=[self.schema], only_tables=[self.table], enable_logging=False,
            filter_non_implemented_events=False,  # it stops at those that hold changes
            freeze_schema=True,  # what a number of a table means is read once: an altered table has another one
        )  # fmt: skip


def _unreadable(raw: Any, group: Group) -> str:
    """Why an event, or the group that it ends, cannot be read; empty where it can."""
    name, number = type(raw).__name__, raw.event_type
    if number >= COMPRESSED or number == PAYLOAD:
        return f"is compressed (event {number}; log_bin_compress, binlog_transaction_compression)"
    if number == PARTIAL:
        return "holds parts of values (binlog_row_value_options)"
    if number == INCIDENT:
        return "says that changes are missing before it"
    if name == "XAPrepareEvent" and not raw.one_phase and group.events:
        return "holds changes of a distributed transaction (XA PREPARE), which may be rolled back later"
    return ""


def _library() -> tuple[list[Any], dict[Any, Any], Any]:
    """Events that are read, what those of rows do, and the first event of a file."""
    try:
        from pymysqlreplication import event, row_event
    except ImportError:
        raise ConfigError("kind: binlog needs mysql-replication: pip install 'customer360[db]'") from None
    rows = {
        row_event.WriteRowsEvent: "insert",
        row_event.UpdateRowsEvent: "update",
        row_event.DeleteRowsEvent: "delete",
    }
    others = [event.XidEvent, event.XAPrepareEvent, event.QueryEvent, event.GtidEvent, event.MariadbGtidEvent,
              event.RotateEvent, event.NotImplementedEvent, row_event.PartialUpdateRowsEvent]  # fmt: skip
    return [*rows, *others], rows, event.FormatDescriptionEvent


@contextmanager
def _said(server: MySQL) -> Iterator[None]:
    """Faults of the driver as ours, in one line without a secret."""
    from pymysql.err import Error

    try:
        yield
    except Error as fault:
        code, text = (*fault.args, "")[:2] if len(fault.args) > 1 else (0, str(fault))
        said = server.without_secrets(f"{server.where}: {text}")
        if code in DENIED:
            raise SourceError(
                f"{said}; the user needs GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* "
                "(MariaDB: BINLOG MONITOR for the last)"
            ) from None
        if code in PURGED:  # under the same number it says that another replica has our server_id
            raise (SourceError if "same server" in text else Unreadable)(said) from None
        raise TransientError(said) from None


def settings_faults(session: Session) -> list[str]:
    """Statements that let the server write what is read; empty where it does."""
    assert isinstance(session, MySQLSession)
    try:
        (found,) = session.show(f"SELECT {', '.join(f'@@GLOBAL.{name}' for name in NEEDED)}")
    except SourceError:
        raise SourceError(
            "its log does not name columns (binlog_row_metadata): MySQL 8.0.14 or MariaDB 10.5 do"
        ) from None
    told = [("ON" if str(value) == "1" else str(value)).upper() for value in found]
    names = ", ".join(f"'{name}'" for name in UNWANTED)
    there = session.show(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
    unwanted = {str(name).lower(): str(value).upper() or "''" for name, value in there}
    wrong = {name for (name, wanted), value in zip(NEEDED.items(), told, strict=True) if value != wanted}
    wrong |= {name for name, value in unwanted.items() if value != UNWANTED[name]}
    return [f"{name} = {wanted}" for name, wanted in {**NEEDED, **UNWANTED}.items() if name in wrong]


def files_of(server: MySQL) -> dict[str, int]:
    """The files of the log with their sizes, in order."""
    return {str(row[0]): int(row[1]) for row in _asked(server, "SHOW BINARY LOGS")}


def status_of(server: MySQL) -> Place:
    """Where the log ends now. Raises SourceError where there is none."""
    for statement in ("SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"):
        try:
            found = _asked(server, statement)
        except SourceError:
            if statement.endswith("MASTER STATUS"):
                raise
            continue
        if found:
            return Place.of(str(found[0][0]), int(found[0][1]))
    raise SourceError(f"{server.where} writes no binary log: log_bin = ON, binlog_format = ROW")


def _asked(server: MySQL, statement: str) -> list[tuple[Any, ...]]:
    with server.session() as session:
        assert isinstance(session, MySQLSession)
        return session.show(statement)


def _texts(row: dict[str, Any], types: dict[str, Any]) -> Values:
    return {name: _text(value, types.get(name)) for name, value in row.items()}


def _text(value: Any, column: Any) -> str | None:
    """A value as text, as reads of the relation write it."""
    from pymysql.constants import FIELD_TYPE

    if value is None:
        return None
    kind = getattr(column, "type", None)
    if kind == FIELD_TYPE.BIT:
        return str(int(value, 2)) if isinstance(value, str) else str(value)
    if isinstance(value, datetime.datetime):
        zone = "+00:00" if kind in (FIELD_TYPE.TIMESTAMP, 17) else ""  # 17: with fractions of a second
        return value.isoformat(" ") + zone
    if isinstance(value, set | frozenset):
        order = [str(each) for each in getattr(column, "set_values", None) or sorted(value)]
        return ",".join(each for each in order if each in value)
    if isinstance(value, dict | list):
        return json.dumps(_decoded(value), ensure_ascii=False)
    return str(plain(value))


def _decoded(value: Any) -> Any:
    """JSON whose texts are text: the client gives bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_decoded(key): _decoded(each) for key, each in value.items()}
    return [_decoded(each) for each in value] if isinstance(value, list) else value
