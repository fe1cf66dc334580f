"""How a person feels about the shop, by what it says to the support desk and elsewhere."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.rules import ReliabilityRules
from customer360.platform.tables import Float, Integer, OneOf, Table, Timestamp

WINDOW_DAYS = 365
CLEAR = 0.2  # from which the mean counts as positive or negative


class Sentiment(Table, serves="PROFILING"):
    """Sentiment of the last year, -1 to 1; what others measured counts as far as they are reliable."""

    service_sentiment = Float(nullable=True, description="Mean over contacts with the support desk")
    external_sentiment = Float(nullable=True, description="Mean over mentions, weighted by the source's reliability")
    mention_count = Integer(nullable=True, description="Mentions that third parties counted")
    sentiment_score = Float(
        nullable=True, description="Both: a contact weighs 1, a mention what its source's reliability is"
    )
    sentiment_class = OneOf(
        "POSITIVE",
        "NEUTRAL",
        "NEGATIVE",
        nullable=True,
        description="Of sentiment_score: POSITIVE and NEGATIVE where it is clear of 0",
    )
    sentiment_until_at = Timestamp(nullable=True, description="Latest contact or day of mentions")


def sentiment(
    profile: pl.LazyFrame,
    contacts: pl.LazyFrame,
    mentions: pl.LazyFrame,
    reliability: pl.LazyFrame,
    rules: ReliabilityRules,
    as_of: date,
) -> pl.LazyFrame:
    """Adds Sentiment from silver.service_contacts, silver.external_sentiment and silver.profile_reliability."""
    known, start = pl.col("person_id").is_not_null(), as_of - timedelta(days=WINDOW_DAYS)
    said = (
        contacts.filter(known, pl.col("sentiment_score").is_not_null())
        .filter(pl.col("occurred_on").is_between(start, as_of, closed="left"))
        .group_by("person_id")
        .agg(
            service_sum=sums.total(pl.col("sentiment_score")),
            service_weight=pl.len().cast(pl.Float64),
            service_said_at=pl.col("occurred_at").max(),
        )
    )
    recent = mentions.filter(known, pl.col("on").is_between(start, as_of, closed="left"))
    weight = pl.col("trust") * pl.col("mention_count").fill_null(1)
    measured = (
        _trusted(recent, reliability, rules)
        .group_by("person_id")
        .agg(
            external_sum=sums.total(pl.col("sentiment_score") * weight),
            external_weight=sums.total(weight),
            mention_count=pl.col("mention_count").fill_null(1).sum(),
            mentioned_at=pl.col("on").max().cast(pl.Datetime("us", "UTC")),
        )
    )
    weights = pl.sum_horizontal("service_weight", "external_weight")
    return (
        profile.join(said, on="person_id", how="left")
        .join(measured, on="person_id", how="left")
        .with_columns(
            pl.col("mention_count").fill_null(0),
            # Rounded: sums of floats differ in their last bits with the order of the rows, and thresholds look at
            # these.
            service_sentiment=(pl.col("service_sum") / pl.col("service_weight")).round(6),
            external_sentiment=pl.when(pl.col("external_weight") > 0).then(
                (pl.col("external_sum") / pl.col("external_weight")).round(6)
            ),
            sentiment_score=pl.when(weights > 0).then(
                (pl.sum_horizontal("service_sum", "external_sum") / weights).round(6)
            ),
            sentiment_until_at=pl.max_horizontal("service_said_at", "mentioned_at"),
        )
        .with_columns(sentiment_class=_class())
    )


def _trusted(mentions: pl.LazyFrame, reliability: pl.LazyFrame, rules: ReliabilityRules) -> pl.LazyFrame:
    """With ``trust``: what the person's own profile at the source reached, else what an unchecked one would reach."""
    own = reliability.group_by("person_id", "data_source").agg(trust=pl.col("reliability_score").max())
    weight = pl.col("data_source").replace_strict(
        rules.source_weights, default=rules.unknown_source_weight, return_dtype=pl.Float64
    )
    unchecked = weight * rules.unknown_quality * rules.unchecked_factor**2  # neither age nor gender was compared
    return mentions.join(own, on=["person_id", "data_source"], how="left").with_columns(
        pl.col("trust").fill_null(unchecked)
    )


def _class() -> pl.Expr:
    score = pl.col("sentiment_score")
    return (
        pl.when(score >= CLEAR).then(pl.lit("POSITIVE"))
        .when(score <= -CLEAR).then(pl.lit("NEGATIVE"))
        .when(score.is_not_null()).then(pl.lit("NEUTRAL"))
    )  # fmt: skip
