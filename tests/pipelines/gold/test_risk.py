"""The risk of an account: what it still says when somebody refuses to be profiled."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.gold.customers.risk import PROFILED, Risk, unprofiled
from customer360.pipelines.rules import RiskRules

RULES = RiskRules(medium_from=0.2, high_from=0.5)


def rows(*signs: dict[str, float]) -> pl.DataFrame:
    told = [[{"feature": f, "value": 1.0, "contribution": points} for f, points in each.items()] for each in signs]
    dtype = Risk.columns()["risk_reasons"].dtype
    return pl.DataFrame({"risk_reasons": pl.Series(told, dtype=dtype), "risk_score": 0.9, "risk_level": "HIGH"})


def test_what_judges_a_person_goes_and_points_and_level_follow() -> None:
    part = unprofiled(RULES)
    found = rows(
        {"payment_alert": 0.5, "churn_probability": 0.1},
        {"return_rate": 0.3, "sentiment_score": 0.1, "churn_probability": 0.1},
        {"sentiment_score": 0.1, "churn_probability": 0.1},
        {"return_rate": 0.3},
        {},
    )
    assert part.purpose == "PROFILING"
    assert found.select(holds=part.holds)["holds"].to_list() == [True, True, True, False, False]
    left = found.with_columns(**part.without)
    assert left["risk_score"].to_list() == [0.5, 0.3, 0.0, 0.3, 0.0]
    assert left["risk_level"].to_list() == ["HIGH", "MEDIUM", "LOW", "MEDIUM", "LOW"]
    told = {reason["feature"] for row in left["risk_reasons"] for reason in row}
    assert told == {"payment_alert", "return_rate"} and not told & set(PROFILED)
