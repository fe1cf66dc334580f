"""Candidates: what all users share is marked as if each had a table of its own."""

import numpy as np
import polars as pl
import pytest

from customer360.models.recommenders import candidates, popular
from customer360.models.recommenders.log import Log
from customer360.models.recommenders.scoring import SameForAll


@pytest.mark.parametrize("mode", ["new", "all"])
def test_shared_scores_give_what_a_table_would(mode) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (f"u{rng.integers(0, 30):02}", f"i{rng.integers(0, 60):02}", float(rng.integers(0, 90))) for _ in range(400)
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "day"], orient="row").with_columns(kept=pl.col("item") != "i07")
    log = Log.of(frame, 100.0)
    shared, users = popular.fit(log), np.arange(log.shape[0])

    class Table:
        def __init__(self, score: SameForAll) -> None:
            self.score = score.score

        def scores(self, users: np.ndarray) -> np.ndarray:
            return np.tile(self.score, (len(users), 1))

    one = candidates.union(log, shared, users, mode, 7)
    other = candidates.union(log, {name: Table(score) for name, score in shared.items()}, users, mode, 7)
    assert np.array_equal(one.user, other.user) and np.array_equal(one.item, other.item)
    assert one.parts == pytest.approx(other.parts, abs=1e-4)


def test_standardized_scores_have_mean_0_and_deviation_1_over_the_known_items() -> None:
    scores = np.random.default_rng(1).normal(3.0, 2.0, (5, 12)).astype(np.float32)
    scores[3] = 7.0  # says nothing
    unknown = np.array([2, 9])
    found = candidates.Standardized.of(scores, unknown)
    row, item = (part.ravel() for part in np.indices(scores.shape))
    whole = np.delete(found.at(row, item).reshape(scores.shape), unknown, axis=1)
    assert whole.mean(axis=1) == pytest.approx(0.0, abs=1e-5)
    assert whole.std(axis=1) == pytest.approx([1, 1, 1, 0, 1], abs=1e-5)
    one = candidates.Standardized.of(scores[:1], unknown)
    assert one.at(np.array([0, 4]), np.array([1, 1])) == pytest.approx(np.repeat(whole[0, 1], 2))
