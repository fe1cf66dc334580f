"""What another policy would have earned, from a log of choices whose probability is known.

IPS weighs each reward by how much likelier the other policy makes the choice (Horvitz and Thompson 1952); SNIPS divides
by the sum of the weights (Swaminathan and Joachims 2015); DR corrects a model of the rewards by what it missed (Dudík
et al. 2011), with the model fitted on the other half of the log. Intervals heed the skewness of weighted rewards
(Hall 1992, "On the removal of skewness by transformation"); choices of one subject are one observation, since they go
together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

RIDGE = 1.0
NO_SKEWNESS = 1e-6


@dataclass(frozen=True)
class Value:
    """The mean reward of a policy, its bounds, and how many equally weighted rows the log is worth for it."""

    estimate: float
    low: float
    high: float
    effective: float


@dataclass(frozen=True)
class Log:
    """Choices: the ``arm`` (a number) of each row [rows], its probability when it was chosen, what it earned, the
    context [rows, columns] that a model of the rewards may use, possibly without columns, and whose choice it was
    (numbers from 0; None: each of another)."""

    arm: np.ndarray
    propensity: np.ndarray
    reward: np.ndarray
    context: np.ndarray
    subject: np.ndarray | None = None

    @property
    def subjects(self) -> np.ndarray:
        return np.arange(len(self.arm)) if self.subject is None else self.subject


def ips(log: Log, policy: np.ndarray, alpha: float) -> Value:
    """``policy``: the probability of each arm in each row, float64 [rows, arms]; so for the other two."""
    weight = _weights(log, policy)
    return _value(log, weight * log.reward, weight, alpha)


def snips(log: Log, policy: np.ndarray, alpha: float) -> Value:
    weight = _weights(log, policy)
    mean = float((weight * log.reward).sum() / weight.sum()) if weight.sum() else float("nan")
    spread = weight * (log.reward - mean) / weight.mean() if weight.sum() else weight
    return _value(log, mean + spread, weight, alpha)


def doubly_robust(log: Log, policy: np.ndarray, alpha: float) -> Value:
    weight, model = _weights(log, policy), _cross_fitted(log, policy.shape[1])
    missed = log.reward - model[np.arange(len(log.arm)), log.arm]
    return _value(log, (policy * model).sum(axis=1) + weight * missed, weight, alpha)


def _weights(log: Log, policy: np.ndarray) -> np.ndarray:
    weights: np.ndarray = policy[np.arange(len(log.arm)), log.arm] / log.propensity
    return weights


def _value(log: Log, parts: np.ndarray, weight: np.ndarray, alpha: float) -> Value:
    mean = float(parts.mean())
    sums = np.bincount(log.subjects, parts - mean)  # what each subject adds to the error
    error = float(sums.std(ddof=1) * np.sqrt(len(sums))) / len(parts)
    squares = float((weight**2).sum())
    effective = float(weight.sum() ** 2 / squares) if squares else 0.0
    if not error > 0:
        return Value(mean, mean, mean, effective)
    skewness = float(stats.skew(sums)) / np.sqrt(len(sums))
    low, high = (mean - error * _unskewed(float(stats.norm.ppf(q)), skewness) for q in (1 - alpha / 2, alpha / 2))
    return Value(mean, low, high, effective)


def _unskewed(quantile: float, skewness: float) -> float:
    """Hall's cubic: the quantile of a studentized mean, of a normal one's; ``skewness`` is over the root of n."""
    if abs(skewness) < NO_SKEWNESS:
        return quantile
    return 3 / skewness * (float(np.cbrt(1 + skewness * (quantile - skewness / 6))) - 1)


def _cross_fitted(log: Log, arms: int) -> np.ndarray:
    """The reward of each arm in each row [rows, arms], by ridge regressions on the half of subjects without that of the
    row."""
    rows = log.subjects
    x = np.hstack([np.ones((len(rows), 1)), log.context])
    model = np.zeros((len(rows), arms))
    for half in (0, 1):
        here, there = rows % 2 == half, rows % 2 != half
        for arm in range(arms):
            seen = there & (log.arm == arm)
            gram = x[seen].T @ x[seen] + RIDGE * np.diag([1e-9, *[1.0] * log.context.shape[1]])
            model[here, arm] = x[here] @ np.linalg.lstsq(gram, x[seen].T @ log.reward[seen], rcond=None)[0]
    return model
