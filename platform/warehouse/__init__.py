"""The embedded warehouse: the star in a DuckDB file, and every lake table as a DuckDB view beside it.

``ddl`` writes tables in any dialect from the contracts, ``load`` brings the star up to date with the lake.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb

from customer360.platform import schemas, stars, tables, telemetry
from customer360.platform.errors import ConfigError
from customer360.platform.lake import File, Lake
from customer360.platform.lake.editions import current_files
from customer360.platform.warehouse.ddl import DIALECTS, ddl, sql_type, star_ddl

__all__ = ["DIALECTS", "connect", "ddl", "query", "rows", "star_ddl"]

FILE = "warehouse.duckdb"  # below the state folder
ATTACHED = "warehouse"
READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
WRITING = frozenset({"copy", "delete", "insert", "merge", "update"})  # also within WITH, and what EXPLAIN ANALYZE runs
QUOTED = (duckdb.token_type.string_const, duckdb.token_type.comment)
ZONED = "TIMESTAMP WITH TIME ZONE"
_WORD = re.compile(rb"[A-Za-z_0-9]+")  # DuckDB parts words at blanks of any script
CURRENT = "current"  # schema of the current editions, by the names of their tables


def connect(lake: Lake, star: Path | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB whose schemas bronze, silver, gold and quality hold a view of each stored table, and whose
    schema current holds one of each dated table's current edition.

    Views read the files of the current versions; nothing is copied. Where a warehouse file
    is given and exists, the tables of the star are there too, by their names, read-only.
    """
    if lake.is_remote:
        raise ConfigError("`sql` reads local lakes; for object stores use Polars: `Lake.scan(name)`")
    connection = duckdb.connect()
    for layer in sorted({name.partition(".")[0] for name in tables.TABLES}):
        connection.execute(f"CREATE SCHEMA {layer}")
    connection.execute(f"CREATE SCHEMA {CURRENT}")
    brought = schemas.rescued_columns(lake)
    for name in sorted(tables.TABLES):
        if lake.exists(name):
            connection.execute(_view(lake, name, name, lake.files(name), brought.get(name, {})))
            if tables.spec(tables.by_name(name)).is_dated:
                current = f"{CURRENT}.{name.partition('.')[2]}"
                connection.execute(_view(lake, name, current, current_files(lake, name, lake.files(name))))
    if star is not None and star.exists():
        _attach(connection, star)
    return connection


def query(lake: Lake, statement: str, star: Path | None = None) -> duckdb.DuckDBPyRelation | None:
    """Run one reading statement over the views; None when it gives no rows to show. It sees no file but those of the
    lake and the warehouse, and no network.

    Raises:
        ConfigError: the statement would write, or DuckDB refuses it; its own words say why.
    """
    connection = connect(lake, star)
    try:
        statements = duckdb.extract_statements(statement)
        if [s.type for s in statements if s.type not in READING] or len(statements) != 1:
            raise ConfigError("the query is refused: one SELECT (or EXPLAIN) is asked for, which only reads")
        if words := sorted(_bare_words(statement) & WRITING):
            raise ConfigError(f'the query is refused: {words[0].upper()} writes; a name is written as "{words[0]}"')
        return _confined(connection, lake, star).sql(statement)
    except duckdb.Error as fault:
        raise ConfigError(f"the query failed: {fault}") from None


def _bare_words(statement: str) -> set[str]:
    """Words of a statement that stand in no text, no comment and no quoted name, in lower case."""
    text = statement.encode()
    tokens = duckdb.tokenize(statement)
    ends = [*(begins for begins, _ in tokens[1:]), len(text)]
    bare = (text[begins:end] for (begins, kind), end in zip(tokens, ends, strict=True) if kind not in QUOTED)
    return {word.decode().lower() for each in bare if not each.startswith(b'"') for word in _WORD.findall(each)}


def rows(found: duckdb.DuckDBPyRelation) -> list[tuple[Any, ...]]:
    """All rows of a relation as Python values. A moment with a time zone is its text, in UTC (inside of lists and
    structs: in that of the session): for a value DuckDB needs a library that nothing else does.
    """
    kinds = [str(kind) for kind in found.types]
    if not any("WITH TIME ZONE" in kind for kind in kinds):
        return found.fetchall()
    shown = [
        f"CAST(#{place} AT TIME ZONE 'UTC' AS VARCHAR) || '+00:00'"
        if kind == ZONED
        else f"CAST(#{place} AS VARCHAR)"
        if "WITH TIME ZONE" in kind
        else f"#{place}"
        for place, kind in enumerate(kinds, 1)
    ]
    return found.project(", ".join(shown)).fetchall()


def _confined(connection: duckdb.DuckDBPyConnection, lake: Lake, star: Path | None) -> duckdb.DuckDBPyConnection:
    """The connection, which from now on opens no other files and cannot be told otherwise."""
    folders = [f"{Path(lake.root).absolute()}/", f"{lake.root.rstrip('/')}/", *([str(star)] if star else [])]
    listed = ", ".join("'" + folder.replace("'", "''") + "'" for folder in folders)
    connection.execute(f"SET allowed_directories = [{listed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, star: Path) -> None:
    try:
        connection.execute(f"ATTACH '{_quoted(star)}' AS {ATTACHED} (READ_ONLY)")
    except duckdb.IOException as fault:  # a load holds the file; the lake can be read all the same
        telemetry.event(f"the warehouse is left out of this query: {str(fault).splitlines()[0]}")
        return
    stored = connection.execute(
        f"SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = '{ATTACHED}'"
    )
    for (name,) in stored.fetchall():
        if name in stars.LOADS:
            columns = ", ".join(f'"{c}"' for c in tables.schema(tables.by_name(name)))
            connection.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM {ATTACHED}.{name}")
        elif name in tables.TABLES:
            connection.execute(f"CREATE VIEW {name} AS FROM {ATTACHED}.{name}")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


RESCUED = {"boolean": "BOOLEAN", "integer": "BIGINT", "decimal": "DOUBLE", "date": "DATE", "timestamp": "TIMESTAMPTZ"}


def _rescued(name: str, brought: dict[str, str]) -> list[str]:
    """Columns that sources of a bronze table bring and nothing names yet, out of ``_rescued``: by their own names, in
    the types of their values. Names that differ from others in case alone stay there."""
    taken, found = {c.casefold() for c in tables.schema(tables.by_name(name))}, []
    for column, type_ in brought.items():
        if column.casefold() not in taken:
            taken.add(column.casefold())
            quoted, path = column.replace('"', '""'), "/" + column.replace("~", "~0").replace("/", "~1")
            text = f"json_extract_string(_rescued, '{path.replace(chr(39), chr(39) * 2)}')"
            found.append(f'TRY_CAST({text} AS {RESCUED.get(type_, "VARCHAR")}) AS "{quoted}"')
    return found


def _view(lake: Lake, name: str, view: str, stored_files: list[File], brought: dict[str, str] | None = None) -> str:
    columns = tables.schema(tables.by_name(name))
    paths = [f"{lake.uri(name)}/{f.path}" for f in stored_files]
    listed = ", ".join([f'"{c}"' for c in columns] + _rescued(name, brought or {}))
    empty = "SELECT " + ", ".join(f'CAST(NULL AS {sql_type(t)}) AS "{c}"' for c, t in columns.items()) + " WHERE FALSE"
    if not paths:
        return f"CREATE VIEW {view} AS SELECT {listed} FROM ({empty})"
    files = ", ".join("'" + p.replace("'", "''") + "'" for p in paths)
    stored = f"SELECT * FROM read_parquet([{files}], hive_partitioning = true, union_by_name = true)"
    # Files older than a column of the contract lack it.
    return f"CREATE VIEW {view} AS SELECT {listed} FROM ({stored} UNION ALL BY NAME {empty})"
