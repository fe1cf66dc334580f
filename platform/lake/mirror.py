"""Logs of tables in an object store, copied beside this process: what a table holds is told by each commit of its log,
and each is a request there.

A copy is brought up to date by one listing and by the objects that are new in it, known by their etags; what the log
was cleaned of goes here, too. Data files are not copied. Copies last as long as the process, which holds a lock on
their folder; what one that was killed left is taken away by whoever makes the next, and by an erasure (`sweep`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import obstore

from customer360.platform.lake.ahead import together
from customer360.platform.lake.objects import remote_store

COMMITS = 200  # newest commits that are copied, although a checkpoint stands for them: their facts are asked for

_PREFIX, _LOCK = "customer360-logs-", "_held"
_A_DAY = 86_400
_OF_VERSION = re.compile(r"_delta_log/(?P<version>\d{20})\.(?P<kind>json|checkpoint\.)")
_etags: dict[str, dict[str, str]] = {}  # by table: what its copy holds
_locks: dict[str, threading.Lock] = {}  # by table
_lock, _making = threading.Lock(), threading.Lock()


def folder_of(uri: str) -> Path:
    """The folder of a table's copy; absent where the table has no log, as far as was seen."""
    return Path(_kept().name) / hashlib.sha256(uri.encode()).hexdigest()[:24]


def refresh(uri: str, options: Mapping[str, str]) -> None:
    """Bring the copy of a table's log up to date."""
    with _lock:
        of_table = _locks.setdefault(uri, threading.Lock())
    with of_table:
        try:
            _refresh(uri, options)
        except FileNotFoundError:  # the log was cleaned since it was listed
            _refresh(uri, options)


def _refresh(uri: str, options: Mapping[str, str]) -> None:
    root, layer, table = uri.rsplit("/", 2)
    store = remote_store(root, options)
    prefix, folder = f"{layer}/{table}/", folder_of(uri)
    listed = {
        meta["path"].removeprefix(prefix): f"{meta['e_tag']} {meta['size']}"
        for page in obstore.list(store, f"{prefix}_delta_log")
        for meta in page
    }
    wanted = _needed(listed)
    if not wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _etags.pop(uri, None)
        return
    held = _etags.setdefault(uri, {})
    if any(held[path] != listed[path] for path in held.keys() & wanted):  # made anew: its objects have the same names
        for path in sorted(held):
            _forget(folder, held, path)
    new = sorted(wanted - held.keys())
    together(lambda path: _copy(store, prefix + path, folder / path), new)
    held.update({path: listed[path] for path in new})
    for path in sorted(held.keys() - wanted):  # last: whoever opens the table meanwhile needs what there was
        _forget(folder, held, path)


def _forget(folder: Path, held: dict[str, str], path: str) -> None:
    (folder / path).unlink(missing_ok=True)
    del held[path]


def _copy(store: obstore.store.ObjectStore, source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = target.with_name(f"{target.name}.{threading.get_ident()}.new")
    try:
        whole.write_bytes(bytes(obstore.get(store, source).bytes()))
        whole.replace(target)
    finally:
        whole.unlink(missing_ok=True)


def _needed(listed: Mapping[str, str]) -> set[str]:
    """Objects of a log that tell its newest version, and its newest commits."""
    found = [(path, match) for path in listed if (match := _OF_VERSION.match(path))]
    checkpoints = [int(m["version"]) for _, m in found if m["kind"] != "json"]
    commits = sorted(int(m["version"]) for _, m in found if m["kind"] == "json")
    newest = max(checkpoints, default=-1)
    since = min([newest + 1, *commits[-COMMITS:][:1]]) if checkpoints else -1
    return {p for p, m in found if int(m["version"]) >= (since if m["kind"] == "json" else newest)}


@dataclass(frozen=True)
class _Kept:
    """The folder of this process, and the lock that says so as long as it lives."""

    folder: tempfile.TemporaryDirectory[str]
    lock: IO[bytes]

    @property
    def name(self) -> str:
        return self.folder.name


def _kept() -> _Kept:
    with _making:  # a cache lets two threads make one each, and forgets the folder of the first
        return _made()


@cache
def _made() -> _Kept:
    sweep()
    folder = tempfile.TemporaryDirectory(prefix=_PREFIX)
    unheld = Path(folder.name) / f"{_LOCK}.new"  # not seen by who sweeps before it is held
    lock = open(unheld, "wb")  # noqa: SIM115 - until this process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    unheld.rename(unheld.with_suffix(""))
    return _Kept(folder, lock)


def sweep() -> int:
    """Remove the copies of processes of this machine that have ended without doing so. Returns how many there were."""
    folders = list(Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"))
    return sum(_removed(folder / _LOCK) if (folder / _LOCK).exists() else _is_of_before(folder) for folder in folders)


def _is_of_before(folder: Path) -> bool:
    """Whether the folder was of a release that held no lock, and was removed: a new one has its lock in a moment."""
    try:
        if time.time() - folder.stat().st_mtime < _A_DAY or not os.access(folder, os.W_OK):
            return False
    except OSError:  # somebody else has removed it
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _removed(lock: Path) -> bool:
    try:
        with open(lock, "r+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    except OSError:  # its process lives, somebody else is removing it, or it is another user's
        return False
    return True
