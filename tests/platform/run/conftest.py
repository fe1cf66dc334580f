"""A shop over a small graph of its own, for tests of runs.

bronze.t_orders -> silver.t_orders -> silver.t_totals -> gold.t_summary
bronze.t_clicks -> silver.t_clicks -> silver.t_visits (needs an exchange by subject where clicks are many)
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform import ledger, tables
from customer360.platform.errors import RunError
from customer360.platform.graph import builds
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun
from customer360.platform.run.closing import written_at_the_end
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings
from customer360.platform.sources.files import Files
from customer360.platform.tables import Integer, Money, String, Table


@dataclass
class Shop:
    """The test's lake, its landing folder, how to run it, and which builds were called."""

    FIRST: ClassVar = ("o1,ann,2,10.00,1", "o2,bob,1,,1", "o3,ann,3,1.50,1", "o4,eve,1,2.00,1")
    ALL: ClassVar = {
        "source orders",
        "source clicks",
        "silver.t_orders",
        "silver.t_clicks",
        "silver.t_totals",
        "silver.t_visits",
        "gold.t_summary",
    }

    root: Path
    settings: Settings
    calls: list[str] = field(default_factory=list)
    break_node: dict[str, Exception] = field(default_factory=dict)

    def at(self, root: Path) -> Shop:
        """The same shop in another folder."""
        return Shop(root, settings_below(root), self.calls)

    @staticmethod
    def states(nodes: dict[str, NodeRun]) -> dict[str, str]:
        return {name: node.state for name, node in nodes.items()}

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
        record = runs.run(self.settings, runs.RunRequest(**options), rules={})
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
        names = [n for n in names if n not in written_at_the_end()]  # they tell of runs
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


def settings_below(root: Path) -> Settings:
    (root / "landing").mkdir(parents=True, exist_ok=True)
    return Settings(
        landing=str(root / "landing"),
        state=str(root / "state"),
        lake=LakeSettings(root=str(root / "lake"), buckets=4),
        execution=ExecutionSettings(
            executor="local", retry=RetrySettings(attempts=3, wait_seconds=0, unit_timeout_seconds=30)
        ),
        sources={
            "orders": Files(table="bronze.t_orders", system="POS", path="orders/*.csv", format="csv"),
            "clicks": Files(table="bronze.t_clicks", system="WEB", path="clicks/*.json", format="json"),
        },
    )


@pytest.fixture
def shop(tmp_path: Path, empty_graph: None) -> Shop:
    made = Shop(tmp_path, settings_below(tmp_path))
    declare(made)
    return made


@pytest.fixture
def filled(shop: Shop) -> Shop:
    shop.orders("1.csv", *shop.FIRST)
    shop.clicks("1.json", {"CLICK_ID": "c1", "SUBJECT_ID": "ann"}, {"CLICK_ID": "c2", "SUBJECT_ID": "zoe"})
    return shop


@pytest.fixture
def many(shop: Shop) -> Shop:
    shop.orders("1.csv", *(f"o{i},p{i % 37},{1 + i % 4},{i}.25,1" for i in range(300)), "o1,p1,0,,1", "o2,p2,3,2.25,1")
    shop.clicks("1.json", *({"CLICK_ID": f"c{i}", "SUBJECT_ID": f"p{i % 41}"} for i in range(200)))
    return shop
