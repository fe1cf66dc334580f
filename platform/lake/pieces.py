"""Staged pieces: rows that one unit of work writes for a later one to read; nobody else sees them.

Where few rows of many will be asked for, a piece is written plain and mapped: nothing is unpacked or copied.
"""

from __future__ import annotations

import hashlib
import io
import mmap
from pathlib import Path

import polars as pl
import pyarrow as pa

from customer360.platform.lake import Lake

# Rows are asked for here and there: to meet each page by itself would cost more than to know all from the start.
_AT_ONCE = getattr(mmap, "MAP_POPULATE", 0)


def put_piece(lake: Lake, stem: str, rows: pl.DataFrame, *, mapped: bool = False) -> str:
    """Stage rows for a later unit; returns the path, named after their content: a unit that is tried again
    overwrites a piece by itself. `mapped`: larger, as memory holds them, for `map_piece`."""
    buffer = io.BytesIO()
    rows.write_ipc(buffer, compression="uncompressed" if mapped else "lz4")
    data = buffer.getvalue()
    path = f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}.arrow"
    lake.put(path, data)
    return path


def get_piece(lake: Lake, path: str) -> pl.DataFrame:
    """Rows that were staged."""
    return pl.read_ipc(io.BytesIO(lake.get(path) or b""))


def map_piece(lake: Lake, path: str) -> pl.DataFrame:
    """As `get_piece`; those of a lake on this machine's disk take no memory but the system's cache of files. The file
    may be deleted while the rows are held, not written to."""
    if lake.is_remote:
        return get_piece(lake, path)
    with (Path(lake.root) / path).open("rb") as file:
        held = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | _AT_ONCE, prot=mmap.PROT_READ)
    rows = pl.from_arrow(pa.ipc.open_file(pa.py_buffer(held)).read_all(), rechunk=False)
    assert isinstance(rows, pl.DataFrame)
    return rows
