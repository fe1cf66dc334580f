"""Starting points of churn and value: what BG/NBD and Gamma-Gamma, in season time, expect of each customer.

Both models correct these with trees, and both learn from the same pooled cuts. One clock, that of the date of the fit,
measures every cut: it is part of the past of that date, and a cut's own window is then as long as its season made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.models import frames
from customer360.models.purchasing import btyd, outliers, renewal, season
from customer360.models.purchasing.btyd import BetaGeometric, GammaGamma
from customer360.models.purchasing.renewal import Gaps, Renewal
from customer360.models.purchasing.season import Clock

EXPECTED, QUIET = "expected_purchases", "no_purchase_probability"
VALUE, START = "expected_order_amount", "start_amount"
RECENCY, TENURE, WINDOW = "season_recency_days", "season_tenure_days", "season_window_days"
LARGEST_VALUE = 3.0  # order values of the middle customer: a purchase weighs no more in a rate
NORMAL_95 = 1.96  # standard errors from a normal mean to either end of its 95 % interval
INPUTS = (*frames.FEATURES, EXPECTED, QUIET, VALUE, RECENCY, TENURE)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spending:
    """How often and for how much customers buy, as of one date, the clock on which they do, and how far they keep one
    of their own (None: nobody does).
    """

    purchases: BetaGeometric
    values: GammaGamma
    clock: Clock
    renewal: Renewal | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "purchases": self.purchases.as_dict(),
            "values": self.values.as_dict(),
            "clock": self.clock.as_dict(),
            "renewal": self.renewal.as_dict() if self.renewal else None,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Spending":
        kept = values.get("renewal")  # absent from models fitted before there was one
        return cls(
            BetaGeometric(**values["purchases"]),
            GammaGamma(**values["values"]),
            Clock.from_dict(values["clock"]),
            Renewal.from_dict(kept) if kept else None,
        )


def summary(frame: pl.DataFrame, as_of: date, clock: Clock) -> tuple[Array, Array, Array]:
    """(x, t_x, T) in weeks of season time, from features taken at `as_of`; one entry a row."""
    age = -clock.between(as_of, -frame["tenure_days"].cast(pl.Float64).to_numpy())
    silence = -clock.between(as_of, -frame["recency_days"].cast(pl.Float64).to_numpy())
    x = frame["purchase_day_count"].cast(pl.Float64).to_numpy() - 1.0
    return x, (age - silence) / btyd.DAYS_A_WEEK, age / btyd.DAYS_A_WEEK


def fit(days: pl.LazyFrame, as_of: date, clock: Clock, near: BetaGeometric | None = None) -> Spending:
    """BG/NBD over every customer who bought before `as_of` (a population cut by recency would break it), Gamma-Gamma
    over those of them who came back, and the clocks of those who keep one. `near` is where the search begins. Raises
    ModelError where nobody came back.
    """
    plain = fit_plain(days, as_of, clock, near)
    return replace(plain, renewal=renewal.fit(Gaps.of(_customers(days, as_of)[0])))


def fit_plain(days: pl.LazyFrame, as_of: date, clock: Clock, near: BetaGeometric | None = None) -> Spending:
    """As `fit`, but nobody keeps a clock of their own: BG/NBD and Gamma-Gamma alone."""
    known, repeaters = _customers(days, as_of)
    return Spending(btyd.fit(*summary(known, as_of, clock), near), btyd.fit_value(*orders(repeaters)), clock)


def _customers(days: pl.LazyFrame, as_of: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features of every customer who bought before `as_of`, and of those of them who came back and paid."""
    columns = ["purchase_day_count", "recency_days", "tenure_days", "gross_amount", "mean_gap_days", "std_gap_days"]
    known = frames.features(days, as_of).filter(pl.col("purchase_day_count") > 0).select(columns).collect()
    return known, known.filter(pl.col("purchase_day_count") > 1, pl.col("gross_amount") > 0)


def parameters(days: pl.LazyFrame, as_of: date, spending: Spending) -> dict[str, float]:
    """The parameters of `spending`, as fitted at `as_of`, with the ends of their 95 % intervals: `bgnbd_r`,
    `bgnbd_r_low`, `bgnbd_r_high`, …, `gamma_gamma_p`, …. A parameter that the customers do not identify has no
    interval."""
    known, repeaters = _customers(days, as_of)
    history = summary(known, as_of, spending.clock)
    errors = {
        "bgnbd": (spending.purchases, btyd.standard_errors(spending.purchases, *history)),
        "gamma_gamma": (spending.values, btyd.value_standard_errors(spending.values, *orders(repeaters))),
    }
    found: dict[str, float] = {}
    for prefix, (model, by_name) in errors.items():
        for name, error in by_name.items():
            value = float(getattr(model, name))
            found[f"{prefix}_{name}"] = value
            if np.isfinite(error):
                # On the scale of logarithms, on which the error was measured: both ends are above 0.
                factor = float(np.exp(NORMAL_95 * error / value))
                found |= {f"{prefix}_{name}_low": value / factor, f"{prefix}_{name}_high": value * factor}
    return found


def with_start(frame: pl.DataFrame, spending: Spending, as_of: date, horizon_days: int) -> pl.DataFrame:
    """Add to rows of features taken at `as_of`, for the `horizon_days` from then on: `expected_purchases`,
    `no_purchase_probability`, `expected_order_amount`, `start_amount` (purchases times amount), and in season days
    `season_recency_days`, `season_tenure_days` and `season_window_days`, the length of that window.
    """
    _, last, age = summary(frame, as_of, spending.clock)
    expected, none = _ahead(frame, spending, as_of, horizon_days)
    value = btyd.expected_value(spending.values, *orders(frame))
    return frame.with_columns(
        pl.Series(EXPECTED, expected),
        pl.Series(QUIET, none),
        pl.Series(VALUE, value),
        pl.Series(START, expected * value),
        pl.Series(RECENCY, (age - last) * btyd.DAYS_A_WEEK),
        pl.Series(TENURE, age * btyd.DAYS_A_WEEK),
        pl.lit(float(spending.clock.between(as_of, horizon_days))).alias(WINDOW),
    )


def purchase_rate(rows: pl.DataFrame) -> float:
    """Purchases over expected ones, of rows with their starting points whose window is known (`frames.labels`). Each
    counts as its customer's order value, the dear ones like `LARGEST_VALUE` middle ones: the rate is that of revenue
    if orders keep their worth, and no single amount moves it.
    """
    value = rows[VALUE].to_numpy()
    weight = np.minimum(value, LARGEST_VALUE * np.median(value))
    if not weight.any():  # free orders alone
        weight = np.ones_like(value)
    return float((weight * rows["purchases"].to_numpy()).sum() / (weight * rows[EXPECTED].to_numpy()).sum())


def quiet(frame: pl.DataFrame, spending: Spending, as_of: date, horizon_days: int) -> Array:
    """P(no purchase in the `horizon_days` from `as_of` on) for rows of features taken then; shape (n,)."""
    return _ahead(frame, spending, as_of, horizon_days)[1]


def _ahead(frame: pl.DataFrame, spending: Spending, as_of: date, horizon_days: int) -> tuple[Array, Array]:
    """Expected purchases and the probability of none: by BG/NBD in season time, and as far as a customer keeps a clock
    of their own by that.
    """
    history = summary(frame, as_of, spending.clock)
    window = float(spending.clock.between(as_of, horizon_days))
    expected = btyd.expected_purchases(spending.purchases, *history, window)
    none = btyd.no_purchase_probability(spending.purchases, *history, window)
    if spending.renewal is None:
        return expected, none
    clocked, due, idle = renewal.purchases(spending.renewal, Gaps.of(frame), horizon_days)
    return expected + clocked * (due - expected), none + clocked * (idle - none)


def training_frame(
    days: pl.LazyFrame, at: Sequence[date], spending: Spending, horizon_days: int, active_within_days: int
) -> pl.DataFrame:
    """Pooled examples of the cuts with their starting points, each fitted to the past of its own cut but for the clock
    of `spending`; one row per person and cut.
    """
    return pl.concat(
        with_start(
            frames.examples(days, cut, horizon_days, active_within_days).collect(),
            fit(days, cut, spending.clock, spending.purchases),
            cut,
            horizon_days,
        )
        for cut in sorted(at)
    )


@dataclass(frozen=True)
class Examples:
    """All that churn and value are fitted from: pooled `past` examples with their outcomes, the `current` population at
    `as_of` with the starting points that scoring will use, and what last year's window says of that population.
    """

    as_of: date
    past: pl.DataFrame
    current: pl.DataFrame
    spending: Spending
    last_year: season.Totals | None


def examples(days: pl.LazyFrame, as_of: date, cuts: Sequence[date], horizon_days: int, active: int) -> Examples:
    """Examples of `cuts` as known at `as_of`; nothing on or after it is read. Amounts far above all that is usual count
    as usual (`outliers`).
    """
    past = frames.summable(outliers.temper(days.filter(pl.col("on") < as_of), as_of).days)
    clock = season.fit(past, as_of)
    spending = fit(past, as_of, clock)
    # Where most customers keep a clock of their own, who is due says more than what last year's window held.
    clocked = spending.renewal is not None and spending.renewal.share > 0.5
    return Examples(
        as_of,
        training_frame(past, cuts, spending, horizon_days, active),
        with_start(population(past, as_of, active), spending, as_of, horizon_days),
        spending,
        season.last_year(past, as_of, horizon_days, active) if clock.is_seasonal and not clocked else None,
    )


def population(days: pl.LazyFrame, as_of: date, active_within_days: int) -> pl.DataFrame:
    """Features of those who bought within `active_within_days` before `as_of`, sorted by person."""
    active = frames.population(days, as_of, active_within_days)
    return active.join(frames.features(days, as_of), on="person_id").sort("person_id").collect()


def orders(frame: pl.DataFrame) -> tuple[Array, Array]:
    """Purchase days and mean revenue of one, per row. A customer with free orders only has a mean of 0."""
    count = frame["purchase_day_count"].cast(pl.Float64).to_numpy()
    return count, frame["gross_amount"].to_numpy() / count
