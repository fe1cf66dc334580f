"""A small synthetic retailer, landed and built once a session, in process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph, tables
from customer360.platform import settings as configuration
from customer360.platform.lake import Lake
from customer360.platform.settings import Settings


@dataclass(frozen=True)
class Built:
    """A lake of 200 people and everything to run its builds by hand."""

    lake: Lake
    settings: Settings
    rules: dict[str, Any]
    as_of: date
    truth: Path
    views: dict[str, pl.DataFrame]  # gold tables that others read, built by hand: no scoring run

    def frame(self, name: str) -> pl.LazyFrame:
        """An input as a build sees it: bronze records come judged and folded."""
        from customer360.platform.run.records import current_records

        rows = self.views[name].lazy() if name in self.views else self.lake.scan(name)
        if tables.spec(tables.by_name(name)).is_dated:
            rows = rows.filter(pl.col("as_of") == self.as_of)
        if name.startswith("bronze."):
            return current_records(tables.by_name(name), rows.collect(), set()).rows.lazy()
        return rows


@pytest.fixture(scope="session")
def retailer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    from customer360.pipelines.sample import write_sample
    from customer360.platform.run import RunRequest, lake_of
    from customer360.platform.run.units import conform_to_storage
    from customer360.serve import jobs
    from customer360.serve.compose import compose, rules_of

    root = tmp_path_factory.mktemp("retailer")
    compose()
    write_sample(root / "sample", customers=200, days=400, seed=11)
    settings = configuration.load(
        None,
        {
            "CUSTOMER360__LANDING": str(root / "sample" / "landing"),
            "CUSTOMER360__LAKE__ROOT": str(root / "lake"),
            "CUSTOMER360__STATE": str(root / "state"),
            "CUSTOMER360__EXECUTION__EXECUTOR": "local",
        },
    )
    jobs.run_pipeline(settings, RunRequest(end="silver"))
    as_of = None
    for name in sorted(n for n in graph.NODES if n.startswith("gold.")):
        needed = graph.selection(None, name)
        if not any(graph.NODES[n].is_producer and n.startswith("gold.") for n in needed):  # MLflow takes seconds
            as_of = jobs.run_pipeline(settings, RunRequest(end=name)).as_of or as_of
    assert as_of
    for name in ("gold.predictions", "gold.category_scores"):
        lake_of(settings).ensure(tables.by_name(name))
    built = Built(
        lake_of(settings), settings, dict(rules_of(settings)), date.fromisoformat(as_of), root / "sample" / "truth", {}
    )
    for name in ("gold.engagement_bounds", "gold.customer_360"):
        node = graph.NODES[name]
        inputs = [built.frame(t) for t in node.inputs]
        view = node.function(*inputs, as_of=built.as_of, params=built.rules[node.rules or ""])
        built.views[name] = conform_to_storage(node.table, view, {"as_of": as_of})
    yield built
