"""What holds of every decision: nothing forbidden is shown, a refusal makes people equal, and records replay."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.online import OnlineStore
from customer360.serve.publication.vectors import VectorStore
from customer360.serve.realtime.ranking.choosing import Chooser, Shelves
from customer360.serve.realtime.ranking.decision import replayed, unpacked


@pytest.fixture(scope="module")
def shop(choices: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The invented shop, its view, and a chooser of it."""
    world = choices.publish_world(tmp_path_factory.mktemp("shop"))
    chooser = Chooser(Shelves(VectorStore(world.state), patience=30), choices.rules)
    return world, OnlineStore(world.state).view(), chooser


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_nothing_forbidden_is_shown_and_records_replay(shop: Any, choices: Any, seed: int) -> None:
    world, view, chooser = shop
    asked = choices.random_request(random.Random(seed), world)
    decision = chooser.choose(view, asked, view.get("person", asked.person_id or ""))
    assert choices.violations(decision, world) == []
    kept = unpacked(decision.packed())
    assert replayed(kept).order == kept["answer"] == decision.order


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_who_refused_gets_what_a_stranger_gets(shop: Any, choices: Any, seed: int) -> None:
    world, view, chooser = shop
    asked = choices.random_request(random.Random(seed), world)
    refused = replace(asked, is_personal=False, is_profiled=False)
    stranger = replace(refused, person_id=None, visitor_id=None)
    mine = chooser.choose(view, refused, view.get("person", asked.person_id or ""))
    assert mine.products() == chooser.choose(view, stranger, None).products()
    assert not {"model", "session", "own", "segment", "nearest"} & mine.slate.sources.keys()


def test_a_degraded_answer_breaks_no_rule(choices: Any, tmp_path: Path) -> None:
    """The products are never ready here."""
    world = choices.publish_world(tmp_path)
    view, draw = OnlineStore(world.state).view(), random.Random(3)
    shelves = Shelves(VectorStore(world.state), patience=0)
    shelves._read = lambda view: None  # type: ignore[method-assign]
    for _ in range(50):
        asked = choices.random_request(draw, world)
        decision = Chooser(shelves, choices.rules).choose(view, asked, None)
        assert decision.degraded
        assert choices.violations(decision, world) == []
        assert replayed(unpacked(decision.packed())).order == decision.order


def test_late_sources_are_left_out(choices: Any, shop: Any) -> None:
    world, view, _ = shop
    ticks = iter(range(0, 100, 10))
    slow = Chooser(Shelves(VectorStore(world.state), patience=30), choices.rules, clock=lambda: float(next(ticks)))
    asked = replace(choices.random_request(random.Random(1), world), is_personal=True)
    decision = slow.choose(view, asked, None)
    assert (decision.degraded, "nearest" in decision.slate.sources) == ("time", False)
