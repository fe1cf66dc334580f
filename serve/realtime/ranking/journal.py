"""Decisions on disk: `<state>/decisions.db`, bounded by age and bytes, without whom an erasure takes out.

They are written by a thread of each process, many at once, so that an answer waits for no disk; one that is not written
yet is found all the same. A decision is found by who it was for only through a digest, keyed by a secret of the file:
whom an erasure took out stays noted by it, so that what a replica writes a moment later is not kept.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import Counter

from customer360.platform import telemetry
from customer360.platform.errors import LakeError
from customer360.serve.realtime.ranking.decision import Decision, unpacked

FILE = "decisions.db"
KEEP_DAYS = 14
MOST_BYTES = 1 << 30  # of packed decisions; the oldest go first
FLUSH_SECONDS = 0.2
RETRY_SECONDS = 5.0  # after a fault of the file
MOST_WAITING = 5000  # not written yet; beyond, an answer waits for the disk, or the oldest go where it has a fault
TIDY_SECONDS = 60.0
AT_ONCE = (64, 8, 1)  # rows of a statement: as many as fit first
# Decisions stand in the file as they come: in the order of their random ids each would touch pages of its own. Files of
# before were made so, and stay as they are.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS decisions (
  id TEXT NOT NULL PRIMARY KEY, at REAL NOT NULL, person BLOB, visitor BLOB, packed BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS decisions_by_person ON decisions (person) WHERE person IS NOT NULL;
CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions (at);
CREATE TABLE IF NOT EXISTS forgotten (who BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""
LOST = Counter("customer360_decisions_lost_total", "Decisions that were dropped, since their file cannot be written")
Row = tuple[str, float, str | None, str | None, bytes]


def _open(state: Path) -> sqlite3.Connection:
    """The file, made where there is none, readable by its owner alone. What is deleted is overwritten."""
    file = state / FILE
    if not file.exists():
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
    store = sqlite3.connect(file, timeout=10, isolation_level=None, check_same_thread=False)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=NORMAL")
    store.execute("PRAGMA secure_delete=ON")
    store.executescript(_SCHEMA)
    with closing(store.execute("SELECT count(*) FROM secret")) as found:
        if not found.fetchone()[0]:
            store.execute("INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT 1 FROM secret)", (os.urandom(32),))
    return store


def _secret(store: sqlite3.Connection) -> bytes:
    return bytes(store.execute("SELECT value FROM secret").fetchone()[0])


def _digest(secret: bytes, who: str | None) -> bytes | None:
    return None if who is None else hashlib.blake2b(who.encode(), key=secret, digest_size=16).digest()


def _keep(store: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows, but of whom an erasure took out: many by a statement, as between two of them the thread waits for
    those that answer, and they for it."""
    at = 0
    for count in AT_ONCE:
        while len(rows) - at >= count:
            store.execute(_statement(count), [value for row in rows[at : at + count] for value in row])
            at += count


@cache
def _statement(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?, ?)"] * count)
    return (
        f"INSERT OR IGNORE INTO decisions SELECT * FROM (VALUES {rows}) AS noted WHERE NOT EXISTS "
        "(SELECT 1 FROM forgotten WHERE who IN (noted.column3, noted.column4))"
    )


class Journal:
    """Decisions of an installation. Opens on first use, so it may be made before a fork."""

    def __init__(self, state: Path, keep_days: float = KEEP_DAYS, most_bytes: int = MOST_BYTES) -> None:
        self.keep_seconds, self.most_bytes = keep_days * 86_400, most_bytes
        self._state = state
        self._waiting: dict[str, tuple[Decision, float]] = {}
        self._lock = threading.Lock()  # of what waits
        self._writing = threading.Lock()  # of the file
        self._store: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None
        self._tidied_at = float("-inf")
        self._has_fault = False  # of the file, when it was written to last

    def note(self, decision: Decision) -> None:
        """Keep a decision. Returns before it is on disk, and never raises: an answer does not depend on what is kept of
        it. Where the file cannot be written, the newest wait and the oldest are lost, which is counted."""
        with self._lock:
            self._waiting[decision.id] = decision, time.time()
            is_full = len(self._waiting) >= MOST_WAITING
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._write_on, name="decisions", daemon=True)
                self._thread.start()
        if is_full and not self._has_fault:
            self._try_to_flush()
        if is_full and self._has_fault:
            self._shorten()

    def _shorten(self) -> None:
        with self._lock:
            surplus = list(self._waiting)[: max(len(self._waiting) - MOST_WAITING, 0)]
            for identifier in surplus:
                del self._waiting[identifier]
        LOST.inc(len(surplus))

    def _try_to_flush(self) -> None:
        try:
            self.flush()
        except (sqlite3.Error, OSError) as fault:
            telemetry.log.error(
                f"{self._state / FILE}: decisions cannot be written ({fault}); {MOST_WAITING:,} wait in memory, older "
                "ones are lost. Where the file is damaged, move it away: a new one is made"
            )

    def get(self, identifier: str) -> bytes | None:
        """A packed decision; None where there is none, or none any more. Raises LakeError: the file is damaged."""
        with self._lock:
            waiting = self._waiting.get(identifier)
        if waiting is not None:
            return waiting[0].packed()
        if self._store is None and not (self._state / FILE).exists():
            return None
        since = time.time() - self.keep_seconds
        try:
            with self._writing:
                found = self._opened().execute(
                    "SELECT packed FROM decisions WHERE id = ? AND at > ?", (identifier, since)
                )
                row = found.fetchone()
        except sqlite3.Error as fault:
            self._close()
            raise LakeError(f"{self._state / FILE}: decisions cannot be read ({fault})") from None
        return None if row is None else bytes(row[0])

    def _opened(self) -> sqlite3.Connection:
        if self._store is None:
            self._store = _open(self._state)
        return self._store

    def _write_on(self) -> None:
        while True:
            time.sleep(RETRY_SECONDS if self._has_fault else FLUSH_SECONDS)
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
            self._try_to_flush()

    def flush(self) -> None:
        """Write what waits. Raises sqlite3.Error or OSError: nothing of it is written, and it goes on waiting."""
        try:
            self._flush()
            self._has_fault = False
        except BaseException:
            self._has_fault = True
            self._close()
            raise

    def _close(self) -> None:
        """Let go of the file: it may be another's when it is opened next."""
        with self._writing:
            store, self._store = self._store, None
            if store is not None:
                with suppress(sqlite3.Error):
                    store.close()

    def _flush(self) -> None:
        with self._writing:
            with self._lock:
                waiting = dict(self._waiting)
            rows: Iterable[Row] = [
                (d.id, at, d.asked.person_id, d.asked.visitor_id, d.packed()) for d, at in waiting.values()
            ]
            store = self._opened()
            store.execute("BEGIN IMMEDIATE")
            try:
                secret = _secret(store)
                digested = [(i, at, _digest(secret, p), _digest(secret, v), packed) for i, at, p, v, packed in rows]
                _keep(store, digested)
                if time.monotonic() - self._tidied_at > TIDY_SECONDS:
                    self._tidy(store)
                store.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # the fault that is under way is the one to tell
                    store.execute("ROLLBACK")
                raise
            with self._lock:
                for identifier in waiting:
                    self._waiting.pop(identifier, None)

    def _tidy(self, store: sqlite3.Connection) -> None:
        """Take out what is too old, and the oldest where there are too many bytes."""
        oldest = time.time() - self.keep_seconds
        store.execute("DELETE FROM decisions WHERE at <= ?", (oldest,))
        store.execute("DELETE FROM forgotten WHERE at <= ?", (oldest,))
        held = store.execute("SELECT coalesce(sum(length(packed)), 0), count(*) FROM decisions").fetchone()
        if held[0] > self.most_bytes:
            surplus = int(held[1] * (1 - 0.9 * self.most_bytes / held[0])) + 1
            store.execute(
                "DELETE FROM decisions WHERE id IN (SELECT id FROM decisions ORDER BY at LIMIT ?)", (surplus,)
            )
        self._tidied_at = time.monotonic()


def forget_decisions(state: Path, who: Iterable[str]) -> int:
    """Take out what was decided for persons (or visitors) of these ids; nothing for them is kept any more. How many
    decisions went. Raises LakeError: the file is damaged."""
    if not (state / FILE).exists():
        return 0
    try:
        return _forget(state, who)
    except sqlite3.Error as fault:
        raise LakeError(
            f"{state / FILE}: decisions cannot be taken out ({fault}); where it is damaged, delete it (a new one is "
            "made), and erase again"
        ) from None


def _forget(state: Path, who: Iterable[str]) -> int:
    gone = 0
    with closing(_open(state)) as store:
        store.execute("BEGIN IMMEDIATE")
        secret = _secret(store)
        for each in who:
            digest = _digest(secret, each)
            store.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (digest, time.time()))
            gone += store.execute("DELETE FROM decisions WHERE person = ? OR visitor = ?", (digest, digest)).rowcount
        store.execute("COMMIT")
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return gone


def forget_decisions_where(state: Path, is_gone: Callable[[str], bool]) -> int:
    """As `forget_decisions`, of the persons and visitors of kept decisions who are gone: by their ids, which are read
    from the decisions themselves."""
    if not (state / FILE).exists():
        return 0
    gone = set()
    with closing(_open(state)) as store:
        for (packed,) in store.execute("SELECT packed FROM decisions"):
            asked = unpacked(packed)["asked"]
            gone |= {who for who in (asked.get("person_id"), asked.get("visitor_id")) if who and is_gone(who)}
    return forget_decisions(state, gone) if gone else 0
