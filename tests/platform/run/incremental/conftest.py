"""A shop whose tables are renewed by what is new.

bronze.t_links -> silver.t_links; bronze.t_sales -> silver.t_sales (follows the links) -> silver.t_spent, by subject;
bronze.t_lines -> silver.t_lines, which join their sale by its key, with its amount, and follow it
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform import ledger
from customer360.platform.graph import builds
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun
from customer360.platform.run import units
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings
from customer360.platform.sources.files import Files
from customer360.platform.tables import Integer, String, Table

HEADERS = {
    "links": "ACCOUNT,PERSON,VERSION",
    "sales": "SALE_ID,ACCOUNT,AMOUNT,VERSION",
    "lines": "LINE_ID,SALE_ID,NOTE",
}
RECORDS = ("silver.t_links", "silver.t_sales", "silver.t_lines")
EVERY = (*RECORDS, "silver.t_spent", "quality.quarantine")
PASSING = ("seconds", "buckets_rewritten", "rows_moved", "rows_new", "rows_gone")


@dataclass
class Shop:
    """A landing folder and a lake of four buckets; ``number`` names the next delivery."""

    root: Path
    number: int = 0

    @property
    def settings(self) -> Settings:
        return Settings(
            landing=str(self.root / "landing"),
            state=str(self.root / "state"),
            lake=LakeSettings(root=str(self.root / "lake"), buckets=4),
            execution=ExecutionSettings(executor="local", retry=RetrySettings(attempts=1, wait_seconds=0)),
            sources={n: Files(table=f"bronze.t_{n}", system="POS", path=f"{n}/*.csv", format="csv") for n in HEADERS},
            loss=1.0,
        )  # fmt: skip

    @property
    def lake(self) -> Lake:
        return runs.lake_of(self.settings)

    def deliver(self, folder: str, *rows: str) -> None:
        self.number += 1
        path = self.root / "landing" / folder / f"{self.number:03}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([HEADERS[folder], *rows]) + "\n")
        os.utime(path, ns=(time.time_ns(), time.time_ns()))

    def run(self, **options: Any) -> dict[str, NodeRun]:
        record = runs.run(self.settings, runs.RunRequest(**options), rules={})
        return {n.node: n for n in record.nodes}

    def rows(self) -> dict[str, list[str]]:
        return {n: sorted(map(repr, self.lake.scan(n).collect().rows())) for n in EVERY if self.lake.exists(n)}

    def counts(self) -> dict[str, dict[str, Any]]:
        """What the commits of record tables count, but for what they say of themselves."""
        facts = {n: ledger.last_facts(self.lake, n, f"node:{n}") for n in RECORDS}
        return {n: {k: v for k, v in f.items() if k not in PASSING} for n, f in facts.items()}


def declare() -> None:
    class BronzeLinks(Table, table="bronze.t_links", key=("ACCOUNT",), version="VERSION"):
        """One row per account and version."""

        ACCOUNT = String(nullable=False)
        PERSON = String(nullable=True)
        VERSION = Integer()

    class BronzeSales(Table, table="bronze.t_sales", key=("SALE_ID",), version="VERSION"):
        """One row per sale and version."""

        SALE_ID = String(nullable=False)
        ACCOUNT = String(nullable=True)
        AMOUNT = Integer(nullable=False, min=0)
        VERSION = Integer(nullable=True)

    class BronzeLines(Table, table="bronze.t_lines", key=("SALE_ID", "LINE_ID")):
        """One row per line as received."""

        LINE_ID = String(nullable=False)
        SALE_ID = String(nullable=False)
        NOTE = String(nullable=True, max_length=3)

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
        """One row per line of a sale that is worth something, or of none."""

        line_id = String(primary_key=True)
        sale_id = String(primary_key=True)
        subject_id = String()
        person_id = String(nullable=True)
        amount = Integer(nullable=True)
        note = String(nullable=True)

    class Spent(Table, table="silver.t_spent", per="subject_id"):
        """One row per subject."""

        subject_id = String(primary_key=True)
        amount = Integer()

    def of_links(rows: pl.LazyFrame, silver_t_links: pl.LazyFrame) -> pl.LazyFrame:
        joined = rows.drop("subject_id", "person_id", strict=False).join(silver_t_links, on="account", how="left")
        return joined.with_columns(subject_id=pl.coalesce("person_id", pl.lit("s:") + pl.col("sale_id")))

    def linked(rows: pl.LazyFrame, silver_t_links: pl.LazyFrame) -> pl.LazyFrame:
        return rows.join(silver_t_links, on="account", how="semi")

    def of_sales(rows: pl.LazyFrame, silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        sales = silver_t_sales.select("sale_id", "subject_id", "person_id")
        joined = rows.drop("subject_id", "person_id", strict=False).join(sales, on="sale_id", how="left")
        return joined.with_columns(subject_id=pl.coalesce("subject_id", pl.lit("l:") + pl.col("line_id")))

    def sold(rows: pl.LazyFrame, silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return rows.join(silver_t_sales, on="sale_id", how="semi")

    @builds(Links)
    def t_links(bronze_t_links: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_links.filter(pl.col("PERSON").is_not_null()).select(account="ACCOUNT", person_id="PERSON")

    @builds(Sales, follows=of_links, reached=linked)
    def t_sales(bronze_t_sales: pl.LazyFrame, silver_t_links: pl.LazyFrame) -> pl.LazyFrame:
        named = bronze_t_sales.select(sale_id="SALE_ID", account="ACCOUNT", amount="AMOUNT")
        return of_links(named, silver_t_links)

    @builds(Lines, follows=of_sales, reached=sold)
    def t_lines(bronze_t_lines: pl.LazyFrame, silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        lines = bronze_t_lines.select(line_id="LINE_ID", sale_id="SALE_ID", note="NOTE")
        worth = lines.join(silver_t_sales.select("sale_id", "amount"), on="sale_id", how="left")
        return of_sales(worth.filter(pl.col("amount").is_null() | (pl.col("amount") > 0)), silver_t_sales)

    @builds(Spent)
    def t_spent(silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_sales.group_by("subject_id").agg(amount=pl.col("amount").sum())


@pytest.fixture
def shop(tmp_path: Path, empty_graph: None, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(units, "SMALL", 0)  # a few rows are enough for many files
    declare()
    return Shop(tmp_path)
