"""How large an experiment must be, before it starts: subjects for an effect, the effect for subjects, days."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import optimize, stats

from customer360.serve.activation.experiments.effects import reach

MOST = 1e12  # subjects; beyond it an effect is out of reach


@dataclass(frozen=True)
class Baseline:
    """A metric before anything is changed: its mean, the variance that one subject adds (after CUPED, where there is a
    covariate; ``explained`` is the share that it took), and the subjects who would be exposed in a day."""

    mean: float
    variance: float
    explained: float
    subjects_a_day: float
    subjects: int


@dataclass(frozen=True)
class Test:
    """How an effect is judged: the level, the chance ``power`` with which it shall be seen, and whether intervals hold
    at any look; these see it at the last look at least as often as is said here."""

    alpha: float
    power: float
    is_sequential: bool = False

    def bound(self, subjects: float) -> float:
        """Standard errors from which on an effect is told."""
        return reach(subjects, self.alpha) if self.is_sequential else float(stats.norm.ppf(1 - self.alpha / 2))


def power(effect: float, variance: float, control: float, treatment: float, test: Test) -> float:
    """The chance to see an absolute effect, with so many subjects in two arms of equal variance."""
    error, bound = math.sqrt(variance / control + variance / treatment), test.bound(control + treatment)
    return float(stats.norm.sf(bound - effect / error) + stats.norm.cdf(-bound - effect / error))


def subjects_for(effect: float, variance: float, test: Test, shares: tuple[float, float]) -> float:
    """Subjects in both arms until an absolute effect is seen; infinite where none suffice."""

    def lacking(log_subjects: float) -> float:
        n = math.exp(log_subjects)
        return power(abs(effect), variance, n * shares[0], n * shares[1], test) - test.power

    if not effect or not variance > 0 or lacking(math.log(MOST)) < 0:
        return math.inf
    return math.exp(float(optimize.brentq(lacking, 0.0, math.log(MOST), xtol=1e-12))) if lacking(0.0) < 0 else 1.0


def detectable(variance: float, test: Test, control: float, treatment: float) -> float:
    """The smallest absolute effect that is seen."""
    error = math.sqrt(variance / control + variance / treatment)

    def lacking(effect: float) -> float:
        return power(effect, variance, control, treatment, test) - test.power

    return float(optimize.brentq(lacking, 0.0, 40 * error, xtol=1e-14)) if error > 0 else 0.0
