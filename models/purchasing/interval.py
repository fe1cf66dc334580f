"""The interval around an expected amount, from what this customer may do: buy nothing, or some orders of some size.

With BG/NBD, the customer's clock and Gamma-Gamma the revenue of a window is nothing with one probability, else about
log-normal, with the mean and variance of a random number of orders of random amounts. How these distributions were off
on windows whose outcome is known sets the quantiles that are taken (conformal: by groups of expected amounts, apart for
customers who may well buy nothing and for those who will hardly), so that the share inside is the stated one.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from customer360.models.purchasing.starts import EXPECTED, QUIET, Spending, orders

SHARE = 0.8  # of outcomes between low and high
TAIL = (1.0 - SHARE) / 2.0
GROUPS, LEAST_ROWS = 10, 60  # of the amounts; a quantile of fewer rows is noise
CERTAIN = 1e-4
LEAST_DOUBT = 0.5  # degrees of freedom of the own mean, where Gamma-Gamma knows no variance
TINY = 1e-9

Array = NDArray[np.float64]


class Interval(Protocol):
    """Low and high end for rows with their starting points, around amounts; an amount lies between its ends."""

    def of(self, rows: pl.DataFrame, amount: Array, spending: Spending) -> tuple[Array, Array]: ...

    def as_dict(self) -> Any: ...


@dataclass(frozen=True)
class Ratios:
    """Ends as multiples of the amount, in groups below each of `edges` and above the last; how models were stored
    before `Conformal`.
    """

    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def of(self, rows: pl.DataFrame, amount: Array, spending: Spending) -> tuple[Array, Array]:
        place = np.searchsorted(np.array(self.edges), amount, side="right")
        low, high = np.array(self.low)[place] * amount, np.array(self.high)[place] * amount
        return np.minimum(low, amount), np.maximum(high, amount)

    def as_dict(self) -> Any:
        return [list(self.edges), list(self.low), list(self.high)]


@dataclass(frozen=True)
class Levels:
    """Probabilities at which a distribution is cut, in groups of amounts below each of `edges` and above the last."""

    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def at(self, amount: Array) -> tuple[Array, Array]:
        place = np.searchsorted(np.array(self.edges), amount, side="right")
        return np.array(self.low)[place], np.array(self.high)[place]


@dataclass(frozen=True)
class Conformal:
    """`nothing`: slope and intercept from the log-odds of no purchase by the starting points to those that were found.
    `idle` are the levels of who buys nothing with at least a tail of the probability: low is 0, all the rest of the
    probability lies above high. `sure` are those of the others, who have a tail on either side.
    """

    nothing: tuple[float, float]
    idle: Levels
    sure: Levels

    def of(self, rows: pl.DataFrame, amount: Array, spending: Spending) -> tuple[Array, Array]:
        none, middle, spread = _distribution(rows, amount, spending, self.nothing)
        is_idle = none >= TAIL
        idle, sure = self.idle.at(amount), self.sure.at(amount)
        high = _quantile(np.where(is_idle, idle[1], sure[1]), none, middle, spread)
        # Where buying nothing has less than a tail, the low end is an amount: that of the least who buy.
        low = np.where(is_idle, 0.0, _quantile(np.maximum(sure[0], none + 0.002), none, middle, spread))
        return np.minimum(low, amount), np.maximum(high, amount)

    def as_dict(self) -> Any:
        parts = {name: getattr(self, name) for name in ("idle", "sure")}
        found = {name: {"edges": p.edges, "low": p.low, "high": p.high} for name, p in parts.items()}
        return {"nothing": list(self.nothing)} | {n: {k: list(v) for k, v in p.items()} for n, p in found.items()}


def from_stored(values: Any) -> Interval:
    """What `as_dict` of either kind wrote."""
    if isinstance(values, list):
        return Ratios(*(tuple(part) for part in values))
    idle, sure = (Levels(*(tuple(values[name][k]) for k in ("edges", "low", "high"))) for name in ("idle", "sure"))
    return Conformal((values["nothing"][0], values["nothing"][1]), idle, sure)


def fit(rows: pl.DataFrame, amount: Array, revenue: Array, spending: Spending) -> Conformal:
    """Learn the levels from rows with their starting points whose revenue is known; `amount` is what was expected."""
    nothing = _nothing(rows, revenue)
    none, middle, spread = _distribution(rows, amount, spending, nothing)
    bought = revenue > 0
    place = none + (1.0 - none) * ndtr((np.log(np.maximum(revenue, TINY)) - middle) / spread)
    place = np.where(bought, place, 0.0)
    idle = none >= TAIL
    return Conformal(nothing, _levels(place[idle], amount[idle], (0.0, SHARE)),
                     _levels(place[~idle], amount[~idle], (TAIL, 1.0 - TAIL)))  # fmt: skip


def _levels(place: Array, amount: Array, wanted: tuple[float, float]) -> Levels:
    """Quantiles of the places of outcomes in their distributions, in groups of equal size by amount. With too few rows
    for a group the distributions are believed.
    """
    count = min(GROUPS, len(place) // LEAST_ROWS)
    if count < 1:
        return Levels((), (wanted[0],), (wanted[1],))
    parts = np.array_split(np.argsort(amount, kind="stable"), count)
    ends = [np.quantile(place[rows], wanted) for rows in parts]
    edges = tuple(float(amount[rows[0]]) for rows in parts[1:])
    return Levels(edges, tuple(float(low) for low, _ in ends), tuple(float(high) for _, high in ends))


def _nothing(rows: pl.DataFrame, revenue: Array) -> tuple[float, float]:
    silent = revenue <= 0
    if silent.all() or not silent.any():
        return 1.0, 0.0
    from sklearn.linear_model import LogisticRegression  # for fits alone: it takes a second to import

    found = LogisticRegression(C=1.0, max_iter=1000).fit(_log_odds(rows)[:, None], silent)
    return float(found.coef_[0][0]), float(found.intercept_[0])


def _log_odds(rows: pl.DataFrame) -> Array:
    found: Array = logit(np.clip(rows[QUIET].to_numpy(), CERTAIN, 1.0 - CERTAIN))
    return found


def _distribution(
    rows: pl.DataFrame, amount: Array, spending: Spending, nothing: tuple[float, float]
) -> tuple[Array, Array, Array]:
    """Probability of nothing, and middle and spread of the logarithm of the revenue of who buys."""
    none = np.clip(expit(nothing[0] * _log_odds(rows) + nothing[1]), CERTAIN, 1.0 - CERTAIN)
    count, _ = orders(rows)
    more = np.maximum(rows[EXPECTED].to_numpy() / (1.0 - none) - 1.0, 0.0)  # orders beyond the first
    number, variance = 1.0 + more, more + more**2 / (spending.purchases.r + count - 1.0)
    values = spending.values
    doubt = 1.0 / np.maximum(values.q + values.p * count - 2.0, LEAST_DOUBT)  # of the own mean, squared variation
    squared = (number * (1.0 + doubt) / values.p + variance) / number**2 * (1.0 + doubt) + doubt
    spread = np.sqrt(np.log1p(squared))
    middle = np.log(np.maximum(amount, TINY) / (1.0 - none)) - spread**2 / 2.0
    return none, middle, spread


def _quantile(level: Array, none: Array, middle: Array, spread: Array) -> Array:
    """The amount below which the level's share of the outcomes lies; 0 where nothing is so likely."""
    within = np.clip((level - none) / (1.0 - none), CERTAIN, 1.0 - CERTAIN)
    return np.where(level <= none, 0.0, np.exp(middle + spread * ndtri(within)))
