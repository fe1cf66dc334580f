"""Buckets: which of a fixed number of files a subject's rows lie in."""

from __future__ import annotations

import numpy as np
import polars as pl

BUCKET = "bucket"


def bucket_numbers(subjects: pl.Series, buckets: int) -> pl.Series:
    """``crc32(subject) % buckets`` of each text, as any engine can compute it. Vectorised over byte positions."""
    unique = subjects.unique(maintain_order=True)
    numbers = pl.Series(BUCKET, (_crc32(unique) % buckets).astype(np.int32))
    mapping = pl.DataFrame({"s": unique, BUCKET: numbers})
    return pl.DataFrame({"s": subjects}).join(mapping, on="s", how="left", maintain_order="left", nulls_equal=True)[
        BUCKET
    ]


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1)
    return table


_CRC_TABLE = _crc_table()


def _crc32(texts: pl.Series) -> np.ndarray:
    lengths = texts.str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    data = np.frombuffer("".join(texts.fill_null("").to_list()).encode(), dtype=np.uint8)
    crc = np.full(len(texts), 0xFFFFFFFF, dtype=np.uint32)
    for position in range(int(lengths.max()) if len(lengths) else 0):
        active = np.flatnonzero(lengths > position)
        byte = data[starts[active] + position]
        crc[active] = _CRC_TABLE[(crc[active] ^ byte) & 0xFF] ^ (crc[active] >> 8)
    return crc ^ np.uint32(0xFFFFFFFF)
