"""From how many bits pairs are accepted: the expected share of false pairs holds, and a fixed number wins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.models.identity.rules import Decision
from customer360.models.identity.verdicts.threshold import chosen

WEIGHTS = st.lists(st.floats(-5, 25, allow_nan=False), max_size=60).map(np.array)


def expected_share(weights: np.ndarray, bits: float) -> float:
    kept = weights[weights >= bits]
    return float(np.mean(1 / (1 + np.exp2(kept)))) if len(kept) else 0.0


def once(weights: np.ndarray) -> np.ndarray:
    return np.ones(len(weights))


@given(WEIGHTS, st.sampled_from([0.005, 0.03, 0.1]))
@settings(deadline=None)
def test_no_more_than_the_stated_share_is_expected_to_be_false(weights, share):
    made = chosen(weights, once(weights), Decision(false_pairs=share, most_accept_weight=20))
    assert made.bits >= 1.0
    assert expected_share(weights, made.bits) <= share + 1e-9
    assert made.pairs == (weights >= made.bits - 1e-9).sum()
    assert made.false <= share * made.pairs + 1e-9


@given(WEIGHTS)
@settings(deadline=None)
def test_a_larger_share_accepts_no_fewer(weights):
    shares = (0.01, 0.03, 0.2)
    bits = [chosen(weights, once(weights), Decision(false_pairs=share, most_accept_weight=20)).bits for share in shares]
    assert bits == sorted(bits, reverse=True)


@given(WEIGHTS)
@settings(deadline=None)
def test_the_order_of_pairs_changes_nothing_and_a_sample_counts_for_what_it_stands_for(weights):
    whole = chosen(np.repeat(weights, 3), once(np.repeat(weights, 3)), Decision(most_accept_weight=20))
    part = chosen(weights[::-1], np.full(len(weights), 3.0), Decision(most_accept_weight=20))
    assert part.bits == whole.bits
    assert part.false == pytest.approx(whole.false)


@pytest.mark.parametrize("true", [0, 30, 3000])
def test_the_share_holds_on_a_mixture(true):
    """Weights are calibrated: of the pairs at w bits, 1 in 2**w + 1 is false; chance agreement lies low."""
    random = np.random.default_rng(3)
    weights = np.concatenate([random.normal(8, 4, true), random.exponential(0.7, 2000)])
    is_false = random.random(len(weights)) < 1 / (1 + np.exp2(weights))
    made = chosen(weights, once(weights), Decision(most_accept_weight=20))
    kept = weights >= made.bits
    assert is_false[kept].sum() <= 0.03 * kept.sum() + 3 * np.sqrt(0.03 * kept.sum()) + 1


def test_few_true_pairs_need_more_evidence_than_many():
    noise = np.full(400, 1.5)
    few, many = (np.concatenate([np.full(true, 12.0), noise]) for true in (20, 20_000))
    assert chosen(few, once(few), Decision(most_accept_weight=20)).bits == 12.0
    assert chosen(many, once(many), Decision(most_accept_weight=20)).bits == 1.0


def test_pairs_of_one_weight_are_accepted_together_or_not_at_all():
    weights = np.concatenate([np.full(10, 9.0), np.full(10, 3.0)])
    assert chosen(weights, once(weights), Decision(most_accept_weight=20)).bits == 9.0


def test_a_fixed_number_wins():
    weights = np.full(100, 1.5)
    fixed = chosen(weights, once(weights), Decision(accept_weight=0.5))
    assert (fixed.bits, fixed.pairs) == (0.5, 100)
    assert chosen(weights, once(weights), Decision(accept_weight=4.0)).pairs == 0
    assert chosen(weights, once(weights), Decision(most_accept_weight=20)).bits > 1.5


def test_without_pairs_the_first_one_must_be_sure_itself():
    nothing = np.array([])
    bits = chosen(nothing, nothing, Decision(most_accept_weight=20)).bits
    assert 1 / (1 + 2**bits) == pytest.approx(Decision().false_pairs, rel=0.01)


def test_the_weight_stops_where_a_higher_one_finds_fewer_and_hardly_fewer_false():
    weights = np.concatenate([np.full(10, 9.0), np.full(1000, 2.5), np.full(1000, 3.5)])
    assert chosen(weights, once(weights), Decision(most_accept_weight=20)).bits == 9.0
    found = chosen(weights, once(weights), Decision())
    assert (found.bits, found.pairs) == (2.0, 2010.0)


def test_what_costs_less_than_half_of_the_right_pairs_is_given_up():
    weights = np.concatenate([np.full(1500, 9.0), np.full(1000, 2.5)])
    assert chosen(weights, once(weights), Decision()).bits == 9.0


def test_pairs_of_which_too_many_are_false_are_held_back():
    """A name at one address: nothing in such columns tells a child from its parent."""
    weights = np.concatenate([np.full(3, 12.0), np.full(100, 2.3)])
    assert expected_share(weights, 2.0) > 4 * 0.03
    held = chosen(weights, once(weights), Decision())
    assert (held.bits, held.pairs) == (12.0, 3.0)
    assert held.held == (100.0, pytest.approx(100 / (1 + 2**2.3)))
    fewer = np.concatenate([np.full(30, 12.0), np.full(100, 2.9)])
    found = chosen(fewer, once(fewer), Decision())
    assert (found.bits, found.pairs, found.held) == (2.0, 130.0, (0.0, 0.0))
    assert chosen(weights, once(weights), Decision(accept_weight=2.0)).pairs == 103, "the user's word"


def test_the_least_weight_stands_whatever_the_other_bounds_say():
    weights = np.concatenate([np.full(3, 12.0), np.full(100, 2.3)])
    assert chosen(weights, once(weights), Decision(least_accept_weight=7.0)).bits == 7.0
    assert chosen(weights[3:], once(weights[3:]), Decision(least_accept_weight=7.0)).bits == 7.0
