"""Units: retries, time-outs, and failures that stay with their unit."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from customer360.platform.errors import NoRay, TransientError, UnitTimeout
from customer360.platform.run.executor import Failure, LocalExecutor, RayExecutor, run_unit, start_ray
from customer360.platform.settings import ExecutionSettings, RetrySettings

QUICK = RetrySettings(attempts=3, wait_seconds=0, unit_timeout_seconds=30)


@dataclass
class Task:
    """Raises its faults one after the other, then returns its value; may take its time."""

    value: Any = None
    faults: list[BaseException] = field(default_factory=list)
    seconds: float = 0
    tries: int = 0

    def run(self) -> Any:
        self.tries += 1
        if self.tries <= len(self.faults):
            raise self.faults[self.tries - 1]
        time.sleep(self.seconds)
        return self.value


@pytest.mark.parametrize("fault", [TransientError("t"), ConnectionError("c"), TimeoutError("o"), UnitTimeout("u")])
def test_transient_faults_are_tried_again(fault: Exception) -> None:
    task = Task("done", [fault, fault])
    assert (run_unit(task, QUICK), task.tries) == ("done", 3)


def test_transient_faults_that_stay_are_a_failure() -> None:
    task = Task("done", [TransientError("busy")] * 9)
    found = run_unit(task, QUICK)
    assert isinstance(found, Failure) and found.reason == "TransientError: busy (after 3 attempts)"
    assert "TransientError" in found.trace and task.tries == 3


def test_waits_grow_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    retry = RetrySettings(attempts=4, wait_seconds=30, unit_timeout_seconds=30)
    assert isinstance(run_unit(Task(faults=[TransientError("busy")] * 9), retry), Failure)
    assert waited == [30, 60, 90]


def test_other_faults_fail_at_once() -> None:
    task = Task("done", [ValueError("wrong")])
    found = run_unit(task, QUICK)
    assert isinstance(found, Failure) and found.reason == "ValueError: wrong" and task.tries == 1


def test_a_panic_of_a_library_is_a_failure_like_others() -> None:
    """It is no Exception, and would end the driver with a traceback."""
    panic = type("PanicException", (BaseException,), {})
    found = run_unit(Task(faults=[panic("not yet implemented")]), QUICK)  # type: ignore[list-item]
    assert isinstance(found, Failure) and found.reason == "PanicException: not yet implemented"


def test_the_death_of_the_process_is_no_failure_of_a_unit() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_unit(Task(faults=[KeyboardInterrupt()]), QUICK)


def test_the_pause_grows_with_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    run_unit(Task(faults=[TransientError("x")] * 2), RetrySettings(attempts=4, wait_seconds=5))
    assert pauses[:2] == [5, 10]


def test_a_unit_that_takes_too_long_is_stopped_and_tried_again() -> None:
    task = Task("late", seconds=20)
    started = time.perf_counter()
    found = run_unit(task, RetrySettings(attempts=2, wait_seconds=0, unit_timeout_seconds=0.1))
    assert time.perf_counter() - started < 5
    assert isinstance(found, Failure) and found.reason == "UnitTimeout: passed its time-out of 0.1 s (after 2 attempts)"
    assert task.tries == 2


def test_no_alarm_is_left_behind() -> None:
    assert run_unit(Task("done"), RetrySettings(attempts=1, unit_timeout_seconds=0.2)) == "done"
    time.sleep(0.3)


def test_units_run_in_other_threads_too() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(run_unit(Task("done"), QUICK)))
    thread.start()
    thread.join()
    assert found == ["done"]


def test_one_failed_unit_leaves_the_others() -> None:
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=QUICK))
    results = dict(executor.map([Task("a"), Task(faults=[ValueError("b")]), Task("c")]))
    assert (results[0], results[2]) == ("a", "c")
    assert isinstance(results[1], Failure)
    executor.close()


def test_a_worker_that_dies_fails_its_lane_and_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Died(Exception):
        """What Ray raises for a task whose process is gone."""

    class Remote:
        def options(self, **_: Any) -> Remote:
            return self

        def remote(self, modules: Any, units: list[bytes], retry: Any) -> tuple[bytes, ...]:
            return tuple(units)

    def get(group: tuple[bytes, ...]) -> list[bytes]:
        tasks = [pickle.loads(unit) for unit in group]
        if any(task.value == "dies" for task in tasks):
            raise Died("The worker died unexpectedly\nwhile executing this task")
        return [pickle.dumps(task.value) for task in tasks]

    ray = ModuleType("ray")
    about = {"remote": lambda _: Remote(), "wait": lambda waiting: (waiting[:1], []), "get": get}
    vars(ray).update(about, exceptions=SimpleNamespace(RayError=Died), cancel=lambda _: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    executor = RayExecutor(ExecutionSettings(executor="ray"), tmp_path)
    units = [pickle.dumps(Task(value)) for value in ("a", "dies", "b", "c")]
    found = dict(executor._tasks(units, [[0], [3]], [[1, 2]], ()))
    assert (found[0], found[3]) == ("a", "c")
    assert all(isinstance(found[place], Failure) and "\n" not in found[place].reason for place in (1, 2))


def fake_ray(monkeypatch: pytest.MonkeyPatch, init: Any) -> list[str]:
    """A Ray whose ``init`` is this one; what was asked of it."""
    asked: list[str] = []
    ray = ModuleType("ray")
    vars(ray).update(init=lambda **options: (asked.append("init"), init(**options)), shutdown=lambda: asked.append("shutdown"))  # fmt: skip  # noqa: E501
    monkeypatch.setitem(sys.modules, "ray", ray)
    return asked


def failing(*faults: Exception) -> Any:
    left = list(faults)

    def init(**_: Any) -> None:
        if left:
            raise left.pop(0)

    return init


LATE = Exception("The current node timed out during startup. This could happen because\nthe GCS is overloaded.")


def test_a_ray_that_does_not_come_up_in_time_is_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = fake_ray(monkeypatch, failing(LATE))
    start_ray(ExecutionSettings(executor="ray"), tmp_path)
    assert asked == ["init", "shutdown", "init"]


def test_a_ray_that_never_comes_up_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = fake_ray(monkeypatch, failing(LATE, LATE, LATE))
    with pytest.raises(NoRay, match=r"execution\.executor: local.*timed out during startup") as told:
        start_ray(ExecutionSettings(executor="ray"), tmp_path)
    assert asked == ["init", "shutdown"] * 3 and "\n" not in str(told.value)


def test_another_fault_of_a_starting_ray_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = fake_ray(monkeypatch, failing(ValueError("num_cpus must be an integer")))
    with pytest.raises(ValueError, match="num_cpus"):
        start_ray(ExecutionSettings(executor="ray"), tmp_path)
    assert asked == ["init", "shutdown"]


def test_an_address_without_a_ray_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = fake_ray(monkeypatch, failing(ConnectionError("Failed to connect to GCS")))
    with pytest.raises(NoRay, match=r"no Ray answers at ray-head:6379 \(execution\.ray_address.*Failed to connect"):
        start_ray(ExecutionSettings(executor="ray", ray_address="ray-head:6379"), tmp_path)
    assert asked == ["init"]


def test_the_platform_does_not_import_ray() -> None:
    code = "import sys, customer360.platform.run; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_units_that_read_most_are_begun_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(*sizes: int) -> Any:
        return SimpleNamespace(inputs=[SimpleNamespace(files=[SimpleNamespace(size=size) for size in sizes])])

    begun: list[list[int]] = []
    executor = RayExecutor(ExecutionSettings(executor="ray"), tmp_path)
    monkeypatch.setattr(executor, "_start", lambda: None)
    monkeypatch.setattr(executor, "_tasks", lambda units, groups, *_: begun.extend(groups) or iter(()))
    list(executor.map([reads(3), SimpleNamespace(lane="", inputs=()), reads(5, 5), reads(7)]))
    assert begun == [[2], [3], [0], [1]]
