"""A moment is settled once, whatever dies: weeks of schedules in simulated time, and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from customer360.platform.errors import Customer360Error
from customer360.platform.schedules import Schedule
from customer360.serve import daemon
from customer360.serve.daemon import Daemon, History, Running, Turn

BEGIN = datetime(2026, 10, 22, tzinfo=UTC)  # the clocks of Europe change three days later
WEEK = timedelta(days=7)
SCHEDULES = {
    "batches": Schedule(command="run", every_minutes=20, catch_up="all"),
    "nightly": Schedule(
        command="retrain all", cron="30 2 * * *", timezone="Europe/Berlin", catch_up="all", jitter_seconds=300
    ),
    "hourly": Schedule(command="lake compact", cron="5 * * * *"),
    "apart": Schedule(command="quality", cron="15 */6 * * *", lane="apart", catch_up="all"),
}  # fmt: skip


@dataclass
class Fake:
    """A command of a simulated length."""

    name: str
    begun: datetime
    ends: datetime
    clock: Clock
    pid: int = 0

    def poll(self) -> int | None:
        return 0 if self.clock.now >= self.ends else None

    def terminate(self) -> None:
        self.ends = self.clock.now


@dataclass
class Clock:
    now: datetime = BEGIN
    begun: list[Fake] = field(default_factory=list)


def starting(clock: Clock, chance: Random) -> object:
    def start(schedule: Schedule) -> Running:
        made = Fake(schedule.command, clock.now, clock.now + timedelta(minutes=chance.choice([1, 2, 4, 12, 30])), clock)
        clock.begun.append(made)
        return made

    return start


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_a_week_with_a_change_of_clocks_and_restarts(tmp_path: Path, seed: int) -> None:
    chance, clock = Random(seed), Clock()
    made = Daemon(SCHEDULES, tmp_path, starting(clock, chance), BEGIN)  # type: ignore[arg-type]
    end = BEGIN + WEEK
    while clock.now < end + timedelta(days=1):
        if clock.now < end and chance.random() < 0.01:  # it dies, and what it started with it
            for fake in clock.begun:
                fake.ends = min(fake.ends, clock.now)
            clock.now += timedelta(minutes=chance.choice([1, 30, 300]))
            made = Daemon(SCHEDULES, tmp_path, starting(clock, chance), BEGIN)  # type: ignore[arg-type]
        made.tick(clock.now)
        clock.now += timedelta(minutes=1)
    for name, schedule in SCHEDULES.items():
        turns = History(tmp_path / f"{name}.jsonl").turns()
        settled = [turn.due_at for turn in turns if turn.state in ("done", "skipped")]
        expected = [at.isoformat() for at in schedule.moments(BEGIN, end)]
        assert settled[: len(expected)] == expected  # none missed, none twice, in order
        if schedule.catch_up == "all":
            assert not [turn for turn in turns if turn.state == "skipped"]
    lake = sorted((f for f in clock.begun if f.name != "quality"), key=lambda f: f.begun)
    assert all(a.ends <= b.begun for a, b in pairwise(lake))  # never two at once


def test_one_that_is_late_stands_for_those_before(tmp_path: Path) -> None:
    clock = Clock(BEGIN + timedelta(hours=5, minutes=30))
    made = Daemon({"hourly": SCHEDULES["hourly"]}, tmp_path, starting(clock, Random(1)), BEGIN)  # type: ignore[arg-type]
    made.tick(clock.now)
    assert len(clock.begun) == 1
    turns = History(tmp_path / "hourly.jsonl").turns()
    assert [turn.state for turn in turns] == ["skipped"] * 5 + ["started", "started"]


def test_half_a_line_of_history_is_passed_over(tmp_path: Path) -> None:
    history = History(tmp_path / "x.jsonl")
    history.note(Turn("2026-01-01T00:00:00+00:00", "done"))
    with history.file.open("a") as file:
        file.write('{"due_at": "2026')
    assert len(history.turns()) == 1


def test_one_daemon_for_a_state_folder(tmp_path: Path) -> None:
    with (
        daemon.alone(tmp_path / "s"),
        pytest.raises(Customer360Error, match="another daemon"),
        daemon.alone(tmp_path / "s"),
    ):
        pass


def test_what_outlived_its_daemon_is_waited_for(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    now = datetime.now(UTC)
    at = (now - timedelta(minutes=1)).isoformat()
    turn = Turn(at, "started", at, pid=child.pid, born=daemon._born(child.pid))
    History(tmp_path / "often.jsonl").note(turn)
    begun: list[Schedule] = []

    def start(schedule: Schedule) -> Running:
        begun.append(schedule)
        raise AssertionError("two at once")

    made = Daemon({"often": Schedule(command="run", every_minutes=1)}, tmp_path, start, now, daemon.outlived)
    made.tick(now)
    assert not begun and not made.is_idle
    child.kill()
    child.wait()
    made.tick_ends(now)
    assert made.is_idle and History(tmp_path / "often.jsonl").turns()[-1].state == "done"


@pytest.mark.slow
def test_the_command_starts_what_is_due_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    settings = tmp_path / "s.yaml"
    (tmp_path / "landing").mkdir()
    settings.write_text(json.dumps({
        "landing": str(tmp_path / "landing"), "state": str(tmp_path / "state"),
        "lake": {"root": str(tmp_path / "lake")},
        "schedules": {"often": {"command": "schedule list", "every_minutes": 1}},
    }))  # fmt: skip
    folder = tmp_path / "state" / daemon.FOLDER
    folder.mkdir(parents=True)
    (folder / "since").write_text((datetime.now(UTC) - timedelta(minutes=3)).isoformat())
    command = [sys.executable, "-m", "customer360.serve.cli", "daemon", "--config", str(settings)]
    process = subprocess.Popen(command, env=dict(os.environ))
    try:
        patience = time.monotonic() + 90
        while time.monotonic() < patience and not any(
            t.state == "done" for t in History(folder / "often.jsonl").turns()
        ):
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    turns = History(folder / "often.jsonl").turns()
    assert [t.state for t in turns if t.state in ("done", "failed")][:1] == ["done"]
