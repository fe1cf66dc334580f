"""Delta tables that this thread has opened: opening one reads its whole log, looking for what is new costs little.

A table is known by the file of its newest commit; one that was made anew under the same path is opened again. In an
object store a copy of its log is read (`mirror`), brought up to date each time, or where the thread holds the lake's
run lock, beside which nobody commits, once and after its own commits.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

from customer360.platform.lake import mirror
from customer360.platform.lake.ahead import together

Stamp = tuple[int, int, int]
APP, FACTS = "customer360.app", "customer360.facts"  # what a commit of ours tells beside its transactions


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


def least_of(dt: DeltaTable, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The least value of some columns by data file of an opened table: absent where the log does not tell it, None
    where no row has a value."""
    actions = pl.DataFrame(dt.get_add_actions())
    known = [c for c in ("path", "num_records", "min", "null_count") if c in actions.columns]
    found = {}
    for row in actions.select(known).to_dicts():
        least, nulls = row.get("min") or {}, row.get("null_count") or {}
        told = {c: least.get(c) for c in columns}
        is_empty = {c: nulls.get(c) is not None and nulls[c] == row.get("num_records") for c in columns}
        found[unquote(row["path"])] = {c: v for c, v in told.items() if v is not None or is_empty[c]}
    return found


def moments_of(dt: DeltaTable) -> dict[str, datetime]:
    """When the data files of an opened table were committed, by path."""
    actions = pl.DataFrame(dt.get_add_actions())
    times = actions.select("path", pl.from_epoch("modification_time", "ms").dt.replace_time_zone("UTC"))
    return {unquote(path): moment for path, moment in times.rows()}


@dataclass
class Opened:
    """A table at its newest version, the stamp of the commit that made it, and what was asked of this version: its
    files, application transactions and their facts, and the contracts that it was found to fit, by their form. The
    Delta table itself is opened where it is needed.
    """

    version: int
    stamp: Stamp | None
    listed: list[File] | None = None
    transactions: dict[str, int | None] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    fits: set[str] = field(default_factory=set)
    log: str = ""  # where the log is read
    is_asked: bool = False  # whether the newest commit was looked at for what it tells
    delta: DeltaTable | None = None

    @property
    def table(self) -> DeltaTable:
        """The Delta table at this version."""
        if self.delta is None:
            self.delta = DeltaTable(self.log, self.version)
        return self.delta

    def files(self) -> list[File]:
        """Data files of the version, sorted by path."""
        if self.listed is None:
            self.listed = files_of(self.table)
        return list(self.listed)

    def transaction(self, app: str) -> int | None:
        """Last committed version of an application transaction; None where there is none."""
        if app not in self.transactions:
            self._ask_newest()
        if app not in self.transactions:
            self.transactions[app] = self.table.transaction_version(app)
        return self.transactions[app]

    def facts_of(self, app: str, limit: int) -> str:
        """Facts of the newest commit of an application transaction, as JSON, among the ``limit`` newest commits."""
        if app not in self.facts:
            self._ask_newest()
        if app not in self.facts:
            told = [c for c in self.table.history(limit) if c.get(APP) == app]
            self.facts[app] = told[0].get(FACTS, "{}") if told else "{}"
        return self.facts[app]

    def _ask_newest(self) -> None:
        """Note what the newest commit tells: mostly it is the one that is asked for, and reading its file takes a
        twentieth of asking the log."""
        if not self.is_asked and self.stamp is not None:
            transactions, facts = told_by(self.log, self.version)
            self.transactions, self.facts = transactions | self.transactions, facts | self.facts
        self.is_asked = True

    def copy(self) -> Opened:
        """What is known of the version now, which stays as it is when the table goes on."""
        listed = None if self.listed is None else list(self.listed)
        known = dict(self.transactions), dict(self.facts), set(self.fits)
        return Opened(self.version, self.stamp, listed, *known, self.log, self.is_asked, self.delta)


def told_by(log: str, version: int) -> tuple[dict[str, int | None], dict[str, str]]:
    """Application transactions of one commit, and its facts as JSON by the application that it names; nothing where the
    log was cleaned of it."""
    transactions: dict[str, int | None] = {}
    facts: dict[str, str] = {}
    try:
        text = Path(_commit_of(log, version)).read_text(encoding="utf-8")
    except FileNotFoundError:
        return transactions, facts
    for line in text.split("\n"):  # not splitlines: bounds of texts hold U+0085 and U+2028 as they are
        if line.strip() and not line.startswith(('{"add"', '{"remove"')):  # the others are few
            action = json.loads(line)
            if told := action.get("txn"):
                transactions[told["appId"]] = told["version"]
            elif APP in (told := action.get("commitInfo") or {}):
                facts[told[APP]] = told.get(FACTS, "{}")
    return transactions, facts


@dataclass(frozen=True)
class Change:
    """A commit as whoever made it knows it."""

    adds: list[File]
    removes: set[str]
    transactions: dict[str, int]
    facts: tuple[str, str]  # application, and its facts as JSON


_of_thread = threading.local()


def opened(uri: str, options: dict[str, str]) -> Opened:
    """The table at its newest version, as its log tells it; to change one of an object store, see `writable`.

    Raises:
        TableNotFoundError: there is none.
    """
    uri = _log_of(uri, options)
    known: dict[str, Opened] = _of_thread.__dict__.setdefault("known", {})
    found = known.get(uri)
    is_newest = found is not None and _stamp(uri, found.version + 1) is None  # nobody has committed since
    if found is None or not _stands(found) or (found.delta is None and not is_newest):
        known.pop(uri, None)
        table = DeltaTable(uri)
        version = table.version()
        found = known[uri] = Opened(version, _stamp(uri, version), log=uri, delta=table)
        return found
    if is_newest:
        return found
    before, table = found.version, found.table
    table.update_incremental()
    if table.version() != before:
        found.version = table.version()
        found.stamp, found.listed, found.is_asked = _stamp(uri, found.version), None, False
        for asked in (found.transactions, found.facts, found.fits):
            asked.clear()
    return found


def _stands(found: Opened) -> bool:
    """Whether the commit of a version is the one that made it."""
    return found.stamp is not None and _stamp(found.log, found.version) == found.stamp


def known_below(root: str) -> dict[str, Opened]:
    """What this thread knows of the tables of a lake in a folder, by address."""
    known: dict[str, Opened] = _of_thread.__dict__.get("known", {})
    return {uri: found for uri, found in known.items() if uri.startswith(root + "/") and _stands(found)}


def offer(told: Mapping[str, Opened]) -> None:
    """Let this thread know of tables that it has not opened, as they were some time ago."""
    known: dict[str, Opened] = _of_thread.__dict__.setdefault("known", {})
    for uri, found in told.items():
        known.setdefault(uri, found)


@contextmanager
def carried(uri: str, options: dict[str, str], change: Change) -> Iterator[None]:
    """A commit within the block: what is known of the version before it, and of the commit, is known of its version
    without asking, unless another commit came between.
    """
    if "://" in uri and not _is_alone(uri):  # looking before and after would cost more than it saves
        yield
        return
    held = opened(uri, options)
    version, before = held.version, held.copy()
    yield
    after = opened(uri, options)
    if after.version != version + 1:
        return
    after.fits |= before.fits
    after.transactions |= before.transactions | change.transactions
    after.facts |= before.facts | dict([change.facts])
    if before.listed is not None:
        gone = change.removes | {f.path for f in change.adds}
        left = [f for f in before.listed if f.path not in gone]
        added = {f.path: f for f in change.adds}
        after.listed = sorted([*left, *added.values()], key=lambda f: f.path)


def writable(uri: str, options: dict[str, str]) -> DeltaTable:
    """The table where it is stored, at its newest version."""
    if "://" not in uri:
        return opened(uri, options).table
    handles: dict[str, DeltaTable] = _of_thread.__dict__.setdefault("writable", {})
    if uri in handles and _is_alone(uri):
        handles[uri].update_incremental()
    else:
        handles[uri] = DeltaTable(uri, storage_options=options or None)
    return handles[uri]


def is_stored(uri: str, options: dict[str, str]) -> bool:
    """Whether there is a table."""
    log = _log_of(uri, options)
    return is_open(log) or DeltaTable.is_deltatable(log)


def _log_of(uri: str, options: dict[str, str]) -> str:
    """Where the log of a table is read: where it is stored, or its copy, brought up to date."""
    if "://" not in uri:
        return uri
    seen: set[str] = _of_thread.__dict__.setdefault("seen", set())
    if uri not in seen:
        mirror.refresh(uri, options)
        if _is_alone(uri):
            seen.add(uri)
    return str(mirror.folder_of(uri))


def _is_alone(uri: str) -> bool:
    root: str | None = getattr(_of_thread, "alone", None)
    return root is not None and uri.startswith(root + "/")


@contextmanager
def alone(root: str) -> Iterator[None]:
    """For a thread that holds the run lock of a lake in an object store: within, only its own commits change tables."""
    _of_thread.__dict__.pop("seen", None)  # what was seen before the lock was taken may have changed since
    _of_thread.alone = root
    try:
        yield
    finally:
        for kept in ("seen", "writable"):
            _of_thread.__dict__.pop(kept, None)
        _of_thread.alone = None


@contextmanager
def at_one_look(uris: Iterable[str], options: dict[str, str]) -> Iterator[None]:
    """Within the block this thread reads tables of an object store as they are when it begins, unless it changes them
    itself; they are looked at side by side."""
    seen: set[str] = _of_thread.__dict__.setdefault("seen", set())
    wanted = sorted(set(uris) - seen)

    def looked(uri: str) -> str | None:
        with suppress(Exception):  # whoever reads the table is told
            mirror.refresh(uri, options)
            return uri
        return None

    seen.update(uri for uri in together(looked, wanted) if uri)
    try:
        yield
    finally:
        seen.difference_update([] if wanted and _is_alone(wanted[0]) else wanted)


def outdate(uri: str) -> None:
    """Say that a table has a new version; of one that is stored in a folder that is seen without it."""
    _of_thread.__dict__.get("seen", set()).discard(uri)


def look_together(uris: Iterable[str], options: dict[str, str]) -> None:
    """Bring copies of logs up to date side by side; nothing where each would have to be looked at again."""
    seen: set[str] = _of_thread.__dict__.setdefault("seen", set())
    wanted = sorted({uri for uri in uris if _is_alone(uri)} - seen)
    together(lambda uri: mirror.refresh(uri, options), wanted)
    seen.update(wanted)


def is_open(uri: str) -> bool:
    """Whether this thread has opened the log and it is still there, as far as that can be told without opening it."""
    found = _of_thread.__dict__.get("known", {}).get(uri)
    return found is not None and _stands(found)


def _commit_of(log: str, version: int) -> str:
    return f"{log}/_delta_log/{version:020}.json"


def _stamp(uri: str, version: int) -> Stamp | None:
    """What tells the commit of a version from another one of the same number; None where there is no file of it."""
    try:
        stat = os.stat(_commit_of(uri, version))  # noqa: PTH116 - thousands a run: a Path costs more
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
