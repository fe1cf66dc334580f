"""The binary log of MySQL and MariaDB: where it stands, and its events between two places, a transaction at a time."""

from __future__ import annotations

import datetime
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from customer360.platform.connections.databases import Session
from customer360.platform.connections.mysql import MySQL, MySQLSession
from customer360.platform.errors import ConfigError, SourceError, TransientError
from customer360.platform.sources.protocols.changes import packets
from customer360.platform.sources.protocols.changes.records import Values
from customer360.platform.sources.protocols.changes.rows import Layout, NoRow

NEEDED = {"log_bin": "ON", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL"}
# Where a server has these: events that they write cannot be read
UNWANTED = {"log_bin_compress": "OFF", "binlog_transaction_compression": "OFF", "binlog_row_value_options": "''"}
COMPRESSED, PAYLOAD, PARTIAL, INCIDENT = 0xA5, 0x28, 0x27, 0x1A  # numbers of events: MariaDB's from the first on
PURGED, DENIED = (1236,), (1045, 1142, 1227)
FIRST = 4  # bytes before the first event of a file
UNNAMED = "UNKNOWN_COL"  # how the client names columns that the log does not
_EMPTIED = re.compile(
    r"\s*+(?>/\*.*?\*/\s*+)*+TRUNCATE\s+(?:TABLE\s+)?(?:`?([^`.\s]+)`?\.)?`?([^`.\s;]+)`?", re.I | re.S
)

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

    layouts: dict[int, Layout]  # of descriptions of the table, by the address of their columns
    kinds: Mapping[str, str]

    def check(self) -> None:
        """Raises Unreadable where the log does not name its columns, or leaves some of them out."""
        columns = self.raw.columns
        if any(not column.name or column.name.startswith(UNNAMED) for column in columns):
            raise Unreadable(
                f"the event at {self.place} does not name its columns: it was written before "
                "binlog_row_metadata = FULL, or its table is another one now"
            )
        held = [self.raw.columns_present_bitmap, getattr(self.raw, "columns_present_bitmap2", None)]
        whole = (1 << len(columns)) - 1
        if any(bits is not None and int.from_bytes(bits, "little") & whole != whole for bits in held):
            raise Unreadable(f"the event at {self.place} lacks columns: it was written before binlog_row_image = FULL")

    @property
    def rows(self) -> list[tuple[Values | None, Values | None]]:
        """Values before and after of each row. Raises Unreadable as ``check`` does, and where it is damaged."""
        self.check()
        raw = self.raw
        try:
            if (layout := self.layouts.get(id(raw.columns))) is None:
                layout = self.layouts[id(raw.columns)] = Layout(raw.columns, self.kinds)
            if (left := raw.event_size - raw.packet.read_bytes) < 0:
                raise NoRow("breaks off before its rows")
            images = layout.images(raw.packet.read(left))
        except NoRow as fault:
            raise Unreadable(f"the event at {self.place} {fault}") from None
        if self.kind == "insert":
            return [(None, image) for image in images]
        if self.kind == "delete":
            return [(image, None) for image in images]
        if len(images) % 2:
            raise Unreadable(f"the event at {self.place} breaks off within an update")
        return list(zip(images[::2], images[1::2], strict=True))


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
    kinds: Mapping[str, str] = field(default_factory=dict)  # types of its columns now, as the server names them

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
            except ValueError as fault:  # the name of a file, or of a schema
                at = f"{stream.log_file}:{stream.log_pos}"
                raise Unreadable(f"the event at {at} is damaged ({type(fault).__name__})") from None
            finally:
                stream.close()

    def _grouped(self, stream: Any, rows: dict[Any, Any], upto: Place) -> Iterator[Group]:
        group, layouts = Group(upto), dict[int, Layout]()
        file = stream.log_file
        for raw in _whole(stream):
            place, name = Place.of(stream.log_file, stream.log_pos), type(raw).__name__
            if name == "RotateEvent":
                if place.file == file:  # as a connection begins; where an event ends, it says itself
                    continue
                if not _comes_next(place, file):
                    raise Unreadable(f"the log goes on at {place} after {file}, which is not what follows")
                if place > upto:
                    return
                # Numbers of tables are those of a server that did not stop in between, which begins a file. One of
                # these also comes after each connection: the client makes a new one within a statement too
                stream.table_map = {}
                file = stream.log_file
            elif place > upto:
                return
            elif name in ("GtidEvent", "MariadbGtidEvent"):
                group.transaction = str(raw.gtid)
            elif type(raw) in rows:
                at = datetime.datetime.fromtimestamp(raw.timestamp, datetime.UTC)
                group.events.append(Event(rows[type(raw)], place, at, raw, layouts, self.kinds))
            elif fault := _unreadable(raw, group):
                raise Unreadable(f"the log at {place} {fault}")
            elif name in ("XidEvent", "XAPrepareEvent") or (name == "QueryEvent" and not _WITHIN.match(raw.query)):
                group.end = place
                group.is_emptied = name == "QueryEvent" and self._is_emptied(raw)
                group.at = datetime.datetime.fromtimestamp(raw.timestamp, datetime.UTC)
                yield group
                group = Group(upto)
        if (end := Place.of(stream.log_file, stream.log_pos)) < upto:
            raise TransientError(f"{self.server.where} ends its log at {end} so far, and not at {upto} as it said")

    def _is_emptied(self, raw: Any) -> bool:
        found = _EMPTIED.match(raw.query)
        default = raw.schema.decode() if isinstance(raw.schema, bytes) else raw.schema
        return found is not None and (found[1] or default, found[2]) == (self.schema, self.table)

    def gtids(self, place: Place) -> str | None:
        """The transactions up to a place, by which other servers of MariaDB know it; None where it has none."""
        with self.server.session() as session:
            ((version,),) = session.answer(sa.select(sa.func.version()))
            if "mariadb" not in str(version).lower():
                return None
            ((found,),) = session.answer(sa.select(sa.func.binlog_gtid_pos(place.file, place.offset)))
        return _in_order(found) if found else None

    def place_after(self, gtids: str) -> Place:
        """Where the log of this server goes on after transactions that were read from another one's.

        Raises:
            Unreadable: it does not have them, or has others between them.
            TransientError: it does not have all of them yet.
        """
        from pymysqlreplication import event

        end, found = status_of(self.server), None
        with _said(self.server):
            stream = self._stream([event.MariadbGtidEvent], None, gtids)
            try:
                if (first := next(_whole(stream), None)) is not None:
                    found = Place.of(stream.log_file, stream.log_pos - first.packet.event_size)
            finally:
                stream.close()
        if self.gtids(found or end) == gtids:
            return found or end
        if found is None:
            raise TransientError(f"{self.server.where} has no more than a part of the transactions {gtids} yet")
        raise Unreadable(f"{self.server.where} has other transactions among {gtids}, in an order of its own")

    def _stream(self, kinds: list[Any], after: Place | None, gtids: str = "") -> Any:
        from pymysqlreplication import BinLogStreamReader

        server = self.server
        said: dict[str, Any] = {
            "host": server.host, "port": server.port, "user": server.user, "passwd": server.secret("password") or "",
            "charset": "utf8mb4", "connect_timeout": max(1, round(server.connect_seconds)),
            "read_timeout": max(1, round(server.answer_seconds)),
        }  # fmt: skip
        said |= {"unix_socket": server.socket} if server.socket else {}
        said |= {"ssl": {"ca": server.ssl_ca}} if server.ssl_ca else {}
        begin: dict[str, Any] = {"is_mariadb": True, "auto_position": gtids}
        if after is not None:
            begin = {"log_file": after.file, "log_pos": after.offset}
        return BinLogStreamReader(
            said, self.server_id, **begin, resume_stream=True, blocking=False,
            only_events=kinds, only_schemas=[self.schema], only_tables=[self.table], enable_logging=False,
            pymysql_wrapper=packets.connect,
            filter_non_implemented_events=False,  # it stops at those that hold changes
            freeze_schema=True,  # what a number of a table means is read once: an altered table has another one
        )  # fmt: skip


def _comes_next(place: Place, file: str) -> bool:
    """Whether a log goes on at a place after a file. What says so is sent without a checksum as a connection begins."""
    before = Place.of(file, 0)
    names = place.file.rpartition(".")[0], file.rpartition(".")[0]
    return place.number == before.number + 1 and names[0] == names[1] and place.offset == FIRST


def _in_order(gtids: str) -> str:
    return ",".join(sorted(gtids.split(",")))


def _whole(stream: Any) -> Iterator[Any]:
    """Events of a log, each as it was written.

    Raises:
        Unreadable: one is damaged.
    """
    from pymysql.err import Error

    while True:
        try:
            raw = stream.fetchone()
        except (Error, OSError):
            raise
        except Exception as fault:  # noqa: BLE001 - damaged bytes raise whatever they are taken for
            said = f"{fault}" if isinstance(fault, packets.NoEvent) else f"cannot be read ({type(fault).__name__})"
            raise Unreadable(f"the event after {stream.log_file}:{stream.log_pos} is damaged: it {said}") from None
        if raw is None:
            return
        yield raw


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
    others = [event.XidEvent, event.XAPrepareEvent, event.QueryEvent, event.GtidEvent,
              event.MariadbGtidEvent, event.RotateEvent, event.NotImplementedEvent,
              row_event.PartialUpdateRowsEvent]  # fmt: skip
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


def server_of(session: Session) -> str:
    """The id of the server that a session is of."""
    return str(session.answer(sa.select(sa.literal_column("@@server_id")))[0][0])


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
