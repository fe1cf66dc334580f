"""Third stage: a score for each candidate.

Sources count in units of their own (purchases, probabilities, distances), so their ranks are fused, not their scores
(reciprocal rank fusion): the first of a list adds its source's weight, later ones less. To that comes what the
candidate is: of a category that the person is likely to buy from, or that the session is about; its margin; its age.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from customer360.serve.realtime.ranking.merchandise import Ranking
from customer360.serve.realtime.ranking.retrieve import Slate, Values

DAMPING = 60  # of reciprocal rank fusion: how slowly a list loses weight


def parts(slate: Slate, ranking: Ranking) -> dict[str, Values]:
    """What each source and feature adds to each candidate."""
    count = len(slate.products)
    found = dict[str, Values]()
    for name, listed in slate.sources.items():
        added = np.zeros(count)
        # The last first: where one stands twice, its better place is written last.
        added[listed[::-1]] = _counted(ranking.weights.get(name, 0.0), len(listed))
        found[name] = added
    gains = {"interest": ranking.interest, "activity": ranking.activity, "margin": ranking.margin,
             "fresh": ranking.freshness}  # fmt: skip
    for name, gain in gains.items():
        if gain and name in slate.values:
            found[name] = gain * slate.values[name]
    return found


@lru_cache(maxsize=1024)
def _counted(weight: float, count: int) -> Values:
    """What the last, … and the first of so many adds."""
    counts = weight * (DAMPING + 1) / (DAMPING + np.arange(count, 0, -1))
    counts.flags.writeable = False
    return counts


def scores(slate: Slate, ranking: Ranking) -> Values:
    """A score for each candidate, to nine digits: equal inputs give equal orders."""
    return summed(parts(slate, ranking), len(slate.products))


def summed(added_by: Mapping[str, Values], count: int) -> Values:
    """The sum of `parts`, to nine digits."""
    total = np.zeros(count)
    for _, added in sorted(added_by.items()):
        total += added
    return total.round(9)
