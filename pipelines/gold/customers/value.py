"""What a person bought and what it is worth so far."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.tables import Date, Float, Integer, Money, Table, Timestamp

CHANNELS = {"store": "IN_STORE", "online": "ONLINE", "mobile": "MOBILE"}  # in order of preference among equals
COUNTS = ("order_count", "order_count_365d", "unconverted_order_count", "unconverted_order_count_365d")
AMOUNTS = ("gross_amount", "return_amount", "net_amount", "gross_amount_365d")


class Value(Table, serves="OPERATION"):
    """What was bought."""

    first_purchase_on = Date(nullable=True, description="First day with a completed purchase; null: never bought")
    last_purchase_on = Date(nullable=True, description="Last such day before as_of")
    recency_days = Integer(nullable=True, description="Days from last_purchase_on to as_of")
    order_count = Integer(description="Completed purchases ever")
    order_count_365d = Integer(description="Of the 365 days before as_of")
    gross_amount = Money(description="Amounts are in the reporting currency, without what is unconverted")
    return_amount = Money(description="Given back ever")
    net_amount = Money(description="gross_amount less return_amount, ever")
    gross_amount_365d = Money(description="Of the 365 days before as_of, before what was given back")
    mean_order_amount = Float(nullable=True, description="Of orders whose amount is known; null where there is none")
    unconverted_order_count = Integer(description="Orders in a currency without a rate: in order_count, in no amount")
    value_until_at = Timestamp(nullable=True, description="Latest day's last fact with an order or a return")


def value(profile: pl.LazyFrame, days: pl.LazyFrame, params: EnrichmentRules, as_of: date) -> pl.LazyFrame:
    """Adds Value, what Standing says of spending, and the shares of channels in orders that Preference shows, from days
    before ``as_of``."""
    past = days.filter(pl.col("person_id").is_not_null(), pl.col("on") < as_of)
    bought, last_year = pl.col("order_count") > 0, pl.col("on") >= as_of - timedelta(days=365)
    traded = bought | (pl.col("return_count") > 0)
    history = past.group_by("person_id").agg(
        pl.col("order_count", "unconverted_order_count", "gross_amount", "return_amount", "net_amount").sum(),
        first_purchase_on=pl.col("on").filter(bought).min(),
        last_purchase_on=pl.col("on").filter(bought).max(),
        order_count_365d=pl.col("order_count").filter(last_year).sum(),
        unconverted_order_count_365d=pl.col("unconverted_order_count").filter(last_year).sum(),
        gross_amount_365d=pl.col("gross_amount").filter(last_year).sum(),
        value_until_at=pl.col("last_at").filter(traded).max(),
        **{f"{c}_order_share": pl.col(f"{c}_order_count").sum() for c in CHANNELS},
    )
    has_orders = pl.col("order_count") > 0
    priced = pl.col("order_count") - pl.col("unconverted_order_count")
    return (
        profile.join(history, on="person_id", how="left")
        .with_columns(
            pl.col(COUNTS).fill_null(0),
            pl.col(AMOUNTS).fill_null(0),
            recency_days=(pl.lit(as_of) - pl.col("last_purchase_on")).dt.total_days(),
        )
        .with_columns(
            *(pl.when(has_orders).then(pl.col(f"{c}_order_share") / pl.col("order_count")).alias(f"{c}_order_share")
              for c in CHANNELS),
            mean_order_amount=pl.when(priced > 0).then(pl.col("gross_amount").cast(pl.Float64) / priced),
            value_segment=_segment(params),
            lifetime_value_rule=_lifetime_value(),
        )
    )  # fmt: skip


def _segment(params: EnrichmentRules) -> pl.Expr:
    spent, orders = pl.col("net_amount").cast(pl.Float64), pl.col("order_count")
    return pl.coalesce(
        *(
            pl.when((spent > b.spent_above) & (orders > b.orders_above)).then(pl.lit(b.name))
            for b in params.value_segments
        ),
        pl.lit(params.lowest_value_segment),
    )


def _lifetime_value() -> pl.Expr:
    """The specification's lifetime value (lines 757-1078), on net spending."""
    spent, orders, recency = pl.col("net_amount").cast(pl.Float64), pl.col("order_count"), pl.col("recency_days")
    recency_factor = (
        pl.when(recency <= 30).then(1.2).when(recency <= 90).then(1.0).when(recency <= 180).then(0.8).otherwise(0.5)
    )
    frequency_factor = (
        pl.when(orders > 50).then(1.5).when(orders > 20).then(1.2).when(orders > 5).then(1.0).otherwise(0.7)
    )
    return (spent * recency_factor * frequency_factor).round(2)
