"""Parquet files as records: numbers and instants keep their types, nested values become JSON text."""

from __future__ import annotations

import io

import polars as pl

from customer360.platform.sources.formats.records import Records, of_frame, whole_file_dead


def read(data: bytes) -> Records:
    """All rows of a file; a file that is no Parquet is one dead letter."""
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError as fault:
        return whole_file_dead(data, f"parquet: {str(fault).splitlines()[0]}")
    return of_frame(frame)
