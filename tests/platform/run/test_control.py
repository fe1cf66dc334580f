"""The control tables say what the ledger and the settings say, and are made again where they are gone."""

from __future__ import annotations

import datetime
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform import lake as lakes
from customer360.platform.errors import RunError
from customer360.platform.graph import builds
from customer360.platform.run import RunRequest, control
from customer360.platform.run.control import next_load
from customer360.platform.settings import Settings
from customer360.platform.tables import Integer, String, Table

INCREMENTAL = {"strategy": "incremental", "column": "N", "lag": 2}


@pytest.fixture
def site(tmp_path: Path, empty_graph: None) -> Any:
    """A lake that is loaded from a SQLite file in three ways; calling it runs SQL and lands."""

    class Ticks(Table, table="bronze.t_ticks", key=("N",)):
        """One row per number."""

        N = Integer()
        NAME = String(nullable=True)

    class Sums(Table, table="gold.t_sums"):
        """One row per lake."""

        total = Integer()

    @builds(Sums)
    def t_sums(bronze_t_ticks: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_ticks.select(total=pl.col("N").sum())

    (tmp_path / "landing").mkdir()
    common = {"table": "bronze.t_ticks", "kind": "database", "connection": "db", "relation": "ticks"}
    settings = Settings.model_validate({
        "landing": str(tmp_path / "landing"), "lake": {"root": str(tmp_path / "lake"), "buckets": 4},
        "execution": {"executor": "local", "retry": {"attempts": 1}},
        "connections": {"db": {"kind": "sqlalchemy", "url": f"sqlite:///{tmp_path / 'ticks.db'}"}},
        "micro_batches": [{"system": "TILL", "table": "bronze.t_ticks", "batch_size": 4, "interval_minutes": 5}],
        "sources": {
            "newer": {**common, "system": "LAB", **INCREMENTAL, "deleted": "NAME = 'gone'"},
            "whole": {**common, "system": "LAB", "load_frequency": "weekly"},
            "small": {**common, "system": "TILL", "strategy": "micro_batch", "column": "N"},
        },
    })  # fmt: skip

    def land(*statements: str) -> Any:
        with closing(sqlite3.connect(tmp_path / "ticks.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        runs.run(settings, RunRequest(), rules={})
        return runs.lake_of(settings)

    land.__dict__["lake"] = lambda: runs.lake_of(settings)
    return land


FIRST = ("CREATE TABLE ticks (N integer, NAME text)", "INSERT INTO ticks VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
COUNTS = [f"records_{what}" for what in ("processed", "inserted", "updated", "deleted")]


def tracking(lake: Any) -> pl.DataFrame:
    return lake.scan("control.incremental_load_tracking").filter(pl.col("source") == "newer").collect()


def test_batches_are_tracked_with_what_they_changed(site: Any) -> None:
    site(*FIRST)
    lake = site("INSERT INTO ticks VALUES (5, 'e')", "UPDATE ticks SET NAME = 'C' WHERE N = 3",
                "UPDATE ticks SET NAME = 'gone' WHERE N = 4")  # fmt: skip
    found = tracking(lake)
    assert found.select(COUNTS).rows() == [(4, 4, 0, 0), (3, 1, 1, 1)]
    assert found.select("load_batch_id", "load_status", "window_start", "window_end").rows() == [
        ("newer/1", "SUCCESS", None, "4"), ("newer/2", "SUCCESS", "2", "5")
    ]  # fmt: skip
    assert found.select((pl.col("end_timestamp") >= pl.col("start_timestamp")).all()).item()
    version = lake.version("control.incremental_load_tracking")
    site()
    assert lake.version("control.incremental_load_tracking") == version, "nothing new: nothing is written"
    shutil.rmtree(Path(lake.root) / "control")
    site()
    assert tracking(lake).equals(found), "they are made of what the ledger says"


def test_only_files_that_can_hold_a_key_are_read(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[int] = []
    scan = control._scan
    monkeypatch.setattr(
        control, "_scan", lambda lake, table, files: scanned.append(len(files)) or scan(lake, table, files)
    )
    site(*FIRST)
    for n in (10, 20, 30):
        site(f"INSERT INTO ticks VALUES ({n}, 'x')")
    scanned.clear()
    site()
    assert scanned == [], "what is told of a batch is told once"
    lake = site("INSERT INTO ticks VALUES (40, 'x'), (29, 'late')")
    assert tracking(lake).select(COUNTS).rows()[-1] == (3, 2, 0, 0)
    files = [f for f in lake.files("bronze.t_ticks") if f.partition["_source"] == "newer"]
    assert len(files) == 5
    assert scanned[:2] == [1, 1], "its own file, and that of the batch whose keys meet its own"


def test_a_batch_that_waits_says_why(site: Any) -> None:
    def stop(point: str) -> None:
        if point == "after manifest newer/2":
            raise KeyboardInterrupt

    site(*FIRST)
    lakes.observers.append(stop)
    with pytest.raises(KeyboardInterrupt):
        site("INSERT INTO ticks VALUES (5, 'e')")
    lakes.observers.pop()
    with pytest.raises(RunError):
        site("ALTER TABLE ticks RENAME TO other")
    waits = tracking(site.lake()).row(1, named=True)
    assert (waits["load_status"], waits["end_timestamp"], waits["records_processed"]) == ("FAILED", None, None)
    assert "no such table: ticks" in waits["error_message"]
    lake = site("ALTER TABLE other RENAME TO ticks")
    assert tracking(lake).select("load_status", "error_message").rows() == [("SUCCESS", None)] * 2


def test_schedules_and_sizes_are_those_of_settings_and_ledger(site: Any) -> None:
    lake = site(*FIRST)
    (row,) = lake.scan("control.full_load_schedule").collect().to_dicts()
    assert (row["source"], row["load_frequency"], row["estimated_record_count"], row["enabled"]) == (
        "whole", "WEEKLY", 4, True
    )  # fmt: skip
    assert row["next_scheduled_load_date"] == next_load(row["last_full_load_date"], "weekly")
    rows = lake.scan("control.micro_batch_config").collect().to_dicts()
    assert [(r["source"], r["batch_size"], r["batch_interval_minutes"]) for r in rows] == [("", 4, 5), ("small", 4, 5)]
    assert rows[0]["last_batch_timestamp"] is None and rows[1]["last_batch_timestamp"] is not None


@pytest.mark.parametrize(
    ("last", "frequency", "due"),
    [
        ("2026-03-29T23:59", "daily", "2026-03-30"),
        ("2026-03-29T00:00", "weekly", "2026-03-30"),
        ("2026-03-30T00:00", "weekly", "2026-04-06"),
        ("2026-02-28T12:00", "monthly", "2026-03-01"),
        ("2026-12-31T12:00", "monthly", "2027-01-01"),
        ("2026-12-31T12:00", None, None),
    ],
)
def test_a_load_is_due_with_the_next_day_week_or_month(last: str, frequency: str | None, due: str | None) -> None:
    moment = datetime.datetime.fromisoformat(f"{last}+00:00")
    assert next_load(moment, frequency) == (datetime.datetime.fromisoformat(f"{due}T00:00+00:00") if due else None)
