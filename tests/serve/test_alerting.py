"""From what a run meets, over the health of its sources, to the alerts that stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import customer360.platform.run as runs
from customer360.platform import ledger
from customer360.platform.errors import DiskFull, RunError
from customer360.platform.run.health import Board
from customer360.platform.schedules import Schedule
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings
from customer360.platform.sources.bronze import IngestUnit
from customer360.platform.sources.files import Files
from customer360.platform.tables import String, Table
from customer360.serve import alerting
from customer360.serve.daemon import FOLDER, History, Turn


@pytest.fixture
def settings(tmp_path: Path, empty_graph: None) -> Settings:
    class Shops(Table, table="bronze.t_shops", key=("SHOP_ID",)):
        """One row per shop as received."""

        SHOP_ID = String(nullable=False)

    for name in ("first", "last"):
        (tmp_path / "landing" / name).mkdir(parents=True)
        (tmp_path / "landing" / name / "1.csv").write_text(f"SHOP_ID\n{name}\n")
    return Settings(
        landing=str(tmp_path / "landing"), state=str(tmp_path / "state"),
        lake=LakeSettings(root=str(tmp_path / "lake"), buckets=2),
        execution=ExecutionSettings(executor="local", retry=RetrySettings(attempts=1, wait_seconds=0)),
        schedules={"often": Schedule(command="run", every_minutes=60)},
        sources={
            name: Files(table="bronze.t_shops", system="ERP", path=f"{name}/*", format="csv")
            for name in ("first", "last")
        },
    )  # fmt: skip


def land(settings: Settings, by: str = "ann") -> None:
    runs.run(settings, runs.RunRequest(end="bronze", started_by=by), rules={})


def told(settings: Settings, after: timedelta = timedelta(0)) -> dict[str, str]:
    return {a.key: a.text for a in alerting.standing(settings, datetime.now(UTC) + after)}


def turned(settings: Settings, state: str, since: datetime, code: int | None = None) -> None:
    at = since.isoformat()
    History(Path(settings.state) / FOLDER / "often.jsonl").note(Turn(at, state, at, at, code))


def fills_up(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The disk has no room left when a source is read."""
    real = IngestUnit.run

    def run(unit: IngestUnit) -> Any:
        if unit.name == at:
            raise OSError(28, "No space left on device")
        return real(unit)

    monkeypatch.setattr(IngestUnit, "run", run)


def test_a_full_disk_is_told_and_what_landed_before_it_is_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fills_up(monkeypatch, "last")
    since = datetime.now(UTC)
    with pytest.raises(DiskFull):
        land(settings, "schedule often")
    turned(settings, "failed", since, 7)
    board = Board.of(runs.lake_of(settings))
    assert board["first"].landed_at, "what ended the landing is no reason to forget who landed"
    assert board["last"].failures == 0, "no source is at fault"
    assert told(settings) == {"failed run": "the disk is full"}, "once: the schedule is not told of, too"


def test_a_run_that_something_else_ended_is_told_although_a_source_failed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fills_up(monkeypatch, "last")

    def breaks(said: str) -> None:
        raise RuntimeError("ann@example.org")

    monkeypatch.setattr(runs, "check_room", breaks)
    with pytest.raises(RuntimeError):
        land(settings)
    assert told(settings) == {"failed run": "it ended with code 2"}


def test_a_file_that_cannot_be_read_leaves_nothing_that_waits(settings: Settings) -> None:
    bad = settings.sources["last"].model_copy(update={"format": "parquet"})
    found = settings.model_copy(update={"sources": {**settings.sources, "last": bad}})
    with pytest.raises(RunError):
        land(found)
    health = Board.of(runs.lake_of(found))["last"]
    assert (health.failures, health.lag, health.waits_since) == (1, {}, "")
    assert not [key for key in told(found, timedelta(hours=2)) if key.startswith("stuck")]


@pytest.mark.parametrize(("state", "code"), [("timed out", None), ("failed", 1)])
def test_a_turn_that_failed_without_its_run_is_told(settings: Settings, state: str, code: int | None) -> None:
    since = datetime.now(UTC)
    land(settings, "schedule often")
    if state == "timed out":
        (run,) = ledger.runs(runs.lake_of(settings), 1)
        run.close(runs.STOPPED)
        run.save(runs.lake_of(settings))
    turned(settings, state, since, code)
    assert set(told(settings)) == {"failed schedule often"}
