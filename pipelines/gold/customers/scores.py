"""What the champions of the models expect of a person."""

from __future__ import annotations

import polars as pl

from customer360.platform.tables import Float, List, String, Struct, Table, Timestamp


def _reasons() -> List:
    return List(Struct({"feature": String(), "value": Float(nullable=True), "contribution": Float()}), nullable=True)


class Clv(Table):
    """Expected value, where a champion has scored."""

    clv_amount = Float(nullable=True, description="Expected revenue of the model's horizon, in the lake's currency")
    clv_low = Float(
        nullable=True, description="80 % of outcomes lie between clv_low and clv_high; null where a model states none"
    )
    clv_high = Float(nullable=True)
    clv_reasons = _reasons()
    clv_model_version = String(nullable=True)
    clv_until_at = Timestamp(nullable=True, description="When it was scored, from the days before as_of")


class Churn(Table):
    """Probability to leave, where a champion has scored."""

    churn_probability = Float(nullable=True)
    churn_reasons = _reasons()
    churn_model_version = String(nullable=True)
    churn_until_at = Timestamp(nullable=True, description="When it was scored, from the days before as_of")


def scores(profile: pl.LazyFrame, predictions: pl.LazyFrame) -> pl.LazyFrame:
    """Adds Clv and Churn."""
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
    return profile
