"""How customers move between the RFM segments from month to month.

Each month is as it was then: the segment at the first day of a month reads days before it alone and the fifths among
the buyers of that time, so it equals `gold.customer_360` as of that day. Who is one person is what is known today.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.gold.customers.rfm import fifths, is_priced, placed
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, List, Money, OneOf, String, Table

NOT_BUYING = "NOT_BUYING"  # no purchase in a year, or none yet
# The worst first: a step up this ladder is a gain.
LADDER = (NOT_BUYING, "HIBERNATING", "AT_RISK", "NEEDS_ATTENTION", "PROMISING", "LOYAL", "CHAMPION")
YEAR_DAYS = 365
DAYS = ("person_id", "on", "order_count", "gross_amount", "unconverted_order_count")


class RfmMonthBounds(Table, table="gold.rfm_month_bounds", sort_by=("month",)):
    """One row per month: the inner fifths of recency, frequency and spending over all buyers of the year before it."""

    month = Date(primary_key=True, description="First day of the month; the row knows the days before it")
    recency_days = List(Float(), description="As in gold.rfm_bounds; so the next two")
    order_count = List(Float(), description="Of the orders of the year")
    gross_amount = List(Float(), description="Of what was spent in it")


@builds(RfmMonthBounds, rules="enrichment", reads={"silver.subject_days": DAYS})
def rfm_month_bounds(silver_subject_days: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """The months up to ``as_of`` that have a buyer before them, at most the rule file's ``segment_history_months`` and
    one.
    """
    bought = silver_subject_days.select(DAYS).filter(_bought()).collect().lazy()
    month, bounds = as_of.replace(day=1), []
    for _ in range(params.segment_history_months + 1):
        values = standing(bought, month)
        quantiles = {name: fifths(column, of) for name, (column, of) in _RANKED.items()}
        # Each month by itself: of all in one plan the optimizer takes eight times as long as they take.
        bounds.append(values.select(month=pl.lit(month), buyers=pl.len(), **quantiles).collect())
        month = _month_before(month)
    return pl.concat(bounds).lazy().filter(pl.col("buyers") > 0).drop("buyers").sort("month")


_RANKED = {
    "recency_days": ("recency_days", None),
    "order_count": ("order_count_365d", None),
    "gross_amount": ("gross_amount_365d", is_priced()),
}


class SegmentMonths(
    Table,
    table="gold.segment_months",
    per="person_id",
    bucketed=True,
    sort_by=("person_id", "month"),
    serves="PROFILING",
):
    """One row per person and month with a purchase in the year before: the RFM segment at the month's first day."""

    person_id = String(primary_key=True)
    month = Date(primary_key=True, description="First day; the row knows the days before it")
    rfm_segment = OneOf(*LADDER[1:], description="As in gold.customer_360 of that day")
    gross_amount_365d = Money(description="In the reporting currency, without what is unconverted")


@builds(SegmentMonths, reads={"silver.subject_days": DAYS})
def segment_months(silver_subject_days: pl.LazyFrame, gold_rfm_month_bounds: pl.LazyFrame) -> pl.LazyFrame:
    """The segments of the customer view, month by month."""
    bought = silver_subject_days.select(DAYS).filter(_bought()).collect().lazy()
    months = gold_rfm_month_bounds.select("month").sort("month").collect()["month"]
    parts = []
    for month in months:
        bounds = gold_rfm_month_bounds.filter(pl.col("month") == month).rename({"month": "as_of"})
        segments = placed(standing(bought, month), bounds).with_columns(month=pl.lit(month))
        parts.append(segments.select(list(SegmentMonths.columns())).collect())
    return pl.concat([SegmentMonths.create_empty(), *parts], how="vertical_relaxed").lazy()


class SegmentMigrations(Table, table="gold.segment_migrations", sort_by=("month", "from_segment", "to_segment")):
    """One row per month and pair of segments: the people who went from one to the other by the next month."""

    month = Date(primary_key=True, description="First day of the month that they are in the first segment")
    from_segment = OneOf(*LADDER, primary_key=True, description="RFM segment in the month")
    to_segment = OneOf(*LADDER, primary_key=True, description="In the next month")
    direction = OneOf("UP", "SAME", "DOWN", description="By the order of the segments")
    person_count = Integer(description="People who went that way")
    share = Float(nullable=True, description="Of the people in the first segment; null for people who first bought")
    spend_amount = Money(
        description="What they spent in the year before month, in the reporting currency: at stake where it goes DOWN"
    )
    next_spend_amount = Money(description="What they spent in the year before the next month")


@builds(SegmentMigrations)
def segment_migrations(gold_segment_months: pl.LazyFrame) -> pl.LazyFrame:
    """Pairs of consecutive months that are both known; whoever is in one of them alone comes from or goes to
    NOT_BUYING.
    """
    months = gold_segment_months.select("month").unique().sort("month").with_columns(next=pl.col("month").shift(-1))
    pairs = months.filter(pl.col("next") == pl.col("month").dt.offset_by("1mo"))
    now = gold_segment_months.join(pairs, on="month")
    later = gold_segment_months.join(pairs.rename({"month": "before", "next": "month"}), on="month").select(
        "person_id", month="before", to_segment="rfm_segment", next_spend_amount="gross_amount_365d"
    )
    moved = now.join(later, on=["person_id", "month"], how="full", coalesce=True).with_columns(
        from_segment=pl.col("rfm_segment").fill_null(NOT_BUYING),
        to_segment=pl.col("to_segment").fill_null(NOT_BUYING),
    )
    counted = moved.group_by("month", "from_segment", "to_segment").agg(
        person_count=pl.len().cast(pl.Int64),
        spend_amount=pl.col("gross_amount_365d").sum(),
        next_spend_amount=pl.col("next_spend_amount").sum(),
    )
    step = _height("to_segment") - _height("from_segment")
    return counted.with_columns(
        direction=pl.when(step > 0).then(pl.lit("UP")).when(step < 0).then(pl.lit("DOWN")).otherwise(pl.lit("SAME")),
        share=pl.when(pl.col("from_segment") != NOT_BUYING).then(
            pl.col("person_count") / pl.col("person_count").sum().over("month", "from_segment")
        ),
    ).select(list(SegmentMigrations.columns()))


def standing(bought: pl.LazyFrame, at: date) -> pl.LazyFrame:
    """Recency, orders and spending in the year before a day, of everybody who bought in it."""
    age = (pl.lit(at) - pl.col("on")).dt.total_days()
    return (
        bought.filter(age.is_between(1, YEAR_DAYS))
        .group_by("person_id")
        .agg(
            recency_days=age.min(),
            order_count_365d=pl.col("order_count").sum(),
            gross_amount_365d=pl.col("gross_amount").sum(),
            unconverted_order_count_365d=pl.col("unconverted_order_count").sum(),
        )
    )


def _bought() -> pl.Expr:
    return pl.col("person_id").is_not_null() & (pl.col("order_count") > 0)


def _height(column: str) -> pl.Expr:
    return pl.col(column).replace_strict({name: at for at, name in enumerate(LADDER)}, return_dtype=pl.Int64)


def _month_before(month: date) -> date:
    return date(month.year - (month.month == 1), (month.month - 2) % 12 + 1, 1)
