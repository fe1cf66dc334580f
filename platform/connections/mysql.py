"""MySQL and MariaDB. Unsigned numbers and decimals stay exact, a bit is a number, a set its text, bytes are hexadecimal
text; a date that is none (``0000-00-00``) keeps its text. A TIMESTAMP is an instant; a DATETIME is of no zone, so say
``timezone:`` where it is not UTC.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import Field

from customer360.platform.connections.databases import Database, Rows, Session
from customer360.platform.connections.rowwise import RowSession, opened

BIT = "BIT"
TIMES = ("DATE", "NEWDATE", "DATETIME", "TIMESTAMP")
# Cannot connect, gone away, lost, too many connections, lock wait, deadlock, time-outs of both servers
PASSING = (2002, 2003, 2006, 2013, 1040, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 1317, 1969, 3024)


class MySQL(Database):
    """A database of MySQL or MariaDB."""

    kind: Literal["mysql"] = "mysql"
    host: str = "localhost"
    port: int = Field(default=3306, ge=1, le=65535)
    socket: str = ""  # path of a Unix socket, instead of host and port
    database: str
    ssl_ca: str = ""  # file of certificates; where it is given, the server must have one of them

    @property
    def where(self) -> str:
        return f"mysql at {self.socket or f'{self.host}:{self.port}'}, database {self.database}"

    @contextmanager
    def session(self) -> Iterator[Session]:
        url = sa.URL.create(
            "mysql+pymysql", self.user or None, self.secret("password"), self.host, self.port, self.database
        )
        options: dict[str, Any] = {
            "charset": "utf8mb4", "connect_timeout": max(1, round(self.connect_seconds)),
            "read_timeout": max(1, round(self.answer_seconds)),
        }  # fmt: skip
        options |= {"unix_socket": self.socket} if self.socket else {}
        options |= {"ssl": {"ca": self.ssl_ca}} if self.ssl_ca else {}
        with opened(self, url, options, MySQLSession, _is_passing) as session:
            yield session


def _is_passing(fault: BaseException) -> bool:
    return bool(fault.args) and fault.args[0] in PASSING


class MySQLSession(RowSession):
    instants = ("TIMESTAMP",)
    # Rows wait in the server while we write those that came; its own patience for that is a minute
    before = ("SET SESSION TRANSACTION READ ONLY", "SET SESSION time_zone = '+00:00'",
              "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
              "SET SESSION net_write_timeout = {seconds}")  # fmt: skip

    def show(self, statement: str) -> list[tuple[Any, ...]]:
        """The few rows of a SHOW, which is no SELECT."""
        return [tuple(row) for row in self.asked(lambda: self.connection.exec_driver_sql(statement).fetchall())]

    def type_name(self, column: Any) -> str:
        from pymysql.constants import FIELD_TYPE

        names = {number: name for name, number in reversed(vars(FIELD_TYPE).items()) if isinstance(number, int)}
        return names.get(column[1], str(column[1]))

    def value(self, value: Any, kind: str) -> Any:
        if kind == BIT and isinstance(value, bytes):
            return int.from_bytes(value)
        if kind == "TIMESTAMP" and isinstance(value, datetime.datetime):
            return value.replace(tzinfo=datetime.UTC)
        return super().value(value, kind)

    def timeless(self, column: str, kind: str) -> sa.ColumnElement[bool]:
        found: sa.ColumnElement[Any] = sa.column(column)
        return found.is_(None) | (found < "0001-01-01") if kind in TIMES else found.is_(None)

    def now(self) -> datetime.datetime:
        ((found,),) = self.answer(sa.select(sa.func.utc_timestamp(6)))
        assert isinstance(found, datetime.datetime)
        return found.replace(tzinfo=datetime.UTC)

    def digest(self, rows: Rows, columns: dict[str, str]) -> str:
        whole = sa.func.md5(sa.func.concat_ws("#", *(sa.func.quote(sa.column(name)) for name in columns)))
        number = sa.cast(sa.func.conv(sa.func.left(whole, 15), 16, 10), sa.Numeric(38, 0))
        ((count, found),) = self.answer(rows.select(sa.func.count(), sa.func.sum(number)))
        return f"{count}:{found or 0}"
