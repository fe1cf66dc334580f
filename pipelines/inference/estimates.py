"""Intervals of shares and means, and shrinkage of many groups' rates: what few observations cannot say is not said."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy import special

Z = 1.959963984540054  # of a two-sided interval of 95 %
LARGEST_PRIOR = 10_000.0  # observations that a prior weighs at most: groups that do not differ at all


def wilson(hits: pl.Expr, trials: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The 95 % interval of a share (Wilson, JASA 22, 1927); null without trials."""
    n = pl.when(trials > 0).then(trials)
    share = hits / n
    middle, spread = share + Z**2 / (2 * n), Z * (share * (1 - share) / n + Z**2 / (4 * n**2)).sqrt()
    bottom = 1 + Z**2 / n
    return ((middle - spread) / bottom).clip(0, 1), ((middle + spread) / bottom).clip(0, 1)


def mean_interval(mean: pl.Expr, deviation: pl.Expr, count: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The 95 % interval of a mean by Student's t; null with fewer than two observations."""

    def quantile(counts: pl.Series) -> pl.Series:
        n = counts.cast(pl.Float64).to_numpy()
        return pl.Series(np.where(n > 1, special.stdtrit(np.maximum(n - 1, 1), 0.975), np.nan)).fill_nan(None)

    half = count.map_batches(quantile, return_dtype=pl.Float64) * deviation / count.sqrt()
    return mean - half, mean + half


def shrunk_rates(hits: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posterior mean and 95 % interval of each group's rate, [groups] each: beta-binomial empirical Bayes (Casella, The
    American Statistician 39, 1985). The prior is that of all groups, averaged over what they leave open of it. A group
    without trials has what the others teach; of fewer than three groups nothing is learnt, and the prior is Jeffreys'.
    """
    hits, trials = hits.astype(np.float64), trials.astype(np.float64)
    a, b, weight = _beta_priors(hits[trials > 0], trials[trials > 0])
    after_a, after_b = a[:, None] + hits, b[:, None] + trials - hits
    ends = [_quantile(after_a, after_b, weight, share) for share in (0.025, 0.975)]
    return weight @ (after_a / (after_a + after_b)), ends[0], ends[1]


def _quantile(a: np.ndarray, b: np.ndarray, weight: np.ndarray, share: float) -> np.ndarray:
    """Quantile of a mixture of beta distributions by bisection; a, b: [priors, groups]."""
    low, high = np.zeros(a.shape[1]), np.ones(a.shape[1])
    for _ in range(30):
        middle = (low + high) / 2
        below = weight @ special.betainc(a, b, middle) < share
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found: np.ndarray = (low + high) / 2
    return found


def _beta_priors(hits: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters a and b of priors and their weights, [priors] each: points round the likeliest one, as far as the
    likelihood reaches."""
    from scipy import optimize

    if len(hits) < 3:
        return np.array([0.5]), np.array([0.5]), np.ones(1)

    def unlikely(at: np.ndarray) -> float:
        mean, size = special.expit(at[0]), np.exp(at[1])
        a, b = mean * size, (1 - mean) * size
        return float(-(special.betaln(a + hits, b + trials - hits) - special.betaln(a, b)).sum())

    share = (hits.sum() + 0.5) / (trials.sum() + 1)
    bounds = [(-12.0, 12.0), (np.log(0.5), np.log(LARGEST_PRIOR))]
    start = [special.logit(share), np.log(20.0)]
    best = optimize.minimize(unlikely, start, bounds=bounds, method="Nelder-Mead")
    steps = 0.05 * np.eye(2)
    curve = [(unlikely(best.x + s) + unlikely(best.x - s) - 2 * best.fun) / 0.05**2 for s in steps]
    grid = np.linspace(-2.4, 2.4, 7)
    # Where the groups do not tell how alike they are, the likeliest answer stands; their mean they tell all the same.
    axes = [grid / np.sqrt(c) if c > 0.05 else np.zeros(1) for c in curve]
    off = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    points = np.clip(best.x + off, *np.array(bounds).T)
    weight = np.exp(best.fun - np.array([unlikely(at) for at in points]))
    mean, size = special.expit(points[:, 0]), np.exp(points[:, 1])
    return mean * size, (1 - mean) * size, weight / weight.sum()


def shrunk_means(means: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and its standard error of each group's mean, given standard errors: normal empirical Bayes, the
    variance between groups by the method of moments (DerSimonian and Laird 1986). Both [groups].
    """
    weight = 1 / np.maximum(errors, 1e-12) ** 2
    middle = (weight * means).sum() / weight.sum()
    if len(means) < 3:
        return means, errors
    off = (weight * (means - middle) ** 2).sum() - (len(means) - 1)
    between = max(off / (weight.sum() - (weight**2).sum() / weight.sum()), 0.0)
    own = 1 / (errors**2 + between)
    middle, of_middle = (own * means).sum() / own.sum(), 1 / own.sum()
    trust = between / (between + errors**2)
    # What is not known of the variance between groups (Morris, JASA 78, 1983).
    of_trust = 2 / max(len(means) - 3, 1) * (1 - trust) ** 2 * (means - middle) ** 2
    error = np.minimum(trust * errors**2 + (1 - trust) ** 2 * of_middle + of_trust, errors**2)
    return middle + trust * (means - middle), np.sqrt(error)
