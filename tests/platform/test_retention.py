"""Rows older than their table keeps them leave like erased ones; those of unknown age stay."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import retention, tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Date, Float, String, Table, Timestamp, personal


@pytest.mark.parametrize("erasure", ["delete", "anonymize"])
def test_old_rows_leave(tmp_path: Path, registries: None, erasure: str) -> None:
    class Visits(Table, table="bronze.t_visits", key=("ID",), past=("AT",), version="CHANGED", erasure=erasure):  # type: ignore[arg-type]
        """One row per visit."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        SPENT = Float(nullable=True)
        AT = Timestamp(nullable=True)
        CHANGED = Date(nullable=True)

    old, new = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    rows = {"ID": list("abcd"), "WHO": list("wxyz"), "SPENT": [1.0, 2.0, 3.0, 4.0], "AT": [old, old, new, None],
            "CHANGED": [None, date(2025, 12, 31), None, None], "_rescued": ["{}"] * 4}  # fmt: skip
    lake, schema = Lake(str(tmp_path), buckets=2), tables.schema(Visits)
    frame = pl.DataFrame({c: rows.get(c, [None] * 4) for c in schema}, schema=schema)
    lake.ensure(Visits)
    lake.replace("bronze.t_visits", [lake.write_file("bronze.t_visits", frame, {"_source": "s"})], scope={}, app="t",
                 app_version=1)  # fmt: skip
    assert retention.retire(lake, {"bronze.t_visits": 365}, date(2026, 2, 1)) == {"bronze.t_visits": 1}
    left = lake.scan("bronze.t_visits").sort("ID").collect()
    if erasure == "delete":
        assert left["ID"].to_list() == ["b", "c", "d"]
    else:
        assert left.select("ID", "WHO", "SPENT", "_rescued").row(0) == ("a", None, 1.0, None)
        assert left["WHO"].to_list() == [None, "x", "y", "z"]
    assert retention.retire(lake, {"bronze.t_visits": 365}, date(2026, 2, 1)) == {}, "once"
