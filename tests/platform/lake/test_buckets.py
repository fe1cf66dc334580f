"""Bucket numbers: the same in every version and process."""

from __future__ import annotations

import zlib

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.lake import bucket_numbers


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=30), st.sampled_from([1, 16, 97]))
def test_bucket_numbers_are_crc32(texts: list[str], buckets: int) -> None:
    expected = [zlib.crc32(t.encode()) % buckets for t in texts]
    assert bucket_numbers(pl.Series("any", texts, pl.String), buckets).to_list() == expected


def test_bucket_numbers_of_nulls_and_repeats() -> None:
    found = bucket_numbers(pl.Series([None, "a", "", "a", None, "é" * 50]), 16)
    assert found.to_list() == [
        0,
        *(zlib.crc32(t) % 16 for t in (b"a", b"", b"a")),
        0,
        zlib.crc32(("é" * 50).encode()) % 16,
    ]
    assert found.dtype == pl.Int32
