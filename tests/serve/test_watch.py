"""The resident driver: rounds when something is new, whatever became of the last, until somebody asks for the end."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import lake as lakes
from customer360.platform.errors import LakeLocked, RunError
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.run.health import Board, SourceHealth
from customer360.platform.run.news import look_at
from customer360.platform.settings import ExecutionSettings, LakeSettings, Settings
from customer360.platform.sources.files import Files
from customer360.serve import pipelines, watch
from customer360.serve.watch import Round, Stop, Stopped

STORES = "STORE_ID,STORE_NAME\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(watch, "SETTLED", 0.01)
    monkeypatch.setattr(watch, "rules_kept", lambda settings: _nothing())
    (tmp_path / "landing").mkdir()
    return Settings(
        landing=str(tmp_path / "landing"),
        state=str(tmp_path / "state"),
        lake=LakeSettings(root=str(tmp_path / "lake"), buckets=2),
        execution=ExecutionSettings(executor="local"),
        sources={"shops": Files(table="bronze.stores", system="ERP", path="shops/*.csv", format="csv")},
    )


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def deliver(settings: Settings, name: str, *rows: str) -> None:
    path = Path(settings.landing) / "shops" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(STORES + "\n".join(rows) + "\n")


class Rounds:
    """What a watch does, with runs that the test decides."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, *runs: Callable[[], Run | None]) -> None:
        self.settings, self.runs, self.told, self.stop = settings, list(runs), list[Round](), Stop()
        monkeypatch.setattr(pipelines, "run", lambda *_, **__: self._run())
        monkeypatch.setattr(pipelines, "check", lambda *_: None)

    def _run(self) -> Run | None:
        result = self.runs.pop(0)()
        if not self.runs:
            self.stop._asked.set()
        return result

    def watch(self) -> list[Round]:
        watch.watch(
            self.settings, 0.01, None, None, RunRequest(), publish=False, tell=lambda r, _: self.told.append(r),
            stop=self.stop,
        )  # fmt: skip
        return self.told


def record(*nodes: NodeRun, losses: tuple[str, ...] = ()) -> Run:
    return Run("r", "", "run", nodes=list(nodes), losses=list(losses))


def fails(fault: Exception) -> Callable[[], Run | None]:
    def run() -> Run | None:
        raise fault

    return run


def test_a_round_tells_what_landed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = (NodeRun("source shops", "built", facts={"landed": 3}), NodeRun("silver.stores", "built"))
    (told,) = Rounds(settings, monkeypatch, lambda: record(*nodes, losses=("half of it",))).watch()
    assert (told.state, told.landed, told.nodes, told.losses) == ("lost", {"shops": 3}, {"built": 2}, ("half of it",))
    assert json.loads(json.dumps(told.as_dict()))["run"] == "r"


def test_a_failed_round_is_told_of_and_the_next_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = (RunError({"silver.stores": "no"}), LakeLocked("held by another"), ZeroDivisionError("a bug"))
    told = Rounds(settings, monkeypatch, *map(fails, faults), record).watch()
    assert [r.state for r in told] == ["failed", "locked", "failed", "done"]
    assert told[0].failures == {"silver.stores": "no"} and "ZeroDivisionError" in told[2].failures["run"]


def test_nothing_new_is_no_round(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    real = watch.look_at

    def look(lake: Any, configured: Settings, request: RunRequest) -> Any:
        looks.append(1)
        if len(looks) == 5:
            deliver(settings, "late.csv", "S1,one")
        return real(lake, configured, request)

    monkeypatch.setattr(watch, "look_at", look)
    told = Rounds(settings, monkeypatch, record, record).watch()
    assert len(told) == 2 and len(looks) >= 6, "the first at once, the second for the late file"


def test_reports_that_rested_start_a_round_when_they_are_due(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, real = list[int](), watch.look_at

    def look(*asked: Any) -> Any:
        looks.append(1)
        due = datetime.now(UTC) + timedelta(hours=1 if len(looks) < 8 else -1)
        monkeypatch.setattr(watch, "due_at", lambda lake, execution: due)
        return real(*asked)

    monkeypatch.setattr(watch, "look_at", look)
    rested = NodeRun("gold.t", "resting")
    told = Rounds(settings, monkeypatch, lambda: record(rested), record).watch()
    assert len(told) == 2 and len(looks) >= 8, "without news, and not before"


def test_news_that_a_round_leaves_start_no_other_until_they_change(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, news = list[int](), {"shops": ("one",)}

    def look(*_: Any) -> watch.Look:
        looks.append(1)
        if len(looks) == 8:
            news["shops"] = ("two",)
        return watch.Look(dict(news))

    monkeypatch.setattr(watch, "look_at", look)
    told = Rounds(settings, monkeypatch, record, record).watch()
    assert len(told) == 2 and len(looks) >= 8, "it spins over what its rounds do not land"


def test_whom_a_round_would_not_ask_the_watch_does_not_ask(settings: Settings, tmp_path: Path) -> None:
    """A micro-batch within its interval, and a source of another request; a circuit that is open, too."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE ticks (n integer, STORE_ID text)")
        connection.execute("INSERT INTO ticks VALUES (1, 'S1')")
    found = Settings.model_validate(settings.model_dump() | {
        "connections": {"db": {"kind": "sqlalchemy", "url": f"sqlite:///{tmp_path / 'shop.db'}"}},
        "sources": {**settings.model_dump()["sources"], "ticks": {
            "kind": "database", "table": "bronze.stores", "system": "TILL", "connection": "db", "relation": "ticks",
            "strategy": "micro_batch", "column": "n", "interval_minutes": 60}},
    })  # fmt: skip
    deliver(found, "1.csv", "S1,one")
    lake, now = lake_of(found), datetime.now(UTC)
    due = RunRequest(due=True)
    assert set(look_at(lake, found, due).news) == {"shops", "ticks"}
    assert set(look_at(lake, found, RunRequest(sources=("shops",))).news) == {"shops"}
    Board({"ticks": SourceHealth(succeeded_at=now.isoformat())}).save(lake, found.sources)
    assert set(look_at(lake, found, due).news) == {"shops"}
    assert set(look_at(lake, found, RunRequest()).news) == {"shops", "ticks"}, "without --due an interval is not heeded"
    Board({"ticks": SourceHealth(open_since=now.isoformat(), failed_at=now.isoformat())}).save(lake, found.sources)
    assert set(look_at(lake, found, due).news) == {"shops"}


def test_a_file_that_is_being_written_waits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def grows() -> Run:
        sizes.append((Path(settings.landing) / "shops/big.csv").stat().st_size)
        return record()

    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) < 4:
            deliver(settings, "big.csv", *(f"S{n},x" for n in range(len(waits) + 1)))

    deliver(settings, "big.csv", "S1,x")
    rounds = Rounds(settings, monkeypatch, grows)
    monkeypatch.setattr(rounds.stop, "wait", wait)
    rounds.watch()
    assert sizes == [(Path(settings.landing) / "shops/big.csv").stat().st_size] and len(waits) >= 4


def test_a_second_watch_and_a_run_under_way_are_named_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lake_of(settings).watch_lock("the first"), pytest.raises(LakeLocked, match="the first"):
        Rounds(settings, monkeypatch, record).watch()
    with lake_of(settings).run_lock("a run"), pytest.raises(LakeLocked, match="a run"):
        Rounds(settings, monkeypatch, record).watch()


def test_an_end_is_heeded_after_a_commit_and_asked_twice_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = []

    def run() -> Run:
        os.kill(os.getpid(), signal.SIGTERM)
        passed.append("commit")
        lakes.reached("after commit bronze.stores")
        passed.append("more")
        return record()

    rounds = Rounds(settings, monkeypatch, run, run)
    (told,) = rounds.watch()
    assert told.state == "stopped" and passed == ["commit"]
    assert rounds.stop.at not in lakes.observers, "what listens goes with the watch"
    with pytest.raises(KeyboardInterrupt):
        rounds.stop.ask()
    with pytest.raises(Stopped):
        rounds.stop.at("anywhere")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`customer360 run silver.stores --watch` in a process of its own."""
    config = tmp_path / "c.json"
    sources = {"st": {"table": "bronze.stores", "system": "ERP", "path": "st/*.csv", "format": "csv"}}
    config.write_text(json.dumps({
        "extends": "base.yaml", "landing": str(tmp_path / "landing"), "state": str(tmp_path / "state"),
        "lake": {"root": str(tmp_path / "lake")}, "execution": {"executor": "local"}, "sources": sources,
    }))  # fmt: skip
    put(tmp_path, "1.csv", "S1,one")
    words = [sys.executable, "-m", "customer360.serve.cli", "run", "silver.stores", "--watch", "0.2", "--json"]
    with subprocess.Popen(
        [*words, "-c", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        yield run
        run.kill()


def put(root: Path, name: str, row: str) -> None:
    folder = root / "landing/st"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "part").write_text(f"{STORES}{row}\n")
    (folder / "part").rename(folder / name)


@pytest.mark.slow
def test_a_stranger_watches(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stdout is not None and process.stderr is not None
    drained = threading.Thread(target=process.stderr.read)
    drained.start()
    first = json.loads(process.stdout.readline())
    assert (first["state"], first["landed"]) == ("done", {"st": 1})
    put(tmp_path, "2.csv", "S1,two")
    assert json.loads(process.stdout.readline())["landed"] == {"st": 1}
    os.utime(tmp_path / "landing/st/1.csv")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    drained.join()


def test_pauses_stay_bounded_however_often_rounds_fail() -> None:
    assert [watch._pause(5.0, failed) for failed in (1, 2, 3)] == [5.0, 10.0, 20.0]
    assert watch._pause(5.0, 5_000) == watch.LONGEST_PAUSE


def test_what_is_being_published_is_finished() -> None:
    stop = Stop()
    stop.ask()
    stop.at("before publication")
    with pytest.raises(Stopped):
        stop.at("before commit")
