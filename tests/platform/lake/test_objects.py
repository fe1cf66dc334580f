"""Objects beside the tables, and the lock of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from customer360.platform.errors import LakeLocked
from customer360.platform.lake import Lake


def test_put_creates_only_once(lake: Lake) -> None:
    assert lake.put("a/b.json", b"1", create=True)
    assert not lake.put("a/b.json", b"2", create=True)
    assert lake.get("a/b.json") == b"1"
    assert lake.put("a/b.json", b"3")
    assert lake.get("a/b.json") == b"3"


def test_objects_are_listed_below_a_folder_and_deleted(lake: Lake) -> None:
    for path in ("_batches/shop/2.json", "_batches/shop/1.json", "_batches/shop_b/1.json"):
        lake.put(path, b"{}")
    assert lake.objects("_batches/shop") == ["_batches/shop/1.json", "_batches/shop/2.json"]
    assert lake.objects("_none") == []
    lake.delete(lake.objects("_batches/shop"))
    assert (lake.objects("_batches/shop"), lake.objects("_batches")) == ([], ["_batches/shop_b/1.json"])
    assert lake.get("_batches/shop/1.json") is None


def test_run_lock_excludes_this_process_and_names_the_holder(lake: Lake) -> None:
    with lake.run_lock("first"), pytest.raises(LakeLocked, match="first"), lake.run_lock("second"):
        pass
    with lake.run_lock("third"):
        pass


HOLD = """
import sys, time
from customer360.platform.lake import Lake
with Lake(sys.argv[1]).run_lock("the other process"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_run_lock_excludes_another_process_until_it_dies(lake: Lake) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, lake.root], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            with pytest.raises(LakeLocked, match="the other process"), lake.run_lock("mine"):
                pass
        finally:
            holder.kill()
    with lake.run_lock("mine"):
        pass


@pytest.mark.parametrize("create", [False, True])
def test_what_people_asked_for_is_on_the_disk_before_it_is_said_to_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    settled: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        settled.append(str(Path(f"/proc/self/fd/{descriptor}").resolve()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    lake = Lake(str(tmp_path))
    lake.put("_batches/pos/1.json", b"{}", create=create)
    assert settled == []
    for path in ("_rights/restricted/1.json", "_erasures/secret"):
        lake.put(path, b"{}", create=create)
        above = [str(place) for place in (tmp_path / path).parents if place.is_relative_to(tmp_path)]
        assert set(above) <= set(settled) and any(place.startswith(str(tmp_path / path)) for place in settled)
