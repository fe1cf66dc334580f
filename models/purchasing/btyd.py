"""Buy-till-you-die: the BG/NBD model of repeat purchases (Fader, Hardie and Lee 2005, "Counting your customers the easy
way") and the Gamma-Gamma model of their value (Fader and Hardie 2013, "The Gamma-Gamma model of monetary value").

While alive a customer buys at a Poisson rate lambda ~ Gamma(r, alpha); after each purchase they leave with probability
p ~ Beta(a, b). A customer is summed up by three numbers: x repeat purchases, the time t_x of the last one and the age
T, both counted from the first purchase. Time is in weeks here, so that the bounds of the search hold for any shop.

The value of an order is Gamma(p, nu) around the customer's own mean, nu ~ Gamma(q, v) over customers, independent of
how often they buy. Money is divided by the median value for the search, so that its bounds hold for any currency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln, hyp2f1

from customer360.platform.errors import ModelError

DAYS_A_WEEK = 7.0
# Unbounded, the search runs away on large logs (alpha 3e11, b 5e15 with a positive log-likelihood: betaln cancels
# there).
LOG_BOUNDS = (-6.0, 8.0)
STARTS = ((0.5, 5.0, 0.8, 2.5), (1.0, 10.0, 1.0, 1.0))
VALUE_BOUNDS = (LOG_BOUNDS, (float(np.log(1.05)), LOG_BOUNDS[1]), LOG_BOUNDS)  # p, q, v; the mean needs q > 1
VALUE_STARTS = ((2.0, 3.5, 1.5), (6.0, 4.0, 0.5))
PRECISE = {"ftol": 1e-12, "gtol": 1e-8}  # likelihoods are flat near their top
DRAWS, DRAWN_CUSTOMERS = 400, 5000  # of an interval; customers in one block of memory
STEP = 1e-3  # of log parameters, in the second differences of a likelihood: rounding and curvature err alike there
POLE_WIDTH = 1e-6  # the expectation divides by a - 1; its limit there is smooth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BetaGeometric:
    """Fitted parameters of one population; `log_likelihood` is of the customers it was fitted on."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float

    @property
    def at_bound(self) -> bool:
        """A parameter stands at the edge of the search: the population does not identify the model."""
        logs = np.log([self.r, self.alpha, self.a, self.b])
        return bool(np.any(logs <= LOG_BOUNDS[0] + 1e-3) or np.any(logs >= LOG_BOUNDS[1] - 1e-3))

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def log_likelihood(parameters: Array, x: Array, last: Array, age: Array) -> Array:
    """Log-likelihood of each customer under (r, alpha, a, b); shape (n,)."""
    r, alpha, a, b = parameters
    repeats = np.maximum(x, 1.0)  # where x = 0 the second path has no weight; this only keeps its logarithm defined
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    alive = betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + age)
    left = betaln(a + 1.0, b + repeats - 1.0) - betaln(a, b) - (r + x) * np.log(alpha + last)
    return common + np.logaddexp(alive, np.where(x > 0, left, -np.inf))


def fit(x: Array, last: Array, age: Array, near: BetaGeometric | None = None) -> BetaGeometric:
    """Maximum likelihood over customers; equal (x, t_x, T) are counted once with a weight. The search begins at `near`,
    a fit of almost the same customers, where there is one. Raises ModelError.
    """
    if len(x) == 0:
        raise ModelError("BG/NBD needs at least one customer")
    rows, weights = np.unique(np.column_stack([x, last, age]), axis=0, return_counts=True)
    points = tuple(np.ascontiguousarray(column) for column in rows.T)

    def loss(logs: Array) -> float:
        return -float(weights @ log_likelihood(np.exp(logs), *points)) / len(x)

    begin = STARTS if near is None or near.at_bound else ((near.r, near.alpha, near.a, near.b),)
    (r, alpha, a, b), lowest = _search(loss, begin, (LOG_BOUNDS,) * 4, f"BG/NBD likelihood over {len(x)} customers")
    return BetaGeometric(r, alpha, a, b, log_likelihood=-lowest * len(x))


def standard_errors(model: BetaGeometric, x: Array, last: Array, age: Array) -> dict[str, float]:
    """Standard error of each parameter, from the curvature of the likelihood over the customers that it was fitted on;
    infinite where they do not identify it (see `at_bound`).
    """
    logs = np.log([model.r, model.alpha, model.a, model.b])
    rows, weights = np.unique(np.column_stack([x, last, age]), axis=0, return_counts=True)
    points = tuple(np.ascontiguousarray(column) for column in rows.T)
    errors = _log_errors(lambda at: float(weights @ log_likelihood(np.exp(at), *points)), logs)
    return dict(zip(("r", "alpha", "a", "b"), (np.exp(logs) * errors).tolist(), strict=True))


def alive_probability(model: BetaGeometric, x: Array, last: Array, age: Array) -> Array:
    """P(still a customer); 1 by definition for x = 0, so never a churn score on its own."""
    return 1.0 / (1.0 + _odds_left(model, x, last, age))


def expected_purchases(model: BetaGeometric, x: Array, last: Array, age: Array, horizon_days: float) -> Array:
    """Expected number of purchases in the next `horizon_days`, given the past; equation 10 of the paper, shape (n,)."""
    ahead = horizon_days / DAYS_A_WEEK
    a = model.a if abs(model.a - 1.0) > POLE_WIDTH else 1.0 + POLE_WIDTH
    shrink = ((model.alpha + age) / (model.alpha + age + ahead)) ** (model.r + x)
    series = hyp2f1(model.r + x, model.b + x, a + model.b + x - 1.0, ahead / (model.alpha + age + ahead))
    unconditional = (a + model.b + x - 1.0) / (a - 1.0) * (1.0 - shrink * series)
    expected = unconditional / (1.0 + _odds_left(model, x, last, age))
    if not np.all(np.isfinite(expected)):
        raise ModelError(
            f"expected purchases are not finite for {int((~np.isfinite(expected)).sum())} customers under {model}"
        )
    return expected


def no_purchase_probability(
    model: BetaGeometric, x: Array, last: Array, age: Array, horizon_days: float | Array
) -> Array:
    """P(no purchase in the next `horizon_days`), given the past: left already, or alive with no event of a Poisson rate
    that is Gamma(r + x, alpha + T) by now; shape (n,). Falls with the horizon.
    """
    ahead = np.asarray(horizon_days, dtype=np.float64) / DAYS_A_WEEK
    silent = ((model.alpha + age) / (model.alpha + age + ahead)) ** (model.r + x)
    return 1.0 - alive_probability(model, x, last, age) * (1.0 - silent)


@dataclass(frozen=True)
class GammaGamma:
    """Fitted parameters of order values; `v` and `unit` (the median of the customers' means) are in currency."""

    p: float
    q: float
    v: float
    unit: float
    log_likelihood: float

    @property
    def at_bound(self) -> bool:
        """A parameter stands at the edge of the search: the orders do not identify the model."""
        logs = np.log([self.p, self.q, self.v / self.unit])
        low, high = np.array(VALUE_BOUNDS).T
        return bool(np.any(logs <= low + 1e-3) or np.any(logs >= high - 1e-3))

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def value_log_likelihood(parameters: Array, orders: Array, mean: Array) -> Array:
    """Log-likelihood of each customer's mean order value under (p, q, v); shape (n,)."""
    p, q, v = parameters
    shape, total = p * orders, orders * mean
    norm = gammaln(shape + q) - gammaln(shape) - gammaln(q) + q * np.log(v)
    return norm + (shape - 1.0) * np.log(mean) + shape * np.log(orders) - (shape + q) * np.log(total + v)


def fit_value(orders: Array, mean: Array) -> GammaGamma:
    """Maximum likelihood over repeat customers: `orders` orders (at least 1) of a `mean` value above 0, both (n,).

    One customer counts once whatever they spend. Raises ModelError without customers or with a mean of 0 or less.
    """
    if len(orders) == 0 or not np.all(mean > 0):
        raise ModelError(
            f"Gamma-Gamma needs positive order values of repeat customers, not {len(orders)} of them with "
            f"{int(np.sum(mean <= 0))} at 0 or below"
        )
    unit = float(np.median(mean))
    scaled = mean / unit

    def loss(logs: Array) -> float:
        return -float(value_log_likelihood(np.exp(logs), orders, scaled).mean())

    (p, q, v), lowest = _search(
        loss, VALUE_STARTS, VALUE_BOUNDS, f"Gamma-Gamma likelihood over {len(orders)} customers"
    )
    return GammaGamma(p, q, v * unit, unit, log_likelihood=-(lowest + float(np.log(unit))) * len(orders))


def value_standard_errors(model: GammaGamma, orders: Array, mean: Array) -> dict[str, float]:
    """Standard errors of p, q and v (currency), as `standard_errors` has them."""
    logs, scaled = np.log([model.p, model.q, model.v / model.unit]), mean / model.unit
    errors = _log_errors(lambda at: float(value_log_likelihood(np.exp(at), orders, scaled).sum()), logs)
    return dict(zip(("p", "q", "v"), (np.array([model.p, model.q, model.v]) * errors).tolist(), strict=True))


def expected_value(model: GammaGamma, orders: Array, mean: Array) -> Array:
    """Expected value of a future order given `orders` past ones of a `mean` value: the own mean shrunk towards that of
    all, in currency, shape (n,).
    """
    return model.p * (model.v + orders * mean) / (model.p * orders + model.q - 1.0)


def value_interval(
    purchases: BetaGeometric,
    values: GammaGamma,
    history: tuple[Array, Array, Array],
    paid: tuple[Array, Array],
    horizon_days: float,
    share: float,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Interval that holds `share` of the revenue of the next `horizon_days` that both models together would draw: equal
    tails, but where more than a tail is nothing, low is 0 and all the rest lies above high. `history` is (x, t_x, T),
    `paid` orders and their mean; two arrays of shape (n,).
    """
    rng, low, high = np.random.default_rng(seed), [], []
    ahead, blocks = horizon_days / DAYS_A_WEEK, max(1, len(paid[0]) // DRAWN_CUSTOMERS)
    alive = alive_probability(purchases, *history)
    for rows in np.array_split(np.arange(len(alive)), blocks):
        x, _, age = (part[rows] for part in history)
        orders, mean = (part[rows] for part in paid)
        size = (DRAWS, len(rows))
        events = rng.poisson(rng.gamma(purchases.r + x, 1.0 / (purchases.alpha + age), size) * ahead)
        leave = np.clip(rng.beta(purchases.a, purchases.b + x, size), 1e-12, 1.0)
        bought = np.where(rng.random(size) < alive[rows], np.minimum(events, rng.geometric(leave)), 0)
        rate = rng.gamma(values.q + values.p * orders, 1.0 / (values.v + orders * mean), size)
        revenue = np.where(bought > 0, rng.gamma(values.p * np.maximum(bought, 1), 1.0 / rate), 0.0)
        ends = np.quantile(revenue, [(1.0 - share) / 2.0, (1.0 + share) / 2.0, share], axis=0)
        low.append(ends[0])
        high.append(np.where(ends[0] > 0, ends[1], ends[2]))
    return np.concatenate(low), np.concatenate(high)


def _search(
    loss: Callable[[Array], float],
    begin: Sequence[tuple[float, ...]],
    bounds: Sequence[tuple[float, float]],
    what: str,
) -> tuple[list[float], float]:
    """Parameters at the lowest loss of their logarithms found from any of the beginnings, and that loss."""
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    # On matrices of four rows several threads of BLAS only wait for each other: four times the time on busy cores.
    with threadpool_limits(1):
        found = [minimize(loss, np.log(start), method="L-BFGS-B", bounds=bounds, options=PRECISE) for start in begin]
    best = min(found, key=lambda result: result.fun)
    if not np.isfinite(best.fun):
        raise ModelError(f"{what} is {best.fun}: {best.message}")
    return [float(value) for value in np.exp(best.x)], float(best.fun)


def _odds_left(model: BetaGeometric, x: Array, last: Array, age: Array) -> Array:
    base = np.log(model.a) - np.log(model.b + np.maximum(x, 1.0) - 1.0)
    growth = (model.r + x) * (np.log(model.alpha + age) - np.log(model.alpha + last))
    return np.where(x > 0, np.exp(np.minimum(base + growth, 700.0)), 0.0)


def _log_errors(likelihood: Callable[[Array], float], top: Array) -> Array:
    """Standard errors of log parameters at the top of a likelihood: second differences, inverted; shape as `top`."""
    steps = np.eye(len(top)) * STEP
    curvature = np.array(
        [
            [
                likelihood(top + one + other)
                - likelihood(top + one - other)
                - likelihood(top - one + other)
                + likelihood(top - one - other)
                for other in steps
            ]
            for one in steps
        ]
    ) / (-4.0 * STEP**2)
    if np.any(np.linalg.eigvalsh(curvature) <= 0):  # flat or rising in some direction: no top
        return np.full(len(top), np.inf)
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(curvature))), dtype=np.float64)
