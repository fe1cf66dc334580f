"""What a failing node, source or producer leaves standing, and what is tried again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform import graph
from customer360.platform.errors import LakeError, RunError, TransientError
from customer360.platform.graph import builds, produces
from customer360.platform.run.executor import LocalExecutor, RayExecutor
from customer360.platform.run.preview import preview
from customer360.platform.tables import Date, Integer, String, Table


def test_a_failed_node_blocks_only_what_needs_it(filled: Any) -> None:
    filled.break_node["silver.t_totals"] = ValueError("no totals today")
    nodes = filled.fails()
    assert filled.states(nodes) == dict.fromkeys(filled.ALL, "built") | {
        "silver.t_totals": "failed",
        "gold.t_summary": "blocked",
    }
    assert nodes["silver.t_totals"].reason == "ValueError: no totals today"
    assert "silver.t_totals" in nodes["gold.t_summary"].reason
    assert filled.calls.count("silver.t_totals") == 1  # for all small buckets: what is no accident is not tried again
    filled.break_node.clear()
    assert {n for n, s in filled.states(filled.run()).items() if s == "built"} == {"silver.t_totals", "gold.t_summary"}


def test_a_file_that_cannot_be_read_hurts_nobody_but_itself(filled: Any) -> None:
    (filled.root / "landing/orders/2.csv").write_bytes(b"\x1f\x8bno gzip")
    nodes = filled.run()
    assert filled.states(nodes)["source orders"] == "built" and "orders/2.csv: " in nodes["source orders"].reason
    assert len(filled.rows("silver.t_orders")) == 4
    filled.orders("2.csv", "o5,ann,1,1.00,1")  # mended in place
    filled.run()
    assert ("o5", "ann", 1, Decimal("1.00")) in filled.rows("silver.t_orders")
    assert len(filled.rows("silver.t_orders")) == 5


def test_a_source_all_of_whose_files_fail_fails_and_the_others_land(filled: Any) -> None:
    filled.run()
    (filled.root / "landing/orders/2.csv").write_bytes(b"\x1f\x8bno gzip")
    filled.clicks("2.json", {"CLICK_ID": "c3", "SUBJECT_ID": "ann"})
    nodes = filled.fails()
    assert filled.states(nodes)["source orders"] == "failed" and "gzip" in nodes["source orders"].reason
    assert filled.states(nodes)["silver.t_clicks"] == "built" and "blocked" not in filled.states(nodes).values()
    assert filled.run()["source orders"].state == "current", "a bad file does not stop the runs after it"


def test_a_source_whose_mapping_is_wrong_blocks_its_tables_only(filled: Any) -> None:
    wrong = filled.settings.sources["orders"].model_copy(update={"mapping": {"ORDER": "ORDER_ID"}})
    sources = {**filled.settings.sources, "orders": wrong}
    nodes = replace(filled, settings=filled.settings.model_copy(update={"sources": sources})).fails()
    assert "no column of bronze.t_orders" in nodes["source orders"].reason
    assert filled.states(nodes)["silver.t_orders"] == filled.states(nodes)["gold.t_summary"] == "blocked"
    assert filled.states(nodes)["silver.t_clicks"] == "built"


@pytest.mark.parametrize("fault", [ValueError("no table today"), RunError({"x": "y"})])
def test_a_failed_producer_blocks_only_what_needs_it(filled: Any, fault: Exception) -> None:
    class Scores(Table, table="gold.t_scores"):
        """One row per score."""

        score = Integer()

    class Early(Table, table="gold.t_later"):
        """One row per later thing."""

        score = Integer()

    @produces(Scores, inputs=["silver.t_orders"])
    def t_scores(context: Any, orders: pl.LazyFrame) -> pl.LazyFrame:
        raise fault

    @builds(Early)
    def t_later(gold_t_scores: pl.LazyFrame) -> pl.LazyFrame:
        return gold_t_scores

    assert filled.states(filled.fails()) == dict.fromkeys(filled.ALL, "built") | {
        "gold.t_scores": "failed",
        "gold.t_later": "blocked",
    }


@pytest.mark.parametrize("place", ["version", "_build_units", "_splits", "is_current"])
def test_a_node_that_cannot_be_planned_fails_alone(filled: Any, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    class Scores(Table, table="gold.t_scores"):
        """One row per score."""

        score = Integer()

    def unreachable(context: Any) -> str:
        if place == "version":
            raise OSError("no server answers")
        return "1"

    @produces(Scores, inputs=["silver.t_orders"], version=unreachable)
    def t_scores(context: Any, orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.select(score="units")

    node = "gold.t_scores" if place == "version" else "silver.t_totals"
    if place != "version":
        owner = runs if place == "is_current" else runs._Driver
        planned = getattr(owner, place)

        def plan(*words: Any) -> Any:
            if words[-1].node.name == node:
                raise OSError("no server answers")
            return planned(*words)

        monkeypatch.setattr(owner, place, plan)
    nodes = filled.fails()
    assert nodes[node].reason == "OSError: no server answers"
    left = {name for name, state in filled.states(nodes).items() if state != "built"}
    assert left == ({node} if place == "version" else {node, "gold.t_summary"})


def test_when_nothing_lands_the_cause_comes_first(shop: Any) -> None:
    class Ages(Table, table="gold.t_ages", partition_by=("as_of",)):
        """One row per date."""

        as_of = Date()

    @builds(Ages)
    def t_ages(silver_t_clicks: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
        return silver_t_clicks.select(as_of=pl.lit(as_of)).unique()

    graph.gives_as_of("silver.t_orders")(lambda lake, zones: date(2024, 1, 3))
    (shop.root / "landing/orders").mkdir()
    (shop.root / "landing/orders/1.csv").write_bytes(b"\x1f\x8bno gzip")
    with pytest.raises(RunError) as fault:
        runs.run(shop.settings, runs.RunRequest(), rules={})
    first, *rest = str(fault.value).splitlines()
    assert first.startswith("nothing landed: none of 2 source(s) gave a row")
    assert rest[0].strip() == "source clicks: nothing was found at the source"
    assert (
        rest[1].strip().startswith("source orders: batch 1: 1 = 0 landed + 1 dead; orders/1.csv: ") and len(rest) == 2
    )
    assert not shop.calls


def test_a_producer_that_breaks_its_contract_fails_alone(filled: Any) -> None:
    class Scores(Table, table="gold.t_scores"):
        """One row per score."""

        score = Integer()

    @produces(Scores, inputs=["silver.t_orders"])
    def t_scores(context: Any, orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders

    nodes = filled.fails()
    assert filled.states(nodes) == dict.fromkeys(filled.ALL, "built") | {"gold.t_scores": "failed"}
    assert "missing columns ['score']" in nodes["gold.t_scores"].reason


def test_a_producer_commits_side_tables_and_parts(filled: Any) -> None:
    class Side(Table, table="gold.t_side"):
        """One row per side fact."""

        n = Integer()

    class Scores(Table, table="gold.t_scores", partition_by=("model", "as_of")):
        """One row per model, date and score."""

        model = String()
        as_of = Date()
        score = Integer()

    seen: list[Any] = []

    def producer(part: str) -> None:
        outputs = (Side, Scores) if part == "one" else (Scores,)

        @produces(*outputs, inputs=["silver.t_totals"], part=("model", part), dated=True, version=lambda _: "v1")
        def made(context: Any, totals: pl.LazyFrame) -> Any:
            seen.append((part, context.as_of))
            scores = totals.select(score="units")
            return (totals.select(n="order_count"), scores) if part == "one" else scores.head(1)

    producer("one")
    producer("two")
    first = date(2024, 1, 2)
    filled.run(as_of=first)
    assert seen == [("one", first), ("two", first)]
    assert filled.lake.scan("gold.t_scores").group_by("model", "as_of").len().sort("model").collect().rows() == [
        ("one", first, 3),
        ("two", first, 1),
    ]
    assert len(filled.rows("gold.t_side")) == 3
    assert filled.states(filled.run(as_of=first))["gold.t_scores/one"] == "current"
    graph.gives_as_of("silver.t_totals")(lambda _, zones: date(2024, 1, 3))
    filled.run()
    assert filled.lake.scan("gold.t_scores").collect()["as_of"].n_unique() == 2
    assert len(seen) == 4


def test_a_build_that_takes_a_date_waits_for_the_table_that_gives_it(filled: Any) -> None:
    class Ages(Table, table="gold.t_ages", partition_by=("as_of",)):
        """One row per date."""

        as_of = Date(primary_key=True)

    @builds(Ages)
    def t_ages(silver_t_clicks: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
        return silver_t_clicks.select(as_of=pl.lit(as_of)).unique()

    def last_day(lake: Any, zones: Any) -> date:
        if not lake.scan("silver.t_totals").collect().height:
            raise LakeError("silver.t_totals has no day; give --as-of")
        return date(2024, 1, 3)

    assert "nothing gives as_of" in filled.fails(end="gold.t_ages")["gold.t_ages"].reason
    graph.gives_as_of("silver.t_totals")(last_day)
    reason = filled.fails(only=frozenset({"gold.t_ages"}))["gold.t_ages"].reason
    assert reason == (
        f"silver.t_totals does not exist in {filled.lake.root} yet; `customer360 run --to silver.t_totals` builds it"
    )
    filled.run(end="gold.t_ages")
    assert filled.rows("gold.t_ages") == [(date(2024, 1, 3),)], "the totals were built first, though it reads none"
    filled.break_node["silver.t_totals"] = ValueError("no totals today")
    failed = filled.fails(end="gold.t_ages", refresh=("silver.t_totals",))
    assert failed["gold.t_ages"].reason == "needs silver.t_totals, which failed"


def test_a_dry_run_asks_the_data_for_its_date_once(filled: Any) -> None:
    asked = []

    def dated(name: str) -> None:
        class Ages(Table, table=name, partition_by=("as_of",)):
            """One row per date."""

            as_of = Date(primary_key=True)

        @builds(Ages)
        def t_ages(silver_t_clicks: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
            return silver_t_clicks.select(as_of=pl.lit(as_of)).unique()

    for name in ("gold.t_ages", "gold.t_others"):
        dated(name)
    graph.gives_as_of("silver.t_totals")(lambda lake, zones: asked.append(lake) or date(2024, 1, 3))
    filled.run()
    asked.clear()
    states = {node.name: node.state for node in preview(filled.settings, runs.RunRequest(), rules={}).nodes}
    assert (states["gold.t_ages"], states["gold.t_others"], len(asked)) == ("current", "current", 1)


@pytest.mark.parametrize("kind", [LocalExecutor, RayExecutor])
def test_a_producer_is_given_what_spreads_work(
    filled: Any, monkeypatch: pytest.MonkeyPatch, kind: type[LocalExecutor] | type[RayExecutor]
) -> None:
    class Scores(Table, table="gold.t_scores"):
        """One row per order."""

        score = Integer()

    class Near(RayExecutor):
        def map(self, units: Sequence[Any]) -> Iterator[tuple[int, Any]]:
            return LocalExecutor(self.settings).map(units)

    given: list[Any] = []

    @produces(Scores, inputs=["silver.t_totals"])
    def t_scores(context: Any, totals: pl.LazyFrame) -> pl.LazyFrame:
        given.append(context.executor)
        return totals.select(score="units")

    settings = filled.settings.execution
    executor = Near(settings, filled.root) if kind is RayExecutor else LocalExecutor(settings)
    monkeypatch.setattr(runs, "executor_for", lambda _: executor)
    filled.run()
    assert given == ([executor] if kind is RayExecutor else [None]), "None: no more than this process"


def test_transient_failures_are_tried_again(filled: Any) -> None:
    original, tries = filled.break_node, []

    class Once(dict[str, Exception]):
        def __contains__(self, name: object) -> bool:
            tries.append(name)
            return name == "silver.t_clicks" and tries.count(name) < 3

    filled.break_node = Once({"silver.t_clicks": TransientError("not now")})
    assert filled.states(filled.run())["silver.t_clicks"] == "built"
    assert filled.calls.count("silver.t_clicks") == 3
    filled.break_node = original


def test_transient_failures_that_stay_fail_the_node(filled: Any) -> None:
    filled.break_node["silver.t_clicks"] = ConnectionError("never")
    nodes = filled.fails()
    assert nodes["silver.t_clicks"].reason == "ConnectionError: never (after 3 attempts)"
    assert filled.calls.count("silver.t_clicks") == 3
