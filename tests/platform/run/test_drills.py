"""Recovery drills: what can happen to a lake's disk and clock, the command that mends it, and that nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import lake as lakes
from customer360.platform import ledger
from customer360.platform.errors import Customer360Error
from customer360.platform.lake import Lake
from customer360.platform.lake.damage import UNREADABLE
from customer360.platform.run import upkeep

ROOM = "4m"  # of the small disk; an undisturbed run needs a tenth


def rounds(shop: Any) -> dict[str, list[str]]:
    """What an undisturbed lake holds after both deliveries."""
    shop.run()
    deliver(shop)
    shop.run()
    found: dict[str, list[str]] = shop.business()
    return found


def deliver(shop: Any) -> None:
    shop.orders("2.csv", "o9,ann,7,1.00,1", "o1,ann,5,10.00,2")


@pytest.fixture
def wanted(filled: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What comes out where nothing happens, made in a copy of the lake; the shop itself has had its first run."""
    kept = tmp_path_factory.mktemp("kept") / "landing"
    shutil.copytree(filled.root / "landing", kept)
    found = rounds(filled)
    shutil.rmtree(filled.root)
    shutil.copytree(kept, filled.root / "landing")
    filled.run()
    return found


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8, 13])
def test_a_full_disk_at_any_write_loses_nothing(
    filled: Any, wanted: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    deliver(filled)
    count, put = 0, Lake.put

    def full(self: Lake, path: str, data: bytes, *, create: bool = False) -> bool:
        nonlocal count
        count += 1
        if count >= nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(self, path, data, create=create)

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "put", full)
        with pytest.raises((Customer360Error, *UNREADABLE)):
            filled.run()
    filled.run()
    assert filled.business() == wanted


@pytest.fixture
def small_disk(filled: Any) -> Iterator[Path]:
    """The lake on a disk of its own with little room; needs the right to mount one."""
    home = Path(filled.lake.root)
    home.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", home], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    yield home
    subprocess.run(["umount", "-l", home], check=True)


def test_a_disk_that_is_really_full_loses_nothing(filled: Any, small_disk: Path) -> None:
    """Ever less room, as far as none: whatever part of a run found place, the next run with room goes on from it."""
    wanted = rounds(filled)
    failed = 0
    for room in (0, 4_096, 16_384, 40_960, 81_920, 163_840):
        for entry in small_disk.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        (filled.root / "landing" / "orders" / "2.csv").unlink()
        filled.run()
        deliver(filled)
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(max(shutil.disk_usage(small_disk).free - room, 0)))
        try:
            filled.run()
        except (Customer360Error, *UNREADABLE) as fault:
            failed += 1
            assert str(fault)
        ballast.unlink()
        filled.run()
        assert filled.business() == wanted, room
    assert failed >= 2


@pytest.mark.parametrize("how", ["cut", "empty", "other bytes", "gone"])
def test_a_damaged_commit_of_a_table_is_mended_by_building_it_anew(
    filled: Any, wanted: dict[str, list[str]], how: str
) -> None:
    """The documented way: move the folder of the table away, build it with `--full-refresh`."""
    deliver(filled)
    filled.run()
    folder = Path(filled.lake.uri("silver.t_totals"))
    commit = sorted((folder / "_delta_log").glob("*.json"))[-1]
    data = commit.read_bytes()
    _ = (
        commit.unlink()
        if how == "gone"
        else commit.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "other bytes": b"\xff" * len(data)}[how])
    )
    shutil.move(folder, filled.root / "moved away")
    filled.run(refresh=("silver.t_totals",))
    assert filled.business() == wanted


@pytest.mark.parametrize("jump", [timedelta(days=3650), timedelta(days=-3650)], ids=["ahead", "back"])
def test_a_clock_that_jumps_changes_no_result(
    filled: Any, wanted: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    """A run under a wrong clock, then one under the right one: the same tables, and both in the history."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + jump

    deliver(filled)
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "datetime", Wrong)
        patched.setattr(upkeep, "datetime", Wrong)
        patched.setattr(lakes.time, "time", lambda clock=time.time: clock() + jump.total_seconds())
        filled.run()
    filled.run()
    assert filled.business() == wanted
    assert len(ledger.runs(filled.lake, 10)) == 3
