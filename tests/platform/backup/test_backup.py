"""A backup is of one moment whatever goes on, holds nothing twice, tells of damage, and comes back byte by byte."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import access, audit, backup, online
from customer360.platform.backup import BackupError, Repository, lakes, states, trees
from customer360.platform.backup.repository import Changed
from customer360.platform.errors import LakeLocked
from customer360.platform.lake import Lake
from customer360.platform.lake.upkeep import vacuum
from customer360.platform.sources.protocols.hooks.journal import Journal
from customer360.platform.tables import Integer, Table

pytestmark = pytest.mark.usefixtures("registries")
ROUNDS = 60


@pytest.fixture
def tables_of_test(registries: None) -> tuple[type[Table], type[Table]]:
    class First(Table, table="silver.t_first"):
        """One row per number."""

        n = Integer(primary_key=True)

    class Second(Table, table="gold.t_second"):
        """One row per number."""

        n = Integer(primary_key=True)
        again = Integer()

    return First, Second


@pytest.fixture
def write(lake: Lake, tables_of_test: tuple[type[Table], ...]) -> Callable[[int], None]:
    """Makes a number the only row of both tables, one after the other, and notes it in the ledger."""
    for table in tables_of_test:
        lake.ensure(table)

    def written(number: int) -> None:
        for name in ("silver.t_first", "gold.t_second"):
            row = {"n": [number]} | ({"again": [number]} if name == "gold.t_second" else {})
            add = lake.write_file(name, pl.DataFrame(row), {})
            lake.replace(name, [add], scope={}, app="test", app_version=number)
        lake.put("_runs/newest.json", json.dumps(number).encode())

    return written


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "backups"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def numbers(root: Path) -> list[Any]:
    found = Lake(str(root))
    rows = [found.scan(name).collect()["n"].item() for name in ("silver.t_first", "gold.t_second")]
    return [*rows, json.loads(found.get("_runs/newest.json") or b"0")]


def restored(repository: Repository, at: str | None, area: str, root: Path) -> Path:
    backup.restore(repository, backup.chosen(repository, at), area, str(root), {})
    return root


def test_what_is_there_is_not_copied_again(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository
) -> None:
    write(1)
    backup.take(lake, state, {}, repository)
    first = repository.written_files
    backup.take(lake, state, {}, repository)
    assert first and repository.written_files == first
    write(2)
    backup.take(lake, state, {}, repository)
    assert repository.written_files == first + 5  # of each table a file and a commit; the note


def test_each_backup_is_of_one_moment_while_commits_go_on(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository, tmp_path: Path
) -> None:
    """The tables are written one after the other: a copy that is none of a moment has a later one of the second."""
    write(0)
    ended = threading.Event()

    def commits() -> None:
        for number in range(1, ROUNDS):
            write(number)
            ended.wait(0.01)
        ended.set()

    writer = threading.Thread(target=commits)
    writer.start()
    taken = []
    while not ended.is_set():
        taken.append(backup.take(lake, state, {}, repository).id)
    writer.join()
    found = [numbers(restored(repository, each, "lake", tmp_path / each)) for each in taken]
    assert all(first - 1 <= note <= second <= first <= second + 1 for first, second, note in found), found
    assert [first for first, _, _ in found] == sorted(first for first, _, _ in found)
    assert list(repository.verify()) == []


def test_a_file_that_went_meanwhile_is_none_that_is_missed_or_the_copy_begins_anew(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(1)
    asked, of = [], lakes.moment_of

    def then_rewritten(*given: Any) -> Any:
        moment = of(*given)
        if not asked:  # an erasure: rows are written anew, and files of all earlier versions deleted
            write(2)
            for file in Path(lake.uri("silver.t_first")).glob("*.parquet"):
                if file.name not in {f.path for f in lake.files("silver.t_first")}:
                    file.unlink()
        asked.append(moment)
        return moment

    monkeypatch.setattr(lakes, "moment_of", then_rewritten)
    snapshot = backup.take(lake, state, {}, repository)
    assert len(asked) == 2 and snapshot.tables["silver.t_first"] == lake.version("silver.t_first")


def test_a_lake_that_changes_at_each_look_is_given_up(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lakes, "PAUSE", 0)
    numbers_of = iter(range(10**6))
    of = lakes.heads
    monkeypatch.setattr(lakes, "heads", lambda tree: write(next(numbers_of)) or of(tree))
    monkeypatch.setattr(lakes, "LOOKS", 3)
    with pytest.raises(Changed, match="when the run under way has ended"):
        backup.take(lake, state, {}, repository)
    assert repository.ids() == []


def test_versions_before_come_back_as_far_as_they_are_stored(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository, tmp_path: Path
) -> None:
    write(1)
    earlier = lake.version("gold.t_second")
    write(2)
    backup.take(lake, state, {}, repository)
    again = Lake(str(restored(repository, None, "lake", tmp_path / "again")))
    assert again.scan("gold.t_second", version=earlier).collect()["n"].item() == 1
    assert again.transaction("gold.t_second", "test") == 2
    vacuum(again, "gold.t_second", dry_run=True)  # its log is one that Delta goes on with


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_damage_is_told_of_never_restored_and_mended_by_the_next_backup(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository, tmp_path: Path, how: str
) -> None:
    write(1)
    snapshot = backup.take(lake, state, {}, repository)
    path = next(p for p in snapshot.files["lake"] if p.endswith(".parquet"))
    stored = next(Path(repository.root).glob(f"objects/*/{snapshot.files['lake'][path].digest}"))
    data = stored.read_bytes()
    stored.chmod(0o600)
    _ = stored.unlink() if how == "gone" else stored.write_bytes(data[:-9] + (b"" if how == "cut" else b"#" * 9))
    fresh = Repository(repository.root)
    with pytest.raises(BackupError, match=snapshot.files["lake"][path].digest):
        restored(fresh, None, "lake", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    (said,) = fresh.verify()
    assert path in said
    backup.take(lake, state, {}, Repository(repository.root))
    assert list(Repository(repository.root).verify()) == []
    assert numbers(restored(repository, None, "lake", tmp_path / "again")) == [1, 1, 1]


def test_a_snapshot_that_cannot_be_read_is_told_of_and_stops_no_other(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository
) -> None:
    write(1)
    first = backup.take(lake, state, {}, repository)
    second = backup.take(lake, state, {}, repository)
    file = Path(repository.root, "snapshots", f"{second.id}.json.gz")
    os.truncate(file, file.stat().st_size // 2)
    assert [said.count("cannot be read") for said in repository.verify()] == [1]
    assert backup.chosen(repository, first.id).id == first.id
    with pytest.raises(BackupError, match="cannot be read"):
        repository.drop([first.id])  # it may be that the other one names the same files
    third = backup.take(lake, state, {}, repository)
    assert third.id > second.id


@pytest.mark.parametrize("path", ["../../out.txt", "/etc/out.txt", "a/../../out.txt", "a//b", "a\0b", "digest"])
def test_a_snapshot_that_leads_elsewhere_is_refused(
    repository: Repository, lake: Lake, state: Path, write: Callable[[int], None], tmp_path: Path, path: str
) -> None:
    """Who can write to the place of backups must not write wherever a restore can."""
    write(1)
    snapshot = backup.take(lake, state, {}, repository)
    kept = repository.keep(4, lambda: [b"evil"])
    named = {"a": replace(kept, digest="../../elsewhere")} if path == "digest" else {path: kept}
    repository.write(replace(snapshot, files={"lake": named}))
    with pytest.raises(BackupError, match="nothing is read"):
        restored(repository, snapshot.id, "lake", tmp_path / "a" / "b")
    assert not (tmp_path / "out.txt").exists() and not (tmp_path / "a").exists()


def test_old_backups_go_and_the_others_stay_whole(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository, tmp_path: Path
) -> None:
    taken = []
    for number in range(3):
        write(number)
        taken.append(backup.take(lake, state, {}, repository).id)
    Path(lake.root, "silver/t_first").rename(tmp_path / "kept")  # what only the first held is no table's any more
    assert repository.drop(taken[:1]) >= 0
    assert repository.ids() == taken[1:] and list(repository.verify()) == []
    assert numbers(restored(repository, taken[1], "lake", tmp_path / "again")) == [1, 1, 1]


def test_a_clock_that_was_put_back_changes_no_order(repository: Repository, lake: Lake, state: Path) -> None:
    late = datetime(2040, 1, 1, tzinfo=UTC)
    snapshot = backup.take(lake, state, {}, repository)
    Path(repository.root, "snapshots", f"{snapshot.id}.json.gz").rename(
        Path(repository.root, "snapshots", f"{late:%Y%m%dT%H%M%S%fZ}.json.gz")
    )
    assert backup.take(lake, state, {}, repository).id == "20400101T000000000001Z"


def test_the_backup_of_a_moment_is_the_newest_that_is_not_later(
    repository: Repository, lake: Lake, state: Path
) -> None:
    first, second = (backup.take(lake, state, {}, repository) for _ in range(2))
    assert backup.chosen(repository, None).id == second.id
    assert backup.chosen(repository, first.at.isoformat()).id == first.id
    with pytest.raises(BackupError, match="no backup is as old"):
        backup.chosen(repository, "2001-01-01")
    with pytest.raises(BackupError, match="neither a moment"):
        backup.chosen(repository, "yesterday")


def test_two_backups_to_one_place_wait_for_each_other(repository: Repository, lake: Lake, state: Path) -> None:
    with repository.lock("another"), pytest.raises(LakeLocked, match="another"):
        backup.take(lake, state, {}, Repository(repository.root))


# ---- the state folder ---------------------------------------------------------------------------------------------


def test_each_file_of_the_state_folder_is_copied_as_its_writer_allows(
    lake: Lake, state: Path, repository: Repository, tmp_path: Path
) -> None:
    online.publish(state, documents("a"), as_of=date(2026, 3, 1), sources={}, is_told=False)
    key = access.issue(state, "one", "reader")
    for person in "ab":
        audit.append(state, person=person)
    chain = audit.verify(state)
    torn = next((state / audit.FOLDER).glob("*.jsonl"))
    torn.write_bytes(torn.read_bytes() + b'{"n": 3, "half')
    (state / "mlflow").mkdir()
    for secret in ("first_key", "ray_token"):
        (state / secret).write_text("in plain")
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t AS SELECT 1 AS n")
        writer.commit()
        writer.execute("INSERT INTO t VALUES (2)")  # under way, and not committed
        snapshot = backup.take(lake, state, {}, repository)
    again = restored(repository, None, "state", tmp_path / "again")
    assert not {"first_key", "ray_token", "keys.lock"} & {file.name for file in again.iterdir()}
    assert set(snapshot.left_out) == {"first_key", "ray_token"}
    assert audit.verify(again) == chain
    with closing(sqlite3.connect(again / "mlflow" / "mlflow.db")) as copy:
        assert copy.execute("SELECT n FROM t").fetchall() == [(1,)]
    assert access.verify(again, key).name == "one"
    view = online.OnlineStore(again).view()
    assert view.get("person", "a") is not None
    assert (again / "keys.json").stat().st_mode & 0o077 == 0 and again.stat().st_mode & 0o077 == 0


def documents(key: str) -> Iterator[pl.DataFrame]:
    yield pl.DataFrame({"kind": ["person"], "key": [key], "document": ['{"n": 1}']})


def test_a_publication_is_copied_with_all_that_it_is(
    lake: Lake, state: Path, repository: Repository, tmp_path: Path
) -> None:
    """Published to all the time, with as few as one kept, whole or what changed: what the pointer names is there, and
    sound."""
    ended = threading.Event()
    online.publish(state, documents("0"), as_of=date(2026, 3, 1), sources={}, is_told=False)

    def publications() -> None:
        for number in range(12):
            whole = online.publish(
                state, documents(str(number)), as_of=date(2026, 3, 1), sources={}, keep=1, is_told=False
            )
            ended.wait(0.02)
            changes = [online.Change(frame) for frame in documents("changed")]
            online.amend(state, whole, changes, as_of=date(2026, 3, 1), sources={}, keep=1)
            ended.wait(0.02)
        ended.set()

    writer = threading.Thread(target=publications)
    writer.start()
    taken = []
    while not ended.is_set():
        try:
            taken.append(backup.take(lake, state, {}, repository).id)
        except Changed:  # at each of its tries; nothing was written
            continue
    writer.join()
    taken.append(backup.take(lake, state, {}, repository).id)
    for each in taken:
        assert online.current(restored(repository, each, "state", tmp_path / each)) is not None


@pytest.mark.parametrize("name", ["data.mdb", "generation.json", "made_of.json"])
def test_a_publication_that_goes_while_it_is_copied_is_copied_anew(
    lake: Lake, state: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Whichever of its files is copied next: all are checked before it is used."""
    made = {"as_of": date(2026, 3, 1), "sources": {}, "is_told": False, "made_of": "this"}
    first = online.publish(state, documents("a"), **made)  # type: ignore[arg-type]
    copy = states._copy

    def late(tree: trees.FolderTree, path: str, *more: Any) -> Any:
        if path.endswith(f"{first.id}/{name}"):
            online.publish(state, documents("b"), **made, keep=1)  # type: ignore[arg-type]
        return copy(tree, path, *more)

    monkeypatch.setattr(states, "_copy", late)
    with pytest.raises(Changed):
        states.state_of(trees.FolderTree(state), repository, {})
    taken = backup.take(lake, state, {}, repository).id
    assert online.current(restored(repository, taken, "state", tmp_path / "again")) is not None


def test_a_damaged_publication_keeps_nobody_from_a_backup(lake: Lake, state: Path, repository: Repository) -> None:
    stored = online.publish(state, documents("a"), as_of=date(2026, 3, 1), sources={}, is_told=False)
    (state / "online" / "generations" / stored.id / "data.mdb").unlink()
    (state / "broken.db").write_bytes(b"SQLite format 3\0 and no more")
    snapshot = backup.take(lake, state, {}, repository)
    assert "online/CURRENT" in snapshot.files["state"] and "cannot be read" in snapshot.left_out["broken.db"]


# ---- back ---------------------------------------------------------------------------------------------------------


def test_nothing_is_restored_over_what_is_there(
    lake: Lake, state: Path, write: Callable[[int], None], repository: Repository
) -> None:
    write(1)
    backup.take(lake, state, {}, repository)
    write(2)
    with pytest.raises(BackupError, match="holds files"):
        restored(repository, None, "lake", Path(lake.root))
    assert numbers(Path(lake.root)) == [2, 2, 2]


def test_a_restore_that_was_cut_short_leaves_no_half_lake_and_is_taken_up(
    lake: Lake,
    state: Path,
    write: Callable[[int], None],
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(1)
    backup.take(lake, state, {}, repository)
    target, written, of = tmp_path / "again", [], trees.FolderTree.write

    def until_full(self: Any, path: str, pieces: Any) -> None:
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        written.append(path)
        of(self, path, pieces)

    monkeypatch.setattr(trees.FolderTree, "write", until_full)
    with pytest.raises(OSError, match="No space"):
        restored(repository, None, "lake", target)
    assert not target.exists()
    monkeypatch.setattr(trees.FolderTree, "write", lambda s, p, d: written.append(p) or of(s, p, d))
    assert numbers(restored(repository, None, "lake", target)) == [1, 1, 1]
    assert len(written) == len(set(written)), "what stood was written again"


def test_a_full_disk_leaves_no_half_backup(
    lake: Lake,
    state: Path,
    write: Callable[[int], None],
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(1)
    backup.take(lake, state, {}, repository)
    write(2)
    with monkeypatch.context() as patched:
        patched.setattr(trees.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            backup.take(lake, state, {}, Repository(repository.root))
    assert len(repository.ids()) == 1 and not list(Path(repository.root).rglob(".part-*"))
    assert list(Repository(repository.root).verify()) == []
    backup.take(lake, state, {}, Repository(repository.root))
    assert numbers(restored(repository, None, "lake", tmp_path / "again")) == [2, 2, 2]


@pytest.mark.parametrize("ending", [".frames", ".log"])
def test_what_was_acknowledged_to_a_sender_is_kept_to_its_last_whole_frame(
    lake: Lake, state: Path, repository: Repository, tmp_path: Path, ending: str
) -> None:
    folder = state / "hooks" / "orders"
    made = Journal(folder)
    for number in range(3):
        made.append(f"k{number}", f"k{number}\n".encode())
    (segment,) = folder.glob("*.frames")
    whole = segment.read_bytes()
    with segment.open("ab") as file:
        file.write(whole[:5])  # the server is in the middle of the next
    segment = segment.rename(segment.with_suffix(ending))
    (state / "server.log").write_text("said")
    taken = backup.take(lake, state, {}, repository)
    back = restored(repository, taken.id, "state", tmp_path / "back")
    assert (back / "hooks" / "orders" / segment.name).read_bytes() == whole
    assert not (back / "server.log").exists()
