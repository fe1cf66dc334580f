"""What promotions cost: how much was taken off the sales that used them."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.campaigns import reporting
from customer360.pipelines.money import TOTAL, UNSTATED, converted, with_rate
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, String, Table, Total


class PromotionCosts(Table, table="gold.promotion_costs", partition_by=("as_of",), sort_by=("code",)):
    """One row per promotion of the shop and as_of date: the sales before the date that used it, and what was taken off.

    Of a sale that used a coupon, too, half of the discount is the promotion's, as in silver.promotion_uses, where the
    coupons are: each customer has its own. That is what was given, no finding on what it brought: who used a promotion
    may have bought without it. What was given back later is not taken off.
    """

    code = String(primary_key=True, description="Of the promotion, as in silver.promotion_uses")
    as_of = Date(primary_key=True)
    first_on = Date(description="Day of the first sale that used it")
    last_on = Date(description="Day of the last one before as_of")
    use_count = Integer(description="Sales")
    person_count = Integer(description="People who are known: each once")
    guest_count = Integer(description="Sales to nobody who is known")
    told_count = Integer(description="Sales of which the discount is told, in a currency with a rate: in both amounts")
    currency = String(description=f"The reporting currency, of the amounts; {UNSTATED}: nothing names one")
    gross_amount = Total(description="What those told_count sales brought, or their half")
    discount_amount = Total(description="What was taken off them, at the rate of the day of each sale")
    discount_rate = Float(
        nullable=True,
        min=0,
        max=1,
        description="discount_amount / (gross_amount + discount_amount); null where that is not above 0",
    )


USES = ("code_kind", "code", "person_id", "occurred_on", "discount_amount", "currency", "gross_amount")


@builds(PromotionCosts, reads={"silver.promotion_uses": USES})
def promotion_costs(
    silver_promotion_uses: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """Promotions that a sale before ``as_of`` used."""
    used = silver_promotion_uses.filter(pl.col("code_kind") == "PROMOTION", pl.col("occurred_on") < as_of)
    rated = with_rate(used, silver_reporting_rates, currency="currency", on="occurred_on", into="rate")
    off = converted(pl.col("discount_amount"), pl.col("rate"))
    is_told, known = pl.col("off").is_not_null(), pl.col("person_id").is_not_null()
    counted = (
        rated.with_columns(off=off)
        .group_by("code")
        .agg(
            first_on=pl.col("occurred_on").min(),
            last_on=pl.col("occurred_on").max(),
            use_count=pl.len().cast(pl.Int64),
            person_count=pl.col("person_id").drop_nulls().n_unique().cast(pl.Int64),
            guest_count=(~known).sum().cast(pl.Int64),
            told_count=is_told.sum().cast(pl.Int64),
            gross_amount=pl.col("gross_amount").cast(TOTAL).filter(is_told).sum(),
            discount_amount=pl.col("off").cast(TOTAL).sum(),
        )
    )
    off_, full = (c.cast(pl.Float64) for c in (pl.col("discount_amount"), pl.col("gross_amount")))
    rate = pl.when(off_ + full > 0).then((off_ / (off_ + full)).clip(0, 1))
    return (
        counted.join(reporting(silver_reporting_currency), how="cross")
        .with_columns(as_of=pl.lit(as_of), discount_rate=rate)
        .select(list(PromotionCosts.columns()))
    )
