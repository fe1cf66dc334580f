"""Days of a subject: history aggregated once, so that what is built on it does not read every fact again."""

from __future__ import annotations

from functools import reduce
from operator import add

import polars as pl

from customer360.pipelines.money import MONEY, ZERO, converted, known_rate
from customer360.pipelines.receipts import given_back_since, is_given_back_late
from customer360.pipelines.sessions import of_humans
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Integer, Money, String, Table, Timestamp

ACTIVITY: Activity = "standardization"


class SubjectDays(Table, table="silver.subject_days", per="subject_id", sort_by=("on",)):
    """One row per subject and day with any activity: counts, sums, firsts and lasts. Machines have no activity: neither
    events that silver.events sets apart count, nor those of visits in silver.set_apart_sessions.
    """

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
    event_count = Integer(description="Of humans, as are all counts of what visitors did")
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


@builds(
    SubjectDays,
    reads={"silver.set_apart_sessions": ("subject_id", "person_id", "session_id", "started_at", "ended_at")},
)
def subject_days(
    silver_transactions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_events: pl.LazyFrame,
    silver_sessions: pl.LazyFrame,
    silver_set_apart_sessions: pl.LazyFrame,
) -> pl.LazyFrame:
    """What was traded and what humans did, each folded to days at once, then put beside each other: a table folded by
    itself costs a join, and all in one fold carry columns that are empty in most rows.
    """
    traded = [_orders(silver_transactions), _given_back_later(silver_transactions), _lines(silver_transaction_items)]
    human = of_humans(silver_events, silver_set_apart_sessions)
    return _beside([_folded(traded), _folded([_events(human), _visits(silver_sessions)])])


def _folded(facts: list[pl.LazyFrame]) -> pl.LazyFrame:
    """Facts of several kinds, one row each, by subject and day; what only some kinds have, others add nothing to."""
    rows = pl.concat(facts, how="diagonal_relaxed")
    have = rows.collect_schema().names()
    return rows.group_by(DAY).agg(
        pl.col("person_id").drop_nulls().first(),
        *(pl.col(c).sum().cast(pl.Int64) for c in COUNTS if c in have),
        *(pl.col(c).sum() for c in AMOUNTS if c in have),
        first_at=pl.col("at").min(),
        last_at=pl.col("at").max(),
    )


def _beside(parts: list[pl.LazyFrame]) -> pl.LazyFrame:
    """Parts that have a row a subject and day each, added up: a join takes half the time of one more fold, as hardly
    any column stands in two of them.
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


def _given_back_later(transactions: pl.LazyFrame) -> pl.LazyFrame:
    since = given_back_since()
    return transactions.filter(is_given_back_late()).select(
        "subject_id",
        "person_id",
        on="returned_on",
        at="returned_at",
        return_count=pl.lit(True),
        return_amount=since,
        net_amount=-since,
    )


def _orders(transactions: pl.LazyFrame) -> pl.LazyFrame:
    is_late, since = is_given_back_late(), given_back_since()
    at_once = pl.col("return_amount") - pl.when(is_late).then(since).otherwise(ZERO)
    gives_back = pl.col("is_return") | (pl.col("refunded_amount").fill_null(0) > 0)
    takes_back = pl.col("exchanged_amount").fill_null(0) > 0
    sale, unconverted = pl.col("is_sale"), pl.col("is_unconverted").fill_null(False)
    discount = converted(pl.col("discount_amount"), known_rate())
    return transactions.select(
        "subject_id",
        "person_id",
        on="occurred_on",
        at="occurred_at",
        order_count=sale,
        return_count=(gives_back & ~is_late) | takes_back,
        gross_amount="gross_amount",
        return_amount=at_once,
        net_amount=pl.col("net_amount") + pl.col("return_amount") - at_once,
        discount_amount=pl.when(sale & ~unconverted).then(discount),
        unconverted_order_count=sale & unconverted,
        unconverted_count=unconverted,
        store_order_count=sale & (pl.col("channel_group") == "IN_STORE"),
        online_order_count=sale & (pl.col("channel_group") == "ONLINE"),
        mobile_order_count=sale & (pl.col("channel_group") == "MOBILE"),
    )


def _lines(items: pl.LazyFrame) -> pl.LazyFrame:
    return items.filter(pl.col("is_sale") & pl.col("is_product")).select(
        "subject_id", "person_id", on="occurred_on", at="occurred_at", item_count=pl.lit(True), unit_count="quantity"
    )


def _events(human: pl.LazyFrame) -> pl.LazyFrame:
    kind = pl.col("event_type")
    return human.select(
        "subject_id",
        "person_id",
        on="occurred_on",
        at="occurred_at",
        event_count=pl.lit(True),
        view_count=kind == "PRODUCT_VIEW",
        search_count=kind == "SEARCH",
        cart_add_count=kind == "CART_ADD",
        wishlist_add_count=kind == "WISHLIST_ADD",
        seconds_on_site="seconds_on_page",
    )


def _visits(sessions: pl.LazyFrame) -> pl.LazyFrame:
    return sessions.select("subject_id", "person_id", on="started_on", at="started_at", session_count=pl.lit(True))
