"""A store abroad, whose receipts are in the money of its country, and the bank's day rates by which it is converted.

Most of its customers are of that country, and unknown; some are people on a journey, who show their account. Its tills
deliver receipts as the others do, beside them.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from customer360.pipelines.sample.sales import COMPLETED, item_rows, transaction_rows
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import World

HOME, ABROAD = "USD", "CAD"
LABEL = "X"  # in the ids of what its tills write
RECEIPTS, JOURNEYS = 0.02, 0.35  # of the receipts at home; shares of people who show an account
LEAST, MOST = 30, 0.2  # receipts at least, and of those at home at most: a small retailer's money is that of home, too
HOME_PRICE, TAX_RATE = 1.36, 0.14975  # list prices abroad for one at home; GST and QST
# Dollars for one, on the first day, of the currencies that the bank quotes.
RATES = {
    "CAD": 0.735, "EUR": 1.09, "GBP": 1.27, "CHF": 1.13, "JPY": 0.0067, "AUD": 0.66, "NZD": 0.61, "SEK": 0.095,
    "NOK": 0.094, "DKK": 0.146, "PLN": 0.25, "CZK": 0.043, "HUF": 0.0028, "RON": 0.219, "BGN": 0.557, "TRY": 0.031,
    "BRL": 0.19, "MXN": 0.056, "CNY": 0.139, "HKD": 0.128, "SGD": 0.74, "KRW": 0.00074, "INR": 0.012, "ZAR": 0.054,
    "THB": 0.028, "IDR": 0.000062, "MYR": 0.22, "PHP": 0.0175, "ILS": 0.27, "ISK": 0.0073, "AED": 0.272, "SAR": 0.267,
    "EGP": 0.021, "MAD": 0.1, "CLP": 0.0011, "COP": 0.00025, "PEN": 0.27, "ARS": 0.0011, "VND": 0.00004, "TWD": 0.031,
    "KWD": 3.26, "QAR": 0.275, "JOD": 1.41, "KES": 0.0078, "NGN": 0.00066, "UAH": 0.025, "RSD": 0.0093, "GEL": 0.37,
    "KZT": 0.0022, "PKR": 0.0036, "BDT": 0.0085, "LKR": 0.0033,
}  # fmt: skip
DAILY_CHANGE, DAYS_BEFORE = 0.004, 7  # of a rate from day to day; rates are known so long before the first receipt
OPENS, CLOSES = 15, 26  # hour of the day in UTC


def store_rows(world: World) -> pl.DataFrame:
    """STORES, one row per store: those at home, those that opened since, the one abroad."""
    abroad = world.stores.head(1).with_columns(
        STORE_ID=pl.lit(store_abroad(world)),
        STORE_NAME=pl.lit("Montreal Sainte-Catherine"),
        ADDRESS_LINE_1=pl.lit("1204 Sainte-Catherine St W"),
        CITY=pl.lit("Montreal"),
        STATE_CODE=pl.lit("QC"),
        ZIP_CODE=pl.lit("H3B 1K1"),
        COUNTRY_CODE=pl.lit("CAN"),
        REGION=pl.lit("ABROAD"),
        LATITUDE=pl.lit(45.4992),
        LONGITUDE=pl.lit(-73.5743),
        OPENED_DATE=pl.lit(world.start_on - timedelta(days=1200)),
    )
    return pl.concat([world.stores, world.openings, abroad])


def store_abroad(world: World) -> str:
    """Its STORE_ID, the last number."""
    return f"ST{len(world.store_ids) + 1:03}"


def rate_rows(world: World) -> pl.DataFrame:
    """EXCHANGE_RATES, one row per currency and working day: dollars for one of it, a random walk of its logarithm."""
    rng, days = world.streams.stream("abroad.rates"), world.days + DAYS_BEFORE
    steps = rng.normal(0, DAILY_CHANGE, (len(RATES), days)).cumsum(axis=1)
    first = world.start_on - timedelta(days=DAYS_BEFORE)
    on = pl.date_range(first, world.end_on, eager=True)
    known = [
        pl.DataFrame({"RATE_DATE": on, "RATE": (rate * np.exp(walk)).round(8)}).select(
            "RATE_DATE", FROM_CURRENCY=pl.lit(code), TO_CURRENCY=pl.lit(HOME), RATE="RATE"
        )
        for (code, rate), walk in zip(RATES.items(), steps, strict=True)
    ]
    return pl.concat(known).filter(pl.col("RATE_DATE").dt.weekday() <= 5)


def transactions_abroad(world: World) -> pl.DataFrame:
    """CUSTOMER_TRANSACTIONS of the store abroad, in order of time."""
    receipts, _ = _sold(world)
    ids = world.accounts["customer_id"], world.store_ids, world.devices.visitor_ids
    rows = transaction_rows(world.streams.stream("abroad.transactions"), receipts, *ids, LABEL)
    return rows.drop("VISITOR_ID").with_columns(
        STORE_ID=pl.lit(store_abroad(world)),
        CURRENCY_CODE=pl.lit(ABROAD),
        CASHIER_ID=pl.format("EMPQ{}", pl.col("CASHIER_ID").str.slice(-1)),
        TERMINAL_ID=pl.format("Q{}", pl.col("TERMINAL_ID").str.slice(-1)),
        LOYALTY_POINTS_REDEEMED=pl.lit(0, pl.Int64),
    )


def items_abroad(world: World) -> pl.DataFrame:
    """CUSTOMER_TRANSACTION_ITEMS of the store abroad, in order of the receipts."""
    _, lines = _sold(world)
    return item_rows(world.streams.stream("abroad.items"), lines, world.products, LABEL)


def _sold(world: World) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Receipts and lines, in the columns of `Sales`; the same each time they are asked for."""
    rng = world.streams.stream("abroad")
    at_home = int((~world.sales.receipts["online"]).sum())
    count = min(max(round(RECEIPTS * at_home), LEAST), max(int(MOST * at_home), 1))
    day = np.sort(rng.integers(0, world.days, count))
    account = np.where(rng.random(count) < JOURNEYS, _travellers(world, day, rng), -1)
    lines = _lines(world, day, rng)
    goods = lines.group_by("receipt").agg(pl.col("total").sum()).sort("receipt")["total"].to_numpy()
    tax = np.round(goods * TAX_RATE).astype(np.int64)
    second = rng.integers(OPENS * 3600, CLOSES * 3600, count)
    latest = np.minimum(day * DAY_US + second * 1_000_000, world.days * DAY_US - 1_000_000)
    zero = np.zeros(count, dtype=np.int64)
    receipts = pl.DataFrame(
        {
            "receipt": np.arange(count), "origin": np.arange(count), "account": account, "day": day,
            "at": midnight_us(world.start_on) + latest, "online": np.zeros(count, dtype=bool), "kind": zero,
            "status": zero + COMPLETED, "channel": zero, "store": zero, "visitor": zero - 1, "tax": tax,
            "shipping": zero, "discount": zero, "total": goods + tax, "member": np.zeros(count, dtype=bool),
        }
    )  # fmt: skip
    return receipts, lines


def _travellers(world: World, day: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The till account of somebody who is a customer on each day, -1 where the one who was drawn is none."""
    held = world.accounts.with_row_index("account").cast({"account": pl.Int64}).filter(source_system="POS")
    if held.is_empty():
        return np.full(len(day), -1)
    chosen = held[rng.integers(0, len(held), len(day))]
    gone = world.lives["gone"].to_numpy()[chosen["person"].to_numpy()]
    is_one = (chosen["registered"].to_numpy() <= day) & (day < gone - 1)
    return np.where(is_one, chosen["account"].to_numpy(), -1)


def _lines(world: World, day: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """One to three products a receipt, each once, at the list price abroad, which ends in nine cents."""
    receipt, _ = spread(rng.integers(1, 4, len(day)))
    drawn = rng.integers(0, len(world.products), len(receipt))
    product = world.shelf.launched(drawn, day[receipt])
    unit = np.round(world.shelf.cents[product] * HOME_PRICE / 10).astype(np.int64) * 10 + 9
    quantity = 1 + (rng.random(len(receipt)) < 0.15)
    zero = np.zeros(len(receipt), dtype=np.int64)
    rows = pl.DataFrame(
        {
            "receipt": receipt, "product": product, "quantity": quantity, "unit": unit, "percent": zero,
            "discount": zero, "total": quantity * unit, "status": zero,
        }
    )  # fmt: skip
    kept = rows.unique(["receipt", "product"], keep="first", maintain_order=True)
    return kept.with_columns(position=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("receipt"))
