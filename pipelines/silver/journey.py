"""Days of a subject: history aggregated once, so that what is built on it does not read every fact again."""

from __future__ import annotations

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


def merge(days: pl.LazyFrame) -> pl.LazyFrame:
    """Add up partial days: sums of counts and amounts, earliest first, latest last. ``merge(a + b)`` =
    ``merge(merge(a) + b)``.
    """
    counts = [c for c in SubjectDays.columns() if c.endswith("_count") or c == "seconds_on_site"]
    amounts = [c for c in SubjectDays.columns() if c.endswith("_amount")]
    return days.group_by("subject_id", "on").agg(
        pl.col("person_id").drop_nulls().first(),
        *(pl.col(c).sum() for c in counts),
        *(pl.col(c).sum().cast(MONEY) for c in amounts),
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
    """Each fact table folded to days by itself, then added up."""
    parts = [
        _orders(silver_transactions),
        _lines(silver_transaction_items),
        _events(silver_events),
        _visits(silver_sessions),
    ]
    return merge(pl.concat(parts, how="diagonal"))


def _orders(transactions: pl.LazyFrame) -> pl.LazyFrame:
    """Money by the day that it moved: what was given back on a later day than that of the sale stands there."""
    is_late = (pl.col("returned_on") > pl.col("occurred_on")).fill_null(False)
    since = given_back_since()
    late = transactions.filter(is_late).select(
        "subject_id", "person_id", return_amount=since, on="returned_on", return_count=pl.lit(1, pl.Int64),
        net_amount=-since, first_at="returned_at", last_at="returned_at",
    )  # fmt: skip
    at_once = pl.col("return_amount") - pl.when(is_late).then(since).otherwise(ZERO)
    gives_back = pl.col("is_return") | (pl.col("refunded_amount").fill_null(0) > 0)
    takes_back = pl.col("exchanged_amount").fill_null(0) > 0
    sale, unconverted = pl.col("is_sale"), pl.col("is_unconverted").fill_null(False)
    of_the_day = transactions.group_by("subject_id", on="occurred_on").agg(
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
    return pl.concat([of_the_day, late], how="diagonal_relaxed")


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
