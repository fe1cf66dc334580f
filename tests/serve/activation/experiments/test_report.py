"""Reports over a lake: what counts and from when, who is left out, and when no figure is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from customer360.platform.errors import ConfigError
from customer360.serve.activation.experiments import analysis, forecast, outcomes, register
from customer360.serve.activation.experiments.register import NotPossible

START, AS_OF = datetime(2026, 1, 1, tzinfo=UTC), date(2026, 3, 1)


def begin(lab: Any, name: str = "banner", **experiments: Any) -> Any:
    settings = lab.settings(experiments or None)
    register.start(settings, name, actor="me", since=START)
    return settings


def banner(**other: Any) -> dict[str, Any]:
    base = {"description": "A banner", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["revenue"], "minimum": 20}
    return base | {"sequential": False} | other


def test_outcomes_count_from_exposure_to_the_end_of_the_window(lab: Any, sold: Callable[..., None]) -> None:
    sold()
    found = analysis.report(begin(lab), "banner", AS_OF)
    assert found.counts == {"old": 40, "new": 40} and not found.fault
    revenue, bought, value = found.lines
    assert (revenue.control_mean, revenue.mean) == pytest.approx((10.0, 12.0)), "the day of exposure, no 1000 too late"
    assert revenue.effect is not None and revenue.effect.estimate == pytest.approx(0.2, abs=0.01)
    assert revenue.verdict == "better"
    assert revenue.explained > 0.5, "spending before tells that after"
    assert bought.effect is None and "same value" in bought.because
    assert value.mean == pytest.approx(12.0) and value.effect is not None


def test_who_met_two_arms_refuses_or_has_an_open_window_is_counted_and_left_out(lab: Any) -> None:
    people = [{"subject_id": f"p{n}", "arm": "new" if n % 2 else "old"} for n in range(60)]
    late = START + timedelta(days=50)
    lab.expose([
        *people, {"subject_id": "p0", "arm": "new"}, {"subject_id": "p1", "arm": "new"},
        {"subject_id": "p_open", "arm": "new", "exposed_at": late}, {"subject_id": "p2", "arm": "stranger"},
        {"subject_id": "p_early", "arm": "new", "exposed_at": START - timedelta(days=1)},
        {"subject_id": "p_other", "arm": "new", "experiment": "another"},
    ])  # fmt: skip
    lab.shop.write("silver.consent_intervals", [
        {"person_id": "p3", "purpose": "PERSONALIZATION", "valid_from": AS_OF, "valid_to": None, "is_allowed": False}
    ])  # fmt: skip
    settings = begin(lab)
    found = outcomes.exposed(lab.shop.lake, register.started(lab.shop.lake, "banner"), AS_OF)
    assert (found.mixed, found.refused, found.still_open, found.strangers) == (1, 1, 1, 1)
    assert found.rows.height == 58 and not {"p0", "p3", "p_open", "p_early"} & set(found.rows["subject_id"])
    assert not analysis.report(settings, "banner", AS_OF).fault


def test_too_few_subjects_and_arms_of_the_wrong_size_tell_no_figure(lab: Any) -> None:
    settings = begin(lab)
    lab.expose([{"subject_id": f"p{n}", "arm": "new" if n % 2 else "old"} for n in range(30)])
    few = analysis.report(settings, "banner", AS_OF)
    assert "15 subjects" in few.fault and "20 are needed" in few.fault and not few.lines
    lab.expose([{"subject_id": f"p{n}", "arm": "new" if n % 4 else "old"} for n in range(400)])
    lost = analysis.report(settings, "banner", AS_OF)
    assert "no figure can be believed" in lost.fault and not lost.lines and lost.mismatch < 1e-9


def test_visitors_count_under_the_person_that_they_turned_out_to_be(lab: Any, sold: Callable[..., None]) -> None:
    sold(visitor_id="V1")
    found = outcomes.exposed(lab.shop.lake, _started(lab), AS_OF)
    assert found.rows["subject_id"].n_unique() == 80


def _started(lab: Any) -> Any:
    begin(lab)
    return register.started(lab.shop.lake, "banner")


def test_a_guardrail_is_harmed_safe_or_not_shown(lab: Any) -> None:
    def guard(returning: tuple[float, float]) -> str:
        rng = np.random.default_rng(1)
        people = [(f"p{n}", n % 2) for n in range(2000)]
        lab.expose([{"subject_id": p, "arm": ("old", "new")[arm]} for p, arm in people])
        at = START + timedelta(days=11)
        lab.sell([
            {"subject_id": p, "occurred_at": at, "net_amount": rng.integers(1, 9), "is_return": bool(rng.random() < returning[arm])}  # noqa: E501
            for p, arm in people
        ])  # fmt: skip
        return str(analysis.report(settings, "banner", AS_OF).guards[0].verdict)

    settings = begin(lab, banner=banner(guardrails=[{"metric": "returns", "margin": 0.2}]))
    assert guard((0.2, 0.4)) == "harmed"
    assert guard((0.5, 0.4)) == "safe"
    assert guard((0.05, 0.05)) == "not shown to be within 20%"


# ---- starting and stopping --------------------------------------------------------------------------------------


def test_what_started_is_fixed_whatever_the_file_says_later(lab: Any) -> None:
    settings = begin(lab)
    with pytest.raises(NotPossible, match="started before"):
        register.start(settings, "banner", actor="me")
    of = register.started(lab.shop.lake, "banner")
    assert register.changed(of, register.rules(settings)) == []
    later = lab.settings({"banner": banner(arms={"new": 0.5, "old": 0.5}, window_days=3)})
    assert {"arms", "window_days", "metrics"} <= set(register.changed(of, register.rules(later)))
    assert of.definition.window_days == 14 and of.definition.control == "old"


def test_it_stops_once_and_counts_exposures_until_then(lab: Any, sold: Callable[..., None]) -> None:
    settings = begin(lab)
    stopped = register.stop(settings, "banner", actor="me", because="done")
    assert not stopped.is_running and register.started(lab.shop.lake, "banner") == stopped
    with pytest.raises(NotPossible, match="stopped"):
        register.stop(settings, "banner", actor="me", because="again")
    sold()
    assert analysis.report(settings, "banner", AS_OF).counts == {"old": 40, "new": 40}


def test_slots_of_a_layer_are_taken_once(lab: Any) -> None:
    settings = lab.settings({
        "one": banner(layer="home", slots=[0.0, 0.5]), "two": banner(layer="home", slots=[0.4, 1.0]),
        "three": banner(layer="home", slots=[0.5, 1.0]), "four": banner(layer="cart"),
    })  # fmt: skip
    register.start(settings, "one", actor="me")
    with pytest.raises(NotPossible, match="layer home that one has"):
        register.start(settings, "two", actor="me")
    for name in ("three", "four"):
        register.start(settings, name, actor="me")
    register.stop(settings, "one", actor="me", because="done")
    register.stop(settings, "three", actor="me", because="done")
    register.start(settings, "two", actor="me")


def test_what_is_not_there_is_named(lab: Any) -> None:
    settings = lab.settings()
    with pytest.raises(ConfigError, match="the file defines banner"):
        register.start(settings, "baner", actor="me")
    with pytest.raises(NotPossible, match="has not started"):
        analysis.report(settings, "banner", AS_OF)
    with pytest.raises(NotPossible, match="has not come"):
        register.start(settings, "banner", actor="me", since=datetime(2999, 1, 1, tzinfo=UTC))


def test_a_layer_keeps_persons_and_visitors_apart_from_each_other(lab: Any) -> None:
    both = {
        "one": banner(layer="home", slots=[0.0, 0.5]),
        "two": banner(layer="home", slots=[0.5, 1.0], unit="visitor"),
    }
    with pytest.raises(ConfigError, match="persons and over visitors"):
        register.rules(lab.settings(both))
    register.start(lab.settings({"one": both["one"]}), "one", actor="me")
    with pytest.raises(NotPossible, match="choose another layer"):
        register.start(lab.settings({"two": both["two"]}), "two", actor="me")


def test_of_two_that_start_at_once_in_the_same_slots_one_does(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = lab.settings({"one": banner(layer="home"), "two": banner(layer="home")})
    look, met = register.all_started, threading.Barrier(2)

    def slowly(lake: Any) -> Any:
        found = look(lake)
        with suppress(threading.BrokenBarrierError):
            met.wait(timeout=0.5)  # both have looked, where nothing keeps them from it
        return found

    monkeypatch.setattr(register, "all_started", slowly)

    def begun(name: str) -> bool:
        try:
            register.start(settings, name, actor="me")
        except NotPossible:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(begun, ("one", "two"))) == [False, True]


@pytest.mark.parametrize(("where", "said"), [
    ({"no_such_column": ["DE"]}, "no column 'no_such_column'"), ({"order_count": ["3"]}, "a whole number"),
    ({"is_member": [1]}, "true or false"), ({"net_amount": [3]}, "no column 'net_amount' of text"),
])  # fmt: skip
def test_a_condition_over_persons_is_of_columns_of_the_customer_view(
    lab: Any, where: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        register.rules(lab.settings({"banner": banner(where=where)}))
    fits = {"country_code": ["DE"], "order_count": [1, 2], "is_member": [True]}
    assert register.defined(lab.settings({"banner": banner(where=fits)}), "banner").where == fits


def test_one_whose_column_is_gone_is_still_read_and_says_so_itself(lab: Any) -> None:
    settings = begin(lab)
    stored = lab.shop.lake.get("_experiments/banner.json").replace(b'"net_amount"', b'"nett_amount"')
    lab.shop.lake.put("_experiments/banner.json", stored.replace(b'"context": []', b'"context": ["gone"]'))
    assert list(register.all_started(lab.shop.lake)) == ["banner"]
    lab.expose([{"subject_id": f"p{n}", "arm": "new" if n % 2 else "old"} for n in range(60)])
    with pytest.raises(ConfigError, match="no column nett_amount any more"):
        analysis.report(settings, "banner", AS_OF)


# ---- bandits, mixed lists, forecasts ----------------------------------------------------------------------------


def test_a_bandit_learns_the_same_from_the_same_log_and_tells_other_policies(lab: Any) -> None:
    settings = begin(lab, banner=banner(kind="bandit", metrics=["bought"], exploration=0.1))
    people = [(f"p{n:03d}", "new" if n % 2 else "old") for n in range(300)]
    lab.expose([{"subject_id": p, "arm": arm, "propensity": 0.5, "edition": 0} for p, arm in people])
    at = START + timedelta(days=11)
    buyers = [p for n, (p, arm) in enumerate(people) if n % (4 if arm == "old" else 3) == 0]
    lab.sell([{"subject_id": p, "occurred_at": at, "net_amount": 5} for p in buyers])
    learnt = analysis.learn(settings, "banner", actor="me", as_of=AS_OF)
    assert learnt.edition == 1 and sum(learnt.learnt.tries) == 300  # type: ignore[union-attr]
    assert analysis.learn(settings, "banner", actor="me", as_of=AS_OF) == learnt, "nothing new is no edition"
    found = analysis.report(settings, "banner", AS_OF)
    rate = {arm: sum(p in buyers for p, a in people if a == arm) / 150 for arm in ("old", "new")}
    for arm, mean in rate.items():
        assert found.policies[f"always {arm}"]["SNIPS"].estimate == pytest.approx(mean)


def test_what_is_bought_pays_the_last_choice_before_it_alone(lab: Any) -> None:
    settings = begin(lab, banner=banner(kind="bandit", metrics=["bought"]))
    first, second = START + timedelta(days=10), START + timedelta(days=12)
    lab.expose([
        {"subject_id": f"p{n:02d}", "arm": arm, "propensity": 0.5, "edition": edition, "exposed_at": at}
        for n in range(20) for arm, edition, at in (("old", 0, first), ("new", 1, second))
    ])  # fmt: skip
    lab.sell([{"subject_id": f"p{n:02d}", "occurred_at": second + timedelta(hours=1), "net_amount": 5}
              for n in range(10)])  # fmt: skip
    found = analysis.report(settings, "banner", AS_OF)
    assert found.counts == {"old": 20, "new": 20}
    means = [found.policies[f"always {arm}"]["SNIPS"].estimate for arm in ("old", "new")]
    assert means == pytest.approx([0.0, 0.5])


def test_a_list_that_was_shown_again_by_another_model_credits_the_first(lab: Any) -> None:
    seen = {"table": "silver.events", "where": 'event_type == "CART_ADD"'}
    asked = {
        "kind": "interleaving",
        "arms": {"item_to_item": 0.5, "two_tower": 0.5},
        "metrics": ["added"],
        "minimum": 5,
    }
    settings = lab.settings({"mix": banner(**asked)}, metrics={"added": seen})
    register.start(settings, "mix", actor="me", since=START)
    shown = START + timedelta(days=10)
    lab.expose([
        {"subject_id": f"p{n}", "experiment": "mix", "arm": arm, "product_id": "A", "position": 1,
         "exposure_id": f"{order}{n}", "exposed_at": shown + timedelta(hours=hours)}
        for n in range(10) for order, arm, hours in (("a", "two_tower", 5), ("b", "item_to_item", 0))
    ])  # fmt: skip
    lab.shop.write("silver.events", [
        {"source_system": "SHOP", "occurred_on": shown.date(), "event_type": "CART_ADD", "event_id": f"e{n}",
         "subject_id": f"p{n}", "product_id": "A", "occurred_at": shown + timedelta(hours=6)} for n in range(8)
    ])  # fmt: skip
    assert analysis.report(settings, "mix", AS_OF).counts == {"item_to_item": 8, "two_tower": 0}


def test_who_refuses_to_be_learnt_from_teaches_nothing(lab: Any) -> None:
    settings = begin(lab, banner=banner(kind="bandit", metrics=["bought"]))
    lab.expose([{"subject_id": f"p{n}", "arm": "new"} for n in range(30)])
    lab.shop.write("silver.consent_intervals", [
        {"person_id": "p3", "purpose": "TRAINING", "valid_from": AS_OF, "valid_to": None, "is_allowed": False}
    ])  # fmt: skip
    assert sum(analysis.learn(settings, "banner", actor="me", as_of=AS_OF).learnt.tries) == 29  # type: ignore[union-attr]


def test_linucb_learns_by_what_was_known_before_the_choice(lab: Any) -> None:
    asked = banner(kind="bandit", algorithm="linucb", context=["recency_days"])
    settings = begin(lab, banner=asked)
    profile = lab.shop.profile
    lab.shop.write("gold.customer_360", [
        profile("p1", as_of=date(2026, 1, 5), recency_days=3), profile("p1", as_of=date(2026, 2, 5), recency_days=99),
        profile("p2", as_of=date(2026, 2, 5), recency_days=50),
    ])  # fmt: skip
    lab.expose([{"subject_id": "p1", "arm": "new"}, {"subject_id": "p2", "arm": "old"}])
    learnt = analysis.learn(settings, "banner", actor="me", as_of=AS_OF).learnt
    assert learnt.means == (3.0,), "what became known after the choice is not what it was made by"  # type: ignore[union-attr]


def test_a_mixed_list_credits_what_was_taken_of_it_after_it_was_shown(lab: Any) -> None:
    seen = {"table": "silver.events", "where": 'event_type == "CART_ADD"'}
    arms = {"item_to_item": 0.5, "two_tower": 0.5}
    asked = {"kind": "interleaving", "arms": arms, "metrics": ["added"], "minimum": 5}
    settings = lab.settings({"mix": banner(**asked)}, metrics={"added": seen})
    register.start(settings, "mix", actor="me", since=START)
    shown = START + timedelta(days=10)
    lab.expose([
        {"subject_id": f"p{n}", "experiment": "mix", "arm": arm, "product_id": item, "position": 1}
        for n in range(10) for arm, item in (("item_to_item", "A"), ("two_tower", "B"))
    ])  # fmt: skip
    moments = {"A": shown - timedelta(hours=1), "B": shown + timedelta(hours=1)}
    base = {"source_system": "SHOP", "occurred_on": shown.date(), "event_type": "CART_ADD"}
    lab.shop.write("silver.events", [
        base | {"event_id": f"e{n}{item}", "subject_id": f"p{n}", "product_id": item, "occurred_at": moments[item]}
        for n in range(8) for item in "AB"
    ] + [base | {"event_id": "late", "subject_id": "p9", "product_id": "A", "occurred_at": moments["B"]}])  # fmt: skip
    found = analysis.report(settings, "mix", AS_OF)
    assert found.counts == {"item_to_item": 1, "two_tower": 8}
    assert found.preference is not None and found.preference.estimate == pytest.approx(7 / 9)


def test_a_forecast_counts_those_who_come_and_says_what_they_can_show(lab: Any) -> None:
    settings = lab.settings()
    first = date(2026, 2, 1)
    contract_days = [
        {"subject_id": f"p{n}", "person_id": f"p{n}", "on": first + timedelta(days=n % 10)} for n in range(80)
    ]
    lab.shop.write("silver.subject_days", [row | _zeros() for row in contract_days])
    lab.sell([{"subject_id": f"p{n}", "occurred_at": datetime(2026, 2, 11, tzinfo=UTC), "net_amount": 1 + n % 7}
              for n in range(0, 80, 2)])  # fmt: skip
    plans = {plan.metric: plan for plan in forecast.plan(settings, "banner", 0.1, AS_OF)}
    assert plans["bought"].baseline.mean == pytest.approx(0.5)
    assert plans["bought"].baseline.subjects_a_day == pytest.approx(80 / 28)
    more = {plan.metric: plan for plan in forecast.plan(settings, "banner", 0.2, AS_OF)}
    assert more["bought"].subjects < plans["bought"].subjects / 3.5 and more["bought"].days < plans["bought"].days
    with pytest.raises(NotPossible, match="are needed to forecast"):
        forecast.plan(settings, "banner", 0.1, date(2025, 1, 1))
    profile = lab.shop.profile
    lab.shop.write("gold.customer_360", [
        profile(f"p{n}", as_of=AS_OF, country_code="DE" if n < 40 else "FR") for n in range(80)
    ])  # fmt: skip
    lab.shop.write("silver.consent_intervals", [
        {"person_id": "p3", "purpose": "PERSONALIZATION", "valid_from": AS_OF, "valid_to": None, "is_allowed": False}
    ])  # fmt: skip
    fewer = forecast.plan(lab.settings({"banner": banner(where={"country_code": ["DE"]})}), "banner", 0.1, AS_OF)
    assert fewer[0].baseline.subjects_a_day == pytest.approx(39 / 28), "who does not qualify, or refuses, does not come"
    for other, said in (({"kind": "bandit", "metrics": ["bought"]}, "only fixed shares"),
                        ({"unit": "visitor", "where": {"country": ["DE"]}}, "only a caller knows")):  # fmt: skip
        with pytest.raises(NotPossible, match=said):
            forecast.plan(lab.settings({"banner": banner(**other)}), "banner", 0.1, AS_OF)


def _zeros() -> dict[str, Any]:
    from customer360.platform import tables

    at = datetime(2026, 2, 1, tzinfo=UTC)
    zero = {name: 0 for name in tables.by_name("silver.subject_days").columns() if name.endswith(("_count", "_amount"))}
    return zero | {"seconds_on_site": 0, "first_at": at, "last_at": at}
