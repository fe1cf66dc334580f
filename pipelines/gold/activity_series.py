"""Daily visits as series: trend, weekdays and seasons, days out of the ordinary, the next week.

A series is a segment over all channels, a channel over all segments, or both over all; the months of which no segments
are kept make none: it would end where the history begins, not because people stay away. A day on which nobody at all
came is no zero but a silent tracker: it is no part of a fit and of no row, and sources that fall silent are told by
`customer360 status`.

Trend and season: a log-linear (quasi-Poisson) regression on time, weekdays and, with enough history, two harmonics of
the year; intervals by Newey and West's (1987) covariance of jackknife residuals with a lag of `LAG_DAYS`, and Student's
t with the kernel's equivalent degrees of freedom (Lazarus et al. 2018). Unusual days and the next week: the median of
the same weekday of eight weeks before, and the errors that it made (split conformal prediction, Vovk et al. 2005): no
distribution is assumed, only that days without an event err alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy.special import stdtrit

from customer360.pipelines.inference.comparisons import t_p_value
from customer360.pipelines.inference.intervals import adjusted
from customer360.pipelines.inference.verdicts import MEASURED, NOT_ENOUGH_EVIDENCE, NOT_ENOUGH_HISTORY
from customer360.pipelines.rules import ActivityRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table

ALL, BEFORE_HISTORY = "ALL", "BEFORE_HISTORY"  # as gold.activity_periods names them
LAG_DAYS, HARMONICS, YEAR = 7, 2, 365.25
WEEKS_BEFORE = 8  # whose median is expected
LOOK_BACK_DAYS, TOLD_DAYS, NEXT_DAYS = 365, 90, 7  # of errors compared with; of unusual days told; of a forecast
STATUSES = (MEASURED, NOT_ENOUGH_HISTORY, NOT_ENOUGH_EVIDENCE)
SERIES = ("grain", "period_on", "segment", "channel_type", "session_count")


@dataclass(frozen=True)
class Series:
    """Visits a day without gaps: days Date [n], counts Float64 [n], nan where nobody at all came."""

    segment: str
    channel: str
    days: np.ndarray
    counts: np.ndarray

    def status(self, rules: ActivityRules) -> str:
        """Whether anything can be said."""
        if np.isfinite(self.counts).sum() < rules.least_days:
            return NOT_ENOUGH_HISTORY
        return MEASURED if np.nanmean(self.counts) >= rules.least_visits else NOT_ENOUGH_EVIDENCE

    @property
    def weekdays(self) -> np.ndarray:
        """0 is Monday: Int64 [n]."""
        found: np.ndarray = (self.days.astype("datetime64[D]").astype(np.int64) + 3) % 7
        return found


def series(periods: pl.LazyFrame, as_of: date, rules: ActivityRules) -> Iterator[Series]:
    """Every series of the window, from its first visit to the day before ``as_of``."""
    since = as_of - timedelta(days=rules.window_days)
    days = periods.filter(
        pl.col("grain") == "DAY",
        pl.col("segment") != BEFORE_HISTORY,
        (pl.col("segment") == ALL) | (pl.col("channel_type") == ALL),
        pl.col("period_on").is_between(since, as_of, closed="left"),
    ).select(SERIES[1:]).collect()  # fmt: skip
    came = set(days["period_on"])
    for (segment, channel), rows in sorted(days.partition_by("segment", "channel_type", as_dict=True).items()):
        span = pl.date_range(rows["period_on"].sort()[0], as_of, closed="left", eager=True).alias("period_on")
        whole = span.to_frame().join(rows, on="period_on", how="left", maintain_order="left")
        counts = whole["session_count"].fill_null(0).cast(pl.Float64).to_numpy().copy()
        counts[~span.is_in(list(came)).to_numpy()] = np.nan
        yield Series(str(segment), str(channel), span.to_numpy(), counts)


@dataclass(frozen=True)
class Fit:
    """A log-linear regression: coefficients [k], their covariance [k, k], freedom; whether the year is in it."""

    coefficients: np.ndarray
    covariance: np.ndarray
    freedom: int
    has_year: bool

    def of(self, contrast: np.ndarray, significance: float) -> tuple[float, float, float]:
        """A linear combination with its interval."""
        value = float(contrast @ self.coefficients)
        error = float(np.sqrt(max(contrast @ self.covariance @ contrast, 0.0)))
        reach = float(stdtrit(self.freedom, 1 - significance / 2)) * error
        return value, value - reach, value + reach

    def p_value(self, contrast: np.ndarray) -> float:
        """Of a linear combination that is 0."""
        error = np.sqrt(max(contrast @ self.covariance @ contrast, 0.0))
        return float(
            t_p_value(np.array([contrast @ self.coefficients]), np.array([error]), np.array([self.freedom]))[0]
        )


def _design(days: np.ndarray, origin: np.datetime64, has_year: bool) -> np.ndarray:
    """Columns: 1, years since the origin, six weekdays against their mean, harmonics of the year: Float64 [n, k]."""
    number = days.astype("datetime64[D]").astype(np.int64)
    time = (number - origin.astype("datetime64[D]").astype(np.int64)) / YEAR
    weekday = np.vstack([np.eye(6), -np.ones(6)])[(number + 3) % 7]
    angle = 2 * np.pi * number[:, None] / YEAR * np.arange(1, HARMONICS + 1)
    year = np.hstack([np.sin(angle), np.cos(angle)]) if has_year else np.empty((len(days), 0))
    return np.hstack([np.ones((len(days), 1)), time[:, None], weekday, year])


def fitted(one: Series, rules: ActivityRules) -> Fit:
    """The regression of a series of which something can be said."""
    known = np.isfinite(one.counts)
    days, counts = one.days[known], one.counts[known]
    has_year = len(one.days) >= rules.season_days
    x = _design(days, one.days[0], has_year)
    beta = np.zeros(x.shape[1])
    beta[0] = np.log(max(counts.mean(), 1e-9))
    for _ in range(50):  # Fisher scoring
        mean = np.exp(np.clip(x @ beta, -30, 30))
        step = np.linalg.lstsq(x.T @ (mean[:, None] * x), x.T @ (counts - mean), rcond=None)[0]
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    mean = np.exp(np.clip(x @ beta, -30, 30))
    bread = np.linalg.pinv(x.T @ (mean[:, None] * x))
    weighted = np.sqrt(mean)[:, None] * x
    leverage = np.clip(np.einsum("ij,jk,ik->i", weighted, bread, weighted), 0, 0.99)
    scores = x * ((counts - mean) / (1 - leverage))[:, None]  # as in a jackknife: fitted residuals are too small
    meat = scores.T @ scores
    for lag in range(1, LAG_DAYS + 1):
        part = scores[lag:].T @ scores[:-lag]
        meat += (1 - lag / (LAG_DAYS + 1)) * (part + part.T)
    freedom = round(1.5 * len(counts) / (LAG_DAYS + 1))  # of a Bartlett kernel, in place of the number of days
    return Fit(beta, bread @ meat @ bread, freedom, has_year)


class ActivityTrends(Table, table="gold.activity_trends", partition_by=("as_of",), sort_by=("segment", "channel_type")):
    """One row per series of daily visits and as_of date: how it grows, weekdays and, where told, the year taken out."""

    segment = String(primary_key=True, description="RFM segment of the visitors; ALL: everybody")
    channel_type = String(primary_key=True, description="Of the visits; ALL: every one")
    as_of = Date(primary_key=True)
    status = OneOf(
        *STATUSES,
        description="NOT_ENOUGH_HISTORY: fewer days than activity.least_days of the rule file; NOT_ENOUGH_EVIDENCE:"
        " fewer visits a day than least_visits",
    )
    day_count = Integer(description="Days that are looked at")
    visits_per_day = Float(description="Mean of day_count days")
    change_30d = Float(nullable=True, description="Growth in 30 days, as a share; null unless the status is MEASURED")
    change_30d_low = Float(nullable=True, description="Interval at the rule file's activity.significance")
    change_30d_high = Float(nullable=True)
    q_value = Float(nullable=True, description="Chance of so much without a trend, adjusted for all series")
    is_trending = Boolean(nullable=True, description="q_value is at most activity.significance")
    is_season_removed = Boolean(description="False: the history is too short to tell a trend from a season of the year")


@builds(ActivityTrends, rules="enrichment", reads={"gold.activity_periods": SERIES})
def activity_trends(gold_activity_periods: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Every series gets a row; what cannot be said is said to be so."""
    rows = []
    for one in series(gold_activity_periods, as_of, params.activity):
        status = one.status(params.activity)
        row = {"segment": one.segment, "channel_type": one.channel, "as_of": as_of, "status": status,
               "day_count": int(np.isfinite(one.counts).sum()), "visits_per_day": _mean(one.counts),
               "is_season_removed": False}  # fmt: skip
        if status == MEASURED:
            fit = fitted(one, params.activity)
            slope = np.zeros(len(fit.coefficients))
            slope[1] = 30 / YEAR
            value, low, high = (
                float(np.expm1(np.clip(v, -30, 30))) for v in fit.of(slope, params.activity.significance)
            )
            row |= {"change_30d": value, "change_30d_low": low, "change_30d_high": high,
                    "p": fit.p_value(slope), "is_season_removed": fit.has_year}  # fmt: skip
        rows.append(row)
    return _frame(ActivityTrends, _claimed(rows, "is_trending", params.activity))


def _claimed(rows: list[dict[str, object]], name: str, rules: ActivityRules) -> list[dict[str, object]]:
    """Rows, those with a p-value ``p`` with it adjusted for all of them (Benjamini-Hochberg), and what that shows."""
    tested = [row for row in rows if "p" in row]
    q_values = adjusted(np.array([row["p"] for row in tested], dtype=np.float64), len(tested))
    for row, q_value in zip(tested, q_values.tolist(), strict=True):
        row |= {"q_value": q_value, name: q_value <= rules.significance}
    return rows


class ActivitySeasons(
    Table,
    table="gold.activity_seasons",
    partition_by=("as_of",),
    sort_by=("segment", "channel_type", "cycle", "position"),
):
    """One row per series, as_of date and weekday, and month where the history tells the year: how much busier it is.

    A weekday on which nobody at all ever comes (closed on Sundays) has no row.
    """

    segment = String(primary_key=True, description="RFM segment of the visitors; ALL: everybody")
    channel_type = String(primary_key=True, description="Of the visits; ALL: every one")
    as_of = Date(primary_key=True)
    cycle = OneOf("WEEKDAY", "MONTH", primary_key=True, description="What the position is of: the week or the year")
    position = Integer(primary_key=True, description="1 is Sunday, 7 is Saturday; months 1 to 12")
    factor = Float(description="Times the geometric mean of the cycle")
    factor_low = Float(description="Interval at the rule file's activity.significance")
    factor_high = Float()
    q_value = Float(description="Chance of so much in an even cycle, adjusted for all rows")
    is_different = Boolean(description="q_value is at most activity.significance")


@builds(ActivitySeasons, rules="enrichment", reads={"gold.activity_periods": SERIES})
def activity_seasons(gold_activity_periods: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Series without enough history or visits have no row; their status is in gold.activity_trends."""
    rows = []
    for one in series(gold_activity_periods, as_of, params.activity):
        if one.status(params.activity) != MEASURED:
            continue
        fit = fitted(one, params.activity)
        for cycle, position, contrast in _positions(fit, np.unique(one.weekdays[np.isfinite(one.counts)])):
            value, low, high = (
                float(np.exp(np.clip(v, -30, 30))) for v in fit.of(contrast, params.activity.significance)
            )
            rows.append(
                {"segment": one.segment, "channel_type": one.channel, "as_of": as_of, "cycle": cycle,
                 "position": position, "factor": value, "factor_low": low, "factor_high": high,
                 "p": fit.p_value(contrast)}
            )  # fmt: skip
    return _frame(ActivitySeasons, _claimed(rows, "is_different", params.activity))


def _positions(fit: Fit, weekdays: np.ndarray) -> Iterator[tuple[str, int, np.ndarray]]:
    """Contrasts of the weekdays that occur (0 is Monday), against their mean, and of months."""
    monday = np.datetime64("2026-01-05")
    week = _design(monday + np.arange(7), monday, fit.has_year)
    for number in weekdays.tolist():
        contrast = np.zeros(len(fit.coefficients))
        contrast[2:8] = week[number, 2:8] - week[weekdays, 2:8].mean(axis=0)
        yield "WEEKDAY", (number + 1) % 7 + 1, contrast
    if fit.has_year:
        year = np.datetime64("2025-01-01") + np.arange(365)
        harmonics = _design(year, year[0], fit.has_year)[:, 8:]
        months = year.astype("datetime64[M]").astype(np.int64) % 12
        for number in range(12):
            contrast = np.zeros(len(fit.coefficients))
            contrast[8:] = harmonics[months == number].mean(axis=0)
            yield "MONTH", number + 1, contrast


@dataclass(frozen=True)
class Errors:
    """What the same weekdays before let expect: expected [n + NEXT_DAYS], errors [n] in units of the root of expected
    plus one; nan where too little lies before or nobody came."""

    expected: np.ndarray
    errors: np.ndarray


def errors(one: Series) -> Errors:
    """The days of a series against the median of the same weekday of the eight weeks before, and the next days."""
    count = len(one.counts)
    padded = np.concatenate([np.full(7 * WEEKS_BEFORE, np.nan), one.counts, np.full(NEXT_DAYS, np.nan)])
    before = np.stack([padded[7 * (WEEKS_BEFORE - w) : 7 * (WEEKS_BEFORE - w) + count + NEXT_DAYS]
                       for w in range(1, WEEKS_BEFORE + 1)])  # fmt: skip
    enough = np.isfinite(before).sum(axis=0) >= WEEKS_BEFORE // 2
    expected = np.full(count + NEXT_DAYS, np.nan)
    expected[enough] = np.nanmedian(before[:, enough], axis=0)
    return Errors(expected, (one.counts - expected[:count]) / np.sqrt(expected[:count] + 1))


class ActivityAnomalies(
    Table, table="gold.activity_anomalies", partition_by=("as_of",), sort_by=("day_on", "segment", "channel_type")
):
    """One row per series and day of the 90 before as_of of which enough is known: whether it was out of the ordinary.

    Of days without an event, at most the rule file's ``activity.false_alarm_rate`` are called unusual, in each series.
    """

    segment = String(primary_key=True, description="RFM segment of the visitors; ALL: everybody")
    channel_type = String(primary_key=True, description="Of the visits; ALL: every one")
    as_of = Date(primary_key=True)
    day_on = Date(primary_key=True, description="The day that is judged")
    session_count = Integer(description="Visits of the day")
    expected_count = Float(description="Median of the same weekday of the eight weeks before")
    compared_count = Integer(description="Days before, at most 365, with whose errors this day's is compared")
    p_value = Float(min=0, max=1, description="Share of these and of itself that err as much or more")
    is_unusual = Boolean(description="p_value is at most activity.false_alarm_rate")
    direction = OneOf("MORE", "FEWER", nullable=True, description="Of an unusual day")


@builds(ActivityAnomalies, rules="enrichment", reads={"gold.activity_periods": SERIES})
def activity_anomalies(gold_activity_periods: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Each day against the errors of the days before it alone."""
    rules, rows = params.activity, []
    for one in series(gold_activity_periods, as_of, rules):
        if one.status(rules) != MEASURED:
            continue
        found = errors(one)
        size = np.abs(found.errors)
        for day in range(max(len(size) - TOLD_DAYS, 0), len(size)):
            past = size[max(day - LOOK_BACK_DAYS, 0) : day]
            past = past[np.isfinite(past)]
            if not np.isfinite(size[day]) or len(past) < rules.alarm_history_days:
                continue
            p = (1 + int((past >= size[day] - 1e-12).sum())) / (len(past) + 1)
            is_unusual = p <= rules.false_alarm_rate
            rows.append(
                {"segment": one.segment, "channel_type": one.channel, "as_of": as_of, "day_on": one.days[day].item(),
                 "session_count": int(one.counts[day]), "expected_count": float(found.expected[day]),
                 "compared_count": len(past), "p_value": p, "is_unusual": is_unusual,
                 "direction": ("MORE" if found.errors[day] > 0 else "FEWER") if is_unusual else None}
            )  # fmt: skip
    return _frame(ActivityAnomalies, rows)


class ActivityForecasts(
    Table, table="gold.activity_forecasts", partition_by=("as_of",), sort_by=("day_on", "segment", "channel_type")
):
    """One row per series and day of the seven from as_of on: how many visits to expect."""

    segment = String(primary_key=True, description="RFM segment of the visitors; ALL: everybody")
    channel_type = String(primary_key=True, description="Of the visits; ALL: every one")
    as_of = Date(primary_key=True)
    day_on = Date(primary_key=True, description="The day to come")
    expected_count = Float(description="Median of the same weekday of the eight weeks before")
    low = Float(
        min=0, description="Interval at the rule file's activity.forecast_confidence, by the errors of the past"
    )
    high = Float(min=0, description="Upper end")
    compared_count = Integer(description="Days whose errors the interval is made of")


@builds(ActivityForecasts, rules="enrichment", reads={"gold.activity_periods": SERIES})
def activity_forecasts(gold_activity_periods: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """The errors of the last year were made a week ahead or less, as those of these days will be."""
    rules, rows = params.activity, []
    for one in series(gold_activity_periods, as_of, rules):
        found = errors(one)
        past = np.sort(found.errors[-LOOK_BACK_DAYS:][np.isfinite(found.errors[-LOOK_BACK_DAYS:])])
        if one.status(rules) != MEASURED or len(past) < rules.alarm_history_days:
            continue
        tail = (1 - rules.forecast_confidence) / 2
        ends = (
            past[max(int(np.floor(tail * (len(past) + 1))) - 1, 0)],
            past[min(int(np.ceil((1 - tail) * (len(past) + 1))) - 1, len(past) - 1)],
        )
        for ahead, expected in enumerate(found.expected[len(one.counts) :]):
            if np.isfinite(expected):
                low, high = (max(float(expected + end * np.sqrt(expected + 1)), 0.0) for end in ends)
                rows.append(
                    {"segment": one.segment, "channel_type": one.channel, "as_of": as_of,
                     "day_on": as_of + timedelta(days=ahead), "expected_count": float(expected), "low": low,
                     "high": high, "compared_count": len(past)}
                )  # fmt: skip
    return _frame(ActivityForecasts, rows)


def _mean(counts: np.ndarray) -> float:
    return float(np.nanmean(counts)) if np.isfinite(counts).any() else 0.0


def _frame(table: type[Table], rows: list[dict[str, object]]) -> pl.LazyFrame:
    schema = {name: column.dtype for name, column in table.columns().items()}
    return pl.LazyFrame([{c: row.get(c) for c in schema} for row in rows], schema=schema)
