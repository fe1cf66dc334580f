"""What of the stored files is damaged: every store is opened as its readers open it, and each fault named with its file
and what to do. Nothing is changed.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from customer360.platform import access, audit, ledger, privacy, restrictions, revocations, schemas, tables, warehouse
from customer360.platform.backup import BackupError, marks, tree_at
from customer360.platform.errors import Customer360Error
from customer360.platform.lake import File, Lake
from customer360.platform.lake.damage import UNREADABLE
from customer360.platform.ledger import BATCHES, BOUND, LANDED, RUNS, SCHEMAS
from customer360.platform.online import Unsound, files, hiding
from customer360.platform.run import lake_of
from customer360.platform.run.health import OBJECT as HEALTH
from customer360.platform.settings import Settings
from customer360.serve.publication import freshness, indexes
from customer360.serve.publication.refusals import FOLDER as REFUSALS
from customer360.serve.realtime.ranking.journal import FILE as DECISIONS
from customer360.serve.rights import requests

PUBLISH = "`customer360 score` or `run` publishes anew"
RESTORE = "restore it from a backup"
DUCKDB_MAGIC = b"DUCK"  # eight bytes into the file
COMMIT = re.compile(r"_delta_log/\d{20}\.json")
MOST_OF_TABLE = 5  # damaged files of one table that are named


@dataclass(frozen=True)
class Finding:
    """A damaged or missing file, what is wrong with it, and what to do."""

    file: str
    fault: str
    remedy: str


def findings(settings: Settings) -> Iterator[Finding]:
    """What is damaged, in state folder and lake. Every contract must be declared before (``serve.compose``)."""
    state = Path(settings.state).absolute()
    for target in (tree_at(settings.lake.root, settings.lake.storage_options), tree_at(settings.state)):
        yield from _of_mark(target)
    yield from _of_state(state)
    yield from _of_lake(lake_of(settings))


def _of_mark(target: marks.Target) -> Iterator[Finding]:
    file = f"{target.root}/{marks.MARK}"
    try:
        if (mark := marks.mark_of(target)) is not None:
            yield Finding(file, mark.fault, f"go on with `{mark.command}`")
    except BackupError as fault:
        yield Finding(file, "cannot be read", str(fault))


def _of_state(state: Path) -> Iterator[Finding]:
    keys, note = state / "keys.json", state / "online" / freshness.NOTE
    yield from _tried(keys, lambda: access.issued(state), "restore it, or delete it and issue all keys anew")
    revoked = state / revocations.REVOKED
    yield from _tried(revoked, lambda: revocations.revoked(state), "restore it, or delete it and revoke tokens anew")
    if freshness.is_unreadable(state):
        yield Finding(str(note), "cannot be read", "the next run writes it anew")
    for home in (state, state / REFUSALS):
        yield from _of_store(files.home_of(home))
    for folder in indexes.stored(state):
        yield from _tried(folder, partial(indexes.check, folder), f"delete the folder; {PUBLISH}")
    yield from _tried(state / audit.FOLDER, lambda: audit.verify(state), "find out who changed it; keep what is there")
    yield from _tried(state / "mlflow" / "mlflow.db", lambda: _check_sqlite(state / "mlflow" / "mlflow.db"), RESTORE)
    decisions = state / DECISIONS
    yield from _tried(decisions, lambda: _check_sqlite(decisions), "move it away: a new one is made")
    star = state / warehouse.FILE
    again = "delete it; `customer360 run warehouse` loads it anew"
    yield from _tried(star, lambda: _check_magic(star, DUCKDB_MAGIC, at=8), again)


def _of_store(home: Path) -> Iterator[Finding]:
    yield from _of_hiding(home)
    try:
        current = files.pointer(home)
        if current is None and files.stored_ids(home):
            yield Finding(str(home / files.CURRENT), "is gone", PUBLISH)
    except Unsound as fault:
        yield Finding(str(home / files.CURRENT), str(fault), PUBLISH)
        current = None
    served = {current, _base_of(home, current)} - {None}
    for identifier in sorted({*files.stored_ids(home), *([current] if current else [])}):
        try:
            files.check(files.folder_of(home, identifier))
        except Unsound as fault:
            remedy = PUBLISH if identifier in served else "delete the folder: it is not in service"
            yield Finding(str(files.folder_of(home, identifier)), str(fault), remedy)


def _base_of(home: Path, identifier: str | None) -> str | None:
    """The whole publication that one in service changes; None where it is whole, or nobody can tell."""
    try:
        return files.read_manifest(files.folder_of(home, identifier)).base if identifier else None
    except Unsound:
        return None


def _of_hiding(home: Path) -> Iterator[Finding]:
    """Of the file that says who is being erased, and its copy: either tells, and where none does nobody is answered."""
    both = (hiding.HIDDEN, hiding.COPY)
    for name, other in zip(both, reversed(both), strict=True):
        try:
            is_told = hiding.read(home, other) is not None
        except Unsound:
            is_told = False
        again = (
            f"put {other} in its place"
            if is_told
            else "nobody is answered by a server that starts: `customer360 erase PERSON` takes up an erasure that did "
            "not end; where none is under way, delete the file"
        )
        yield from _tried(home / name, partial(hiding.read, home, name), again)
        if is_told and name == hiding.HIDDEN and not (home / name).exists():  # before there were copies there was none
            yield Finding(str(home / name), "is gone", again)


def _of_lake(lake: Lake) -> Iterator[Finding]:
    for path in lake.objects("_erasures"):
        yield from _tried(f"{lake.root}/{path}", partial(privacy.check, lake, path), RESTORE)
    for path in lake.objects("_rights"):
        check = requests.stored if path.startswith(requests.FOLDER) else restrictions.check
        yield from _tried(f"{lake.root}/{path}", partial(check, lake, path), RESTORE)
    for prefix in (BATCHES, LANDED, RUNS):
        for path in lake.objects(prefix):
            yield from _tried(f"{lake.root}/{path}", partial(ledger.check, lake, path), RESTORE)
        if not lake.is_remote:
            folders = (path for path in Path(lake.root, prefix).rglob("*.json") if path.is_dir())
            yield from (Finding(str(path), "is a folder", RESTORE) for path in sorted(folders))
    for path in lake.objects(SCHEMAS):
        yield from _tried(f"{lake.root}/{path}", partial(schemas.check, lake, path), RESTORE)
    again = "delete it: the next run finds out how sources fare"
    yield from _tried(f"{lake.root}/{HEALTH}", partial(_check_json, lake, HEALTH), again)
    for path in lake.objects(BOUND):
        yield from _tried(f"{lake.root}/{path}", partial(ledger.bound_of, lake, path), "delete it: it is made anew")
    for name in sorted(tables.TABLES):
        yield from _of_table(lake, name)


def _of_table(lake: Lake, name: str) -> Iterator[Finding]:
    log = f"{lake.uri(name)}/_delta_log"
    remedy = f"{RESTORE}, or move the folder of the table away and build it with `--full-refresh {name}`"
    try:
        listed = lake.files(name)
        stored = lake.sizes(name)
    except UNREADABLE as fault:
        yield Finding(log, _first_line(fault), remedy)
        return
    if stored and not any(path.startswith("_delta_log/") for path in stored):
        yield Finding(log, "is gone, and data files are there", remedy)
    yield from _of_log(lake, name, stored, remedy)
    damaged = [(file, said) for file in listed if (said := _fault_of(lake, name, file, stored))]
    for file, said in damaged[:MOST_OF_TABLE]:
        yield Finding(f"{lake.uri(name)}/{file.path}", said, remedy)
    if len(damaged) > MOST_OF_TABLE:
        yield Finding(lake.uri(name), f"{len(damaged) - MOST_OF_TABLE} more of its files are damaged", remedy)


def _of_log(lake: Lake, name: str, stored: dict[str, int], remedy: str) -> Iterator[Finding]:
    """Commits that hold no JSON, and gaps: Delta passes over an empty commit, and its rows are lost without a word."""
    commits = sorted(path for path in stored if COMMIT.fullmatch(path))
    for path in commits:
        at = f"{name.replace('.', '/', 1)}/{path}"
        if not stored[path]:
            yield Finding(f"{lake.uri(name)}/{path}", "is empty", remedy)
        else:
            lines = partial(_check_lines, lake, at)
            yield from _tried(f"{lake.uri(name)}/{path}", lines, remedy)
    numbers = [int(path.rpartition("/")[2][:20]) for path in commits]
    if missing := sorted(set(range(min(numbers, default=0), max(numbers, default=0))) - set(numbers)):
        yield Finding(f"{lake.uri(name)}/_delta_log", f"commits are gone: {missing[:MOST_OF_TABLE]}", remedy)


def _check_json(lake: Lake, path: str) -> None:
    """An object that is one of names to objects, where it is there."""
    found = json.loads(data) if (data := lake.get(path)) is not None else {}
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise ValueError("is no object of objects")


def _check_lines(lake: Lake, path: str) -> None:
    """Each line of a commit is one action of Delta: its name, and an object. Readers pass over what is none."""
    for line in (lake.get(path) or b"").splitlines():
        action = json.loads(line)
        if not isinstance(action, dict) or not all(isinstance(value, dict) for value in action.values()):
            raise ValueError("a line is no action of Delta")


def _fault_of(lake: Lake, name: str, file: File, stored: dict[str, int]) -> str | None:
    found = stored.get(file.path)
    if found is None:
        return "is gone"
    if found != file.size:
        return f"has {found:,} bytes instead of {file.size:,}"
    if lake.is_remote:  # its footer would have to be fetched
        return None
    try:
        rows = pq.read_metadata(f"{lake.uri(name)}/{file.path}").num_rows
    except UNREADABLE as fault:
        return _first_line(fault)
    return None if rows == file.rows else f"has {rows:,} rows instead of {file.rows:,}"


def _tried(file: Path | str, read: Callable[[], object], remedy: str) -> Iterator[Finding]:
    """A finding, if the file is there and reading it fails."""
    if isinstance(file, Path) and not file.exists():
        return
    try:
        read()
    except (Customer360Error, ValueError, sqlite3.Error, *UNREADABLE) as fault:
        yield Finding(str(file), _first_line(fault), remedy)


def _check_sqlite(file: Path) -> None:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok" or not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise ValueError("holds no tables" if said == "ok" else said)


def _check_magic(file: Path, magic: bytes, at: int) -> None:
    with file.open("rb") as handle:
        if handle.read(at + len(magic))[at:] != magic:
            raise ValueError("is not what its name says")


def _first_line(fault: Exception) -> str:
    return f"{type(fault).__name__}: {str(fault).strip().splitlines()[0]:.200}" if str(fault).strip() else repr(fault)
