"""A run on a database is killed with SIGKILL at every named point, and at random moments; run again, nothing is lost or
doubled. This file, run as a script, is the process that forks a child for each run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import lake as lakes
from customer360.platform.tables import Integer, String, Table

STRATEGIES: dict[str, dict[str, Any]] = {
    "incremental": {"strategy": "incremental", "column": "N", "lag": 3},
    "ranges": {"partition": {"by": "N", "parts": 3}},
    "micro_batch": {"strategy": "micro_batch", "column": "N", "lag": 3, "batch_size": 4},
}
MOMENTS, SEED = 2, 20260630


def land(root: Path, strategy: str) -> None:
    import customer360.platform.run as runs
    from customer360.platform.run import RunRequest
    from customer360.platform.settings import Settings

    source = {"table": "bronze.t_killed", "system": "LAB", "kind": "database", "connection": "db", "relation": "ticks"}
    settings = Settings.model_validate({
        "landing": str(root), "lake": {"root": str(root / "lake"), "buckets": 2}, "state": str(root / "state"),
        "execution": {"executor": "local"},
        "connections": {"db": {"kind": "sqlalchemy", "url": f"sqlite:///{root / 'ticks.db'}"}},
        "sources": {"ticks": {**source, **STRATEGIES[strategy]}},
    })  # fmt: skip
    runs.run(settings, RunRequest(end="bronze.t_killed"), rules={})


def declare() -> None:
    class Killed(Table, table="bronze.t_killed", key=("N",)):
        """One row per number."""

        N = Integer()
        NAME = String(nullable=True)


def child(request: dict[str, Any]) -> None:
    """One run below a folder, which dies at a point; where it does not, the points that it passed are written down."""
    points: list[str] = []

    def observer(point: str) -> None:
        points.append(point)
        if point == request.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    root = Path(request["root"])
    lakes.observers.append(observer)
    land(root, request["strategy"])
    (root / "points.json").write_text(json.dumps(points))


def drive() -> None:
    declare()
    for line in sys.stdin:
        request = json.loads(line)
        forked = os.fork()
        if not forked:
            child(request)
            os._exit(0)
        if "seconds" in request:
            time.sleep(request["seconds"])
            os.kill(forked, signal.SIGKILL)
        _, status = os.waitpid(forked, 0)
        print(json.dumps("killed" if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)), flush=True)


class Driver:
    def __init__(self, root: Path, strategy: str):
        self.root, self.strategy, self.last = root, strategy, 0
        log = (root / "log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        self.execute("CREATE TABLE ticks (N integer, NAME text)")

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"root": str(self.root), "strategy": self.strategy, **request}) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        assert said in (0, "killed"), (self.root / "log").read_text()[-3000:]
        return said

    def execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.root / "ticks.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def more(self) -> None:
        rows = ", ".join(f"({n}, 'tick {n}')" for n in range(self.last + 1, self.last + 6))
        self.execute(f"INSERT INTO ticks VALUES {rows}", f"UPDATE ticks SET NAME = 'new' WHERE N = {self.last}")
        self.last += 5

    def check(self, where: str) -> None:
        """Run to the end; each row stands as it is in the database, and each was landed once by a batch."""
        for _ in range(2):
            assert self.ask() == 0
        commits = lakes.Lake(str(self.root / "lake"), {}, 2)
        held = commits.scan("bronze.t_killed").collect().sort("_seq", "_file", "_position")
        with closing(sqlite3.connect(self.root / "ticks.db")) as connection:
            now = dict(connection.execute("SELECT N, NAME FROM ticks").fetchall())
        assert dict(held.select("N", "NAME").rows()) == now, where
        assert not held.select("_seq", "N").is_duplicated().any(), where


@pytest.fixture
def driver(tmp_path: Path, request: pytest.FixtureRequest, registries: None) -> Iterator[Driver]:
    declare()
    made = Driver(tmp_path, request.param)
    yield made
    assert made.process.stdin and made.process.stdout
    made.process.stdin.close()
    made.process.wait(timeout=60)
    made.process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("driver", STRATEGIES, indirect=True)
def test_killed_anywhere_nothing_is_lost_or_doubled(driver: Driver) -> None:
    driver.more()
    began = time.perf_counter()
    driver.ask()
    whole = time.perf_counter() - began
    passed = dict.fromkeys(json.loads((driver.root / "points.json").read_text()))
    points = [
        point for point in passed if ("ticks" in point or "t_killed" in point) and " schema " not in point
    ]  # known by then
    assert len(points) >= 4
    for point in points:
        batches = list((driver.root / "lake" / "_batches" / "ticks").glob("*.json"))
        driver.more()
        point = point.replace("ticks/1", f"ticks/{len(batches) + 1}")
        assert driver.ask(kill_at=point) == "killed", f"{point} was not passed"
        driver.more()
        driver.check(point)
    moments = random.Random(SEED)
    for _ in range(MOMENTS):
        driver.more()
        driver.ask(seconds=moments.uniform(0, whole))
        driver.more()
        driver.check("a random moment")


if __name__ == "__main__":
    drive()
