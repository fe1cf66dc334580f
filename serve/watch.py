"""The resident driver: rounds of a pipeline in one process, whenever a source has something new, or reports
that rested are due.

Settings and rules are read once; Ray, imports and opened tables stay warm between rounds. A round is a run like any
other, under the lake's run lock. One that fails is told of and the watch goes on: news start the next round at once,
else it is tried again after a pause that doubles each time, up to five minutes.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customer360.platform import lake as lakes
from customer360.platform import telemetry
from customer360.platform.errors import Customer360Error, LakeLocked, RunError
from customer360.platform.ledger import Run
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.run.executor import ray_session
from customer360.platform.run.news import Look, look_at
from customer360.platform.run.reports import RESTING, due_at
from customer360.platform.settings import Settings
from customer360.serve import pipelines
from customer360.serve.compose import rules_kept

SETTLED = 1.0  # seconds for which what is new must look the same: a file that is being written waits
LONGEST_PAUSE = 300.0  # between tries of a round that fails
LOOKS = 30  # after which a round starts although something still arrives


@dataclass(frozen=True)
class Round:
    """What one round did. ``state``: ``done``, ``lost`` (more rows than `loss` allows), ``failed``, ``locked`` (another
    run holds the lake) or ``stopped``; ``landed`` are rows by source, ``nodes`` counts of states.
    """

    number: int
    state: str
    seconds: float
    run: str = ""
    landed: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    losses: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Stopped(BaseException):
    """Somebody asked for an end; no fault, so that nothing takes it for one."""


class Stop:
    """Whether an end was asked for. A run in its midst ends at the next point where a crash would do no harm, so never
    within a commit; asked a second time, it ends like any other command.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self, number: int = signal.SIGTERM, frame: object = None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()

    def __bool__(self) -> bool:
        return self._asked.is_set()

    def wait(self, seconds: float) -> None:
        """Pause, or less where an end is asked for."""
        self._asked.wait(seconds)

    def at(self, point: str) -> None:
        """An observer of a run. What is being published is finished: refusals that have just landed are, too."""
        if self and not point.endswith("publication"):
            raise Stopped(point)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as the wish to end, and let runs in the block heed it."""
        before = {number: signal.signal(number, self.ask) for number in (signal.SIGTERM, signal.SIGINT)}
        lakes.observers.append(self.at)
        try:
            yield
        finally:
            lakes.observers.remove(self.at)
            for number, handler in before.items():
                signal.signal(number, handler)


def watch(
    settings: Settings,
    seconds: float,
    pipeline: str | None,
    stage: str | None,
    request: RunRequest,
    *,
    publish: bool,
    tell: Callable[[Round, Run | None], None],
    stop: Stop,
) -> None:
    """Look every so many seconds for what is new and run a round where there is; the first round runs at once.

    Raises:
        LakeLocked: another process watches the lake, or changes it now.
    """
    pipelines.check(pipeline, stage)
    lake, execution = lake_of(settings), settings.execution
    warm = ray_session(execution, Path(settings.state)) if execution.executor == "ray" else nullcontext()
    with lake.watch_lock("watch"), stop.listening():
        with lake.run_lock("watch"):
            pass  # whoever runs now is named at once, not in every round
        with rules_kept(settings), warm:
            _rounds(settings, seconds, request, lambda: pipelines.run(settings, pipeline, stage, request, publish=publish), tell, stop)  # fmt: skip  # noqa: E501


def _rounds(
    settings: Settings,
    seconds: float,
    request: RunRequest,
    run: Callable[[], Run | None],
    tell: Callable[[Round, Run | None], None],
    stop: Stop,
) -> None:
    number, failed, tried_at, seen, is_due, rests = 0, 0, 0.0, Look(), True, False
    while not stop:
        look = look_at(lake_of(settings), settings, request)
        seen = look.still(seen)
        again = failed > 0 and time.monotonic() - tried_at >= _pause(seconds, failed)
        if is_due or again or look.beyond(seen):
            seen = _settled(settings, request, look, stop)
            if stop:
                return
            number += 1
            done, record = _round(number, run)
            tell(done, record)
            failed = failed + 1 if done.state in ("failed", "locked") else 0
            tried_at, is_due, rests = time.monotonic(), False, RESTING in done.nodes
        is_due = rests and _is_over(settings)
        stop.wait(seconds)


def _is_over(settings: Settings) -> bool:
    """Whether reports that rest are made again."""
    due = due_at(lake_of(settings), settings.execution)
    return due is None or datetime.now(UTC) >= due


def _pause(seconds: float, failed: int) -> float:
    """Seconds until a round that failed so many times in a row is tried again."""
    return min(seconds * 2.0 ** min(failed - 1, 20), LONGEST_PAUSE)


def _settled(settings: Settings, request: RunRequest, look: Look, stop: Stop) -> Look:
    """What is new once it looks the same twice: nothing that is new is still being written."""
    for _ in range(LOOKS if look else 0):
        stop.wait(SETTLED)
        if stop:
            break
        before, look = look, look_at(lake_of(settings), settings, request)
        if look == before:
            break
    return look


def _round(number: int, run: Callable[[], Run | None]) -> tuple[Round, Run | None]:
    """One round, whatever becomes of it."""
    start = time.perf_counter()

    def ended(state: str, **facts: Any) -> Round:
        return Round(number, state, round(time.perf_counter() - start, 3), **facts)

    try:
        record = run()
    except Stopped:
        return ended("stopped"), None
    except LakeLocked as fault:
        telemetry.log.error(f"round {number}: {fault}")
        return ended("locked", failures={"lake": str(fault)}), None
    except RunError as fault:
        telemetry.log.error(f"round {number} failed: {fault}")
        return ended("failed", failures=dict(fault.failures)), None
    except Customer360Error as fault:
        telemetry.log.error(f"round {number} failed: {fault}")
        return ended("failed", failures={"run": str(fault)}), None
    except Exception as fault:  # noqa: BLE001 - whatever one round does, it is told of, and the next goes on
        telemetry.log.debug(traceback.format_exc())
        telemetry.log.error(f"round {number} failed: {type(fault).__name__}: {fault}")
        return ended("failed", failures={"run": f"{type(fault).__name__}: {fault}"}), None
    if record is None:
        return ended("done"), None
    landed = Counter[str]()
    for node in record.nodes:
        if node.node.startswith("source ") and node.state != "current":
            landed[node.node.removeprefix("source ")] += int(node.facts.get("landed", 0))
    states = dict(Counter(n.state for n in record.nodes))
    state = "lost" if record.losses else "done"
    return ended(state, run=record.id, landed=dict(landed), nodes=states, losses=tuple(record.losses)), record
