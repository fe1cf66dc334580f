"""Statistics of files: right, without personal data, and never in another engine's way."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table, Timestamp, personal

T0 = datetime(2024, 1, 2, 3, 4, 5, 678_901, UTC)


@pytest.fixture
def measures(registries: None) -> type[Table]:
    class Measures(Table, table="silver.t_measures"):
        """One row per measure."""

        i = Integer(nullable=True)
        f = Float(nullable=True)
        m = Money(nullable=True)
        d = Date(nullable=True)
        t = Timestamp(nullable=True)
        s = String(nullable=True)
        b = Boolean(nullable=True)
        mail = String(nullable=True, metadata=personal("email"))

    return Measures


def test_statistics_are_right_and_skip_personal_data(lake: Lake, measures: type[Table]) -> None:
    rows = pl.DataFrame(
        {
            "i": [5, None, -3], "f": [1.5, -2.5, None], "m": [Decimal("10.10"), Decimal("-0.99"), None], "d": [date(2024, 1, 3), date(2023, 5, 1), None],  # noqa: E501
            "t": [T0, T0 + timedelta(seconds=1), None], "s": ["b", "a", None], "b": [True, False, None], "mail": ["z@x", "a@x", None],  # noqa: E501
        },
        schema=tables.schema(measures),
    )  # fmt: skip
    name = "silver.t_measures"
    lake.ensure(measures)
    add = lake.write_file(name, rows, {})
    lake.replace(name, [add], scope={}, app="n", app_version=1)
    found = pl.DataFrame(pa.table(DeltaTable(lake.uri(name)).get_add_actions(flatten=True))).row(0, named=True)
    assert found["num_records"] == 3
    expected = {
        "i": (-3, 5),
        "f": (-2.5, 1.5),
        "m": (Decimal("-0.99"), Decimal("10.10")),
        "d": (date(2023, 5, 1), date(2024, 1, 3)),
        "t": (T0, T0 + timedelta(seconds=1)),
    }
    for column, (low, high) in expected.items():
        assert (found[f"min.{column}"], found[f"max.{column}"], found[f"null_count.{column}"]) == (low, high, 1), column
    assert found.get("min.s") is None and found.get("max.s") is None  # text may name a person
    assert not [key for key in found if key.endswith(".mail") and found[key] is not None]
    assert "z@x" not in add.stats and "mail" not in add.stats


def test_statistics_never_hide_a_row_from_another_engine(lake: Lake, measures: type[Table]) -> None:
    name = "silver.t_measures"
    lake.ensure(measures)
    values = [
        {"i": i, "m": Decimal(i) / 10, "s": f"s{i:02d}", "t": T0 + timedelta(microseconds=i), "f": i / 3}
        for i in range(20)
    ]
    parts = [pl.DataFrame(values[i : i + 5], schema=tables.schema(measures)) for i in range(0, 20, 5)]
    lake.replace(name, [lake.write_file(name, p, {}) for p in parts], scope={}, app="n", app_version=1)
    dataset = DeltaTable(lake.uri(name)).to_pyarrow_dataset()
    for column, bound in {
        "i": 7,
        "m": Decimal("0.70"),
        "t": T0 + timedelta(microseconds=7),
        "f": 7 / 3,
    }.items():
        field = pa.compute.field(column)
        assert dataset.to_table(filter=field == bound).num_rows == 1, column
        assert dataset.to_table(filter=field > bound).num_rows == 12, column


def test_statistics_of_empty_and_null_only_files(lake: Lake, measures: type[Table]) -> None:
    empty = lake.write_file("silver.t_measures", measures.create_empty(), {})
    assert json.loads(empty.stats) == {"numRecords": 0}
    nulls = pl.DataFrame([{"i": None}], schema=tables.schema(measures))
    stats = json.loads(lake.write_file("silver.t_measures", nulls, {}).stats)
    assert (stats["numRecords"], stats["minValues"], stats["nullCount"]["i"]) == (1, {}, 1)
