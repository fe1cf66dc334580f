"""A weighted sum of methods, the weights found by coordinate search on users whose future is known."""

from typing import Protocol

import numpy as np

from customer360.models.recommenders.candidates import Candidates
from customer360.models.recommenders.log import Dense


class Judge(Protocol):
    """Says what an order of candidates is worth."""

    def value(self, score: Dense) -> float:
        """Higher is better, at most 1."""


STEPS = (1.0, 0.5, 0.2, 0.1, 0.05)
LEAST_GAIN = 1e-4
LEAST_WEIGHT = STEPS[-1] / 2  # of all methods together
PASSES = 5  # over all methods, at each step


def best_single(found: Candidates, judge: Judge) -> str:
    """The method whose own order is worth most."""
    values = [judge.value(found.parts[:, column]) for column in range(len(found.names))]
    return found.names[int(np.argmax(values))]


def learn(found: Candidates, judge: Judge) -> dict[str, float]:
    """Non-negative weights by method, those of value 0 left out, and one at least: no method at all is judged by the
    order in which candidates happen to stand.

    Starts with the best single method at 1; each step moves one weight up or down and stays where `Judge.value` grows.
    """
    weights = dict.fromkeys(found.names, 0.0)
    weights[best_single(found, judge)] = 1.0
    total = combined(found, weights)
    best = judge.value(total)
    for step in STEPS:
        for _ in range(PASSES):
            improved = False
            for column, name in enumerate(found.names):
                for change in (step, -step):
                    if weights[name] + change < 0 or sum(weights.values()) + change < LEAST_WEIGHT:
                        continue
                    tried = total + np.float32(change) * found.parts[:, column]
                    value = judge.value(tried)
                    if value > best + LEAST_GAIN:
                        weights[name], total, best, improved = round(weights[name] + change, 6), tried, value, True
            if not improved:
                break
    return {name: weight for name, weight in weights.items() if weight > 0}


def combined(found: Candidates, weights: dict[str, float]) -> Dense:
    """The weighted sum of the parts of each row."""
    vector = np.array([weights.get(name, 0.0) for name in found.names], dtype=np.float32)
    return found.parts @ vector
