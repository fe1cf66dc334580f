"""Real servers: what each type becomes, what a server that does not answer costs, and what faults say."""

from __future__ import annotations

import datetime
import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from customer360.platform.connections.databases import Database, Pieces, Rows
from customer360.platform.connections.mysql import MySQL
from customer360.platform.connections.postgresql import PostgreSQL
from customer360.platform.connections.rowwise import _series
from customer360.platform.connections.sqlalchemy import SQLAlchemy
from customer360.platform.errors import ConfigError, SourceError, TransientError
from customer360.platform.sources.formats.records import of_frame

UTC = datetime.UTC

POSTGRES_TYPES = [
    ("boolean", "true", True),
    ("smallint", "-5", -5),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("real", "1.5", 1.5),
    ("numeric", "'123456789012345678901234567890.125'", Decimal("123456789012345678901234567890.125")),
    ("numeric(12,3)", "1.500", Decimal("1.500")),
    ("numeric", "'NaN'", None),
    ("money", "'-1234.50'::numeric", Decimal("-1234.50")),
    ("varchar(9)", "'1.500'", "1.500"),
    ("char(5)", "'ab'", "ab   "),
    ("json", """'{"b": [1, 2]}'""", '{"b": [1, 2]}'),
    ("jsonb", """'{"b":[1,2]}'""", '{"b": [1, 2]}'),
    ("timestamp", "'2026-03-29 02:30:00.000001'", datetime.datetime(2026, 3, 29, 2, 30, 0, 1)),
    ("timestamptz", "'2026-03-29 02:30+02'", datetime.datetime(2026, 3, 29, 0, 30, tzinfo=UTC)),
    ("timestamptz", "'infinity'", "infinity"),
    ("timestamp", "'-infinity'", "-infinity"),
    ("timestamp", "'250000-01-01'", "+250000-01-01 00:00:00.000000"),
    ("timestamp", "'290000-01-01'", "beyond the year 262143"),
    ("date", "'infinity'", "infinity"),
    ("date", "'2026-02-28'", datetime.date(2026, 2, 28)),
    ("time", "'10:00:01.5'", "10:00:01.5"),
    ("timetz", "'10:00+02'", "10:00:00+02"),
    ("interval", "'1 month 2 days 3 hours'", "P1M2DT3H"),
    ("bytea", r"'\x00ff'", "00ff"),
    ("bytea", r"'\x6162'", "6162"),
    ("uuid", "'00000000-0000-0000-0000-00000000000A'", "00000000-0000-0000-0000-00000000000a"),
    ("int[]", "'{1,NULL,3}'", "[1,null,3]"),
    ("text[]", """'{a,"b c"}'""", '["a","b c"]'),
    ("t_mood", "'ok'", "ok"),
    ("t_mood[]", "'{ok}'", '["ok"]'),
    ("t_cents", "5", 5),
    ("inet", "'10.0.0.1'", "10.0.0.1"),
    ("point", "'(1,2)'", "(1,2)"),
    ("bit(4)", "'0101'", "0101"),
    ("int4range", "'[1,5)'", "[1,5)"),
    ("tsvector", "'b a'", "'a' 'b'"),
    ("oid", "4000000000", 4000000000),
    ("text", "null", None),
]
MARIA_TYPES = [
    ("tinyint(1)", "1", 1),
    ("bigint unsigned", "18446744073709551615", Decimal("18446744073709551615")),
    ("decimal(12,3)", "1.500", Decimal("1.500")),
    ("double", "2.5", 2.5),
    ("bit(1)", "b'1'", 1),
    ("bit(10)", "b'1000000001'", 513),
    ("year", "2026", 2026),
    ("date", "'2026-02-28'", datetime.date(2026, 2, 28)),
    ("date", "'0000-00-00'", "0000-00-00"),
    ("datetime(6)", "'2026-03-29 02:30:00.000001'", datetime.datetime(2026, 3, 29, 2, 30, 0, 1)),
    ("datetime", "'0000-00-00'", "0000-00-00 00:00:00"),
    ("timestamp", "'2026-03-29 02:30:00'", datetime.datetime(2026, 3, 29, 2, 30, tzinfo=UTC)),
    ("time", "'10:00:01'", "10:00:01"),
    ("time", "'-26:00:00'", "PT-93600S"),
    ("json", """'{"b": [1, 2]}'""", '{"b": [1, 2]}'),
    ("set('a','b')", "'a,b'", "a,b"),
    ("enum('a','b')", "'b'", "b"),
    ("binary(2)", "x'00ff'", "00ff"),
    ("blob", "'ab'", "6162"),
    ("varchar(20)", "'Ünïcödé 👍'", "Ünïcödé 👍"),
    ("varchar(20)", "'10% \\\\ off'", "10% \\ off"),
]


def read(server: Database, rows: Rows) -> tuple[dict[str, str], pl.DataFrame]:
    with server.session() as session:
        columns = session.columns(rows)
        (frame,) = Pieces(1000).of(session.frames(rows, columns))
        return columns, of_frame(frame).frame.drop("_position")


def test_types_of_postgresql_lose_nothing(postgres: Any) -> None:
    database = postgres.fresh()
    names = [f"c{place}" for place in range(len(POSTGRES_TYPES))]
    declared = ", ".join(f"{name} {kind}" for name, (kind, *_) in zip(names, POSTGRES_TYPES, strict=True))
    postgres.execute(
        database, "CREATE TYPE t_mood AS ENUM ('ok')", "CREATE DOMAIN t_cents AS int", f"CREATE TABLE t ({declared})",
        f"INSERT INTO t VALUES ({', '.join(value for _, value, _ in POSTGRES_TYPES)})",
    )  # fmt: skip
    columns, frame = read(PostgreSQL(**postgres.connection(database)), Rows("public.t"))
    expected = {name: value for name, (_, _, value) in zip(names, POSTGRES_TYPES, strict=True)}
    assert frame.to_dicts() == [expected]
    assert [columns[f"c{place}"] for place in (1, 5, 23, 25, 26)] == ["int2", "numeric", "bytea", "uuid", "_int4"]
    assert "t_mood" in columns.values(), "a type of the database's own has its name"


def test_types_of_mariadb_lose_nothing(maria: Any) -> None:
    database = maria.fresh()
    names = [f"c{place}" for place in range(len(MARIA_TYPES))]
    declared = ", ".join(f"{name} {kind} NULL" for name, (kind, *_) in zip(names, MARIA_TYPES, strict=True))
    values = ", ".join(value for _, value, _ in MARIA_TYPES)
    maria.execute(
        database, "SET sql_mode = '', time_zone = '+00:00'", f"CREATE TABLE t ({declared}) CHARSET utf8mb4",
        f"INSERT INTO t VALUES ({values})",
    )  # fmt: skip
    server = MySQL(**maria.connection(database))
    columns, frame = read(server, Rows("t"))
    assert frame.to_dicts() == [{name: value for name, (_, _, value) in zip(names, MARIA_TYPES, strict=True)}]
    assert columns["c1"] == "LONGLONG" and columns["c11"] == "TIMESTAMP"
    rows = Rows("", "SELECT 'a:b' AS `x` FROM t WHERE c20 LIKE '10%';")
    assert read(server, rows)[1].to_dicts() == [{"x": "a:b"}]


@pytest.mark.parametrize("kind", ["postgres", "maria"])
def test_a_digest_tells_rows_from_others_in_any_order(kind: str, request: pytest.FixtureRequest) -> None:
    servers = request.getfixturevalue(kind)
    database = servers.fresh()
    servers.execute(database, "CREATE TABLE t (a int, b varchar(9))", "INSERT INTO t VALUES (1, 'x'), (2, null)")
    servers.execute(database, "CREATE TABLE u (a int, b varchar(9))", "INSERT INTO u VALUES (2, null), (1, 'x')")
    server = (PostgreSQL if kind == "postgres" else MySQL)(**servers.connection(database))

    def digest(table: str) -> str:
        with server.session() as session:
            rows = Rows(table)
            return session.digest(rows, session.columns(rows))

    assert digest("t") == digest("u") and digest("t").startswith("2:")
    servers.execute(database, "UPDATE u SET b = 'NULL' WHERE a = 2")
    assert digest("t") != digest("u")
    servers.execute(database, "DELETE FROM u")
    assert digest("u") == "0:0"


def test_a_database_is_read_and_never_written(postgres: Any) -> None:
    database = postgres.fresh()
    postgres.execute(database, "CREATE TABLE t (a int)")
    query = "WITH gone AS (DELETE FROM t RETURNING a) SELECT a FROM gone"
    with pytest.raises(SourceError, match=r"WITH clause containing a data-modifying|read-only"):
        read(PostgreSQL(**postgres.connection(database)), Rows("", query))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (Rows("nowhere"), 'relation "nowhere" does not exist'),
        (Rows("", "SELEC 1"), "syntax error"),
        (Rows("", "SELECT 1 AS a, 2 AS a"), "the query gives a more than once"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(postgres: Any, rows: Rows, said: str) -> None:
    with pytest.raises(SourceError, match=said) as fault:
        read(PostgreSQL(**postgres.connection("postgres")), rows)
    assert "\n" not in str(fault.value)


def test_who_is_not_let_in_is_told_so_and_no_secret_is_shown(postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_PASSWORD", "s3cr3t 'quoted\\")
    wrong = postgres.connection("t_absent_s3cr3t 'quoted\\", password_env="T_PASSWORD")
    with pytest.raises(SourceError, match="does not exist") as fault, PostgreSQL(**wrong).session():
        pass
    assert "s3cr3t" not in str(fault.value).partition("failed")[2]
    closed = PostgreSQL(host="127.0.0.1", port=1, database="d", connect_seconds=2, password_env="T_PASSWORD")
    with pytest.raises(TransientError, match=r"postgresql at 127.0.0.1:1, database d: .*refused"), closed.session():
        pass
    monkeypatch.delenv("T_PASSWORD")
    with pytest.raises(ConfigError, match="T_PASSWORD"), closed.session():
        pass


@pytest.fixture
def frozen() -> Iterator[int]:
    """The port of a server that lets everybody in and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("kind", [PostgreSQL, MySQL])
def test_a_server_that_says_nothing_costs_its_time_out(frozen: int, kind: type[Database]) -> None:
    pytest.importorskip("adbc_driver_postgresql" if kind is PostgreSQL else "pymysql")
    server = kind(host="127.0.0.1", port=frozen, database="d", connect_seconds=2)  # type: ignore[call-arg]
    began = time.perf_counter()
    with pytest.raises(TransientError, match=f"127.0.0.1:{frozen}"), server.session():
        pass
    assert time.perf_counter() - began < 9


def test_a_statement_that_takes_too_long_is_ended(postgres: Any) -> None:
    server = PostgreSQL(**postgres.connection("postgres", answer_seconds=1))
    with pytest.raises(TransientError, match="timeout"), server.session() as session:
        session.answer(Rows("", "SELECT pg_sleep(60)::text AS a").select())


def test_rows_may_wait_longer_than_an_answer_while_others_are_written(postgres: Any) -> None:
    server = PostgreSQL.model_validate(postgres.connection(postgres.fresh()) | {"answer_seconds": 1})
    many = Rows(query="SELECT n, repeat('x', 1000) AS word FROM generate_series(1, 80000) AS n")
    with server.session() as session:
        heights = []
        for frame in session.frames(many, session.columns(many)):
            time.sleep(0 if heights else 1.5)
            heights.append(frame.height)
    assert len(heights) > 1 and sum(heights) == 80_000


def test_any_dialect_needs_its_driver_and_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="holds a password"):
        SQLAlchemy(url="mssql+pyodbc://me:hunter2@host/shop")
    with pytest.raises(SourceError, match="driver"), SQLAlchemy(url="nosuch://host/shop").session():
        pass


def test_columns_of_rows_hold_what_they_were_given() -> None:
    assert _series("a", [None, None]).dtype == pl.String
    assert _series("a", [1, None]).dtype == pl.Int64
    assert _series("a", [7, 2**64 - 1, None]).to_list() == [7, 2**64 - 1, None]
    assert _series("a", [7, 10**40]).to_list() == ["7", "1" + "0" * 40]
    assert _series("a", [1, Decimal("1.25")]).to_list() == [Decimal("1.00"), Decimal("1.25")]
    assert _series("a", [Decimal("NaN"), Decimal("1E+3")]).to_list() == [None, Decimal(1000)]
    assert _series("a", [Decimal("0." + "1" * 40)]).to_list() == ["0." + "1" * 40]
    assert _series("a", [1, "x", None]).to_list() == ["1", "x", None]
    mixed = [datetime.datetime(2026, 1, 1), "0000-00-00 00:00:00"]
    assert _series("a", mixed).to_list() == ["2026-01-01 00:00:00", "0000-00-00 00:00:00"]


def test_pieces_agree_on_types() -> None:
    frames = [pl.DataFrame({"a": [Decimal("1.5")]}), pl.DataFrame({"a": [Decimal("1.25")]}), pl.DataFrame({"a": [2]})]
    (found,) = Pieces(100).of(iter(frames))
    assert found["a"].to_list() == [Decimal("1.50"), Decimal("1.25"), Decimal("2.00")]
    (found,) = Pieces(100).of(iter([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["x"]})]))
    assert found["a"].to_list() == ["1", "x"]
    assert [f.height for f in Pieces(2).of(iter([pl.DataFrame({"a": [1]})] * 5))] == [2, 2, 1]


def test_names_are_quoted_as_they_are_written(postgres: Any) -> None:
    database = postgres.fresh()
    postgres.execute(
        database, 'CREATE SCHEMA "Odd.One"', 'CREATE TABLE "Odd.One"."Order" ("User" int, "a%b" int, _rows int)',
        'INSERT INTO "Odd.One"."Order" VALUES (1, 2, 3)',
    )  # fmt: skip
    server = PostgreSQL(**postgres.connection(database))
    rows = Rows('"Odd.One".Order', conditions=(sa.column("a%b") == 2,), order=("User",))
    assert read(server, rows)[1].to_dicts() == [{"User": 1, "a%b": 2, "_rows": 3}]
