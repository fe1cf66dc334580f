"""Who is in which arm: published values, uniform places, experiments that know nothing of each other."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from scipy import stats

from customer360.pipelines.experiments import Experiment, ExperimentRules, Holdout, Metric
from customer360.serve.activation import bandits
from customer360.serve.activation.experiments.assignment import Started, assign, chosen, is_held_out, place, takes_part
from customer360.serve.compose import compose

DAY = datetime(2026, 3, 1, tzinfo=UTC)
SUBJECTS = [f"p{number:05d}" for number in range(20_000)]
compose()
RARE = 1e-4  # of a fair hash, in a test of fixed subjects


def started(name: str = "banner", holdout: Holdout | None = None, **said: Any) -> Started:
    definition = Experiment(**{"description": "A banner", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["m"]} | said)
    return Started(name, definition, {"m": Metric()}, holdout or Holdout(), DAY)


@pytest.mark.parametrize(("salt", "subject", "value"), [
    ("banner", "p1", 0.8705184424196548),
    ("banner", "Jürgen", 0.7778905203187927),
    ("layer/home", "v:8f14e45f", 0.773055159121177),
])  # fmt: skip
def test_places_are_those_that_the_page_documents(salt: str, subject: str, value: float) -> None:
    assert place(salt, subject) == pytest.approx(value, abs=1e-14)
    assert place(salt, subject) == int(hashlib.sha256(f"{salt}:{subject}".encode()).hexdigest()[:13], 16) / 2**52


def test_arms_get_their_shares_and_experiments_are_independent() -> None:
    one, other = started(arms={"a": 0.2, "b": 0.3, "c": 0.5}), started("price", arms={"x": 0.5, "y": 0.5})
    both = [assign([one, other], subject) for subject in SUBJECTS]
    counts = {(a, x): sum(e["banner"] == a and e["price"] == x for e in both) for a in "abc" for x in "xy"}
    rows = [[counts[a, "x"], counts[a, "y"]] for a in "abc"]
    assert stats.chisquare([sum(r) for r in rows], [len(SUBJECTS) * s for s in (0.2, 0.3, 0.5)]).pvalue > RARE
    assert stats.chi2_contingency(rows).pvalue > RARE


def test_an_arm_is_kept_when_others_come_and_go() -> None:
    mine = {s: assign([started()], s)["banner"] for s in SUBJECTS[:200]}
    more = [started("first"), started(), started("third", share=0.1)]
    assert {s: assign(more, s)["banner"] for s in mine} == mine


def test_experiments_of_one_layer_share_nobody_and_leave_nobody_out() -> None:
    two = [started("left", layer="home", slots=(0.0, 0.4)), started("right", layer="home", slots=(0.4, 1.0))]
    found = [set(assign(two, subject)) for subject in SUBJECTS]
    assert all(len(each) == 1 for each in found)
    assert stats.binomtest(sum(each == {"left"} for each in found), len(found), 0.4).pvalue > RARE


def test_who_is_held_out_is_in_nothing_and_more_of_a_holdout_keeps_who_was() -> None:
    small, large = Holdout(share=0.05), Holdout(share=0.1)
    out = [s for s in SUBJECTS if is_held_out(small, s)]
    assert 0.04 < len(out) / len(SUBJECTS) < 0.06 and all(is_held_out(large, s) for s in out)
    assert all(not assign([started(holdout=small), started("b", holdout=small)], s) for s in out)


def test_an_unknown_attribute_does_not_qualify() -> None:
    german = started(where={"country_code": ["DE", "AT"]})
    assert assign([german], "p1", attributes={"country_code": "AT"})
    for known in ({"country_code": "FR"}, {"country_code": None}, {}, None):
        assert not assign([german], "p1", attributes=known)


@pytest.mark.parametrize(("asked", "meets", "misses"), [
    (True, True, (1, "true", "True")), (1, 1, (True, "1", 2)), ("1", "1", (1, True)),
])  # fmt: skip
def test_an_attribute_is_compared_as_what_it_is(asked: Any, meets: Any, misses: tuple[Any, ...]) -> None:
    of = started(unit="visitor", where={"x": [asked]})
    assert assign([of], "v1", attributes={"x": meets}, unit="visitor")
    assert not any(assign([of], "v1", attributes={"x": other}, unit="visitor") for other in misses)


def test_who_refuses_the_purpose_and_who_is_another_unit_is_in_no_arm() -> None:
    assert not assign([started()], "p1", refused=["PERSONALIZATION"])
    assert assign([started()], "p1", refused=["EMAIL"])
    assert not assign([started(unit="visitor")], "p1") and assign([started(unit="visitor")], "v1", unit="visitor")
    stopped = Started("banner", started().definition, {}, Holdout(), DAY, stopped_at=DAY)
    assert not takes_part(stopped, "p1")


def test_a_bandit_follows_its_shares_and_says_how_likely_its_choice_was() -> None:
    learnt = bandits.thompson(
        ["old", "new"], 0.1, ["old"] * 40 + ["new"] * 40, [0] * 35 + [1] * 5 + [0] * 25 + [1] * 15
    )
    shares = learnt.shares()
    assert shares["new"] > 0.9 and sum(shares.values()) == pytest.approx(1)
    base = started(kind="bandit")
    of = [Started("banner", base.definition, {}, Holdout(), DAY, learnt=learnt, edition=n) for n in (3, 4)]
    drawn = [chosen(of[0], s) for s in SUBJECTS]
    assert stats.binomtest(sum(arm == "new" for arm, _ in drawn), len(drawn), shares["new"]).pvalue > RARE
    assert dict(drawn) == shares
    assert [chosen(of[1], s)[0] for s in SUBJECTS] != [arm for arm, _ in drawn], "an edition is drawn anew"


@pytest.mark.parametrize(("wrong", "says"), [
    ({"arms": {"a": 0.5, "b": 0.6}}, "add up to 1.1"),
    ({"arms": {"a": 0.5, "B-2": 0.5}}, "no name of an arm"),
    ({"arms": {"a": 1.0, "b": 0.0}}, "nobody would be in it"),
    ({"layer": "x", "slots": (0.5, 0.5)}, "hold nobody"),
    ({"slots": (0.0, 0.5)}, "name the layer"),
    ({"kind": "interleaving", "unit": "visitor"}, "mixes the lists of two models"),
    ({"kind": "bandit", "algorithm": "linucb"}, "needs a context"),
    ({"metrics": ["n"]}, "no metric 'n'"),
    ({"kind": "bandit", "metrics": ["many"]}, "yes or no"),
    ({"kind": "bandit", "metrics": ["worse"]}, "more of it is better"),
    ({"colour": "red"}, "Extra inputs"),
])  # fmt: skip
def test_a_wrong_definition_is_refused_with_what_is_wrong(wrong: dict[str, Any], says: str) -> None:
    said = {"description": "A banner", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["m"]} | wrong
    metrics = {"m": {"measure": "any"}, "many": {}, "worse": {"measure": "any", "better": "lower"}}
    with pytest.raises(ValidationError, match=says):
        ExperimentRules.model_validate({"metrics": metrics, "experiments": {"banner": said}})


def test_a_name_that_no_path_and_no_address_could_hold_is_refused() -> None:
    said = {"description": "A banner", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["m"]}
    with pytest.raises(ValidationError, match="no name of an experiment"):
        ExperimentRules.model_validate({"metrics": {"m": {}}, "experiments": {"Banner/2": said}})


@pytest.mark.parametrize("wrong", [
    {"measure": "sum"}, {"value": "net_amount"}, {"cap": 5.0}, {"table": "silver.nothing"},
    {"where": "colour == 'red'"}, {"at": "occurred_on"}, {"measure": "sum", "value": "channel"},
])  # fmt: skip
def test_a_metric_is_checked_against_the_contract_of_its_table(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Metric(**wrong)
