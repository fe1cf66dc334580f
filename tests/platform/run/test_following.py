"""Facts follow their person: whatever becomes of the links, the rows end as a rebuild would make them.

bronze.t_links -> silver.t_links; bronze.t_sales -> silver.t_sales (follows the links) -> silver.t_spent, one row per
subject bronze.t_lines -> silver.t_lines (follows the sales) and silver.t_notes, which reads of the sales only their
keys
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import customer360.platform.run as runs
from customer360.platform import graph, ledger, quality
from customer360.platform import lake as lakes
from customer360.platform.errors import GraphError
from customer360.platform.graph import builds
from customer360.platform.lake import BUCKET, Lake, bucket_numbers
from customer360.platform.ledger import NodeRun
from customer360.platform.run import exchange, following
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings
from customer360.platform.sources.files import Files
from customer360.platform.tables import Integer, String, Table

FACTS = ("silver.t_sales", "silver.t_lines", "silver.t_notes")
EVERY = (*FACTS, "silver.t_spent")
ACCOUNTS = [f"a{n}" for n in range(12)]
SALES = [f"s{n},{account},{n}" for n, account in enumerate(ACCOUNTS * 2)]
LINES = [f"l{n},s{n % len(SALES)}" for n in range(30)] + ["l99,missing"]


@dataclass
class Shop:
    """A landing folder and a lake of eight buckets; ``number`` names the next delivery."""

    root: Path
    number: int = 0

    @property
    def settings(self) -> Settings:
        names = {"links": "ACCOUNT", "sales": "SALE_ID", "lines": "LINE_ID"}
        return Settings(
            landing=str(self.root / "landing"),
            state=str(self.root / "state"),
            lake=LakeSettings(root=str(self.root / "lake"), buckets=8),
            execution=ExecutionSettings(executor="local", retry=RetrySettings(attempts=1, wait_seconds=0)),
            sources={n: Files(table=f"bronze.t_{n}", system="POS", path=f"{n}/*.csv", format="csv") for n in names},
        )  # fmt: skip

    @property
    def lake(self) -> Lake:
        return runs.lake_of(self.settings)

    def deliver(self, folder: str, header: str, rows: list[str]) -> None:
        self.number += 1
        path = self.root / "landing" / folder / f"{self.number:03}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *rows]) + "\n")
        os.utime(path, ns=(time.time_ns(), time.time_ns()))

    def link(self, owners: dict[str, str]) -> None:
        """Say whose accounts are; an empty person is nobody."""
        rows = [f"{account},{person},{self.number}" for account, person in owners.items()]
        self.deliver("links", "ACCOUNT,PERSON,VERSION", rows)

    def sell(self, rows: list[str]) -> None:
        self.deliver("sales", "SALE_ID,ACCOUNT,AMOUNT", rows)

    def run(self, **options: Any) -> dict[str, NodeRun]:
        record = runs.run(self.settings, runs.RunRequest(**options), rules={})
        return {n.node: n for n in record.nodes}

    def rows(self, *names: str) -> dict[str, list[Any]]:
        return {name: sorted(self.lake.scan(name).collect().rows(), key=repr) for name in names or EVERY}

    def paths(self, name: str) -> dict[int, str]:
        return {int(f.partition[BUCKET] or 0): f.path for f in self.lake.files(name)}

    def owners(self) -> dict[str, str]:
        """Subject of each account's sales."""
        return dict(self.lake.scan("silver.t_sales").select("account", "subject_id").unique().collect().rows())


def declare() -> None:
    class BronzeLinks(Table, table="bronze.t_links", key=("ACCOUNT",), version="VERSION"):
        """One row per account and version."""

        ACCOUNT = String(nullable=False)
        PERSON = String(nullable=True)
        VERSION = Integer()

    class BronzeSales(Table, table="bronze.t_sales", key=("SALE_ID",)):
        """One row per sale as received."""

        SALE_ID = String(nullable=False)
        ACCOUNT = String(nullable=True)
        AMOUNT = Integer(nullable=False, min=0)

    class BronzeLines(Table, table="bronze.t_lines", key=("SALE_ID", "LINE_ID")):
        """One row per line as received."""

        LINE_ID = String(nullable=False)
        SALE_ID = String(nullable=False)

    class Links(Table, table="silver.t_links", per="account", bucketed=False):
        """One row per account that somebody has."""

        account = String(primary_key=True)
        person_id = String()

    class Sales(Table, table="silver.t_sales", per="sale_id", sort_by=("sale_id",)):
        """One row per sale."""

        sale_id = String(primary_key=True)
        subject_id = String()
        person_id = String(nullable=True)
        account = String(nullable=True)
        amount = Integer()

    class Lines(Table, table="silver.t_lines", per="sale_id", sort_by=("line_id",)):
        """One row per line."""

        line_id = String(primary_key=True)
        sale_id = String()
        subject_id = String()
        person_id = String(nullable=True)

    class Notes(Table, table="silver.t_notes", per="sale_id", sort_by=("line_id",)):
        """One row per line: whether its sale is known."""

        line_id = String(primary_key=True)
        subject_id = String()
        person_id = String(nullable=True)
        is_known = Integer()

    class Spent(Table, table="silver.t_spent", per="subject_id"):
        """One row per subject."""

        subject_id = String(primary_key=True)
        amount = Integer()

    def of_links(rows: pl.LazyFrame, silver_t_links: pl.LazyFrame) -> pl.LazyFrame:
        joined = rows.drop("subject_id", "person_id", strict=False).join(silver_t_links, on="account", how="left")
        return joined.with_columns(subject_id=pl.coalesce("person_id", pl.lit("s:") + pl.col("sale_id")))

    def of_sales(rows: pl.LazyFrame, silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        sales = silver_t_sales.select("sale_id", "subject_id", "person_id")
        joined = rows.drop("subject_id", "person_id", strict=False).join(sales, on="sale_id", how="left")
        return joined.with_columns(subject_id=pl.coalesce("subject_id", pl.lit("l:") + pl.col("line_id")))

    @builds(Links)
    def t_links(bronze_t_links: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_links.filter(pl.col("PERSON").is_not_null()).select(account="ACCOUNT", person_id="PERSON")

    @builds(Sales, follows=of_links)
    def t_sales(bronze_t_sales: pl.LazyFrame, silver_t_links: pl.LazyFrame) -> pl.LazyFrame:
        named = bronze_t_sales.select(sale_id="SALE_ID", account="ACCOUNT", amount="AMOUNT")
        return of_links(named, silver_t_links)

    @builds(Lines, follows=of_sales)
    def t_lines(bronze_t_lines: pl.LazyFrame, silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return of_sales(bronze_t_lines.select(line_id="LINE_ID", sale_id="SALE_ID"), silver_t_sales)

    def alone(rows: pl.LazyFrame, silver_t_links: pl.LazyFrame) -> pl.LazyFrame:
        return rows.with_columns(subject_id=pl.lit("l:") + pl.col("line_id"), person_id=pl.lit(None, pl.String))

    @builds(Notes, reads={"silver.t_sales": ("sale_id",)}, follows=alone)
    def t_notes(
        bronze_t_lines: pl.LazyFrame, silver_t_links: pl.LazyFrame, silver_t_sales: pl.LazyFrame
    ) -> pl.LazyFrame:
        known = silver_t_sales.select("sale_id", is_known=pl.lit(1, pl.Int64))
        lines = bronze_t_lines.select(line_id="LINE_ID", sale_id="SALE_ID").join(known, on="sale_id", how="left")
        return alone(lines.select("line_id", pl.col("is_known").fill_null(0)), silver_t_links)

    @builds(Spent)
    def t_spent(silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_sales.group_by("subject_id").agg(amount=pl.col("amount").sum())


def filled(root: Path) -> Shop:
    """Twelve accounts of six persons, two sales each, lines, an orphan line, a guest and a bad row; built."""
    shop = Shop(root)
    shop.link({account: f"p{n // 2}" for n, account in enumerate(ACCOUNTS)})
    shop.sell([*SALES, "s98,,7", "s99,a0,-1"])
    shop.deliver("lines", "LINE_ID,SALE_ID", LINES)
    shop.run()
    return shop


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shop is built, once, by the test that comes first."""
    return tmp_path_factory.mktemp("built") / "shop"


@pytest.fixture
def shop(tmp_path: Path, built: Path, empty_graph: None) -> Shop:
    """A shop of its own for each test."""
    declare()
    made = filled(built) if not built.exists() else Shop(built, 3)
    shutil.copytree(built, tmp_path / "shop")
    return Shop(tmp_path / "shop", made.number)


def rebuilt(shop: Shop) -> dict[str, list[Any]]:
    """What a rebuild of everything from bronze makes of the same deliveries."""
    nodes = shop.run(refresh=EVERY)
    assert all("rows_moved" not in nodes[name].facts for name in FACTS)
    return shop.rows()


def moved(nodes: dict[str, NodeRun]) -> dict[str, int | None]:
    return {name: nodes[name].facts.get("rows_moved") if nodes[name].state == "built" else 0 for name in FACTS}


# ---- what becomes of links --------------------------------------------------------------------------------------

Steps = list[dict[str, str]]
GOLDEN: dict[str, Steps] = {
    "a merge": [{"a2": "p0", "a3": "p0"}],
    "a merge taken back": [{"a2": "p0", "a3": "p0"}, {"a2": "p1", "a3": "p1"}],
    "moved twice": [{"a2": "p0"}, {"a2": "p3"}],
    "a chain": [{"a0": "p1", "a1": "p1"}, {"a0": "p2", "a1": "p2", "a2": "p2", "a3": "p2"}, {"a2": "p5"}],
    "a split to a new person": [{"a1": "p77"}],
    "two change places": [{"a0": "p1", "a1": "p1", "a2": "p0", "a3": "p0"}],
    "a person less, then known again": [{"a4": "", "a5": ""}, {"a4": "p2"}],
    "everybody is one": [dict.fromkeys(ACCOUNTS, "p0")],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_moved_rows_end_where_a_rebuild_puts_them(shop: Shop, name: str) -> None:
    before = shop.rows()
    for owners in GOLDEN[name]:
        shop.link(owners)
        found = moved(shop.run())
        assert found["silver.t_sales"] and found["silver.t_lines"], "they moved, they were not built anew"
        held = shop.owners()
        assert all(held[a] == p for a, p in owners.items() if p)
    after = shop.rows()
    assert (after == before) == (name == "a merge taken back")
    paths = {table: shop.paths(table) for table in FACTS}
    assert rebuilt(shop) == after
    assert {table: shop.paths(table) for table in FACTS} == paths, "the same files, byte by byte"


def test_only_buckets_that_a_row_leaves_or_enters_are_written(shop: Shop) -> None:
    before = {name: shop.paths(name) for name in EVERY}
    shop.link({"a2": "p0"})
    nodes = shop.run()
    touched = set(bucket_numbers(pl.Series(["p0", "p1"]), 8))
    for name in ("silver.t_sales", "silver.t_lines", "silver.t_spent"):
        after = shop.paths(name)
        assert {b for b in after if after[b] != before[name].get(b)} == touched, name
    assert shop.paths("silver.t_notes") == before["silver.t_notes"]
    assert moved(nodes) == {"silver.t_sales": 2, "silver.t_lines": 3, "silver.t_notes": 0}
    assert nodes["silver.t_sales"].facts["buckets_rewritten"] == len(touched)


def test_links_that_say_the_same_move_nothing(shop: Shop) -> None:
    before = shop.rows(), {name: shop.paths(name) for name in EVERY}
    shop.link({"zz": "p9"})
    nodes = shop.run()
    assert moved(nodes) == dict.fromkeys(FACTS, 0)
    assert nodes["silver.t_spent"].state == nodes["silver.t_lines"].state == "current"
    assert (shop.rows(), {name: shop.paths(name) for name in EVERY}) == before


def test_a_last_row_may_leave_its_bucket_empty(shop: Shop) -> None:
    shop.link(dict.fromkeys(ACCOUNTS, "p0"))
    shop.run()
    held = shop.lake.scan("silver.t_sales").select("subject_id").unique().collect().to_series()
    assert set(shop.paths("silver.t_sales")) == set(bucket_numbers(held, 8))


# ---- when nothing may be trusted but bronze -----------------------------------------------------------------------


def test_new_facts_are_built_with_the_links_of_now(shop: Shop) -> None:
    shop.link({"a2": "p0"})
    shop.sell(["s50,a2,5"])
    nodes = shop.run()
    assert moved(nodes)["silver.t_sales"] is None, "built from bronze: there are new rows"
    assert moved(nodes)["silver.t_lines"] is None, "its headers may be others"
    after = shop.rows()
    assert rebuilt(shop) == after


def test_other_code_builds_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.link({"a2": "p0"})
    code = graph.code_fingerprint
    monkeypatch.setattr(graph, "code_fingerprint", lambda f, c: "new" if f.__name__ == "t_sales" else code(f, c))
    found = moved(shop.run())
    assert found["silver.t_sales"] is None and found["silver.t_lines"] is None


def test_what_is_too_large_to_be_read_by_every_unit_is_not_followed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "carried_bytes", lambda job, table: 900 * 1024 * 1024)
    shop.link({"a2": "p0"})
    found = moved(shop.run())
    assert found["silver.t_sales"] == 2, "an exchange does not split links"
    assert found["silver.t_lines"] is None
    after = shop.rows()
    assert rebuilt(shop) == after


def test_a_commit_whose_facts_the_log_lost_is_built_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.link({"a2": "p0"})
    monkeypatch.setattr(ledger, "last_facts", lambda *_: {})
    assert moved(shop.run())["silver.t_sales"] is None


def test_an_erased_row_stays_away_after_a_move(shop: Shop) -> None:
    shop.link({"a2": "p0"})
    shop.run()
    shop.lake.rewrite("bronze.t_sales", lambda f: f.filter(pl.col("ACCOUNT").ne_missing("a2")), reason="erasure")
    shop.link({"a4": "p0"})
    shop.run()
    assert "a2" not in shop.owners() and shop.owners()["a4"] == "p0"
    after = shop.rows()
    assert rebuilt(shop) == after


# ---- what is counted, and what stays readable ----------------------------------------------------------------------


def test_counts_of_conservation_and_quality_hold_on(shop: Shop) -> None:
    first = ledger.last_facts(shop.lake, "silver.t_sales", "node:silver.t_sales")
    refused = quality.refused(shop.lake)["row_id"].to_list()
    shop.link({"a2": "p0"})
    again = shop.run()["silver.t_sales"].facts
    kept = ("rows", "bronze", "silver", "quarantined", "duplicates", "superseded", "set_apart", "quality")
    assert {k: again[k] for k in kept} == {k: first[k] for k in kept}
    assert first["quarantined"] == 1 and again["rows"] == len(shop.rows("silver.t_sales")["silver.t_sales"])
    assert len(refused) == 1 and quality.refused(shop.lake)["row_id"].to_list() == refused


def test_older_versions_stay_readable(shop: Shop) -> None:
    version, before = shop.lake.version("silver.t_sales"), shop.rows("silver.t_sales")["silver.t_sales"]
    shop.link(dict.fromkeys(ACCOUNTS, "p0"))
    shop.run()
    assert shop.lake.version("silver.t_sales") == version + 1
    assert sorted(shop.lake.scan("silver.t_sales", version=version).collect().rows(), key=repr) == before


def test_a_row_that_vanishes_fails_the_node(shop: Shop) -> None:
    node = graph.NODES["silver.t_sales"]
    before = shop.rows("silver.t_sales")

    def loses(rows: pl.LazyFrame, silver_t_links: pl.LazyFrame) -> pl.LazyFrame:
        return rows.filter(pl.col("account") != "a2")

    graph.NODES["silver.t_sales"] = type(node)(**{**vars(node), "follows": loses})
    shop.link({"a2": "p0"})
    with pytest.raises(runs.RunError, match="following made 22 rows of 25 stored ones"):
        shop.run()
    assert shop.rows("silver.t_sales") == before


def test_only_a_table_stored_by_subject_may_follow(empty_graph: None) -> None:
    class Things(Table, table="silver.t_things", per="thing_id"):
        """One row per thing."""

        thing_id = String(primary_key=True)

    with pytest.raises(GraphError, match="follows nobody"):
        builds(Things, follows=lambda rows, silver_t_links: rows)(lambda bronze_t_things: bronze_t_things)


# ---- deaths -----------------------------------------------------------------------------------------------------


class Death(BaseException):
    """The process ends here."""


POINTS = [f"{when} {name}" for name in FACTS[:2] for when in ("before commit", "after commit", "after write")]


@pytest.mark.parametrize("point", POINTS)
def test_a_death_on_the_way_changes_nothing(shop: Shop, registries: None, point: str) -> None:
    def die(reached: str) -> None:
        if reached == point:
            raise Death

    shop.link({"a2": "p0", "a5": "p4"})
    lakes.observers.append(die)
    with pytest.raises(Death):
        shop.run()
    lakes.observers.clear()
    shop.run()
    after = shop.rows()
    assert after["silver.t_sales"] and shop.owners()["a2"] == "p0"
    assert rebuilt(shop) == after


# ---- any history --------------------------------------------------------------------------------------------------

LINKED = st.dictionaries(st.sampled_from(ACCOUNTS), st.sampled_from(["", *(f"p{n}" for n in range(6))]), max_size=5)
SOLD = st.lists(st.tuples(st.integers(100, 120), st.sampled_from(ACCOUNTS)), max_size=2)


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=st.lists(st.tuples(LINKED, SOLD), min_size=1, max_size=5))
def test_any_history_ends_as_a_rebuild(empty_graph: None, history: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        graph.NODES.clear()
        declare()
        shop = filled(Path(folder))
        for owners, sold in history:
            if owners:
                shop.link(owners)
            if sold:
                shop.sell([f"s{n},{account},{n}" for n, account in sold])
            shop.run()
        after = shop.rows()
        assert rebuilt(shop) == after


@pytest.mark.parametrize("limit", [1, 10**9])
def test_buckets_in_one_unit_or_each_in_its_own(shop: Shop, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    plain: Callable[..., Any] = exchange.follow_units
    monkeypatch.setattr(exchange, "follow_units", lambda job, _, staging: plain(job, limit, staging))
    shop.link({"a0": "p5", "a3": "p0", "a9": ""})
    assert moved(shop.run())["silver.t_sales"] == 6
    after = shop.rows()
    assert rebuilt(shop) == after
