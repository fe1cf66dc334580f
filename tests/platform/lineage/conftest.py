"""A small shop whose sales are followed: two files, a batch each, of which one row is refused and one is a correction.

bronze.t_sales -> silver.t_sales -> silver.t_days -> gold.t_people
                                                  -> gold.t_bounds (of all people)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform.graph import builds
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings
from customer360.platform.sources.files import Files
from customer360.platform.tables import Integer, String, Table, personal


@dataclass
class Shop:
    root: Path
    settings: Settings

    @property
    def lake(self) -> Lake:
        return runs.lake_of(self.settings)

    def deliver(self, name: str, *rows: str) -> None:
        path = self.root / "landing" / "sales" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["SALE_ID,WHO,EMAIL,UNITS,VERSION", *rows]))

    def run(self) -> Run:
        return runs.run(self.settings, runs.RunRequest(), rules={})


def declare() -> None:
    class BronzeSales(Table, table="bronze.t_sales", key=("SALE_ID",), version="VERSION"):
        """One row per sale as received."""

        SALE_ID = String(nullable=False)
        WHO = String(nullable=True)
        EMAIL = String(nullable=True, metadata=personal("email"))
        UNITS = Integer(nullable=False, min=1)
        VERSION = Integer(nullable=True)

    class Sales(Table, table="silver.t_sales", per="sale_id"):
        """One row per sale."""

        sale_id = String(primary_key=True)
        source_system = String(primary_key=True)
        subject_id = String()
        person_id = String(nullable=True)
        email = String(nullable=True, metadata=personal("email"))
        units = Integer()

    class Days(Table, table="silver.t_days", per="subject_id"):
        """One row per subject."""

        subject_id = String(primary_key=True)
        person_id = String(nullable=True)
        sale_count = Integer()
        units = Integer()

    class Bounds(Table, table="gold.t_bounds"):
        """One row."""

        most_units = Integer(nullable=True)

    class People(Table, table="gold.t_people", per="person_id"):
        """One row per person."""

        person_id = String(primary_key=True)
        units = Integer()
        is_top = Integer()

    @builds(Sales)
    def t_sales(bronze_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        who = pl.coalesce("WHO", "SALE_ID")
        return bronze_t_sales.select(
            sale_id="SALE_ID", source_system="_source_system", subject_id=who, person_id="WHO", email="EMAIL",
            units="UNITS",
        )  # fmt: skip

    @builds(Days)
    def t_days(silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        made = silver_t_sales.group_by("subject_id").agg(
            pl.col("person_id").first(), sale_count=pl.len(), units=pl.col("units").sum()
        )
        return made.select("subject_id", "person_id", "sale_count", "units")

    @builds(Bounds)
    def t_bounds(silver_t_days: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_days.select(most_units=pl.col("units").max())

    @builds(People)
    def t_people(silver_t_days: pl.LazyFrame, gold_t_bounds: pl.LazyFrame) -> pl.LazyFrame:
        known = silver_t_days.filter(pl.col("person_id").is_not_null()).join(gold_t_bounds, how="cross")
        is_top = pl.when(pl.col("units") >= pl.col("most_units")).then(1).otherwise(0)
        return known.select("person_id", "units", is_top=is_top)


@pytest.fixture
def shop(tmp_path: Path, empty_graph: None) -> Shop:
    (tmp_path / "landing").mkdir()
    declare()
    settings = Settings(
        landing=str(tmp_path / "landing"),
        state=str(tmp_path / "state"),
        lake=LakeSettings(root=str(tmp_path / "lake"), buckets=4),
        execution=ExecutionSettings(
            executor="local", retry=RetrySettings(attempts=1, wait_seconds=0, unit_timeout_seconds=30)
        ),
        sources={"sales": Files(table="bronze.t_sales", system="POS", path="sales/*.csv", format="csv")},
    )
    return Shop(tmp_path, settings)


@pytest.fixture
def filled(shop: Shop) -> Shop:
    """Two batches: ann's sale s1 came twice, with other units; s9 has none and is refused; s3 is nobody's."""
    shop.deliver("1.csv", "s1,ann,ann@shop.example,2,1", "s2,bob,bob@shop.example,1,1", "s9,bob,,0,1")
    shop.run()
    shop.deliver("2.csv", "s1,ann,ann@shop.example,5,2", "s3,,,4,1")
    shop.run()
    return shop
