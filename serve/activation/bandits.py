"""Bandits that learn from a log and tell shares: how likely each arm is chosen, which is what off-policy figures need.

Nothing is drawn here. What is learnt is a function of the log's rows alone, whatever their order, so a log that is
played again teaches the same; the choice itself is a hash of the subject (`experiments.assignment`), so the probability
that is logged is exact, and a choice can be made again.

- Thompson (1933): an arm is chosen as often as it is the best one under the posterior, Beta(1 + wins, 1 + losses).
- LinUCB (Li et al. 2010, disjoint models): the arm of the highest upper bound of a ridge regression on the context.

Both leave ``exploration`` of the subjects to all arms alike, which bounds how rare an arm can get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import stats

POINTS = 2048  # quantiles of an arm's posterior over which the quadrature goes
WIDTH = 1.0  # of LinUCB's bound, in standard errors


@dataclass(frozen=True)
class Thompson:
    """By arm, what was tried and what came of it: yes or no."""

    arms: tuple[str, ...]
    tries: tuple[int, ...]
    wins: tuple[int, ...]
    exploration: float

    def shares(self, context: Mapping[str, float | None] | None = None) -> dict[str, float]:
        """The probability of each arm; the context does not matter."""
        best = chances_of_best(self.tries, self.wins)
        return _explored(self.arms, best, self.exploration)


def thompson(
    arms: Sequence[str], exploration: float, chosen: Sequence[str] = (), rewards: Sequence[float] = ()
) -> Thompson:
    """What rows of a log teach; a reward is 0 or 1."""
    of = {arm: [r for a, r in zip(chosen, rewards, strict=True) if a == arm] for arm in arms}
    tries, wins = (tuple(len(of[a]) for a in arms), tuple(sum(r > 0 for r in of[a]) for a in arms))
    return Thompson(tuple(arms), tries, wins, exploration)


@lru_cache(maxsize=256)  # asked for by every request between two editions
def chances_of_best(tries: tuple[int, ...], wins: tuple[int, ...]) -> np.ndarray:
    """The probability that each arm has the highest rate, under independent Beta posteriors: float64 [arms]."""
    posteriors = [stats.beta(1 + w, 1 + n - w) for n, w in zip(tries, wins, strict=True)]
    quantiles = (np.arange(POINTS) + 0.5) / POINTS
    best = []
    for at, mine in enumerate(posteriors):
        rates = mine.ppf(quantiles)
        below = [other.cdf(rates) for number, other in enumerate(posteriors) if number != at]
        best.append(float(np.prod(below, axis=0).mean()))
    found = np.array(best)
    return found / found.sum()


@dataclass(frozen=True)
class LinUcb:
    """By arm a ridge regression of reward on context: ``gram`` [arms, d, d] and ``moment`` [arms, d], where d is one,
    and for each of ``columns`` its standardized value and whether it is unknown.
    """

    arms: tuple[str, ...]
    columns: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    gram: list[list[list[float]]]
    moment: list[list[float]]
    exploration: float

    def shares(self, context: Mapping[str, float | None] | None = None) -> dict[str, float]:
        """The probability of each arm for a subject of this context; what it does not tell is unknown."""
        x = _features([context or {}], self.columns, self.means, self.scales)[0]
        bounds = []
        for gram, moment in zip(self.gram, self.moment, strict=True):
            inverse = np.linalg.inv(np.array(gram))
            bounds.append(float(inverse @ np.array(moment) @ x + WIDTH * np.sqrt(x @ inverse @ x)))
        best = np.zeros(len(self.arms))
        best[int(np.argmax(bounds))] = 1.0
        return _explored(self.arms, best, self.exploration)


def lin_ucb(
    arms: Sequence[str], columns: Sequence[str], exploration: float, chosen: Sequence[str] = (),
    rewards: Sequence[float] = (), contexts: Sequence[Mapping[str, float | None]] = (),
) -> LinUcb:  # fmt: skip
    """What rows of a log teach: of each the arm, the reward, and the context that the arm was chosen by."""
    means, scales = _standard(contexts, columns)
    x, y = _features(contexts, columns, means, scales), np.array(rewards, dtype=float)
    gram, moment = [], []
    for arm in arms:
        mine = np.array([a == arm for a in chosen], dtype=bool)
        gram.append((np.eye(x.shape[1]) + x[mine].T @ x[mine]).tolist())
        moment.append((x[mine].T @ y[mine]).tolist())
    return LinUcb(tuple(arms), tuple(columns), means, scales, gram, moment, exploration)


def _standard(
    contexts: Sequence[Mapping[str, float | None]], columns: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    means, scales = [], []
    for column in columns:
        known = [float(v) for c in contexts if (v := c.get(column)) is not None]
        means.append(float(np.mean(known)) if known else 0.0)
        scales.append((float(np.std(known)) or 1.0) if known else 1.0)
    return tuple(means), tuple(scales)


def _features(
    contexts: Sequence[Mapping[str, float | None]], columns: Sequence[str], means: Sequence[float],
    scales: Sequence[float],
) -> np.ndarray:  # fmt: skip
    """[contexts, 1 + 2 columns]"""
    said = np.array([[np.nan if (v := c.get(name)) is None else float(v) for name in columns] for c in contexts])
    said = said.reshape(len(contexts), len(columns))
    unknown = np.isnan(said)
    values = np.where(unknown, 0.0, (np.nan_to_num(said) - np.array(means)) / np.array(scales))
    return np.hstack([np.ones((len(contexts), 1)), values, unknown.astype(float)])


def _explored(arms: Sequence[str], best: np.ndarray, exploration: float) -> dict[str, float]:
    shares = (1 - exploration) * best + exploration / len(arms)
    return {arm: float(share) for arm, share in zip(arms, shares, strict=True)}


def as_json(learnt: Thompson | LinUcb) -> dict[str, object]:
    """What was learnt, to be stored."""
    return {"kind": type(learnt).__name__, **asdict(learnt)}


def of_json(said: Mapping[str, Any]) -> Thompson | LinUcb:
    """Raises ValueError where it is nothing that `as_json` gave."""
    kinds = {kind.__name__: kind for kind in (Thompson, LinUcb)}
    try:
        kind = kinds[str(said["kind"])]
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) and k not in ("gram", "moment") else v for k, v in said.items()
        }
        values.pop("kind")
        made: Thompson | LinUcb = kind(**values)
    except (KeyError, TypeError):
        raise ValueError("nothing that a bandit learnt") from None
    return made
