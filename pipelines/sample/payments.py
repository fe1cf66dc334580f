"""How receipts were paid: authorizations, captures, declines, refunds, chargebacks; and fraudsters, who are a truth.

Every receipt that was not paid in cash has its payment. Of the honest a stated share is declined first, pays for
somebody abroad, or shares the cards of the household. Fraudsters are accounts of the shop with one kind of fraud
each: `CARD_TESTING`, many small attempts on many cards within an hour, nearly all declined; `STOLEN_CARDS`, a few dear
attempts with cards of foreign issuers, charged back later; `SHARED_CARD`, one card that a ring of unrelated people
uses.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from customer360.pipelines.sample.sales import CANCELLED, COMPLETED, FAILED, transaction_rows
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import World

MINUTE_US = 60_000_000
DECLINED_FIRST, ABROAD, HOUSEHOLD_CARDS, CHARGED_BACK = 0.03, 0.01, 0.25, 0.0005
FRAUDSTERS = 0.006  # of the people
KINDS = ("CARD_TESTING", "STOLEN_CARDS", "SHARED_CARD")
REASONS = ("INSUFFICIENT_FUNDS", "DO_NOT_HONOR", "EXPIRED_CARD")
COUNTRIES, FOREIGN = ("USA", "CAN", "GBR"), ("BRA", "NGA", "VNM", "ROU")
CARDLESS = ("CASH",)
COLUMNS = (
    "PAYMENT_ID", "PAYMENT_STATUS", "ORIGINAL_PAYMENT_ID", "TRANSACTION_ID", "CUSTOMER_ID", "VISITOR_ID",
    "PAYMENT_DATE", "PAYMENT_METHOD", "CARD_BRAND", "CARD_LAST4", "CARD_BIN", "CARD_TOKEN", "BIN_COUNTRY",
    "BILLING_COUNTRY", "SHIPPING_COUNTRY", "AMOUNT", "CURRENCY_CODE", "DECLINE_REASON", "DEVICE_HASH", "IP_HASH",
    "LAST_UPDATED_DATE",
)  # fmt: skip


def payments_by_month(world: World, *, online: bool) -> Iterator[tuple[str, pl.DataFrame]]:
    """BRONZE PAYMENTS of a system, one file a month of the receipts; the fraud of the shop in the month it happens."""
    fraud = _fraud(world) if online else None
    for at, month in enumerate(world.months()):
        rows = _paid(world, month, at, online=online)
        if fraud is not None:
            rows = pl.concat([rows, fraud.filter(pl.col("PAYMENT_DATE").dt.strftime("%Y-%m") == month)])
        yield month, rows.sort("PAYMENT_DATE", "PAYMENT_ID", "PAYMENT_STATUS")


def _paid(world: World, month: str, at: int, *, online: bool) -> pl.DataFrame:
    """The events of one month's receipts that were not paid in cash."""
    receipts = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
    receipts = receipts.filter(
        (pl.col("online") == online) & (pl.col("at").cast(pl.Datetime("us")).dt.strftime("%Y-%m") == month)
    )
    said = transaction_rows(  # as the feed of transactions says it: the same stream
        world.streams.stream("transactions", int(online), at), receipts, world.accounts["customer_id"],
        world.store_ids, world.devices.visitor_ids,
    )  # fmt: skip
    rng = world.streams.stream("payments", int(online), at)
    count = len(receipts)
    person = receipts["person"].to_numpy()
    holder = np.where(_shares_cards(world)[person], _first_of_household(world)[person], person)
    brand = said["CARD_TYPE"].fill_null(said["PAYMENT_METHOD"])
    abroad = rng.random(count) < ABROAD
    country = pl.Series(COUNTRIES, dtype=pl.String).gather(np.where(abroad, rng.integers(1, 3, count), 0))
    digits = pl.Series(7 * holder + 13 * brand.str.len_chars().to_numpy()) % 10_000
    rows = said.select(
        "TRANSACTION_ID", "CUSTOMER_ID", "PAYMENT_METHOD", "CURRENCY_CODE", "TRANSACTION_DATE", "TRANSACTION_TYPE",
        "TOTAL_AMOUNT", "CARD_TYPE",
        VISITOR_ID="VISITOR_ID" if online else pl.lit(None, pl.String),
        origin=pl.Series(receipts["origin"]),
        status=pl.Series(receipts["status"]),
        token=pl.format("tok_{}_{}", brand.str.to_lowercase(), pl.Series(holder).cast(pl.String).str.zfill(7)),
        last4=digits.cast(pl.String).str.zfill(4),
        device=pl.format("dh{}", pl.Series(receipts["visitor"])) if online else pl.lit(None, pl.String),
        ip=pl.format("ip{}", pl.Series(person)) if online else pl.lit(None, pl.String),
        country=country,
        chance=pl.Series(rng.random(count)),
        charged=pl.Series(rng.random(count) < CHARGED_BACK) & pl.lit(online),
        reason=pl.Series(REASONS, dtype=pl.String).gather(rng.integers(0, len(REASONS), count)),
    ).with_columns(payment=pl.format("PM{}", pl.col("TRANSACTION_ID").str.slice(1)))  # fmt: skip
    return _events(rows.filter(~pl.col("PAYMENT_METHOD").is_in(CARDLESS)), online=online, end=_end(world))


def _end(world: World) -> int:
    return midnight_us(world.end_on) + DAY_US


def _shares_cards(world: World) -> np.ndarray:
    """Who pays with the cards of the household: Boolean [people]."""
    return world.streams.stream("payments.households").random(len(world.people)) < HOUSEHOLD_CARDS


def _first_of_household(world: World) -> np.ndarray:
    """The first person of each person's household: Int64 [people]."""
    household = world.people["household"].to_numpy()
    _, first, inverse = np.unique(household, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _events(rows: pl.DataFrame, *, online: bool, end: int) -> pl.DataFrame:
    """The states that payments reached: a decline before some, authorization, capture or its lack, refunds."""
    moment = pl.col("TRANSACTION_DATE")
    bought = rows.filter(pl.col("TRANSACTION_TYPE") == "PURCHASE", pl.col("TOTAL_AMOUNT") > 0)
    back = rows.filter(pl.col("TRANSACTION_TYPE").is_in(["RETURN", "REFUND"]), pl.col("TOTAL_AMOUNT") < 0)
    card, status = pl.col("PAYMENT_METHOD") == "CARD", pl.col("status")
    failed = bought.filter(status == FAILED)
    tried = bought.filter(card, pl.col("chance") < DECLINED_FIRST, status != FAILED)
    other = tried.with_columns(payment=pl.format("{}a", "payment"), TRANSACTION_ID=pl.lit(None, pl.String))
    parts = [
        _of(other, "DECLINED", moment - pl.duration(minutes=2), reason=True),
        _of(failed, "DECLINED", moment, reason=True),
        _of(bought.filter(status == COMPLETED), "CAPTURED", moment + pl.duration(minutes=30 if online else 0)),
        _of(bought.filter(status == CANCELLED), "VOIDED", moment + pl.duration(hours=1)),
        _of(bought.filter("charged", status == COMPLETED), "CHARGEBACK", moment + pl.duration(days=30)),
        _refunds(back),
    ]
    if online:
        parts.append(_of(bought.filter(status != FAILED), "AUTHORIZED", moment))
    limit = pl.lit(end).cast(pl.Datetime("us", "UTC"))
    return pl.concat(parts).filter(pl.col("PAYMENT_DATE") < limit)


def _refunds(back: pl.DataFrame) -> pl.DataFrame:
    """Refunds have an id of their own, and name the payment of the receipt that they refer to."""
    original = pl.format("PM{}", pl.col("origin").cast(pl.String).str.zfill(10))
    found = _of(back, "REFUNDED", pl.col("TRANSACTION_DATE"))
    return found.with_columns(
        ORIGINAL_PAYMENT_ID=back.select(original).to_series(),
        TRANSACTION_ID=back.select(pl.format("T{}", pl.col("origin").cast(pl.String).str.zfill(10))).to_series(),
    )


def _of(rows: pl.DataFrame, status: str, at: pl.Expr, *, reason: bool = False) -> pl.DataFrame:
    """One event of each payment, in the columns of the feed."""
    card = pl.col("PAYMENT_METHOD") == "CARD"
    bins = pl.col("CARD_TYPE").replace_strict(
        {"VISA": "411111", "MASTERCARD": "510510", "AMEX": "371449", "DISCOVER": "601100"}, default=None,
        return_dtype=pl.String,
    )  # fmt: skip
    return rows.select(
        "TRANSACTION_ID", "CUSTOMER_ID", "VISITOR_ID", "PAYMENT_METHOD", "CURRENCY_CODE",
        PAYMENT_ID="payment",
        PAYMENT_STATUS=pl.lit(status),
        ORIGINAL_PAYMENT_ID=pl.lit(None, pl.String),
        PAYMENT_DATE=at,
        CARD_BRAND="CARD_TYPE",
        CARD_LAST4=pl.when(card).then("last4"),
        CARD_BIN=pl.when(card).then(bins),
        CARD_TOKEN="token",
        BIN_COUNTRY=pl.when(card).then("country"),
        BILLING_COUNTRY="country",
        SHIPPING_COUNTRY=pl.lit("USA"),
        AMOUNT=pl.col("TOTAL_AMOUNT").abs(),
        DECLINE_REASON=pl.col("reason") if reason else pl.lit(None, pl.String),
        DEVICE_HASH="device",
        IP_HASH="ip",
        LAST_UPDATED_DATE=at,
    ).select(COLUMNS)  # fmt: skip


def _fraudsters(world: World) -> pl.DataFrame:
    """One row per fraudulent account of the shop: row of accounts, person, kind, at (microseconds)."""
    rng = world.streams.stream("payments.fraudsters")
    rows = world.accounts.with_row_index("account").cast({"account": pl.Int64})
    held = rows.filter(source_system="SHOP").unique("person", keep="first", maintain_order=True)
    count = min(max(2 * len(KINDS), int(FRAUDSTERS * len(world.people))), len(held))
    chosen = held[np.sort(rng.choice(len(held), count, replace=False))]
    since = np.maximum(chosen["registered"].to_numpy(), 0)
    last = max(world.days - 35, 1)
    day = np.minimum(since + rng.integers(1, max(last, 2), count), last)
    at = midnight_us(world.start_on) + day * DAY_US + rng.integers(0, 22 * 60, count) * MINUTE_US
    return chosen.select("account", "person", "customer_id").with_columns(
        kind=pl.Series(np.arange(count) % len(KINDS)), at=pl.Series(at)
    )


def _fraud(world: World) -> pl.DataFrame:
    """What fraudsters try to pay beside their honest shopping."""
    rng, chosen = world.streams.stream("payments.fraud"), _fraudsters(world)
    kind = chosen["kind"].to_numpy()
    attempts = np.where(kind == 0, rng.integers(12, 26, len(chosen)), np.where(kind == 1, 4, 3))
    owner, number = spread(attempts)
    of, count = kind[owner], len(owner)
    gap = np.where(of == 0, 2 * number, np.where(of == 1, 60 * 26 * number, 60 * 24 * 2 * number))
    at = chosen["at"].to_numpy()[owner] + gap * MINUTE_US
    declined = np.where(of == 0, rng.random(count) < 0.9, False)
    amount = np.where(of == 0, rng.integers(100, 500, count), rng.integers(4_000, 90_000, count))
    amount = np.where(of == 2, rng.integers(2_000, 15_000, count), amount)
    ring = chosen["person"].to_numpy()[kind == 2]
    shared = np.full(count, ring.min() if len(ring) else 0)
    card = np.where(of == 2, 9_000_000 + shared, 8_000_000 + np.arange(count))
    foreign = pl.Series(FOREIGN, dtype=pl.String).gather(rng.integers(0, len(FOREIGN), count))
    rows = pl.DataFrame({"owner": owner, "of": of, "at": at, "amount": amount, "card": card, "n": np.arange(count)})
    rows = rows.with_columns(
        TRANSACTION_ID=pl.lit(None, pl.String),
        CUSTOMER_ID=chosen["customer_id"].gather(owner),
        VISITOR_ID=pl.lit(None, pl.String),
        PAYMENT_METHOD=pl.lit("CARD"),
        CURRENCY_CODE=pl.lit("USD"),
        payment=pl.format("PF{}{}", pl.lit(world.label), pl.col("n").cast(pl.String).str.zfill(8)),
        CARD_TYPE=pl.lit("VISA"),
        last4=(pl.col("card") % 10_000).cast(pl.String).str.zfill(4),
        token=pl.format("tok_visa_{}", "card"),
        country=pl.when(pl.col("of") == 2).then(pl.lit("USA")).otherwise(foreign),
        TOTAL_AMOUNT=(pl.col("amount").cast(pl.Decimal(14, 2)) / 100).cast(pl.Decimal(10, 2)),
        reason=pl.lit("DO_NOT_HONOR"),
        device=pl.format("df{}", "owner"),
        ip=pl.format("if{}", "owner"),
        at=pl.col("at").cast(pl.Datetime("us", "UTC")),
        declined=pl.Series(declined),
    )
    moment, refused = pl.col("at"), pl.col("declined")
    stolen = rows.filter(pl.col("of") == 1)
    parts = [
        _of(rows.filter(refused), "DECLINED", moment, reason=True),
        _of(rows.filter(~refused), "AUTHORIZED", moment),
        _of(rows.filter(~refused, pl.col("of") > 0), "CAPTURED", moment + pl.duration(minutes=30)),
        _of(stolen, "CHARGEBACK", moment + pl.duration(days=25)),
    ]
    limit = pl.lit(_end(world)).cast(pl.Datetime("us", "UTC"))
    return pl.concat(parts).filter(pl.col("PAYMENT_DATE") < limit)


def fraud_truth(world: World) -> pl.DataFrame:
    """One row per fraudulent account of the shop: customer_id, entity_id, kind, since (first attempt)."""
    rows = _fraudsters(world)
    return rows.select(
        "customer_id",
        entity_id=world.people["entity_id"].gather(rows["person"]),
        kind=pl.Series(KINDS, dtype=pl.String).gather(rows["kind"]),
        since=pl.col("at").cast(pl.Datetime("us", "UTC")),
    )
