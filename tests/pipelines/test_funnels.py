"""Funnels: a count over all ways to choose touchpoints gives the same, in every order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise, permutations
from typing import Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.funnels import attempts
from customer360.pipelines.rules.journey import Funnel, JourneyRules, Step
from customer360.pipelines.streams import RUN, streams

START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = "ABCX"
Touch = tuple[str, int]  # kind, hour; X is of no step
Order = Literal["ordered", "strict", "any"]
STEPS = [Step(name=word, kinds=[word]) for word in "ABC"]


def touchpoints(of: dict[str, list[Touch]], passive: str = "") -> pl.DataFrame:
    rows = [
        {"subject_id": person, "sequence_number": n + 1, "occurred_at": START + timedelta(hours=hour), "kind": kind,
         "action": kind, "channel": f"{kind}{n % 2}", "is_active": kind not in passive}
        for person, touches in of.items() for n, (kind, hour) in enumerate(sorted(touches, key=lambda t: t[1]))
    ]  # fmt: skip
    schema = {
        "subject_id": pl.String, "sequence_number": pl.Int64, "occurred_at": pl.Datetime("us", "UTC"),
        "kind": pl.String, "action": pl.String, "channel": pl.String, "is_active": pl.Boolean,
    }  # fmt: skip
    return streams(pl.LazyFrame(rows, schema=schema), "subject_id", "sequence_number")


def reached(of: dict[str, list[Touch]], funnel: Funnel) -> dict[str, int]:
    """Depth of each person, without those that never begin."""
    rows = touchpoints(of)
    told = attempts(rows, funnel).group_by(RUN).agg(pl.col("depth").max())
    return dict(told.join(rows.unique(RUN), on=RUN).select("subject_id", "depth").rows())


def tried(touches: list[Touch], order: Order, hours: int, steps: list[str]) -> int:
    """The furthest that any choice of touchpoints gets: every subset of every size, in every order allowed."""
    stream = sorted(touches, key=lambda t: t[1])
    best = 0
    for size in range(1, len(steps) + 1):
        for chosen in combinations(range(len(stream)), size):
            kinds = [stream[n][0] for n in chosen]
            in_time = stream[chosen[-1]][1] - stream[chosen[0]][1] <= hours
            if order == "any":
                fits = any(list(p) == kinds for p in permutations(steps, size))
            else:
                fits = kinds == steps[:size]
            near = order != "strict" or all(b == a + 1 for a, b in pairwise(chosen))
            if in_time and fits and near:
                best = size
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 90)), max_size=9), min_size=1, max_size=4),
    st.sampled_from(["ordered", "strict", "any"]),
)
def test_all_ways_to_choose_touchpoints_get_as_far(people: list[list[Touch]], order: Order) -> None:
    of = {f"p{n}": touches for n, touches in enumerate(people)}
    funnel = Funnel(order=order, within_days=1, steps=STEPS)
    ours = reached(of, funnel)
    assert {p: ours.get(p, 0) for p in of} == {p: tried(t, order, 24, list("ABC")) for p, t in of.items()}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 60)), max_size=8),
    st.sampled_from(["ordered", "strict"]),
    st.sampled_from(["ABA", "AAB", "AAA"]),
)
def test_a_step_may_come_twice(touches: list[Touch], order: Order, kinds: str) -> None:
    """Purchase, question, purchase again; or two purchases: the same touchpoint is never both."""
    steps = [Step(name=f"step {n}", kinds=[kind]) for n, kind in enumerate(kinds)]
    ours = reached({"p": touches}, Funnel(order=order, within_days=1, steps=steps))
    assert ours.get("p", 0) == tried(touches, order, 24, list(kinds))


@pytest.mark.parametrize(
    ("order", "depth"), [("ordered", 3), ("strict", 1), ("any", 3)]
)  # fmt: skip
def test_what_stands_between_counts_only_where_the_order_is_strict(order: Order, depth: int) -> None:
    touches = [("A", 0), ("X", 1), ("B", 2), ("X", 3), ("C", 4)]
    assert reached({"p": touches}, Funnel(order=order, steps=STEPS)) == {"p": depth}


def test_a_message_that_was_only_sent_stands_between_nothing() -> None:
    of = {"p": [("A", 0), ("X", 1), ("B", 2)]}
    funnel = Funnel(order="strict", steps=STEPS)
    told = attempts(touchpoints(of, passive="X"), funnel)
    assert told["depth"].to_list() == [2]


def test_the_window_counts_from_the_first_step_and_to_its_last_instant() -> None:
    funnel = Funnel(within_days=1, steps=STEPS)
    assert reached({"p": [("A", 0), ("B", 23), ("C", 24)]}, funnel) == {"p": 3}
    assert reached({"p": [("A", 0), ("B", 23), ("C", 25)]}, funnel) == {"p": 2}
    assert reached({"p": [("A", 0), ("A", 2), ("B", 23), ("C", 25)]}, funnel) == {"p": 3}, "a later start gets there"


def test_times_of_steps_and_the_segment_are_those_of_the_attempt() -> None:
    funnel = Funnel(within_days=1, by=["channel"], steps=STEPS)
    told = attempts(touchpoints({"p": [("A", 0), ("X", 1), ("B", 2)]}), funnel).row(0, named=True)
    assert told["channel"] == "A0" and told["started_at"] == START
    assert [told[f"at_{n}"] for n in range(3)] == [START, START + timedelta(hours=2), None]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": [{"name": "a", "kinds": ["A"]}]}, "two steps at least"),
        ({"steps": [{"name": "a", "kinds": ["A"]}, {"name": "a", "kinds": ["B"]}]}, "a name of its own"),
        ({"steps": [{"name": "a", "kinds": ["A"]}, {"name": "b"}]}, "means every touchpoint"),
        ({"order": "loose", "steps": []}, "ordered"),
        ({"by": ["browser"], "steps": []}, "device_type"),
    ],
)
def test_a_wrong_funnel_is_refused_with_its_reason(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        JourneyRules.model_validate({"funnels": {"mine": wrong}})
