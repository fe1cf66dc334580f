"""A lake of people and receipts, and a star of two dimensions and two facts over it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import stars, tables
from customer360.platform.lake import BUCKET, Lake, bucket_numbers
from customer360.platform.stars import loads, references
from customer360.platform.tables import Date, Integer, Money, String, Table, personal

RECEIPTS = [
    ("r1", "ann", "2.50"),
    ("r2", "ann", "1.00"),
    ("r3", None, "4.00"),
    ("r4", "bob", "-0.50"),
    ("r5", "cid", "8.00"),
]


def declare() -> None:
    """The contracts and loads; nothing else is in the registry of loads."""
    stars.LOADS.clear()

    class People(Table, table="silver.t_people", per="person_id"):
        """One row per person."""

        person_id = String(primary_key=True)
        name = String(nullable=True)

    class Receipts(Table, table="silver.t_receipts", per="subject_id"):
        """One row per receipt."""

        receipt_id = String(primary_key=True)
        subject_id = String()
        person_id = String(nullable=True)
        amount = Money()

    class Editions(Table, table="gold.t_editions", per="person_id", partition_by=("as_of",)):
        """One row per person and date."""

        person_id = String(primary_key=True)
        as_of = Date(primary_key=True)
        score = Integer()

    class DimPeople(Table, table="t_star.t_dim_people", per="person_id"):
        """One row per person."""

        person_key = String(primary_key=True)
        name = String(nullable=True, metadata=personal("name"))

    class FactReceipts(Table, table="t_star.t_fact_receipts", per="subject_id", sort_by=("person_key",)):
        """One row per receipt."""

        receipt_id = String(primary_key=True)
        person_key = String(metadata=references("t_star.t_dim_people"))
        amount = Money()

    class FactEditions(Table, table="t_star.t_fact_editions", per="person_id"):
        """One row per person and date."""

        person_id = String(primary_key=True, metadata=references("t_star.t_dim_people"))
        as_of = Date(primary_key=True)
        score = Integer()

    @loads(DimPeople, mirrors=("silver.t_people",))
    def t_dim_people(silver_t_people: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_people.rename({"person_id": "person_key"})

    @loads(FactReceipts, mirrors=("silver.t_receipts",))
    def t_fact_receipts(silver_t_receipts: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_receipts.select("receipt_id", "amount", person_key=pl.col("person_id").fill_null(stars.UNKNOWN))

    @loads(FactEditions, mirrors=("gold.t_editions",))
    def t_fact_editions(gold_t_editions: pl.LazyFrame) -> pl.LazyFrame:
        return gold_t_editions


@dataclass(frozen=True)
class Small:
    """A lake and how its rows come to be: each call makes the rows of one table, bucket by bucket."""

    lake: Lake

    def fill(self) -> None:
        declare()
        self.people("ann", "bob", "cid")
        self.receipts(RECEIPTS)
        self.edition(date(2026, 1, 1), {"ann": 1, "bob": 2})

    def people(self, *names: str) -> None:
        self._store("silver.t_people", [{"person_id": n, "name": n.title()} for n in names])

    def receipts(self, rows: list[tuple[str, str | None, str]]) -> None:
        made = [
            {"receipt_id": r, "subject_id": p or f"t:{r}", "person_id": p, "amount": Decimal(a)} for r, p, a in rows
        ]
        self._store("silver.t_receipts", made)

    def edition(self, as_of: date, scores: dict[str, int]) -> None:
        rows = [{"person_id": p, "as_of": as_of, "score": s} for p, s in scores.items()]
        self._store("gold.t_editions", rows, as_of=str(as_of))

    def _store(self, name: str, rows: list[dict[str, Any]], **partition: str) -> None:
        """Buckets whose rows are equal keep their files, as after a run."""
        table, lake = tables.by_name(name), self.lake
        lake.ensure(table)
        frame = pl.DataFrame(rows, schema=tables.schema(table))
        subject = frame["subject_id" if "subject_id" in frame.columns else "person_id"]
        parts = frame.with_columns(bucket_numbers(subject, lake.buckets)).partition_by(BUCKET, as_dict=True)
        adds = [lake.write_file(name, f.drop(BUCKET), {**partition, BUCKET: str(n)}) for (n,), f in parts.items()]
        lake.replace(name, adds, scope=partition, app="t", app_version=1)


@pytest.fixture
def small(registries: None, lake: Lake) -> Small:
    """The lake with the first rows; a star of its own is declared."""
    made = Small(lake)
    made.fill()
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"
