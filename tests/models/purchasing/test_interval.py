"""Intervals hold their share in every group where that can be, and are those of the customer."""

import numpy as np
import polars as pl
import pytest

from customer360.models.purchasing import interval
from customer360.models.purchasing.btyd import BetaGeometric, GammaGamma
from customer360.models.purchasing.season import Clock
from customer360.models.purchasing.starts import EXPECTED, QUIET, Spending

SPENDING = Spending(BetaGeometric(0.6, 4.0, 0.8, 2.5, 0.0), GammaGamma(4.0, 4.0, 60.0, 20.0, 0.0), Clock(None))  # type: ignore[arg-type]


def world(people: int, seed: int) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Rows with their starting points, expected amounts, and revenue drawn from purses and orders that differ."""
    rng = np.random.default_rng(seed)
    rate, purse = rng.gamma(0.7, 2.5, people), 60 / rng.gamma(4.0, 1.0, people)
    orders = rng.poisson(rate)
    revenue = np.array([rng.gamma(3.0, each / 3.0, count).sum() for each, count in zip(purse, orders, strict=True)])
    known = np.maximum(rng.poisson(rate * 4), 0) + 1.0
    rows = pl.DataFrame(
        {EXPECTED: rate, QUIET: np.exp(-0.8 * rate), "purchase_day_count": known, "gross_amount": known * purse}
    )
    return rows, rate * purse, revenue


def test_the_share_is_held_in_each_tenth_and_for_short_and_long_histories() -> None:
    learnt = world(6000, 1)
    fitted = interval.fit(*learnt, SPENDING)
    rows, amount, revenue = world(6000, 2)
    low, high = fitted.of(rows, amount, SPENDING)
    inside = (revenue >= low) & (revenue <= high)
    for part in np.array_split(np.argsort(amount), 10):
        nothing = (revenue[part] <= 0).mean()
        assert max(0.74, nothing - 0.02) <= inside[part].mean() <= max(0.86, nothing + 0.06)
    known = rows["purchase_day_count"].to_numpy()
    for part in (known > 8, (known > 3) & (known <= 8)):
        assert 0.74 <= inside[part].mean() <= 0.88
    assert ((low <= amount) & (amount <= high)).all()


def test_low_is_nothing_only_where_nothing_has_a_tail() -> None:
    fitted = interval.fit(*world(6000, 1), SPENDING)
    rows, amount, revenue = world(6000, 2)
    low, _ = fitted.of(rows, amount, SPENDING)
    sure = rows[EXPECTED].to_numpy() > 4
    assert (low[sure] > 0).all() and (low[rows[QUIET].to_numpy() > 0.2] == 0).all()
    order = np.argsort(-rows[EXPECTED].to_numpy())[:600]
    assert (revenue[order] < low[order]).mean() == pytest.approx(0.1, abs=0.04)


def test_too_few_rows_believe_the_distribution_and_one_outcome_alone_is_no_fault() -> None:
    rows, amount, revenue = world(30, 3)
    fitted = interval.fit(rows, amount, revenue, SPENDING)
    assert fitted.idle == interval.Levels((), (0.0,), (0.8,))
    for known in (np.zeros(30), revenue + 1.0):
        low, high = interval.fit(rows, amount, known, SPENDING).of(rows, amount, SPENDING)
        assert np.isfinite(low).all() and np.isfinite(high).all()


def test_both_kinds_are_stored_whole() -> None:
    fitted = interval.fit(*world(2000, 1), SPENDING)
    assert interval.from_stored(fitted.as_dict()) == fitted
    before = interval.Ratios((10.0,), (0.0, 0.5), (2.0, 1.5))
    assert interval.from_stored(before.as_dict()) == before
    low, high = before.of(pl.DataFrame(), np.array([4.0, 20.0]), SPENDING)
    assert low.tolist() == [0.0, 10.0] and high.tolist() == [8.0, 30.0]
