"""Chances of counts are those that `scipy.stats` gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binom, hypergeom

from customer360.pipelines.inference.tails import beta_binomial_sf, binomial_sf, hypergeometric_cdf

CASES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.999), st.floats(0.1, 300)), max_size=20
)
DRAWS = st.lists(st.tuples(*[st.integers(0, 300)] * 3, st.floats(0, 1)), min_size=1, max_size=20)


@given(CASES)
def test_more_hits_than_so_many(cases: list[tuple[int, int, float, float]]) -> None:
    hits, trials = (np.array([case[place] for case in cases], np.int64) for place in (0, 1))
    rate, strength = (np.array([case[place] for case in cases]) for place in (2, 3))
    hits = np.minimum(hits, trials - 1)
    assert np.allclose(binomial_sf(hits, trials, rate), binom.sf(hits, trials, rate), rtol=1e-12, atol=0)
    a, b = rate * strength, (1 - rate) * strength
    assert np.array_equal(beta_binomial_sf(hits, trials, a, b), betabinom.sf(hits, trials, a, b))


@given(DRAWS)
def test_so_many_of_a_draw_at_most(draws: list[tuple[int, int, int, float]]) -> None:
    drawn, good, other = (np.array([draw[place] for draw in draws], np.int64) for place in range(3))
    drawn = np.minimum(drawn, good + other)
    hits = (drawn * np.array([draw[3] for draw in draws])).astype(np.int64)
    found = hypergeometric_cdf(hits, drawn, good, other)
    some = good + other > 0
    expected = hypergeom.cdf(hits, good + other, good, drawn)[some]
    assert np.allclose(found[some], expected, rtol=1e-9, atol=1e-300)
    assert (found[~some] == 1).all()


def test_nothing_is_asked() -> None:
    none = np.array([], np.int64)
    assert len(hypergeometric_cdf(none, none, none, none)) == 0
    assert len(beta_binomial_sf(none, none, none.astype(float), none.astype(float))) == 0
