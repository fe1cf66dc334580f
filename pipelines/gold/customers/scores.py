"""What the champions of the models expect of a person."""

from __future__ import annotations

import polars as pl

from customer360.platform.tables import Float, Integer, List, String, Struct, Table, Timestamp


def _reasons(said: str) -> List:
    inner = Struct({"feature": String(), "value": Float(nullable=True), "contribution": Float()})
    return List(inner, nullable=True, description=said)


class Clv(Table, serves="PROFILING"):
    """Expected value, where a champion has scored."""

    clv_amount = Float(
        nullable=True,
        description="Expected revenue of the model's horizon (horizon_days of configs/models/clv.yaml, 90 unless set),"
        " in the reporting currency. Null: not scored, or the person refuses to be profiled (may_profile)",
    )
    clv_low = Float(
        nullable=True, description="80 % of outcomes lie between clv_low and clv_high; null where a model states none"
    )
    clv_high = Float(nullable=True, description="See clv_low")
    clv_reasons = _reasons("What moved the amount most, the strongest first; null: not scored")
    clv_model_version = String(nullable=True, description="Version of the champion that scored")
    clv_until_at = Timestamp(nullable=True, description="When it was scored, from the days before as_of")


class Churn(Table, serves="PROFILING"):
    """Probability to leave, where a champion has scored."""

    churn_probability = Float(
        nullable=True,
        description="To buy nothing within the model's horizon (horizon_days of configs/models/churn.yaml). Null: not"
        " scored, or the person refuses to be profiled (may_profile)",
    )
    churn_reasons = _reasons("What moved the probability most, the strongest first; null: not scored")
    churn_model_version = String(nullable=True, description="Version of the champion that scored")
    churn_until_at = Timestamp(nullable=True, description="When it was scored, from the days before as_of")


class Segment(Table, serves="PROFILING"):
    """The kind of customer, where a champion has segmented."""

    segment_number = Integer(
        nullable=True,
        description="1: the segment that spends most; numbers are of the version. Null: not segmented, or the person"
        " refuses to be profiled",
    )
    segment_persona = String(nullable=True, description="What sets the segment apart, in words")
    segment_reasons = _reasons("What sets the segment apart, the strongest first; null: not segmented")
    segment_model_version = String(nullable=True, description="Version of the champion that segmented")
    segment_until_at = Timestamp(nullable=True, description="When it was scored, from the days before as_of")


class Propensity(Table, serves="PROFILING"):
    """The category that a person likeliest buys from next, where a champion has scored."""

    next_category = String(nullable=True, description="Null: not scored, or the person refuses to be profiled")
    next_category_probability = Float(nullable=True, description="To buy from it within the model's horizon")
    next_category_lift = Float(nullable=True, description="Over the mean probability of all persons for it")
    propensity_model_version = String(nullable=True, description="Version of the champion that scored")
    propensity_until_at = Timestamp(nullable=True, description="When it was scored, from the days before as_of")


def scores(profile: pl.LazyFrame, predictions: pl.LazyFrame) -> pl.LazyFrame:
    """Adds Clv, Churn and Segment."""
    for model, score in (("clv", "clv_amount"), ("churn", "churn_probability")):
        ends = ("low", "high") if model == "clv" else ()
        said = predictions.filter(pl.col("model") == model).select(
            "person_id",
            pl.col("score").alias(score),
            *(pl.col(end).alias(f"{model}_{end}") for end in ends),
            pl.col("reasons").alias(f"{model}_reasons"),
            pl.col("version").alias(f"{model}_model_version"),
            pl.col("scored_at").alias(f"{model}_until_at"),
        )
        profile = profile.join(said, on="person_id", how="left")
    return _segment(profile, predictions)


def _segment(profile: pl.LazyFrame, predictions: pl.LazyFrame) -> pl.LazyFrame:
    """The first reason of a segment is its persona."""
    said = predictions.filter(pl.col("model") == "segments").select(
        "person_id",
        segment_number=pl.col("score").cast(pl.Int64),
        segment_persona=pl.col("reasons").list.first().struct.field("feature"),
        segment_reasons=pl.col("reasons").list.slice(1),
        segment_model_version="version",
        segment_until_at="scored_at",
    )
    return profile.join(said, on="person_id", how="left")


def propensity(profile: pl.LazyFrame, category_scores: pl.LazyFrame) -> pl.LazyFrame:
    """Adds Propensity."""
    first = category_scores.filter(pl.col("model") == "propensity", pl.col("rank") == 1).select(
        "person_id",
        next_category="category",
        next_category_probability="score",
        next_category_lift="lift",
        propensity_model_version="version",
        propensity_until_at="scored_at",
    )
    return profile.join(first, on="person_id", how="left")
