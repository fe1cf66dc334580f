"""The season as a clock: time on which customers buy at a steady pace.

In a shop that sells twice as much in November, a November day is two days long. Purchase histories and the window ahead
are measured in season days, so that a silence in August says less than one in November and the window before Christmas
counts for more than the one after it. Last year's paces stand for the year ahead. A log of less than a year, or one
whose customers follow the calendar better (a single cohort, say), keeps calendar days.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.models.purchasing import btyd

MONTHS = 12
MONTH_DAYS = 365.25 / MONTHS
YEAR_DAYS = 365
PRIOR_PURCHASES = 30.0  # a month's count moves towards the mean by so many: a quiet month of a small shop is no season
PACE_BOUNDS = (0.25, 4.0)
GROWTH_BOUNDS = (0.5, 2.0)  # of a year; a log that grew or shrank more has no season to be read from it
MIN_OVERLAP_DAYS, MAX_OVERLAP_DAYS = 60, 180  # of one year with the next, to see growth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Clock:
    """Season time around the date `at`. `pace`: season days of a calendar day in each month back from `at`, the newest
    first, mean 1 over the last year; empty: season time is calendar time.
    """

    at: date
    pace: tuple[float, ...] = ()

    @property
    def is_seasonal(self) -> bool:
        return bool(self.pace)

    def position(self, offset: Any) -> Array:
        """Season days from `at` to a moment `offset` calendar days after it, both negative before; before the first
        month the pace is 1.
        """
        days = np.asarray(offset, dtype=np.float64)
        if not self.pace:
            return days
        year = self.pace[MONTHS - 1 :: -1]  # the month ahead that lies a year after month 11 comes first
        years = max(1, int(np.ceil(float(days.max(initial=0.0)) / (MONTHS * MONTH_DAYS))))
        ahead = np.concatenate([[0.0], np.cumsum(np.tile(year, years)) * MONTH_DAYS])
        back = np.concatenate([[0.0], np.cumsum(self.pace) * MONTH_DAYS])
        months_ahead, months_back = np.arange(len(ahead)) * MONTH_DAYS, np.arange(len(back)) * MONTH_DAYS
        older = np.maximum(-days - months_back[-1], 0.0)
        return np.where(days >= 0, np.interp(days, months_ahead, ahead), -np.interp(-days, months_back, back) - older)

    def between(self, start: date, days: Any) -> Array:
        """Season days of `days` calendar days from `start` on; negative `days` look back."""
        offset = (start - self.at).days
        return self.position(offset + np.asarray(days, dtype=np.float64)) - self.position(offset)

    def as_dict(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "pace": list(self.pace)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Clock":
        return cls(date.fromisoformat(values["at"]), tuple(values["pace"]))


@dataclass(frozen=True)
class Totals:
    """What a population does in a window: its share of buyers and its purchases. Not its revenue: in a small shop that
    is one order's.
    """

    buyer_share: float
    purchases: float


def fit(days: pl.LazyFrame, at: date) -> Clock:
    """The clock of all purchases before `at`, or calendar time where BG/NBD explains the very same purchases better."""
    bought = _purchases(days, at)
    seasonal = Clock(at, _paces(bought, at))
    if not seasonal.pace:
        return seasonal
    calendar = Clock(at)
    return max(calendar, seasonal, key=lambda clock: _log_likelihood(bought, clock))


def last_year(days: pl.LazyFrame, at: date, horizon_days: int, active_within_days: int) -> Totals | None:
    """What the population at `at` will do if last year's window comes again: all purchases of it, times the
    growth since, times the share that the population had in the newest known window. None where the data do not reach
    back.
    """
    bought, year, ahead = _purchases(days, at), timedelta(days=YEAR_DAYS), timedelta(days=horizon_days)
    first = bought["on"].min()
    if first is None or first > at - year or first > at - ahead:  # type: ignore[operator]
        return None
    same = _window(bought, at - year, at - year + ahead)
    newest, known = _window(bought, at - ahead, at), _population(bought, at - ahead, active_within_days)
    regulars = newest.join(known, on="person_id", how="semi")
    population = _population(bought, at, active_within_days)
    if not (same.height and newest.height and regulars.height and population.height):
        return None
    growth = _growth(bought, at)
    buyers = growth * same.height * regulars.height / newest.height
    purchases = growth * _count(same) * _count(regulars) / _count(newest)
    return Totals(min(buyers / population.height, 1.0), purchases)


def _purchases(days: pl.LazyFrame, at: date) -> pl.DataFrame:
    """`person_id`, `on`: one row per person and day with a purchase before `at`."""
    known = pl.col("person_id").is_not_null() & (pl.col("order_count") > 0) & (pl.col("on") < at)
    return days.filter(known).select("person_id", "on").collect().sort("person_id", "on")


def _paces(bought: pl.DataFrame, at: date) -> tuple[float, ...]:
    """Purchases of each month back from `at` over those of a mean month, growth taken out; empty below a year."""
    ago = bought.select((pl.lit(at) - pl.col("on")).dt.total_days()).to_series().to_numpy()
    months = float(ago.max(initial=0)) / MONTH_DAYS
    if months < MONTHS - 0.5:
        return ()
    count = np.bincount(((ago - 0.5) / MONTH_DAYS).astype(int)).astype(np.float64)
    part = months - (len(count) - 1)
    if part > 0.5:
        count[-1] /= part  # the oldest month is not whole
    else:
        count = count[:-1]
    growth = _growth(bought, at) ** (np.arange(len(count)) / MONTHS)
    level = count[:MONTHS] * growth[:MONTHS]
    pace = np.clip((count * growth + PRIOR_PURCHASES) / (level.mean() + PRIOR_PURCHASES), *PACE_BOUNDS)
    return tuple(float(value) for value in pace / pace[:MONTHS].mean())


def _growth(bought: pl.DataFrame, at: date) -> float:
    """Purchases of the newest months over those of the same months a year before; 1 where too few are known."""
    year = timedelta(days=YEAR_DAYS)
    first: date = bought["on"].min()  # type: ignore[assignment]
    overlap = (at - year - first).days
    if overlap < MIN_OVERLAP_DAYS:
        return 1.0
    span = timedelta(days=min(overlap, MAX_OVERLAP_DAYS))
    new = bought.filter(pl.col("on") >= at - span)
    old = bought.filter(pl.col("on").is_between(at - year - span, at - year, closed="left"))
    return float(np.clip((new.height + PRIOR_PURCHASES) / (old.height + PRIOR_PURCHASES), *GROWTH_BOUNDS))


def _log_likelihood(bought: pl.DataFrame, clock: Clock) -> float:
    """Log-likelihood of all purchase days under BG/NBD on a clock, as a density over calendar time."""
    ago = -(pl.lit(clock.at) - pl.col("on")).dt.total_days()
    moments = clock.position(bought.select(ago).to_series().to_numpy())
    pace = moments - clock.position(bought.select(ago - 1).to_series().to_numpy())
    rows = bought.select("person_id", moment=pl.Series(moments), pace=pl.Series(np.log(np.maximum(pace, 1e-9))))
    each = (
        rows.sort("person_id", "moment")
        .group_by("person_id", maintain_order=True)
        .agg(
            x=pl.len() - 1.0,
            first=pl.col("moment").min(),
            last=pl.col("moment").max(),
            # From season time to calendar time a density is multiplied by the pace of its day, else a clock that runs
            # fast would look likelier. The first purchase is where the clock starts and has no density.
            pace=pl.col("pace").sum() - pl.col("pace").sort_by("moment").first(),
        )
    )
    x, first, last = (each[name].to_numpy() for name in ("x", "first", "last"))
    model = btyd.fit(x, (last - first) / btyd.DAYS_A_WEEK, -first / btyd.DAYS_A_WEEK)
    return model.log_likelihood + float(each["pace"].sum())


def _count(buyers: pl.DataFrame) -> int:
    return int(buyers["purchases"].sum())


def _window(bought: pl.DataFrame, start: date, end: date) -> pl.DataFrame:
    """Buyers of `[start, end)`: `person_id`, `purchases`."""
    inside = bought.filter(pl.col("on").is_between(start, end, closed="left"))
    return inside.group_by("person_id", maintain_order=True).agg(purchases=pl.len())


def _population(bought: pl.DataFrame, at: date, active_within_days: int) -> pl.DataFrame:
    recent = pl.col("on").is_between(at - timedelta(days=active_within_days), at, closed="left")
    return bought.filter(recent).select("person_id").unique()
