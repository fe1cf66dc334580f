"""Sudden falls of how the own brand is spoken of: each is told once, and is over when it was made up or has become
usual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy.special import stdtr

from customer360.pipelines.inference import sums
from customer360.pipelines.rules.voice import ReputationRules, VoiceRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table, schema

ALL = "ALL"
YEAR = 365


class ReputationAlerts(
    Table, table="gold.reputation_alerts", partition_by=("as_of",), sort_by=("opened_on", "channel")
):
    """One row per fall of mean sentiment in a channel, and as_of date.

    Each day its last recent_days are compared with the baseline_days before them (Welch's test on authors' daily means,
    one-sided, at level / 365, so that a year in which nothing happens has a false alert with the chance `level` at
    most; rule file `voice`). While an alert is open no other opens in its channel.
    """

    as_of = Date(primary_key=True)
    channel = String(primary_key=True, description=f"{ALL}: every channel together")
    opened_on = Date(primary_key=True, description="First day at whose end the fall was there")
    began_after_on = Date(description="The fall lies between this day and opened_on")
    closed_on = Date(nullable=True, description="Null: open")
    status = OneOf(
        "OPEN", "CLEARED", "NEW_LEVEL",
        description="CLEARED: the rule file's share of the fall was made up; NEW_LEVEL: it lasted until the baseline"
        " held nothing else",
    )  # fmt: skip
    baseline_sentiment = Float(description="Mean of the days before, when it opened")
    recent_sentiment = Float(description="Mean of the last days, when it opened")
    lowest_sentiment = Float(description="Lowest mean of the last days while it was open")
    sentiment_drop = Float(
        description="Baseline less recent, when it opened; chosen for being large, so rather too large"
    )
    baseline_count = Integer(description="Authors' days")
    recent_count = Integer(description="Authors' days of the last days, when it opened")
    p_value = Float(description="Of the day, one-sided, not adjusted")


@builds(
    ReputationAlerts,
    rules="voice",
    reads={"silver.feedback": ("subject_id", "author", "occurred_on", "brand", "channel", "opinion_score",
                               "set_apart")},
)  # fmt: skip
def reputation_alerts(silver_feedback: pl.LazyFrame, as_of: date, params: VoiceRules) -> pl.LazyFrame:
    """Statements on the own brand before ``as_of`` that count and have an opinion."""
    known = silver_feedback.filter(
        pl.col("set_apart").is_null(),
        pl.col("opinion_score").is_not_null(),
        pl.col("occurred_on") < as_of,
        pl.col("brand") == params.own_brand,
    )
    own = known.with_columns(who=pl.coalesce("author", "subject_id"), channel=pl.col("channel").fill_null("UNKNOWN"))
    series = pl.concat([own, own.with_columns(channel=pl.lit(ALL))])
    days = (
        series.group_by("channel", "occurred_on", "who")
        .agg(sums.mean(pl.col("opinion_score")))
        .group_by("channel", "occurred_on")
        .agg(n=pl.len(), total=sums.total(pl.col("opinion_score")), squares=sums.total(pl.col("opinion_score") ** 2))
        .sort("channel", "occurred_on")
        .collect()
    )
    rows = [
        {"channel": channel, "as_of": as_of, **fall}
        for (channel,), part in days.partition_by("channel", as_dict=True, maintain_order=True).items()
        for fall in _falls(part, params.reputation, as_of)
    ]
    return pl.LazyFrame(rows, schema=schema(ReputationAlerts))


@dataclass(frozen=True)
class _Windows:
    """Sums of the last days and of the baseline at the end of each day: Float64 [days]."""

    first: date
    n: np.ndarray
    mean: np.ndarray
    base_n: np.ndarray
    base_mean: np.ndarray
    p_value: np.ndarray


def _windows(days: pl.DataFrame, rules: ReputationRules, as_of: date) -> _Windows:
    first = days["occurred_on"].min()
    assert isinstance(first, date)
    place = (days["occurred_on"] - first).dt.total_days().to_numpy()
    length = (as_of - first).days
    sums = np.zeros((3, length + 1))
    for row, column in enumerate(("n", "total", "squares")):
        sums[row, place + 1] = days[column].to_numpy()
    sums = sums.cumsum(axis=1)
    end = np.arange(1, length + 1)
    middle = np.maximum(end - rules.recent_days, 0)
    begin = np.maximum(middle - rules.baseline_days, 0)
    recent, base = sums[:, end] - sums[:, middle], sums[:, middle] - sums[:, begin]
    (mean, error), (base_mean, base_error) = _mean_and_error(recent), _mean_and_error(base)
    both = error + base_error
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = both**2 / (error**2 / (recent[0] - 1) + base_error**2 / (base[0] - 1))
        ratio = (mean - base_mean) / np.sqrt(both)
    p = stdtr(np.where(np.isfinite(freedom), freedom, 1.0), np.where(np.isfinite(ratio), ratio, 0.0))
    enough = (recent[0] >= rules.least_statements) & (base[0] >= rules.least_statements)
    whole = end >= rules.recent_days + rules.baseline_days
    return _Windows(first, recent[0], mean, base[0], base_mean, np.where(enough & whole, p, 1.0))


def _mean_and_error(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, total, squares = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / n
        return mean, np.maximum(squares - n * mean**2, 0) / (n - 1) / n


def _falls(days: pl.DataFrame, rules: ReputationRules, as_of: date) -> Iterator[dict[str, object]]:
    """The alerts of one channel, in order."""
    seen = _windows(days, rules, as_of)
    fell = (seen.p_value < rules.level / YEAR) & (seen.base_mean - seen.mean >= rules.least_drop)
    place = 0
    while place < len(fell):
        if not fell[place]:
            place += 1
            continue
        end, status, lowest = _end_of(seen, place, rules)
        opened = seen.first + timedelta(days=place)
        yield {
            "opened_on": opened,
            "began_after_on": opened - timedelta(days=rules.recent_days),
            "closed_on": None if status == "OPEN" else seen.first + timedelta(days=end),
            "status": status,
            "baseline_sentiment": float(seen.base_mean[place]),
            "recent_sentiment": float(seen.mean[place]),
            "lowest_sentiment": lowest,
            "sentiment_drop": float(seen.base_mean[place] - seen.mean[place]),
            "baseline_count": int(seen.base_n[place]),
            "recent_count": int(seen.n[place]),
            "p_value": float(seen.p_value[place]),
        }
        place = end + 1


def _end_of(seen: _Windows, opened: int, rules: ReputationRules) -> tuple[int, str, float]:
    """(day number, status, lowest mean) of an alert that opened on a day number."""
    before, lowest = seen.base_mean[opened], seen.mean[opened]
    for place in range(opened + 1, len(seen.mean)):
        if seen.n[place] < rules.least_statements:
            continue  # a quiet week says nothing of a recovery
        if seen.mean[place] >= lowest + rules.cleared_share * (before - lowest):
            return place, "CLEARED", float(lowest)
        lowest = min(lowest, seen.mean[place])
        if place - opened >= rules.baseline_days:
            return place, "NEW_LEVEL", float(lowest)
    return len(seen.mean), "OPEN", float(lowest)
