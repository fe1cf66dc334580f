"""DDL of any dialect from the contracts: columns, keys, references, clustering, retention, clones."""

from __future__ import annotations

from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.compiler import RESERVED_WORDS

from customer360.platform import stars, tables
from customer360.platform.errors import ConfigError
from customer360.platform.tables import Table

ENGINES = ("postgresql", "mysql", "sqlite", "mssql")  # rendered by SQLAlchemy
DIALECTS = ("duckdb", "snowflake", *ENGINES)
PART = "_part"  # of each row in the embedded warehouse: the part of its table that it was loaded with

# Time travel keeps what was deleted. Personal data are bound by the promise of erasure; the rest by convenience.
RETENTION_DAYS, RETENTION_DAYS_PERSONAL = 7, 1
MYSQL_KEY_LENGTH = 255

TYPES: dict[str, dict[type[pl.DataType], str]] = {
    "duckdb": {
        pl.String: "VARCHAR", pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.Boolean: "BOOLEAN", pl.Date: "DATE",
        pl.Binary: "BLOB", pl.Datetime: "TIMESTAMPTZ", pl.Decimal: "DECIMAL",
    },
    "snowflake": {
        pl.String: "VARCHAR", pl.Int64: "NUMBER(38, 0)", pl.Float64: "FLOAT", pl.Boolean: "BOOLEAN", pl.Date: "DATE",
        pl.Binary: "BINARY", pl.Datetime: "TIMESTAMP_TZ", pl.Decimal: "NUMBER", pl.List: "ARRAY", pl.Struct: "OBJECT",
    },
}  # fmt: skip


def ddl(table: type[Table], dialect: str = "postgresql") -> str:
    """``CREATE TABLE`` of a contract in a SQL dialect.

    Lists and structs are DuckDB's and Snowflake's own; elsewhere they become JSON text.

    Raises:
        ConfigError: the dialect is not known.
    """
    if dialect not in DIALECTS:
        raise ConfigError(f"no dialect {dialect!r}; there are {', '.join(DIALECTS)}")
    if dialect == "duckdb":
        return (
            _create(table, dialect, [f"{PART} VARCHAR NOT NULL"] if tables.spec(table).name in stars.LOADS else [])
            + ";"
        )
    if dialect == "snowflake":
        return _create(table, dialect, _constraints(table)) + _snowflake_options(table) + ";"
    return _rendered(table, dialect)


def star_ddl(dialect: str = "duckdb", clone: str | None = None) -> str:
    """The whole star in one script: schemas, then tables, dimensions first.

    With ``clone`` (Snowflake alone) zero-copy clones of the schemas follow, named ``<schema>_<clone>``.

    Raises:
        ConfigError: the dialect is not known, or has no clones.
    """
    if clone and dialect != "snowflake":
        raise ConfigError(f"{dialect} has no zero-copy clones; snowflake has")
    made = [ddl(each.table, dialect) for each in stars.ordered()]
    schemas = sorted({tables.spec(each.table).layer for each in stars.LOADS.values()})
    opened = [] if dialect in ("sqlite", "mssql") else [f"CREATE SCHEMA IF NOT EXISTS {s};" for s in schemas]
    cloned = [f"CREATE SCHEMA IF NOT EXISTS {s}_{clone} CLONE {s};" for s in schemas] if clone else []
    return "\n\n".join([*opened, *made, *cloned])


def sql_type(dtype: pl.DataType, dialect: str = "duckdb") -> str:
    """A Polars type in DuckDB's or Snowflake's words."""
    words = TYPES[dialect]
    if isinstance(dtype, pl.Decimal):
        return f"{words[pl.Decimal]}({dtype.precision},{dtype.scale})"
    if dialect == "duckdb" and isinstance(dtype, pl.List):
        return f"{sql_type(_of(dtype.inner), dialect)}[]"
    if dialect == "duckdb" and isinstance(dtype, pl.Struct):
        return "STRUCT(" + ", ".join(f'"{f.name}" {sql_type(_of(f.dtype), dialect)}' for f in dtype.fields) + ")"
    return words.get(dtype.base_type(), "VARCHAR")


def _of(inner: Any) -> pl.DataType:
    """Polars declares inner types as classes or instances; contracts make instances."""
    return inner() if isinstance(inner, type) else inner


def _create(table: type[Table], dialect: str, extra: list[str]) -> str:
    columns = [
        f"{_named(name, dialect)} {sql_type(column.dtype, dialect)}" + ("" if column.nullable else " NOT NULL")
        for name, column in table.columns().items()
    ]
    return f"CREATE TABLE IF NOT EXISTS {tables.spec(table).name} (\n  " + ",\n  ".join([*columns, *extra]) + "\n)"


def _named(column: str, dialect: str) -> str:
    """Snowflake's unquoted names are upper case: quoted as written, they would have to be quoted in every query."""
    if dialect == "snowflake":
        return f'"{column.upper()}"' if column in RESERVED_WORDS else column
    return f'"{column}"'


def _constraints(table: type[Table]) -> list[str]:
    """Keys as Snowflake takes them: informational, for its optimizer and for tools that draw the star."""
    key = stars.key_of(table)
    primary = [f"PRIMARY KEY ({', '.join(key)})"] if key else []
    return primary + [
        f"FOREIGN KEY ({column}) REFERENCES {dimension} ({_key_column(dimension)})"
        for column, dimension in stars.foreign_keys(table).items()
    ]


def _key_column(dimension: str) -> str:
    return stars.key_of(tables.by_name(dimension))[0]


def _snowflake_options(table: type[Table]) -> str:
    clustered = tables.spec(table).sort_by
    days = RETENTION_DAYS_PERSONAL if tables.pii_columns(table) else RETENTION_DAYS
    comment = tables.summary(table).replace("'", "''")
    by = f"\nCLUSTER BY ({', '.join(clustered)})" if clustered else ""
    return f"{by}\nDATA_RETENTION_TIME_IN_DAYS = {days}\nCOMMENT = '{comment}'"


def _rendered(table: type[Table], dialect: str) -> str:
    engine = __import__(f"sqlalchemy.dialects.{dialect}", fromlist=["dialect"]).dialect()
    known = sa.MetaData()
    for dimension in set(stars.foreign_keys(table).values()) - {tables.spec(table).name}:
        _sql_table(tables.by_name(dimension), known, engine)
    made = _sql_table(table, known, engine)
    return str(CreateTable(made).compile(dialect=engine)).strip() + ";"


def _sql_table(table: type[Table], known: sa.MetaData, engine: sa.Dialect) -> sa.Table:
    layer, _, name = tables.spec(table).name.partition(".")
    columns = [_sql_column(n, c, engine) for n, c in table.columns().items()]
    keys = [
        sa.ForeignKeyConstraint([column], [f"{dimension}.{_key_column(dimension)}"])
        for column, dimension in stars.foreign_keys(table).items()
        if dimension in known.tables
    ]
    return sa.Table(name, known, *columns, *keys, schema=layer)


def _sql_column(name: str, column: tables.Column, dialect: sa.Dialect) -> sa.Column[object]:
    if isinstance(column.dtype, (pl.List, pl.Struct)):
        return sa.Column(name, sa.Text, nullable=column.nullable)
    if dialect.name == "mysql" and column.dtype == pl.String:  # which wants a length, and indexes no TEXT
        is_key = column.primary_key or "references" in (column.metadata or {})
        return sa.Column(
            name,
            sa.String(MYSQL_KEY_LENGTH) if is_key else sa.Text,
            primary_key=column.primary_key,
            nullable=column.nullable,
        )
    return sa.Column(name, column.sqlalchemy_dtype(dialect), primary_key=column.primary_key, nullable=column.nullable)
