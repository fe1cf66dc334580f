"""PostgreSQL by ADBC: rows arrive as Arrow, none of them passes through Python.

Types that Arrow lacks are made text or JSON by the server: arrays and composites are JSON, intervals ISO 8601, money
is a number, all others (uuid, enums, network addresses, ranges, geometry, bits) as PostgreSQL writes them. ``numeric``
stays exact. Times are read in UTC, bytes are hexadecimal text, infinite dates the words ``infinity`` and ``-infinity``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeVar

import polars as pl
import pyarrow as pa
import sqlalchemy as sa
from pydantic import Field, field_validator
from sqlalchemy.dialects import postgresql

from customer360.platform.connections.databases import ALIAS, Database, Rows, Session
from customer360.platform.connections.patience import Patience
from customer360.platform.errors import SourceError, TransientError

Found = TypeVar("Found")

DIALECT = postgresql.dialect(paramstyle="named")  # which doubles no percent sign
# By ADBC as they are
KEPT = ("bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "name", "json",
        "jsonb", "date", "timestamp", "timestamptz", "bytea")  # fmt: skip
NUMBERS: dict[str, Any] = {"money": sa.Numeric(), "oid": sa.BigInteger()}
SESSION = (
    "SET TimeZone = 'UTC'", "SET DateStyle = 'ISO'", "SET IntervalStyle = 'iso_8601'", "SET extra_float_digits = 1",
    "SET default_transaction_read_only = on", "SET bytea_output = 'hex'", "SET statement_timeout = {milliseconds}",
)  # fmt: skip
# Classes of SQLSTATE: connection, resources, an operator's hand, a system error, a transaction that was rolled back
PASSING = ("08", "53", "57", "58", "40")
_LEAD = re.compile(r"^.*?(ERROR: +|Failed to connect: )|\. SQLSTATE: \w+$")
_REFUSED = re.compile(
    r"does not exist|authentication failed|no pg_hba.conf entry|permission denied|root certificate|SSL"
)
EPOCH, DAY = 946_684_800_000_000, 86_400_000_000  # 2000-01-01 and a day in microseconds
FIRST_DAY, LAST_DAY = -719_162, 2_932_896  # of the years 1 and 9999, in days from 1970
FARTHEST = 95_000_000  # days from 1970 that Polars can write
ALIVE = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3", "tcp_user_timeout": "60000"}
OWN = ("host", "port", "dbname", "user", "password", "connect_timeout")  # keys of libpq that have one of their own here


class PostgreSQL(Database):
    """A database of PostgreSQL, or what speaks its protocol."""

    kind: Literal["postgresql"] = "postgresql"
    host: str = "localhost"  # or the folder of a Unix socket
    port: int = Field(default=5432, ge=1, le=65535)
    database: str
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    options: dict[str, str] = {}  # of libpq, such as sslrootcert

    @field_validator("options")
    @classmethod
    def _are_no_own_keys(cls, options: dict[str, str]) -> dict[str, str]:
        if own := [key for key in options if key in OWN]:
            raise ValueError(f"{', '.join(own)}: has a key of its own beside options (a password: password_env)")
        return options

    @property
    def where(self) -> str:
        return f"postgresql at {self.host}:{self.port}, database {self.database}"

    def _parameters(self) -> str:
        """What libpq takes as keywords and values."""
        named = ALIVE | {
            "host": self.host, "port": str(self.port), "dbname": self.database, "user": self.user,
            "password": self.secret("password") or "", "sslmode": self.sslmode, "application_name": "customer360",
            "connect_timeout": str(max(2, round(self.connect_seconds))), **self.options,
        }  # fmt: skip
        quoted = {key: value.replace("\\", r"\\").replace("'", r"\'") for key, value in named.items() if value}
        return " ".join(f"{key}='{value}'" for key, value in quoted.items())

    @contextmanager
    def session(self) -> Iterator[Session]:
        try:
            from adbc_driver_postgresql import dbapi
        except ModuleNotFoundError:
            raise SourceError("kind: postgresql needs its driver: pip install 'customer360[db]'") from None
        parameters, patience = self._parameters(), Patience(self.where)
        session, held = _Session(self, patience), ExitStack()

        def connect() -> Any:
            connection = held.enter_context(dbapi.connect(parameters, autocommit=True))
            return held.enter_context(connection.cursor())

        try:
            session.cursor = session.asked(connect, self.connect_seconds + 5)
            for statement in SESSION:
                session.execute(statement.format(milliseconds=round(self.answer_seconds * 1000)))
            yield session
        finally:
            patience.end(held.close)


class _Session(Session):
    def __init__(self, server: PostgreSQL, patience: Patience):
        self.server, self.patience = server, patience
        self.cursor: Any = None

    def asked(self, call: Callable[[], Found], seconds: float | None = None) -> Found:
        """What the driver answers, its faults in our words."""
        try:
            return self.patience.call(call, seconds or self.server.answer_seconds + 5)
        except (SourceError, TransientError):
            raise
        except Exception as fault:  # noqa: BLE001 - of whatever class the driver has
            said = self.server.without_secrets(str(fault).partition("\n\nQuery was:")[0])
            state = str(getattr(fault, "sqlstate", None) or "")
            text = f"{self.server.where}: {_LEAD.sub('', said)}"
            raise (TransientError if _is_passing(state, said) else SourceError)(text) from None

    def execute(self, statement: str) -> None:
        self.asked(lambda: self.cursor.execute(statement))

    def columns(self, rows: Rows) -> dict[str, str]:
        schema = self.asked(lambda: self.cursor.adbc_execute_schema(_text(rows.select())))
        names = [field.name for field in schema]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SourceError(f"the query gives {', '.join(twice)} more than once: name its columns apart")
        types = {field.name: (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode() for field in schema}
        return types | self._named({name: kind for name, kind in types.items() if kind.startswith("unnamed<oid:")})

    def _named(self, unknown: dict[str, str]) -> dict[str, str]:
        """Types that the driver knows by number alone, by their names."""
        if not unknown:
            return {}
        oids = {name: kind.removeprefix("unnamed<oid:").removesuffix(">") for name, kind in unknown.items()}
        names: Any = sa.select(sa.column("oid"), sa.cast(sa.column("typname"), sa.Text)).select_from(
            sa.table("pg_type")
        )
        known = self.answer(names.where(sa.literal_column(f"oid IN ({', '.join(sorted(set(oids.values())))})")))
        named = {str(oid): kind for oid, kind in known}
        return {name: named.get(oid, unknown[name]) for name, oid in oids.items()}

    def answer(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        self.execute(_text(statement))
        table = self.asked(self.cursor.fetch_arrow_table)
        return list(zip(*(_plain(column).to_list() for column in table.columns), strict=True)) if table.num_rows else []

    def frames(self, rows: Rows, columns: dict[str, str]) -> Iterator[pl.DataFrame]:
        # The server is busy for as long as we take to write what came; each fetch has the patience of an answer
        self.execute("SET statement_timeout = 0")
        self.execute(_text(rows.select(*(_read_as(name, kind) for name, kind in columns.items()))))
        reader = self.asked(self.cursor.fetch_record_batch)
        empty = True
        while (batch := self.asked(lambda: next(reader, None))) is not None:
            yield _frame(pa.Table.from_batches([batch]))
            empty = False
        if empty:
            yield _frame(reader.schema.empty_table())

    def timeless(self, column: str, kind: str) -> sa.ColumnElement[bool]:
        found: sa.ColumnElement[Any] = sa.column(column)
        if kind in ("date", "timestamp", "timestamptz"):
            return found.is_(None) | ~sa.func.isfinite(found)
        if kind in ("numeric", "float4", "float8"):
            return found.is_(None) | sa.cast(found, sa.Text).in_(["NaN", "Infinity", "-Infinity"])
        return found.is_(None)

    def now(self) -> datetime.datetime:
        ((found,),) = self.answer(sa.select(sa.func.now()))
        assert isinstance(found, datetime.datetime)
        return found

    def snapshot(self) -> None:
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")

    def digest(self, rows: Rows, columns: dict[str, str]) -> str:
        whole = sa.func.hashtextextended(sa.cast(sa.literal_column(ALIAS), sa.Text), 0)
        total = sa.cast(sa.func.sum(sa.cast(whole, sa.Numeric)), sa.Text)
        ((count, found),) = self.answer(rows.select(sa.func.count(), total))
        return f"{count}:{found or 0}"


def _is_passing(state: str, said: str) -> bool:
    return state[:2] in PASSING or (not state and not _REFUSED.search(said))


def _text(statement: sa.Select[Any]) -> str:
    return str(statement.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))


def _read_as(name: str, kind: str) -> sa.ColumnElement[Any]:
    """How a column of a type is asked for, so that nothing of it is lost on the way."""
    column: sa.ColumnElement[Any] = sa.column(name)
    if kind in KEPT:
        return column
    if kind in NUMBERS:
        return sa.cast(column, NUMBERS[kind]).label(name)
    if kind.startswith("_"):
        return sa.cast(sa.func.to_json(column), sa.Text).label(name)
    if kind == "record" or kind == "hstore":
        return sa.cast(sa.func.to_json(column), sa.Text).label(name)
    if kind == "inet":  # as text an address has its mask, be it that of one host
        return sa.func.abbrev(column).label(name)
    return sa.cast(column, sa.Text).label(name)


def _frame(table: pa.Table) -> pl.DataFrame:
    found = [_plain(column).alias(name) for name, column in zip(table.column_names, table.columns, strict=True)]
    return pl.DataFrame(found)


def _plain(column: pa.ChunkedArray) -> pl.Series:
    """A column as records hold it: exact numbers, words for infinite times, hexadecimal bytes."""
    is_numeric = getattr(column.type, "type_name", "") == "numeric"
    if isinstance(column.type, pa.BaseExtensionType):
        parts = [chunk.storage for chunk in column.chunks]
        column = pa.chunked_array(parts, type=column.type.storage_type)
    values = pl.Series(column)
    if is_numeric:
        return exact(values)
    if values.dtype == pl.Binary:
        return values.bin.encode("hex")
    return _with_words(values) if values.dtype in (pl.Date, pl.Datetime) else values


def exact(text: pl.Series) -> pl.Series:
    """Numbers as text as decimals with all their digits; NaN is null, as nothing can be told by it. Text where they do
    not fit 38 digits, or one is infinite.
    """
    known = text.set((text.str.to_lowercase() == "nan").fill_null(value=False), None)
    fraction = known.str.extract(r"\.(\d+)$").str.len_chars().max()
    scale = fraction if isinstance(fraction, int) else 0
    if scale > 38:
        return known
    found = known.cast(pl.Decimal(38, scale), strict=False)
    return found if found.null_count() == known.null_count() else known


def _with_words(values: pl.Series) -> pl.Series:
    """Times as they are; text in ISO 8601 where some are none that a calendar has."""
    number = values.to_physical()
    bits, epoch, day = (32, 10_957, 1) if values.dtype == pl.Date else (64, EPOCH, DAY)
    within = number.is_between(FIRST_DAY * day, (LAST_DAY + 1) * day - 1)
    if within.all():
        return values
    most, least = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    last = number.is_in([most, least + epoch - 1])  # the driver adds its epoch to both ends, and turns over
    first = number.is_in([least, least + epoch])
    beyond = (number.abs() > FARTHEST * day) & ~last & ~first
    known = values.set((last | first | beyond).fill_null(value=False), None).dt.to_string("iso")
    words = pl.when(last).then(pl.lit("infinity")).when(first).then(pl.lit("-infinity"))
    words = words.when(beyond).then(pl.lit("beyond the year 262143"))
    return pl.select(words.otherwise(known).alias(values.name)).to_series()
