"""The group voice of a profile: of what a person said, what is about the own shop."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from customer360.pipelines.gold.customers.voice import voice
from customer360.pipelines.silver.voice import Feedback, SurveyAnswers
from customer360.platform import tables

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_what_is_said_of_others_is_no_complaint_about_the_shop() -> None:
    said = [
        {"person_id": "P", "statement_id": n, "occurred_at": AT, "occurred_on": AT.date(), "is_own": is_own,
         "category": category, "opinion_score": score, "kind": "POST"}
        for n, is_own, category, score in [("1", True, "PRAISE", 0.5), ("2", False, "COMPLAINT", -1.0)]
    ]  # fmt: skip
    feedback = pl.LazyFrame(said, schema=tables.schema(Feedback))
    answers = pl.LazyFrame(schema=tables.schema(SurveyAnswers))
    (row,) = voice(pl.LazyFrame({"person_id": ["P"]}), feedback, answers, date(2026, 6, 1)).collect().to_dicts()
    assert (row["statement_count_365d"], row["complaint_count_365d"], row["feedback_sentiment"]) == (1, 0, 0.5)
