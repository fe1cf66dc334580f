"""Journeys of people over all channels: the stages that they go through, how they turn back, and how they end."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.inference.proportions import shares_of_kinds, wilson
from customer360.pipelines.rules.journey import JourneyRules
from customer360.pipelines.streams import RUN, begins, streams
from customer360.pipelines.vocabulary import JOURNEY_STAGES
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, List, OneOf, String, Table, Timestamp

READS: dict[str, tuple[str, ...]] = {
    "silver.touchpoints": ("person_id", "occurred_at", "sequence_number", "kind", "channel", "stage", "is_active")
}  # fmt: skip
JOURNEY = "journey"  # its number among all of all people
START, END = "START", "END"
NODES = pl.Enum([START, *JOURNEY_STAGES, END])  # compared and grouped as numbers


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


def staged(touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.DataFrame:
    """What people did before ``as_of`` as streams, with `JOURNEY`, the number of the journey among all of all people,
    and whether a row ``begins`` one."""
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    past = touchpoints.filter(pl.col("person_id").is_not_null(), "is_active", pl.col("occurred_at") < now)
    since = pl.col("occurred_at") - pl.col("occurred_at").shift(1)
    rows = streams(past, "person_id", "occurred_at", "sequence_number")
    return rows.with_columns(begins=begins() | (since > timedelta(days=params.gap_days))).with_columns(
        pl.col("begins").cum_sum().alias(JOURNEY)
    )


@builds(Journeys, rules="journey", reads=READS)
def journeys(silver_touchpoints: pl.LazyFrame, as_of: date, params: JourneyRules) -> pl.LazyFrame:
    """Every journey that began before ``as_of``."""
    stage, channel, goes_on = pl.col("stage"), pl.col("channel"), ~pl.col("begins")
    height = stage.cast(NODES).to_physical()
    rows = staged(silver_touchpoints, as_of, params).select(
        "person_id", RUN, JOURNEY, "begins", "occurred_at", "channel", "stage",
        place=pl.int_range(pl.len(), dtype=pl.Int64),
        purchase=pl.col("kind") == "PURCHASE",
        loop=(goes_on & (height < height.shift(1))).fill_null(False),
        channel_switch=(goes_on & (channel != channel.shift(1))).fill_null(False),
    )  # fmt: skip
    bought = rows.filter("purchase").unique(JOURNEY, keep="first", maintain_order=True)
    moved = rows.filter(~goes_on | (stage != stage.shift(1)).fill_null(True)).group_by(JOURNEY, maintain_order=True)
    switched = rows.filter(~goes_on | pl.col("channel_switch")).group_by(JOURNEY, maintain_order=True)
    over = pl.col("ended_at") + timedelta(days=params.gap_days) < pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    is_bought = pl.col("bought_at").is_not_null()
    return (
        _from_first_to_last(rows)
        .with_columns(
            moved.agg(stages="stage")["stages"],
            switched.agg(channel_count=channel.n_unique().cast(pl.Int64))["channel_count"],
        )
        .lazy()
        .join(bought.lazy().select(JOURNEY, bought_at="occurred_at", bought_place="place"), on=JOURNEY, how="left")
        .with_columns(
            as_of=pl.lit(as_of), is_over=over,
            outcome=pl.when(is_bought).then(pl.lit("PURCHASED")).when(over).then(pl.lit("ENDED"))
            .otherwise(pl.lit("OPEN")),
            touches_to_purchase=pl.col("bought_place") - pl.col("place"),
            hours_to_purchase=(pl.col("bought_at") - pl.col("started_at")).dt.total_seconds() / 3600,
        )
        .select(list(Journeys.columns()))
    )  # fmt: skip


def _from_first_to_last(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per journey, of the touchpoints that it begins and ends with. How many of a kind lie between is a
    difference of running counts: nothing is gathered."""
    kinds = ("purchase", "loop", "channel_switch")
    running = rows.with_columns(pl.col(kinds).cast(pl.Int64).cum_sum().name.suffix("_count"))
    last = running.filter(_is_last())
    first = running.filter("begins").with_columns(pl.col(f"{c}_count") - pl.col(c) for c in kinds)
    number = pl.col(JOURNEY) - pl.when(begins()).then(JOURNEY).forward_fill() + 1
    return first.select(
        "person_id", JOURNEY, "place",
        journey_number=number.cast(pl.Int64), started_at="occurred_at", first_channel="channel",
        ended_at=last["occurred_at"], last_stage=last["stage"], last_channel=last["channel"],
        touch_count=last["place"] - first["place"] + 1,
        **{f"{c}_count": last[f"{c}_count"] - first[f"{c}_count"] for c in kinds},
    )  # fmt: skip


def _is_last() -> pl.Expr:
    """Whether a touchpoint is the last of its journey."""
    return pl.col("begins").shift(-1).fill_null(True)


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
    now, gap = pl.lit(as_of).cast(pl.Datetime("us", "UTC")), timedelta(days=params.gap_days)
    rows = staged(silver_touchpoints, as_of, params).with_columns(pl.col("stage").cast(NODES))
    ended = rows.filter(_is_last())["occurred_at"]  # by journey
    stage, at, goes_on = pl.col("stage"), pl.col("occurred_at"), ~pl.col("begins").shift(-1)
    reached = (
        rows.select(RUN, JOURNEY, "begins", "stage", "occurred_at")
        .filter(pl.col("begins") | (stage != stage.shift(1)).fill_null(True))
        .with_columns(next_stage=pl.when(goes_on).then(stage.shift(-1)), next_at=pl.when(goes_on).then(at.shift(-1)))
    )
    ended_at = pl.lit(ended).gather(pl.col(JOURNEY) - 1)
    went = reached.filter(pl.col("next_stage").is_not_null() | (ended_at + gap < now)).select(
        RUN, from_stage="stage", to_stage=pl.col("next_stage").fill_null(pl.lit(END, NODES)),
        hours=(pl.col("next_at") - at).dt.total_seconds() / 3600,
    )  # fmt: skip
    began = reached.filter("begins").select(
        RUN, from_stage=pl.lit(START, NODES), to_stage="stage", hours=pl.lit(None, pl.Float64)
    )
    ways = pl.concat([began, went]).lazy()
    count, out = pl.col("transition_count"), pl.col("from_count")
    low, high = wilson(count / pl.col("design"), out / pl.col("design"), params.confidence)
    here, there = pl.col("from_stage"), pl.col("to_stage")
    counted = shares_of_kinds(ways, "to_stage", "from_stage", RUN)
    return (
        ways.group_by("from_stage", "to_stage")
        .agg(median_hours=pl.col("hours").median())
        .join(counted.rename({"count": "transition_count", "of": "from_count"}), on=["from_stage", "to_stage"])
        .with_columns(
            as_of=pl.lit(as_of),
            rate=count / out,
            rate_low=low,
            rate_high=high,
            is_back=(there < here) & (here != START) & (there != END),
        )
        .with_columns(here.cast(pl.String), there.cast(pl.String))
        .select(list(StageTransitions.columns()))
    )
