"""The nearest vectors: exact against a sort, quantized against exact, what is closed never found."""

import numpy as np
import pytest
from scipy import sparse

from customer360.models.recommenders import retrieval


def vectors(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "random":
        return rng.standard_normal((count, 32)).astype(np.float32)
    centres = rng.standard_normal((20, 32))
    near = centres[rng.integers(0, 20, count)] + 0.05 * rng.standard_normal((count, 32))
    return (near * rng.lognormal(0, 0.5, (count, 1))).astype(np.float32)


@pytest.mark.parametrize("limit", [0, 10_000])
def test_small_searches_equal_a_sort(limit: int) -> None:
    rng = np.random.default_rng(0)
    items, bias = vectors("random", 300, rng), rng.standard_normal(300).astype(np.float32)
    queries = vectors("random", 7, rng)
    place, score = retrieval.Index.of(items, bias, limit).search(queries, 20)
    every = queries @ items.T + bias
    assert np.array_equal(place, np.argsort(-every, axis=1)[:, :20])
    assert score == pytest.approx(np.take_along_axis(every, place, axis=1), rel=1e-5)


@pytest.mark.parametrize("kind", ["random", "clustered"])
def test_the_quantized_scan_finds_the_exact_hundred(kind: str) -> None:
    rng = np.random.default_rng(1)
    items, bias = vectors(kind, 40_000, rng), np.zeros(40_000, dtype=np.float32)
    queries = vectors(kind, 50, rng)
    exact, _ = retrieval.Index.of(items, bias).search(queries, 100)
    found, _ = retrieval.Index.of(items, bias, exact_limit=0).search(queries, 100)
    assert np.mean([len(np.intersect1d(*pair)) / 100 for pair in zip(exact, found, strict=True)]) >= 0.99


@pytest.mark.parametrize("limit", [0, 10_000])
def test_closed_items_are_never_found_and_ties_go_by_place(monkeypatch, limit: int) -> None:
    monkeypatch.setattr(retrieval, "BLOCK_ITEMS", 4)
    index = retrieval.Index.of(np.ones((10, 2), dtype=np.float32), np.zeros(10, dtype=np.float32), limit)
    closed = sparse.csr_array(([1.0, 1.0], ([0, 0], [1, 5])), shape=(2, 10))
    place, score = index.search(np.ones((2, 2), dtype=np.float32), 9, closed)
    assert place[0, :8].tolist() == [0, 2, 3, 4, 6, 7, 8, 9] and np.isneginf(score[0, 8])
    assert place[1].tolist() == list(range(9)) and np.isfinite(score[1]).all()


def test_a_vector_of_zeros_and_more_asked_than_there_is() -> None:
    index = retrieval.Index.of(np.zeros((3, 2), dtype=np.float32), np.array([1, 3, 2], dtype=np.float32), 0)
    place, score = index.search(np.ones((1, 2), dtype=np.float32), 10)
    assert place.tolist() == [[1, 2, 0]] and score.tolist() == [[3, 2, 1]]
