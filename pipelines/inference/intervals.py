"""Statistics that tables share: intervals of shares, counts and coefficients, and p-values of many tests at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import chdtri, stdtr, stdtrit

Array = NDArray[np.float64]
Z = 1.959963984540054  # of 95 % intervals
STEPS = 50  # of Newton's method; a handful are needed where there is a solution


def adjusted(p_values: Array, tests: int) -> Array:
    """Benjamini-Hochberg adjusted p-values of the smallest of ``tests``; those not given count as 1."""
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * tests / np.arange(1, len(p_values) + 1)
    smallest = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    found = np.empty_like(smallest)
    found[order] = smallest
    return found


def adjusted_column(p_value: pl.Expr) -> pl.Expr:
    """A column of p-values adjusted for how many it has (Benjamini-Hochberg); null where there is none. Of what is
    claimed at an adjusted value of at most r, a share of r is expected to be by chance.
    """

    def adjust(values: pl.Series) -> pl.Series:
        p, found = values.cast(pl.Float64).to_numpy(), np.full(len(values), np.nan)
        known = np.isfinite(p)
        found[known] = adjusted(p[known], int(known.sum()))
        return pl.Series(values.name, found).fill_nan(None)

    return p_value.map_batches(adjust, return_dtype=pl.Float64)


def wilson(hits: Any, trials: Any) -> tuple[Any, Any]:
    """The 95 % interval of a share (Wilson, 1927); 0 to 1 without a trial."""
    n = np.maximum(trials, 1)
    share = hits / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    known = np.asarray(trials) > 0
    low = np.where(known, np.clip(middle - half, 0, 1), 0.0)
    high = np.where(known, np.clip(middle + half, 0, 1), 1.0)
    return (low, high) if low.ndim else (float(low), float(high))


def garwood(counts: NDArray[np.int64]) -> tuple[Array, Array]:
    """The exact 95 % interval of the mean of which so many were counted (Garwood, 1936)."""
    low = np.where(counts > 0, chdtri(2 * np.maximum(counts, 1), 0.975) / 2, 0.0)
    return low, chdtri(2 * (counts + 1), 0.025) / 2


def weighted_counts(total: Array, square: Array, most: Array) -> tuple[Array, Array]:
    """The 95 % interval of a weighted sum of Poisson means (Fay and Feuer, 1997).

    ``total`` is the sum of weight x count, ``square`` that of weight² x count, ``most`` the largest weight. With equal
    weights it is the exact one of the counts; zero where no weight is.
    """
    some, most = square > 0, np.maximum(most, 0.0)
    safe = np.where(some, total, 1.0)
    low = square / (2 * safe) * chdtri(2 * safe**2 / np.where(some, square, 1.0), 0.975)
    above, spread = total + most, np.where(most > 0, square + most**2, 1.0)
    high = spread / (2 * np.where(most > 0, above, 1.0)) * chdtri(2 * above**2 / spread, 0.025)
    return np.where(some, low, 0.0), np.where(most > 0, high, 0.0)


def t_interval(estimate: Array, error: Array, freedom: Array | float) -> tuple[Array, Array, Array]:
    """Low and high end of the 95 % interval of estimates with standard errors, and p-values of zero (Student)."""
    wide = stdtrit(freedom, 0.975) * error
    p_value = 2 * stdtr(freedom, -np.abs(estimate) / np.maximum(error, np.finfo(float).tiny))
    return estimate - wide, estimate + wide, p_value


def long_run_errors(design: Array, mean: Array, counts: Array, inverse: Array, columns: range) -> tuple[Array, Array]:
    """Standard errors of some coefficients of ``poisson_fit``, and the degrees of freedom of each.

    Robust to heteroskedasticity and autocorrelation: the mean square of the first cosine transforms of the scores, as
    many as Lazarus, Lewis, Stock and Watson (2018) recommend. A fit with trend and season takes the slow waves out of
    its residuals and looks surer than it is; errors and degrees of freedom are therefore those that the same sums have
    of independent days (the bias reduction of Bell and McCaffrey, 2002, with Satterthwaite's approximation).
    """
    count = len(counts)
    waves = max(int(0.41 * count ** (2 / 3)), 1)
    at = (np.arange(count) + 0.5) / count
    cosines = np.cos(np.pi * np.outer(at, np.arange(1, waves + 1)))
    errors, freedom = [], []
    for column in columns:
        weight = design @ inverse[:, column]  # of each day's residual in the coefficient
        parts = cosines * weight[:, None]
        kept = parts - design @ (inverse @ (design.T @ (mean[:, None] * parts)))
        spread = kept.T @ (mean[:, None] * kept)
        expected = 2 * np.trace(spread) / waves
        found = 2 * np.square(parts.T @ (counts - mean)).sum() / waves
        errors.append(np.sqrt(found * (weight**2 @ mean) / expected))
        freedom.append(np.trace(spread) ** 2 / np.square(spread).sum())
    return np.array(errors), np.array(freedom)


def poisson_fit(design: Array, counts: Array) -> tuple[Array, Array] | None:
    """Coefficients [k] of a log-linear mean of counts, and the inverse of their information [k, k]; None where Newton's
    method finds none (nothing counted, columns that say the same)."""
    beta: Array = np.zeros(design.shape[1])
    beta[0] = np.log(max(counts.mean(), 1e-9))  # the first column is the constant
    for _ in range(STEPS):
        mean = np.exp(np.clip(design @ beta, -30, 30))
        information = design.T @ (mean[:, None] * design)
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (counts - mean))
        beta += np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-9:
            inverse: Array = np.linalg.inv(information).astype(np.float64)
            return beta, inverse
    return None
