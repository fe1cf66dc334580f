"""What products cost at a date, since when, and what they cost before."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table, Timestamp

PRIOR_DAYS = 30  # of a reduction: Article 6a of Directive 98/6/EC ("Omnibus"), the lowest price of at least 30 days
YEAR_DAYS = 365
KEY = ["product_id", "price_type", "currency", "source_system"]
PRICED = ["product_id", "currency", "source_system", "is_sold"]  # a reduction of one kind is measured against all
SOLD = "SOLD"


class ProductPrices(
    Table, table="gold.product_prices", per="product_id", partition_by=("as_of",),
    sort_by=("product_id", "price_type", "currency", "source_system"),
):  # fmt: skip
    """One row per product, kind of price, currency, source system and as_of date: the price at the end of the day
    before, and its history.

    A reduction is measured against the lowest price of the 30 days before it, as the law of the European Union has it
    for announcements, and not against the price of the day before alone: against all kinds of the price lists of the
    source system, as a shopper does not care which list a price was of. Prices seen on sold lines are compared with
    each other alone.
    """

    product_id = String(primary_key=True)
    price_type = String(primary_key=True, description="As in silver.price_intervals")
    currency = String(primary_key=True, description="Of the prices")
    source_system = String(primary_key=True)
    as_of = Date(primary_key=True)
    price = Money(description="That holds at the end of the day before as_of")
    valid_from = Timestamp(description="Since when it holds")
    day_count = Integer(description="Whole days that it has held")
    previous_price = Money(nullable=True, description="Null: the first that is known")
    change_rate = Float(nullable=True, description="price / previous_price - 1")
    prior_price = Money(nullable=True, description="The lowest of the 30 days before valid_from, of all"
                        " kinds of the price lists; null: none is known")  # fmt: skip
    is_reduced = Boolean(description="Below prior_price")
    reduction_rate = Float(nullable=True, description="1 - price / prior_price of what is reduced")
    lowest_price_365d = Money(description="Of all prices that held in the year before as_of")
    highest_price_365d = Money(description="Of all prices that held in the year before as_of")
    change_count_365d = Integer(description="Changes of the price in the year before as_of")


@builds(ProductPrices)
def product_prices(silver_price_intervals: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Prices that hold at the end of the day before ``as_of``; one whose end has passed has no row."""
    end = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    known = silver_price_intervals.filter(pl.col("valid_from") < end).with_columns(
        valid_until=pl.when(pl.col("valid_until") < end).then("valid_until"), is_sold=pl.col("price_type") == SOLD
    )
    current = known.filter(pl.col("valid_until").is_null()).select(
        *KEY, "price", "previous_price", "valid_from", "is_sold"
    )
    past = known.select(
        *PRICED, was_type="price_type", was="price", began="valid_from", ended=pl.col("valid_until").fill_null(end)
    )
    both = current.join(past, on=PRICED)
    own = pl.col("was_type") == pl.col("price_type")
    in_year = own & (pl.col("ended") > end - timedelta(days=YEAR_DAYS))
    before = (pl.col("began") < pl.col("valid_from")) & (
        pl.col("ended") > pl.col("valid_from") - timedelta(days=PRIOR_DAYS)
    )
    history = both.group_by(*KEY).agg(
        prior_price=pl.col("was").filter(before).min(),
        lowest_price_365d=pl.col("was").filter(in_year).min(), highest_price_365d=pl.col("was").filter(in_year).max(),
        change_count_365d=(
            own & (pl.col("began") > end - timedelta(days=YEAR_DAYS))
            & (pl.col("began") > pl.col("began").filter(own).min())
        ).sum().cast(pl.Int64),
    )  # fmt: skip
    price, prior = pl.col("price").cast(pl.Float64), pl.col("prior_price").cast(pl.Float64)
    reduced = (pl.col("price") < pl.col("prior_price")).fill_null(False)
    previous = pl.col("previous_price").cast(pl.Float64)
    return (
        current.join(history, on=KEY)
        .with_columns(
            as_of=pl.lit(as_of),
            day_count=(end - pl.col("valid_from")).dt.total_days(),
            change_rate=pl.when(previous > 0).then(price / previous - 1),
            is_reduced=reduced,
            reduction_rate=pl.when(reduced).then(1 - price / prior),
        )
        .drop("is_sold")
    )
