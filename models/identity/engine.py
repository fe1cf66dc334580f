"""The embedded database in which Splink works: in memory, limited, thrown away after use."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from customer360.models.identity.rules import Engine


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
