"""Stores that open while the story runs: one takes customers from the stores around it, which is a truth; one finds its
own, and takes from nobody who is known.

The first opens beside the largest city's store. From then on a share of what the people round it would have bought in
any store they buy in the new one. The second opens beside the next city's, and only passers-by without an account go
there instead of to the old one: what is known of people does not change.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from customer360.pipelines.sample.sales import PURCHASE, Sales
from customer360.pipelines.sample.stores import distances_km
from customer360.pipelines.sample.streams import Streams

OPEN_FOR = 150  # days before the end, or half of a short story
TAKEN = (0.35, 0.0)  # of what known people round the new store buy in stores
PASSERS_BY = (0.0, 0.5)  # of receipts without an account in the city's older store
NEAR_KM, APART = 20.0, 0.03  # how far a new store's custom comes from; degrees between it and the older store
NAMES = ("Riverside", "Station")


def openings(older: pl.DataFrame, start_on: date, days: int) -> pl.DataFrame:
    """STORES of the new ones, in the columns of the ``older``, whose first rows are the largest cities'."""
    beside = older.head(len(TAKEN))
    opened = start_on + timedelta(days=days - min(OPEN_FOR, days // 2))
    number = len(older) + 1 + pl.int_range(pl.len())
    return beside.with_columns(
        STORE_ID=pl.format("ST{}", number.cast(pl.String).str.zfill(3)),
        STORE_NAME=pl.format("{} {}", "CITY", pl.Series(NAMES)),
        ADDRESS_LINE_1=pl.format("{} Station Rd", pl.int_range(pl.len()) + 11),
        LATITUDE=(pl.col("LATITUDE") + APART).round(4),
        OPENED_DATE=pl.lit(opened),
    )


def moved(streams: Streams, sold: Sales, people: pl.DataFrame, stores: pl.DataFrame, new: pl.DataFrame,
          since_opening: int) -> Sales:  # fmt: skip
    """The sales where the ``new`` stores, numbered after ``stores``, have theirs. Nothing but the store of a receipt
    changes; what is given back goes to the store that sold it. since_opening: day number on which they open."""
    rows = sold.receipts
    rng = streams.stream("openings")
    known, guest = rng.random(len(rows)), rng.random(len(rows))
    store, place = rows["store"].to_numpy().copy(), people["place"].to_numpy()[rows["person"].to_numpy()]
    bought = ~rows["online"].to_numpy() & (rows["kind"].to_numpy() == PURCHASE)
    bought &= rows["day"].to_numpy() >= since_opening
    has_account = rows["account"].to_numpy() >= 0
    near = distances_km(new)[place] <= NEAR_KM
    for at, (taken, passing) in enumerate(zip(TAKEN, PASSERS_BY, strict=True)):
        goes = has_account & near[:, at] & (known < taken)
        goes |= ~has_account & (store == at) & (guest < passing)
        store[bought & goes] = len(stores) + at
    back = rows["kind"].to_numpy() != PURCHASE
    store[back] = store[rows["origin"].to_numpy()[back]]
    return Sales(receipts=rows.with_columns(store=pl.Series(store)), lines=sold.lines)


def opening_truth(new: pl.DataFrame) -> pl.DataFrame:
    """One row per new store: store_id, opened_on, taken_share (of what known people round it bought in stores)."""
    return new.select(store_id="STORE_ID", opened_on="OPENED_DATE", taken_share=pl.Series(np.array(TAKEN)))
