"""Rows behind rows, down to the records of files."""

from __future__ import annotations

from typing import Any

import pytest

from customer360.platform.errors import LakeError
from customer360.platform.lineage import rows


def test_a_row_of_gold_is_followed_to_records(filled: Any) -> None:
    ann = rows.rows_of(filled.lake, "gold.t_people", {"person_id": "ann"})
    found = {step.table: step for step in rows.behind(filled.lake, "gold.t_people", ann)}
    assert {name: step.rows.height for name, step in found.items() if step.rows.height} == {
        "gold.t_people": 1, "silver.t_days": 1, "silver.t_sales": 1, "bronze.t_sales": 2,
    }  # fmt: skip
    assert found["silver.t_days"].by == ("gold.t_people by person_id",)
    assert found["gold.t_bounds"].whole == ("gold.t_people",)
    records = found["bronze.t_sales"].rows.select(rows.ADDRESS).sort("_seq").rows()
    assert records == [("sales", 1, "sales/1.csv", 1), ("sales", 2, "sales/2.csv", 1)]


def test_only_some_tables_are_followed_where_they_are_named(filled: Any) -> None:
    ann = rows.rows_of(filled.lake, "gold.t_people", {"person_id": "ann"})
    found = rows.behind(filled.lake, "gold.t_people", ann, only={"silver.t_days"})
    assert [step.table for step in found] == ["gold.t_people", "silver.t_days"]


def test_rows_are_followed_forward(filled: Any) -> None:
    late = rows.rows_of(filled.lake, "bronze.t_sales", {"_seq": 2})
    found = {step.table: step.rows.height for step in rows.reached_from(filled.lake, {"bronze.t_sales": late})}
    assert found == {
        "bronze.t_sales": 2, "silver.t_sales": 2, "silver.t_days": 2, "gold.t_bounds": 0, "gold.t_people": 1,
    }  # fmt: skip


def test_a_key_is_written_by_values_or_by_names(shop: Any) -> None:
    assert rows.key_of("silver.t_sales", ["source_system=POS", "s1"]) == {"source_system": "POS", "sale_id": "s1"}
    assert rows.key_of("bronze.t_sales", ["s1", "_seq=2"]) == {"SALE_ID": "s1", "_seq": "2"}


def test_a_key_that_names_too_much_says_what_the_key_is(filled: Any) -> None:
    assert rows.key_of("silver.t_sales", ["s1"]) == {"sale_id": "s1"}
    with pytest.raises(
        LakeError, match=r"'c' names nothing more in silver\.t_sales: its key is sale_id, source_system"
    ):
        rows.key_of("silver.t_sales", ["a", "b", "c"])


def test_a_value_of_another_type_is_said(filled: Any) -> None:
    with pytest.raises(LakeError, match=r"bronze.t_sales: many is no value of UNITS \(Int64\)"):
        rows.rows_of(filled.lake, "bronze.t_sales", {"UNITS": "many"})
    with pytest.raises(LakeError, match=r"bronze\.t_sales has no column NOPE"):
        rows.rows_of(filled.lake, "bronze.t_sales", {"NOPE": "1"})
