"""How often people are written to, and whether they answer less the more it is."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from scipy.special import ndtr

from customer360.pipelines.campaigns import midnight
from customer360.pipelines.inference import sums
from customer360.pipelines.inference.intervals import adjusted_column
from customer360.pipelines.inference.proportions import design_effect, squares_of, wilson, z_of
from customer360.pipelines.inference.verdicts import NO_EFFECT_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import EngagementRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

READ: dict[str, tuple[str, ...]] = {
    "gold.message_outcomes": ("subject_id", "channel", "sent_at", "earlier_count", "is_answered")
}
BANDS = (0, 1, 2, 3, 4, 6, 8, 12, 20)  # floors of the bands of frequency


class MessageFrequency(
    Table, table="gold.message_frequency", partition_by=("as_of",), sort_by=("channel", "earlier_from")
):
    """One row per channel, band of frequency and as_of date: of messages whose reader had got so many others in the
    rule's days before, how many were answered.

    Whoever is written to more often may be another kind of reader: gold.message_fatigue compares each with himself.
    """

    channel = String(primary_key=True, description="That the messages were sent over")
    earlier_from = Integer(primary_key=True, description="Messages of any channel in the rule's days before, at least")
    as_of = Date(primary_key=True)
    earlier_below = Integer(nullable=True, description="Fewer than; null for the last band")
    message_count = Integer(description="Messages sent whose days for an answer are over")
    person_count = Integer(description="Subjects (people, else accounts) that got them")
    response_count = Integer(description="Opened or clicked by a person within the rule's days")
    response_rate = Float(description="response_count / message_count; Wilson's interval, wider as answers of one"
                          " person are alike")  # fmt: skip
    response_rate_low = Float()
    response_rate_high = Float()


class MessageFatigue(Table, table="gold.message_fatigue", partition_by=("as_of",), sort_by=("channel",)):
    """One row per channel and as_of date: how much less often people answer for each message more that they got.

    Each person is compared with himself (fixed effects), so that keen readers who get more do not hide it; the error is
    that of whole persons (clustered). Intervals are each channel's own; what is claimed is corrected for their number.
    """

    channel = String(primary_key=True, description="That the messages were sent over")
    as_of = Date(primary_key=True)
    status = OneOf(
        "FATIGUE", "RISES", NO_EFFECT_SHOWN, NOT_ENOUGH_EVIDENCE,
        description="FATIGUE: less, RISES: more, q_value at most 1 - the rule's confidence; NOT_ENOUGH_EVIDENCE: too"
        " few people with messages of different frequency",
    )  # fmt: skip
    message_count = Integer(description="Messages to the people compared")
    person_count = Integer(description="Subjects whose messages had different frequencies")
    response_rate = Float(nullable=True, description="Of their messages")
    change_per_message = Float(
        nullable=True, description="Change of the chance of an answer for one more message in the rule's days before"
    )
    change_per_message_low = Float(nullable=True)
    change_per_message_high = Float(nullable=True)
    q_value = Float(nullable=True, description="Chance of so much without an effect, adjusted for all channels judged")


@builds(MessageFrequency, rules="enrichment", reads=READ)
def message_frequency(gold_message_outcomes: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Messages of the rule's history."""
    rules, earlier = params.engagement, pl.col("earlier")
    floors = pl.LazyFrame({"earlier_from": BANDS, "earlier_below": [*BANDS[1:], None]})
    sent = _frequencies(gold_message_outcomes, as_of, rules).sort("earlier")
    banded = sent.join_asof(floors, left_on=earlier, right_on="earlier_from", strategy="backward")
    band = ["channel", "earlier_from", "earlier_below"]
    people = banded.group_by(*band, "subject_id").agg(n=pl.len().cast(pl.Int64), a=pl.col("responds").sum())
    counted = people.group_by(band).agg(
        message_count=pl.col("n").sum(),
        person_count=pl.len().cast(pl.Int64),
        response_count=pl.col("a").sum().cast(pl.Int64),
        squares=squares_of(pl.col("a"), pl.col("n")),
    )
    answered, all_of = pl.col("response_count"), pl.col("message_count")
    design = design_effect(answered, all_of, pl.col("squares"))
    low, high = wilson(answered / design, all_of / design, rules.confidence)
    return counted.with_columns(
        as_of=pl.lit(as_of), response_rate=answered / all_of, response_rate_low=low, response_rate_high=high
    ).select(list(MessageFrequency.columns()))


@builds(MessageFatigue, rules="enrichment", reads=READ)
def message_fatigue(gold_message_outcomes: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """The slope within people, with an error of whole people (Liang and Zeger 1986)."""
    rules, group = params.engagement, ["channel", "subject_id"]
    sent = _frequencies(gold_message_outcomes, as_of, rules)
    x = (pl.col("earlier") - sums.mean(pl.col("earlier")).over(group)).alias("x")
    y = (pl.col("responds").cast(pl.Float64) - pl.col("responds").mean().over(group)).alias("y")
    varied = sent.with_columns(x, y).filter(pl.col("x").abs().max().over(group) > 0)
    people_sums = varied.group_by(group).agg(
        xx=sums.total(pl.col("x") ** 2), xy=sums.total(pl.col("x") * pl.col("y")), messages=pl.len().cast(pl.Int64),
        responses=pl.col("responds").sum(),
    )  # fmt: skip
    channels = sent.select("channel").unique()
    slope = sums.total(pl.col("xy")) / sums.total(pl.col("xx"))
    slopes = people_sums.group_by("channel").agg(
        slope=slope,
        # the score of a person: its x times its residuals
        scores=sums.total((pl.col("xy") - pl.col("xx") * slope) ** 2),
        xx=sums.total(pl.col("xx")),
        person_count=pl.len().cast(pl.Int64),
        message_count=pl.col("messages").sum(),
        responses=pl.col("responses").sum(),
    )
    people = pl.col("person_count")
    error = (pl.col("scores") * people / (people - 1)).sqrt() / pl.col("xx")
    half, enough = z_of(rules.confidence) * error, people >= rules.least
    return _judged(channels.join(slopes, on="channel", how="left").with_columns(
        pl.col("message_count").fill_null(0), people.fill_null(0), as_of=pl.lit(as_of),
        response_rate=pl.when(pl.col("message_count") > 0).then(pl.col("responses") / pl.col("message_count")),
        change_per_message=pl.when(enough).then("slope"),
        change_per_message_low=pl.when(enough).then(pl.col("slope") - half),
        change_per_message_high=pl.when(enough).then(pl.col("slope") + half),
        q_value=adjusted_column(pl.when(enough).then((pl.col("slope") / error).abs().map_batches(
            lambda z: pl.Series(z.name, 2 * ndtr(-z.to_numpy())), return_dtype=pl.Float64))),
    ), rules).select(list(MessageFatigue.columns()))  # fmt: skip


def _judged(slopes: pl.LazyFrame, rules: EngagementRules) -> pl.LazyFrame:
    is_shown = pl.col("q_value") <= 1 - rules.confidence
    return slopes.with_columns(
        status=pl.when(pl.col("change_per_message").is_null()).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(is_shown & (pl.col("change_per_message") < 0)).then(pl.lit("FATIGUE"))
        .when(is_shown & (pl.col("change_per_message") > 0)).then(pl.lit("RISES"))
        .otherwise(pl.lit(NO_EFFECT_SHOWN))
    )  # fmt: skip


def _frequencies(messages: pl.LazyFrame, as_of: date, rules: EngagementRules) -> pl.LazyFrame:
    """Messages sent in the rule's history whose days for an answer are over: subject_id, channel, ``earlier`` messages
    in the rule's days before, ``responds`` within its days. Bounced ones reached nobody and are none."""
    begin, end = (midnight(as_of - timedelta(days=days)) for days in (rules.history_days, rules.response_days))
    return messages.filter(
        pl.col("earlier_count").is_not_null(), pl.col("sent_at") < end, pl.col("sent_at") >= begin
    ).select("subject_id", "channel", earlier="earlier_count", responds="is_answered")
