"""What two arms differ by, and how sure that is. Arrays in, figures out; nothing here knows a table.

- A mean, or a ratio of means by the delta method (Deng, Knoblich and Lu 2018, "Applying the delta method in metric
  analytics"). What is tested is the difference; as a share of the control's mean it has Fieller's bounds (1954), which
  hold no difference exactly where those of the difference do. The delta method's own bounds of a share do not: the
  error of a low treatment shrinks with its mean, so that chance looks like harm.
- CUPED (Deng et al. 2013): a covariate from before the exposure takes away the variance that it explains, with one
  coefficient for both arms.
- Intervals at one look: Welch's t. At any number of looks: asymptotic confidence sequences, the normal mixture of
  mSPRT (Robbins 1970; Waudby-Smith et al. 2023, arXiv 2103.06476, equations 9, 155 and 161).

Differences, their bounds and p-values, and the estimate of a share are those that GrowthBook publishes (gbstats), with
whose figures the tests agree to 1e-6. Its bounds of a share are the delta method's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

TIGHTEST_AT = 5000  # subjects of both arms at which a confidence sequence is tuned to be tightest
MISMATCH = 1e-3  # chance below which arms do not have the sizes that their shares say


@dataclass(frozen=True)
class Outcomes:
    """One value a subject of one arm: float64 [subjects]. ``per`` makes the metric a ratio, sum over sum; ``before`` is
    the covariate; ``is_binary`` values are 0 or 1."""

    values: np.ndarray
    per: np.ndarray | None = None
    before: np.ndarray | None = None
    is_binary: bool = False

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        """Of the values, or the ratio; nan where its denominator is 0."""
        if self.per is None:
            return float(self.values.mean())
        return float(self.values.sum() / self.per.sum()) if self.per.sum() else float("nan")

    def spread(self) -> np.ndarray:
        """What each subject adds to the error of the mean: the delta method's linear part."""
        if self.per is None:
            return self.values - self.values.mean()
        spread: np.ndarray = (self.values - self.mean * self.per) / self.per.mean()
        return spread

    def variance_of(self, spread: np.ndarray) -> float:
        return float(spread.var(ddof=0 if self.is_binary and self.per is None else 1))


@dataclass(frozen=True)
class Effect:
    """Treatment less control, its standard error, the degrees of freedom of Welch's t and the subjects of both arms.
    ``base``: the control's mean, of which the difference is a share, with its variance and ``shared``, how far the
    errors of difference and base go together (against each other: above 0)."""

    estimate: float
    error: float
    freedom: float
    count: int
    base: float = 0.0
    base_variance: float = 0.0
    shared: float = 0.0


@dataclass(frozen=True)
class Interval:
    """An effect with its bounds and p-value, all at one level."""

    estimate: float
    low: float
    high: float
    p_value: float


class NoEffect(ValueError):
    """Nothing can be said: no subject differs from another, or a ratio has no denominator."""


def coefficient(control: Outcomes, treatment: Outcomes) -> float:
    """CUPED's: of all subjects together; 0 without a covariate that varies, and for ratios."""
    if control.before is None or treatment.before is None or control.per is not None:
        return 0.0
    before = np.concatenate([control.before, treatment.before])
    values = np.concatenate([control.values, treatment.values])
    explained = before - before.mean()
    squares = float(explained @ explained)
    return float(explained @ (values - values.mean())) / squares if squares > 0 else 0.0


def effect(control: Outcomes, treatment: Outcomes) -> Effect:
    """What the treatment adds to the mean.

    Raises:
        NoEffect: there is no variance, or no denominator.
    """
    theta = coefficient(control, treatment)
    adjusted = [_adjusted(arm, theta) for arm in (control, treatment)]
    shifts = [theta * float(arm.before.mean()) if theta and arm.before is not None else 0.0
              for arm in (control, treatment)]  # fmt: skip
    difference = (treatment.mean - shifts[1]) - (control.mean - shifts[0])
    variances = [arm.variance_of(spread) / arm.count
                 for arm, spread in zip((control, treatment), adjusted, strict=True)]  # fmt: skip
    error = float(np.sqrt(sum(variances)))
    if not error > 0 or not np.isfinite(difference):
        raise NoEffect("all subjects have the same value, or those of an arm have no denominator")
    freedom = sum(variances) ** 2 / sum(
        v**2 / (arm.count - 1) for v, arm in zip(variances, (control, treatment), strict=True)
    )
    spread = control.spread()
    base_variance = control.variance_of(spread) / control.count
    both = control.variance_of(spread + adjusted[0]) / control.count
    shared = (both - base_variance - variances[0]) / 2
    count = control.count + treatment.count
    return Effect(difference, error, freedom, count, control.mean, base_variance, shared)


def _adjusted(arm: Outcomes, theta: float) -> np.ndarray:
    spread = arm.spread()
    return spread - theta * (arm.before - arm.before.mean()) if theta and arm.before is not None else spread


def at_one_look(found: Effect, alpha: float) -> Interval:
    """Welch's t: right at one look that was planned before."""
    half = float(stats.t.ppf(1 - alpha / 2, found.freedom)) * found.error
    p_value = float(2 * stats.t.sf(abs(found.estimate / found.error), found.freedom))
    return Interval(found.estimate, found.estimate - half, found.estimate + half, p_value)


def reach(count: int | float, alpha: float, tightest_at: int = TIGHTEST_AT) -> float:
    """Half the width of a confidence sequence at so many subjects, in standard errors."""
    variance = _mixing(alpha, tightest_at) * count
    return math.sqrt(2 * (variance + 1) / variance * math.log(math.sqrt(variance + 1) / alpha))


def _mixing(alpha: float, tightest_at: int) -> float:
    """The square of rho, the scale of the normal mixture."""
    return (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tightest_at


def at_any_look(found: Effect, alpha: float, tightest_at: int = TIGHTEST_AT) -> Interval:
    """A confidence sequence: right at all looks together, however many there are and whatever is decided by them."""
    half = found.error * reach(found.count, alpha, tightest_at)
    variance = _mixing(alpha, tightest_at) * found.count
    ratio = found.estimate / found.error
    log_evidence = variance * ratio**2 / (2 * (variance + 1)) - math.log(variance + 1) / 2
    p_value = math.exp(min(0.0, -log_evidence))
    return Interval(found.estimate, found.estimate - half, found.estimate + half, p_value)


def as_share(found: Effect, told: Interval) -> Interval:
    """The interval of a difference as one of its share of the control's mean, with the same p-value: all shares r at
    which the difference less r times that mean is not told from 0. No bounds where the mean itself is not."""
    if found.base == 0:
        return Interval(math.copysign(math.inf, told.estimate), -math.inf, math.inf, told.p_value)
    squared = ((told.high - told.estimate) / found.error) ** 2
    sure = found.base**2 - squared * found.base_variance
    estimate = found.estimate / abs(found.base)
    if not sure > 0:
        return Interval(estimate, -math.inf, math.inf, told.p_value)
    middle = found.estimate * found.base + squared * found.shared
    half = math.sqrt(max(middle**2 - sure * (found.estimate**2 - squared * found.error**2), 0.0))
    low, high = sorted(math.copysign(1, found.base) * (middle + side * half) / sure for side in (-1, 1))
    return Interval(estimate, low, high, told.p_value)


def mismatch(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The chance of arms at least so far from their shares (chi-square); below ``MISMATCH`` the assignment or the log
    is broken, and no figure means anything."""
    total = sum(counts)
    expected = [share / sum(shares) * total for share in shares]
    return float(stats.chisquare(list(counts), expected).pvalue) if total else 1.0


def corrected(p_values: Sequence[float], how: str) -> list[float]:
    """P-values of several questions at once: ``holm`` holds the chance of any false yes, ``benjamini_hochberg`` the
    share of false ones among the yes."""
    p, n = np.array(p_values, dtype=float), len(p_values)
    if how == "none" or n == 0:
        return p.tolist()
    order = np.argsort(p, kind="stable")
    if how == "holm":
        stepped = np.maximum.accumulate(p[order] * np.arange(n, 0, -1))
    else:
        stepped = np.minimum.accumulate((p[order] * n / np.arange(1, n + 1))[::-1])[::-1]
    found = np.empty(n)
    found[order] = np.minimum(stepped, 1.0)
    return found.tolist()
