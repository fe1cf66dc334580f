"""What a person said of the shop."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.inference import sums
from customer360.platform.tables import Date, Float, Integer, String, Table, Timestamp

WINDOW_DAYS = 365


class Voice(Table, serves="PROFILING"):
    """Reviews, posts and answers of the person itself about the own shop."""

    last_nps = Integer(nullable=True, description="0 to 10, of the latest answer")
    last_nps_on = Date(nullable=True, description="Day of the answer that last_nps is of")
    statement_count_365d = Integer(nullable=True, description="Reviews, posts and answers of the last year that count")
    complaint_count_365d = Integer(nullable=True, description="Of statement_count_365d, complaints")
    feedback_sentiment = Float(nullable=True, description="Mean opinion of the last year, -1 to 1")
    latest_feedback_category = String(nullable=True, description="COMPLAINT, PRAISE, QUESTION, SUGGESTION, …")
    voice_until_at = Timestamp(nullable=True, description="Latest statement")


def voice(profile: pl.LazyFrame, feedback: pl.LazyFrame, answers: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Adds Voice from silver.feedback and silver.survey_answers before ``as_of``."""
    known = pl.col("person_id").is_not_null() & (pl.col("occurred_on") < as_of)
    recent = pl.col("occurred_on") >= as_of - timedelta(days=WINDOW_DAYS)
    said = (
        feedback.filter(known, pl.col("set_apart").is_null(), "is_own")
        .sort("occurred_at", "kind", "statement_id")
        .group_by("person_id", maintain_order=True)
        .agg(
            statement_count_365d=recent.sum().cast(pl.Int64),
            complaint_count_365d=(recent & (pl.col("category") == "COMPLAINT")).sum().cast(pl.Int64),
            feedback_sentiment=sums.mean(pl.col("opinion_score").filter(recent)).round(6) + 0.0,
            latest_feedback_category=pl.col("category").last(),
            voice_until_at=pl.col("occurred_at").max(),
        )
    )
    promoted = (
        answers.filter(known, pl.col("survey_type") == "NPS", pl.col("score").is_not_null())
        .sort("occurred_at", "answer_id")
        .group_by("person_id", maintain_order=True)
        .agg(last_nps=pl.col("score").last(), last_nps_on=pl.col("occurred_on").last())
    )
    counts = ("statement_count_365d", "complaint_count_365d")
    joined = profile.join(said, on="person_id", how="left").join(promoted, on="person_id", how="left")
    return joined.with_columns(pl.col(counts).fill_null(0))
