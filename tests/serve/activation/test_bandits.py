"""What bandits learn from a log: the same in any order, shares that are probabilities, and more of what earns more."""

from __future__ import annotations

import json
from random import Random

import numpy as np
import pytest

from customer360.serve.activation import bandits


def test_the_chance_of_being_best_is_that_of_the_posteriors() -> None:
    """Two arms: against a count by drawing, and where symmetry and certainty say it exactly."""
    assert bandits.chances_of_best((10, 10), (3, 3)) == pytest.approx([0.5, 0.5])
    assert bandits.chances_of_best((0, 0, 0), (0, 0, 0)) == pytest.approx([1 / 3] * 3, abs=1e-3)
    assert bandits.chances_of_best((10_000, 10_000), (100, 300))[1] > 0.999999
    rng = np.random.default_rng(2)
    drawn = np.stack([rng.beta(1 + w, 1 + n - w, 200_000) for n, w in ((50, 9), (60, 14), (40, 5))])
    counted = np.bincount(drawn.argmax(axis=0), minlength=3) / 200_000
    assert bandits.chances_of_best((50, 60, 40), (9, 14, 5)) == pytest.approx(counted, abs=0.005)


def test_a_log_in_any_order_teaches_the_same_and_is_read_back() -> None:
    rng = Random(4)
    rows = [(rng.choice("ab"), float(rng.random() < 0.3), {"x": rng.choice([None, 1.0, 2.5])}) for _ in range(300)]
    other = rows[:]
    rng.shuffle(other)
    for log in (rows, other):
        arms, rewards, contexts = zip(*log, strict=True)
        made = (bandits.thompson("ab", 0.1, arms, rewards), bandits.lin_ucb("ab", ["x"], 0.1, arms, rewards, contexts))
        for learnt in made:
            assert bandits.of_json(json.loads(json.dumps(bandits.as_json(learnt)))) == learnt
        shares = [learnt.shares({"x": 1.0}) for learnt in made]
        if log is rows:
            first = shares
        assert shares == first


@pytest.mark.parametrize("context", [{"x": 1.0}, {"x": None}, {}, None])
def test_shares_are_probabilities_and_no_arm_dies(context: dict[str, float | None] | None) -> None:
    for learnt in (
        bandits.thompson("abc", 0.06, ["a"] * 500 + ["b"] * 500, [1.0] * 500 + [0.0] * 500),
        bandits.lin_ucb("abc", ["x"], 0.06, ["a", "b"], [1.0, 0.0], [{"x": 1.0}, {"x": 2.0}]),
        bandits.lin_ucb("abc", ["x"], 0.06),
    ):
        shares = learnt.shares(context)
        assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) >= 0.02 - 1e-12


def test_context_decides_where_each_arm_is_best_for_some() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, 2000)
    arms = rng.choice(["a", "b"], 2000)
    rewards = (rng.random(2000) < 0.5 + 0.3 * np.sign(x) * np.where(arms == "a", 1, -1)).astype(float)
    learnt = bandits.lin_ucb("ab", ["x"], 0.1, arms.tolist(), rewards.tolist(), [{"x": float(v)} for v in x])
    assert learnt.shares({"x": 1.5})["a"] > 0.9 and learnt.shares({"x": -1.5})["b"] > 0.9


def test_what_no_bandit_learnt_is_refused() -> None:
    for said in ({"kind": "Oracle"}, {"kind": "Thompson", "arms": ["a"]}, {}):
        with pytest.raises(ValueError, match="nothing that a bandit learnt"):
            bandits.of_json(said)
