"""Third stage: a score for each candidate.

Sources count in units of their own (purchases, probabilities, distances), so their ranks are fused, not their scores
(reciprocal rank fusion): the first of a list adds its source's weight, later ones less. To that comes what the
candidate is: of a category that the person is likely to buy from, or that the session is about; its margin; its age.
"""

from __future__ import annotations

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
        rank = np.arange(1, len(listed) + 1)
        np.maximum.at(added, listed, ranking.weights.get(name, 0.0) * (DAMPING + 1) / (DAMPING + rank))
        found[name] = added
    gains = {"interest": ranking.interest, "activity": ranking.activity, "margin": ranking.margin,
             "fresh": ranking.freshness}  # fmt: skip
    for name, gain in gains.items():
        if gain and name in slate.values:
            found[name] = gain * slate.values[name]
    return found


def scores(slate: Slate, ranking: Ranking) -> Values:
    """The sum of the parts, to nine digits: equal inputs give equal orders."""
    total = np.zeros(len(slate.products))
    for _, added in sorted(parts(slate, ranking).items()):
        total += added
    return np.round(total, 9)
