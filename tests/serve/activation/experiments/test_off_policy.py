"""Other policies by a log, and mixed lists: exact where the answer can be counted, right on average where not."""

from __future__ import annotations

import numpy as np
import pytest

from customer360.serve.activation.experiments import effects, interleaving, off_policy
from customer360.serve.activation.experiments.effects import NoEffect
from customer360.serve.activation.experiments.off_policy import Log


def log(rows: int = 4000, seed: int = 1) -> tuple[Log, np.ndarray]:
    """Three arms of known rates, which the context tilts; and the logging policy."""
    rng, logged, rates = np.random.default_rng(seed), np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.4])
    context, arm = rng.integers(0, 2, rows).astype(float), rng.choice(3, rows, p=logged)
    reward = (rng.random(rows) < rates[arm] + 0.1 * (context - 0.5)).astype(float)
    return Log(arm, logged[arm], reward, context[:, None]), np.tile(logged, (rows, 1))


def test_the_policy_that_logged_is_worth_what_was_earned() -> None:
    logged, policy = log()
    for told in (off_policy.ips, off_policy.snips):
        value = told(logged, policy, 0.05)
        assert value.estimate == pytest.approx(logged.reward.mean()) and value.effective == pytest.approx(4000)


def test_an_arm_alone_is_worth_its_mean_by_snips() -> None:
    logged, _ = log()
    always = np.tile([0.0, 0.0, 1.0], (4000, 1))
    assert off_policy.snips(logged, always, 0.05).estimate == pytest.approx(logged.reward[logged.arm == 2].mean())
    assert off_policy.ips(logged, always, 0.05).effective == (logged.arm == 2).sum()


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = dict.fromkeys(("ips", "snips", "doubly_robust"), 0)
    for seed in range(200):
        logged, _ = log(1500, seed)
        for name in held:
            value = getattr(off_policy, name)(logged, np.tile([0.0, 0.5, 0.5], (1500, 1)), 0.1)
            held[name] += value.low <= 0.3 <= value.high
    assert all(165 <= count <= 195 for count in held.values()), held


def test_the_doubly_robust_interval_is_narrower_where_rewards_can_be_foretold() -> None:
    logged, _ = log()
    always = np.tile([0.0, 0.0, 1.0], (4000, 1))
    ips, robust = (told(logged, always, 0.05) for told in (off_policy.ips, off_policy.doubly_robust))
    assert robust.high - robust.low < 0.9 * (ips.high - ips.low)


# ---- mixed lists -----------------------------------------------------------------------------------------------


def test_teams_pick_in_turn_nothing_twice_and_the_same_again() -> None:
    lists = {"a": [f"i{n}" for n in range(8)], "b": [f"i{n}" for n in range(7, -1, -1)]}
    for subject in (f"p{n}" for n in range(200)):
        drafted = interleaving.team_draft(lists, 6, "salt", subject)
        items, teams = zip(*drafted, strict=True)
        assert len(set(items)) == 6 and teams.count("a") == teams.count("b") == 3
        assert {teams[0], teams[1]} == {"a", "b"}
        assert drafted == interleaving.team_draft(lists, 6, "salt", subject)


def test_each_team_is_first_for_half_of_the_subjects() -> None:
    lists = {"a": ["x", "y"], "b": ["y", "x"]}
    first = [interleaving.team_draft(lists, 2, "salt", f"p{n}")[0][1] for n in range(4000)]
    assert 1850 < first.count("a") < 2150


def test_a_short_list_is_filled_by_the_other_and_nothing_is_invented() -> None:
    assert interleaving.team_draft({"a": ["x"], "b": []}, 5, "s", "p") == [("x", "a")]
    assert interleaving.team_draft({"a": [], "b": []}, 5, "s", "p") == []
    drafted = interleaving.team_draft({"a": ["x"], "b": ["x", "y", "z"]}, 5, "s", "p")
    assert sorted(item for item, _ in drafted) == ["x", "y", "z"]


def test_a_preference_counts_subjects_and_not_clicks() -> None:
    control, treated = np.array([9.0, 0, 0, 1, 0]), np.array([0.0, 1, 1, 1, 0])
    found = interleaving.preference(control, treated)
    assert found.count == 4 and found.estimate == pytest.approx(0.25)
    assert effects.at_one_look(found, 0.05).p_value > 0.3
    with pytest.raises(NoEffect):
        interleaving.preference(np.zeros(5), np.zeros(5))


def test_choices_of_one_subject_are_one_observation() -> None:
    """Each choice of 300 subjects, logged four times, says no more than once."""
    rng = np.random.default_rng(5)
    once = Log(rng.integers(0, 2, 300), np.full(300, 0.5), rng.random(300), np.zeros((300, 0)))
    often = Log(*(np.repeat(part, 4, axis=0) for part in vars(once).values() if part is not None),
                subject=np.repeat(np.arange(300), 4))  # fmt: skip
    for told in (off_policy.ips, off_policy.snips, off_policy.doubly_robust):
        one, four = (told(log, np.tile([0.0, 1.0], (len(log.arm), 1)), 0.05) for log in (once, often))
        assert (four.estimate, four.low, four.high) == pytest.approx((one.estimate, one.low, one.high), rel=0.02)
