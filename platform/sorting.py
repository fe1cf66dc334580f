"""Rows in order of several columns, missing values last.

To be told that missing values come last costs Polars two thirds of a sort by several columns (1.07 s of CPU for a
million events, 0.42 without), whether there are any or not: it is told so of the columns that have some. What ties
stays as it came, which it does not without being told so: the place of a row is a last column to sort by, for nothing
(to ask for `maintain_order` costs half as much again).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

_PLACE = "_place "  # of a row, as it came


def in_order(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The rows sorted by these columns, missing values last and ties as they came, in one piece."""
    last = [rows[column].null_count() > 0 for column in columns]
    placed = rows.with_row_index(_PLACE).sort([*columns, _PLACE], nulls_last=[*last, False])
    return placed.drop(_PLACE).rechunk()
