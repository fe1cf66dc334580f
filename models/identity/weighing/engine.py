"""The embedded database in which Splink works: in memory, limited, thrown away after use."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import duckdb
import polars as pl
import pyarrow as pa

from customer360.models.identity.rules import Engine

_PIECE = 16_384  # rows that a thread of DuckDB takes at once
_open: ContextVar[tuple[Engine, duckdb.DuckDBPyConnection] | None] = ContextVar("open", default=None)


@contextmanager
def one_engine(limits: Engine) -> Iterator[None]:
    """Within, `engine` with these limits is one connection: to open and close one takes tens of milliseconds."""
    with engine(limits) as con:
        token = _open.set((limits, con))
        try:
            yield
        finally:
            _open.reset(token)


@contextmanager
def engine(limits: Engine) -> Iterator[duckdb.DuckDBPyConnection]:
    """A fresh connection with limits on threads, memory and spill; closed, and its spill removed, at the end. Within
    `one_engine` the one that is open.

    Never call `fetchone` on it: DuckDB keeps the connection busy after that, and Splink's next query fails.
    """
    held = _open.get()
    if held is not None and held[0] == limits:
        yield held[1]
        return
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
    table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    con.register(name, pa.Table.from_batches(table.to_batches(max_chunksize=_PIECE), table.schema))
