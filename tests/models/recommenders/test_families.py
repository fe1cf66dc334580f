"""Every family on matrices small enough to be worked out by hand."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from customer360.models.recommenders import content, ease, factors, neighbours, own, popular
from customer360.models.recommenders.log import Log
from customer360.models.recommenders.scoring import normalized

TODAY = 100.0


def log(rows: list[tuple[str, str, float]], today: float = TODAY, **columns: list) -> Log:
    frame = pl.DataFrame(rows, schema=["user", "item", "day"], orient="row").with_columns(kept=pl.lit(True))
    return Log.of(frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()}), today)


def sparse_of(rows: list[list[float]]) -> sparse.csr_array:
    return sparse.csr_array(np.array(rows, dtype=np.float32))


def test_ease_of_two_items_is_the_closed_form() -> None:
    """X'X + 1 = [[3, 1], [1, 2]], its inverse [[2, -1], [-1, 3]] / 5: B[0, 1] = 1/3, B[1, 0] = 1/2."""
    found = ease.weights(sparse_of([[1, 1], [1, 0]]), 1.0)
    assert found == pytest.approx(np.array([[0, 1 / 3], [1 / 2, 0]]), abs=1e-6)


@pytest.mark.parametrize("double_limit", [0, 100])
def test_ease_minimizes_what_it_says_in_both_precisions(monkeypatch, double_limit) -> None:
    monkeypatch.setattr(ease, "DOUBLE_LIMIT", double_limit)
    monkeypatch.setattr(ease, "BLOCK_ITEMS", 3)
    dense = (np.random.default_rng(0).random((40, 8)) < 0.4).astype(np.float32)
    found = ease.weights(sparse.csr_array(dense), 5.0).astype(float)
    slope = dense.T @ (dense @ found - dense) + 5.0 * found
    np.fill_diagonal(slope, 0.0)  # held at zero, not at its best
    assert np.diag(found) == pytest.approx(0.0) and slope == pytest.approx(0.0, abs=1e-4)


def test_ease_is_among_the_items_that_hold_nearly_all_pairs(monkeypatch) -> None:
    dense = (np.random.default_rng(0).random((60, 9)) < 0.5).astype(np.float32)
    dense[:, 4] = 0
    dense[0, 4] = 1  # one buyer of some two hundred and fifty pairs
    assert ease.common(sparse.csr_array(dense)).tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert ease.common(sparse_of([[1, 0], [1, 1]])).tolist() == [0, 1]
    rows = [(f"u{u:02}", f"i{i}", 50.0) for u, i in zip(*np.nonzero(dense), strict=True)]
    found = ease.fit(log(rows))["ease"].scores(np.arange(60))
    assert found.shape == (60, 9) and not found[:, 4].any() and found[:, :4].any()
    whole = ease.weights(sparse.csr_array(np.delete(dense, 4, axis=1)), ease.REGULARISATION)
    assert np.delete(found, 4, axis=1) == pytest.approx(np.delete(dense, 4, axis=1) @ whole, abs=1e-6)


def test_ease_does_not_depend_on_how_many_threads_work() -> None:
    baskets = sparse.random_array(
        (900, 1100), density=0.02, format="csr", dtype=np.float32, rng=np.random.default_rng(0)
    )
    found = []
    for threads in (1, 3):
        with threadpool_limits(threads):
            found.append(ease.weights(sparse.csr_array(baskets), 5.0).tobytes())
    assert found[0] == found[1]


def test_factors_that_go_on_are_near_those_of_a_whole_fit() -> None:
    rng = np.random.default_rng(2)
    rows = [(f"u{u:02}", f"i{i:02}", 50.0 + 40 * rng.random()) for u in range(40) for i in rng.choice(20, 6, False)]
    whole = log(rows)
    past, users = whole.before(80.0), np.arange(40)
    on, alone = factors.go_on(whole, factors.fit(past))["ials"], factors.fit(whole)["ials"]
    assert np.corrcoef(on.scores(users).ravel(), alone.scores(users).ravel())[0, 1] > 0.95


def test_cosine_counts_shrinkage_and_neighbours() -> None:
    baskets = sparse_of([[1, 1, 0], [1, 1, 0], [1, 0, 1]])
    found = neighbours.cosine(baskets, shrink=1.0, neighbours=2).toarray()
    expected = np.array([[0, 2 / (6**0.5 + 1), 1 / (3**0.5 + 1)], [2 / (6**0.5 + 1), 0, 0], [1 / (3**0.5 + 1), 0, 0]])
    assert found == pytest.approx(expected, abs=1e-6)
    one = neighbours.cosine(baskets, shrink=1.0, neighbours=1).toarray()
    assert (one > 0).sum(axis=0).tolist() == [1, 1, 1] and one[2, 0] == 0


def test_user_neighbours_hand_on_what_the_like_bought() -> None:
    """A and B share x; C shares nothing. A gets B's y at their cosine, rare items weighing more."""
    found = neighbours.fit_users(log([("A", "x", 99), ("B", "x", 99), ("B", "y", 100 - 1e-9), ("C", "z", 99)]))
    x, y = np.log(1 + 3 / 2), np.log(1 + 3 / 1)
    scores = found["user_knn"].scores(np.array([0, 2]))
    assert scores[0] == pytest.approx([x / np.hypot(x, y) * 0.5 ** (1 / 180), x / np.hypot(x, y), 0.0], rel=1e-4)
    assert scores[1] == pytest.approx(0.0)


def ials_loss(cells: sparse.csr_array, users: np.ndarray, items: np.ndarray) -> float:
    """What a sweep lowers: weighted squared error over all cells plus regularisation."""
    dense, one = (users @ items.T).astype(np.float64), cells.toarray()
    error = ((1 - dense) ** 2 * (one > 0)).sum() + factors.UNOBSERVED * (dense**2).sum()
    rows, columns = factors._strength(cells, len(items)), factors._strength(cells.T.tocsr(), len(users))
    return float(error + (rows * (users**2).sum(axis=1)).sum() + (columns * (items**2).sum(axis=1)).sum())


def test_every_sweep_of_ials_lowers_its_loss() -> None:
    cells = sparse.csr_array((np.random.default_rng(1).random((30, 12)) < 0.3).astype(np.float32))
    losses = [ials_loss(cells, *factors.factorize(cells, factors=4, sweeps=sweeps)) for sweeps in range(6)]
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_ials_of_one_factor_by_hand() -> None:
    """One user, one item, item vector v: the user's best is v / ((1 + w0) v^2 + lambda (1 + w0))."""
    cells, item, user = sparse_of([[1]]), np.array([[0.8]], dtype=np.float32), np.zeros((1, 1), dtype=np.float32)
    factors._solve(user, item, cells)
    weight = 1 + factors.UNOBSERVED
    expected = 0.8 / (weight * 0.64 + factors.REGULARISATION * weight)
    assert user[0, 0] == pytest.approx(expected, rel=1e-5)


def test_own_purchases_halve_with_their_half_life() -> None:
    found = own.fit(log([("u", "x", 70.0), ("u", "x", 40.0), ("u", "y", 10.0)]))
    user = np.array([0])
    assert found["own"].scores(user) == pytest.approx(np.array([[2, 1]]))
    assert found["own_30d"].scores(user) == pytest.approx(np.array([[0.75, 0.125]]))


def test_what_is_due_comes_first() -> None:
    """Bought every 20 days: due after 20 days of silence, not after 2 and not after 200."""

    def score(last: float) -> float:
        rows = [("u", "x", last - 40), ("u", "x", last - 20), ("u", "x", last)]
        return float(own.due(log(rows)).toarray()[0, 0])

    assert score(80.0) == pytest.approx(3.0) and score(98.0) < 1.0 and score(-100.0) < 1.0


def test_popularity_fades_and_remembers_the_season() -> None:
    found = popular.fit(log([("u", "x", 93.0), ("v", "x", 93.0), ("u", "y", 100 - 1e-9)]))
    assert found["popularity"].scores(np.array([0]))[0] == pytest.approx(np.log([3, 2]))
    assert found["popularity_7d"].scores(np.array([0]))[0] == pytest.approx(np.log([2, 2]))
    year = log([("u", "x", 0.0), ("u", "y", 40.0), ("u", "x", 390.0)], today=400.0)
    assert popular.season(year).tolist() == [0.0, 1.0]


def test_content_places_an_item_that_nobody_bought() -> None:
    rows = [("u", "cup_red", 90.0), ("v", "lamp", 90.0), ("w", "cup_blue", 90.0)]
    found = content.fit(log(rows, item_text=["red cup", "desk lamp", "blue cup"]))["content"].scores(np.array([0]))[0]
    red, blue, lamp = found[1], found[0], found[2]
    assert red > blue > lamp == 0.0


def test_rows_of_length_one_and_empty_rows() -> None:
    assert normalized(sparse_of([[3, 4], [0, 0]])).toarray() == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
