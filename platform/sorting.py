"""Rows in order of several columns, missing values last.

To be told that missing values come last costs Polars two thirds of a sort by several columns (1.07 s of CPU for a
million events, 0.42 without), whether there are any or not: it is told so of the columns that have some.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def in_order(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The rows sorted by these columns, missing values last, in one piece."""
    return rows.sort(columns, nulls_last=[rows[column].null_count() > 0 for column in columns]).rechunk()
