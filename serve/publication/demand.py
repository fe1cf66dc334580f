"""What sells to whom, where and when, what is new, and what each person bought: documents that retrieval reads.

    kind        key                        document
    bought      person_id                  products: ids, the latest first; on: the day of each
    popular_by  segment/S, store/S, hour/H items: what sold most of late to a value segment, in a store, in an hour
    launched    all                        items: products launched of late, the newest first
    stocked     store_id                   products: what is in stock there

Hours are two digits, of UTC. A group of few receipts (`LEAST_RECEIPTS`) has no list:
chance would rank it.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.models.recommenders.histories import purchases

DAYS = 90  # of demand, and of what counts as new
MOST = 200  # items of a list
LEAST_RECEIPTS = 20
ALL = "all"


def bought(purchases: pl.DataFrame) -> pl.DataFrame:
    """What each person bought, from purchases of (a bucket of) `gold.interactions`."""
    last = purchases.group_by("person_id", "product_id").agg(pl.col("on").max())
    listed = (
        last.sort("person_id", "on", "product_id", descending=[False, True, False])
        .group_by("person_id", maintain_order=True)
        .agg(products="product_id", on="on")
    )
    return _documents("bought", "person_id", listed, pl.struct("products", "on"))


def by_segment(interactions: pl.LazyFrame, segments: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Lists by `value_segment`; `segments` is (person_id, value_segment)."""
    recent = purchases(interactions, as_of).filter(pl.col("on") >= as_of - timedelta(days=DAYS))
    joined = recent.join(segments.lazy().drop_nulls(), on="person_id")
    counts = joined.group_by("value_segment", "product_id").agg(count=pl.len())
    return _ranked(counts.select("product_id", "count", key=pl.format("segment/{}", "value_segment")).collect())


def by_place_and_hour(items: pl.LazyFrame, headers: pl.LazyFrame, as_of: date) -> pl.DataFrame:
    """Lists by store and by hour of day (UTC), from sold lines of `silver.transaction_items` and their headers: a
    product counts once a receipt."""
    # The day of a line is that of its header.
    recent = pl.col("occurred_on").is_between(as_of - timedelta(days=DAYS), as_of, closed="left")
    stores = headers.filter(recent).select("transaction_id", "source_system", "store_id")
    lines = (
        items.filter("is_sale", "is_product", pl.col("product_id").is_not_null(), recent)
        .select("transaction_id", "source_system", "product_id", hour=pl.col("occurred_at").dt.hour())
        .unique()
        .join(stores, on=["transaction_id", "source_system"], how="left")
    )  # fmt: skip
    by_store = lines.drop_nulls("store_id").select("product_id", key=pl.format("store/{}", "store_id"))
    hour = pl.format("hour/{}", pl.col("hour").cast(pl.String).str.zfill(2))
    by_hour = lines.select("product_id", key=hour)
    counts = [part.group_by("key", "product_id").agg(count=pl.len()) for part in (by_store, by_hour)]
    return _ranked(pl.concat(counts).collect())


def _ranked(counts: pl.DataFrame) -> pl.DataFrame:
    """Documents of (product_id, count, key)."""
    enough = counts.filter(pl.col("count").sum().over("key") >= LEAST_RECEIPTS)
    lists = (
        enough.sort("key", "count", "product_id", descending=[False, True, False])
        .group_by("key", maintain_order=True)
        .agg(items=pl.struct("product_id", score=pl.col("count").cast(pl.Float64)).head(MOST))
    )
    return _documents("popular_by", "key", lists, pl.struct("items"))


def launched(products: pl.LazyFrame, as_of: date) -> pl.DataFrame:
    """Products launched within `DAYS` before the day of the data."""
    fresh = products.filter(
        "is_product", pl.col("launched_on") < as_of, pl.col("launched_on") >= as_of - timedelta(days=DAYS)
    )
    newest = fresh.sort("launched_on", "product_id", descending=[True, False]).head(MOST).collect()
    if newest.is_empty():
        return _documents("launched", "key", pl.DataFrame({"key": [], "items": []}, schema={"key": pl.String, "items": pl.List(pl.String)}), pl.struct("items"))  # fmt: skip # noqa: E501
    age = (pl.lit(as_of) - pl.col("launched_on")).dt.total_days().cast(pl.Float64)
    items = newest.select(key=pl.lit(ALL), items=pl.struct("product_id", score=-age).implode())
    return _documents("launched", "key", items, pl.struct("items"))


def stocked(stock: pl.LazyFrame) -> pl.DataFrame:
    """What each store has."""
    there = stock.filter("is_in_stock").sort("store_id", "product_id")
    lists = there.group_by("store_id", maintain_order=True).agg(products="product_id").collect()
    return _documents("stocked", "store_id", lists, pl.struct("products"))


def _documents(kind: str, key: str, frame: pl.DataFrame, document: pl.Expr) -> pl.DataFrame:
    return frame.select(kind=pl.lit(kind), key=key, document=document.struct.json_encode())
