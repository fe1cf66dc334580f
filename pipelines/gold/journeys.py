"""Journeys of people over all channels: the stages that they go through, how they turn back, and how they end."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.inference.proportions import shares_of_kinds, wilson
from customer360.pipelines.rules.journey import JourneyRules
from customer360.pipelines.vocabulary import JOURNEY_STAGES
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, List, OneOf, String, Table, Timestamp

READS: dict[str, tuple[str, ...]] = {
    "silver.touchpoints": ("person_id", "occurred_at", "sequence_number", "kind", "channel", "stage", "is_active")
}  # fmt: skip
OWN = ["person_id", "journey_number"]
HEIGHT = {stage: height for height, stage in enumerate(JOURNEY_STAGES)}
START, END = "START", "END"


class Journeys(
    Table, table="gold.journeys", per="person_id", partition_by=("as_of",), sort_by=("person_id", "journey_number"),
    serves="PROFILING",
):  # fmt: skip
    """One row per person, journey and as_of date: what a person did from one long silence to the next.

    Made of what people did themselves; messages that were only sent make no journey. The silence, and which touchpoint
    is of which stage, stand in the rule file journey.
    """

    person_id = String(primary_key=True)
    journey_number = Integer(primary_key=True, description="1 for the person's first")
    as_of = Date(primary_key=True)
    started_at = Timestamp(description="First touchpoint")
    ended_at = Timestamp(description="Last touchpoint so far")
    outcome = OneOf("PURCHASED", "OPEN", "ENDED", description="ENDED: silent for longer than the gap, nothing bought")
    is_over = Boolean(description="Silent for longer than the gap")
    touch_count = Integer(description="Touchpoints so far")
    stages = List(String(), description="In the order in which they were reached, without repeats at once")
    last_stage = OneOf(*JOURNEY_STAGES, description="Of the last touchpoint")
    loop_count = Integer(description="Steps back to an earlier stage")
    purchase_count = Integer(description="Purchases among the touchpoints")
    touches_to_purchase = Integer(nullable=True, description="Touchpoints before the first purchase; null: none")
    hours_to_purchase = Float(nullable=True, description="From the first touchpoint to the first purchase")
    first_channel = String(description="Of the first touchpoint")
    last_channel = String(description="Of the last touchpoint")
    channel_count = Integer(description="Different channels")
    channel_switch_count = Integer(description="Touchpoints on another channel than the one before")


def staged(touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """What people did before ``as_of``, in order, with the number of the journey that it is of."""
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    since = pl.col("occurred_at") - pl.col("occurred_at").shift(1).over("person_id")
    begins = (since > pl.duration(days=params.gap_days)).fill_null(True)
    return (
        touchpoints.filter(pl.col("person_id").is_not_null(), "is_active", pl.col("occurred_at") < now)
        .sort("person_id", "occurred_at", "sequence_number")
        .with_columns(begins=begins)
        .with_columns(journey_number=pl.col("begins").cast(pl.Int64).cum_sum().over("person_id"))
    )


@builds(Journeys, rules="journey", reads=READS)
def journeys(silver_touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """Every journey that began before ``as_of``."""
    stage, channel, at = pl.col("stage"), pl.col("channel"), pl.col("occurred_at")
    height = stage.replace_strict(HEIGHT, return_dtype=pl.Int8)
    is_purchase = pl.col("kind") == "PURCHASE"
    bought = is_purchase.any()
    # In a group rows keep their order; what a row is against the one before is told once for all groups.
    told = staged(silver_touchpoints, as_of, params).with_columns(
        height=height,
        back=(height < height.shift(1).over("person_id")) & ~pl.col("begins"),
        moved=(stage != stage.shift(1).over("person_id")).fill_null(True) | pl.col("begins"),
        switched=(channel != channel.shift(1).over("person_id")).fill_null(False) & ~pl.col("begins"),
    )
    over = at.max() + pl.duration(days=params.gap_days) < pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    first = at.filter(is_purchase).min()
    folded = told.group_by(OWN, maintain_order=True).agg(
        started_at=at.min(),
        ended_at=at.max(),
        is_over=over,
        outcome=pl.when(bought).then(pl.lit("PURCHASED")).when(over).then(pl.lit("ENDED")).otherwise(pl.lit("OPEN")),
        touch_count=pl.len().cast(pl.Int64),
        stages=stage.filter("moved"),
        last_stage=stage.last(),
        loop_count=pl.col("back").sum().cast(pl.Int64),
        purchase_count=is_purchase.sum().cast(pl.Int64),
        touches_to_purchase=pl.when(bought).then(is_purchase.arg_max().cast(pl.Int64)),
        hours_to_purchase=(first - at.min()).dt.total_seconds() / 3600,
        first_channel=channel.first(),
        last_channel=channel.last(),
        channel_count=channel.n_unique().cast(pl.Int64),
        channel_switch_count=pl.col("switched").sum().cast(pl.Int64),
    )
    return folded.with_columns(as_of=pl.lit(as_of)).select(list(Journeys.columns()))


class StageTransitions(
    Table, table="gold.stage_transitions", partition_by=("as_of",), sort_by=("from_stage", "to_stage")
):
    """One row per pair of stages and as_of date: how often journeys went from one to the other, and how long it took.

    The map of journeys: START leads to the first stage of each, each journey that is over leads to END.
    """

    as_of = Date(primary_key=True)
    from_stage = OneOf(START, *JOURNEY_STAGES, primary_key=True, description="START: before the first")
    to_stage = OneOf(*JOURNEY_STAGES, END, primary_key=True, description="END: of a journey that is over")
    transition_count = Integer(description="Times that journeys went that way")
    from_count = Integer(description="Transitions out of from_stage")
    rate = Float(
        description="transition_count / from_count; Wilson's interval, wider as journeys of one person are alike"
    )
    rate_low = Float()
    rate_high = Float()
    median_hours = Float(nullable=True, description="From reaching from_stage to reaching to_stage; null at either end")
    is_back = Boolean(description="To an earlier stage")


@builds(StageTransitions, rules="journey", reads=READS)
def stage_transitions(silver_touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """Changes of stage within journeys."""
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    rows = staged(silver_touchpoints, as_of, params).with_columns(
        ended=pl.col("occurred_at").max().over(OWN) + pl.duration(days=params.gap_days) < now
    )
    reached = rows.filter((pl.col("stage") != pl.col("stage").shift(1).over(OWN)).fill_null(True)).with_columns(
        next_stage=pl.col("stage").shift(-1).over(OWN), next_at=pl.col("occurred_at").shift(-1).over(OWN)
    )
    began = reached.filter(pl.col("stage").is_first_distinct().over(OWN) & pl.col("begins")).select(
        "person_id", from_stage=pl.lit(START), to_stage="stage", hours=pl.lit(None, pl.Float64)
    )
    hours = (pl.col("next_at") - pl.col("occurred_at")).dt.total_seconds() / 3600
    went = reached.filter(pl.col("next_stage").is_not_null() | pl.col("ended")).select(
        "person_id", from_stage="stage", to_stage=pl.col("next_stage").fill_null(END), hours=hours
    )
    count, out = pl.col("transition_count"), pl.col("from_count")
    low, high = wilson(count / pl.col("design"), out / pl.col("design"), params.confidence)
    here, there = (
        pl.col(c).replace_strict(HEIGHT, default=None, return_dtype=pl.Int8) for c in ("from_stage", "to_stage")
    )
    ways = pl.concat([began, went]).collect().lazy()  # used three times, it would be made as often
    counted = shares_of_kinds(ways, "to_stage", "from_stage", "person_id")
    return (
        ways.group_by("from_stage", "to_stage")
        .agg(median_hours=pl.col("hours").median())
        .join(counted.rename({"count": "transition_count", "of": "from_count"}), on=["from_stage", "to_stage"])
        .with_columns(
            as_of=pl.lit(as_of),
            rate=count / out,
            rate_low=low,
            rate_high=high,
            is_back=(there < here).fill_null(False),
        )
        .select(list(StageTransitions.columns()))
    )
