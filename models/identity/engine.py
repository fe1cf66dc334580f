"""The embedded database in which Splink works: in memory, limited, thrown away after use."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import polars as pl
import pyarrow as pa

from customer360.models.identity.rules import Engine

_PIECE = 50_000  # rows that a thread of DuckDB takes at once


@contextmanager
def engine(limits: Engine) -> Iterator[duckdb.DuckDBPyConnection]:
    """A fresh connection with limits on threads, memory and spill; closed, and its spill removed, at the end.

    Never call `fetchone` on it: DuckDB keeps the connection busy after that, and Splink's next query fails.
    """
    with tempfile.TemporaryDirectory(prefix="identity-") as spill:
        con = duckdb.connect(":memory:")
        try:
            con.execute(f"set threads = {limits.threads}")
            con.execute(f"set memory_limit = '{limits.memory_limit}'")
            con.execute(f"set temp_directory = '{spill}'")
            con.execute(f"set max_temp_directory_size = '{limits.max_temp_directory_size}'")
            yield con
        finally:
            con.close()


def register(con: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame) -> None:
    """Make a frame a table of the connection, in pieces that its threads share; one piece would be scanned by one."""
    table = frame.to_arrow()
    con.register(name, pa.Table.from_batches(table.to_batches(max_chunksize=_PIECE), table.schema))
