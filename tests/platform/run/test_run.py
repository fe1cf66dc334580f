"""What a run builds, what it leaves alone, and what it refuses; the graph stands in `conftest.py`."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph, tables
from customer360.platform import lake as lakes
from customer360.platform.errors import ConfigError, LakeLocked
from customer360.platform.graph import builds
from customer360.platform.run import exchange, planning, upkeep
from customer360.platform.run.planning import is_current
from customer360.platform.tables import Integer, String, Table

# ---- what is built -------------------------------------------------------------------------------------------


def test_first_run_builds_everything(filled: Any) -> None:
    nodes = filled.run()
    assert filled.states(nodes) == dict.fromkeys(filled.ALL, "built")
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


def test_bronze_rows_know_where_they_came_from(filled: Any) -> None:
    filled.run()
    row = filled.lake.scan("bronze.t_orders").sort("_position").collect().row(0, named=True)
    assert {k: row[k] for k in ("_source", "_source_system", "_seq", "_file", "_position", "_rescued", "_replay_of")} == {  # noqa: E501
        "_source": "orders", "_source_system": "POS", "_seq": 1, "_file": "orders/1.csv", "_position": 1, "_rescued": None, "_replay_of": None,  # noqa: E501
    }  # fmt: skip


def test_second_run_finds_everything_current(filled: Any) -> None:
    filled.run()
    versions = {n: filled.lake.version(n) for n in ("silver.t_orders", "silver.t_totals", "gold.t_summary")}
    nodes = filled.run()
    assert filled.states(nodes) == dict.fromkeys(filled.ALL, "current")
    assert filled.calls == []
    assert {n: filled.lake.version(n) for n in versions} == versions
    assert nodes["gold.t_summary"].rows == 1


def test_the_seconds_of_a_table_are_its_own(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clicks and orders are of one stage; clicks take long."""
    node = graph.NODES["silver.t_clicks"]

    def slow(*frames: pl.LazyFrame) -> pl.LazyFrame:
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        return node.function(*frames)

    monkeypatch.setitem(graph.NODES, node.name, replace(node, function=slow))
    nodes = filled.run()
    assert nodes["silver.t_orders"].seconds < 0.5 <= nodes["silver.t_clicks"].seconds


def test_a_new_file_rebuilds_only_the_buckets_it_touches(filled: Any) -> None:
    filled.run()
    before = {f.path: f for f in filled.lake.files("silver.t_totals")}
    filled.orders("2.csv", "o5,ann,1,1.00,1")
    nodes = filled.run()
    assert filled.states(nodes) == {
        n: "current" if n in ("source clicks", "silver.t_clicks") else "built" for n in filled.ALL
    }
    assert filled.calls.count("silver.t_totals") == 1
    after = {f.path for f in filled.lake.files("silver.t_totals")}
    assert len(after & set(before)) == len(before) - 1
    assert nodes["silver.t_totals"].facts["buckets_rewritten"] == 1
    assert filled.rows("silver.t_totals") == [("ann", 3, 6), ("bob", 1, 1), ("eve", 1, 1)]
    assert nodes["silver.t_totals"].rows == 3


def test_a_changed_file_is_read_again_and_supersedes(filled: Any) -> None:
    filled.run()
    filled.orders("1.csv", "o1,ann,9,10.00,2", *filled.FIRST[1:])
    nodes = filled.run()
    assert filled.rows("silver.t_totals") == [("ann", 2, 12), ("bob", 1, 1), ("eve", 1, 1)]
    facts = nodes["silver.t_orders"].facts
    assert {k: facts[k] for k in ("bronze", "silver", "duplicates", "superseded")} == {
        "bronze": 8,
        "silver": 4,
        "duplicates": 3,
        "superseded": 1,
    }


def test_going_back_to_earlier_inputs_is_a_change(filled: Any) -> None:
    filled.run()
    lake = filled.lake
    before = filled.business()
    filled.orders("2.csv", "o5,ann,1,1.00,1")
    filled.run()
    lake.rewrite("bronze.t_orders", lambda f: f.filter(pl.col("ORDER_ID") != "o5"), reason="test")
    assert filled.states(filled.run())["silver.t_totals"] == "built"
    assert filled.business() == before


def test_only_the_chosen_part_is_run(filled: Any) -> None:
    assert set(filled.run(end="silver.t_orders")) == {"source orders", "silver.t_orders"}
    assert set(filled.run(start="silver.t_totals")) == {"silver.t_totals", "gold.t_summary"}
    filled.orders("2.csv", "o9,ann,1,1.00,1")
    assert filled.states(filled.run(start="silver.t_totals")) == {
        "silver.t_totals": "current",
        "gold.t_summary": "current",
    }


def test_changed_code_rebuilds(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.run()
    code = graph.code_fingerprint
    monkeypatch.setattr(graph, "code_fingerprint", lambda f, c: "new" if f.__name__ == "t_totals" else code(f, c))
    nodes = filled.run()
    assert {n for n, s in filled.states(nodes).items() if s == "built"} == {"silver.t_totals", "gold.t_summary"}
    assert nodes["silver.t_totals"].facts["buckets_rewritten"] == len(filled.lake.files("silver.t_totals"))


@pytest.mark.parametrize("target", ["silver.t_totals", "silver.t_visits", "silver.t_orders"])
def test_refresh_rebuilds_even_what_stands(filled: Any, target: str) -> None:
    filled.run()
    before = filled.business()
    # A build whose result was spoilt by something that no fingerprint sees.
    filled.lake.rewrite(target, lambda f: f.with_columns(pl.lit("spoilt").alias("subject_id")), reason="test")
    assert filled.business() != before
    nodes = filled.run(refresh=(target,))
    assert filled.states(nodes)[target] == "built"
    assert filled.calls.count(target) >= 1
    assert filled.business() == before


def test_refresh_does_not_trust_the_files_that_stand(filled: Any) -> None:
    filled.run()
    before = filled.business()
    for f in filled.lake.files("silver.t_totals"):
        path = Path(filled.lake.uri("silver.t_totals")) / f.path
        pl.read_parquet(path).with_columns(units=pl.lit(-1, pl.Int64)).write_parquet(path)
    assert filled.business() != before
    filled.run(refresh=("silver.t_totals",))
    assert filled.business() == before


def test_refresh_rebuilds_a_table_whose_type_changed(filled: Any) -> None:
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
    assert filled.states(filled.run())["gold.t_summary"] == "current"


# ---- exchanges -----------------------------------------------------------------------------------------------


def test_an_exchange_of_several_parts_equals_one_part(
    many: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    many.run()
    whole, calls = many.business(), many.calls.count("silver.t_visits")
    assert calls == 1
    monkeypatch.setattr(planning, "PICKED", -1)  # of what is large no unit picks its own rows
    monkeypatch.setattr(exchange, "carried_bytes", lambda job, table: 3 * 1024 * 1024)
    small = many.settings.execution.model_copy(update={"exchange_megabytes": 1})
    lake = many.settings.lake.model_copy(update={"root": str(tmp_path / "other")})
    other = replace(many, settings=many.settings.model_copy(update={"lake": lake, "execution": small}))
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


def test_a_build_by_subject_without_stored_inputs_runs_once(filled: Any) -> None:
    class Greetings(Table, table="silver.t_greetings", per="subject_id"):
        """One row per subject that is greeted."""

        subject_id = String(primary_key=True)

    @builds(Greetings)
    def t_greetings(bronze_t_orders: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_orders.select(subject_id="WHO").unique()

    filled.run()
    assert filled.rows("silver.t_greetings") == [("ann",), ("bob",), ("eve",)]


# ---- guards --------------------------------------------------------------------------------------------------


def test_another_number_of_buckets_is_refused(filled: Any) -> None:
    filled.run()
    lake = filled.settings.lake.model_copy(update={"buckets": 8})
    other = replace(filled, settings=filled.settings.model_copy(update={"lake": lake}))
    with pytest.raises(ConfigError, match="made with 4 buckets"):
        other.run()


def test_one_run_a_lake(filled: Any) -> None:
    with filled.lake.run_lock("other"), pytest.raises(LakeLocked, match="other"):
        filled.run()
    assert filled.states(filled.run())["gold.t_summary"] == "built"


def test_empty_sources_build_empty_tables(shop: Any) -> None:
    shop.run()
    assert shop.rows("silver.t_orders") == shop.rows("silver.t_totals") == []
    assert shop.rows("gold.t_summary") == [(0, 0)]
    assert set(shop.states(shop.run()).values()) == {"current"}


def test_folded_bronze_files_give_the_same_tables(filled: Any) -> None:
    filled.run()
    filled.orders("2.csv", "o7,zoe,1,3.00,1")
    filled.run()
    before, landed = filled.business(), len(filled.lake.files("bronze.t_orders"))
    assert upkeep.compact(filled.lake, "bronze.t_orders", filled.settings.lake).after == 1 < landed
    assert set(filled.states(filled.run()).values()) == {"current"}
    assert filled.business() == before
    filled.orders("3.csv", "o8,zoe,1,3.00,1")
    assert filled.states(filled.run())["source orders"] == "built"


def test_a_node_is_current_only_where_all_its_tables_are_of_its_last_commit(filled: Any) -> None:
    filled.run()
    lake, names = filled.lake, ("silver.t_orders", "silver.t_totals")
    node = SimpleNamespace(outputs=tuple(map(tables.by_name, names)))
    job: Any = SimpleNamespace(node=node, context=SimpleNamespace(lake=lake), app="node:both", app_version=7)
    for versions, expected in (((7, 7), True), ((8, 7), False), ((7, 8), False)):
        for name, version in zip(names, versions, strict=True):
            lake.commit(name, [], [], app=job.app, app_version=version)
        assert is_current(job) is expected


def test_a_note_on_many_files_of_a_source_is_said_of_few(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for number in range(5):
        shop.orders(f"{number}.csv", f"o{number},c1,5")
        path = shop.root / f"landing/orders/{number}.csv"
        path.write_bytes(path.read_bytes().replace(b"c1", "cé".encode("cp1252")))
    shop.run()
    said = [line for line in caplog.messages if "read as Windows-1252" in line]
    assert [line.startswith("orders orders/") for line in said] == [True] * 3 + [False]
    assert "2 more inputs" in said[-1]
