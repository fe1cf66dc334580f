"""A run that dies at any point, followed by a run, gives the tables of one that did not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import customer360.platform.run as runs
from customer360.platform import lake as lakes
from customer360.platform import ledger
from customer360.platform.ledger import Run
from customer360.platform.run import exchange


class Crash(BaseException):
    """The process dies: nothing in the platform may catch it."""


def crash_at(number: int) -> Callable[[str], None]:
    left = [number]

    def observer(point: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash(point)

    return observer


def changed(shop: Any) -> None:
    """What arrives after the first run: a new version, a duplicate, a refused row, a dead letter, new clicks."""
    shop.orders("2.csv", "o1,ann,9,10.00,2", shop.FIRST[1], "o7,bob,0,1.00,1", "o8,new,1,1.00,1", "broken")
    shop.clicks("2.json", {"CLICK_ID": "c3", "SUBJECT_ID": "ann"})


def crash_everywhere(origin: Any, tmp_path: Path, first: int, step: int) -> int:
    """From the state of ``origin``: crash at each ``step``-th point of a run, run again, compare with no crash."""
    expected = None
    number, crashed = first, True
    while crashed:
        root = tmp_path / f"crash-{number}"
        shutil.copytree(origin.root, root)
        shop = origin.at(root)
        crashed = False
        lakes.observers.append(crash_at(number))
        try:
            shop.run()
        except Crash:
            crashed = True
        finally:
            lakes.observers.clear()
        nodes = shop.run()
        assert set(shop.states(nodes).values()) <= {"built", "current"}
        if expected is None:
            clean = tmp_path / "clean"
            shutil.copytree(origin.root, clean)
            whole = origin.at(clean)
            whole.run()
            expected = whole.business()
        assert shop.business() == expected, f"crash at point {number}"
        assert shop.lake.objects("_staging") == []
        shutil.rmtree(root)
        number += step
    return number


@pytest.fixture
def arrived(filled: Any, tmp_path: Path) -> Any:
    origin = filled.at(tmp_path / "origin")
    shutil.copytree(filled.root / "landing", origin.root / "landing", dirs_exist_ok=True)
    origin.run()
    changed(origin)
    return origin


def test_a_crash_at_any_point_then_a_run_gives_the_same_tables(arrived: Any, tmp_path: Path) -> None:
    assert crash_everywhere(arrived, tmp_path, 0, 8) > 30


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 8))
def test_a_crash_at_every_other_point(arrived: Any, tmp_path: Path, first: int) -> None:
    crash_everywhere(arrived, tmp_path, first, 8)


@pytest.mark.slow
def test_a_crash_at_every_point_of_an_exchange_and_of_a_first_run(
    filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "carried_bytes", lambda job, table: 600 * 1024 * 1024)
    origin = filled.at(tmp_path / "origin")
    shutil.copytree(filled.root / "landing", origin.root / "landing", dirs_exist_ok=True)
    changed(origin)
    assert crash_everywhere(origin, tmp_path, 0, 1) > 40


def test_a_run_that_crashed_is_recorded(filled: Any) -> None:
    lakes.observers.append(crash_at(8))
    with pytest.raises(Crash):
        filled.run()
    lakes.observers.clear()
    found: list[Run] = ledger.runs(filled.lake)
    assert len(found) == 1 and (found[0].exit_code, found[0].error) == (runs.STOPPED, "Crash")
