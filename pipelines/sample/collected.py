"""Orders that are collected in a store, where the till writes the sale that the shop has written already: one sale from
two channels, which is a truth. Who buys something more on that occasion has a receipt that names the order, and is a
sale of its own.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.orders import METHODS, orders
from customer360.pipelines.sample.sales import PURCHASE, item_rows, transaction_rows
from customer360.pipelines.sample.visits import DAY_US
from customer360.pipelines.sample.world import World

PICKUP = METHODS.index("PICKUP")
AGAIN, MORE = 0.6, 0.15  # of the orders that were collected: written by the till, too; with a purchase beside
AGAIN_LABEL, MORE_LABEL = "K", "M"  # in ids
TAX_RATE = 0.08


def collection_rows(world: World) -> pl.DataFrame:
    """CUSTOMER_TRANSACTIONS of the tills where orders were collected, in order of time. None names an account: the
    till scans the order."""
    parts = [
        _said(world, receipts, label) for receipts, label in ((_again(world), AGAIN_LABEL), (_more(world), MORE_LABEL))
    ]
    return pl.concat(parts).sort("TRANSACTION_DATE", "TRANSACTION_ID")


def collection_item_rows(world: World) -> pl.DataFrame:
    """CUSTOMER_TRANSACTION_ITEMS of the same."""
    again, more = _again(world).select("receipt"), _more(world)
    lines = world.sales.lines.join(again, on="receipt", how="semi", maintain_order="left")
    rng = world.streams.stream("collected.items")
    return pl.concat(
        [
            item_rows(rng, lines, world.products, AGAIN_LABEL),
            item_rows(rng, _one_line_each(more), world.products, MORE_LABEL),
        ]
    )


def collection_truth(world: World) -> pl.DataFrame:
    """One row per receipt of a collection: transaction_id, duplicate_of (of the shop; null: a sale of its own)."""
    number = pl.col("receipt").cast(pl.String).str.zfill(10)
    again = _again(world).select(
        transaction_id=pl.format("T{}{}", pl.lit(AGAIN_LABEL), number),
        duplicate_of=pl.format("T{}{}", pl.lit(world.label), number),
    )
    more = _more(world).select(
        transaction_id=pl.format("T{}{}", pl.lit(MORE_LABEL), number), duplicate_of=pl.lit(None, pl.String)
    )
    return pl.concat([again, more])


def _collected(world: World) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Receipts of the shop whose order was collected, when (`collected`) and where (`store`); a chance of each that the
    till writes it again, and one that something more is bought."""
    done = orders(world).filter(pl.col("method") == PICKUP, pl.col("delivered").is_not_null())
    heads = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
    rows = heads.join(done.select("receipt", collected="delivered"), on="receipt", maintain_order="left")
    place = world.people["place"].to_numpy()[rows["person"].to_numpy()]
    rng = world.streams.stream("collected")
    here = rows.with_columns(store=pl.Series(world.home_store[place]))
    return here, rng.random(len(rows)), rng.random(len(rows))


def _again(world: World) -> pl.DataFrame:
    rows, chance, _ = _collected(world)
    return rows.filter(pl.Series(chance < AGAIN), pl.col("total") > 0)


def _more(world: World) -> pl.DataFrame:
    """Receipts of one product each, with its row in `product` and its price in `unit`."""
    rows, _, chance = _collected(world)
    beside = rows.filter(pl.Series(chance < MORE))
    drawn = world.streams.stream("collected.more").integers(0, len(world.products), len(beside))
    product = world.shelf.launched(drawn, beside["day"].to_numpy())
    unit = world.shelf.cents[product]
    tax = np.round(unit * TAX_RATE).astype(np.int64)
    zero = np.zeros(len(beside), dtype=np.int64)
    out = beside.with_columns(
        product=pl.Series(product), unit=pl.Series(unit), tax=pl.Series(tax), shipping=pl.Series(zero),
        discount=pl.Series(zero), was="total", total=pl.Series(unit + tax),
    )  # fmt: skip
    # By chance as dear as the order: nobody could tell it from the order's own sale.
    return out.filter(pl.col("total") != pl.col("was")).drop("was")


def _one_line_each(rows: pl.DataFrame) -> pl.DataFrame:
    one, zero = pl.lit(1, pl.Int64), pl.lit(0, pl.Int64)
    return rows.select(
        "receipt", "product", "unit", position=one, quantity=one, percent=zero, discount=zero, total="unit", status=zero
    )


def _said(world: World, rows: pl.DataFrame, label: str) -> pl.DataFrame:
    """What the till writes of receipts, at the moment of collecting."""
    order = rows.select(pl.format("O{}{}", pl.lit(world.label), pl.col("receipt").cast(pl.String).str.zfill(10)))
    at_till = rows.with_columns(
        at=pl.col("collected"),
        day=pl.col("day") + (pl.col("collected") - pl.col("at")) // DAY_US,
        online=pl.lit(False),
        account=pl.lit(-1, pl.Int64),
        kind=pl.lit(PURCHASE, pl.Int64),
        channel=pl.lit(0, pl.Int64),
        member=pl.lit(False),
    )
    ids = world.accounts["customer_id"], world.store_ids, world.devices.visitor_ids
    rng = world.streams.stream("collected.transactions", ord(label))
    said = transaction_rows(rng, at_till, *ids, label).drop("VISITOR_ID")
    return said.with_columns(ONLINE_ORDER_ID=order.to_series(), LOYALTY_POINTS_REDEEMED=pl.lit(0, pl.Int64))
