"""Receipts and their lines: baskets, prices, discounts, tax and shipping, returns; CUSTOMER_TRANSACTIONS and
CUSTOMER_TRANSACTION_ITEMS.

Money is whole cents (Int64) until a table is written. Two laws hold in every clean row:

- line:   TOTAL_PRICE = QUANTITY * UNIT_PRICE - DISCOUNT_AMOUNT
- header: TOTAL_AMOUNT = sum of the lines' TOTAL_PRICE + TAX_AMOUNT + SHIPPING_AMOUNT - DISCOUNT_AMOUNT

RETURN and REFUND have negative quantities and totals at the net price paid (header discount included), no discount and
no shipping; an EXCHANGE takes one piece back and hands the same product out. They carry RECEIPT_NUMBER and
ONLINE_ORDER_ID of the receipt they refer to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.pipelines.sample.catalog import COMPANION, Shelf
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.streams import Streams, spread
from customer360.pipelines.sample.tastes import Tastes
from customer360.pipelines.sample.visits import AGENTS, DAY_US

LINES_BEYOND_FIRST = 1.3
LARGEST_BASKET = 9
COMPANION_SHARE = 0.25
LINE_DISCOUNTS = (np.array([0, 5, 10, 15, 20, 30]), np.array([0.7, 0.08, 0.09, 0.05, 0.05, 0.03]))
HEADER_DISCOUNT_SHARE = 0.14
FREE_SHIPPING_CENTS, SHIPPING_CENTS = 6_000, 599
RETURN_SHARE = 0.075
FAR_STORE_SHARE = 0.15
KINDS = ("PURCHASE", "RETURN", "REFUND", "EXCHANGE")
PURCHASE, RETURN, REFUND, EXCHANGE = range(4)
STATUSES = ("COMPLETED", "FAILED", "CANCELLED", "PENDING")
COMPLETED, FAILED, CANCELLED, PENDING = range(4)
CHANNELS = ("POS", "ECOMMERCE", "MOBILE", "SOCIAL")
PAYMENTS = ("CARD", "CASH", "MOBILE", "WALLET", "CRYPTO")
CARDS = ("VISA", "MASTERCARD", "AMEX", "DISCOVER")
REASONS = ("DAMAGED", "WRONG SIZE", "NOT AS DESCRIBED", "CHANGED MIND", "ARRIVED LATE", "DEFECTIVE")
SIZES = ("XS", "S", "M", "L", "XL")


@dataclass(frozen=True)
class Sales:
    """receipts: one row per receipt in order of time, its row number is the receipt's; lines: one row per line, in
    order of receipts.

    receipts: person, day, at, online, account, purchase (row of the purchases), kind, status, tax, shipping, discount,
    total, origin (receipt it refers to, else itself), visitor (row of visitor ids, -1 without), channel, store (row of
    STORES, -1 online), member. lines: receipt, position, product, quantity, unit, percent, discount, total, status (0
    sold, 1 returned, 2 exchanged).
    """

    receipts: pl.DataFrame
    lines: pl.DataFrame


def _baskets(
    streams: Streams, taste: Tastes, shelf: Shelf, bought: pl.DataFrame, month: np.ndarray, beyond_first: float
) -> pl.DataFrame:
    """Lines of the purchases: purchase, product, quantity, unit, percent, discount, total. A product stands once in a
    basket."""
    rng = streams.stream("baskets")
    size = np.minimum(1 + rng.poisson(beyond_first, len(bought)), LARGEST_BASKET)
    purchase, position = spread(size)
    person, day = bought["person"].to_numpy()[purchase], bought["day"].to_numpy()[purchase]
    product = taste.draw(shelf, person, month[purchase], day, rng)
    lead = COMPANION[shelf.category[product[np.cumsum(size)[purchase] - size[purchase]]]]
    led = (position > 0) & (rng.random(len(purchase)) < COMPANION_SHARE)
    product = taste.draw(shelf, person, month[purchase], day, rng, np.where(led, lead, shelf.category[product]))
    quantity = 1 + (rng.random(len(purchase)) < 0.18) + (rng.random(len(purchase)) < 0.05)
    percent = rng.choice(LINE_DISCOUNTS[0], len(purchase), p=LINE_DISCOUNTS[1])
    unit = shelf.cents[product]
    discount = (quantity * unit * percent + 50) // 100
    frame = pl.DataFrame(
        {
            "purchase": purchase,
            "product": product,
            "quantity": quantity,
            "unit": unit,
            "percent": percent,
            "discount": discount,
        }
    ).with_columns(total=pl.col("quantity") * pl.col("unit") - pl.col("discount"))
    return frame.unique(["purchase", "product"], keep="first", maintain_order=True)


def sales(
    streams: Streams, taste: Tastes, shelf: Shelf, bought: pl.DataFrame, sessions: pl.DataFrame, people: pl.DataFrame,
    gone: np.ndarray, member_from: np.ndarray, home_store: np.ndarray, days: int, store_count: int,
    lines_beyond_first: float = LINES_BEYOND_FIRST,
) -> Sales:  # fmt: skip
    """Receipts of all purchases and of the returns that follow them. gone, member_from: day numbers per person."""
    month = bought.select(pl.col("at").cast(pl.Datetime("us")).dt.month()).to_series().to_numpy().astype(np.int64) - 1
    lines = _baskets(streams, taste, shelf, bought, month, lines_beyond_first)
    rng = streams.stream("receipts")
    count = len(bought)
    merchandise = np.bincount(lines["purchase"].to_numpy(), weights=lines["total"].to_numpy(), minlength=count).astype(
        np.int64
    )
    reduced = rng.random(count) < HEADER_DISCOUNT_SHARE
    discount = np.where(reduced, merchandise * rng.choice([5, 10, 15], count) // 100, 0)
    person, online = bought["person"].to_numpy(), bought["online"].to_numpy()
    place = people["place"].to_numpy()[person]
    tax = np.round((merchandise - discount) * places()["tax_rate"].to_numpy()[place]).astype(np.int64)
    shipping = np.where(online & (merchandise < FREE_SHIPPING_CENTS), SHIPPING_CENTS, 0)
    near = home_store[place]
    far = rng.random(count) < FAR_STORE_SHARE
    store = np.where(online, -1, np.where(far, rng.integers(0, store_count, count), near))
    visit = _by_purchase(sessions, count)
    agent, chance = visit["agent"], rng.random(count)
    mobile = np.array([row[0] == "MOBILE" for row in AGENTS])[agent]
    channel = np.where(~online, 0, np.where(chance > 0.95, 3, np.where(mobile & (chance < 0.65), 2, 1)))
    head = bought.with_columns(
        purchase=np.arange(count),
        kind=np.zeros(count, dtype=np.int64),
        status=rng.choice(4, count, p=[0.955, 0.015, 0.015, 0.015]),
        tax=tax,
        shipping=shipping,
        discount=discount,
        total=merchandise + tax + shipping - discount,
        visitor=np.where(online, visit["visitor"], -1),
        channel=channel,
        store=store,
        member=member_from[person] <= bought["day"].to_numpy(),
    )
    return _numbered(head, lines, *_returns(streams, head, lines, merchandise, gone, days))


def _by_purchase(sessions: pl.DataFrame, count: int) -> dict[str, np.ndarray]:
    """The agent and visitor of each purchase's visit (zero for purchases in a store)."""
    rows = sessions.filter(pl.col("purchase") >= 0)
    out = {}
    for column in ("agent", "visitor"):
        out[column] = np.zeros(count, dtype=np.int64)
        out[column][rows["purchase"].to_numpy()] = rows[column].to_numpy()
    return out


def _returns(
    streams: Streams, head: pl.DataFrame, lines: pl.DataFrame, merchandise: np.ndarray, gone: np.ndarray, days: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Receipts and lines that take one line of a completed purchase back, while its buyer is still a customer.

    The new lines' `purchase` is the row of the new receipt among the returned ones.
    """
    rng = streams.stream("returns")
    status, person, day = head["status"].to_numpy(), head["person"].to_numpy(), head["day"].to_numpy()
    first_line = np.searchsorted(lines["purchase"].to_numpy(), np.arange(len(head)))
    later = rng.integers(2, 29, len(head))
    wanted = (rng.random(len(head)) < RETURN_SHARE) & (status == COMPLETED)
    origin = np.flatnonzero(wanted & (day + later < np.minimum(gone[person], days)))
    line = lines[first_line[origin]]
    kind = rng.choice([RETURN, REFUND, EXCHANGE], len(origin), p=[0.86, 0.07, 0.07])
    paid = 1 - head["discount"].to_numpy()[origin] / np.maximum(merchandise[origin], 1)
    quantity = line["quantity"].to_numpy()
    unit = np.where(
        kind == EXCHANGE, line["unit"].to_numpy(), np.floor(line["total"].to_numpy() / quantity * paid).astype(np.int64)
    )
    back = np.where(kind == EXCHANGE, 1, quantity)
    original = head[origin]
    spent = np.maximum(merchandise - head["discount"].to_numpy(), 1)[origin]
    tax = np.where(kind == EXCHANGE, 0, -np.round(original["tax"].to_numpy() * (back * unit) / spent).astype(np.int64))
    goods = np.where(kind == EXCHANGE, 0, -back * unit)
    zero = np.zeros(len(origin), dtype=np.int64)
    new_head = original.with_columns(
        day=pl.Series(day[origin] + later[origin]),
        at=pl.Series(original["at"].to_numpy() + later[origin] * DAY_US),
        kind=kind,
        status=zero,
        tax=tax,
        shipping=zero,
        discount=zero,
        total=goods + tax,
    )
    rows = np.arange(len(origin))
    new_lines = line.with_columns(
        purchase=rows,
        quantity=-back,
        unit=unit,
        percent=zero,
        discount=zero,
        total=-back * unit,
        status=np.where(kind == EXCHANGE, 2, 1),
    )
    out = new_lines.filter(pl.Series(kind == EXCHANGE)).with_columns(
        quantity=-pl.col("quantity"), total=-pl.col("total")
    )
    return new_head, pl.concat([new_lines, out])


def _numbered(head: pl.DataFrame, lines: pl.DataFrame, new_head: pl.DataFrame, new_lines: pl.DataFrame) -> Sales:
    """Put receipts in order of time and number them; lines follow."""
    stacked = pl.concat([head, new_head.select(head.columns)]).with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
    stacked = stacked.sort("at", "row")
    number = np.empty(len(stacked), dtype=np.int64)
    number[stacked["row"].to_numpy()] = np.arange(len(stacked))
    receipts = stacked.with_columns(origin=number[stacked["purchase"].to_numpy()]).drop("row")
    sold = lines.with_columns(status=pl.lit(0, dtype=pl.Int64), receipt=number[lines["purchase"].to_numpy()])
    back = new_lines.with_columns(receipt=number[len(head) + new_lines["purchase"].to_numpy()])
    both = (
        pl.concat([sold, back.select(sold.columns)])
        .drop("purchase")
        .sort("receipt", "quantity", "product", maintain_order=True)
    )
    receipt, rows = both["receipt"].to_numpy(), np.arange(len(both))
    first = np.maximum.accumulate(np.where(np.diff(receipt, prepend=-1) != 0, rows, 0))
    return Sales(receipts=receipts, lines=both.with_columns(position=pl.Series(rows - first + 1)))


def money(cents: str) -> pl.Expr:
    """Whole cents as Decimal(10, 2)."""
    return (pl.col(cents).cast(pl.Decimal(14, 2)) / 100).cast(pl.Decimal(10, 2)).alias(cents)


def words(codes: pl.Series, vocabulary: tuple[str, ...]) -> pl.Series:
    """The words of small codes."""
    return pl.Series(vocabulary, dtype=pl.String).gather(codes)


def transaction_rows(
    rng: np.random.Generator,
    receipts: pl.DataFrame,
    customer_ids: pl.Series,
    store_ids: pl.Series,
    visitor_ids: pl.Series,
    label: str = "",
    since: int = 0,
) -> pl.DataFrame:
    """CUSTOMER_TRANSACTIONS of some receipts (with their number in column `receipt`), one row each, plus VISITOR_ID,
    LAST_UPDATED_DATE. `label` stands in ids before the number; `since`: days before the receipts' first day."""
    count = len(receipts)
    online = receipts["online"].to_numpy()
    draws = rng.random(count)
    payment = np.where(
        online, np.searchsorted([0.7, 0.7, 0.75, 0.985], draws), np.searchsorted([0.69, 0.87, 0.97, 1.0], draws)
    )
    card = rng.choice(len(CARDS), count, p=[0.52, 0.28, 0.14, 0.06])
    known, hidden = pl.Series(receipts["account"].to_numpy() >= 0), pl.Series(rng.random(count) < 0.1)
    number, origin = pl.col("receipt").cast(pl.String).str.zfill(10), pl.col("origin").cast(pl.String).str.zfill(10)
    at = pl.col("at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    shop, back = pl.col("online"), pl.col("kind") > PURCHASE
    reduced = pl.col("discount") > 0
    coupon = pl.Series(rng.random(count) < 0.4)
    redeemed = np.where(rng.random(count) < 0.04, rng.integers(1, 6, count) * 100, 0)
    return receipts.select(
        TRANSACTION_ID=pl.format("T{}{}", pl.lit(label), number),
        CUSTOMER_ID=pl.when(known).then(customer_ids.gather(np.maximum(receipts["account"].to_numpy(), 0))),
        CHANNEL=words(receipts["channel"], CHANNELS),
        TRANSACTION_DATE=at,
        TRANSACTION_TYPE=words(receipts["kind"], KINDS),
        TOTAL_AMOUNT=money("total"),
        TAX_AMOUNT=money("tax"),
        SHIPPING_AMOUNT=money("shipping"),
        CURRENCY_CODE=pl.lit("USD"),
        PAYMENT_METHOD=words(pl.Series(payment), PAYMENTS),
        CARD_TYPE=pl.when(pl.Series(payment == 0)).then(words(pl.Series(card), CARDS)),
        STORE_ID=pl.when(~shop).then(store_ids.gather(np.maximum(receipts["store"].to_numpy(), 0))),
        ONLINE_ORDER_ID=pl.when(shop).then(pl.format("O{}{}", pl.lit(label), origin)),
        LOYALTY_POINTS_EARNED=pl.when(pl.col("member") & (pl.col("status") == COMPLETED))
        .then(pl.col("total") // 100)
        .otherwise(0),
        LOYALTY_POINTS_REDEEMED=pl.when(pl.col("member") & ~back).then(pl.Series(redeemed)).otherwise(0),
        DISCOUNT_AMOUNT=money("discount"),
        PROMOTION_CODE=pl.when(reduced).then(pl.format("PROMO{}", (pl.col("day") + since) // 14)),
        COUPON_CODE=pl.when(reduced & coupon).then(pl.format("C{}{}", pl.lit(label), number.str.slice(4))),
        TRANSACTION_STATUS=words(receipts["status"], STATUSES),
        CASHIER_ID=pl.when(~shop).then(
            pl.format("EMP{}", pl.col("store") * 20 + pl.Series(rng.integers(0, 12, count)))
        ),
        TERMINAL_ID=pl.when(~shop).then(pl.format("T{}-{}", "store", pl.Series(rng.integers(1, 7, count)))),
        RECEIPT_NUMBER=pl.format("R{}{}", pl.lit(label), origin),
        REFUND_REASON=pl.when(back).then(words(pl.Series(rng.integers(0, len(REASONS), count)), REASONS)),
        LAST_UPDATED_DATE=at + pl.duration(seconds=pl.lit(pl.Series(rng.integers(5, 600, count)))),
        VISITOR_ID=pl.when(shop & ~(known & hidden)).then(
            visitor_ids.gather(np.maximum(receipts["visitor"].to_numpy(), 0))
        ),
    )


def item_rows(rng: np.random.Generator, lines: pl.DataFrame, products: pl.DataFrame, label: str = "") -> pl.DataFrame:
    """CUSTOMER_TRANSACTION_ITEMS of some lines, one row each; `label` stands in ids before the number."""
    count = len(lines)
    said = products["ATTRIBUTES"].str.json_decode(pl.Struct({"color": pl.String, "weight_kg": pl.Float64}))
    named = products.select("PRODUCT_ID", "PRODUCT_NAME", "CATEGORY", "SUBCATEGORY", "BRAND", "SKU")
    product = pl.concat([named, said.struct.unnest()], how="horizontal")[lines["product"].to_numpy()]
    worn = product["CATEGORY"].is_in(["Apparel", "Footwear"])
    number = pl.col("receipt").cast(pl.String).str.zfill(10)
    size = words(pl.Series(rng.integers(0, len(SIZES), count)), SIZES)
    rating = pl.Series(rng.choice([1, 2, 3, 4, 5], count, p=[0.05, 0.06, 0.12, 0.32, 0.45]))
    rated = pl.Series(rng.random(count) < 0.1) & (pl.col("status") == 0)
    return lines.select(
        ITEM_ID=pl.format("I{}{}-{}", pl.lit(label), number, "position"),
        TRANSACTION_ID=pl.format("T{}{}", pl.lit(label), number),
        PRODUCT_ID=product["PRODUCT_ID"],
        PRODUCT_NAME=product["PRODUCT_NAME"],
        CATEGORY=product["CATEGORY"],
        SUBCATEGORY=product["SUBCATEGORY"],
        BRAND=product["BRAND"],
        SKU=product["SKU"],
        QUANTITY="quantity",
        UNIT_PRICE=money("unit"),
        TOTAL_PRICE=money("total"),
        DISCOUNT_PERCENTAGE=pl.col("percent").cast(pl.Decimal(5, 2)),
        DISCOUNT_AMOUNT=money("discount"),
        ITEM_RATING=pl.when(rated).then(rating),
        ITEM_STATUS=words(lines["status"], ("SOLD", "RETURNED", "EXCHANGED")),
        SIZE=pl.when(worn).then(size),
        COLOR=product["color"],
        WEIGHT=product["weight_kg"].cast(pl.Decimal(8, 2)),
    )
