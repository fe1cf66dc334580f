"""ONLINE_ORDERS: the order behind each receipt of shop and app, with its delivery."""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.sales import CANCELLED, COMPLETED, FAILED, PURCHASE, money, words
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import World

METHODS, METHOD_SHARES = ("STANDARD", "EXPRESS", "PICKUP"), (0.72, 0.18, 0.1)
PROMISED_DAYS = np.array([5, 2, 3])
LATE_SHARE = 0.08
HOUR_US = 3_600_000_000


def orders(world: World) -> pl.DataFrame:
    """One row per order in order of time: receipt, person, account, at, day, status, total, visitor, method, promised
    (day number), shipped and delivered (microseconds, null if never), late."""
    rng = world.streams.stream("orders")
    receipts = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
    rows = receipts.filter(pl.col("online") & (pl.col("kind") == PURCHASE))
    count, end = len(rows), midnight_us(world.end_on) + DAY_US
    method = rng.choice(len(METHODS), count, p=METHOD_SHARES)
    promised = PROMISED_DAYS[method]
    late = rng.random(count) < LATE_SHARE
    shipped = rng.integers(2, 30, count) * HOUR_US
    # By the middle of the promised day, or one to six days after it.
    due = (promised - rng.uniform(0, 1.5, count)) * DAY_US
    delivered = np.where(late, (promised + rng.uniform(1, 6, count)) * DAY_US, np.maximum(due, shipped + HOUR_US))
    ships = rows["status"].to_numpy() == COMPLETED
    at = rows["at"].to_numpy()
    is_out, is_there = ships & (at + shipped < end), ships & (at + delivered < end)
    return rows.select("receipt", "person", "account", "at", "day", "status", "total", "visitor").with_columns(
        method=method,
        promised=rows["day"].to_numpy() + promised,
        shipped=pl.when(pl.Series(is_out)).then(pl.Series(at + shipped)),
        delivered=pl.when(pl.Series(is_there)).then(pl.Series((at + delivered).astype(np.int64))),
        late=late & is_there,
    )


def order_rows(world: World) -> pl.DataFrame:
    """ONLINE_ORDERS, one row per order, as they stand at the end of the story."""
    rows = orders(world)
    account, place = rows["account"].to_numpy(), world.people["place"].to_numpy()[rows["person"].to_numpy()]
    status = (
        pl.when(pl.col("status") == FAILED).then(pl.lit("PAYMENT_FAILED"))
        .when(pl.col("status") == CANCELLED).then(pl.lit("CANCELLED"))
        .when(pl.col("delivered").is_not_null()).then(pl.lit("DELIVERED"))
        .when(pl.col("shipped").is_not_null()).then(pl.lit("SHIPPED"))
        .when(pl.col("status") == COMPLETED).then(pl.lit("PAID"))
        .otherwise(pl.lit("PLACED"))
    )  # fmt: skip
    moment, changed = pl.Datetime("us", "UTC"), pl.coalesce("delivered", "shipped", pl.col("at") + 60_000_000)
    return rows.select(
        ONLINE_ORDER_ID=pl.format("O{}{}", pl.lit(world.label), pl.col("receipt").cast(pl.String).str.zfill(10)),
        CUSTOMER_ID=pl.when(pl.Series(account >= 0)).then(world.accounts["customer_id"].gather(np.maximum(account, 0))),
        VISITOR_ID=world.devices.visitor_ids.gather(np.maximum(rows["visitor"].to_numpy(), 0)),
        ORDER_DATE=pl.col("at").cast(moment),
        ORDER_STATUS=status,
        SHIPPING_METHOD=words(rows["method"], METHODS),
        SHIP_CITY=places()["city"].gather(place),
        SHIP_ZIP_CODE=world.people["zip"].gather(rows["person"]),
        PROMISED_DATE=(pl.lit(world.start_on) + pl.duration(days="promised")).cast(pl.Date),
        SHIPPED_DATE=pl.col("shipped").cast(moment),
        DELIVERED_DATE=pl.col("delivered").cast(moment),
        TOTAL_AMOUNT=money("total"),
        CURRENCY_CODE=pl.lit("USD"),
        LAST_UPDATED_DATE=changed.cast(moment),
    )


def orders_by_month(world: World) -> list[tuple[str, pl.DataFrame]]:
    """The files of the orders, one a month of ordering."""
    rows = order_rows(world)
    month = rows["ORDER_DATE"].dt.strftime("%Y-%m")
    return [(name, rows.filter(month == name)) for name in world.months()]
