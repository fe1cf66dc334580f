"""What competitors asked, in our currency."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.money import converted, with_rate
from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.texts.products import color_of_name, gtin
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Money, String, Table, Timestamp


class CompetitorPrices(
    Table,
    table="silver.competitor_prices",
    per="competitor_product_id",
    sort_by=("competitor", "competitor_product_id", "observed_at"),
):
    """One row per look of a source at a competitor's price."""

    competitor = String(primary_key=True)
    competitor_product_id = String(primary_key=True)
    data_source = String(primary_key=True)
    source_system = String(primary_key=True)
    observed_at = Timestamp(primary_key=True)
    on = Date()
    product_name = String(nullable=True)
    brand = String(nullable=True)
    gtin = String(nullable=True, description="GTIN-14 of a sound barcode; without one given, their number where it"
                  " is one of twelve digits or more")  # fmt: skip
    color = String(nullable=True, description="Standard colour that the name sets apart at its end")
    price = Money(description="As seen")
    currency = String(nullable=True, description="Null: the reporting currency")
    exchange_rate = Float(nullable=True, description="Of the day; null: none is known")
    reporting_price = Money(nullable=True, description="At the day's rate; null without one")
    previous_price = Money(
        nullable=True, description="That the same source saw before; null: nothing, or another currency"
    )
    is_available = Boolean(nullable=True)


@builds(CompetitorPrices, rules="standardization")
def competitor_prices(
    bronze_competitor_prices: pl.LazyFrame, silver_reporting_rates: pl.LazyFrame, params: StandardizationRules
) -> pl.LazyFrame:
    """Looks with the rate of their day; which product of ours it is stands in silver.competitor_products."""
    same = ("competitor", "competitor_product_id", "data_source", "observed_at", "price", "is_available",
            "product_name", "brand")  # fmt: skip
    number = pl.col("COMPETITOR_PRODUCT_ID")  # of eight digits every eleventh looks like a barcode
    numbered = pl.when(pl.col("GTIN").is_null() & (number.str.count_matches(r"\d") >= 12)).then(gtin(number))
    rows = bronze_competitor_prices.select(
        *(pl.col(c.upper()).alias(c) for c in same), source_system="_source_system", currency="CURRENCY_CODE",
        on=pl.col("OBSERVED_AT").dt.date(),
        gtin=pl.coalesce(gtin(pl.col("GTIN")), numbered),
        color=color_of_name(pl.col("PRODUCT_NAME"), params.colors),
    )  # fmt: skip
    series = ["source_system", "competitor", "competitor_product_id", "data_source"]
    is_comparable = pl.col("currency").shift().over(series).eq_missing(pl.col("currency"))
    before = rows.sort(*series, "observed_at").with_columns(
        previous_price=pl.when(is_comparable).then(pl.col("price").shift().over(series))
    )
    rated = with_rate(before, silver_reporting_rates, currency="currency", on="on", into="exchange_rate")
    return rated.with_columns(reporting_price=converted(pl.col("price"), pl.col("exchange_rate")))
