"""A small synthetic retailer, landed and built once a session, in process.

What cannot be made of it (a feed, a source, a table) fails the tests that ask for it, and only them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph, tables
from customer360.platform import settings as configuration
from customer360.platform.errors import RunError
from customer360.platform.graph import Node
from customer360.platform.lake import Lake
from customer360.platform.settings import Settings

BY_HAND = (
    "gold.engagement_bounds",
    "gold.customer_360",
    "gold.real_time_profiles",
)  # by a run they would need scores: MLflow takes seconds
UNSCORED = ("gold.predictions", "gold.category_scores")
SINCE = "gold.real_time_"  # these begin with the date; the retailer's log ends there


@dataclass
class Built:
    """A lake of a few people and everything to run its builds by hand."""

    lake: Lake
    settings: Settings
    rules: dict[str, Any]
    truth: Path
    dated: date | None = None  # None: the table that gives the date failed
    views: dict[str, pl.DataFrame] = field(default_factory=dict)  # gold tables that others read, built by hand
    failures: dict[str, str] = field(default_factory=dict)  # why there is no such table, by table or node

    @property
    def as_of(self) -> date:
        if self.dated is None:
            pytest.fail(f"the retailer has no date: {self.failures}")
        return self.dated

    def date_of(self, name: str) -> date:
        """The date that a node is built for: a month before where the table tells what happened since."""
        return self.as_of - timedelta(days=30) if name.startswith(SINCE) else self.as_of

    def frame(self, name: str) -> pl.LazyFrame:
        """An input as a build sees it: bronze records come judged and folded. Fails the test where it is not whole."""
        from customer360.platform.run.records import current_records

        if reason := self.missing(name):
            pytest.fail(reason)
        rows = self.views[name].lazy() if name in self.views else self.lake.scan(name)
        if tables.spec(tables.by_name(name)).is_dated:
            rows = rows.filter(pl.col("as_of") == self.as_of)
        if name.startswith("bronze."):
            return current_records(tables.by_name(name), rows.collect(), set()).rows.lazy()
        return rows

    def missing(self, name: str) -> str | None:
        """Why a table, or something that it is made of, could not be made; None where all of it was."""
        nodes = set() if name.startswith("bronze.") else graph.selection(None, name)
        needed = {name, *nodes, *(table for node in nodes for table in graph.NODES[node].awaits)}
        return "; ".join(f"{n}: {self.failures[n]}" for n in sorted(needed & self.failures.keys())) or None

    def run(self, **options: Any) -> None:
        """Run a part of the graph, and keep what failed."""
        from customer360.platform.run import RunRequest
        from customer360.serve import jobs

        try:
            jobs.run_pipeline(self.settings, RunRequest(**options))
        except RunError as fault:
            for name, reason in fault.failures.items():
                source = self.settings.sources.get(name.removeprefix("source "))
                self.failures.setdefault(source.table if source else name, reason)

    def restrict_somebody(self) -> None:
        """One person has asked that nothing of theirs is used for some purposes."""
        from customer360.serve import fulfilment

        self.run(end="silver.identities")
        if self.missing("silver.identities"):
            return
        person = self.lake.scan("silver.identities").select(pl.col("person_id").min()).collect().item()
        asked = fulfilment.open_request(self.settings, "restrict", person, actor="test", identity="a letter")
        fulfilment.fulfil(self.settings, asked.number, actor="test")

    def feed_failed(self, folder: str, reason: str) -> None:
        """A feed could not be written: its table is not whole."""
        for source in self.settings.sources.values():
            if getattr(source, "path", "").startswith(f"{folder}/"):
                self.failures[source.table] = f"feed {folder}: {reason}"

    def build(self, node: Node) -> None:
        """Build a table by hand, and keep it, or why it failed."""
        from customer360.platform.run.units import conform_to_storage

        try:
            inputs = [self.frame(t) for t in node.inputs]
            values = {"as_of": self.date_of(node.name), "params": self.rules.get(node.rules or "")}
            made = node.function(*inputs, **{k: v for k, v in values.items() if k in node.wants})
            self.views[node.name] = conform_to_storage(node.table, made, {"as_of": str(self.as_of)})
        except (Exception, pytest.fail.Exception) as fault:  # noqa: BLE001 - handed out to who asks for the table
            self.failures[node.name] = f"{type(fault).__name__}: {fault}"


def build_retailer(root: Path, write_raw: Callable[..., dict[str, str]], customers: int, days: int) -> Built:
    """A synthetic retailer below ``root``, with all tables that need no scores."""
    from customer360.platform.run import lake_of
    from customer360.serve.compose import compose, rules_of

    compose()
    faults = write_raw(root / "sample", customers, days)
    place = {"LANDING": root / "sample" / "landing", "LAKE__ROOT": root / "lake", "STATE": root / "state",
             "EXECUTION__EXECUTOR": "local"}  # fmt: skip
    settings = configuration.load(None, {f"CUSTOMER360__{key}": str(value) for key, value in place.items()})
    built = Built(lake_of(settings), settings, dict(rules_of(settings)), root / "sample" / "truth")
    for folder, reason in faults.items():
        built.feed_failed(folder, reason)
    built.restrict_somebody()
    built.run(only=frozenset(n for n in graph.NODES if not _needs_scores(n)))
    if not any(map(built.missing, graph.DATE_TABLES)):
        built.dated = graph.default_as_of(built.lake)
    for name in UNSCORED:
        built.lake.ensure(tables.by_name(name))
    if not built.missing("silver.people") and not built.missing("silver.products"):
        built.views["gold.recommendations"] = invented_lists(built)
    for name in BY_HAND:
        built.build(graph.NODES[name])
    return built


def invented_lists(built: Built) -> pl.DataFrame:
    """Three products for everybody, as no model was trained that could recommend any."""
    people = built.lake.scan("silver.people").select("person_id")
    products = built.lake.scan("silver.products").select("product_id").unique().sort("product_id").head(3)
    ranked = products.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64), score=pl.lit(0.5))
    named = {"model": "popular", "version": "1", "mode": "new"}
    return (
        people.join(ranked, how="cross")
        .with_columns(as_of=pl.lit(built.as_of), **{k: pl.lit(v) for k, v in named.items()})
        .collect()
    )


def _needs_scores(name: str) -> bool:
    """Whether a producer of scores is among what a node needs."""
    needed = [graph.NODES[n] for n in graph.selection(None, name)]
    return any(n.is_producer and n.name.startswith("gold.") and n.name != "gold.restrictions" for n in needed)


@pytest.fixture(scope="session")
def retailer(tmp_path_factory: pytest.TempPathFactory, write_raw: Callable[..., dict[str, str]]) -> Iterator[Built]:
    built = build_retailer(tmp_path_factory.mktemp("retailer"), write_raw, customers=200, days=400)
    yield built
    assert not built.failures, "no test asked for these, or they are the cause of those that failed"


@pytest.fixture
def small_retailer(tmp_path: Path, write_raw: Callable[..., dict[str, str]]) -> Callable[[], Built]:
    """Makes a retailer of the test's own, of few people."""
    return lambda: build_retailer(tmp_path, write_raw, customers=40, days=60)
