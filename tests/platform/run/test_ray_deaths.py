"""A worker of Ray is killed in the middle of an execution of Ray Data: every unit has one result, made whole."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from customer360.platform.run import executor as executors
from customer360.platform.run.executor import Failure, RayExecutor
from customer360.platform.settings import ExecutionSettings, RetrySettings

UNITS = 8
# A module of its own, which the workers import, too: they are processes that know nothing of tests.
UNIT = '''
import os, signal
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class Deadly:
    """Writes its number down; kills its worker as often as there are marks of that left to make."""

    folder: Path
    number: int
    deaths: int = 0

    def run(self):
        for death in range(self.deaths):
            mark = self.folder / f"died-{self.number}-{death}"
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / str(self.number)).write_text("done")
        return self.number
'''


@pytest.mark.slow
@pytest.mark.parametrize(("deaths", "is_lost"), [(1, False), (999, True)])
def test_a_worker_that_is_killed_costs_no_other_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, is_lost: bool
) -> None:
    ray = pytest.importorskip("ray")
    (tmp_path / "deadly_unit.py").write_text(UNIT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    deadly = importlib.import_module("deadly_unit")
    monkeypatch.setattr(executors, "FEW", 4)  # so that they go through Ray Data
    settings = ExecutionSettings(executor="ray", cpus=2, cpus_per_unit=0.5, retry=RetrySettings(attempts=1))
    executor = RayExecutor(settings, tmp_path / "state")
    units = [deadly.Deadly(tmp_path, number, deaths if number == 5 else 0) for number in range(UNITS)]
    try:
        found = dict(executor.map(units))
    finally:
        executor.close()
        assert not ray.is_initialized()
    lost = {place for place, result in found.items() if isinstance(result, Failure)}
    assert sorted(found) == list(range(UNITS)), "each once"
    assert lost == ({5} if is_lost else set())
    assert all((tmp_path / str(place)).exists() for place in found if place not in lost)
    assert not is_lost or "its worker is gone" in found[5].reason
