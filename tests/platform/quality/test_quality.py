"""Quality: refused rows carry their address, reason and whole record; balances add up."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from customer360.platform import judging, quality, tables
from customer360.platform.lake import Lake
from customer360.platform.quality import Balance, Quarantine
from customer360.platform.tables import Integer, OneOf, String, Table


@pytest.fixture
def sales(registries: None) -> type[Table]:
    class Sales(Table, table="bronze.t_sales", key=("ID",)):
        """One row per sale."""

        ID = String(nullable=False)
        UNITS = Integer(min=1)
        SIZE = OneOf("S", "M")

    return Sales


def bronze(sales: type[Table], *rows: dict[str, object]) -> pl.DataFrame:
    fixed = {
        "_source": "till",
        "_source_system": "POS",
        "_seq": 3,
        "_file": "x.csv",
        "_ingested_at": datetime(2024, 1, 1, tzinfo=UTC),
    }
    return pl.DataFrame(
        [{**fixed, "_position": i, **row} for i, row in enumerate(rows, 1)], schema=tables.schema(sales)
    )


def test_one_quarantine_row_a_broken_rule(sales: type[Table]) -> None:
    frame = bronze(
        sales,
        {"ID": "a", "UNITS": 2, "SIZE": "S"},
        {"ID": None, "UNITS": 0, "SIZE": "XL"},
        {"ID": "c", "SIZE": "M", "_rescued": '{"UNITS":"two"}'},
    )
    rows = quality.quarantine_rows(sales, frame, judging.judge(sales, frame))
    assert dict(rows.schema) == tables.schema(Quarantine)
    assert rows.select("row_id", "rule", "column_name", "value").rows() == [
        ("till/3/x.csv/2", "min", "UNITS", "0"),
        ("till/3/x.csv/2", "nullability", "ID", None),
        ("till/3/x.csv/2", "one_of", "SIZE", "XL"),
        ("till/3/x.csv/3", "type", "UNITS", "two"),
    ]
    assert json.loads(rows["record"][-1]) == {"ID": "c", "UNITS": None, "SIZE": "M", "_rescued": '{"UNITS":"two"}'}
    assert set(rows["table_name"]) == {"bronze.t_sales"}


def test_nothing_refused_gives_an_empty_frame(sales: type[Table]) -> None:
    frame = bronze(sales, {"ID": "a", "UNITS": 1, "SIZE": "S"})
    assert quality.quarantine_rows(sales, frame, judging.judge(sales, frame)).schema == Quarantine.create_empty().schema


def test_balances() -> None:
    facts = {"read": 10, "landed": 6, "dead": 1, "collapsed": 1, "left_out": 1, "erased": 1}
    assert quality.batch_balance("b", facts).holds
    assert quality.batch_balance("b", facts).text == "10 = 6 landed + 1 dead + 1 collapsed + 1 left_out + 1 erased"
    assert not quality.batch_balance("b", facts | {"dead": 0}).holds
    record = {"bronze": 1500, "silver": 1490, "quarantined": 4, "duplicates": 3, "superseded": 2, "set_apart": 1}
    assert quality.record_balance("r", record).holds
    assert not Balance("r", 3, {"silver": 2}).holds
    assert "DOES NOT HOLD" in Balance("r", 3, {"silver": 2}).text


def test_refused_and_dead_letters_of_a_new_lake_are_empty(lake: Lake) -> None:
    assert quality.refused(lake).is_empty()
    assert quality.dead_letters(lake).is_empty()


def test_refused_filters_by_table_and_rule(lake: Lake, sales: type[Table]) -> None:
    frame = bronze(sales, {"ID": "a", "UNITS": 0, "SIZE": "S"}, {"ID": "b", "UNITS": 1, "SIZE": "XL"})
    rows = quality.quarantine_rows(sales, frame, judging.judge(sales, frame))
    lake.ensure(Quarantine)
    add = lake.write_file("quality.quarantine", rows, {"table_name": "bronze.t_sales"})
    lake.replace("quality.quarantine", [add], scope={}, app="n", app_version=1)
    assert quality.refused(lake).height == 2
    assert quality.refused(lake, "bronze.t_sales", "one_of")["value"].to_list() == ["XL"]
    assert quality.refused(lake, "bronze.other").is_empty()
