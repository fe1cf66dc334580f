"""Weights of a sum, found on users whose future is known."""

import numpy as np

from customer360.models.recommenders import blend
from customer360.models.recommenders.candidates import Candidates
from customer360.models.recommenders.log import Dense


class Standing:
    """A judge who likes candidates best in the order in which they stand."""

    def value(self, score: Dense) -> float:
        return 1.0 - float(np.abs(score).sum()) / 100


def test_a_sum_is_of_one_method_at_least() -> None:
    parts = np.array([[1.0, 0.2], [-1.0, -0.2]], dtype=np.float32)
    found = Candidates(np.arange(1), np.zeros(2, dtype=np.int64), np.arange(2), parts, ("one", "other"))
    weights = blend.learn(found, Standing())
    assert weights and all(weight > 0 for weight in weights.values())
