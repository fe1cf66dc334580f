"""Parquet files as records: numbers and instants keep their types, nested values become JSON text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import polars as pl

from customer360.platform.sources.formats.compressed import on_disk
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import Records, Unreadable, of_frame

ROWS = 500_000  # that a piece holds


def pieces(stream: IO[bytes], options: Options) -> Iterator[Records]:
    """All rows of a file. Raises Unreadable: no Parquet, or damaged."""
    file = on_disk(stream)  # what its columns are stands at the end
    try:
        found = pl.scan_parquet(file.name)
        height = found.select(pl.len()).collect().item()
        for start in range(0, height, ROWS) or [0]:
            yield of_frame(found.slice(start, ROWS).collect(), start + 1)
    except pl.exceptions.PolarsError as fault:
        raise Unreadable(f"parquet: {str(fault).splitlines()[0]}") from None
