"""A state folder while servers and runs write to it: each file by a way that its writer allows.

SQLite is copied by its own backup, append-only files to their last whole line, all others when they did not change
meanwhile. A publication is copied only with all that it consists of. Left out are secrets in plain (a first key that
nobody fetched, the token of a local Ray), locks, logs, and files under way.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from customer360.platform.backup.lakes import Files, kept_of
from customer360.platform.backup.repository import Changed, Kept, Repository
from customer360.platform.backup.trees import FolderTree, Seen
from customer360.platform.online import files as publications
from customer360.platform.sources import collector, webhooks
from customer360.platform.sources.protocols.hooks import journal

SECRETS = ("first_key", "ray_token")
TRANSIENT = "transient"
ENDINGS = ("_lock", ".lock", "-wal", "-shm", "-journal", ".wal", ".log", ".tmp")
SQLITE_MAGIC, DUCKDB_MAGIC = b"SQLite format 3\0", b"DUCK"
HEADS = (".db", f"/{publications.CURRENT}", "keys.json")
TRIES = 5


def state_of(tree: FolderTree, repository: Repository, known: Files) -> tuple[Files, dict[str, str]]:
    """The files of a state folder, and what was left out with the reason.

    Raises:
        Changed: the publication in service was replaced while it was copied.
    """
    found: Files = {}
    left_out: dict[str, str] = {}
    for path, seen in _in_order(tree.listing()):
        if reason := _reason(path):
            left_out |= {path: reason} if reason != TRANSIENT else {}
            continue
        try:
            kept = _copy(tree, path, seen, repository, known)
        except sqlite3.Error as fault:
            left_out[path] = f"cannot be read ({type(fault).__name__}: {fault})"
            continue
        if kept is not None:
            found[path] = kept
        elif tree.seen(path) is not None:
            left_out[path] = "was written to all the time"
    _check_publications(tree, found, repository)
    return found, left_out


def heads(tree: FolderTree) -> dict[str, Seen]:
    """What says which state the folder is in: databases, and which publications are in service."""
    return {path: seen for path, seen in tree.listing().items() if path.endswith(HEADS)}


def _in_order(listed: dict[str, Seen]) -> Iterator[tuple[str, Seen]]:
    """What names others goes first: a database of models before their files, a pointer before what it points to."""
    first = [path for path in listed if path.endswith(HEADS)]
    yield from ((path, listed[path]) for path in first)
    yield from ((path, seen) for path, seen in listed.items() if path not in first)


def _reason(path: str) -> str | None:
    names = path.split("/")
    if names[-1] in SECRETS:
        return "a secret in plain; made anew when it is needed"
    if _is_journal(path):
        return TRANSIENT if names[-1].startswith(".") else None
    is_under_way = any(name.startswith((".", "making-")) for name in names)
    return TRANSIENT if is_under_way or names[-1].endswith(ENDINGS) else None


def _copy(tree: FolderTree, path: str, seen: Seen, repository: Repository, known: Files) -> Kept | None:
    magic = _beginning(tree, path)
    if magic.startswith(SQLITE_MAGIC):
        return _copy_sqlite(Path(tree.root, path), repository)
    if path.endswith(".jsonl"):
        return _copy_lines(tree, path, repository)
    if _is_journal(path):
        return _copy_frames(tree, path, repository)
    for _ in range(TRIES):
        is_written = magic[8:12] == DUCKDB_MAGIC and tree.seen(f"{path}.wal") is not None
        kept = None if is_written else kept_of(tree, path, seen, repository, known)
        now = tree.seen(path)
        if kept is not None and now == seen:
            return kept
        if now is None:
            return None
        seen = now
    return None


def _beginning(tree: FolderTree, path: str) -> bytes:
    try:
        with open(Path(tree.root, path), "rb") as handle:
            return handle.read(16)
    except FileNotFoundError:
        return b""


def _copy_sqlite(file: Path, repository: Repository) -> Kept:
    with tempfile.TemporaryDirectory() as scratch:
        copy = FolderTree(Path(scratch))
        address = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as source, closing(sqlite3.connect(f"{scratch}/db")) as target:
            source.backup(target)
        return repository.keep(Path(scratch, "db").stat().st_size, partial(copy.read, "db"))


def _copy_lines(tree: FolderTree, path: str, repository: Repository) -> Kept:
    """A file that only grows, to the end of its last whole line."""
    data = b"".join(tree.read(path))
    whole = data[: data.rfind(b"\n") + 1]
    return repository.keep(len(whole), lambda: [whole])


def _is_journal(path: str) -> bool:
    """Whether a file is a segment of a journal, of webhooks or of the collector."""
    return path.startswith((f"{webhooks.FOLDER}/", f"{collector.FOLDER}/")) and path.endswith(journal.ENDINGS)


def _copy_frames(tree: FolderTree, path: str, repository: Repository) -> Kept:
    """A journal, to the end of its last whole frame."""
    data = b"".join(tree.read(path))
    whole = data[: max((frame.end for frame in journal.frames_of(data, is_open=True)), default=0)]
    return repository.keep(len(whole), lambda: [whole])


def _check_publications(tree: FolderTree, found: Files, repository: Repository) -> None:
    for path in [p for p in found if p.rpartition("/")[2] == publications.CURRENT]:
        home = path.rpartition("/")[0]
        named = b"".join(repository.read(found[path])).decode("ascii", "replace").strip()
        needed = _needed(home, named, found, repository)
        if needed <= found.keys():
            continue
        now = b"".join(tree.read(path)).decode("ascii", "replace").strip() if tree.seen(path) else named
        if now != named or any(tree.seen(each) is not None for each in needed - found.keys()):
            raise Changed(f"{tree.root}/{home} was published to while it was copied")
        # else it was damaged before: the backup is of what there is, and `doctor` tells of it


def _needed(home: str, generation: str, found: Files, repository: Repository) -> set[str]:
    """The files of a publication, as its manifest tells them, and those of the whole one that it changes."""
    folder = f"{home}/generations/{generation}"
    needed = {f"{folder}/{name}" for name in (publications.MANIFEST, publications.DATA)}
    if (manifest := f"{folder}/{publications.MANIFEST}") not in found:
        return needed
    try:
        told = json.loads(b"".join(repository.read(found[manifest])))
        files, base = list(told.get("files", ())), told.get("base")
    except (ValueError, AttributeError, TypeError):  # damaged
        return needed
    needed |= {f"{folder}/{name}" for name in files}
    return needed | (_needed(home, base, found, repository) if isinstance(base, str) and base < generation else set())
