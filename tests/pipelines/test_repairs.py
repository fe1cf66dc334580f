"""Automatic repairs: counted by run, told row by row from the lake, gone where a rule file takes them back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from customer360.pipelines import repairs
from customer360.pipelines.bronze.customers import Customers
from customer360.pipelines.rules import Repair, StandardizationRules, ValidationRules
from customer360.pipelines.rules.repairs import StandardizationRepairs
from customer360.pipelines.silver.catalog.attributes import Brands
from customer360.pipelines.silver.catalog.products import Products
from customer360.platform import tables
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun, start_run
from customer360.platform.privacy import MASK
from customer360.platform.quality.checks import TableChecks
from customer360.platform.run.control import write_rows
from customer360.platform.run.deletions import Snapshot
from customer360.platform.run.records import current_records
from customer360.platform.settings import Settings
from customer360.serve.compose import compose

compose()
CUSTOMERS, LANDED = "bronze.customers", datetime(2026, 1, 1, tzinfo=UTC)
BRANDS = ("silver.brands", "brand_spelling", "silver.product_attributes", "brand")


def shop(lake: Lake, *spellings: tuple[str, str, str]) -> None:
    """Brands as they are read, and two products of each spelling."""
    write_rows(
        lake, Brands,
        [dict(zip(("spelling", "brand", "reason"), each, strict=True)) | {"brand_key": each[1].lower(),
         "product_count": 2} for each in spellings],
    )  # fmt: skip
    goods = [{"product_id": f"{s}{n}", "brand": s, "is_product": True} for s, _, _ in spellings for n in (1, 2)]
    write_rows(lake, Products, goods)


def tell(lake: Lake, rules: dict[str, Any], state: str = "built", number: int = 1) -> list[tuple[Any, ...]]:
    """Rows of the table after a run of that number."""
    run = replace(start_run("run", "a test"), id=f"run{number}", nodes=[NodeRun(BRANDS[0], state)])
    repairs.repairs(lake, Settings(), rules, run)
    told = lake.scan(repairs.NAME).sort("counted_at").collect()
    return told.select("run_id", "row_count", "change_count", "is_applied").rows()


def test_a_run_counts_what_it_built_and_says_what_changed(lake: Lake) -> None:
    shop(lake, ("Acme", "Acme", "AS_WRITTEN"), ("ACME", "Acme", "SIGNS"), ("Acmee", "Acme", "ONE_LETTER"))
    first = ("run1", 4, 4, True)
    assert tell(lake, {}) == [first]
    (row,) = repairs.standing(lake).rows()
    assert row[:3] == BRANDS[1:]
    assert tell(lake, {}, "current", 2) == [first] == tell(lake, {}, "built", 3), "nothing is another than before"
    off = StandardizationRules(repairs=StandardizationRepairs(brand_spelling=Repair(apply=False)))
    shop(lake, ("Acme", "Acme", "AS_WRITTEN"), ("ACME", "ACME", "AS_WRITTEN"))
    assert tell(lake, {"standardization": off}, "built", 4) == [first, ("run4", 0, -4, False)]
    assert repairs.standing(lake)["row_count"].to_list() == [0]


def test_each_repair_is_told_with_before_and_after(lake: Lake) -> None:
    assert repairs.rows_of(lake, {}, "brand_spelling").collect().is_empty(), "nothing is built yet"
    shop(lake, ("Acme", "Acme", "AS_WRITTEN"), ("ACME", "Acme", "SIGNS"))
    told = repairs.rows_of(lake, {}, "brand_spelling").collect()
    assert told.columns == list(repairs.COLUMNS)
    said = told.select("table_name", "record_key", "column_name", "before", "after").rows()
    assert said == [(*BRANDS[2:3], f"ACME{n}", "brand", "ACME", "Acme") for n in (1, 2)]


def test_the_counts_are_the_rows_that_are_told(retailer) -> None:  # type: ignore[no-untyped-def]
    found = repairs.standing(retailer.lake)
    assert {"broken_value_emptied", "repeated_delivery"} <= set(found["rule"]), "the sample is dirty"
    for rule, table, column, count in found.select("rule", "table_name", "column_name", "row_count").rows():
        rows = repairs.rows_of(retailer.lake, retailer.rules, rule, table).filter(pl.col("column_name") == column)
        assert rows.collect().height == count, f"{rule} {table} {column}"


def test_personal_values_are_masked_and_others_are_not(retailer) -> None:  # type: ignore[no-untyped-def]
    def told(table: str) -> pl.DataFrame:
        return repairs.rows_of(retailer.lake, retailer.rules, "broken_value_emptied", table).collect()

    bare = told("bronze.customers")
    people = repairs.masked(bare, "broken_value_emptied")
    assert people.height > 0 and set(people["before"]) == {MASK}
    assert people["record_key"].str.ends_with(MASK).all() and people["record_key"].str.len_chars().max() == 1 + len(
        MASK
    )
    seen = "".join(people.select(pl.exclude("row_id")).cast(pl.String).fill_null("").rows().__str__())
    assert not any(key in seen for key in bare["record_key"])
    lines = told("bronze.transaction_items")
    hidden = repairs.masked(lines, "broken_value_emptied")
    assert lines.height > 0 and set(hidden["before"]) == {MASK}, "a shifted file puts an address where a number belongs"
    assert hidden.drop("before").equals(lines.drop("before"))


def test_the_spelling_of_a_brand_is_no_personal_value(lake: Lake) -> None:
    shop(lake, ("ACME", "Acme", "SIGNS"))
    told = repairs.rows_of(lake, {}, "brand_spelling").collect()
    assert repairs.masked(told, "brand_spelling").equals(told)


def delivered(lake: Lake, *rows: tuple[str, str, dict[str, Any]]) -> pl.DataFrame:
    """Deliveries of customers, one a batch: number, date of birth as it was written, and what else bronze notes."""
    full = []
    for seq, (number, born, noted) in enumerate(rows, 1):
        bad = json.dumps({"DATE_OF_BIRTH": born}) if born else None
        place = {"_source": "shop", "_source_system": "SHOP", "_seq": seq, "_file": "f", "_position": 1}
        full.append({"CUSTOMER_ID": number, **place, "_ingested_at": LANDED, "_rescued": bad, **noted})
    frame = pl.DataFrame(full, schema=tables.schema(Customers))
    lake.ensure(Customers)
    add = lake.write_file(CUSTOMERS, frame.drop("_source"), {"_source": "shop"})
    lake.commit(CUSTOMERS, [add], app="batch:shop", app_version=1)
    return frame


def test_what_stands_is_of_current_records_and_list_and_show_agree(lake: Lake) -> None:
    """A daily load of one broken value is one repair; a value that came sound, was corrected or deleted, is none."""
    bad = "31.02.1980"
    rows = delivered(
        lake, *[("C1", bad, {})] * 5, ("C2", bad, {}),
            ("C2", "", {"DATE_OF_BIRTH": date(1980, 3, 2)}), ("C3", bad, {}), ("C4", bad, {}),
        ("C4", "", {"_deleted": True}), ("C3", "", {"_replay_of": "shop/8/f/1"}),
        ("C5", "", {}), ("C5", "", {}), ("C5", "", {"_replay_of": "shop/13/f/1"}),
        ("C6", "", {"_deleted": True}), ("C6", "", {"_deleted": True}),
    )  # fmt: skip
    facts = current_records(Customers, rows, {"shop/8/f/1", "shop/13/f/1"}).facts

    def told(rule: str, **only: Any) -> list[str]:
        return repairs.rows_of(lake, {}, rule, CUSTOMERS, **only).collect()["record_key"].to_list()

    assert told("broken_value_emptied") == ["C1"] and facts["nulled"] == 1
    assert told("broken_value_emptied", key="C2") == [] and told("broken_value_emptied", key="C1") == ["C1"]
    assert told("repeated_delivery") == ["C1"] * 4 + ["C5", "C6"] and facts["duplicates"] == 6
    assert told("repeated_delivery", key="C5") == ["C5"]
    gone = Snapshot("shop", 14)  # nothing before it is part of it
    assert told("broken_value_emptied", snapshots=[gone]) == []
    assert "nulled" not in current_records(Customers, rows, set(), snapshots=[gone]).facts


def test_what_a_rule_file_refuses_is_no_repair(retailer) -> None:  # type: ignore[no-untyped-def]
    table, column = "bronze.customers", "DATE_OF_BIRTH"
    strict = ValidationRules(tables={table: TableChecks(refuse=[column])})
    rows = repairs.rows_of(retailer.lake, {"validation": strict}, "broken_value_emptied", table).collect()
    assert column not in rows["column_name"]
    rule = repairs.RULES["broken_value_emptied"]
    assert not rule.is_applied({"validation": strict}, table, column) and rule.is_applied({}, table, column)


def test_an_unknown_rule_or_table_is_named(lake: Lake) -> None:
    with pytest.raises(ConfigError, match="there is no repair 'polish'; there are broken_value_emptied, "):
        repairs.rows_of(lake, {}, "polish")
    with pytest.raises(ConfigError, match="name one of them, once something has landed"):
        repairs.rows_of(lake, {}, "repeated_delivery", "silver.people")
