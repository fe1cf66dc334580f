"""The daemon: starts the commands of ``schedules:`` when they are due, each as a process of its own.

What it starts is noted before it is started, and how it ended after that, in ``schedules/`` of the state folder: a
moment is settled once, whatever dies in between. A command that was cut short with its daemon is started again for the
same moment; one that outlived it is waited for.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from customer360.platform import telemetry
from customer360.platform.errors import Customer360Error
from customer360.platform.schedules import Schedule, due

FOLDER = "schedules"
SCHEDULE = "CUSTOMER360_SCHEDULE"  # variable of what it starts: the name of the schedule
KEPT = 1_000  # lines of history of a schedule


class Running(Protocol):
    """A command under way."""

    pid: int

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""

    def terminate(self) -> None: ...


@dataclass(frozen=True)
class Turn:
    """One moment of a schedule and what became of it. ``state``: ``started``, ``done``, ``failed``, ``skipped`` (a
    later moment stands for it), ``timed out``.
    """

    due_at: str
    state: str
    started_at: str = ""
    ended_at: str = ""
    status: int | None = None
    pid: int | None = None
    born: str = ""  # of the process, so that another of the same number is none


@dataclass
class History:
    """What became of the moments of one schedule, newest last; on the disk before anything follows from it."""

    file: Path

    def turns(self) -> list[Turn]:
        if not self.file.exists():
            return []
        found = []
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                found.append(Turn(**json.loads(line)))
            except (ValueError, TypeError):
                continue  # the half line of a process that died while it wrote
        return found

    def note(self, turn: Turn) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(turn)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def shorten(self) -> None:
        """Keep the newest lines; the newest of all is always among them."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        if len(lines) > 2 * KEPT:
            staged = self.file.with_suffix(".new")
            staged.write_text("\n".join(lines[-KEPT:]) + "\n", encoding="utf-8")
            staged.replace(self.file)


@dataclass
class _Lane:
    """What runs of one lane, and since when."""

    name: str
    turn: Turn
    process: Running
    until: datetime | None


@dataclass
class Daemon:
    """Schedules and what runs of them. `tick` is called again and again; it never waits."""

    schedules: dict[str, Schedule]
    folder: Path
    start: Callable[[Schedule], Running]
    since: datetime  # before which nothing was due: when the daemon first began
    outlived: Callable[[Turn], Running | None] = lambda turn: None
    _busy: dict[str, _Lane] = field(default_factory=dict)
    _newest: dict[str, Turn] = field(default_factory=dict)  # of each schedule

    def __post_init__(self) -> None:
        for name, schedule in self.schedules.items():
            history = self._history(name)
            history.shorten()
            newest = next(iter(history.turns()[-1:]), None)
            if newest:
                self._newest[name] = newest
            if newest and newest.state == "started" and (process := self.outlived(newest)):
                telemetry.event(f"{name} of {newest.due_at} still runs (process {process.pid})")
                self._busy[schedule.lane] = _Lane(name, newest, process, None)

    def tick(self, now: datetime) -> None:
        """Note what ended, and start what is due, the oldest moments first, one a lane."""
        self.tick_ends(now)
        waiting = sorted(
            (at, name)
            for name, schedule in self.schedules.items()
            if schedule.enabled and schedule.lane not in self._busy
            for at in self._due(name, schedule, now)[:1]
        )
        for at, name in waiting:
            schedule = self.schedules[name]
            if schedule.lane not in self._busy and now >= at + _jitter(name, at, schedule):
                self._begin(name, schedule, at, now)

    def tick_ends(self, now: datetime) -> None:
        """Note what ended; nothing is started."""
        for lane in list(self._busy):
            self._end(lane, now)

    @property
    def is_idle(self) -> bool:
        return not self._busy

    def stop(self) -> None:
        """Ask what runs to end."""
        for lane in self._busy.values():
            lane.process.terminate()

    def _history(self, name: str) -> History:
        return History(self.folder / f"{name}.jsonl")

    def _note(self, name: str, turn: Turn) -> None:
        self._history(name).note(turn)
        self._newest[name] = turn

    def _due(self, name: str, schedule: Schedule, now: datetime) -> list[datetime]:
        """Moments to start for; those that are passed over are noted."""
        newest = self._newest.get(name)
        if newest and newest.state == "started":  # its daemon died, and it with it
            return [datetime.fromisoformat(newest.due_at)]
        settled = datetime.fromisoformat(newest.due_at) if newest else self.since
        chosen, passed = due(schedule, settled, now)
        for at in passed if schedule.catch_up == "none" or chosen else []:
            self._note(name, Turn(_text(at), "skipped"))
        if len(passed) > 1:
            telemetry.log.warning(f"{name}: {len(passed):,} moments passed while nothing ran; not made up for")
        return chosen

    def _begin(self, name: str, schedule: Schedule, at: datetime, now: datetime) -> None:
        self._note(name, Turn(_text(at), "started", _text(now)))
        telemetry.event(f"{name}: customer360 {schedule.command}", due_at=_text(at))
        process = self.start(schedule)
        turn = Turn(_text(at), "started", _text(now), pid=process.pid, born=_born(process.pid))
        self._note(name, turn)
        until = now + timedelta(minutes=schedule.timeout_minutes) if schedule.timeout_minutes else None
        self._busy[schedule.lane] = _Lane(name, turn, process, until)

    def _end(self, lane: str, now: datetime) -> None:
        running = self._busy[lane]
        status = running.process.poll()
        if status is None:
            if running.until and now > running.until:
                telemetry.log.error(f"{running.name} takes longer than its time-out: it is asked to end")
                running.process.terminate()
                running.until = now + timedelta(minutes=1)
            return
        late = running.until is not None and now > running.until
        state = "done" if status == 0 else "timed out" if late else "failed"
        turn = running.turn
        ended = Turn(turn.due_at, state, turn.started_at, _text(now), status, turn.pid, turn.born)
        self._note(running.name, ended)
        told = telemetry.log.error if status else telemetry.log.info
        told(f"{running.name} of {turn.due_at} ended with {status}")
        del self._busy[lane]


def launched(config: str | None, schedules: Mapping[str, Schedule]) -> Callable[[Schedule], Running]:
    """What starts a command with the same Python and settings, in a group of its own."""

    def start(schedule: Schedule) -> Running:
        name = next(name for name, each in schedules.items() if each is schedule)
        environment = dict(os.environ) | {SCHEDULE: name} | ({"CUSTOMER360_CONFIG": config} if config else {})
        command = [sys.executable, "-m", "customer360.serve.cli", *shlex.split(schedule.command)]
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)

    return start


@dataclass
class Orphan:
    """A process that outlived its daemon: whether it still runs can be seen, its exit status cannot."""

    pid: int
    born: str

    def poll(self) -> int | None:
        return None if _born(self.pid) == self.born else 0

    def terminate(self) -> None:
        os.kill(self.pid, 15)


def outlived(turn: Turn) -> Running | None:
    """The process of a turn, where it is still there."""
    if turn.pid is None or not turn.born or _born(turn.pid) != turn.born:
        return None
    return Orphan(turn.pid, turn.born)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One daemon for a state folder.

    Raises:
        Customer360Error: there is one already.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Customer360Error(f"another daemon runs the schedules of {folder.parent}") from None
        yield


def begun_at(folder: Path, now: datetime) -> datetime:
    """When the schedules of a state folder were first looked at: before that nothing was due."""
    file = folder / "since"
    if not file.exists():
        file.write_text(_text(now), encoding="utf-8")
    return datetime.fromisoformat(file.read_text(encoding="utf-8"))


def _born(pid: int) -> str:
    """When a process began, as the system counts it; empty where there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _jitter(name: str, at: datetime, schedule: Schedule) -> timedelta:
    """The same for a moment whoever asks."""
    return timedelta(seconds=random.Random(f"{name} {at}").uniform(0, schedule.jitter_seconds))


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
