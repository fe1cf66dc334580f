"""Which of several groups differ from the others: means with intervals, shrunk where they are few.

A small group's figure is mostly chance: `shrunk` pulls it to the common mean by as much as chance explains (empirical
Bayes; Efron and Morris 1975, between-group variance by Paule and Mandel 1982). Who is called different is decided by a
test with Holm's correction (1979), so that of a family of comparisons where nothing differs at most the stated share
has a single false call.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr, stdtrit

Z = 1.959963984540054  # 95 % of a normal distribution


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979): Float64 [n]; NaN stays and counts for nothing."""
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def t_interval(mean: np.ndarray, error: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval of means with standard errors and degrees of freedom."""
    half = stdtrit(np.maximum(freedom, 1), 0.975) * error
    return mean - half, mean + half


def t_p_value(difference: np.ndarray, error: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Two-sided p-value of differences from 0; 1 where nothing varies and nothing differs."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error > 0, np.abs(difference) / error, np.where(difference == 0, 0.0, np.inf))
    return 2 * stdtr(np.maximum(freedom, 1), -ratio)


def between_variance(means: np.ndarray, variances: np.ndarray) -> float:
    """Variance of the groups' true means around the common one (Paule and Mandel): the value at which the weighted
    squares are as large as chance lets them be; 0 where chance alone explains them."""
    if len(means) < 2:
        return 0.0

    def surplus(extra: float) -> float:
        weight = 1 / (variances + extra)
        centre = (weight * means).sum() / weight.sum()
        return float((weight * (means - centre) ** 2).sum() - (len(means) - 1))

    low, high = 0.0, float(np.var(means) * len(means) + variances.max())
    if surplus(low) <= 0:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return (low + high) / 2


def shrunk(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(estimate, its standard error) of each group: its own mean, pulled to the common one. Float64 [n] each.

    means: of the groups; variances: of these means, above 0. The error adds what the common mean and the pull itself
    are uncertain by (Morris 1983).
    """
    extra = between_variance(means, variances)
    weight = 1 / (variances + extra)
    centre, centre_variance = (weight * means).sum() / weight.sum(), 1 / weight.sum()
    own = extra / (extra + variances)
    estimate = own * means + (1 - own) * centre
    of_pull = 2 / max(len(means) - 3, 1) * ((1 - own) * (means - centre)) ** 2
    return estimate, np.sqrt(own * variances + (1 - own) ** 2 * centre_variance + of_pull)
