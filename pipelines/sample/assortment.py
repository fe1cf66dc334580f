"""The history of the assortment: barcodes, price lists, stock levels with gaps on the shelf."""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.stores import inventory
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.world import World

CODED_SHARE = 0.7  # products with a barcode
GAP_SHARE = 0.3  # shelves of a store that were empty once or more
LONGEST_GAP = 21


def barcodes(count: int) -> np.ndarray:
    """Sound EAN-13 of so many products, by product number: text [count]."""
    digits = np.array([[int(c) for c in f"761{5000000 + 37 * at:09d}"] for at in range(count)])
    check = (-(digits * np.where(np.arange(12) % 2 == 0, 1, 3)).sum(axis=1)) % 10
    return np.array(["".join(map(str, row)) + str(last) for row, last in zip(digits, check, strict=True)])


def is_coded(world: World) -> np.ndarray:
    """Whether a product has a barcode, by product number."""
    found: np.ndarray = world.streams.stream("product.codes").random(len(world.products)) < CODED_SHARE
    return found


def code_rows(world: World) -> pl.DataFrame:
    """PRODUCT_CODES, one row per barcode."""
    coded = pl.Series(is_coded(world))
    codes = pl.Series(barcodes(len(world.products)))
    return world.products.select("PRODUCT_ID", CODE=codes, CODE_TYPE=pl.lit("EAN")).filter(coded)


def price_rows(world: World) -> pl.DataFrame:
    """PRODUCT_PRICES, the price list: products that were there before the story were cheaper or dearer at first; what
    is sold has the catalogue's price all the time."""
    rng, goods, count = world.streams.stream("product.prices"), world.products, len(world.products)
    launch = world.shelf.launch
    change = (launch * rng.uniform(0.1, 0.9, count)).astype(np.int64)
    factor = np.where(rng.random(count) < 0.3, rng.uniform(1.03, 1.15, count), rng.uniform(0.82, 0.98, count))
    day = pl.lit(world.start_on).cast(pl.Datetime("us", "UTC"))
    money = pl.Decimal(10, 2)

    def rows(since: np.ndarray, price: pl.Expr, kept: np.ndarray) -> pl.DataFrame:
        listed = goods.select(
            "PRODUCT_ID", PRICE_TYPE=pl.lit("LIST"), PRICE=price.cast(money), CURRENCY_CODE="CURRENCY_CODE",
            VALID_FROM=day + pl.duration(days=pl.lit(pl.Series(since))),
        )  # fmt: skip
        return listed.filter(pl.Series(kept))

    old = launch < -1
    first = (pl.col("PRICE").cast(pl.Float64) * pl.Series(factor)).round(2)
    whole = pl.col("PRICE")
    return pl.concat(
        [rows(launch, first, old), rows(change, whole, old), rows(launch, whole, ~old)]
    ).sort("PRODUCT_ID", "VALID_FROM")  # fmt: skip


def stock_rows(world: World) -> pl.DataFrame:
    """STOCK_LEVELS: what the store had at the start, and of some shelves when they were empty and filled again."""
    rng = world.streams.stream("stock.levels")
    held = inventory(world.streams, world.products["PRODUCT_ID"], world.stores["STORE_ID"], world.end_on)
    count = len(held)
    gaps = np.where(rng.random(count) < GAP_SHARE, 1 + rng.poisson(0.5, count), 0)
    owner, _ = spread(gaps)
    out = rng.integers(1, max(world.days - 2, 2), len(owner))
    back = np.minimum(out + rng.integers(1, LONGEST_GAP, len(owner)), world.days - 1)
    shelf = np.concatenate([np.arange(count), owner, owner])
    day = np.concatenate([np.zeros(count, dtype=np.int64), out, back])
    filled = rng.integers(8, 60, count + len(owner))
    quantity = np.concatenate([filled[:count], np.zeros(len(owner), dtype=np.int64), filled[count:]])
    moment = pl.lit(world.start_on).cast(pl.Datetime("us", "UTC"))
    return (
        held.select("PRODUCT_ID", "STORE_ID")[shelf]
        .with_columns(
            COUNTED_AT=moment + pl.duration(days=pl.lit(pl.Series(day)), hours=5), QUANTITY_ON_HAND=pl.Series(quantity)
        )
        .unique(["PRODUCT_ID", "STORE_ID", "COUNTED_AT"], keep="first", maintain_order=True)
        .sort("COUNTED_AT", "PRODUCT_ID", "STORE_ID")
    )
