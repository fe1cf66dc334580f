"""Objects beside the tables, and the lock of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import obstore
import polars as pl
import pytest

from customer360.platform.errors import LakeLocked
from customer360.platform.lake import Lake
from customer360.platform.lake.objects import folder_store, put_in_folder, sweep_staged
from customer360.platform.tables import String, Table


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


def test_an_object_that_cannot_be_written_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        put_in_folder(str(tmp_path), "a/b.json", b"{}")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    own, gone, new = (tmp_path / f"x.json#{pid:010}77" for pid in (os.getpid(), 4_000_001, 4_000_002))
    before = tmp_path / "x.json#31234140237890123456"  # of a release that did not fill up the number of the process
    for path in (own, gone, new, before, tmp_path / "y#1.csv"):
        path.write_text("half")
    for path in (own, gone, before):
        os.utime(path, (1, 1))
    assert sweep_staged(str(tmp_path)) == 2
    assert not gone.exists() and not before.exists() and own.exists() and new.exists()


def test_a_root_that_leads_elsewhere_now_is_followed(tmp_path: Path) -> None:
    blue, green, root = tmp_path / "blue", tmp_path / "green", tmp_path / "live"
    for folder in (blue, green):
        folder.mkdir()
    root.symlink_to(blue)
    obstore.put(folder_store(str(root)), "one.json", b"1")
    root.unlink()
    root.symlink_to(green)
    obstore.put(folder_store(str(root)), "two.json", b"2")
    assert (blue / "one.json").exists() and (green / "two.json").exists()


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


@pytest.mark.parametrize("way", ["put", "lock", "table"])
def test_a_lake_that_is_made_is_read_by_its_owner_alone(tmp_path: Path, registries: None, way: str) -> None:
    root = tmp_path / "made" / "lake"
    lake = Lake(str(root), buckets=1)
    if way == "put":
        lake.put("_runs/1.json", b"{}")
    elif way == "lock":
        with lake.run_lock("run"):
            pass
    else:

        class Told(Table, table="silver.t_told"):
            """One row per thing."""

            thing = String(primary_key=True)

        lake.ensure(Told)
        lake.write_file("silver.t_told", pl.DataFrame({"thing": ["x"]}), {})
    assert root.stat().st_mode & 0o077 == 0
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o750)
    Lake(str(shared), buckets=1).put("_runs/1.json", b"{}")
    assert shared.stat().st_mode & 0o777 == 0o750, "who made it said who reads it"
