"""Staged pieces: rows that one unit of work writes for a later one to read; nobody else sees them."""

from __future__ import annotations

import hashlib
import io

import polars as pl

from customer360.platform.lake import Lake


def put_piece(lake: Lake, stem: str, rows: pl.DataFrame) -> str:
    """Stage rows for a later unit; returns the path, named after their content: a unit that is tried again
    overwrites a piece by itself."""
    buffer = io.BytesIO()
    rows.write_ipc(buffer, compression="lz4")
    data = buffer.getvalue()
    path = f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}.arrow"
    lake.put(path, data)
    return path


def get_piece(lake: Lake, path: str) -> pl.DataFrame:
    """Rows that were staged."""
    return pl.read_ipc(io.BytesIO(lake.get(path) or b""))
