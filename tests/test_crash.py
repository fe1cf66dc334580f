"""Killed at any moment and run again, the retailer's tables are what they would have been (law 7).

The slow tests kill real processes with SIGKILL. This file, run as a script, is the driver that they talk to: it loads
the platform once and forks a child for each run, so that hundreds of deaths cost little more than the runs themselves.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from customer360.platform import lake as lakes
from customer360.platform import ledger

PEOPLE, DAYS = 20, 28
OPTIONS = {"LAKE__BUCKETS": 2, "LAKE__FOLD_FILES": 2}
LATER = ("web/events", "pos/transactions", "shop/customers")  # their last file comes with the second batch
RANDOM_MOMENTS, SEED = 6, 20260630
STEP = int(os.environ.get("CUSTOMER360_CRASH_STEP", "10"))  # of the named points each so-manieth is tried; 1: all
CHAINS = 6  # lakes over which the named points are dealt; each dies at every sixth, and goes on from there


def held(site: Any) -> dict[str, Any]:
    """What must be equal: a digest of the rows of each table, and how often each batch of a source was committed."""
    found: dict[str, Any] = {
        name: [len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()]
        for name, rows in site.business().items()
    }
    for name, source in site.settings.sources.items():
        batches = [[b.seq, [piece.name for piece in b.inputs]] for b in ledger.batches(site.lake, name)]
        commits = [
            sum(c.get("customer360.app") == f"batch:{name}" for c in site.lake.history(table))
            for table in (source.table, "quality.dead_letters")
            if site.lake.exists(table)
        ]
        found[f"source {name}"] = [batches, commits]
    return found


# ---- the driver, in a process of its own
# --------------------------------------------------------------------------------


def drive() -> None:
    """Answer requests, one JSON object a line: run below ``root``, die at the point ``kill_at`` or after ``seconds``.

    The answer has ``killed``, the ``points`` that were passed (where it was not) and what is ``held`` then.
    """
    from conftest import open_site  # beside this file

    from customer360.serve.compose import compose

    compose()
    for line in sys.stdin:
        request = json.loads(line)
        answer = Path(request["root"]) / "answer.json"
        child = os.fork()
        if not child:
            code = 1
            try:
                _child(open_site(Path(request["root"]), **OPTIONS), request.get("kill_at"), answer)
                code = 0
            except BaseException:  # noqa: BLE001 - the child must not go on as a second driver
                traceback.print_exc()
            finally:
                os._exit(code)
        if request.get("seconds") is not None:
            time.sleep(request["seconds"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        said = {"killed": killed, "failed": not killed and os.waitstatus_to_exitcode(status) != 0}
        if not killed and not said["failed"]:
            said |= json.loads(answer.read_text())
        print(json.dumps(said), flush=True)


def _child(site: Any, kill_at: str | None, answer: Path) -> None:
    from customer360.serve import jobs

    points: list[str] = []

    def observer(point: str) -> None:
        points.append(point)
        if point == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    lakes.observers.append(observer)
    began = time.perf_counter()
    site.run()
    jobs.publish(site.settings)
    seconds = time.perf_counter() - began
    answer.write_text(json.dumps({"points": points, "seconds": seconds, "held": held(site)}))


# ---- the tests' side
# ------------------------------------------------------------------------------------------------------


class Drivers:
    """Two drivers; each request goes to one that is free."""

    def __init__(self, log: Path):
        self.log = log
        self.free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        environment = os.environ | {"POLARS_MAX_THREADS": "1", "PYTHONWARNINGS": "default"}
        self.all = [
            subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log.open("a"),
                text=True,
                env=environment,
            )
            for _ in range(2)
        ]
        for process in self.all:
            self.free.put(process)

    def ask(self, root: Path, **request: Any) -> dict[str, Any]:
        process = self.free.get()
        try:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps({"root": str(root), **request}) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
        finally:
            self.free.put(process)
        assert not answer["failed"], f"the run below {root} failed:\n{self.log.read_text()[-4000:]}"
        return answer

    def close(self) -> None:
        for process in self.all:
            assert process.stdin and process.stdout
            process.stdin.close()
            process.wait(timeout=60)
            process.stdout.close()


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    made = Drivers(tmp_path_factory.mktemp("drivers") / "log")
    yield made
    made.close()


@pytest.fixture(scope="module")
def origin(
    site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """The raw files, not yet landed."""
    return site(raw_retailer(PEOPLE, DAYS), **OPTIONS).copy(tmp_path_factory.mktemp("crash") / "origin")


# ---- in this process --------------------------------------------------------------------------------


END = "silver.transactions"
DEATHS = (
    "before manifest web_events/1", "after manifest web_events/1", "after write bronze pos_customers", "after commit quality.dead_letters",  # noqa: E501
    "after commit bronze.events", "after write silver.customer_records", "after commit silver.customer_records", "before commit silver.identities",  # noqa: E501
    "before commit silver.transactions",
)  # fmt: skip


class Crash(BaseException):
    """The process dies: nothing in the platform may catch it."""


@contextmanager
def dying_at(point: str) -> Iterator[None]:
    """Raise ``Crash`` at the first point of that name."""

    def observer(reached: str) -> None:
        if reached == point:
            raise Crash(point)

    lakes.observers.append(observer)
    try:
        yield
    finally:
        lakes.observers.remove(observer)


@pytest.fixture(scope="module")
def undisturbed(origin: Any) -> dict[str, Any]:
    """What is held after a run that nothing disturbs, as far as ``END``."""
    calm = origin.copy(origin.root.parent / "calm")
    calm.run(end=END)
    return held(calm)


def test_a_run_that_dies_again_and_again_is_finished_by_the_next(
    origin: Any, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    site = origin.copy(tmp_path / "site")
    for point in DEATHS:
        with dying_at(point), pytest.raises(Crash, match=point):
            site.run(end=END)
    site.run(end=END)
    assert held(site) == undisturbed
    assert site.lake.objects("_staging") == []


# ---- kill -9
# --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calm(origin: Any, drivers: Drivers) -> tuple[Any, dict[str, Any]]:
    """A whole run with publication that nothing disturbs: its site, and the answer with its points and what is held
    then.
    """
    site = origin.copy(origin.root.parent / "whole")
    answer = drivers.ask(site.root)
    return site, answer


COUNTED = " quality.repairs"  # of what a run built: one that finds all built by a run that died counts nothing


def _dies_everywhere(start: Any, points: list[str], drivers: Drivers, folder: Path) -> list[dict[str, Any]]:
    """What each of some copies of a site holds that died at its share of the points, one after the other."""

    def chain(number: int) -> dict[str, Any]:
        site = start.copy(folder / str(number))
        for point in points[number::CHAINS]:
            if point.endswith(COUNTED):
                continue
            assert drivers.ask(site.root, kill_at=point)["killed"], f"{point} was not reached"
        held_then: dict[str, Any] = drivers.ask(site.root)["held"]
        return held_then

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(chain, range(CHAINS)))


@pytest.mark.slow
def test_killed_at_named_points_of_a_first_run(
    origin: Any, drivers: Drivers, calm: tuple[Any, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = list(dict.fromkeys(calm[1]["points"]))
    kinds = {re.sub(r" bronze .*| [a-z0-9_]+(?:/|\.).*", "", point) for point in points}
    assert kinds == {
        "before manifest",
        "after manifest",
        "before schema",
        "after schema",
        "after write",
        "before commit",
        "after commit",
        "after note of fold",
        "before publication",
        "after publication",
    }
    tried = points[::STEP]
    for number, found in enumerate(_dies_everywhere(origin, tried, drivers, tmp_path)):
        assert found == calm[1]["held"], f"{tried[number::CHAINS]}: {_difference(found, calm[1]['held'])}"
    with capsys.disabled():
        print(f"\nfirst run: killed at {len(tried)} of {len(points)} points")


@pytest.mark.slow
def test_killed_at_named_points_of_a_second_batch(
    drivers: Drivers, calm: tuple[Any, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = calm[0].copy(tmp_path / "start")
    for folder in LATER:
        file = max((site.landing / folder).iterdir())
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        lines = data.decode("utf-8", "replace").splitlines()
        new = [lines[0], *lines[2:6]] if file.suffix == ".csv" else lines[1:5]
        site.deliver(
            f"{folder}/later{''.join(file.suffixes)}", [re.sub(r"(V|S|T|P)0+(\d+)", r"\g<1>9\2", line) for line in new]
        )
    whole = site.copy(tmp_path / "whole")
    expected = drivers.ask(whole.root)
    points = list(dict.fromkeys(expected["points"]))[STEP // 2 :: 2 * STEP]  # other ones than in the first run
    assert expected["held"] != calm[1]["held"] and len(points) > 10
    for number, found in enumerate(_dies_everywhere(site, points, drivers, tmp_path)):
        assert found == expected["held"], f"{points[number::CHAINS]}: {_difference(found, expected['held'])}"
    with capsys.disabled():
        print(f"\nsecond batch: killed at {len(points)} points")


@pytest.mark.slow
def test_killed_at_random_moments(
    origin: Any, drivers: Drivers, calm: tuple[Any, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = random.Random(SEED)
    moments = [generator.uniform(0.0, calm[1]["seconds"]) for _ in range(RANDOM_MOMENTS)]

    def killed(number: int) -> tuple[bool, dict[str, Any]]:
        site = origin.copy(tmp_path / str(number))
        died: bool = drivers.ask(site.root, seconds=moments[number])["killed"]
        return died, drivers.ask(site.root)["held"]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(killed, range(RANDOM_MOMENTS)))
    for moment, (_, then) in zip(moments, found, strict=True):
        assert then == calm[1]["held"], f"after {moment:.2f} s: {_difference(then, calm[1]['held'])}"
    deaths = sum(died for died, _ in found)
    assert deaths >= RANDOM_MOMENTS // 2
    with capsys.disabled():
        print(f"\nkilled at {deaths} of {len(moments)} random moments")


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {k: (found.get(k), expected.get(k)) for k in {*found, *expected} if found.get(k) != expected.get(k)}


if __name__ == "__main__":
    drive()
