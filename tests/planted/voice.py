"""Truths about what customers say: scores, aspects, brands, sudden falls."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.reputation import reputation_alerts
from customer360.pipelines.gold.voice import aspect_trends, brand_comparison, survey_scores
from customer360.pipelines.rules.voice import VoiceRules
from customer360.pipelines.silver.voice import Feedback, SurveyAnswers
from customer360.platform import tables

AS_OF, RULES = date(2026, 6, 1), VoiceRules()
PROMOTERS, DETRACTORS, SATISFIED, DROP, CHANGE = 0.5, 0.2, 0.8, 0.5, -0.3


def _frame(table: type[tables.Table], **columns: object) -> pl.LazyFrame:
    frame = pl.DataFrame(columns)
    missing = {c: t for c, t in tables.schema(table).items() if c not in frame.columns}
    return frame.lazy().with_columns(pl.lit(None, t).alias(c) for c, t in missing.items())


def _score(kind: str, answers: np.ndarray) -> planted.Found:
    said = _frame(SurveyAnswers, answer_id=[f"a{n}" for n in range(len(answers))], score=answers).with_columns(
        survey_type=pl.lit(kind), occurred_on=date(2026, 5, 3), source_system=pl.lit("S")
    )
    people = pl.LazyFrame(schema={"person_id": pl.String, "customer_segment": pl.String})
    found = survey_scores(said, _frame(Feedback).limit(0), people, AS_OF, RULES).filter(dimension="ALL").collect()
    return planted.Found(*found.select("score", "score_low", "score_high").row(0))


def _nps(seed: int) -> planted.Found:
    rng = np.random.default_rng(seed)
    draw = rng.random(120)
    return _score("NPS", np.where(draw < DETRACTORS, 3, np.where(draw > 1 - PROMOTERS, 9, 8)))


def _csat(seed: int) -> planted.Found:
    return _score("CSAT", np.where(np.random.default_rng(seed).random(80) < SATISFIED, 4, 2))


def _feedback(on: list[date], opinion: np.ndarray, **more: object) -> pl.LazyFrame:
    n = len(on)
    known = {"author": [f"u{k}" for k in range(n)], "brand": ["OWN"] * n, "channel": ["X"] * n, "kind": ["POST"] * n}
    return _frame(Feedback, occurred_on=on, opinion_score=opinion, **{**known, **more})


def _year(seed: int, drop: float) -> pl.DataFrame:
    """Alerts of a year of eight statements a day; from day 200 on sentiment lies lower for three weeks."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(365), rng.poisson(8, 365))
    mean = 0.3 - drop * ((day >= 200) & (day < 221))
    opinion = np.clip(mean + rng.normal(0, 0.5, len(day)), -1, 1)
    first = AS_OF - timedelta(days=365)
    rows = _feedback([first + timedelta(days=int(d)) for d in day], opinion)
    return reputation_alerts(rows, AS_OF, RULES).filter(channel="ALL").collect()


def _fall(seed: int) -> planted.Found:
    """The day of the fall lies in the days that the alert names, and it is over within five weeks of the fall."""
    found, first = _year(seed, DROP), AS_OF - timedelta(days=365)
    near = found.filter(pl.col("opened_on").is_between(first + timedelta(199), first + timedelta(221)))
    if near.is_empty() or near["status"][0] != "CLEARED" or (near["closed_on"][0] - first).days > 235:
        return planted.Found(0, 0, 0, planted=200)
    low, high = ((near[c][0] - first).days for c in ("began_after_on", "opened_on"))
    return planted.Found(high, low, high, planted=200)


def _quiet(seed: int) -> tuple[int, int]:
    return int(len(_year(seed, 0.0)) > 0), 1


def _aspects(seed: int, change: float) -> pl.DataFrame:
    """Five aspects in four months, 80 statements each; DELIVERY changes in the last month that is over."""
    rng = np.random.default_rng(seed)
    rows = [
        (date(2026, month, 5), name,
         np.clip(rng.normal(0.2 + change * (month == 5 and name == "DELIVERY"), 0.4), -1, 1))
        for month in (2, 3, 4, 5) for name in RULES.aspects for _ in range(80)
    ]  # fmt: skip
    aspects = [[{"aspect": name, "sentiment_score": float(score)}] for _, name, score in rows]
    made = _feedback([on for on, *_ in rows], np.zeros(len(rows)), aspects=aspects)
    return aspect_trends(made, AS_OF, RULES).filter(pl.col("month") == date(2026, 5, 1)).collect()


def _aspect(seed: int) -> planted.Found:
    row = _aspects(seed, CHANGE).filter(aspect="DELIVERY")
    return planted.Found(*row.select("change", "change_low", "change_high").row(0))


def _steady(seed: int) -> tuple[int, int]:
    return int(_aspects(seed, 0.0)["trend"].is_in(["BETTER", "WORSE"]).any()), 1


def _brands(seed: int, difference: float) -> pl.DataFrame:
    """Us and two others, of whom each author speaks one to three times."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(240), rng.integers(1, 4, 240))
    brand = np.array(["OWN", "ACME", "ZETA"])[who % 3]
    level = 0.2 + difference * (brand == "ACME") + rng.normal(0, 0.3, 240)[who]
    opinion = np.clip(level + rng.normal(0, 0.1, len(who)), -1, 1)
    rows = _feedback([date(2026, 5, 9)] * len(who), opinion, author=[f"u{w}" for w in who], brand=brand)
    return brand_comparison(rows, AS_OF, RULES).collect()


def _rival(seed: int) -> planted.Found:
    row = _brands(seed, -0.2).filter(brand="ACME")
    return planted.Found(*row.select("difference", "difference_low", "difference_high").row(0))


def _alike(seed: int) -> tuple[int, int]:
    return int(_brands(seed, 0.0)["verdict"].is_in(["BETTER", "WORSE"]).any()), 1


NPS = 100 * (PROMOTERS - DETRACTORS)
TRUTHS = [
    planted.Truth("gold.survey_scores", "NPS of a month", NPS, _nps, confidence=0.95),
    planted.Truth("gold.survey_scores", "CSAT of a month", 100 * SATISFIED, _csat, confidence=0.95),
    planted.Truth("gold.aspect_trends", "change of sentiment about an aspect", CHANGE, _aspect, null=_steady,
                  confidence=0.95),
    planted.Truth("gold.brand_comparison", "sentiment of a competitor against ours", -0.2, _rival, null=_alike,
                  confidence=0.95),
    planted.Truth("gold.reputation_alerts", "day on which sentiment fell for three weeks", 200, _fall, null=_quiet,
                  confidence=0.95),
]  # fmt: skip
