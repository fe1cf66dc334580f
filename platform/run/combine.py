"""One record of what several sources of one system say of a key.

Within a source a newer row supersedes an older one. Between sources nothing does: each column has the value of the
newest row that brings one, by the version column, then by the name of the source (the last in the alphabet first).
A source that brings no value of a column says nothing of it. An address is no set of columns but one thing: of a
source whose address contradicts that of a newer row, no part of it is taken.

A contract whose versions mean more than the newest one may settle them first (``tables.Spec.settle``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from customer360.platform import tables
from customer360.platform.tables import LIVES_ON, Table

PLACE, CONTENT = "place__", "content__"  # number of a row in order; of the first row that says the same
RANK, OTHER = "rank__", "__other"
TOGETHER = ("address",)  # kinds of personal data whose columns are one thing


@dataclass(frozen=True)
class Folded:
    """``rows``: one a key; ``repeats``: exact copies of earlier rows; counts of older versions, and of rows that live
    on in a row of another address."""

    rows: pl.DataFrame
    repeats: pl.DataFrame
    superseded: int
    combined: int


def fold(table: type[Table], ordered: pl.DataFrame) -> Folded:
    """One row a key of all valid rows of keys that came more than once, in order of version and delivery.

    A value that comes back (open, closed, open again) is an exact copy of an earlier row, and yet the newest. The
    address of a combined row is that of its newest contributor.
    """
    declared = tables.spec(table)
    key = ["_source_system", *declared.key]
    said = ["_source_system", *table.columns()]
    placed = ordered.with_row_index(PLACE).with_columns(pl.col(PLACE).first().over(said).alias(CONTENT))
    settled = placed.with_columns(pl.lit(False).alias(LIVES_ON))
    if declared.settle is not None:
        settled = declared.settle(settled, key)
    newest = settled.unique(subset=["_source", *key], keep="last", maintain_order=True)
    rows, gave = across_sources(table, newest, key)
    lives_on = pl.concat([settled.filter(LIVES_ON).select(*key, CONTENT), gave]).unique()
    others = lives_on.join(rows, on=[*key, CONTENT], how="anti", nulls_equal=True)
    repeats = ordered.filter(placed[PLACE] != placed[CONTENT])
    superseded = ordered.height - repeats.height - rows.height - others.height
    return Folded(rows.select(ordered.columns), repeats, superseded, others.height)


def across_sources(table: type[Table], newest: pl.DataFrame, key: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of the newest rows of each source, in order, one a key; and key and content of the rows that gave it values."""
    ranked = newest.with_columns((pl.len().over(key) - 1 - pl.int_range(pl.len()).over(key)).alias(RANK))
    rows = ranked.filter(pl.col(RANK) == 0)
    gave = rows.select(*key, CONTENT).clear()
    columns = [c for c in table.columns() if c not in key]
    for rank in range(1, int(ranked.select(pl.col(RANK).max().fill_null(0)).item()) + 1):
        older = ranked.filter(pl.col(RANK) == rank).select(*key, CONTENT, *columns)
        both = rows.join(older, on=key, how="left", suffix=OTHER, maintain_order="left")
        taken = {c: pl.col(c).is_null() & pl.col(c + OTHER).is_not_null() for c in columns}
        for group in _groups(table, columns):
            agrees = pl.all_horizontal(pl.col(c).eq(pl.col(c + OTHER)).fill_null(True) for c in group)
            taken |= {c: taken[c] & agrees for c in group}
        has_given = both.filter(pl.any_horizontal(taken.values()))
        gave = pl.concat([gave, has_given.select(*key, pl.col(CONTENT + OTHER).alias(CONTENT))])
        values = [pl.when(taken[c]).then(pl.col(c + OTHER)).otherwise(pl.col(c)).alias(c) for c in columns]
        rows = both.with_columns(values).select(rows.columns)
    return rows, gave


def _groups(table: type[Table], columns: Iterable[str]) -> list[list[str]]:
    """Columns that are taken of one source together, unless the sources agree on what both say."""
    kinds = tables.pii_columns(table)
    return [group for kind in TOGETHER if (group := [c for c in columns if kinds.get(c) == kind])]
