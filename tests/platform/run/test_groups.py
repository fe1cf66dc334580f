"""Groups over files and batches: one row of all records of a group, however they came, and none twice."""

from __future__ import annotations

import importlib
import itertools
import logging
import random as randoms
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import customer360.platform.run as runs
from customer360.platform import lake as lakes
from customer360.platform import ledger, privacy, quality
from customer360.platform.errors import RunError
from customer360.platform.graph import builds
from customer360.platform.lake import Lake
from customer360.platform.run import rereading
from customer360.platform.run.grouping import is_stale
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings
from customer360.platform.sources.files import Files
from customer360.platform.sources.grouping import GROUPED
from customer360.platform.tables import Identifier, Integer, String, Table, personal

HEAD = "order,who,units,changed"
MAPPING = {
    "ORDER_ID": '"order"',
    "CUSTOMER_ID": "MAX(who)",
    "UNITS": "SUM(TRY_CAST(units AS BIGINT))",
    "LINES": "COUNT(units)",
    "VERSION": "MAX(TRY_CAST(changed AS BIGINT))",
}


@dataclass
class Shop:
    """A lake with one source of order lines, its landing folder, and how to run it."""

    root: Path
    settings: Settings

    @property
    def lake(self) -> Lake:
        return runs.lake_of(self.settings)

    def deliver(self, name: str, *lines: str) -> None:
        path = self.root / "landing/o" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([HEAD, *lines, ""]))

    def run(self, **options: Any) -> dict[str, Any]:
        record = runs.run(self.settings, runs.RunRequest(**options), rules={})
        for _, outcome in ledger.outcomes(self.lake, "orders").items():
            assert outcome.dropped or quality.batch_balance("", outcome.facts).holds, outcome.facts
        return {node.node: node for node in record.nodes}

    def orders(self) -> dict[str, tuple[str | None, int, int]]:
        rows = self.lake.scan("silver.t_sums").select("order_id", "customer_id", "units", "lines").collect().rows()
        assert len({row[0] for row in rows}) == len(rows)
        return {row[0]: row[1:] for row in sorted(rows)}

    def mapped(self, **source: Any) -> Shop:
        sources = {"orders": self.settings.sources["orders"].model_copy(update=source)}
        return Shop(self.root, self.settings.model_copy(update={"sources": sources}))

    def at(self, root: Path) -> Shop:
        return Shop(root, settings_below(root))


def settings_below(root: Path) -> Settings:
    source = Files(table="bronze.t_sums", system="SHOP", path="o/*", group_by=["order"], mapping=MAPPING)
    return Settings(
        landing=str(root / "landing"), lake=LakeSettings(root=str(root / "lake"), buckets=2),
        execution=ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)), sources={"orders": source},
    )  # fmt: skip


@pytest.fixture
def graph(empty_graph: None) -> None:
    class Sums(Table, table="bronze.t_sums", key=("ORDER_ID",), version="VERSION"):
        """One row per order."""

        ORDER_ID = Identifier(nullable=False)
        CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"))
        UNITS = Integer(nullable=True)
        LINES = Integer(nullable=True)
        VERSION = Integer(nullable=True)

    class SilverSums(Table, table="silver.t_sums", per="order_id"):
        """One row per order."""

        order_id = String(primary_key=True)
        customer_id = String(nullable=True)
        units = Integer(nullable=True)
        lines = Integer(nullable=True)

    @builds(SilverSums)
    def t_sums(bronze_t_sums: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_sums.select(order_id="ORDER_ID", customer_id="CUSTOMER_ID", units="UNITS", lines="LINES")


@pytest.fixture
def shop(graph: None, tmp_path: Path) -> Shop:
    return Shop(tmp_path, settings_below(tmp_path))


def test_an_order_over_files_and_deliveries_is_one_row_of_all_its_lines(shop: Shop) -> None:
    shop.deliver("a.csv", "1,ann,2,5", "2,bob,1,5")
    shop.deliver("b.csv", "2,bob,10,5")
    node = shop.run()["source orders"]
    assert (node.facts["read"], node.facts["landed"], node.facts["collapsed"]) == (3, 2, 1)
    assert shop.orders() == {"1": ("ann", 2, 1), "2": ("bob", 11, 2)}
    shop.deliver("c.csv", "2,bob,100,4", "3,cy,7,6", "broken,line,with,too,many")
    node = shop.run()["source orders"]
    assert (node.facts["read"], node.facts["landed"], node.facts["dead"]) == (3, 2, 1)
    assert shop.orders() == {"1": ("ann", 2, 1), "2": ("bob", 111, 3), "3": ("cy", 7, 1)}
    addresses = shop.lake.scan("bronze.t_sums").select(quality.row_id()).collect()
    assert addresses.to_series().is_unique().all()


def test_a_file_that_comes_again_stands_for_what_it_held(shop: Shop) -> None:
    shop.deliver("a.csv", "1,ann,2,9", "1,ann,3,9", "2,bob,1,9")
    shop.deliver("b.csv", "1,ann,10,9")
    shop.run()
    (shop.root / "landing/o/a.csv").touch()
    assert shop.run()["source orders"].state == "current"
    shop.deliver("a.csv", "1,ann,4,1", "2,bob,1,9")
    shop.run()
    assert shop.orders() == {"1": ("ann", 14, 2), "2": ("bob", 1, 1)}, "mended, although its versions are older"
    shop.deliver("a.csv", "3,cy,5,9")
    shop.run()
    assert shop.orders() == {"1": ("ann", 14, 2), "2": ("bob", 1, 1), "3": ("cy", 5, 1)}, "absence deletes nothing"


def test_programs_write_a_group_differently(shop: Shop) -> None:
    shop.deliver("a.csv", "17850,ann,2,5")
    shop.deliver("b.csv", "17850.0,ann,3,5", " 17850,ann,4,5")
    shop.deliver("c.jsonl")
    (shop.root / "landing/o/c.jsonl").write_text('{"order": 17850, "who": "ann", "units": "10", "changed": "5"}\n')
    shop.run()
    assert shop.orders() == {"17850": ("ann", 19, 4)}


def test_what_is_taken_up_again_makes_the_groups_anew(shop: Shop) -> None:
    shop.deliver("a.csv", "1,ann,2,5", "2,bob,1,5")
    shop.run()
    shop.deliver("b.csv", "2,bob,10,5", "3,cy,1,1")
    shop.run()
    whole = shop.orders()
    shop.run(reland=("orders",))
    assert shop.orders() == whole and shop.lake.scan("bronze.t_sums").collect().height == 3
    twice = shop.mapped(mapping={**MAPPING, "UNITS": "SUM(TRY_CAST(units AS BIGINT)) * 2"})
    twice.run()
    assert twice.orders() == {"1": ("ann", 4, 1), "2": ("bob", 22, 2), "3": ("cy", 2, 1)}
    assert twice.run()["source orders"].state == "current" and not is_stale(
        twice.lake, "orders", twice.settings.sources["orders"]
    )
    rereading.drop(twice.lake, twice.settings, "orders", 1, ignore=True)
    twice.run()
    assert twice.orders() == {"2": ("bob", 20, 1), "3": ("cy", 2, 1)}


def test_a_file_that_fails_is_retried_into_its_groups(shop: Shop) -> None:
    shop.deliver("a.csv", "1,ann,2,5")
    path = shop.root / "landing/o/b.csv"
    path.write_text("client;units\nann;40\n")
    shop.run()
    assert shop.orders() == {"1": ("ann", 2, 1)}
    assert ledger.outcomes(shop.lake, "orders")[1].state == "partly failed"
    path.write_text(f"{HEAD}\n1,ann,40,5\n")
    shop.run()
    assert shop.orders() == {"1": ("ann", 42, 2)}


def test_a_mapping_that_does_not_add_up_costs_its_files_alone(shop: Shop) -> None:
    shop.deliver("a.csv", "1,ann,2,5")
    plural = shop.mapped(mapping={**MAPPING, "UNITS": "units"})
    with pytest.raises(RunError):
        plural.run()
    assert "do not aggregate" in ledger.outcomes(shop.lake, "orders")[1].inputs[0].failure
    shop.run()
    assert shop.orders() == {"1": ("ann", 2, 1)}


def test_a_lake_of_before_records_were_kept_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.deliver("a.csv", "1,ann,2,5", "2,bob,1,5")
    shop.deliver("gone.csv", "9,eve,1,5")
    with monkeypatch.context() as before:
        for name in ("sources.grouping", "run.ingest", "run.rereading", "run.grouping"):
            module = importlib.import_module(f"customer360.platform.{name}")
            before.setattr(module, "is_grouped", lambda source: False)
        shop.run()
    assert not shop.lake.exists(GROUPED)
    (shop.root / "landing/o/gone.csv").unlink()
    shop.deliver("b.csv", "2,bob,10,5")
    shop.run()
    assert shop.orders() == {"1": ("ann", 2, 1), "2": ("bob", 11, 2), "9": ("eve", 1, 1)}
    assert shop.run()["source orders"].state == "current"


def test_what_a_dropped_batch_had_refused_of_an_erased_person_counts_once_when_it_lands_again(shop: Shop) -> None:
    shop.deliver("a.csv", "1,ann,2,5", "2,bob,1,5")
    shop.run()
    with shop.lake.run_lock("erase"):
        privacy.erase_rows(shop.lake, privacy.Identifiers(accounts=frozenset({"SHOP/ann"})))
    shop.deliver("b.csv", "1,ann,2,5", "3,bob,5,5")
    shop.run()
    rereading.drop(shop.lake, shop.settings, "orders", 2)
    assert shop.lake.scan(quality.ERASED).collect().is_empty()
    shop.run()
    assert shop.lake.scan(quality.ERASED).select("file", "position").collect().rows() == [("o/b.csv", 1)]


def test_an_erased_person_leaves_its_records_and_does_not_come_back(shop: Shop) -> None:
    shop.deliver("a.csv", "1,ann,2,5", "2,bob,1,5", "2,ann,1,5")
    shop.run()
    who = privacy.Identifiers(accounts=frozenset({"SHOP/ann"}))
    with shop.lake.run_lock("erase"):
        touched = privacy.erase_rows(shop.lake, who)
    assert touched[GROUPED] > 0
    kept = shop.lake.scan(GROUPED).collect()
    assert kept.height == 2 and not kept["RECORD"].str.contains("ann").any(), "of others its name alone goes"
    shop.deliver("b.csv", "1,ann,2,5", "2,bob,5,5")
    node = shop.run()["source orders"]
    assert (node.facts["erased"], node.facts["landed"]) == (1, 1)
    (late,) = shop.lake.scan(quality.ERASED).select("source", "file", "position").collect().rows()
    assert late == ("orders", "o/b.csv", 1)
    assert shop.orders() == {"2": ("bob", 7, 3)}
    assert not shop.lake.scan(GROUPED).collect()["RECORD"].str.contains("ann").any()
    (shop.root / "landing/o/a.csv").unlink()
    shop.run(reland=("orders",))
    assert shop.orders() == {"2": ("bob", 7, 3)}


def test_a_large_batch_is_grouped_in_parts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("customer360.platform.run.grouping")
    monkeypatch.setattr(module, "PART_BYTES", 100)
    monkeypatch.setattr(module, "KEPT_BYTES", 5_000)
    lines = [f"{number % 40},ann,{number},1" for number in range(200)]
    shop.deliver("a.csv", *lines[:120])
    shop.run()
    shop.deliver("b.csv", *lines[120:])
    shop.run()
    files = shop.lake.files("bronze.t_sums")
    assert len(files) > 10 and max(f.rows for f in files) < 20
    whole = {str(key): ("ann", sum(range(key, 200, 40)), 5) for key in range(40)}
    assert shop.orders() == dict(sorted(whole.items()))
    shop.run(reland=("orders",))
    assert shop.orders() == dict(sorted(whole.items())) and shop.lake.scan("bronze.t_sums").collect().height == 40


class Crash(BaseException):
    """The process dies."""


def test_a_death_at_any_point_counts_no_line_twice(shop: Shop, tmp_path: Path) -> None:
    import shutil

    shop.deliver("a.csv", "1,ann,2,5", "2,bob,1,5")
    shop.run()
    shop.deliver("a.csv", "1,ann,3,5", "2,bob,1,5")
    shop.deliver("b.csv", "2,bob,10,5", "3,cy,1,1")
    expected = {"1": ("ann", 3, 1), "2": ("bob", 11, 2), "3": ("cy", 1, 1)}
    for again in ({}, {"reland": ("orders",)}):
        for number in itertools.count(0, 1 if not again else 2):
            root = tmp_path.parent / f"{tmp_path.name}-{len(again)}-{number}"
            shutil.copytree(tmp_path, root)
            dying, left = shop.at(root), [number]

            def observer(point: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise Crash(point)

            lakes.observers.append(observer)
            died = False
            try:
                dying.run(**again)
            except Crash:
                died = True
            finally:
                lakes.observers.clear()
            dying.run()
            assert dying.orders() == expected, number
            rows = dying.lake.scan(GROUPED).select("_seq", "_file", "_position").collect()
            assert rows.is_unique().all() and rows.height == 6
            shutil.rmtree(root)
            if not died:
                break
        assert number > 10


LINE = st.tuples(st.sampled_from("123"), st.sampled_from(["ann", "bob", ""]), st.integers(0, 99), st.integers(0, 3))


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, min_size=1, max_size=12), st.integers(0, 2**20))
def test_law_it_does_not_matter_how_lines_are_split(graph: None, lines: list[tuple[Any, ...]], seed: int) -> None:
    texts, chance = [",".join(map(str, line)) for line in lines], randoms.Random(seed)

    def rows(files: int, batches: int) -> list[dict[str, Any]]:
        with TemporaryDirectory() as folder:
            shop = Shop(Path(folder), settings_below(Path(folder)))
            (shop.root / "landing").mkdir()
            dealt: dict[tuple[int, int], list[str]] = {}
            for text in texts:
                dealt.setdefault((chance.randrange(batches), chance.randrange(files)), []).append(text)
            for batch in range(batches):
                for (of, file), held in dealt.items():
                    if of == batch:
                        shop.deliver(f"{batch}-{file}.csv", *held)
                shop.run()
            shop.run()
            return shop.lake.scan("silver.t_sums").sort("order_id").collect().to_dicts()

    logging.getLogger("customer360").setLevel(logging.ERROR)
    assert rows(3, 3) == rows(1, 1) == rows(2, 1)
