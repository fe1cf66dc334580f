"""Where units run: in this process, or on Ray. Same function, same results.

A unit that fails with something transient is tried again after a pause; one that passes its time-out counts as
transient. A unit that fails for good gives a ``Failure``; the others go on.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from customer360.platform import telemetry
from customer360.platform.errors import TRANSIENT, NoRay, UnitTimeout
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.tables import TABLES

FEW = 256  # units, up to which they are tasks of their own
DEATHS = 3  # of workers at one unit, after which it is not tried again
STARTS = 3  # of a local Ray that does not come up in time, after which it is not tried again
WAITING_CPUS = 0.25  # of a task that mostly waits for another system

# They announce each execution and each missing progress bar; our own lines say more.
QUIET = ("ray.data._internal.execution.streaming_executor", "ray.data._internal.progress")


class Unit(Protocol):
    """Anything picklable with a ``run``. Units that have the same ``lane`` run one after the other. Of those that have
    the same ``falls_with`` no more are begun when one has failed.
    """

    def run(self) -> Any: ...


class Executor(Protocol):
    """Runs units, here or elsewhere; ``workers`` of them at once."""

    @property
    def workers(self) -> int: ...

    def map(self, units: Sequence[Unit]) -> Iterator[tuple[int, Any]]:
        """Place of each unit and what it returned, or a ``Failure``, in the order in which they end."""
        ...


@dataclass(frozen=True)
class Failure:
    """A unit that failed for good."""

    reason: str
    trace: str


def run_unit(unit: Unit, retry: RetrySettings) -> Any:
    """Run a unit with retries and a time-out; returns its result or a ``Failure``.

    Each wait is ``retry.wait_seconds`` longer than the one before. What is no accident is not tried again.
    """
    for attempt in range(1, retry.attempts + 1):
        try:
            with _deadline(retry.unit_timeout_seconds):
                return unit.run()
        except TRANSIENT as fault:
            if attempt == retry.attempts:
                return Failure(f"{type(fault).__name__}: {fault} (after {attempt} attempts)", traceback.format_exc())
            telemetry.event("trying again", attempt=attempt, reason=type(fault).__name__)
            time.sleep(retry.wait_seconds * attempt)
        except BaseException as fault:  # reported to the driver, which fails the node with this reason
            if not isinstance(fault, Exception) and type(fault).__name__ != "PanicException":  # one of Polars is none
                raise
            return Failure(f"{type(fault).__name__}: {fault}", traceback.format_exc())
    raise AssertionError("unreachable: attempts is at least one")


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise UnitTimeout when the block takes longer; only a main thread can be interrupted, others run on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(*_: object) -> None:
        raise UnitTimeout(f"passed its time-out of {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _work(modules: tuple[str, ...], units: list[bytes], retry: RetrySettings) -> list[bytes]:
    """Units in a worker of Ray, which declares the same tables first."""
    for module in modules:
        importlib.import_module(module)
    return [pickle.dumps(run_unit(pickle.loads(unit), retry)) for unit in units]


def _died(fault: Exception) -> Failure:
    """What became of units whose worker is gone; Ray says why in many lines."""
    return Failure(f"its worker is gone ({type(fault).__name__}): out of memory is the usual cause", str(fault))


LOST = Failure("its worker is gone, again and again: out of memory is the usual cause", "")


def _is_always_killed() -> bool:
    """Whether the workers before this one died at the same task of Ray Data, which would try it without end; what
    would tell it to stop is to go with Ray 2.64.
    """
    from ray._private.worker import global_worker

    return global_worker.core_worker.get_current_task_attempt_number() > DEATHS


def lanes(units: Sequence[Unit]) -> dict[str, list[int]]:
    """Places of the units that have a lane, by lane."""
    found: dict[str, list[int]] = {}
    for place, unit in enumerate(units):
        if lane := getattr(unit, "lane", ""):
            found.setdefault(lane, []).append(place)
    return found


FUTILE = Failure("not read: another part of it failed", "")


def _read_bytes(unit: Unit) -> int:
    """Bytes of files that a unit reads, where it says so."""
    parts = getattr(unit, "inputs", ())
    return sum(file.size for part in parts for file in getattr(part, "files", ()))


def _falls_with(unit: Unit) -> str:
    return str(getattr(unit, "falls_with", ""))


class LocalExecutor:
    """Runs units one after the other in this process."""

    workers = 1

    def __init__(self, settings: ExecutionSettings):
        self.retry = settings.retry

    def map(self, units: Sequence[Unit]) -> Iterator[tuple[int, Any]]:
        late = {place for lane in lanes(units).values() for place in lane}  # what waits for others comes last
        fallen = set[str]()
        for place in (*(i for i in range(len(units)) if i not in late), *sorted(late)):
            whole = _falls_with(units[place])
            result = FUTILE if whole in fallen else run_unit(units[place], self.retry)
            if isinstance(result, Failure) and whole:
                fallen.add(whole)
            yield place, result

    def close(self) -> None:
        """Nothing to release."""


class RayExecutor:
    """Runs units on Ray, one Polars thread a worker. Many go through Ray Data,
    ``from_items(units).map_batches(run_unit)``, which never has more in flight than fit. Few are tasks: an execution of
    Ray Data costs seconds before its first unit.
    """

    def __init__(self, settings: ExecutionSettings, state: Path):
        self.settings, self.state = settings, state
        self.started = False

    @property
    def workers(self) -> int:
        """Units that run at once; one as long as nothing was run."""
        if "ray" not in sys.modules or not sys.modules["ray"].is_initialized():
            return 1
        return max(1, int(sys.modules["ray"].cluster_resources().get("CPU", 1) / self.settings.cpus_per_unit))

    def map(self, units: Sequence[Unit]) -> Iterator[tuple[int, Any]]:
        if not units:
            return
        self._start()
        # A worker is a fresh process: it must declare the same tables before a unit can look them up by name.
        modules = tuple(sorted({t.__module__ for t in TABLES.values() if t.__module__.startswith("customer360.")}))
        packed = [pickle.dumps(unit) for unit in units]
        together = lanes(units)
        alone = sorted(set(range(len(units))) - {place for lane in together.values() for place in lane})
        alone.sort(key=lambda place: -_read_bytes(units[place]))  # else the others wait for a large one that came last
        wholes = [_falls_with(unit) for unit in units]
        if len(alone) <= FEW:
            yield from self._tasks(packed, [[place] for place in alone], list(together.values()), modules, wholes)
            return
        yield from self._data(packed, alone, modules, wholes)
        yield from self._tasks(packed, [], list(together.values()), modules, wholes)

    def _tasks(
        self, units: list[bytes], groups: list[list[int]], waits: list[list[int]], modules: tuple[str, ...],
        wholes: Sequence[str] = (),
    ) -> Iterator[tuple[int, Any]]:  # fmt: skip
        """Units as tasks, one a group. Those of ``waits`` mostly wait for another system, and leave the CPUs to
        others. ``wholes`` says of each unit what it falls with.
        """
        import ray

        wholes = wholes or [""] * len(units)
        cpus = self.settings.cpus_per_unit
        work = ray.remote(_work)
        waiting = {
            work.options(num_cpus=cpu).remote(modules, [units[place] for place in group], self.settings.retry): group
            for cpu, some in ((min(cpus, WAITING_CPUS), waits), (cpus, groups))
            for group in some
        }
        try:
            while waiting:
                for done in ray.wait(list(waiting))[0]:
                    group = waiting.pop(done)
                    try:
                        results = [pickle.loads(result) for result in ray.get(done)]
                    except ray.exceptions.RayError as fault:  # its process died: out of memory, or the machine
                        results = [_died(fault)] * len(group)
                    yield from zip(group, results, strict=True)
                    failed = {wholes[p] for p, r in zip(group, results, strict=True) if isinstance(r, Failure)} - {""}
                    for task, places in list(waiting.items()):
                        if {wholes[place] for place in places} <= failed:
                            del waiting[task]
                            ray.cancel(task)
                            yield from ((place, FUTILE) for place in places)
        finally:
            for unit in waiting:  # nobody asks for them any more
                ray.cancel(unit)

    def _data(
        self, units: list[bytes], places: list[int], modules: tuple[str, ...], wholes: list[str]
    ) -> Iterator[tuple[int, Any]]:
        import ray

        retry = self.settings.retry

        def work(batch: dict[str, Any]) -> dict[str, list[Any]]:
            units = list(batch["unit"])
            results = [pickle.dumps(LOST)] * len(units) if _is_always_killed() else _work(modules, units, retry)
            return {"index": list(batch["index"]), "result": results}

        items = [{"index": place, "unit": units[place]} for place in places]
        dataset = ray.data.from_items(items, override_num_blocks=len(items))
        mapped = dataset.map_batches(work, batch_size=1, num_cpus=self.settings.cpus_per_unit)
        left = dict.fromkeys(places)
        try:
            for row in mapped.iter_rows():
                left.pop(int(row["index"]), None)
                yield int(row["index"]), pickle.loads(row["result"])
        except ray.exceptions.RayError as fault:  # one worker died, and all of the execution with it
            telemetry.event("units run alone", units=len(left), reason=type(fault).__name__)
            yield from self._tasks(units, [[place] for place in left], [], modules, wholes)

    def _start(self) -> None:
        guard_ray(self.settings, self.state)
        import ray

        if not ray.is_initialized():
            start_ray(self.settings, self.state)
            self.started = True
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False

    def close(self) -> None:
        """Shut down the Ray that this executor started."""
        if self.started:
            import ray

            ray.shutdown()
            self.started = False


def start_ray(settings: ExecutionSettings, state: Path) -> None:
    """Connect to the configured Ray, or start a local one sized for this machine, with a token below ``state``.

    Raises:
        NoRay: none answers, or none starts; says what to do.
    """
    guard_ray(settings, state)
    import ray

    address = settings.ray_address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}}, "log_to_driver": False,
    }  # fmt: skip
    if address:
        with telemetry.heartbeat(f"connecting to Ray at {address}"):
            try:
                ray.init(address=address, ignore_reinit_error=True, **options)
            except ConnectionError as fault:
                said = f"no Ray answers at {address} (execution.ray_address, or RAY_ADDRESS): {_first_line(fault)}"
                raise NoRay(said) from fault
        return
    options |= {
        "num_cpus": settings.cpus, "include_dashboard": False, "logging_level": "ERROR",
        "object_store_memory": settings.object_store_megabytes * 1024 * 1024,
    }  # fmt: skip
    with telemetry.heartbeat("starting Ray"):
        _start_local(options)


def _start_local(options: Mapping[str, Any]) -> None:
    """Start a Ray of this machine. One that has too little of a busy processor gives itself up after half a minute,
    which no option changes: it is started again."""
    import ray

    for attempt in range(1, STARTS + 1):
        try:
            ray.init(**options)
            return
        except Exception as fault:
            ray.shutdown()  # what had started of it
            if "timed out" not in str(fault):
                raise
            if attempt == STARTS:
                raise NoRay(
                    f"Ray was started {STARTS} times and did not come up in time: too much runs beside it. Run again "
                    f"when less does, or without Ray (execution.executor: local). It said: {_first_line(fault)}"
                ) from fault
            telemetry.log.warning(f"Ray did not come up in time, as on a busy machine; starting it again ({attempt})")


def _first_line(fault: Exception) -> str:
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]


def guard_ray(settings: ExecutionSettings, state: Path) -> None:
    """Give a Ray of our own a token below ``state``; by itself it would leave one in the home folder.

    Ray reads the mode when it is imported, so this comes first. A cluster, a mode that somebody chose, and a Ray that
    was imported before are left alone.
    """
    if settings.ray_address or os.environ.get("RAY_ADDRESS") or "RAY_AUTH_MODE" in os.environ or "ray" in sys.modules:
        return
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = state.absolute() / "ray_token"
    if not token.exists():
        with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)


@contextmanager
def ray_session(settings: ExecutionSettings, state: Path) -> Iterator[None]:
    """A Ray for the block: the one that runs already, or one that is started and shut down again."""
    guard_ray(settings, state)
    import ray

    if ray.is_initialized():
        yield
        return
    start_ray(settings, state)
    try:
        yield
    finally:
        ray.shutdown()


def executor_for(settings: Settings) -> LocalExecutor | RayExecutor:
    """The configured executor."""
    execution = settings.execution
    return RayExecutor(execution, Path(settings.state)) if execution.executor == "ray" else LocalExecutor(execution)
