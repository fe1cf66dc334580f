"""Funnels of the rule file: how many people reach each step, and where more are lost than before or elsewhere."""

from __future__ import annotations

from datetime import date

import polars as pl
import polars.selectors as cs

from customer360.pipelines.funnels import UNIT, attempts, is_followed
from customer360.pipelines.inference.intervals import adjusted
from customer360.pipelines.inference.proportions import newcombe, wilson
from customer360.pipelines.inference.tails import hypergeometric_cdf
from customer360.pipelines.inference.verdicts import NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules.journey import Funnel, JourneyRules
from customer360.pipelines.streams import RUN, streams
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table

ALL = "ALL"
TOUCHES: dict[str, tuple[str, ...]] = {
    "silver.touchpoints": (
        "subject_id", "person_id", "sequence_number", "occurred_at", "kind", "action", "channel", "device_type",
        "is_active",
    )
}  # fmt: skip
CELLS = ["period_start", "segment", "is_complete"]
CELL = ["funnel", "period", "period_start", "segment_by", "segment"]


class FunnelSteps(Table, table="gold.funnel_steps", partition_by=("as_of",), sort_by=(*CELL, "step_number")):
    """One row per funnel, period, segment, step and as_of date: the people who reached the step.

    A person counts once a period and segment, with the attempt that got furthest of all that began in the period, on
    whichever of its days; a step counts wherever the window of days ends, and over any channel that the step allows.
    People are subjects: known persons, and accounts and visitors of nobody known; receipts of guests are no people.
    """

    as_of = Date(primary_key=True)
    funnel = String(primary_key=True, description="Name in the rule file")
    period = OneOf(
        "MONTH", "WHOLE", primary_key=True,
        description="WHOLE: all months together whose windows are over; each person once, so that its rates are of ever"
        " having got so far, and grow with the months",
    )  # fmt: skip
    period_start = Date(primary_key=True, description="First day of the (first) calendar month")
    segment_by = String(primary_key=True, description="ALL, or the column of the first step that segment is of")
    segment = String(primary_key=True, description="Value of that column; ALL of all people")
    step_number = Integer(primary_key=True, min=1, description="1: the first")
    step = String(description="In a funnel of any order the first, second, … step of any name")
    is_complete = Boolean(description="Every window that began in the period is over at as_of")
    entered_count = Integer(description="People at the first step")
    previous_count = Integer(description="People at the step before; at the first step itself")
    reached_count = Integer(description="People at this step")
    step_rate = Float(description="reached_count / previous_count")
    step_rate_low = Float()
    step_rate_high = Float()
    total_rate = Float(description="reached_count / entered_count")
    total_rate_low = Float()
    total_rate_high = Float()
    median_hours = Float(nullable=True, description="From the step before, of those who reached it")


@builds(FunnelSteps, rules="journey", reads=TOUCHES)
def funnel_steps(silver_touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """Months of the rule file's history, the running one included."""
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    since = pl.lit(as_of.replace(day=1)).cast(pl.Datetime("us", "UTC")).dt.offset_by(f"-{params.history_months}mo")
    # What comes after a start is no earlier than it: nothing before the first month matters.
    past = silver_touchpoints.filter(pl.col("occurred_at") < now, pl.col("occurred_at") >= since, is_followed())
    rows, columns = streams(past, UNIT, "sequence_number"), list(FunnelSteps.columns())
    tables = [FunnelSteps.create_empty().lazy()]
    for name, funnel in params.funnels.items():
        counted = _counted(attempts(rows, funnel), funnel, as_of).lazy()
        rated = _rates(counted, funnel, params).with_columns(funnel=pl.lit(name), as_of=pl.lit(as_of))
        tables.append(rated.select(columns))
    return pl.concat(tables, how="vertical_relaxed")


def _counted(found: pl.DataFrame, funnel: Funnel, as_of: date) -> pl.DataFrame:
    """By cell, how many people reached each step, and the median of hours to it."""
    # The less, the better: what got furthest, and of equals what stands, as it began, first.
    order = (len(funnel.steps) - pl.col("depth")) * max(found.height, 1) + pl.int_range(pl.len(), dtype=pl.Int64)
    begun = found.with_columns(period_start=pl.col("started_at").dt.date().dt.truncate("1mo"), order=order)
    starts = begun["period_start"].unique().to_frame()
    ends = pl.col("period_start").dt.offset_by("1mo") + pl.duration(days=funnel.within_days)
    over = starts.filter(ends <= as_of)["period_start"]
    # The best of a coarse cell is the best of its fine ones.
    fine = _best(begun, ["period_start", *funnel.by])
    segments = {ALL: pl.lit(ALL)} | {str(c): pl.col(c).fill_null("UNKNOWN") for c in funnel.by}
    facts, told = _facts(found, funnel), []
    for name, value in segments.items():
        months = _best(fine.with_columns(segment=value), ["period_start", "segment"])
        complete = months.with_columns(is_complete=pl.col("period_start").is_in(over.implode()))
        whole = _best(complete.filter("is_complete"), ["segment"]).with_columns(
            period_start=pl.lit(over.min(), pl.Date), is_complete=True
        )
        for period, rows in (("MONTH", complete), ("WHOLE", whole)):
            told.append(_folded(rows, facts).with_columns(period=pl.lit(period), segment_by=pl.lit(name)))
    return pl.concat(told, how="diagonal")


def _best(rows: pl.DataFrame, cell: list[str]) -> pl.DataFrame:
    """The order of the best attempt of each person and cell."""
    return rows.group_by(RUN, *cell).agg(pl.col("order").min())


def _facts(found: pl.DataFrame, funnel: Funnel) -> pl.DataFrame:
    """By attempt, whether it ``reached`` each step and the ``hours`` from the step before."""
    steps = range(len(funnel.steps))
    hours = {f"hours_{n}": (pl.col(f"at_{n}") - pl.col(f"at_{n - 1}")).dt.total_seconds() / 3600 for n in steps if n}
    return found.select(**{f"reached_{n}": pl.col("depth") > n for n in steps}, **hours)


def _folded(rows: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    best = facts[rows["order"] % max(facts.height, 1)].with_columns(rows[c] for c in CELLS)
    return best.group_by(CELLS).agg(cs.starts_with("hours_").median(), cs.starts_with("reached_").sum().cast(pl.Int64))


def _rates(folded: pl.LazyFrame, funnel: Funnel, params: JourneyRules) -> pl.LazyFrame:
    cell = [c for c in CELL if c != "funnel"]
    parts = [
        folded.select(
            *cell, "is_complete",
            step_number=pl.lit(n + 1, pl.Int64),
            step=pl.lit(step.name),
            entered_count="reached_0",
            previous_count=f"reached_{max(n - 1, 0)}",
            reached_count=f"reached_{n}",
            median_hours=pl.col(f"hours_{n}") if n else pl.lit(None, pl.Float64),
        ).filter(pl.col("previous_count") > 0)
        for n, step in enumerate(funnel.steps)
    ]  # fmt: skip
    reached, previous, entered = (pl.col(f"{name}_count") for name in ("reached", "previous", "entered"))
    (low, high), (total_low, total_high) = (wilson(reached, of, params.confidence) for of in (previous, entered))
    return pl.concat(parts).with_columns(
        step_rate=reached / previous, step_rate_low=low, step_rate_high=high,
        total_rate=reached / entered, total_rate_low=total_low, total_rate_high=total_high,
    )  # fmt: skip


class FunnelBottlenecks(
    Table,
    table="gold.funnel_bottlenecks",
    partition_by=("as_of",),
    sort_by=("funnel", "segment_by", "segment", "step_number"),
):
    """One row per funnel, segment, step, what it is compared with, and as_of date: whether more people are lost before
    the step in the latest complete month than in the complete months before it (PAST), or than in the other segments of
    the month (OTHERS).

    Fisher's exact test, one-sided, of every row that has enough people on both sides; false discoveries among all of
    them are held at the rule file's rate (Benjamini and Hochberg, 1995).
    """

    as_of = Date(primary_key=True)
    funnel = String(primary_key=True, description="Name in the rule file")
    segment_by = String(primary_key=True, description="As in gold.funnel_steps")
    segment = String(primary_key=True, description="As in gold.funnel_steps")
    step_number = Integer(primary_key=True, min=2, description="The step before which people are lost")
    compared_with = OneOf(
        "PAST", "OTHERS", primary_key=True, description="The past of the segment, or other segments of the month"
    )
    step = String(description="As in gold.funnel_steps")
    month = Date(description="First day of the month that is judged")
    status = OneOf(
        "BOTTLENECK", NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE, description="BOTTLENECK: adjusted_p is small enough"
    )
    rank = Integer(nullable=True, description="1: the bottleneck that costs most people")
    previous_count = Integer(description="People at the step before, in the month")
    reached_count = Integer(description="People at this step")
    step_rate = Float(description="reached_count / previous_count")
    other_previous_count = Integer(description="The same of what it is compared with")
    other_reached_count = Integer(description="The same of what it is compared with")
    other_rate = Float(nullable=True, description="other_reached_count / other_previous_count")
    rate_change = Float(nullable=True, description="step_rate - other_rate")
    rate_change_low = Float(nullable=True)
    rate_change_high = Float(nullable=True)
    adjusted_p = Float(nullable=True, description="Smallest false discovery rate at which it counts; null: not tested")
    lost_count = Float(description="People who would have gone on at the other rate; 0 where none are lost")


@builds(FunnelBottlenecks, rules="journey")
def funnel_bottlenecks(gold_funnel_steps: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """Every step of every segment of the latest complete month."""
    done = gold_funnel_steps.filter(pl.col("period") == "MONTH", "is_complete").with_columns(
        month=pl.col("period_start").max().over("funnel")
    )
    key = ["funnel", "segment_by", "segment", "step_number"]
    counts = {f"other_{c}": pl.col(c).sum() for c in ("previous_count", "reached_count")}
    now = done.filter(pl.col("period_start") == pl.col("month"), pl.col("step_number") > 1).select(
        *key, "step", "month", "previous_count", "reached_count", "step_rate"
    )
    past = done.filter(pl.col("period_start") < pl.col("month")).group_by(key).agg(**counts)
    all_of = now.group_by("funnel", "segment_by", "step_number").agg(**counts)
    others = now.join(all_of, on=["funnel", "segment_by", "step_number"]).filter(pl.col("segment_by") != ALL)
    others = others.with_columns(
        (pl.col(f"other_{c}") - pl.col(c)).alias(f"other_{c}") for c in ("previous_count", "reached_count")
    )
    both = pl.concat(
        [
            now.join(past, on=key, how="left").with_columns(compared_with=pl.lit("PAST")),
            others.with_columns(compared_with=pl.lit("OTHERS")),
        ],
        how="diagonal",
    ).with_columns(pl.col(counts).fill_null(0))
    return _judged(both.sort(*key, "compared_with").collect(), as_of, params)


def _judged(rows: pl.DataFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    reached, previous = pl.col("reached_count"), pl.col("previous_count")
    other_reached, other_previous = pl.col("other_reached_count"), pl.col("other_previous_count")
    enough = (previous >= params.least_entries) & (other_previous >= params.least_entries)
    tested = rows.with_row_index("row").filter(enough)
    hits, count, other_hits, other_count = (
        tested[c].to_numpy() for c in ("reached_count", "previous_count", "other_reached_count", "other_previous_count")
    )
    good = hits + other_hits
    p_values = hypergeometric_cdf(hits, count, good, count + other_count - good)
    verdicts = tested.select("row").with_columns(
        adjusted_p=pl.Series(adjusted(p_values.clip(0, 1), len(p_values)), dtype=pl.Float64)
    )
    low, high = newcombe(reached, previous, other_reached, other_previous, params.confidence)
    other_rate = pl.when(other_previous > 0).then(other_reached / other_previous)
    told = (
        rows.lazy().with_row_index("row").join(verdicts.lazy(), on="row", how="left")
        .with_columns(other_rate=other_rate, rate_change=pl.col("step_rate") - other_rate,
                      rate_change_low=low, rate_change_high=high)
    )  # fmt: skip
    found = (pl.col("adjusted_p") <= params.false_discovery_rate) & (pl.col("rate_change") <= -params.smallest_drop)
    lost = (-pl.col("rate_change") * previous).clip(0).fill_null(0.0)
    ranked = told.with_columns(
        as_of=pl.lit(as_of),
        lost_count=lost,
        status=pl.when(pl.col("adjusted_p").is_null()).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(found).then(pl.lit("BOTTLENECK")).otherwise(pl.lit(NO_DIFFERENCE_SHOWN)),
    )  # fmt: skip
    order = pl.col("lost_count").rank("ordinal", descending=True).over("status").cast(pl.Int64)
    return ranked.with_columns(rank=pl.when(pl.col("status") == "BOTTLENECK").then(order)).select(
        list(FunnelBottlenecks.columns())
    )
