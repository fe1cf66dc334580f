"""Rows older than their table keeps them leave like erased ones; those of unknown age stay."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import retention, tables
from customer360.platform.lake import File, Lake
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


def stays(stored: pl.LazyFrame) -> pl.Expr:
    """Rows of whoever said no."""
    who = stored.filter(pl.col("SAID") == "NO").select("WHO").collect().to_series()
    return pl.col("WHO").is_in(who.implode())


def visits(lake: Lake, name: str, table: type[Table], **columns: list[object]) -> None:
    """One more file of a table."""
    schema, count = tables.schema(table), len(next(iter(columns.values())))
    frame = pl.DataFrame({c: columns.get(c, [None] * count) for c in schema}, schema=schema)
    lake.ensure(table)
    seq = len(lake.files(name)) + 1
    lake.append_batch(name, [lake.write_file(name, frame, {"_source": "s"})], source="s", seq=seq)


def test_what_lasts_is_told_from_all_files_and_stays_however_old(tmp_path: Path, registries: None) -> None:
    class Answers(Table, table="bronze.t_answers", key=("ID",), past=("AT",), lasting=stays):
        """One row per answer."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        SAID = String()
        AT = Timestamp()

    lake, old = Lake(str(tmp_path), buckets=2), datetime(2020, 1, 1, tzinfo=UTC)
    visits(lake, "bronze.t_answers", Answers, ID=["a", "b"], WHO=["x", "y"], SAID=["NO", "YES"], AT=[old, old])
    visits(lake, "bronze.t_answers", Answers, ID=["c", "d"], WHO=["x", None], SAID=["YES", "YES"], AT=[old, old])
    assert retention.retire(lake, {"bronze.t_answers": 365}, date(2026, 2, 1)) == {"bronze.t_answers": 1}
    left = sorted(lake.scan("bronze.t_answers").collect()["ID"])
    assert left == ["a", "c", "d"], "the yes after the no decides; whose the last is, is not known"


def test_a_file_is_read_once_and_again_only_when_a_row_of_it_is_due(
    tmp_path: Path, registries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sales(Table, table="bronze.t_sales", key=("ID",), past=("AT", "SENT"), erasure="anonymize"):
        """One row per sale."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        AT = Timestamp()
        SENT = Timestamp(nullable=True)

    lake, name = Lake(str(tmp_path), buckets=2), "bronze.t_sales"
    old, due, new = (datetime(y, 1, 1, tzinfo=UTC) for y in (2020, 2025, 2026))
    visits(lake, name, Sales, ID=["a"], WHO=["x"], AT=[old], SENT=[None])
    visits(lake, name, Sales, ID=["b"], WHO=["y"], AT=[old], SENT=[due])  # the log alone cannot tell
    visits(lake, name, Sales, ID=["c"], WHO=["z"], AT=[new], SENT=[None])
    read: list[str] = []
    scan = Lake.scan

    def noting(self: Lake, table: str, files: list[File] | None = None, version: int | None = None) -> pl.LazyFrame:
        read.extend(f.path for f in files or [])
        return scan(self, table, files, version)

    monkeypatch.setattr(Lake, "scan", noting)
    assert retention.retire(lake, {name: 365}, date(2025, 6, 1)) == {name: 1}
    assert len(set(read)) == 2, "not the new one"
    retention.retire(lake, {name: 365}, date(2025, 6, 1))  # the rewritten file is looked at once
    read.clear()
    assert retention.retire(lake, {name: 365}, date(2025, 6, 2)) == {} and read == []
    assert retention.retire(lake, {name: 365}, date(2026, 6, 1)) == {name: 1}
    assert lake.scan(name).sort("ID").collect()["WHO"].to_list() == [None, None, "z"]
