"""Copies of the logs of tables in an object store say what the logs say, and one run asks for each once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import obstore
import polars as pl
import pytest
from deltalake import DeltaTable

from customer360.platform import tables
from customer360.platform.lake import Lake, mirror
from customer360.platform.lake.opened import alone, at_one_look, is_stored, look_together, opened, outdate
from customer360.platform.tables import Integer, Table

NAME, ROOT = "silver.t_marks", "s3://lake/house"
URI = f"{ROOT}/silver/t_marks"


@pytest.fixture
def marks(registries: None, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake in a folder, which the copies take for one in an object store."""

    class Marks(Table, table=NAME):
        """One row per mark."""

        id = Integer()

    def stored(root: str, options: object) -> obstore.store.ObjectStore:
        assert root == ROOT
        return obstore.store.LocalStore(lake.root, mkdir=True)

    monkeypatch.setattr(mirror, "remote_store", stored)
    lake.ensure(Marks)
    return lake


def mark(lake: Lake, *numbers: int, version: int = 1) -> None:
    adds = [lake.write_file(NAME, pl.DataFrame({"id": [n]}, schema={"id": pl.Int64}), {}) for n in numbers]
    lake.replace(NAME, adds, scope={}, app="node:x", app_version=version)


def test_a_copy_says_what_the_log_says_after_each_commit(marks: Lake) -> None:
    assert opened(URI, {}).files() == []
    for version, numbers in enumerate(((1, 2), (2, 3), (4,)), 1):
        mark(marks, *numbers, version=version)
        found = opened(URI, {})
        assert found.files() == marks.files(NAME)
        assert (found.table.version(), found.transaction("node:x")) == (marks.version(NAME), version)


def test_a_table_that_is_gone_or_made_anew_is_seen(marks: Lake) -> None:
    mark(marks, 1, 2)
    assert is_stored(URI, {}) and len(opened(URI, {}).files()) == 2
    shutil.rmtree(Path(marks.uri(NAME)))
    assert not is_stored(URI, {}) and not is_stored(f"{ROOT}/silver/t_none", {})
    Lake(marks.root).ensure(tables.by_name(NAME))
    assert is_stored(URI, {}) and opened(URI, {}).files() == []


def test_commits_that_a_checkpoint_stands_for_are_left_out_but_the_newest(
    marks: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "COMMITS", 2)
    for version in range(1, 6):
        mark(marks, version, version=version)
    marks.delta(NAME).create_checkpoint()
    mark(marks, 7, version=7)
    found = opened(URI, {})
    copied = sorted(p.name for p in (mirror.folder_of(URI) / "_delta_log").iterdir())
    assert copied == [f"{5:020}.checkpoint.parquet", f"{5:020}.json", f"{6:020}.json"]
    assert found.files() == marks.files(NAME) and found.transaction("node:x") == 7


def test_who_holds_the_run_lock_asks_once_and_after_its_own_commits(
    marks: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    whole = mirror.refresh

    def refresh(uri: str, options: dict[str, str]) -> None:
        asked.append(uri)
        whole(uri, options)

    monkeypatch.setattr(mirror, "refresh", refresh)
    opened(URI, {}), opened(URI, {})
    assert asked == [URI] * 2
    with alone(ROOT):
        look_together([URI], {})
        opened(URI, {}), opened(URI, {}), is_stored(URI, {})
        assert asked == [URI] * 3
        mark(marks, 5)
        outdate(URI)
        assert len(opened(URI, {}).files()) == 1 and asked == [URI] * 4
    mark(marks, 5, 6, version=2)
    assert len(opened(URI, {}).files()) == 2 and asked == [URI] * 5


def test_within_one_look_a_table_is_as_it_was_looked_at(marks: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    whole, none = mirror.refresh, f"{ROOT}/silver/t_none"

    def refresh(uri: str, options: dict[str, str]) -> None:
        asked.append(uri)
        whole(uri, options)

    monkeypatch.setattr(mirror, "refresh", refresh)
    with at_one_look([URI, none], {}):
        assert is_stored(URI, {}) and opened(URI, {}).files() == [] and not is_stored(none, {})
        mark(marks, 1)
        assert opened(URI, {}).files() == [] and sorted(asked) == [URI, none]
        with alone(ROOT):
            assert len(opened(URI, {}).files()) == 1, "who holds the lock sees what came before it"
    assert len(opened(URI, {}).files()) == 1 and len(asked) == 4
    mark(marks, 1, 2, version=2)
    with at_one_look([URI], {}):
        assert len(opened(URI, {}).files()) == 2


def test_a_fault_of_a_look_is_told_to_who_reads_that_table(marks: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, whole = f"{ROOT}/silver/t_bad", mirror.refresh

    def refresh(uri: str, options: dict[str, str]) -> None:
        if uri == bad:
            raise ConnectionError(uri)
        whole(uri, options)

    monkeypatch.setattr(mirror, "refresh", refresh)
    with at_one_look([URI, bad], {}):
        assert opened(URI, {}).files() == []
        with pytest.raises(ConnectionError):
            is_stored(bad, {})


KILLED = """
import os, signal, sys
from customer360.platform.lake import mirror
print(mirror.folder_of("s3://x/y/z").parent, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_uses_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    words = [sys.executable, "-c", KILLED]
    done = subprocess.run(words, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, check=False)
    left = Path(done.stdout.decode().strip())
    (left / "log.json").write_text("{}")
    monkeypatch.setattr(mirror, "_made", cache(mirror._made.__wrapped__))
    own = mirror.folder_of(URI).parent
    assert own.is_dir() and not left.exists(), "by whoever makes the next"
    assert mirror.sweep() == 0 and own.is_dir()
    mirror._kept().folder.cleanup()
    mirror._kept().lock.close()


def test_what_a_table_was_read_by_goes_when_the_new_is_there(marks: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "COMMITS", 1)
    for version in range(1, 5):
        mark(marks, version, version=version)
    mirror.refresh(URI, {})
    mark(marks, 9, version=9)
    marks.delta(NAME).create_checkpoint()
    opening, copy = [], mirror._copy

    def copied(*given: object) -> None:
        opening.append(DeltaTable(str(mirror.folder_of(URI))).version())
        copy(*given)

    monkeypatch.setattr(mirror, "_copy", copied)
    mirror.refresh(URI, {})
    assert opening and opened(URI, {}).files() == marks.files(NAME)


def test_a_copy_that_failed_for_want_of_room_is_taken_away_with_its_table(
    marks: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as short:
        short.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            mirror.refresh(URI, {})
    shutil.rmtree(Path(marks.root) / "silver")
    mirror.refresh(URI, {})
    assert not mirror.folder_of(URI).exists()


def test_a_log_that_was_cleaned_since_it_was_listed_is_listed_again(
    marks: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, failing = mirror._copy, [True]

    def copied(*given: object) -> None:
        if failing.pop() if failing else False:
            raise FileNotFoundError("cleaned")
        copy(*given)

    monkeypatch.setattr(mirror, "_copy", copied)
    mirror.refresh(URI, {})
    assert opened(URI, {}).files() == marks.files(NAME)


def test_threads_that_look_first_at_once_share_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mirror._made.__wrapped__

    def slow() -> object:
        time.sleep(0.05)
        return folder()

    monkeypatch.setattr(mirror, "_made", cache(slow))
    with ThreadPoolExecutor(8) as pool:
        found = {str(each) for each in pool.map(lambda n: mirror.folder_of(URI), range(8))}
    assert len(found) == 1


def test_copies_of_a_release_without_locks_are_swept_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    old, new = (tmp_path / f"customer360-logs-{name}" for name in ("old", "new"))
    for each in (old, new):
        each.mkdir()
    os.utime(old, (1, 1))
    assert mirror.sweep() == 1
    assert not old.exists() and new.exists()
