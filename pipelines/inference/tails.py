"""Chances of counts: what `scipy.stats` gives, without its import, which takes as long as several builds.

They are vectors; equal arguments are computed once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


def binomial_sf(hits: Counts, trials: Counts, rate: Array) -> Array:
    """Chance of more than so many ``hits`` (0 to trials - 1) of ``trials``."""
    found: Array = betainc(hits + 1, trials - hits, rate)
    return found


def beta_binomial_sf(hits: Counts, trials: Counts, a: Array, b: Array) -> Array:
    """Chance of more than so many ``hits`` (0 to trials - 1) of ``trials``, where the rate has a Beta(a, b)."""
    cases, places = np.unique(np.column_stack([hits, trials, a, b]), axis=0, return_inverse=True)
    found = np.empty(len(cases))
    for case, (k, n, alpha, beta) in enumerate(cases):
        m = np.arange(k + 1)
        ways = -np.log(n + 1) - betaln(n - m + 1, m + 1)
        found[case] = 1 - np.exp(ways + betaln(m + alpha, n - m + beta) - betaln(alpha, beta)).sum()
    return np.clip(found, 0.0, 1.0)[places.reshape(-1)]


def hypergeometric_cdf(hits: Counts, drawn: Counts, good: Counts, other: Counts) -> Array:
    """Chance of at most so many ``hits`` of ``drawn``, where ``good`` are hits and ``other`` are none."""
    cases, places = np.unique(np.column_stack([hits, drawn, good, other]), axis=0, return_inverse=True)
    found = np.array([_share_below(*map(int, case)) for case in cases])
    return found[places.reshape(-1)] if len(cases) else found


def _share_below(hits: int, drawn: int, good: int, other: int) -> float:
    """By the ratios of neighbours from the likeliest count on: logarithms of factorials would lose digits."""
    least, most = max(0, drawn - other), min(drawn, good)
    top = min(max((drawn + 1) * (good + 1) // (good + other + 2), least), most)
    up, down = np.arange(top, most, dtype=float), np.arange(top, least, -1, dtype=float)
    above = np.cumprod((good - up) * (drawn - up) / ((up + 1) * (other - drawn + up + 1)))
    below = np.cumprod(down * (other - drawn + down) / ((good - down + 1) * (drawn - down + 1)))
    weights = np.concatenate([below[::-1], [1.0], above])
    return float(weights[: max(hits - least + 1, 0)].sum() / weights.sum())
