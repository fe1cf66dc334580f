"""A load that is killed with SIGKILL, at any of its points: the next one gives the tables that a calm one gives.

This file, run as a script, is the process that dies: it loads the star of ``conftest`` below a folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from customer360.platform import lake as lakes
from customer360.platform.lake import Lake
from customer360.platform.warehouse.load import load

POINTS = (
    "before merge t_star.t_dim_people",
    "after merge t_star.t_fact_editions",
    "before merge t_star.t_fact_receipts",
    "before commit warehouse",
    "after commit warehouse",
)


def die(root: Path, at: str) -> None:
    from conftest import declare  # beside this file

    def observer(point: str) -> None:
        if point == at:
            os.kill(os.getpid(), signal.SIGKILL)

    declare()
    lakes.observers.append(observer)
    load(Lake(str(root / "lake"), {}, 4), root / "warehouse.duckdb")


def killed(root: Path, at: str) -> None:
    done = subprocess.run([sys.executable, __file__, str(root), at], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, f"{at} was not reached: {done.stderr}"


def held(file: Path) -> dict[str, list[str]]:
    with duckdb.connect(str(file), read_only=True) as star:
        names = star.execute("SELECT table_name FROM loads.tables ORDER BY 1").fetchall()
        found = {n: sorted(map(str, star.execute(f"FROM {n}").fetchall())) for (n,) in names}
        parts = star.execute("SELECT * EXCLUDE loaded_at FROM loads.parts").fetchall()
    return found | {"parts": sorted(map(str, parts))}


@pytest.mark.slow
def test_a_star_whose_loads_are_killed_again_and_again_is_finished_by_the_next(small: Any, tmp_path: Path) -> None:
    file, calm = tmp_path / "warehouse.duckdb", tmp_path / "calm.duckdb"
    for point in POINTS[1:4:2]:
        killed(tmp_path, point)
    load(small.lake, file)
    load(small.lake, calm)
    assert held(file) == held(calm)
    small.people("ann", "cid")
    small.receipts([("r1", "ann", "2.50"), ("r2", "cid", "1.00"), ("r9", None, "4.00")])
    small.edition(date(2026, 1, 1), {"ann": 1})
    small.edition(date(2026, 2, 1), {"ann": 3, "cid": 4})
    for point in POINTS:
        killed(tmp_path, point)
    # The last one died after its commit. In this process the declaring module has another name, so parts are read
    # again.
    assert [t.changed for t in load(small.lake, file).tables] == [0, 0, 0]
    load(small.lake, calm)
    assert held(file) == held(calm)


if __name__ == "__main__":
    die(Path(sys.argv[1]), sys.argv[2])
