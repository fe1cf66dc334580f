"""Intervals of whatever is computed from sums over people, by leaving out a part of the people at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

GROUPS = 100
Array = NDArray[np.float64]


def folded(sums: Array) -> Array:
    """What each person contributes [people, …] added up by group of people [groups, …]. People fall into groups by
    their order, which must not follow from what is estimated.
    """
    parts = np.zeros((min(GROUPS, len(sums)), *sums.shape[1:]))
    np.add.at(parts, np.arange(len(sums)) % len(parts), sums)
    return parts


def interval(parts: Array, estimate: Callable[[Array], Any], confidence: float) -> tuple[Array, Array, Array]:
    """Estimate, lower and upper end by the delete-a-group jackknife (Wolter, Introduction to Variance Estimation, 2007,
    chapter 4), with Student's quantile of groups - 1 degrees of freedom; around the estimate, the larger of the usual
    two.

    parts [groups, …]: sums over the people of each group, all of a person's in one, so that what one person does twice
    is no independent evidence; estimate: from the sums of all people [...] to a number or an array.
    """
    groups, whole = len(parts), parts.sum(axis=0)
    told = np.asarray(estimate(whole), dtype=np.float64)
    left_out = np.stack([np.asarray(estimate(whole - part), dtype=np.float64) for part in parts])
    spread = np.sqrt((groups - 1) / groups * ((left_out - told) ** 2).sum(axis=0))
    half = stdtrit(groups - 1, (1 + confidence) / 2) * spread
    return told, told - half, told + half
