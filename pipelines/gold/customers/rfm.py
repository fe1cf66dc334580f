"""Recency, frequency and monetary fifths among all buyers of the last year."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, List, String, Table, Timestamp

RFM_GROUPS = 5


class RfmBounds(Table, table="gold.rfm_bounds", partition_by=("as_of",)):
    """One row per as_of date: the inner fifths of recency, frequency and spending over all buyers of the last year."""

    as_of = Date(primary_key=True)
    recency_days = List(
        Float(), description="Its values that 20, 40, 60 and 80 % of buyers do not pass; zeros without a buyer"
    )
    order_count = List(Float(), description="Likewise, of the orders of the year")
    gross_amount = List(
        Float(), description="Likewise, of what was spent in it, over buyers of whom all amounts are known"
    )


@builds(RfmBounds)
def rfm_bounds(gold_customer_features: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """A global quantile is a table of its own, so that profiles can be built person by person."""
    buyers = gold_customer_features.filter(pl.col("recency_days") <= 365)
    return buyers.select(
        as_of=pl.lit(as_of),
        recency_days=fifths("recency_days"),
        order_count=fifths("order_count_365d"),
        gross_amount=fifths("gross_amount_365d", is_priced()),
    )


def fifths(column: str, of: pl.Expr | None = None) -> pl.Expr:
    """The inner fifths of a column, of the rows that a condition is true of; zeros without a row."""
    steps = [i / RFM_GROUPS for i in range(1, RFM_GROUPS)]
    values = pl.col(column).cast(pl.Float64)
    values = values if of is None else values.filter(of)
    return pl.concat_list(values.quantile(q).fill_null(0.0) for q in steps)


def is_priced() -> pl.Expr:
    """Whether the amount of every order of the last year is known in the reporting currency."""
    return pl.col("unconverted_order_count_365d").fill_null(0) == 0


class Rfm(Table, serves="PROFILING"):
    """Fifths among the buyers of the last year; 5 is best."""

    rfm_recency = Integer(
        nullable=True,
        description="5: most recent fifth of last year's buyers; null: no purchase in a year, or the person refuses to"
        " be profiled (may_profile): recency_days tells who is inactive",
    )
    rfm_frequency = Integer(nullable=True, description="5: the fifth with most orders; null as rfm_recency")
    rfm_monetary = Integer(
        nullable=True,
        description="5: the fifth that spent most; null as rfm_recency, and where an order of the year is unconverted",
    )
    rfm_segment = String(
        nullable=True,
        description="CHAMPION, LOYAL, PROMISING, NEEDS_ATTENTION, AT_RISK or HIBERNATING; null as rfm_recency",
    )
    rfm_until_at = Timestamp(nullable=True, description="As value_until_at")


class RfmScores(
    Table, table="gold.rfm_scores", per="person_id", partition_by=("as_of",), sort_by=("person_id",), serves="PROFILING"
):
    """One row per buyer of the last year and as_of date: its fifths among them, and the segment that they make.

    The bounds move a little with every day. Of a table of its own only those are made anew in gold.customer_360 whom
    they moved.
    """

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    rfm_recency = Integer(min=1, max=RFM_GROUPS, description="5: the fifth that bought last")
    rfm_frequency = Integer(min=1, max=RFM_GROUPS, description="5: the fifth with most orders")
    rfm_monetary = Integer(
        nullable=True, min=1, max=RFM_GROUPS,
        description="5: the fifth that spent most; null where an order of the year is unconverted",
    )  # fmt: skip
    rfm_segment = String(
        description="CHAMPION, LOYAL, PROMISING, NEEDS_ATTENTION, AT_RISK or HIBERNATING, by the three"
    )


SCORES = ("rfm_recency", "rfm_frequency", "rfm_monetary", "rfm_segment")


@builds(
    RfmScores,
    reads={
        "silver.subject_days": (
            "person_id", "on", "order_count", "gross_amount", "unconverted_order_count",
        ),
    },
)  # fmt: skip
def rfm_scores(silver_subject_days: pl.LazyFrame, gold_rfm_bounds: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Everybody with an order in the 365 days before ``as_of``."""
    year = pl.col("on").is_between(as_of - timedelta(days=365), as_of, closed="left")
    buyers = (
        silver_subject_days.filter(year, pl.col("person_id").is_not_null())
        .group_by("person_id")
        .agg(
            last_on=pl.col("on").filter(pl.col("order_count") > 0).max(),
            order_count_365d=pl.col("order_count").sum(),
            gross_amount_365d=pl.col("gross_amount").sum(),
            unconverted_order_count_365d=pl.col("unconverted_order_count").sum(),
        )
        .filter(pl.col("order_count_365d") > 0)
        .with_columns(as_of=pl.lit(as_of), recency_days=(pl.lit(as_of) - pl.col("last_on")).dt.total_days())
    )
    return placed(buyers, gold_rfm_bounds).select(list(RfmScores.columns()))


def rfm(profile: pl.LazyFrame, scores: pl.LazyFrame) -> pl.LazyFrame:
    """Adds Rfm from gold.rfm_scores to a profile with Value."""
    known = scores.select("person_id", *SCORES)
    return profile.join(known, on="person_id", how="left").with_columns(rfm_until_at=pl.col("value_until_at"))


def placed(buyers: pl.LazyFrame, bounds: pl.LazyFrame) -> pl.LazyFrame:
    """Adds `SCORES` to ``recency_days``, ``order_count_365d``, ``gross_amount_365d`` and
    ``unconverted_order_count_365d``; null where nothing was bought in the year."""
    inner = bounds.drop("as_of").rename(lambda c: f"bounds_{c}")

    def above(value: str, bounds_of: str) -> pl.Expr:
        passed = [
            (pl.col(value).cast(pl.Float64) > pl.col(f"bounds_{bounds_of}").list.get(i)).cast(pl.Int64)
            for i in range(RFM_GROUPS - 1)
        ]
        return pl.when(pl.col("order_count_365d") > 0).then(pl.sum_horizontal(passed))

    return (
        buyers.join(inner, how="cross")
        .with_columns(
            rfm_recency=RFM_GROUPS - above("recency_days", "recency_days"),
            rfm_frequency=1 + above("order_count_365d", "order_count"),
            rfm_monetary=pl.when(is_priced()).then(1 + above("gross_amount_365d", "gross_amount")),
        )
        .with_columns(rfm_segment=_segment())
    )


def _segment() -> pl.Expr:
    recency = pl.col("rfm_recency")
    frequency = (pl.col("rfm_frequency") + pl.col("rfm_monetary").fill_null(pl.col("rfm_frequency"))) / 2
    return (
        pl.when(recency.is_null()).then(None)
        .when((recency >= 4) & (frequency >= 4)).then(pl.lit("CHAMPION"))
        .when((recency >= 3) & (frequency >= 3)).then(pl.lit("LOYAL"))
        .when(recency >= 4).then(pl.lit("PROMISING"))
        .when((recency <= 2) & (frequency >= 3.5)).then(pl.lit("AT_RISK"))
        .when(recency <= 2).then(pl.lit("HIBERNATING"))
        .otherwise(pl.lit("NEEDS_ATTENTION"))
    )  # fmt: skip
