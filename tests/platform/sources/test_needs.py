"""Columns that files of a source may lack, and columns that they may not."""

from __future__ import annotations

import polars as pl
import pytest

from customer360.platform import tables
from customer360.platform.sources.casting import fit
from customer360.platform.sources.mapping import Mapping
from customer360.serve.compose import compose

MAPPING = {"CUSTOMER_ID": "id", "FIRST_NAME": 'COALESCE(first, "Given name")', "CITY": "town"}


@pytest.fixture(scope="module")
def customers() -> type[tables.Table]:
    compose()
    return tables.by_name("bronze.customers")


def test_a_file_without_optional_columns_has_null_there(customers: type[tables.Table]) -> None:
    mapping = Mapping(MAPPING, where="town IS NULL OR town <> 'x'", needs=("id",))
    assert mapping.optional(["id", "first"]) == ["Given name", "town"]
    assert mapping.faults(customers, ["id", "first"]) == []
    records = pl.DataFrame({"id": ["1"], "first": ["Ann"], "_position": [1]})
    fitted = fit(records, customers, mapping)
    assert fitted.frame.select("CUSTOMER_ID", "FIRST_NAME", "CITY").rows() == [("1", "Ann", None)]


def test_a_file_without_a_needed_column_is_at_fault(customers: type[tables.Table]) -> None:
    faults = Mapping(MAPPING, needs=("id", "town")).faults(customers, ["id"])
    assert len(faults) == 1 and "town" in faults[0]


def test_without_needs_every_column_is_needed(customers: type[tables.Table]) -> None:
    mapping = Mapping(MAPPING)
    assert mapping.optional(["id"]) == []
    assert len(mapping.faults(customers, ["id", "first"])) == 2


def test_numbers_of_elements_and_joined_files_are_no_columns_of_the_file(customers: type[tables.Table]) -> None:
    mapping = Mapping({"CUSTOMER_ID": "lines.id || '-' || lines_position"}, explode=("lines",), needs=())
    assert mapping.optional(["lines"]) == []
