"""What sells: windowed popularity of products, a person's own purchases, and exact top-k lists from scores. The
baselines of recommendation.

Interactions are rows of `gold.interactions` (one per person, product, day and kind); a person who buys a product twice
on a day bought it once.
"""

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

WINDOW_DAYS = 28
PURCHASE = "purchase"
SAMPLE_STEP = 8

Cells = tuple[NDArray[np.int64], NDArray[np.int64]]


def purchases(interactions: pl.LazyFrame, before: date) -> pl.LazyFrame:
    """Purchase events before a date: `person_id`, `product_id`, `on`, unique."""
    bought = (pl.col("kind") == PURCHASE) & (pl.col("on") < before) & pl.col("person_id").is_not_null()
    return interactions.filter(bought).select("person_id", "product_id", "on").unique()


def bought_by_anybody(interactions: pl.LazyFrame, before: date) -> pl.Series:
    """Products with a known buyer before a date, unique. A model that learned earlier may know others: of people who
    refuse by now, or whose rows are gone.
    """
    return purchases(interactions, before).select(pl.col("product_id").unique()).collect()["product_id"]


def popularity(interactions: pl.LazyFrame, as_of: date, window_days: int = WINDOW_DAYS) -> pl.DataFrame:
    """Purchase events of the last `window_days` before `as_of` by product: `product_id`, `count`; the most bought
    first, ties by product.
    """
    recent = purchases(interactions, as_of).filter(pl.col("on") >= as_of - timedelta(days=window_days))
    return (
        recent.group_by("product_id")
        .agg(count=pl.len().cast(pl.Int64))
        .sort(["count", "product_id"], descending=[True, False])
        .collect()
    )


def most_popular(interactions: pl.LazyFrame, persons: pl.Series, as_of: date, window_days: int, k: int) -> pl.DataFrame:
    """The same k most bought products for everybody, bought or not: `person_id`, `rank`, `product_id`, `score`
    (events).
    """
    top = popularity(interactions, as_of, window_days).head(k).with_row_index("rank", offset=1)
    listed = top.select(pl.col("rank").cast(pl.Int64), "product_id", score=pl.col("count").cast(pl.Float64))
    return pl.DataFrame({"person_id": persons}).join(listed, how="cross")


def own_frequency(interactions: pl.LazyFrame, persons: pl.Series, as_of: date, k: int) -> pl.DataFrame:
    """What each person bought on most days, the latest first among equals; same columns as `most_popular`, fewer than k
    rows where less was bought.
    """
    own = purchases(interactions, as_of).filter(pl.col("person_id").is_in(persons.implode()))
    return (
        own.group_by("person_id", "product_id")
        .agg(score=pl.len().cast(pl.Float64), last=pl.col("on").max())
        .sort(["person_id", "score", "last", "product_id"], descending=[False, True, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("person_id"))
        .filter(pl.col("rank") <= k)
        .select("person_id", "rank", "product_id", "score")
        .collect()
    )


def top_k(scores: NDArray[np.float32], k: int, precedence: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Column indices of the k largest scores of each row, best first; shape (rows, min(k, columns)). Equal scores go by
    `precedence` of their columns, the lowest first, else by column. Exact, NaN-free input.

    A tie at the k-th place is settled in the same way, so a list does not depend on how rows were cut into blocks. The
    k-th largest of every eighth score is a lower bound of the k-th largest of all: partitioning whole rows that are
    mostly zeros costs ten times as much. Of what lies above it, some eight times k, the k-th largest is exact.
    """
    k = min(k, scores.shape[1])
    if k == 0 or len(scores) == 0:
        return np.zeros((len(scores), k), dtype=np.int64)
    sample = scores[:, :: max(1, min(SAMPLE_STEP, scores.shape[1] // (2 * k)))]
    last = sample.shape[1] - k
    bound = np.partition(sample, last, axis=1)[:, last, None]
    row, column = np.nonzero(scores > bound)
    row, column = _largest(scores, row, column, k)
    open_places = k - np.bincount(row, minlength=len(scores))
    before = np.arange(scores.shape[1]) if precedence is None else precedence
    ties = [(n, _first(scores[n] == bound[n], before)[: open_places[n]]) for n in np.flatnonzero(open_places > 0)]
    row = np.concatenate([row, *(np.full(len(places), n) for n, places in ties)])
    column = np.concatenate([column, *(places for _, places in ties)])
    order = np.lexsort((before[column], -scores[row, column], row))
    starts = np.searchsorted(row[order], np.arange(len(scores)))
    return column[order][starts[:, None] + np.arange(k)]


def _largest(scores: NDArray[np.float32], row: NDArray[np.int64], column: NDArray[np.int64], k: int) -> Cells:
    """The cells of each row from its k-th largest on, of cells in order of row; all where a row has fewer."""
    counts = np.bincount(row, minlength=len(scores))
    width = int(counts.max(initial=0))
    if width <= 2 * k:
        return row, column
    place = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    value = scores[row, column]
    table = np.full((len(scores), width), -np.inf, dtype=scores.dtype)
    table[row, place] = value
    last = np.partition(table, width - k, axis=1)[:, width - k]
    kept = value >= last[row]
    return row[kept], column[kept]


def _first(tied: NDArray[np.bool_], before: NDArray[np.int64]) -> NDArray[np.int64]:
    places = np.flatnonzero(tied)
    return places[np.argsort(before[places])]
