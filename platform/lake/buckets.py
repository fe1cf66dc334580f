"""Buckets: which of a fixed number of files a subject's rows lie in."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import polars as pl

BUCKET = "bucket"


def bucket_numbers(subjects: pl.Series, buckets: int) -> pl.Series:
    """``crc32(subject) % buckets`` of each text, as any engine can compute it; a missing text counts as an empty one.
    Texts of one run, as rows of one subject lie, are numbered once.
    """
    is_first = subjects.ne_missing(subjects.shift()) | (pl.int_range(len(subjects), eager=True) == 0)
    texts = subjects.filter(is_first).cast(pl.String).fill_null("").cast(pl.Binary).to_list()
    numbers = np.fromiter(map(crc32, texts), dtype=np.uint32, count=len(texts)) % buckets
    runs = is_first.cum_sum() - 1
    return pl.Series(BUCKET, numbers.astype(np.int32)).gather(runs)
