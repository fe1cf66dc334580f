"""Databases by any SQLAlchemy dialect: rows are fetched many at a time and put into columns."""

from __future__ import annotations

import datetime
import decimal
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import polars as pl
import sqlalchemy as sa

from customer360.platform.connections.databases import Database, Rows, Session
from customer360.platform.connections.patience import Patience
from customer360.platform.errors import SourceError, TransientError

Found = TypeVar("Found")
FETCHED = 20_000  # rows at a time
MIDNIGHT = datetime.datetime(1, 1, 1)
DAY = datetime.timedelta(days=1)


@contextmanager
def opened(
    server: Database,
    url: sa.URL,
    options: Mapping[str, Any],
    session: type[RowSession],
    passing: Callable[[BaseException], bool],
) -> Iterator[Session]:
    """A session by a dialect of SQLAlchemy; ``passing`` says of a fault of the driver whether it may be gone again."""
    patience = Patience(server.where)
    try:
        engine = sa.create_engine(url, connect_args=dict(options), poolclass=sa.pool.NullPool)
    except (ModuleNotFoundError, sa.exc.ArgumentError) as fault:
        said = server.without_secrets(str(fault))
        raise SourceError(f"{server.where}: {said}; its driver may have to be installed") from None
    made = session(server, engine, patience, passing)
    try:
        made.connect()
        yield made
    finally:
        patience.end(made.close)


class RowSession(Session):
    """A session by a dialect of SQLAlchemy."""

    before: tuple[str, ...] = ()  # statements that open a session

    def __init__(
        self, server: Database, engine: sa.Engine, patience: Patience, passing: Callable[[BaseException], bool]
    ):
        self.server, self.engine, self.patience, self.passing = server, engine, patience, passing
        self.connection: Any = None

    def connect(self) -> None:
        self.connection = self.asked(self.engine.connect, self.server.connect_seconds + 5)
        for statement in self.before:
            text = statement.format(seconds=round(self.server.answer_seconds))
            self.asked(lambda text=text: self.connection.exec_driver_sql(text))  # type: ignore[misc]

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()

    def asked(self, call: Callable[[], Found], seconds: float | None = None) -> Found:
        """What the driver answers, its faults in our words."""
        try:
            return self.patience.call(call, seconds or self.server.answer_seconds + 5)
        except (SourceError, TransientError):
            raise
        except Exception as fault:  # noqa: BLE001 - of whatever class the driver has
            cause = getattr(fault, "orig", None) or fault
            said = self.server.without_secrets(" ".join(map(str, cause.args)) or type(cause).__name__)
            kind = TransientError if self.passing(cause) else SourceError
            raise kind(f"{self.server.where}: {said}") from None

    def columns(self, rows: Rows) -> dict[str, str]:
        nothing = Rows(rows.relation, rows.query, (*rows.conditions, sa.literal_column("1") == sa.literal_column("0")))
        result = self.asked(lambda: self.connection.execute(nothing.select()))
        described = self.asked(lambda: result.cursor.description)
        names = [column[0] for column in described]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SourceError(f"the query gives {', '.join(twice)} more than once: name its columns apart")
        return {column[0]: self.type_name(column) for column in described}

    def type_name(self, column: Any) -> str:
        """The server's name for the type of a column of a result, as far as the driver tells it."""
        return getattr(column[1], "__name__", str(column[1] if column[1] is not None else ""))

    def answer(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.asked(lambda: self.connection.execute(statement).fetchall())]

    def frames(self, rows: Rows, columns: dict[str, str]) -> Iterator[pl.DataFrame]:
        statement = rows.select(*(sa.column(name) for name in columns))
        result = self.asked(lambda: self.connection.execution_options(stream_results=True).execute(statement))
        empty = True
        while found := self.asked(lambda: result.fetchmany(FETCHED)):
            by_column = zip(columns.items(), zip(*found, strict=True), strict=True)
            yield pl.DataFrame([_series(name, [self.value(v, kind) for v in vs]) for (name, kind), vs in by_column])
            empty = False
        if empty:
            yield pl.DataFrame(schema=dict.fromkeys(columns, pl.String))

    def value(self, value: Any, kind: str) -> Any:
        """A value of a column of a type as one of Polars, or as text."""
        return plain(value)

    def digest(self, rows: Rows, columns: dict[str, str]) -> str:
        statement = rows.select(*(sa.column(name) for name in columns))
        result = self.asked(lambda: self.connection.execution_options(stream_results=True).execute(statement))
        count = total = 0
        while found := self.asked(lambda: result.fetchmany(FETCHED)):
            count += len(found)
            total += sum(
                int.from_bytes(hashlib.blake2b(repr(tuple(r)).encode(), digest_size=8).digest()) for r in found
            )
        return f"{count}:{total}"


def _series(name: str, values: list[Any]) -> pl.Series:
    """Values of one kind in the type that holds them all; of several kinds as text."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, dtype=pl.String)
    if len(kinds) == 1 and kinds <= {bool, float, str, datetime.datetime, datetime.date}:
        return pl.Series(name, values)
    if kinds == {int}:
        return _whole(name, values)
    if kinds <= {int, decimal.Decimal}:
        return _decimals(name, values)
    return pl.Series(name, [None if v is None else _text(v) for v in values], dtype=pl.String)


def _whole(name: str, values: list[Any]) -> pl.Series:
    known = [value for value in values if value is not None]
    fits = min(known) >= -(2**63) and max(known) < 2**63
    return pl.Series(name, values, dtype=pl.Int64) if fits else _decimals(name, values)


def _decimals(name: str, values: list[Any]) -> pl.Series:
    exact = [None if v is None else decimal.Decimal(v) for v in values]
    finite = [v if v is None or v.is_finite() else None for v in exact]
    scale = max((max(0, -int(v.as_tuple().exponent)) for v in finite if v is not None), default=0)
    try:
        return pl.Series(name, finite, dtype=pl.Decimal(38, scale))
    except (pl.exceptions.PolarsError, RuntimeError, OverflowError):  # more than 38 digits
        return pl.Series(name, [None if v is None else f"{v:f}" for v in exact], dtype=pl.String)


def plain(value: Any) -> Any:
    """A value of a driver as one of Polars, or as text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime.timedelta):  # a time of day, or a span
        if datetime.timedelta() <= value < DAY:
            return (MIDNIGHT + value).time().isoformat()
        return f"PT{value.total_seconds():g}S"
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    if isinstance(value, datetime.time | UUID):
        return str(value)
    return value


def _text(value: Any) -> str:
    return value.isoformat(" ") if isinstance(value, datetime.datetime) else str(value)
