"""How columns of several files hang together, told from their values: keys of one that are values of the other."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from customer360.platform.sources.profiling.columns import Column

JOINS = 0.5  # share of the values of a column that are found in another one, from which on it refers to that
KEPT = 50_000  # distinct values that are compared


def overlap(child: Column, parent: Column) -> float:
    """Share of the distinct values of a column that the other one has, too."""
    values = child.distinct.head(KEPT)
    return float(values.is_in(parent.distinct.implode()).mean() or 0.0) if len(values) else 0.0  # type: ignore[arg-type]


def joined_by(child: Column, candidates: Iterable[Column]) -> tuple[Column | None, float]:
    """The column with most values of ``child``, of those that tell rows apart; None where none has half of them."""
    best, most = None, JOINS
    for parent in candidates:
        if len(parent.distinct) * 10 >= len(parent.texts) * 9 and (share := overlap(child, parent)) > most:
            best, most = parent, share
    return best, most if best is not None else 0.0


def depends(frame: pl.DataFrame, column: str, key: str) -> float:
    """Share of the values of ``key`` that have at most one value of ``column``: 1 where it is a fact of the key."""
    counts = frame.lazy().group_by(key).agg(pl.col(column).drop_nulls().n_unique().alias("n")).collect()["n"]
    return float((counts <= 1).mean() or 0.0)  # type: ignore[arg-type]


def varies(frame: pl.DataFrame, column: str, key: str) -> bool:
    """Whether a column is no fact of the key: it has several values for one of them in more than 5 % of the cases."""
    return depends(frame, column, key) < 0.95
