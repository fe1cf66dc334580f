"""What a DuckDB file holds, as texts: for a search that does not know its format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from customer360.platform.errors import WarehouseError

MARK = b"DUCK"  # among the first bytes of a file
_ROWS = 50_000


def rows_as_texts(path: Path) -> Iterator[pl.Series]:
    """Every row of every table as a text, in pieces.

    Raises:
        WarehouseError: the file has free blocks, in which deleted rows stay packed and cannot be looked at.
    """
    with duckdb.connect(str(path), read_only=True) as connection:
        named = "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
        for schema, table in connection.execute(named).fetchall():
            rows = connection.execute(f'SELECT row::VARCHAR FROM "{schema}"."{table}" AS row')
            while found := rows.fetchmany(_ROWS):
                yield pl.Series([text for (text,) in found], dtype=pl.String)
        size = connection.execute("SELECT free_blocks FROM pragma_database_size()").fetchone()
    if size and size[0]:
        raise WarehouseError(f"{path} has {size[0]} free blocks, in which deleted rows stay")
