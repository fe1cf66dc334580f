"""Runs over a small graph of its own: what is built, what is left alone, what a failure or a crash leaves behind.

bronze.t_orders -> silver.t_orders -> silver.t_totals -> gold.t_summary
bronze.t_clicks -> silver.t_clicks -> silver.t_visits (needs an exchange by subject)
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform import graph, ledger, quality, tables
from customer360.platform import lake as lakes
from customer360.platform.errors import ConfigError, LakeLocked, RunError, TransientError
from customer360.platform.graph import builds, produces
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.run.executor import LocalExecutor, RayExecutor
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings, SourceSettings
from customer360.platform.tables import Date, Integer, Money, String, Table


@dataclass
class Shop:
    """The test's lake, its landing folder, how to run it, and which builds were called."""

    root: Path
    settings: Settings
    calls: list[str] = field(default_factory=list)
    break_node: dict[str, Exception] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        return runs.lake_of(self.settings)

    def orders(self, name: str, *rows: str) -> None:
        self._drop("orders", name, "\n".join(["ORDER_ID,WHO,UNITS,PAID,VERSION", *rows]))

    def clicks(self, name: str, *rows: dict[str, Any]) -> None:
        self._drop("clicks", name, "\n".join(map(json.dumps, rows)))

    def _drop(self, folder: str, name: str, text: str) -> None:
        path = self.root / "landing" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=(time.time_ns(), time.time_ns()))

    def run(self, **options: Any) -> dict[str, NodeRun]:
        self.calls.clear()
        record = runs.run(self.settings, **{"rules": {}, "as_of": None, "default_as_of": lambda _: None, **options})
        return {n.node: n for n in record.nodes}

    def fails(self, **options: Any) -> dict[str, NodeRun]:
        self.calls.clear()
        with pytest.raises(RunError):
            self.run(**options)
        return {n.node: n for n in ledger.runs(self.lake, 1)[0].nodes}

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        return sorted(self.lake.scan(name).collect().rows(), key=repr)

    def business(self) -> dict[str, list[str]]:
        """All rows of all tables without what names a time, sorted."""
        names = [n for n in tables.TABLES if n.split(".")[1].startswith("t_") or n.startswith("quality.")]
        found = {}
        for name in names:
            if self.lake.exists(name):
                frame = self.lake.scan(name).collect().drop("_ingested_at", "received_at", strict=False)
                found[name] = sorted(map(repr, frame.rows()))
        return found


def declare(shop: Shop) -> None:
    def enter(name: str) -> None:
        shop.calls.append(name)
        if name in shop.break_node:
            raise shop.break_node[name]

    class BronzeOrders(Table, table="bronze.t_orders", key=("ORDER_ID",), version="VERSION"):
        """One row per order as received."""

        ORDER_ID = String(nullable=False)
        WHO = String(nullable=False)
        UNITS = Integer(nullable=False, min=1)
        PAID = Money(nullable=True)
        VERSION = Integer(nullable=True)

    class BronzeClicks(Table, table="bronze.t_clicks", key=("CLICK_ID",)):
        """One row per click as received."""

        CLICK_ID = String(nullable=False)
        SUBJECT_ID = String(nullable=False)

    class Orders(Table, table="silver.t_orders", per="order_id"):
        """One row per order."""

        order_id = String(primary_key=True)
        subject_id = String()
        units = Integer()
        paid = Money(nullable=True)

    class Totals(Table, table="silver.t_totals", per="subject_id"):
        """One row per subject."""

        subject_id = String(primary_key=True)
        order_count = Integer()
        units = Integer()

    class Clicks(Table, table="silver.t_clicks", per="click_id", bucketed=False):
        """One row per click."""

        click_id = String(primary_key=True)
        subject_id = String()

    class Visits(Table, table="silver.t_visits", per="subject_id"):
        """One row per subject with clicks or orders."""

        subject_id = String(primary_key=True)
        click_count = Integer()
        order_count = Integer()

    class Summary(Table, table="gold.t_summary"):
        """One row per lake."""

        subject_count = Integer()
        units = Integer()

    @builds(Orders)
    def t_orders(bronze_t_orders: pl.LazyFrame) -> pl.LazyFrame:
        enter("silver.t_orders")
        known = bronze_t_orders.filter(pl.col("WHO") != "nobody")  # set apart
        return known.select(order_id="ORDER_ID", subject_id="WHO", units="UNITS", paid="PAID")

    @builds(Totals)
    def t_totals(silver_t_orders: pl.LazyFrame) -> pl.LazyFrame:
        enter("silver.t_totals")
        return silver_t_orders.group_by("subject_id").agg(order_count=pl.len(), units=pl.col("units").sum())

    @builds(Clicks)
    def t_clicks(bronze_t_clicks: pl.LazyFrame) -> pl.LazyFrame:
        enter("silver.t_clicks")
        return bronze_t_clicks.select(click_id="CLICK_ID", subject_id="SUBJECT_ID")

    @builds(Visits)
    def t_visits(silver_t_clicks: pl.LazyFrame, silver_t_orders: pl.LazyFrame) -> pl.LazyFrame:
        enter("silver.t_visits")
        both = pl.concat(
            [
                silver_t_clicks.select("subject_id", c=pl.lit(1), o=pl.lit(0)),
                silver_t_orders.select("subject_id", c=pl.lit(0), o=pl.lit(1)),
            ]
        )
        return both.group_by("subject_id").agg(click_count=pl.col("c").sum(), order_count=pl.col("o").sum())

    @builds(Summary)
    def t_summary(silver_t_totals: pl.LazyFrame) -> pl.LazyFrame:
        enter("gold.t_summary")
        return silver_t_totals.select(subject_count=pl.len(), units=pl.col("units").sum())


def make(root: Path) -> Shop:
    (root / "landing").mkdir(parents=True, exist_ok=True)
    settings = Settings(
        landing=str(root / "landing"),
        state=str(root / "state"),
        lake=LakeSettings(root=str(root / "lake"), buckets=4),
        execution=ExecutionSettings(
            executor="local", retry=RetrySettings(attempts=3, wait_seconds=0, unit_timeout_seconds=30)
        ),
        sources={
            "orders": SourceSettings(table="bronze.t_orders", system="POS", path="orders/*.csv", format="csv"),
            "clicks": SourceSettings(table="bronze.t_clicks", system="WEB", path="clicks/*.json", format="json"),
        },
    )
    return Shop(root, settings)


@pytest.fixture
def shop(tmp_path: Path, empty_graph: None) -> Shop:
    made = make(tmp_path)
    declare(made)
    return made


FIRST = ("o1,ann,2,10.00,1", "o2,bob,1,,1", "o3,ann,3,1.50,1", "o4,eve,1,2.00,1")


@pytest.fixture
def filled(shop: Shop) -> Shop:
    shop.orders("1.csv", *FIRST)
    shop.clicks("1.json", {"CLICK_ID": "c1", "SUBJECT_ID": "ann"}, {"CLICK_ID": "c2", "SUBJECT_ID": "zoe"})
    return shop


def states(nodes: dict[str, NodeRun]) -> dict[str, str]:
    return {name: node.state for name, node in nodes.items()}


ALL = {
    "source orders",
    "source clicks",
    "silver.t_orders",
    "silver.t_clicks",
    "silver.t_totals",
    "silver.t_visits",
    "gold.t_summary",
}


# ---- what is built --------------------------------------------------------------------------------------------


def test_first_run_builds_everything(filled: Shop) -> None:
    nodes = filled.run()
    assert states(nodes) == dict.fromkeys(ALL, "built")
    assert filled.rows("silver.t_orders") == [
        ("o1", "ann", 2, Decimal("10.00")),
        ("o2", "bob", 1, None),
        ("o3", "ann", 3, Decimal("1.50")),
        ("o4", "eve", 1, Decimal("2.00")),
    ]
    assert filled.rows("silver.t_totals") == [("ann", 2, 5), ("bob", 1, 1), ("eve", 1, 1)]
    assert filled.rows("silver.t_visits") == [("ann", 1, 2), ("bob", 0, 1), ("eve", 0, 1), ("zoe", 1, 0)]
    assert filled.rows("gold.t_summary") == [(3, 7)]
    assert nodes["silver.t_totals"].rows == 3
    assert filled.lake.objects("_staging") == []


def test_bronze_rows_know_where_they_came_from(filled: Shop) -> None:
    filled.run()
    row = filled.lake.scan("bronze.t_orders").sort("_position").collect().row(0, named=True)
    assert {k: row[k] for k in ("_source", "_source_system", "_seq", "_file", "_position", "_rescued", "_replay_of")} == {
        "_source": "orders", "_source_system": "POS", "_seq": 1, "_file": "orders/1.csv", "_position": 1, "_rescued": None, "_replay_of": None,
    }  # fmt: skip


def test_second_run_finds_everything_current(filled: Shop) -> None:
    filled.run()
    versions = {n: filled.lake.version(n) for n in ("silver.t_orders", "silver.t_totals", "gold.t_summary")}
    nodes = filled.run()
    assert states(nodes) == dict.fromkeys(ALL, "current")
    assert filled.calls == []
    assert {n: filled.lake.version(n) for n in versions} == versions
    assert nodes["gold.t_summary"].rows == 1


def test_a_new_file_rebuilds_only_the_buckets_it_touches(filled: Shop) -> None:
    filled.run()
    before = {f.path: f for f in filled.lake.files("silver.t_totals")}
    filled.orders("2.csv", "o5,ann,1,1.00,1")
    nodes = filled.run()
    assert states(nodes) == {n: "current" if n in ("source clicks", "silver.t_clicks") else "built" for n in ALL}
    assert filled.calls.count("silver.t_totals") == 1
    after = {f.path for f in filled.lake.files("silver.t_totals")}
    assert len(after & set(before)) == len(before) - 1
    assert nodes["silver.t_totals"].facts["buckets_rewritten"] == 1
    assert filled.rows("silver.t_totals") == [("ann", 3, 6), ("bob", 1, 1), ("eve", 1, 1)]
    assert nodes["silver.t_totals"].rows == 3


def test_a_changed_file_is_read_again_and_supersedes(filled: Shop) -> None:
    filled.run()
    filled.orders("1.csv", "o1,ann,9,10.00,2", *FIRST[1:])
    nodes = filled.run()
    assert filled.rows("silver.t_totals") == [("ann", 2, 12), ("bob", 1, 1), ("eve", 1, 1)]
    facts = nodes["silver.t_orders"].facts
    assert {k: facts[k] for k in ("bronze", "silver", "duplicates", "superseded")} == {
        "bronze": 8,
        "silver": 4,
        "duplicates": 3,
        "superseded": 1,
    }


def test_going_back_to_earlier_inputs_is_a_change(filled: Shop) -> None:
    filled.run()
    lake = filled.lake
    before = filled.business()
    filled.orders("2.csv", "o5,ann,1,1.00,1")
    filled.run()
    lake.rewrite("bronze.t_orders", lambda f: f.filter(pl.col("ORDER_ID") != "o5"), reason="test")
    assert states(filled.run())["silver.t_totals"] == "built"
    assert filled.business() == before


def test_only_the_chosen_part_is_run(filled: Shop) -> None:
    assert set(filled.run(end="silver.t_orders")) == {"source orders", "silver.t_orders"}
    assert set(filled.run(start="silver.t_totals")) == {"silver.t_totals", "gold.t_summary"}
    filled.orders("2.csv", "o9,ann,1,1.00,1")
    assert states(filled.run(start="silver.t_totals")) == {"silver.t_totals": "current", "gold.t_summary": "current"}


def test_changed_code_rebuilds(filled: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.run()
    code = graph.code_fingerprint
    monkeypatch.setattr(graph, "code_fingerprint", lambda f, c: "new" if f.__name__ == "t_totals" else code(f, c))
    nodes = filled.run()
    assert {n for n, s in states(nodes).items() if s == "built"} == {"silver.t_totals", "gold.t_summary"}
    assert nodes["silver.t_totals"].facts["buckets_rewritten"] == len(filled.lake.files("silver.t_totals"))


@pytest.mark.parametrize("target", ["silver.t_totals", "silver.t_visits", "silver.t_orders"])
def test_refresh_rebuilds_even_what_stands(filled: Shop, target: str) -> None:
    filled.run()
    before = filled.business()
    # A build whose result was spoilt by something that no fingerprint sees.
    filled.lake.rewrite(target, lambda f: f.with_columns(pl.lit("spoilt").alias("subject_id")), reason="test")
    assert filled.business() != before
    nodes = filled.run(refresh=(target,))
    assert states(nodes)[target] == "built"
    assert filled.calls.count(target) >= 1
    assert filled.business() == before


def test_refresh_does_not_trust_the_files_that_stand(filled: Shop) -> None:
    filled.run()
    before = filled.business()
    for f in filled.lake.files("silver.t_totals"):
        path = Path(filled.lake.uri("silver.t_totals")) / f.path
        pl.read_parquet(path).with_columns(units=pl.lit(-1, pl.Int64)).write_parquet(path)
    assert filled.business() != before
    filled.run(refresh=("silver.t_totals",))
    assert filled.business() == before


def test_refresh_rebuilds_a_table_whose_type_changed(filled: Shop) -> None:
    filled.run()
    del tables.TABLES["gold.t_summary"]
    del graph.NODES["gold.t_summary"]

    class Summary(Table, table="gold.t_summary"):
        """One row per lake."""

        subject_count = String()
        units = Integer()

    @builds(Summary)
    def t_summary(silver_t_totals: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_totals.select(subject_count=pl.len(), units=pl.col("units").sum())

    assert "--full-refresh gold.t_summary" in filled.fails()["gold.t_summary"].reason
    filled.run(refresh=("gold.t_summary",))
    assert filled.rows("gold.t_summary") == [("3", 7)]
    assert states(filled.run())["gold.t_summary"] == "current"


# ---- exchanges ------------------------------------------------------------------------------------------------


@pytest.fixture
def many(shop: Shop) -> Shop:
    shop.orders("1.csv", *(f"o{i},p{i % 37},{1 + i % 4},{i}.25,1" for i in range(300)), "o1,p1,0,,1", "o2,p2,3,2.25,1")
    shop.clicks("1.json", *({"CLICK_ID": f"c{i}", "SUBJECT_ID": f"p{i % 41}"} for i in range(200)))
    return shop


def test_an_exchange_of_several_parts_equals_one_part(
    many: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    many.run()
    whole, calls = many.business(), many.calls.count("silver.t_visits")
    assert calls == 1
    monkeypatch.setattr(runs, "carried_bytes", lambda job, table: 3 * 1024 * 1024)
    small = many.settings.execution.model_copy(update={"exchange_megabytes": 1})
    lake = many.settings.lake.model_copy(update={"root": str(tmp_path / "other")})
    other = Shop(many.root, many.settings.model_copy(update={"lake": lake, "execution": small}), many.calls)
    nodes = other.run()
    assert other.business() == whole
    assert many.calls.count("silver.t_orders") == 3 and many.calls.count("silver.t_visits") == 6
    assert nodes["silver.t_orders"].facts["bronze"] == 302
    assert other.lake.objects("_staging") == []
    files = other.lake.files("silver.t_orders")
    assert len(files) == len({f.partition["bucket"] for f in files})
    for f in files:
        numbers = lakes.bucket_numbers(other.lake.scan("silver.t_orders", [f]).collect()["subject_id"], 4)
        assert set(numbers) == {int(f.partition["bucket"] or -1)}


def test_a_build_by_subject_without_stored_inputs_runs_once(filled: Shop) -> None:
    class Greetings(Table, table="silver.t_greetings", per="subject_id"):
        """One row per subject that is greeted."""

        subject_id = String(primary_key=True)

    @builds(Greetings)
    def t_greetings(bronze_t_orders: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_orders.select(subject_id="WHO").unique()

    filled.run()
    assert filled.rows("silver.t_greetings") == [("ann",), ("bob",), ("eve",)]


# ---- refused rows and corrections -----------------------------------------------------------------------------


def test_every_bronze_row_ends_in_one_place(shop: Shop) -> None:
    shop.orders(
        "1.csv",
        "o1,ann,1,1.00,1",
        "o1,ann,2,1.00,2",  # newer version
        "o2,bob,1,1.00,1",
        "o2,bob,1,1.00,1",  # exact duplicate
        "o3,bob,0,1.00,1",  # breaks min
        "o4,eve,many,1.00,1",  # does not cast
        "o5,nobody,1,1.00,1",  # set apart by the build
        "broken",  # dead letter
    )
    facts = shop.run(end="silver.t_totals")
    landed, orders = facts["source orders"].facts, facts["silver.t_orders"].facts
    assert (landed["read"], landed["landed"], landed["dead"]) == (8, 7, 1)
    counted = {k: orders[k] for k in ("bronze", "silver", "quarantined", "duplicates", "superseded", "set_apart")}
    assert counted == {"bronze": 7, "silver": 2, "quarantined": 2, "duplicates": 1, "superseded": 1, "set_apart": 1}
    assert shop.rows("silver.t_totals") == [("ann", 1, 2), ("bob", 1, 1)]
    refused = quality.refused(shop.lake).select("row_id", "rule", "value").rows()
    assert refused == [("orders/1/orders/1.csv/5", "min", "0"), ("orders/1/orders/1.csv/6", "type", "many")]
    assert quality.dead_letters(shop.lake).select("letter_id", "raw").rows() == [("orders/1/orders/1.csv/8", b"broken")]


def correct(shop: Shop, *rows: dict[str, Any]) -> None:
    text = "\n".join(map(json.dumps, rows)).encode()
    path = f"_replays/{len(ledger.batches(shop.lake, 'orders'))}.jsonl"
    shop.lake.put(path, text)
    ledger.open_batch(shop.lake, "orders", [], inline=path)


def test_corrections_stand_for_the_rows_they_name(shop: Shop) -> None:
    shop.orders("1.csv", "o1,ann,0,1.00,1", "o2,bob,1,1.00,1", "o3,eve,x,1.00,1")
    assert shop.run()["silver.t_orders"].facts["quarantined"] == 2
    correct(
        shop,
        {"ORDER_ID": "o1", "WHO": "ann", "UNITS": 5, "_replay_of": "orders/1/orders/1.csv/1"},
        {"ORDER_ID": "o3", "WHO": "eve", "UNITS": 0, "_replay_of": "orders/1/orders/1.csv/3"},  # still wrong
    )
    facts = shop.run()["silver.t_orders"].facts
    assert {k: facts[k] for k in ("bronze", "silver", "quarantined", "superseded")} == {
        "bronze": 5,
        "silver": 2,
        "quarantined": 1,
        "superseded": 2,
    }
    assert quality.refused(shop.lake)["row_id"].to_list() == ["orders/2/_replays/1.jsonl/2"]
    correct(shop, {"ORDER_ID": "o3", "WHO": "eve", "UNITS": 2, "_replay_of": "orders/2/_replays/1.jsonl/2"})
    facts = shop.run()["silver.t_orders"].facts
    assert (facts["silver"], facts["quarantined"], facts["superseded"]) == (3, 0, 3)
    assert quality.refused(shop.lake).is_empty()
    assert shop.rows("silver.t_totals") == [("ann", 1, 5), ("bob", 1, 1), ("eve", 1, 2)]


def test_corrections_reach_every_part_of_an_exchange(many: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    many.run()
    correct(many, {"ORDER_ID": "changed key", "WHO": "p5", "UNITS": 1, "_replay_of": "orders/1/orders/1.csv/8"})
    monkeypatch.setattr(runs, "carried_bytes", lambda job, table: 900 * 1024 * 1024)
    facts = many.run()["silver.t_orders"].facts
    assert (facts["superseded"], facts["quarantined"], facts["duplicates"]) == (1, 1, 1)
    assert {"o7", "changed key"} & set(many.lake.scan("silver.t_orders").collect()["order_id"]) == {"changed key"}


def test_a_build_that_makes_rows_of_its_own_breaks_conservation(filled: Shop) -> None:
    del graph.NODES["silver.t_orders"]

    @builds(tables.by_name("silver.t_orders"))
    def t_orders(bronze_t_orders: pl.LazyFrame) -> pl.LazyFrame:
        rows = bronze_t_orders.select(order_id="ORDER_ID", subject_id="WHO", units="UNITS", paid="PAID")
        return pl.concat([rows, rows.with_columns(pl.col("order_id") + "x")])

    assert "made 8 rows of 4 records" in filled.fails()["silver.t_orders"].reason


# ---- failures -------------------------------------------------------------------------------------------------


def test_a_failed_node_blocks_only_what_needs_it(filled: Shop) -> None:
    filled.break_node["silver.t_totals"] = ValueError("no totals today")
    nodes = filled.fails()
    assert states(nodes) == dict.fromkeys(ALL, "built") | {"silver.t_totals": "failed", "gold.t_summary": "blocked"}
    assert nodes["silver.t_totals"].reason == "ValueError: no totals today"
    assert "silver.t_totals" in nodes["gold.t_summary"].reason
    assert filled.calls.count("silver.t_totals") == 4  # one try a bucket: what is no accident is not tried again
    filled.break_node.clear()
    assert {n for n, s in states(filled.run()).items() if s == "built"} == {"silver.t_totals", "gold.t_summary"}


def test_a_failed_source_blocks_its_tables_only(filled: Shop) -> None:
    filled.orders("2.csv", "x")
    (filled.root / "landing/orders/2.csv").write_text("A,A\n1,2\n")
    nodes = filled.fails()
    assert states(nodes)["source orders"] == "failed" and "twice" in nodes["source orders"].reason
    assert states(nodes)["silver.t_orders"] == states(nodes)["gold.t_summary"] == "blocked"
    assert states(nodes)["silver.t_clicks"] == "built"
    filled.orders("2.csv", "o5,ann,1,1.00,1")  # mended in place
    filled.run()
    assert ("o5", "ann", 1, Decimal("1.00")) in filled.rows("silver.t_orders")
    assert len(filled.rows("silver.t_orders")) == 5


@pytest.mark.parametrize("fault", [ValueError("no table today"), RunError({"x": "y"})])
def test_a_failed_producer_blocks_only_what_needs_it(filled: Shop, fault: Exception) -> None:
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

    assert states(filled.fails()) == dict.fromkeys(ALL, "built") | {
        "gold.t_scores": "failed",
        "gold.t_later": "blocked",
    }


def test_a_producer_that_breaks_its_contract_fails_alone(filled: Shop) -> None:
    class Scores(Table, table="gold.t_scores"):
        """One row per score."""

        score = Integer()

    @produces(Scores, inputs=["silver.t_orders"])
    def t_scores(context: Any, orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders

    nodes = filled.fails()
    assert states(nodes) == dict.fromkeys(ALL, "built") | {"gold.t_scores": "failed"}
    assert "missing columns ['score']" in nodes["gold.t_scores"].reason


def test_a_producer_commits_side_tables_and_parts(filled: Shop) -> None:
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
    assert states(filled.run(as_of=first))["gold.t_scores/one"] == "current"
    filled.run(default_as_of=lambda _: date(2024, 1, 3))
    assert filled.lake.scan("gold.t_scores").collect()["as_of"].n_unique() == 2
    assert len(seen) == 4


@pytest.mark.parametrize("kind", [LocalExecutor, RayExecutor])
def test_a_producer_is_given_what_spreads_work(
    filled: Shop, monkeypatch: pytest.MonkeyPatch, kind: type[LocalExecutor] | type[RayExecutor]
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


def test_transient_failures_are_tried_again(filled: Shop) -> None:
    original, tries = filled.break_node, []

    class Once(dict[str, Exception]):
        def __contains__(self, name: object) -> bool:
            tries.append(name)
            return name == "silver.t_clicks" and tries.count(name) < 3

    filled.break_node = Once({"silver.t_clicks": TransientError("not now")})
    assert states(filled.run())["silver.t_clicks"] == "built"
    assert filled.calls.count("silver.t_clicks") == 3
    filled.break_node = original


def test_transient_failures_that_stay_fail_the_node(filled: Shop) -> None:
    filled.break_node["silver.t_clicks"] = ConnectionError("never")
    nodes = filled.fails()
    assert nodes["silver.t_clicks"].reason == "ConnectionError: never (after 3 attempts)"
    assert filled.calls.count("silver.t_clicks") == 3


# ---- guards ---------------------------------------------------------------------------------------------------


def test_another_number_of_buckets_is_refused(filled: Shop) -> None:
    filled.run()
    lake = filled.settings.lake.model_copy(update={"buckets": 8})
    other = Shop(filled.root, filled.settings.model_copy(update={"lake": lake}))
    with pytest.raises(ConfigError, match="made with 4 buckets"):
        other.run()


def test_one_run_a_lake(filled: Shop) -> None:
    with filled.lake.run_lock("other"), pytest.raises(LakeLocked, match="other"):
        filled.run()
    assert states(filled.run())["gold.t_summary"] == "built"


def test_empty_sources_build_empty_tables(shop: Shop) -> None:
    shop.run()
    assert shop.rows("silver.t_orders") == shop.rows("silver.t_totals") == []
    assert shop.rows("gold.t_summary") == [(0, 0)]
    assert set(states(shop.run()).values()) == {"current"}


# ---- crashes --------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process dies: nothing in the platform may catch it."""


def crash_at(number: int) -> Callable[[str], None]:
    left = [number]

    def observer(point: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash(point)

    return observer


def changed(shop: Shop) -> None:
    """What arrives after the first run: a new version, a duplicate, a refused row, a dead letter, new clicks."""
    shop.orders("2.csv", "o1,ann,9,10.00,2", FIRST[1], "o7,bob,0,1.00,1", "o8,new,1,1.00,1", "broken")
    shop.clicks("2.json", {"CLICK_ID": "c3", "SUBJECT_ID": "ann"})


def crash_everywhere(origin: Shop, tmp_path: Path, first: int, step: int) -> int:
    """From the state of ``origin``: crash at each ``step``-th point of a run, run again, compare with no crash."""
    expected = None
    number, crashed = first, True
    while crashed:
        root = tmp_path / f"crash-{number}"
        shutil.copytree(origin.root, root)
        shop = Shop(root, make(root).settings, origin.calls)
        crashed = False
        lakes.observers.append(crash_at(number))
        try:
            shop.run()
        except Crash:
            crashed = True
        finally:
            lakes.observers.clear()
        nodes = shop.run()
        assert set(states(nodes).values()) <= {"built", "current"}
        if expected is None:
            clean = tmp_path / "clean"
            shutil.copytree(origin.root, clean)
            whole = Shop(clean, make(clean).settings, origin.calls)
            whole.run()
            expected = whole.business()
        assert shop.business() == expected, f"crash at point {number}"
        assert shop.lake.objects("_staging") == []
        shutil.rmtree(root)
        number += step
    return number


@pytest.fixture
def arrived(filled: Shop, tmp_path: Path) -> Shop:
    origin = Shop(tmp_path / "origin", make(tmp_path / "origin").settings, filled.calls)
    shutil.copytree(filled.root / "landing", origin.root / "landing", dirs_exist_ok=True)
    origin.run()
    changed(origin)
    return origin


def test_a_crash_at_any_point_then_a_run_gives_the_same_tables(arrived: Shop, tmp_path: Path) -> None:
    assert crash_everywhere(arrived, tmp_path, 0, 8) > 30


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 8))
def test_a_crash_at_every_other_point(arrived: Shop, tmp_path: Path, first: int) -> None:
    crash_everywhere(arrived, tmp_path, first, 8)


@pytest.mark.slow
def test_a_crash_at_every_point_of_an_exchange_and_of_a_first_run(
    filled: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "carried_bytes", lambda job, table: 600 * 1024 * 1024)
    origin = Shop(tmp_path / "origin", make(tmp_path / "origin").settings, filled.calls)
    shutil.copytree(filled.root / "landing", origin.root / "landing", dirs_exist_ok=True)
    changed(origin)
    assert crash_everywhere(origin, tmp_path, 0, 1) > 40


def test_a_run_that_crashed_is_recorded(filled: Shop) -> None:
    lakes.observers.append(crash_at(8))
    with pytest.raises(Crash):
        filled.run()
    lakes.observers.clear()
    found: list[Run] = ledger.runs(filled.lake)
    assert len(found) == 1 and found[0].ended_at is None
