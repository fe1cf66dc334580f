"""Popularity, own purchases and the exact top k."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from customer360.models.recommenders.histories import most_popular, own_frequency, popularity, purchases, top_k

CUT = date(2024, 7, 1)


@pytest.fixture
def interactions() -> pl.LazyFrame:
    rows = [
        ("a", "old", date(2024, 1, 5), "purchase"), ("b", "old", date(2024, 1, 6), "purchase"), ("a", "old", date(2024, 2, 1), "purchase"),  # noqa: E501
        ("a", "hot", date(2024, 6, 20), "purchase"), ("b", "hot", date(2024, 6, 3), "purchase"), ("b", "edge", date(2024, 6, 2), "purchase"),  # noqa: E501
        ("a", "seen", date(2024, 6, 25), "view"), ("a", "future", CUT, "purchase"), (None, "hot", date(2024, 6, 30), "purchase"),  # noqa: E501
        ("a", "hot", date(2024, 6, 20), "purchase"),
    ]  # fmt: skip
    return pl.LazyFrame(rows, schema=["person_id", "product_id", "on", "kind"], orient="row")


def test_purchases_are_known_unique_and_past(interactions) -> None:
    assert purchases(interactions, CUT).collect().height == 6


def test_popularity_counts_its_window_only(interactions) -> None:
    assert popularity(interactions, CUT, 28).rows() == [("hot", 2)]
    assert popularity(interactions, CUT, 365).rows() == [("old", 3), ("hot", 2), ("edge", 1)]


def test_lists(interactions) -> None:
    persons = pl.Series(["b", "c"])
    assert most_popular(interactions, persons, CUT, 365, 2).rows() == [
        ("b", 1, "old", 3.0), ("b", 2, "hot", 2.0), ("c", 1, "old", 3.0), ("c", 2, "hot", 2.0),
    ]  # fmt: skip
    own = own_frequency(interactions, pl.Series(["a", "b", "c"]), CUT, 2)
    assert own.rows() == [("a", 1, "old", 2.0), ("a", 2, "hot", 1.0), ("b", 1, "hot", 1.0), ("b", 2, "edge", 1.0)]


def test_top_k_is_exact_with_ties_by_column() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, size=(200, 40)).astype(np.float32)
    scores[0, :] = 1.0
    scores[1, :30] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :15]
    assert np.array_equal(top_k(scores, 15), expected)
    assert np.array_equal(np.vstack([top_k(scores[:7], 15), top_k(scores[7:], 15)]), expected)
    assert top_k(scores, 99).shape == (200, 40)


def test_top_k_equals_a_stable_sort_with_ties_and_closed_places() -> None:
    rng = np.random.default_rng(0)
    for trial in range(150):
        rows, columns, k = rng.integers(1, 6), rng.integers(1, 300), rng.integers(1, 40)
        scores = rng.integers(0, rng.integers(1, 50), size=(rows, columns)).astype(np.float32)
        scores *= rng.random((rows, columns)) < rng.random()
        if trial % 3 == 0:
            scores[rng.random((rows, columns)) < 0.2] = -np.inf
        assert np.array_equal(top_k(scores, k), np.argsort(-scores, axis=1, kind="stable")[:, :k])
