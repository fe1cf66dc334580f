"""A window read again: rows that were changed behind the cursor come, and the source goes on from where it stood."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import ledger
from customer360.platform.connections.sqlalchemy import SQLAlchemy
from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.run.health import Board
from customer360.platform.run.request import Window
from customer360.platform.sources.base import configured
from customer360.platform.sources.database import DatabaseSource
from customer360.platform.sources.windows import bound_of

ROWS = [("o1", "ann", 1, 10), ("o2", "bob", 2, 20), ("o3", "eve", 3, 30), ("o4", "ann", 4, 40)]


@pytest.fixture
def till(shop: Any, tmp_path: Path) -> Any:
    """A shop whose orders come from a database, by a number that grows."""
    file = tmp_path / "till.db"
    execute(file, "CREATE TABLE orders (ORDER_ID TEXT, WHO TEXT, UNITS INTEGER, VERSION INTEGER, n INTEGER)")
    for order, who, units, n in ROWS:
        execute(file, f"INSERT INTO orders VALUES ('{order}', '{who}', {units}, 1, {n})")
    source = DatabaseSource(
        table="bronze.t_orders", system="POS", connection="till", relation="orders", strategy="micro_batch", column="n",
        lag=0, interval_minutes=30,
    )  # fmt: skip
    update = {
        "connections": {"till": SQLAlchemy(url=f"sqlite:///{file}")},
        "sources": {"till": source, "clicks": shop.settings.sources["clicks"]},
    }
    shop.clicks("1.json", {"CLICK_ID": "c1", "SUBJECT_ID": "ann"})
    return replace(shop, settings=shop.settings.model_copy(update=update))


def execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


def test_a_window_is_read_again_and_the_cursor_stays(till: Any, tmp_path: Path) -> None:
    till.run()
    execute(tmp_path / "till.db", "UPDATE orders SET UNITS = 9, VERSION = 2 WHERE ORDER_ID IN ('o1', 'o2', 'o3')")
    execute(tmp_path / "till.db", "INSERT INTO orders VALUES ('o0', 'zoe', 5, 1, 15)")
    assert till.run()["source till"].state == "current", "behind the cursor nobody looks"
    nodes = till.run(sources=("till",), window=Window("till", "10", "30"))
    assert nodes["source till"].facts["landed"] == 3 and "source clicks" not in nodes
    units = {row[0]: row[2] for row in till.rows("silver.t_orders")}
    assert units == {"o0": 5, "o1": 9, "o2": 9, "o3": 3, "o4": 4}, "30 lies beyond the window"
    assert ledger.last_cursor(ledger.batches(till.lake, "till"))["upto"] == 40
    assert till.run()["source till"].state == "current"
    execute(tmp_path / "till.db", "INSERT INTO orders VALUES ('o5', 'zoe', 5, 1, 50)")
    assert till.run()["source till"].facts["landed"] >= 1


def test_windows_that_are_none_are_said(till: Any) -> None:
    till.run()
    for start, until, said in (("30", "10", "is empty"), ("x", "10", "'x' is no bound"), ("10", "10", "is empty")):
        with pytest.raises((ConfigError, SourceError), match=said):
            till.run(sources=("till",), window=Window("till", start, until))
    with pytest.raises(ConfigError, match="kind files has no window to read again; `run --reland` reads"):
        till.run(sources=("clicks",), window=Window("clicks", "1", "2"))
    assert [b.seq for b in ledger.batches(till.lake, "till")] == [1], "nothing was fixed"


@pytest.mark.parametrize(
    ("text", "like", "zone", "found"),
    [
        ("2026-01-02", datetime(2026, 1, 1, tzinfo=UTC), "Europe/Berlin", "2026-01-01T23:00:00+00:00"),
        ("2026-01-02", datetime(2026, 1, 1), "Europe/Berlin", "2026-01-02T00:00:00"),
        ("2026-01-02T00:00+00:00", datetime(2026, 1, 1), "Europe/Berlin", "2026-01-02T01:00:00"),
        ("2026-01-02", datetime(2026, 1, 1).date(), None, "2026-01-02"),
    ],
)
def test_bounds_are_of_the_zone_of_the_source(text: str, like: Any, zone: str | None, found: str) -> None:
    made = bound_of(text, like, zone)
    assert (made.astimezone(UTC) if getattr(made, "tzinfo", None) else made).isoformat() == found


def test_intervals_are_waited_for_by_what_the_clock_starts(till: Any, tmp_path: Path) -> None:
    till.run(due=True)
    execute(tmp_path / "till.db", "INSERT INTO orders VALUES ('o5', 'zoe', 5, 1, 50)")
    assert till.run(due=True)["source till"].state == "current", "its 30 minutes are not over"
    board = Board.of(till.lake)
    board["till"].succeeded_at = (datetime.now(UTC) - timedelta(minutes=31)).isoformat()
    board.save(till.lake, till.settings.sources)
    assert till.run(due=True)["source till"].state == "built"
    execute(tmp_path / "till.db", "INSERT INTO orders VALUES ('o6', 'zoe', 5, 1, 60)")
    assert till.run()["source till"].state == "built", "a person who runs it wants what is new"
    assert configured(till.settings, "till").strategy == "micro_batch"
