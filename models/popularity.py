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


def purchases(interactions: pl.LazyFrame, before: date) -> pl.LazyFrame:
    """Purchase events before a date: `person_id`, `product_id`, `on`, unique."""
    bought = (pl.col("kind") == PURCHASE) & (pl.col("on") < before) & pl.col("person_id").is_not_null()
    return interactions.filter(bought).select("person_id", "product_id", "on").unique()


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


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Column indices of the k largest scores of each row, best first, equal scores by column; shape (rows, min(k,
    columns)). Exact, NaN-free input.

    A tie at the k-th place is settled by column too, so a list does not depend on how rows were cut into blocks.
    """
    k = min(k, scores.shape[1])
    threshold = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k, None]
    above = scores > threshold
    open_places = k - above.sum(axis=1, keepdims=True)
    ties = scores == threshold
    chosen = above | (ties & (np.cumsum(ties, axis=1) <= open_places))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
