"""Days of a subject: history aggregated once, so that what is built on it does not read every fact again."""

from __future__ import annotations

from functools import reduce
from operator import add

import polars as pl

from customer360.pipelines.money import MONEY, ZERO, converted, known_rate
from customer360.pipelines.receipts import given_back_since
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Integer, Money, String, Table, Timestamp

ACTIVITY: Activity = "standardization"


class SubjectDays(Table, table="silver.subject_days", per="subject_id", sort_by=("on",)):
    """One row per subject and day with any activity: counts, sums, firsts and lasts."""

    subject_id = String(primary_key=True)
    on = Date(primary_key=True)
    person_id = String(nullable=True)
    order_count = Integer(description="Completed purchases")
    return_count = Integer(
        description="Completed returns, and sales that gave money back that day or took goods back on their receipt"
    )
    item_count = Integer(description="Lines sold")
    unit_count = Integer(description="Pieces sold")
    gross_amount = Money(description="Amounts are in the reporting currency, each on the day that the money moved")
    return_amount = Money()
    net_amount = Money()
    discount_amount = Money()
    unconverted_order_count = Integer(description="Orders whose currency has no rate: in order_count, in no amount")
    unconverted_count = Integer(description="Transactions whose money is in no amount, those orders among them")
    store_order_count = Integer()
    online_order_count = Integer()
    mobile_order_count = Integer()
    session_count = Integer(description="Visits that began that day")
    event_count = Integer()
    view_count = Integer(description="Product views")
    search_count = Integer()
    cart_add_count = Integer()
    wishlist_add_count = Integer()
    seconds_on_site = Integer()
    first_at = Timestamp()
    last_at = Timestamp()


DAY = ("subject_id", "on")
COUNTS = [c for c in SubjectDays.columns() if c.endswith("_count") or c == "seconds_on_site"]
AMOUNTS = [c for c in SubjectDays.columns() if c.endswith("_amount")]


def merge(days: pl.LazyFrame) -> pl.LazyFrame:
    """Add up partial days: sums of counts and amounts, earliest first, latest last. ``merge(a + b)`` =
    ``merge(merge(a) + b)``.
    """
    return days.group_by(DAY).agg(
        pl.col("person_id").drop_nulls().first(),
        *(pl.col(c).sum() for c in COUNTS),
        *(pl.col(c).sum().cast(MONEY) for c in AMOUNTS),
        pl.col("first_at").min(),
        pl.col("last_at").max(),
    )


@builds(SubjectDays, merge=merge)
def subject_days(
    silver_transactions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_events: pl.LazyFrame,
    silver_sessions: pl.LazyFrame,
) -> pl.LazyFrame:
    """Each fact table folded to days by itself, then put beside each other."""
    return _beside(
        [
            _orders(silver_transactions),
            _given_back_later(silver_transactions),
            _lines(silver_transaction_items),
            _events(silver_events),
            _visits(silver_sessions),
        ]
    )


def _beside(parts: list[pl.LazyFrame]) -> pl.LazyFrame:
    """What ``merge`` makes of parts that have a row a subject and day each: a join takes half the time, as hardly any
    column stands in two of them.
    """
    named = [[c for c in part.collect_schema() if c not in DAY] for part in parts]
    apart = [p.rename({c: f"{c}:{n}" for c in names}) for n, (p, names) in enumerate(zip(parts, named, strict=True))]
    joined = apart[0]
    for part in apart[1:]:
        joined = joined.join(part, on=DAY, how="full", coalesce=True)

    def held(column: str) -> list[pl.Expr]:
        return [pl.col(f"{column}:{n}") for n, names in enumerate(named) if column in names]

    def total(column: str) -> pl.Expr:
        return reduce(add, (part.fill_null(0) for part in held(column)))

    return joined.select(
        *DAY,
        *(total(c).alias(c) for c in COUNTS),
        *(total(c).cast(MONEY).alias(c) for c in AMOUNTS),
        person_id=pl.coalesce(held("person_id")),
        first_at=pl.min_horizontal(held("first_at")),
        last_at=pl.max_horizontal(held("last_at")),
    )


def _is_late() -> pl.Expr:
    """Whether what was given back stands on a later day than that of the sale: money is of the day that it moved."""
    return (pl.col("returned_on") > pl.col("occurred_on")).fill_null(False)


def _given_back_later(transactions: pl.LazyFrame) -> pl.LazyFrame:
    since = given_back_since()
    return (
        transactions.filter(_is_late())
        .group_by("subject_id", on="returned_on")
        .agg(
            pl.col("person_id").drop_nulls().first(),
            return_count=pl.len().cast(pl.Int64),
            return_amount=since.sum(),
            net_amount=-since.sum(),
            first_at=pl.col("returned_at").min(),
            last_at=pl.col("returned_at").max(),
        )
    )


def _orders(transactions: pl.LazyFrame) -> pl.LazyFrame:
    is_late, since = _is_late(), given_back_since()
    at_once = pl.col("return_amount") - pl.when(is_late).then(since).otherwise(ZERO)
    gives_back = pl.col("is_return") | (pl.col("refunded_amount").fill_null(0) > 0)
    takes_back = pl.col("exchanged_amount").fill_null(0) > 0
    sale, unconverted = pl.col("is_sale"), pl.col("is_unconverted").fill_null(False)
    return transactions.group_by("subject_id", on="occurred_on").agg(
        pl.col("person_id").first(),
        order_count=sale.sum().cast(pl.Int64),
        return_count=((gives_back & ~is_late) | takes_back).sum().cast(pl.Int64),
        gross_amount=pl.col("gross_amount").sum(),
        return_amount=at_once.sum(),
        net_amount=(pl.col("net_amount") + pl.col("return_amount") - at_once).sum(),
        discount_amount=converted(pl.col("discount_amount"), known_rate()).filter(sale & ~unconverted).sum(),
        unconverted_order_count=(sale & unconverted).sum().cast(pl.Int64),
        unconverted_count=unconverted.sum().cast(pl.Int64),
        store_order_count=(sale & (pl.col("channel_group") == "IN_STORE")).sum().cast(pl.Int64),
        online_order_count=(sale & (pl.col("channel_group") == "ONLINE")).sum().cast(pl.Int64),
        mobile_order_count=(sale & (pl.col("channel_group") == "MOBILE")).sum().cast(pl.Int64),
        first_at=pl.col("occurred_at").min(),
        last_at=pl.col("occurred_at").max(),
    )


def _lines(items: pl.LazyFrame) -> pl.LazyFrame:
    return (
        items.filter(pl.col("is_sale") & pl.col("is_product"))
        .group_by("subject_id", on="occurred_on")
        .agg(
            pl.col("person_id").first(),
            item_count=pl.len().cast(pl.Int64),
            unit_count=pl.col("quantity").sum(),
            first_at=pl.col("occurred_at").min(),
            last_at=pl.col("occurred_at").max(),
        )
    )


def _events(events: pl.LazyFrame) -> pl.LazyFrame:
    kind = pl.col("event_type")
    return events.group_by("subject_id", on="occurred_on").agg(
        pl.col("person_id").first(),
        event_count=pl.len().cast(pl.Int64),
        view_count=(kind == "PRODUCT_VIEW").sum().cast(pl.Int64),
        search_count=(kind == "SEARCH").sum().cast(pl.Int64),
        cart_add_count=(kind == "CART_ADD").sum().cast(pl.Int64),
        wishlist_add_count=(kind == "WISHLIST_ADD").sum().cast(pl.Int64),
        seconds_on_site=pl.col("seconds_on_page").sum(),
        first_at=pl.col("occurred_at").min(),
        last_at=pl.col("occurred_at").max(),
    )


def _visits(sessions: pl.LazyFrame) -> pl.LazyFrame:
    return sessions.group_by("subject_id", on="started_on").agg(
        pl.col("person_id").first(),
        session_count=pl.len().cast(pl.Int64),
        first_at=pl.col("started_at").min(),
        last_at=pl.col("started_at").max(),
    )
