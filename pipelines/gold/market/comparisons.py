"""How our prices stand against competitors': product by product, and as an index by category."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy.special import stdtrit

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.comparisons import t_p_value
from customer360.pipelines.inference.intervals import adjusted_column
from customer360.pipelines.inference.verdicts import NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.money import converted, with_rate
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, OneOf, String, Table

ALL = "(all)"
SOLD = "SOLD"
THEIRS = ["competitor", "competitor_product_id"]


class PriceComparisons(
    Table, table="gold.price_comparisons", partition_by=("as_of",), sort_by=("product_id", "competitor")
):
    """One row per product, competitor and as_of date: what both ask, in the reporting currency.

    Ours is the lowest price of the price lists that holds at the end of the day before, else the price last sold at
    (before discounts); theirs is what the most trusted source saw last. A price sold or seen more than `fresh_days`
    before is not compared.
    """

    product_id = String(primary_key=True)
    competitor = String(primary_key=True, description="Who asks it")
    as_of = Date(primary_key=True)
    category = String(nullable=True, description="Of silver.product_categories")
    our_price = Money(description="What we ask")
    their_price = Money(description="What the competitor asks")
    price_ratio = Float(description="our_price / their_price")
    data_source = String(description="That saw their price")
    seen_on = Date(description="Day on which it saw it")
    competitor_product_id = String(description="The cheapest of theirs that is ours")
    match_confidence = Float(description="That theirs is ours, 0 to 1")
    is_equal = Boolean(description="They differ by less than price_tolerance")


@builds(
    PriceComparisons,
    rules="enrichment",
    reads={
        "silver.price_intervals": ("product_id", "price_type", "currency", "valid_from", "valid_until", "price", "last_seen_at"),  # noqa: E501
        "silver.product_categories": ("product_id", "category"),
    },
)  # fmt: skip
def price_comparisons(
    silver_competitor_prices: pl.LazyFrame,
    silver_competitor_products: pl.LazyFrame,
    silver_price_intervals: pl.LazyFrame,
    silver_product_categories: pl.LazyFrame,
    silver_reporting_rates: pl.LazyFrame,
    gold_price_sources: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Matched products that both sell; what a competitor does not have in stock is not compared."""
    rules = params.market
    ours = _ours(silver_price_intervals, silver_reporting_rates, as_of, rules.fresh_days)
    window = pl.col("on").is_between(as_of - timedelta(days=rules.fresh_days), as_of, closed="left")
    matched = silver_competitor_products.filter(status="MATCHED").select(*THEIRS, "product_id", "match_confidence")
    is_there = pl.col("is_available").fill_null(True)
    newest_looks = (
        silver_competitor_prices.join(matched, on=THEIRS).filter(window, pl.col("product_id").is_not_null())
        .sort("observed_at", "reporting_price", descending=[True, False], nulls_last=True)
        .unique([*THEIRS, "data_source"], keep="first", maintain_order=True)
    )  # fmt: skip
    seen = newest_looks.filter((pl.col("reporting_price") > 0) | ~is_there)  # goods that are gone often have no price
    trusted = gold_price_sources.select("data_source", "weight")
    newest = (
        seen.join(trusted, on="data_source", how="left")
        .sort("weight", "data_source", "observed_at", descending=[True, False, True], nulls_last=True)
        .unique(["competitor", "competitor_product_id"], keep="first", maintain_order=True)
        .filter(is_there, pl.col("reporting_price") > 0)
        .sort("reporting_price", "competitor_product_id")
        .unique(["competitor", "product_id"], keep="first", maintain_order=True)
    )
    ratio = pl.col("our_price").cast(pl.Float64) / pl.col("reporting_price").cast(pl.Float64)
    return newest.join(ours, on="product_id").join(silver_product_categories.select("product_id", "category"), on="product_id", how="left").select(  # noqa: E501
        "product_id", "competitor", "category", "our_price", "data_source", "competitor_product_id", "match_confidence",
        as_of=pl.lit(as_of), their_price="reporting_price", price_ratio=ratio, seen_on="on",
        is_equal=ratio.log().abs() <= rules.price_tolerance,
    )  # fmt: skip


def _ours(intervals: pl.LazyFrame, rates: pl.LazyFrame, as_of: date, fresh_days: int) -> pl.LazyFrame:
    """product_id, our_price in the reporting currency at the end of the day before ``as_of``; a sold price counts for
    ``fresh_days``."""
    end = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    holds = (pl.col("valid_from") < end) & (pl.col("valid_until").is_null() | (pl.col("valid_until") >= end))
    fresh = (pl.col("price_type") != SOLD) | (pl.col("last_seen_at") >= end - timedelta(days=fresh_days))
    dated = intervals.filter(holds, fresh, pl.col("price") > 0).with_columns(day=pl.lit(as_of - timedelta(days=1)))
    rated = with_rate(dated, rates, currency="currency", on="day", into="rate")
    priced = rated.with_columns(
        our_price=converted(pl.col("price"), pl.col("rate")), is_sold=pl.col("price_type") == SOLD
    ).filter(pl.col("our_price").is_not_null())
    last = pl.col("last_seen_at").cast(pl.Int64)
    return (
        priced.with_columns(order=pl.when("is_sold").then(-last).otherwise(pl.col("our_price").cast(pl.Float64)))
        .sort("is_sold", "order", "our_price")
        .unique("product_id", keep="first", maintain_order=True)
        .select("product_id", "our_price")
    )


class PricePositions(Table, table="gold.price_positions", partition_by=("as_of",), sort_by=("product_id",)):
    """One row per product that a competitor sells too and as_of date: where our price stands among theirs.

    Prices are in the reporting currency.
    """

    product_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    category = String(nullable=True, description="Of silver.product_categories")
    our_price = Money(description="As in gold.price_comparisons")
    competitor_count = Integer(min=1, description="Competitors whose price is compared")
    lowest_price = Money(description="Of the competitors")
    highest_price = Money(description="Of the competitors")
    median_price = Float(description="Of the competitors")
    cheapest_competitor = String(description="Whose price is lowest_price")
    price_ratio = Float(description="our_price / median_price")
    rank = Integer(min=1, description="1: nobody is cheaper")
    position = OneOf(
        "CHEAPEST", "BELOW", "EQUAL", "ABOVE", "DEAREST",
        description="EQUAL: within price_tolerance of the median. CHEAPEST, DEAREST: below or above every competitor",
    )  # fmt: skip


@builds(PricePositions, rules="enrichment")
def price_positions(gold_price_comparisons: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Competitors count alike."""
    their, ratio = pl.col("their_price"), pl.col("price_ratio")
    is_cheaper = (ratio > 1) & ~pl.col("is_equal")
    rows = gold_price_comparisons.sort("their_price", "competitor").group_by("product_id").agg(
        pl.col("category", "our_price").first(), competitor_count=pl.len().cast(pl.Int64), lowest_price=their.min(),
        highest_price=their.max(), median_price=their.cast(pl.Float64).median(),
        cheapest_competitor=pl.col("competitor").first(), rank=is_cheaper.sum().cast(pl.Int64) + 1,
        is_lowest=((ratio < 1) & ~pl.col("is_equal")).all(), is_highest=is_cheaper.all(),
    )  # fmt: skip
    against = pl.col("our_price").cast(pl.Float64) / pl.col("median_price")
    position = (
        pl.when("is_lowest").then(pl.lit("CHEAPEST")).when("is_highest").then(pl.lit("DEAREST"))
        .when(against.log().abs() <= params.market.price_tolerance).then(pl.lit("EQUAL"))
        .when(against < 1).then(pl.lit("BELOW")).otherwise(pl.lit("ABOVE"))
    )  # fmt: skip
    return rows.with_columns(as_of=pl.lit(as_of), price_ratio=against, position=position).drop(
        "is_lowest", "is_highest"
    )


class PriceIndex(Table, table="gold.price_index", partition_by=("as_of",), sort_by=("category", "competitor")):
    """One row per category, competitor and as_of date: our price level against theirs, 100 where both are the same.

    The geometric mean of the price ratios of products that both sell (Jevons' index), all products alike, with
    Student's interval on the logarithms: of what a basket of such products would say, not of those compared.
    """

    category = String(primary_key=True, description=f"{ALL}: all, products without a category too")
    competitor = String(primary_key=True, description=f"{ALL}: the mean of a product over its competitors counts once")
    as_of = Date(primary_key=True)
    product_count = Integer(description="Products compared")
    price_index = Float(nullable=True, description="100 x our price level / theirs; null: NOT_ENOUGH_EVIDENCE")
    price_index_low = Float(nullable=True, description="95 % interval, of this row alone")
    price_index_high = Float(nullable=True)
    cheaper_count = Integer(description="Products that we sell for less")
    equal_count = Integer(description="Within price_tolerance")
    dearer_count = Integer(description="Products that we sell for more")
    q_value = Float(
        nullable=True,
        description="Chance of so much at equal levels, adjusted for all rows judged",
    )
    status = OneOf(
        "CHEAPER", "DEARER", NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE,
        description="CHEAPER, DEARER: q_value at most the rule file's false_discovery_rate",
    )  # fmt: skip


@builds(PriceIndex, rules="enrichment")
def price_index(gold_price_comparisons: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """From `least_products` products on."""
    ratio = gold_price_comparisons.select("product_id", "competitor", "category", log=pl.col("price_ratio").log())
    every = ratio.group_by("product_id", "category").agg(sums.mean(pl.col("log"))).with_columns(competitor=pl.lit(ALL))
    both = pl.concat([ratio, every.select(ratio.collect_schema().names())])
    rows = pl.concat([both.filter(pl.col("category").is_not_null()), both.with_columns(category=pl.lit(ALL))])
    near, log, count = params.market.price_tolerance, pl.col("log"), pl.len()
    counted = rows.group_by("category", "competitor").agg(
        product_count=count.cast(pl.Int64), mean=sums.mean(log), error=sums.deviation(log) / count.sqrt(),
        cheaper_count=(log < -near).sum().cast(pl.Int64), equal_count=(log.abs() <= near).sum().cast(pl.Int64),
        dearer_count=(log > near).sum().cast(pl.Int64),
    ).collect()  # fmt: skip
    wide = pl.Series(stdtrit(counted["product_count"].to_numpy() - 1.0, 0.975), dtype=pl.Float64)
    enough = pl.col("product_count") >= params.market.least_products
    mean, reach = pl.col("mean"), wide * pl.col("error")
    freedom = counted["product_count"].to_numpy() - 1.0
    centre, error = (counted[c].fill_null(np.nan).to_numpy() for c in ("mean", "error"))
    p = t_p_value(centre, error, freedom)
    judged = pl.Series("p", p, dtype=pl.Float64).fill_nan(None)
    is_shown = pl.col("q_value") <= params.market.false_discovery_rate
    level = {"price_index": mean, "price_index_low": mean - reach, "price_index_high": mean + reach}
    tested = counted.with_columns(judged).with_columns(q_value=adjusted_column(pl.when(enough).then("p"))).drop("p")
    return tested.lazy().with_columns(
        as_of=pl.lit(as_of), **{c: pl.when(enough).then(100 * value.exp()) for c, value in level.items()},
        status=pl.when(~enough).then(pl.lit(NOT_ENOUGH_EVIDENCE)).when(is_shown & (mean < 0)).then(pl.lit("CHEAPER"))
        .when(is_shown & (mean > 0)).then(pl.lit("DEARER")).otherwise(pl.lit(NO_DIFFERENCE_SHOWN)),
    ).drop("mean", "error")  # fmt: skip
