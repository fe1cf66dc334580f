"""Vendors, purchase orders, deliveries and the stock of the distribution centre, day by day.

What is sold leaves the centre; where stock and open orders of a product fall to its reorder point, a line is ordered of
its one vendor. Lead times are lognormal about what the vendor promises. The two vendors of `SLOW` come late more often
than they should, the one of `SHODDY` delivers what inspection refuses; the small ones (the last by number) have a few
products each.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from customer360.pipelines.sample.sales import COMPLETED, PURCHASE
from customer360.pipelines.sample.world import World

VENDORS, CENTRE = 24, "DC1"
SLOW, SHODDY, SLOWNESS = (3, 11), 7, 1.6  # by number; how many times their promise they take
DEFECTS, MANY_DEFECTS = 0.01, 0.09  # share of units that inspection refuses
SPREAD, SLACK = 0.2, 1.2  # of the logarithm of a lead time; promise over its median
PARTS_SHARE, SHORT_SHARE = 0.06, 0.03  # lines that come in two parts, and never whole
COVER_DAYS, REVIEW_DAYS = 45, 4  # an order covers so many days; safety stock
PRICE_MOVES = 0.03  # of the cost, order by order
SNAPSHOT_DAYS = 120


@dataclass(frozen=True)
class Supply:
    """vendor: of each product; lead: median days of each vendor, where it is not slow; lines, receipts: rows of the
    feeds in numbers; stock of each product at the end of the last `SNAPSHOT_DAYS` days: Int64 [days, products]."""

    vendor: np.ndarray
    lead: np.ndarray
    lines: pl.DataFrame
    receipts: pl.DataFrame
    stock: np.ndarray


def _demand(world: World) -> np.ndarray:
    """Units of each product that leave on each day: Int64 [days, products]."""
    heads = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
    sold = heads.filter(pl.col("kind") == PURCHASE, pl.col("status") == COMPLETED, pl.col("day") < world.days)
    lines = world.sales.lines.join(sold.select("receipt", "day"), on="receipt", maintain_order="left")
    units = np.zeros((world.days, len(world.products)), dtype=np.int64)
    np.add.at(units, (lines["day"].to_numpy(), lines["product"].to_numpy()), lines["quantity"].to_numpy())
    return units


def _vendors(products: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The vendor of each product, and the median days of each vendor."""
    share = np.arange(VENDORS, 0, -1) ** 1.5
    return rng.choice(VENDORS, products, p=share / share.sum()), rng.uniform(4, 25, VENDORS)


def supply(world: World) -> Supply:
    """The story of the centre; the same each time it is asked for."""
    rng, demand = world.streams.stream("supply"), _demand(world)
    days, products = demand.shape
    vendor, lead = _vendors(products, rng)
    daily = np.maximum(demand.mean(axis=0), 0.02)
    point = np.ceil(daily * (lead[vendor] * SLACK + REVIEW_DAYS) + 2 * np.sqrt(daily * lead[vendor]))
    stock = np.ceil(point + daily * COVER_DAYS * rng.random(products)).astype(np.int64)
    coming, due = np.zeros(products, dtype=np.int64), defaultdict[int, list[tuple[np.ndarray, np.ndarray]]](list)
    lines, receipts, kept, number = [], [], [], 0
    for day in range(days):
        for product, units in due.pop(day, []):
            np.add.at(stock, product, units)
            np.add.at(coming, product, -units)
        stock = np.maximum(stock - demand[day], 0)  # what is missing is sold from the stores' own stock
        low = np.flatnonzero(stock + coming <= point)
        if len(low):
            made, (row, at, came, rejected) = _ordered(low, day, daily, vendor, lead, rng)
            lines.append(made)
            receipts.append(np.stack([row + number, at, came, rejected]))
            number += len(low)
            np.add.at(coming, low[row], came - rejected)
            for then in set(at.tolist()):
                due[then].append((low[row[at == then]], (came - rejected)[at == then]))
        if day >= days - SNAPSHOT_DAYS:
            kept.append(stock.copy())
    ordered = dict(zip(("product", "vendor", "day", "promised", "units"), np.hstack(lines), strict=True))
    received = dict(zip(("line", "day", "units", "rejected"), np.hstack(receipts), strict=True))
    rows = pl.DataFrame(ordered).with_columns(line=pl.int_range(pl.len(), dtype=pl.Int64))
    return Supply(vendor, lead, rows, pl.DataFrame(received), np.array(kept))


def _ordered(
    low: np.ndarray, day: int, daily: np.ndarray, vendor: np.ndarray, lead: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """What is ordered on a day of the products `low` (product, vendor, day, promised, units: Int64 [5, lines]), and the
    receipts that will follow (row of `low`, day, units, rejected: Int64 [receipts] each)."""
    who, count = vendor[low], len(low)
    units = np.maximum(np.ceil(daily[low] * COVER_DAYS), 6).astype(np.int64)
    promised = np.ceil(lead[who] * SLACK).astype(np.int64)
    slow = np.where(np.isin(who, SLOW), SLOWNESS, 1.0)
    takes = np.maximum(np.round(lead[who] * slow * rng.lognormal(0, SPREAD, count)), 1).astype(np.int64)
    draw = rng.random(count)
    first = np.where(draw < PARTS_SHARE + SHORT_SHARE, units * 2 // 3, units)
    second = np.where(draw < PARTS_SHARE, units - first, 0)
    more = np.flatnonzero(second > 0)
    row = np.concatenate([np.arange(count), more])
    at = day + np.concatenate([takes, (takes + rng.integers(3, 11, count))[more]])
    came = np.concatenate([first, second[more]])
    rejected = rng.binomial(came, np.where(who == SHODDY, MANY_DEFECTS, DEFECTS)[row])
    return np.stack([low, who, np.full(count, day), day + promised, units]), (row, at, came, rejected)


def _day(world: World, column: str) -> pl.Expr:
    return (pl.lit(world.start_on) + pl.duration(days=column)).cast(pl.Date)


def _vendor_id(column: str) -> pl.Expr:
    return pl.format("VN{}", (pl.col(column) + 1).cast(pl.String).str.zfill(3))


def vendor_rows(world: World) -> pl.DataFrame:
    """VENDORS, one row per vendor."""
    rng = world.streams.stream("supply.vendors")
    first, last = ("Harbor", "Summit", "Prairie", "Cedar", "Lakeside", "Union"), ("Trading", "Mills", "Goods", "Supply")
    numbers = pl.DataFrame({"vendor": np.arange(VENDORS)})
    return numbers.select(
        VENDOR_ID=_vendor_id("vendor"),
        VENDOR_NAME=pl.Series([f"{first[n % 6]} {last[n // 6]}" for n in range(VENDORS)]),
        COUNTRY_CODE=pl.Series(rng.choice(["USA", "MEX", "CHN", "VNM"], VENDORS, p=[0.5, 0.15, 0.2, 0.15])),
        VENDOR_STATUS=pl.lit("ACTIVE"),
    )


def order_rows(world: World) -> pl.DataFrame:
    """PURCHASE_ORDERS, one row per line; lines of a vendor and day are one order."""
    told = supply(world)
    came = told.receipts.filter(pl.col("day") < world.days).group_by("line").agg(came=pl.col("units").sum())
    rows = told.lines.join(came, on="line", how="left", maintain_order="left")
    moves = 1 + world.streams.stream("supply.prices").normal(0, PRICE_MOVES, len(rows))
    cost = world.products["COST"].cast(pl.Float64).gather(rows["product"]) * pl.Series(moves)
    whole = pl.col("came").fill_null(0) >= pl.col("units")
    return rows.with_columns(number=pl.int_range(pl.len()).over("vendor", "day") + 1).select(
        PURCHASE_ORDER_ID=_order_id(world),
        LINE_NUMBER="number",
        VENDOR_ID=_vendor_id("vendor"),
        PRODUCT_ID=world.products["PRODUCT_ID"].gather(rows["product"]),
        LOCATION_ID=pl.lit(CENTRE),
        ORDERED_DATE=_day(world, "day"),
        PROMISED_DATE=_day(world, "promised"),
        ORDERED_QUANTITY="units",
        UNIT_COST=cost.round(2).cast(pl.Decimal(12, 2)),
        CURRENCY_CODE=pl.lit("USD"),
        ORDER_STATUS=pl.when(whole).then(pl.lit("CLOSED")).otherwise(pl.lit("OPEN")),
    )


def _order_id(world: World) -> pl.Expr:
    day = _day(world, "day").dt.strftime("%Y%m%d")
    return pl.format("PO{}-{}", day, (pl.col("vendor") + 1).cast(pl.String).str.zfill(3))


def delivery_rows(world: World) -> pl.DataFrame:
    """DELIVERIES, one row per line of a goods receipt up to the last day."""
    told = supply(world)
    lines = told.lines.with_columns(number=pl.int_range(pl.len()).over("vendor", "day") + 1, order=_order_id(world))
    rows = told.receipts.filter(pl.col("day") < world.days, pl.col("units") > 0).join(
        lines.select("line", "number", "order", "vendor"), on="line", maintain_order="left"
    )
    day = _day(world, "day").dt.strftime("%Y%m%d")
    return rows.select(
        DELIVERY_ID=pl.format("GR{}-{}", day, (pl.col("vendor") + 1).cast(pl.String).str.zfill(3)),
        LINE_NUMBER=pl.int_range(pl.len()).over("vendor", "day") + 1,
        PURCHASE_ORDER_ID="order",
        PURCHASE_ORDER_LINE="number",
        RECEIVED_DATE=_day(world, "day"),
        RECEIVED_QUANTITY="units",
        REJECTED_QUANTITY="rejected",
        REJECTION_REASON=pl.when(pl.col("rejected") > 0).then(pl.lit("DEFECTIVE")),
    )


def stock_rows(world: World) -> pl.DataFrame:
    """STOCK_DAYS of the centre, one row per product and day."""
    told = supply(world).stock
    first = world.end_on - timedelta(days=len(told) - 1)
    days = [first + timedelta(days=n) for n in range(len(told))]
    return pl.DataFrame(
        {
            "PRODUCT_ID": world.products["PRODUCT_ID"].gather(np.tile(np.arange(told.shape[1]), len(days))),
            "LOCATION_ID": pl.select(pl.repeat(CENTRE, told.size)).to_series(),
            "SNAPSHOT_DATE": pl.Series(days).gather(np.repeat(np.arange(len(days)), told.shape[1])),
            "QUANTITY_ON_HAND": told.ravel(),
        }
    )


def vendor_truth(world: World) -> pl.DataFrame:
    """One row per vendor: vendor_id, median_days from order to receipt, defect_rate, is_slow."""
    number = np.arange(VENDORS)
    slow = np.isin(number, SLOW)
    _, lead = _vendors(len(world.products), world.streams.stream("supply"))
    return pl.DataFrame({"vendor": number}).select(
        vendor_id=_vendor_id("vendor"),
        median_days=pl.Series(lead * np.where(slow, SLOWNESS, 1.0)),
        defect_rate=pl.Series(np.where(number == SHODDY, MANY_DEFECTS, DEFECTS)),
        is_slow=pl.Series(slow),
    )
