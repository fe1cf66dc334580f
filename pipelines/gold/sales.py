"""What a person's purchases say at a date: the date-relative half of the specification's transaction logic."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table


class PurchaseProfiles(
    Table,
    table="gold.purchase_profiles",
    per="person_id",
    partition_by=("as_of",),
    sort_by=("person_id",),
    serves="PROFILING",
):
    """One row per person with a completed purchase before as_of: totals, variety and flags at that date.

    Segment, lifetime value, recency and totals are those of gold.customer_360, not computed a second time.
    """

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    first_purchase_on = Date(description="Of gold.customer_360")
    last_purchase_on = Date(description="Of gold.customer_360")
    recency_days = Integer(description="Days since the last purchase")
    order_count = Integer(description="Completed purchases ever")
    net_amount = Money(description="Amounts are in the reporting currency, without what is unconverted")
    mean_order_amount = Float(nullable=True, description="Of gold.customer_360")
    category_count = Integer(description="Different product categories bought")
    channel_count = Integer(description="Different channels bought through")
    store_count = Integer(description="Different stores bought in")
    value_segment = String(nullable=True, description="Of gold.customer_360; null where that says none")
    lifetime_value_rule = Float(nullable=True, description="Of gold.customer_360; null where that says none")
    is_recent_customer = Boolean(description="Last purchase at most recent_days ago (rule file)")
    is_high_value_customer = Boolean(
        nullable=True, description="Lifetime value by rule above the floor; null without lifetime_value_rule"
    )
    is_frequent_customer = Boolean(description="More orders than frequent_orders_above (rule file)")


@builds(
    PurchaseProfiles,
    rules="enrichment",
    reads={
        "gold.customer_360": (
            "person_id", "as_of", "first_purchase_on", "last_purchase_on", "recency_days", "order_count", "net_amount",
            "mean_order_amount", "value_segment", "lifetime_value_rule",
        ),
        "silver.transactions": ("person_id", "occurred_on", "is_sale", "channel", "store_id"),
        "silver.transaction_items": ("person_id", "occurred_on", "is_sale", "is_product", "category"),
    },
)  # fmt: skip
def purchase_profiles(
    gold_customer_360: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Buyers of the customer view with the variety of what they bought strictly before ``as_of``."""
    rules = params.standing
    past = (pl.col("occurred_on") < as_of) & pl.col("is_sale") & pl.col("person_id").is_not_null()
    shopping = (
        silver_transactions.filter(past)
        .group_by("person_id")
        .agg(channel_count=_different("channel"), store_count=_different("store_id"))
    )
    goods = (
        silver_transaction_items.filter(past, "is_product")
        .group_by("person_id")
        .agg(category_count=_different("category"))
    )
    buyers = gold_customer_360.filter(pl.col("recency_days").is_not_null())
    joined = buyers.join(shopping, on="person_id", how="left").join(goods, on="person_id", how="left")
    return joined.with_columns(
        pl.col("channel_count", "store_count", "category_count").fill_null(0),
        is_recent_customer=pl.col("recency_days") <= rules.recent_days,
        is_high_value_customer=pl.col("lifetime_value_rule") > rules.high_value_above,
        is_frequent_customer=pl.col("order_count") > rules.frequent_orders_above,
    ).select(list(PurchaseProfiles.columns()))


def _different(column: str) -> pl.Expr:
    return pl.col(column).drop_nulls().n_unique().cast(pl.Int64)
