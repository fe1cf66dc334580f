"""Customers who come back by their own clock: subscriptions, annual renewals, monthly refills.

BG/NBD takes a customer's purchases for a Poisson process: the next one is as likely tomorrow as in the month in which
it is due. Here the gaps of a customer are Gamma around their own mean; `SHAPES` are the degrees of regularity, how
common each is in the shop is learnt from all customers (empirical Bayes), and a customer's own gaps say which is
theirs. The irregular ones stay with BG/NBD. After each purchase a regular customer goes on with one probability,
learnt from those whose next purchase is overdue. Time is in calendar days.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincc, gammainccinv, gammaln

SHAPES = (6.0, 20.0, 60.0, 150.0, 400.0, 1000.0, 3000.0)  # one over the squared coefficient of variation
VAGUE = 2  # of the shapes: regular enough to be told from Poisson, too little to foresee a day by; left to BG/NBD
LEAST_SHARE = 0.02  # of customers who keep a clock, below which a shop has none
LEAST_GAP_DAYS = 5.0  # who comes more often needs no clock: the law of large numbers serves
POISSON_PRIOR = 10.0  # customers: so much evidence against a clock has every shop from the start
ROUNDS = 50
GO_ON = np.linspace(0.3, 0.995, 140)  # probabilities of going on that are tried
POINTS = 24  # of the time of the next purchase
SAME_PERIOD = 0.25  # spread of the logarithms of mean gaps below which a newcomer's first gap is foreseen
NEGLIGIBLE = 1e-3
LARGEST = 600.0  # logarithm of evidence: exponentials beyond it leave the range of floats
ROUNDING = 1.0 / 6.0  # variance of a gap between two days, in square days

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gaps:
    """A row a customer: number of gaps, their mean and standard deviation (NaN where there are too few), and days since
    the last purchase.
    """

    count: Array
    mean: Array
    std: Array
    elapsed: Array

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Gaps":
        """From rows of features."""
        columns = ("purchase_day_count", "mean_gap_days", "std_gap_days", "recency_days")
        count, mean, std, elapsed = (frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in columns)
        return cls(count - 1.0, mean, std, elapsed)

    def take(self, rows: NDArray[Any]) -> "Gaps":
        return Gaps(self.count[rows], self.mean[rows], self.std[rows], self.elapsed[rows])


@dataclass(frozen=True)
class Renewal:
    """How common each of `SHAPES` is among customers (`weights`; the rest is irregular), with which probability a
    regular customer goes on after a purchase, and the period of the shop where its regular customers share one: its
    days, and the spread of its logarithm.
    """

    weights: tuple[float, ...]
    go_on: float
    period: tuple[float, float] | None

    @property
    def share(self) -> float:
        """Of customers who keep a clock."""
        return sum(self.weights[VAGUE:])

    def as_dict(self) -> dict[str, Any]:
        return {
            "weights": list(self.weights),
            "go_on": self.go_on,
            "period": list(self.period) if self.period else None,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Renewal":
        period = values["period"]
        return cls(tuple(values["weights"]), values["go_on"], (period[0], period[1]) if period else None)


def fit(gaps: Gaps) -> Renewal | None:
    """Learn the clocks of a shop; None where no customer keeps one."""
    judged = gaps.take((gaps.count >= 2) & (gaps.mean >= LEAST_GAP_DAYS))
    if not len(judged.count):
        return None
    evidence = np.exp(_log_evidence(judged))
    weights = np.full(len(SHAPES) + 1, 1.0 / (len(SHAPES) + 1))
    for _ in range(ROUNDS):
        share = evidence * weights
        counts = (share / share.sum(axis=1, keepdims=True)).sum(axis=0)
        counts[0] += POISSON_PRIOR
        weights = counts / counts.sum()
    share = evidence * weights
    each = share / share.sum(axis=1, keepdims=True)
    clocked = each[:, 1 + VAGUE :]
    regular = clocked.sum(axis=1)
    if weights[1 + VAGUE :].sum() < LEAST_SHARE:
        return None
    shape = np.exp((clocked @ np.log(SHAPES[VAGUE:])) / np.maximum(regular, NEGLIGIBLE))
    shape = np.maximum(shape, SHAPES[VAGUE])
    return Renewal(tuple(weights[1:].tolist()), _go_on(judged, regular, shape), _period(judged, regular))


def purchases(model: Renewal, gaps: Gaps, horizon_days: float) -> tuple[Array, Array, Array]:
    """For each customer, in the next `horizon_days`: how far they keep a clock (0 to 1), and if they do, the expected
    number of purchases and the probability of none; three arrays of shape (n,).
    """
    share, mean, spread = _shares(model, gaps)
    size = len(gaps.count)
    expected, quiet = np.zeros(size), np.zeros(size)
    share[:, :VAGUE] = 0.0
    for place, shape in enumerate(SHAPES):
        rows = np.flatnonzero(share[:, place] > NEGLIGIBLE)
        if not len(rows):
            continue
        own = 1.0 / (1.0 / shape + spread[rows] ** 2 + 1.0 / (shape * np.maximum(gaps.count[rows], 1.0)))
        found = _ahead(own, mean[rows], gaps.elapsed[rows], horizon_days, model.go_on)
        expected[rows] += share[rows, place] * found[0]
        quiet[rows] += share[rows, place] * found[1]
    whole = np.where(share > NEGLIGIBLE, share, 0.0).sum(axis=1)
    safe = np.maximum(whole, NEGLIGIBLE)
    return whole, expected / safe, quiet / safe


def _log_evidence(gaps: Gaps) -> Array:
    """Logarithm of the density of a customer's gaps, given their sum, under each shape over that under a Poisson
    process; shape (n, shapes + 1), the first column 0. Shares of the sum are uniform on the simplex under Poisson, and
    normal around equal shares under a Gamma of a large shape. A row matters up to a constant: one that would leave the
    range of floats is shifted down into it, so that years of weekly orders still tell one shape from another.
    """
    k = gaps.count[:, None]
    squares = (k - 1.0) * (gaps.std[:, None] ** 2 + ROUNDING) / gaps.mean[:, None] ** 2
    shape = np.array(SHAPES)[None, :]
    dense = (k - 1.0) / 2.0 * np.log(shape * k**2 / (2.0 * np.pi)) - shape * squares / 2.0
    found = dense + 0.5 * np.log(k) - gammaln(k)
    whole = np.concatenate([np.zeros((len(k), 1)), found], axis=1)
    above = np.maximum(whole.max(axis=1, keepdims=True) - LARGEST, 0.0)
    return np.maximum(whole - above, -LARGEST)


def _shares(model: Renewal, gaps: Gaps) -> tuple[Array, Array, Array]:
    """Probability of each shape, the mean gap, and the spread of its logarithm where it is the shop's and not the
    customer's own.
    """
    size = len(gaps.count)
    share = np.zeros((size, len(SHAPES)))
    weights = np.array([max(1.0 - sum(model.weights), 0.0), *model.weights])
    often = np.flatnonzero((gaps.count >= 2) & (gaps.mean >= LEAST_GAP_DAYS))
    if len(often):
        posterior = np.exp(_log_evidence(gaps.take(often))) * weights
        share[often] = (posterior / posterior.sum(axis=1, keepdims=True))[:, 1:]
    share[(gaps.count == 1) & (gaps.mean >= LEAST_GAP_DAYS)] = model.weights
    mean, spread = np.nan_to_num(gaps.mean, nan=1.0), np.zeros(size)
    if model.period is not None:
        fresh = gaps.count < 1
        share[fresh], mean[fresh], spread[fresh] = model.weights, *model.period
    return share, np.maximum(mean, 1.0), spread


def _go_on(gaps: Gaps, regular: Array, shape: Array) -> float:
    """The likeliest probability of going on: each gap is one that did, and who is overdue may not have."""
    still = gammaincc(shape, shape * gaps.elapsed / gaps.mean)
    log_likelihood = (regular * gaps.count).sum() * np.log(GO_ON) + np.log(
        GO_ON[None, :] * still[:, None] + 1.0 - GO_ON[None, :]
    ).T @ regular
    return float(GO_ON[int(np.argmax(log_likelihood))])


def _period(gaps: Gaps, regular: Array) -> tuple[float, float] | None:
    logs = np.log(gaps.mean)
    centre = float(np.average(logs, weights=regular))
    spread = float(np.sqrt(np.average((logs - centre) ** 2, weights=regular)))
    return (float(np.exp(centre)), spread) if spread < SAME_PERIOD else None


def _ahead(shape: Array, mean: Array, elapsed: Array, horizon: float, go_on: float) -> tuple[Array, Array]:
    """Expected purchases and the probability of none within the horizon, of regular customers with these clocks."""
    scale = mean / shape
    still = gammaincc(shape, elapsed / scale)
    alive = go_on * still / (go_on * still + 1.0 - go_on)
    later = gammaincc(shape, (elapsed + horizon) / scale)
    quiet = 1.0 - alive * (1.0 - later / np.maximum(still, 1e-300))
    left = (np.arange(POINTS) + 0.5) / POINTS
    first = gammainccinv(shape[:, None], np.maximum(still, 1e-300)[:, None] * left[None, :]) * scale[:, None]
    room = horizon - np.maximum(first - elapsed[:, None], 0.0)
    bought = np.where(room > 0, 1.0, 0.0)
    for turn in range(1, int(np.ceil(1.5 * horizon / LEAST_GAP_DAYS)) + 2):
        rows = np.flatnonzero(turn * mean < 1.5 * horizon + mean)
        if not len(rows):
            break
        reached = gammainc(turn * shape[rows, None], np.maximum(room[rows], 0.0) / scale[rows, None])
        bought[rows] += go_on**turn * reached
    # The points of the first purchase and its exact probability differ by rounding: the exact one leads.
    some, points = alive * (1.0 - later / np.maximum(still, 1e-300)), (room > 0).mean(axis=1)
    each = np.where(points > 0, bought.sum(axis=1) / np.maximum((room > 0).sum(axis=1), 1), 1.0)
    return some * each, np.clip(quiet, 0.0, 1.0)
