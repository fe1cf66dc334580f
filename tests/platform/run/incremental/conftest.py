"""A shop whose tables are renewed by what is new.

bronze.t_links -> silver.t_links; bronze.t_sales -> silver.t_sales (follows the links) -> silver.t_spent, by subject
-> silver.t_spenders, by subject, and silver.t_takings, which read of a sale its amount and whose it is, but no key; the
links -> silver.t_people, which has persons alone -> silver.t_greetings, of the sales of each subject, and gold.t_cards,
an edition a date, which reads the links beside, that are not stored by person; bronze.t_lines -> silver.t_lines, which
join their sale by its key, with its amount, and follow it, and have the price that bronze.t_goods -> silver.t_goods say
of their note. A sale counts the lines of bronze that say "bad". silver.t_baskets go by sale and are stored by subject:
lines and their sale, and the price of a note. silver.t_noted go by note and read bronze as it lies. gold.t_board counts
the sales before a date, an edition a date. Accounts are personal.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform import graph, ledger, privacy
from customer360.platform.graph import builds, joined_on
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun
from customer360.platform.run import keyed, replay, units
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings
from customer360.platform.sources.files import Files
from customer360.platform.tables import Boolean, Date, Integer, String, Table, personal

HEADERS = {
    "links": "ACCOUNT,PERSON,VERSION",
    "sales": "SALE_ID,ACCOUNT,AMOUNT,VERSION",
    "lines": "LINE_ID,SALE_ID,NOTE",
    "goods": "NOTE,PRICE",
}
DELETED = {"links": "PERSON = 'gone'", "sales": "ACCOUNT = 'gone'", "lines": "NOTE = 'del'", "goods": "PRICE = '-9'"}
RECORDS = ("silver.t_links", "silver.t_goods", "silver.t_sales", "silver.t_lines")
OF_SUBJECTS = (
    "silver.t_spent",
    "silver.t_takings",
    "silver.t_spenders",
    "silver.t_people",
    "silver.t_greetings",
    "gold.t_cards",
)
OTHERS = ("silver.t_baskets", "silver.t_noted", "gold.t_board")
EVERY = (*RECORDS, *OF_SUBJECTS, *OTHERS, "quality.quarantine")
PASSING = ("seconds", "buckets_rewritten", "rows_moved", "rows_new", "rows_gone", "whole", "cpu_seconds")


@dataclass
class Shop:
    """A landing folder and a lake of four buckets; ``number`` names the next delivery."""

    root: Path
    number: int = 0
    as_of: date = date(2026, 1, 1)
    code: ClassVar[dict[str, int]] = {}

    @property
    def settings(self) -> Settings:
        return Settings(
            landing=str(self.root / "landing"),
            state=str(self.root / "state"),
            lake=LakeSettings(root=str(self.root / "lake"), buckets=4),
            execution=ExecutionSettings(executor="local", retry=RetrySettings(attempts=1, wait_seconds=0)),
            sources={
                n: Files(table=f"bronze.t_{n}", system="POS", path=f"{n}/*.csv", format="csv", deleted=DELETED[n])
                for n in HEADERS
            },
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
        record = runs.run(self.settings, runs.RunRequest(**{"as_of": self.as_of, **options}), rules={})
        return {n.node: n for n in record.nodes}

    def correct(self, rows: int, **columns: Any) -> int:
        """Correct up to some refused rows, in the columns that broke a rule, of those that broke one of them. Returns
        how many were."""
        out = self.root / "open.jsonl"
        replay.export(self.lake, out)
        lines = sorted((json.loads(line) for line in out.read_text().splitlines()), key=lambda row: row["_replay_of"])
        refused = [
            line for line in lines if "_raw" not in line and any(c in "".join(line["_reasons"]) for c in columns)
        ]
        for line in refused[:rows]:
            told = "".join(line["_reasons"])
            line |= {column: value for column, value in columns.items() if column in told}
        out.write_text("".join(json.dumps(line) + "\n" for line in refused[:rows]))
        return sum(replay.replay(self.lake, self.settings, out).values()) if refused else 0

    def erase(self, account: str) -> None:
        privacy.erase_rows(self.lake, privacy.Identifiers(accounts=frozenset([f"POS/{account}"])))

    def widen(self, note: int = 9) -> None:
        """Let notes be as long as this: the contract of lines changed, and with it their code."""
        declare(note)
        self.code["note"] = note

    def day(self, day: int) -> None:
        """Let runs be of another day."""
        self.as_of = date(2026, 1, day)

    def rows(self) -> dict[str, list[str]]:
        return {n: sorted(map(repr, self.lake.scan(n).collect().rows())) for n in EVERY if self.lake.exists(n)}

    def counts(self) -> dict[str, dict[str, Any]]:
        """What the commits of record tables count, but for what they say of themselves."""
        facts = {n: ledger.last_facts(self.lake, n, f"node:{n}") for n in RECORDS}
        return {n: {k: v for k, v in f.items() if k not in PASSING} for n, f in facts.items()}


def declare(note: int = 3) -> None:
    class BronzeLinks(Table, table="bronze.t_links", key=("ACCOUNT",), version="VERSION"):
        """One row per account and version."""

        ACCOUNT = String(nullable=False, metadata=personal("account"))
        PERSON = String(nullable=True)
        VERSION = Integer()

    class BronzeSales(Table, table="bronze.t_sales", key=("SALE_ID",), version="VERSION"):
        """One row per sale and version."""

        SALE_ID = String(nullable=False)
        ACCOUNT = String(nullable=True, metadata=personal("account"))
        AMOUNT = Integer(nullable=False, min=0)
        VERSION = Integer(nullable=True)

    class BronzeLines(Table, table="bronze.t_lines", key=("SALE_ID", "LINE_ID")):
        """One row per line as received."""

        LINE_ID = String(nullable=False)
        SALE_ID = String(nullable=False)
        NOTE = String(nullable=True, max_length=note)

    class BronzeGoods(Table, table="bronze.t_goods", key=("NOTE",)):
        """One row per kind of goods as received."""

        NOTE = String(nullable=False)
        PRICE = Integer(nullable=True)

    class Goods(Table, table="silver.t_goods", per="note", bucketed=False):
        """One row per kind of goods."""

        note = String(primary_key=True)
        price = Integer(nullable=True)

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
        bad_count = Integer()
        sold_on = Date()

    class Lines(Table, table="silver.t_lines", per="sale_id", sort_by=("line_id",)):
        """One row per line of a sale that is worth something, or of none."""

        line_id = String(primary_key=True)
        sale_id = String(primary_key=True)
        subject_id = String()
        person_id = String(nullable=True)
        amount = Integer(nullable=True)
        note = String(nullable=True)
        price = Integer(nullable=True)

    class Spent(Table, table="silver.t_spent", per="subject_id"):
        """One row per subject."""

        subject_id = String(primary_key=True)
        amount = Integer()

    class Takings(Table, table="silver.t_takings", per="subject_id"):
        """One row per subject of a sale."""

        subject_id = String(primary_key=True)
        sale_count = Integer()
        amount = Integer()

    class Spenders(Table, table="silver.t_spenders", per="subject_id"):
        """One row per subject of a sale or a line."""

        subject_id = String(primary_key=True)
        line_count = Integer()
        is_spender = Boolean()

    class People(Table, table="silver.t_people", per="person_id"):
        """One row per person."""

        person_id = String(primary_key=True)
        accounts = String()
        link_count = Integer()

    class Greetings(Table, table="silver.t_greetings", per="subject_id"):
        """One row per sale."""

        subject_id = String()
        sale_id = String(primary_key=True)
        link_count = Integer(nullable=True)

    class Cards(Table, table="gold.t_cards", per="person_id", partition_by=("as_of",)):
        """One row per person with an account and as_of date."""

        person_id = String(primary_key=True)
        as_of = Date(primary_key=True)
        newest = String()
        link_count = Integer(nullable=True)
        amount = Integer()

    class Baskets(Table, table="silver.t_baskets", per="sale_id", sort_by=("sale_id",)):
        """One row per sale with a line."""

        sale_id = String(primary_key=True)
        subject_id = String()
        person_id = String(nullable=True)
        amount = Integer(nullable=True)
        line_count = Integer()
        note = String(nullable=True)
        price = Integer(nullable=True)

    class Noted(Table, table="silver.t_noted", per="note", bucketed=False):
        """One row per note of a line, as received."""

        note = String(primary_key=True)
        line_count = Integer()
        last_sale = String(nullable=True)

    class Board(Table, table="gold.t_board", partition_by=("as_of",)):
        """One row per as_of date."""

        as_of = Date(primary_key=True)
        sale_count = Integer()
        person_count = Integer()
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

    @builds(Goods)
    def t_goods(bronze_t_goods: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_goods.select(note="NOTE", price="PRICE")

    @builds(Sales, follows=of_links, reached=linked)
    def t_sales(
        bronze_t_sales: pl.LazyFrame, bronze_t_lines: pl.LazyFrame, silver_t_links: pl.LazyFrame
    ) -> pl.LazyFrame:
        bad = bronze_t_lines.group_by(sale_id="SALE_ID").agg(bad_count=(pl.col("NOTE") == "bad").sum())
        named = bronze_t_sales.select(sale_id="SALE_ID", account="ACCOUNT", amount="AMOUNT")
        counted = named.join(bad, on="sale_id", how="left").with_columns(pl.col("bad_count").fill_null(0))
        dated = counted.with_columns(sold_on=pl.date(2025, 12, 30) + pl.duration(days="amount"))
        return of_links(dated, silver_t_links)

    @builds(Lines, follows=of_sales, reached=sold, concerns={"silver.t_goods": joined_on("note")})
    def t_lines(
        bronze_t_lines: pl.LazyFrame, silver_t_sales: pl.LazyFrame, silver_t_goods: pl.LazyFrame
    ) -> pl.LazyFrame:
        lines = bronze_t_lines.select(line_id="LINE_ID", sale_id="SALE_ID", note="NOTE")
        worth = lines.join(silver_t_sales.select("sale_id", "amount"), on="sale_id", how="left")
        kept = worth.filter(pl.col("amount").is_null() | (pl.col("amount") > 0))
        return of_sales(kept.join(silver_t_goods, on="note", how="left"), silver_t_sales)

    @builds(Baskets, concerns={"silver.t_goods": joined_on("note")})
    def t_baskets(
        silver_t_lines: pl.LazyFrame, silver_t_sales: pl.LazyFrame, silver_t_goods: pl.LazyFrame
    ) -> pl.LazyFrame:
        lines = silver_t_lines.group_by("sale_id").agg(
            pl.col("note").min(), line_count=pl.len().cast(pl.Int64), subject__=pl.col("subject_id").min()
        )
        sales = silver_t_sales.select("sale_id", "subject_id", "person_id", "amount")
        worth = lines.join(sales, on="sale_id", how="left").join(silver_t_goods, on="note", how="left")
        return worth.with_columns(subject_id=pl.coalesce("subject_id", "subject__")).drop("subject__")

    @builds(Noted, reads={"bronze.t_lines": ("NOTE", "SALE_ID")})
    def t_noted(bronze_t_lines: pl.LazyFrame) -> pl.LazyFrame:
        noted = bronze_t_lines.filter(pl.col("NOTE").is_not_null()).group_by(note="NOTE")
        return noted.agg(line_count=pl.len().cast(pl.Int64), last_sale=pl.col("SALE_ID").max())

    @builds(
        Board,
        reads={"silver.t_sales": ("person_id", "amount", "sold_on")},
        past={"silver.t_sales": "sold_on"},
    )
    def t_board(silver_t_sales: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
        return silver_t_sales.filter(pl.col("sold_on") < as_of).select(
            as_of=pl.lit(as_of),
            sale_count=pl.len().cast(pl.Int64),
            person_count=pl.col("person_id").drop_nulls().n_unique().cast(pl.Int64),
            amount=pl.col("amount").sum(),
        )

    @builds(Spent)
    def t_spent(silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_sales.group_by("subject_id").agg(amount=pl.col("amount").sum())

    @builds(Takings, reads={"silver.t_sales": ("subject_id", "amount")})
    def t_takings(silver_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_sales.group_by("subject_id").agg(
            sale_count=pl.len().cast(pl.Int64), amount=pl.col("amount").sum()
        )

    @builds(People)
    def t_people(silver_t_links: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_links.group_by("person_id").agg(
            accounts=pl.col("account").sort().str.join(","), link_count=pl.len().cast(pl.Int64)
        )

    @builds(Greetings, reads={"silver.t_people": ("person_id", "link_count")})
    def t_greetings(silver_t_sales: pl.LazyFrame, silver_t_people: pl.LazyFrame) -> pl.LazyFrame:
        links = silver_t_people.select("person_id", "link_count")
        return silver_t_sales.join(links, on="person_id", how="left").select("subject_id", "sale_id", "link_count")

    @builds(Cards)
    def t_cards(
        silver_t_links: pl.LazyFrame, silver_t_people: pl.LazyFrame, silver_t_sales: pl.LazyFrame, as_of: date
    ) -> pl.LazyFrame:
        named = silver_t_links.group_by("person_id").agg(newest=pl.col("account").max())
        spent = silver_t_sales.group_by("person_id").agg(amount=pl.col("amount").sum() * as_of.day)
        links = silver_t_people.select("person_id", "link_count")
        both = named.join(links, on="person_id", how="left").join(spent, on="person_id", how="left")
        return both.with_columns(pl.col("amount").fill_null(0))

    @builds(Spenders)
    def t_spenders(silver_t_spent: pl.LazyFrame, silver_t_lines: pl.LazyFrame) -> pl.LazyFrame:
        lines = silver_t_lines.group_by("subject_id").agg(line_count=pl.len().cast(pl.Int64))
        both = silver_t_spent.join(lines, on="subject_id", how="full", coalesce=True)
        return both.select(
            "subject_id", pl.col("line_count").fill_null(0), is_spender=(pl.col("amount") > 2).fill_null(False)
        )


@pytest.fixture
def shop(tmp_path: Path, empty_graph: None, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(units, "SMALL", 0)  # a few rows are enough for many files
    monkeypatch.setattr(keyed, "LEAST", 0)
    fingerprint = graph.code_fingerprint
    monkeypatch.setattr(graph, "code_fingerprint", lambda *of: f"{fingerprint(*of)}{Shop.code}")
    monkeypatch.setattr(Shop, "code", {})
    declare()
    return Shop(tmp_path)
