"""What a figure was measured under: seconds, memory of the process tree, cores, load and versions."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

SAMPLE_SECONDS = 0.1


class Measured(NamedTuple):
    """``result`` of a call, its wall ``seconds``, and of this process with its children the largest memory in GiB and
    the ``cpu`` seconds, which tell more than the wall on a machine that others use, too."""

    result: Any
    seconds: float
    peak: float
    cpu: float


def measured(work: Callable[[], Any]) -> Measured:
    """Run ``work`` once under the clock, its process tree sampled from /proc every ``SAMPLE_SECONDS``."""
    peak, done = [tree_memory()], threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak.append(tree_memory())

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    cpu, start = tree_cpu(), perf_counter()
    try:
        result = work()
    finally:
        seconds, cpu = perf_counter() - start, tree_cpu() - cpu
        done.set()
        sampler.join()
    return Measured(result, seconds, max(peak) / 2**30, cpu)


def tree() -> set[int]:
    """Process ids of this process and all its descendants."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _read(folder / "stat")):
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def tree_cpu() -> float:
    """CPU seconds of the process tree, ended children included."""
    stats = (_read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split() for pid in tree())
    return sum(int(ticks) for stat in stats if stat for ticks in stat[11:15]) / os.sysconf("SC_CLK_TCK")


def tree_memory() -> int:
    """Bytes in memory of this process and all its descendants; shared pages (Ray's object store) count once, at their
    largest.
    """
    private, shared = 0, [0]
    for pid in tree():
        lines = dict(
            line.split(":", 1) for line in _read(Path(f"/proc/{pid}/status")).splitlines() if line.startswith("Rss")
        )
        sizes = {key: int(value.split()[0]) * 1024 for key, value in lines.items()}
        private += sizes.get("RssAnon", 0)
        shared.append(sizes.get("RssShmem", 0))
    return private + max(shared)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""  # it ended, or is not ours


def conditions(*packages: str) -> str:
    """One line: date, cores, load average, Python and the packages' versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, load {load} (1, 5, 15 min), "
        f"Python {platform.python_version()}, {versions}"
    )
