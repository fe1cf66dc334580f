"""Where units run: in this process, or on Ray Data. Same function, same results.

A unit that fails with something transient is tried again after a pause; one that passes its time-out counts as
transient. A unit that fails for good gives a ``Failure``; the others go on.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from customer360.platform import telemetry
from customer360.platform.errors import TransientError, UnitTimeout
from customer360.platform.settings import ExecutionSettings, RetrySettings

TRANSIENT = (TransientError, ConnectionError, TimeoutError, InterruptedError)


class Unit(Protocol):
    """Anything picklable with a ``run``."""

    def run(self) -> Any: ...


@dataclass(frozen=True)
class Failure:
    """A unit that failed for good."""

    reason: str
    trace: str


def run_unit(unit: Unit, retry: RetrySettings) -> Any:
    """Run a unit with retries and a time-out; returns its result or a ``Failure``."""
    for attempt in range(1, retry.attempts + 1):
        try:
            with _deadline(retry.unit_timeout_seconds):
                return unit.run()
        except TRANSIENT as fault:
            if attempt == retry.attempts:
                return Failure(f"{type(fault).__name__}: {fault} (after {attempt} attempts)", traceback.format_exc())
            telemetry.event("trying again", attempt=attempt, reason=type(fault).__name__)
            time.sleep(retry.wait_seconds * attempt)
        except Exception as fault:  # noqa: BLE001 - reported to the driver, which fails the node with this reason
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


class LocalExecutor:
    """Runs units one after the other in this process."""

    def __init__(self, settings: ExecutionSettings):
        self.retry = settings.retry

    def map(self, units: Sequence[Unit]) -> Iterator[tuple[int, Any]]:
        for index, unit in enumerate(units):
            yield index, run_unit(unit, self.retry)

    def close(self) -> None:
        """Nothing to release."""


class RayExecutor:
    """Runs units through Ray Data: ``from_items(units).map_batches(run_unit)``, one Polars thread a worker."""

    def __init__(self, settings: ExecutionSettings):
        self.settings = settings
        self.started = False

    def map(self, units: Sequence[Unit]) -> Iterator[tuple[int, Any]]:
        if not units:
            return
        import ray

        self._start()
        retry = self.settings.retry

        def work(batch: dict[str, Any]) -> dict[str, list[Any]]:
            results = [pickle.dumps(run_unit(pickle.loads(u), retry)) for u in batch["unit"]]
            return {"index": list(batch["index"]), "result": results}

        items = [{"index": i, "unit": pickle.dumps(u)} for i, u in enumerate(units)]
        dataset = ray.data.from_items(items, override_num_blocks=len(items))
        mapped = dataset.map_batches(work, batch_size=1, num_cpus=self.settings.cpus_per_unit)
        for row in mapped.iter_rows():
            yield int(row["index"]), pickle.loads(row["result"])

    def _start(self) -> None:
        import ray

        if not ray.is_initialized():
            start_ray(self.settings)
            self.started = True
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False

    def close(self) -> None:
        """Shut down the Ray that this executor started."""
        if self.started:
            import ray

            ray.shutdown()
            self.started = False


def start_ray(settings: ExecutionSettings) -> None:
    """Connect to the configured Ray, or start a local one sized for this machine."""
    import ray

    address = settings.ray_address or os.environ.get("RAY_ADDRESS")
    environment = {"env_vars": {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}}
    if address:
        ray.init(address=address, runtime_env=environment, log_to_driver=False, ignore_reinit_error=True)
        return
    os.environ.setdefault("RAY_DISABLE_IMPORT_WARNING", "1")
    ray.init(
        num_cpus=settings.cpus,
        include_dashboard=False,
        object_store_memory=settings.object_store_megabytes * 1024 * 1024,
        runtime_env=environment,
        log_to_driver=False,
        logging_level="ERROR",
    )


def executor_for(settings: ExecutionSettings) -> LocalExecutor | RayExecutor:
    return RayExecutor(settings) if settings.executor == "ray" else LocalExecutor(settings)
