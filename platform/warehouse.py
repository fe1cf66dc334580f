"""The embedded warehouse, first form: every lake table as a DuckDB view, and DDL of any dialect from the contracts."""

from __future__ import annotations

import duckdb
import polars as pl
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from customer360.platform import tables
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.tables import Table

DIALECTS = ("postgresql", "mysql", "sqlite", "mssql")


def connect(lake: Lake) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB whose schemas bronze, silver, gold and quality hold a view of each stored table.

    Views read the files of the current versions; nothing is copied and nothing can be written.
    """
    if lake.is_remote:
        raise ConfigError("`sql` reads local lakes; for object stores use Polars: `Lake.scan(name)`")
    connection = duckdb.connect()
    for layer in sorted({name.partition(".")[0] for name in tables.TABLES}):
        connection.execute(f"CREATE SCHEMA {layer}")
    for name in sorted(tables.TABLES):
        if lake.exists(name):
            connection.execute(_view(lake, name))
    return connection


def query(lake: Lake, statement: str) -> duckdb.DuckDBPyRelation | None:
    """Run one statement over the views; None when it gives no rows to show.

    Raises:
        ConfigError: DuckDB refuses the statement; its own words say why.
    """
    try:
        return connect(lake).sql(statement)
    except duckdb.Error as fault:
        raise ConfigError(f"the query failed: {fault}") from None


def _view(lake: Lake, name: str) -> str:
    columns = tables.schema(tables.by_name(name))
    paths = [f"{lake.uri(name)}/{f.path}" for f in lake.files(name)]
    listed = ", ".join(f'"{c}"' for c in columns)
    empty = (
        "SELECT " + ", ".join(f'CAST(NULL AS {_duck_type(t)}) AS "{c}"' for c, t in columns.items()) + " WHERE FALSE"
    )
    if not paths:
        return f"CREATE VIEW {name} AS {empty}"
    files = ", ".join("'" + p.replace("'", "''") + "'" for p in paths)
    stored = f"SELECT * FROM read_parquet([{files}], hive_partitioning = true, union_by_name = true)"
    # Files older than a column of the contract lack it.
    return f"CREATE VIEW {name} AS SELECT {listed} FROM ({stored} UNION ALL BY NAME {empty})"


def _duck_type(dtype: pl.DataType) -> str:
    simple = {
        pl.String: "VARCHAR",
        pl.Int64: "BIGINT",
        pl.Float64: "DOUBLE",
        pl.Boolean: "BOOLEAN",
        pl.Date: "DATE",
        pl.Binary: "BLOB",
    }
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision},{dtype.scale})"
    if isinstance(dtype, pl.Datetime):
        return "TIMESTAMPTZ"
    if isinstance(dtype, pl.List):
        return "VARCHAR[]"
    return simple.get(dtype.base_type(), "VARCHAR")


def ddl(table: type[Table], dialect: str = "postgresql") -> str:
    """``CREATE TABLE`` of a contract in a SQL dialect; lists and structs become JSON text.

    Raises:
        ConfigError: the dialect is not known.
    """
    if dialect not in DIALECTS:
        raise ConfigError(f"no dialect {dialect!r}; there are {', '.join(DIALECTS)}")
    engine = __import__(f"sqlalchemy.dialects.{dialect}", fromlist=["dialect"]).dialect()
    columns = [_sql_column(name, column, engine) for name, column in table.columns().items()]
    schema_name, _, table_name = tables.spec(table).name.partition(".")
    made = sa.Table(table_name, sa.MetaData(), *columns, schema=schema_name)
    return str(CreateTable(made).compile(dialect=engine)).strip() + ";"


def _sql_column(name: str, column: tables.Column, dialect: sa.Dialect) -> sa.Column[object]:
    if isinstance(column.dtype, (pl.List, pl.Struct)):
        return sa.Column(name, sa.Text, nullable=column.nullable)
    return sa.Column(name, column.sqlalchemy_dtype(dialect), primary_key=column.primary_key, nullable=column.nullable)
