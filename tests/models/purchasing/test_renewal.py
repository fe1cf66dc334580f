"""Customers with a clock of their own are told from others, and foreseen by it."""

import numpy as np
import pytest

from customer360.models.purchasing import renewal
from customer360.models.purchasing.renewal import Gaps


def gaps(shape: float, period: float, people: int = 300, seed: int = 0, elapsed: float | None = None) -> Gaps:
    """Gaps of people around one period; the shape 1 is a Poisson process."""
    rng = np.random.default_rng(seed)
    count = rng.integers(2, 7, people)
    drawn = [np.round(rng.gamma(shape, period / shape, each)).clip(1) for each in count]
    since = rng.uniform(0, period, people) if elapsed is None else np.full(people, elapsed)
    stats = [(each.mean(), each.std(ddof=1)) for each in drawn]
    mean, std = np.array(stats).T
    return Gaps(count.astype(float), mean, std, since)


@pytest.mark.parametrize("shape", [1.0, 2.0, 3.0])
def test_irregular_shops_have_no_clock(shape: float) -> None:
    assert renewal.fit(gaps(shape, 40.0)) is None


@pytest.mark.parametrize(("shape", "period"), [(400.0, 30.4), (1000.0, 365.0), (150.0, 91.0)])
def test_a_clock_is_found_and_says_who_is_due(shape: float, period: float) -> None:
    found = renewal.fit(gaps(shape, period))
    assert found is not None and found.share > 0.8 and found.go_on > 0.9
    assert found.period is not None and found.period[0] == pytest.approx(period, rel=0.05)
    due, not_due = (gaps(shape, period, elapsed=period * part) for part in (0.9, 0.3))
    for people, expected in ((due, 1.0), (not_due, 0.0)):
        clocked, purchases, quiet = renewal.purchases(found, people, 0.3 * period)
        assert clocked.mean() > 0.8
        assert purchases.mean() == pytest.approx(expected * found.go_on, abs=0.08)
        assert quiet.mean() == pytest.approx(1.0 - expected * found.go_on, abs=0.08)


def test_several_renewals_in_a_window_and_a_long_silence() -> None:
    found = renewal.fit(gaps(400.0, 30.0))
    assert found is not None
    _, purchases, quiet = renewal.purchases(found, gaps(400.0, 30.0, elapsed=15.0), 90.0)
    alive = sum(found.go_on**turn for turn in (1, 2, 3))
    assert purchases.mean() == pytest.approx(alive, rel=0.06) and quiet.mean() < 0.1
    _, purchases, quiet = renewal.purchases(found, gaps(400.0, 30.0, elapsed=120.0), 90.0)
    assert purchases.mean() < 0.02 and quiet.mean() > 0.98


def test_a_newcomer_is_due_with_the_others_where_all_share_a_period() -> None:
    found = renewal.fit(gaps(1000.0, 365.0))
    assert found is not None
    newcomer = Gaps(np.zeros(2), np.full(2, np.nan), np.full(2, np.nan), np.array([340.0, 60.0]))
    clocked, purchases, _ = renewal.purchases(found, newcomer, 60.0)
    assert (clocked > 0.8).all() and purchases[0] > 0.8 and purchases[1] < 0.05


def test_a_few_subscribers_among_others_keep_their_clock() -> None:
    some, others = gaps(400.0, 30.0, people=60), gaps(1.0, 40.0, people=300, seed=1)
    both = Gaps(*(np.concatenate([getattr(p, n) for p in (some, others)]) for n in ("count", "mean", "std", "elapsed")))
    found = renewal.fit(both)
    assert found is not None and 0.1 < found.share < 0.25
    clocked = renewal.purchases(found, both, 30.0)[0]
    often = both.count[:60] >= 4
    assert clocked[:60][often].mean() > 0.9 and clocked[60:].mean() < 0.1


def test_it_is_stored_whole() -> None:
    found = renewal.fit(gaps(1000.0, 365.0))
    assert found is not None and renewal.Renewal.from_dict(found.as_dict()) == found


def test_years_of_a_steady_rhythm_tell_no_less_than_one() -> None:
    even = renewal.Renewal((1.0 / 8,) * 7, 0.95, None)
    times = np.array([150.0, 600.0])
    exact = Gaps(times, np.full(2, 7.0), np.zeros(2), np.full(2, 8.5))
    quiet = renewal.purchases(even, exact, 3.0)[2]
    assert quiet[0] == pytest.approx(quiet[1], rel=0.02)
    found = renewal.fit(Gaps(np.full(50, 600.0), np.full(50, 7.0), np.zeros(50), np.zeros(50)))
    assert found is not None and max(found.weights) == found.weights[4] > 0.8
