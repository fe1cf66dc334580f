"""Delta tables that this thread has opened: opening one reads its whole log, looking for what is new costs little.

A table is known by the file of its newest commit; one that was made anew under the same path is opened again. In an
object store that would be a request each time: there tables are opened each time, but for a thread that holds the
lake's run lock, beside which nobody commits. It opens each once, and looks for what is new after its own commits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

Stamp = tuple[int, int, int]
AT_ONCE = 16  # tables of an object store that are opened side by side


@dataclass(frozen=True)
class File:
    """One data file of a table's current snapshot; ``path`` is relative to the table."""

    path: str
    rows: int
    size: int
    partition: dict[str, str | None]


def files_of(dt: DeltaTable) -> list[File]:
    """Data files of an opened table, sorted by path."""
    actions = pl.DataFrame(dt.get_add_actions())
    known = [c for c in ("path", "num_records", "size_bytes", "partition") if c in actions.columns]
    found = []
    for row in actions.select(known).to_dicts():
        partition = {k: None if v is None else str(v) for k, v in (row.get("partition") or {}).items()}
        found.append(File(unquote(row["path"]), row["num_records"] or 0, row["size_bytes"], partition))
    return sorted(found, key=lambda f: f.path)


def moments_of(dt: DeltaTable) -> dict[str, datetime]:
    """When the data files of an opened table were committed, by path."""
    actions = pl.DataFrame(dt.get_add_actions())
    times = actions.select("path", pl.from_epoch("modification_time", "ms").dt.replace_time_zone("UTC"))
    return {unquote(path): moment for path, moment in times.rows()}


@dataclass
class Opened:
    """A table at its newest version, the stamp of the commit that made it, and what was asked of this version: its
    files, application transactions and their facts, and the contracts that it was found to fit.
    """

    table: DeltaTable
    stamp: Stamp | None
    listed: list[File] | None = None
    transactions: dict[str, int | None] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    fits: set[object] = field(default_factory=set)

    def files(self) -> list[File]:
        """Data files of the version, sorted by path."""
        if self.listed is None:
            self.listed = files_of(self.table)
        return list(self.listed)

    def transaction(self, app: str) -> int | None:
        """Last committed version of an application transaction; None where there is none."""
        if app not in self.transactions:
            self.transactions[app] = self.table.transaction_version(app)
        return self.transactions[app]


_of_thread = threading.local()


def opened(uri: str, options: dict[str, str]) -> Opened:
    """The table at its newest version.

    Raises:
        TableNotFoundError: there is none.
    """
    known: dict[str, Opened] = _of_thread.__dict__.setdefault("known", {})
    if "://" in uri:
        return _remote(uri, options, known)
    found = known.get(uri)
    if found is None or found.stamp is None or _stamp(uri, found.table.version()) != found.stamp:
        known.pop(uri, None)
        table = DeltaTable(uri, storage_options=options or None)
        found = known[uri] = Opened(table, _stamp(uri, table.version()))
        return found
    before = found.table.version()
    if _stamp(uri, before + 1) is None:  # nobody has committed since
        return found
    found.table.update_incremental()
    if found.table.version() != before:
        found.stamp, found.listed = _stamp(uri, found.table.version()), None
        for asked in (found.transactions, found.facts, found.fits):
            asked.clear()
    return found


def _remote(uri: str, options: dict[str, str], known: dict[str, Opened]) -> Opened:
    if not _is_alone(uri):
        return Opened(DeltaTable(uri, storage_options=options or None), None)
    found = known.get(uri)
    if found is None:
        found = known[uri] = Opened(DeltaTable(uri, storage_options=options or None), None)
    elif uri in _of_thread.changed:
        found.table.update_incremental()
        found = known[uri] = Opened(found.table, None)
    _of_thread.changed.discard(uri)
    return found


def _is_alone(uri: str) -> bool:
    root: str | None = getattr(_of_thread, "alone", None)
    return root is not None and uri.startswith(root + "/")


@contextmanager
def alone(root: str) -> Iterator[None]:
    """For a thread that holds the run lock of a lake in an object store: within, only its own commits change tables."""
    _of_thread.alone, _of_thread.changed = root, set()
    try:
        yield
    finally:
        known: dict[str, Opened] = _of_thread.__dict__.get("known", {})
        for uri in [uri for uri in known if _is_alone(uri)]:
            del known[uri]
        _of_thread.alone = None


def outdate(uri: str) -> None:
    """Say that a table has a new version; of one that is stored in a folder that is seen without it."""
    if _is_alone(uri):
        _of_thread.changed.add(uri)


def open_together(uris: Iterable[str], options: dict[str, str]) -> None:
    """Open tables that are there side by side, as each waits for the store; none where `opened` would not keep it."""
    known: dict[str, Opened] = _of_thread.__dict__.setdefault("known", {})
    wanted = sorted({uri for uri in uris if _is_alone(uri)} - known.keys())
    if not wanted:
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda uri: _if_there(uri, options), wanted)
        known |= {uri: Opened(table, None) for uri, table in zip(wanted, found, strict=True) if table is not None}


def _if_there(uri: str, options: dict[str, str]) -> DeltaTable | None:
    try:
        return DeltaTable(uri, storage_options=options or None)
    except TableNotFoundError:
        return None


def is_open(uri: str) -> bool:
    """Whether this thread has opened the table and it is still there, as far as that can be told without opening it."""
    found = _of_thread.__dict__.get("known", {}).get(uri)
    if found is not None and _is_alone(uri):
        return True
    return found is not None and found.stamp is not None and _stamp(uri, found.table.version()) == found.stamp


def _stamp(uri: str, version: int) -> Stamp | None:
    """What tells the commit of a version from another one of the same number; None where there is no file of it."""
    try:
        stat = os.stat(f"{uri}/_delta_log/{version:020}.json")  # noqa: PTH116 - thousands a run: a Path costs more
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
