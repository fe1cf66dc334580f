"""What recommenders are judged by: the two modes of a list, what interactions weigh, and what was bought afterwards."""

from datetime import date, timedelta
from typing import Literal

import polars as pl

from customer360.models.recommenders.histories import PURCHASE, purchases
from customer360.platform.errors import ModelError

Mode = Literal["new", "all"]
MODES: tuple[Mode, ...] = ("new", "all")
INTERACTIONS = "gold.interactions"
# What an interaction says beside a purchase; a view of something not bought is a hint, not a vote.
KIND_WEIGHTS = {PURCHASE: 1.0, "wishlist": 0.5, "cart_add": 0.5, "view": 0.2}


def outcome(interactions: pl.LazyFrame, start: date, stop: date, min_products: int, mode: Mode) -> pl.DataFrame:
    """What persons with `min_products` distinct products before `start` buy in [start, stop): `person_id`,
    `product_id`; unseen ones in `new`.
    """
    before = purchases(interactions, start).select("person_id", "product_id").unique()
    after = purchases(interactions, stop).filter(pl.col("on") >= start).select("person_id", "product_id").unique()
    known = before.group_by("person_id").len().filter(pl.col("len") >= min_products)
    truth = after.join(known, on="person_id", how="semi")
    if mode == "new":
        truth = truth.join(before, on=["person_id", "product_id"], how="anti")
    return truth.sort("person_id", "product_id").collect()


def judged_outcome(
    interactions: pl.LazyFrame, as_of: date, horizon_days: int, min_products: int, mode: Mode
) -> pl.DataFrame:
    """`outcome` of the window after `as_of`. Raises ModelError when there is nobody to judge."""
    truth = outcome(interactions, as_of, as_of + timedelta(days=horizon_days), min_products, mode)
    if truth.is_empty():
        raise ModelError(f"nobody can be judged: no person with {min_products} products buys from {as_of} on")
    return truth
