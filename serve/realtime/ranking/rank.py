"""Third stage: a score for each candidate.

Sources count in units of their own (purchases, probabilities, distances), so their ranks are fused, not their scores
(reciprocal rank fusion): the first of a list adds its source's weight, later ones less. To that comes what the
candidate is: of a category that the person is likely to buy from, or that the session is about; its margin; its age.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from customer360.serve.realtime.ranking.merchandise import Ranking
from customer360.serve.realtime.ranking.retrieve import Slate, Values

DAMPING = 60  # of reciprocal rank fusion: how slowly a list loses weight


def parts(slate: Slate, ranking: Ranking) -> dict[str, Values]:
    """What each source and feature adds to each candidate."""
    count = len(slate.products)
    found = dict[str, Values]()
    for name, listed in slate.sources.items():
        added = np.zeros(count)
        counts = ranking.weights.get(name, 0.0) * (DAMPING + 1) / _damped(len(listed))
        added[listed[::-1]] = counts[::-1]  # the last first: where one stands twice, its better place is written last
        found[name] = added
    gains = {"interest": ranking.interest, "activity": ranking.activity, "margin": ranking.margin,
             "fresh": ranking.freshness}  # fmt: skip
    for name, gain in gains.items():
        if gain and name in slate.values:
            found[name] = gain * slate.values[name]
    return found


_DAMPED = DAMPING + np.arange(1, 1025)


def _damped(count: int) -> NDArray[np.int64]:
    """`DAMPING` and the rank of each of so many."""
    return _DAMPED[:count] if count <= len(_DAMPED) else DAMPING + np.arange(1, count + 1)


def scores(slate: Slate, ranking: Ranking) -> Values:
    """A score for each candidate, to nine digits: equal inputs give equal orders."""
    return summed(parts(slate, ranking), len(slate.products))


def summed(added_by: Mapping[str, Values], count: int) -> Values:
    """The sum of `parts`, to nine digits."""
    total = np.zeros(count)
    for _, added in sorted(added_by.items()):
        total += added
    return np.round(total, 9)
