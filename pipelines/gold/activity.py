"""How much people come, by day, week and month, by segment and channel; and at what hours.

A segment is that of the month in which the visit began (`gold.segment_months`), never that of today: who is a champion
now came more and more by selection alone.
"""

from __future__ import annotations

from datetime import date

import polars as pl
import polars.selectors as cs

from customer360.pipelines.streams import numbers
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table

ALL = "ALL"
ANONYMOUS, NO_SEGMENT, BEFORE_HISTORY = "ANONYMOUS", "NO_SEGMENT", "BEFORE_HISTORY"
SEGMENT_WORDS = (
    f"RFM segment at the first day of the month; {NO_SEGMENT}: no purchase in the year before, or no profile;"
    f" {BEFORE_HISTORY}: of a month whose segments are not kept; {ANONYMOUS}: nobody known; {ALL}: everybody"
)
CELL = ("segment", "channel_type")
GRAINS = {"DAY": "1d", "WEEK": "1w", "MONTH": "1mo"}
VISITS = (
    "subject_id", "person_id", "started_on", "channel_type", "page_view_count", "duration_seconds", "is_converter",
    "day_of_week", "hour",
)  # fmt: skip


class ActivityPeriods(Table, table="gold.activity_periods", sort_by=("grain", "period_on", "segment", "channel_type")):
    """One row per day, week or month, segment and channel with a visit before as_of; `ALL` stands for all of them.

    Visitors are counted once a period: those of days do not add up to those of a week.
    """

    grain = OneOf(*GRAINS, primary_key=True, description="How long the period is")
    period_on = Date(primary_key=True, description="First day; weeks begin on Mondays")
    segment = String(primary_key=True, description=SEGMENT_WORDS)
    channel_type = String(primary_key=True, description=f"Of the visit, as in silver.session_facts; {ALL}: any")
    is_complete = Boolean(description="The period lies between the first visit of the data and as_of as a whole")
    visitor_count = Integer(description="Different subjects")
    session_count = Integer(description="Visits that began in the period")
    page_view_count = Integer(description="Of these visits")
    seconds_on_site = Integer(description="Length of these visits, added up")
    converted_session_count = Integer(
        description="Visits in which the tracker saw a purchase: orders that were cancelled or never paid are in it,"
        " and gold.funnel_steps, of completed sales, leaves them out"
    )
    conversion_rate = Float(min=0, max=1, description="converted_session_count / session_count")


SEGMENTS = ("person_id", "month", "rfm_segment")


@builds(ActivityPeriods, reads={"silver.session_facts": VISITS, "gold.segment_months": SEGMENTS})
def activity_periods(
    silver_session_facts: pl.LazyFrame, gold_segment_months: pl.LazyFrame, as_of: date
) -> pl.LazyFrame:
    """Visits that began before ``as_of``, folded once a grain and once for each pair of ALL or not."""
    visits = _numbered(_visits(silver_session_facts, gold_segment_months, as_of))
    cells = visits.lazy().group_by("started_on", *CELL).agg(_counts()).collect()  # of any period: their sums
    order, folded = ["grain", "period_on", *CELL, "visitor_count", *cells.columns[3:]], []
    for grain, every in GRAINS.items():
        period = pl.col("started_on").dt.truncate(every).alias("period_on")
        dated, summed = visits.select("subject", *CELL, period), cells.select(cs.exclude("started_on"), period)
        for kept in ((), ("segment",), ("channel_type",), CELL):
            by = ["period_on", *kept]
            visitors = dated.group_by(by).agg(visitor_count=pl.col("subject").n_unique().cast(pl.Int64))
            sums = summed.group_by(by).agg(cs.exclude(*by, *CELL).sum())
            words = [pl.col(c).cast(pl.String) if c in kept else pl.lit(ALL).alias(c) for c in CELL]
            folded.append(visitors.join(sums, on=by).with_columns(*words, grain=pl.lit(grain)).select(order))
    since = pl.lit(visits["started_on"].min(), pl.Date)
    end = pl.coalesce(
        pl.when(pl.col("grain") == grain).then(pl.col("period_on").dt.offset_by(every))
        for grain, every in GRAINS.items()
    )
    return (
        pl.concat(folded)
        .lazy()
        .with_columns(
            is_complete=(end <= pl.lit(as_of)) & (pl.col("period_on") >= since),
            conversion_rate=pl.col("converted_session_count") / pl.col("session_count"),
        )
        .select(list(ActivityPeriods.columns()))
    )


def _visits(facts: pl.LazyFrame, segment_months: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """The visits before a date with their segment."""
    months = segment_months.select("person_id", "month", segment="rfm_segment")
    since = segment_months.select(kept_from=pl.col("month").min())
    past = facts.select(VISITS).filter(pl.col("started_on") < as_of)
    return (
        past.with_columns(month=pl.col("started_on").dt.truncate("1mo"))
        .join(months, on=["person_id", "month"], how="left")
        .join(since, how="cross")
        .with_columns(
            segment=pl.when(pl.col("person_id").is_null()).then(pl.lit(ANONYMOUS))
            .when((pl.col("month") < pl.col("kept_from")).fill_null(True)).then(pl.lit(BEFORE_HISTORY))
            .otherwise(pl.col("segment").fill_null(NO_SEGMENT))
        )
        .drop("month", "kept_from")
    )  # fmt: skip


def _numbered(visits: pl.LazyFrame) -> pl.DataFrame:
    """The visits with numbers for their subjects and words, which are grouped a dozen times."""
    measures = ("page_view_count", "duration_seconds", "is_converter")
    found = visits.select(*CELL, "started_on", "subject_id", *measures).collect()
    words = [found[c].cast(pl.Enum(found[c].unique())) for c in CELL]
    return found.with_columns(*words, numbers(found["subject_id"]).alias("subject"))


def _counts() -> list[pl.Expr]:
    return [
        pl.len().cast(pl.Int64).alias("session_count"),
        pl.col("page_view_count").sum(),
        pl.col("duration_seconds").sum().alias("seconds_on_site"),
        pl.col("is_converter").sum().cast(pl.Int64).alias("converted_session_count"),
    ]


class ActivityHours(Table, table="gold.activity_hours", sort_by=("segment", "day_of_week", "hour")):
    """One row per segment, weekday and hour with a visit in the 365 days before as_of: when people come."""

    segment = String(primary_key=True, description=SEGMENT_WORDS)
    day_of_week = Integer(primary_key=True, description="1 is Sunday, 7 is Saturday, as in the specification")
    hour = Integer(primary_key=True, description="UTC")
    session_count = Integer(description="Visits that began in that hour")
    converted_session_count = Integer(description="As in gold.activity_periods")
    share = Float(min=0, max=1, description="Of the segment's visits")
    share_index = Float(description="share over that of everybody: 1 is as usual")


HOURS_DAYS = 365


@builds(ActivityHours, reads={"silver.session_facts": VISITS, "gold.segment_months": SEGMENTS})
def activity_hours(silver_session_facts: pl.LazyFrame, gold_segment_months: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Time-of-day profiles; a visit counts at the hour it began."""
    visits = _visits(silver_session_facts, gold_segment_months, as_of).filter(
        (pl.lit(as_of) - pl.col("started_on")).dt.total_days() <= HOURS_DAYS
    )
    both = pl.concat([visits, visits.with_columns(segment=pl.lit(ALL))])
    counted = both.group_by("segment", "day_of_week", "hour").agg(
        session_count=pl.len().cast(pl.Int64), converted_session_count=pl.col("is_converter").sum().cast(pl.Int64)
    )
    shares = counted.with_columns(share=pl.col("session_count") / pl.col("session_count").sum().over("segment"))
    usual = shares.filter(pl.col("segment") == ALL).select("day_of_week", "hour", usual="share")
    return (
        shares.join(usual, on=["day_of_week", "hour"])
        .with_columns(share_index=pl.col("share") / pl.col("usual"))
        .drop("usual")
    )
