"""What the collector acknowledged as a source: events of trackers and client libraries, from the journal in which they
are durable. Several sources read one log, each for its table and each to where it stands.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal, Self

import polars as pl
from pydantic import PrivateAttr

from customer360.platform.connections import Connection
from customer360.platform.connections import collector as connections
from customer360.platform.ledger import Batch
from customer360.platform.settings import Settings
from customer360.platform.sources.formats.ndjson import objects
from customer360.platform.sources.formats.records import POSITION, Records, dead_letters
from customer360.platform.sources.journals import Journaled, placed
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.protocols.hooks import journal

FOLDER = "collector"  # of the state folder
READ = ".read"  # ends the names of files that say how far a source read
DAMAGED = "bytes of the journal that are damaged"


def folder_of(state: Path, connection: str) -> Path:
    """Where the journal of a collector lies."""
    return state / FOLDER / connection


def message(key: str, record: bytes, reason: str = "") -> bytes:
    """An event as the journal keeps it: its key, why it was refused, if it was, and the record in one line, or the
    bytes as they came.
    """
    return b"%b\n%b\n%b" % (key.encode(), reason.encode(), record)


def opened(content: bytes) -> tuple[bytes, str]:
    """The record of a message, and why it was refused; empty where it was not."""
    _, _, rest = content.partition(b"\n")
    reason, _, record = rest.partition(b"\n")
    return record, reason.decode("utf-8", "replace")


class Collected(Journaled):
    """Events of one collector. What it refused is a dead letter, with the reason: of the first source that reads the
    log, so that each is told of once.
    """

    connects: ClassVar[type[Connection] | None] = connections.Collector

    kind: Literal["collector"] = "collector"
    _readers: tuple[str, ...] = PrivateAttr(())

    @property
    def folder(self) -> Path:
        """Where the journal lies."""
        return folder_of(self.state_folder, self.connection)

    def completed(self, settings: Settings) -> Self:
        """This source with the names of all that read the same log."""
        source = self.model_copy()
        source._readers = readers(settings, self.connection)
        return source

    def records_in(self, frames: list[journal.Frame], base: int) -> Records:
        lines: list[bytes] = []
        places: list[int] = []
        dead: list[tuple[int, str, bytes]] = []
        for at, frame in enumerate(frames, base + 1):
            record, reason = opened(frame.content) if frame.is_whole else (frame.content, DAMAGED)
            if reason:
                dead.append((at, reason, record))
            else:
                lines.append(record)
                places.append(at)
        rows, odd, _ = objects.records_of(b"\n".join(lines), 0)
        letters = pl.concat([dead_letters(dead if self._tells_of_refusals else []), placed(odd, places)])
        return Records(placed(rows, places), letters.sort(POSITION), keyed=True)

    @property
    def _tells_of_refusals(self) -> bool:
        return self.name in ("", *self._readers[:1])

    def release(self, landing: Landing, batch: Batch) -> None:
        """Note how far this source read, and delete the segments that every source read to their end, nobody writes to,
        and that are older than `keep_minutes`.
        """
        if not self.folder.is_dir():
            return
        _note(self.folder / f".{self.name}{READ}", dict(batch.cursor or {}))
        assert isinstance(self.connected, connections.Collector)
        oldest = time.time() - 60 * self.connected.keep_minutes
        for segment, read in _read_by_all(self.folder, self._readers).items():
            if read and journal.begun(segment) < oldest:
                journal.retire(self.folder / segment, read)


def readers(settings: Settings, connection: str) -> tuple[str, ...]:
    """Names of the sources that read the log of a collector."""
    mine = (n for n, s in settings.sources.items() if isinstance(s, Collected) and s.connection == connection)
    return tuple(mine)


def backlog(folder: Path, names: tuple[str, ...]) -> int:
    """Bytes of a log that a source did not take yet."""
    found = 0
    for segment, read in _read_by_all(folder, names).items():
        with suppress(FileNotFoundError):  # a run took it just now
            found += max((folder / segment).stat().st_size - read, 0)
    return found


def taken_until(folder: Path, names: tuple[str, ...]) -> datetime:
    """Until when every source took what came: when the first segment of which one did not take all began."""
    now = datetime.now(UTC)
    for segment, read in _read_by_all(folder, names).items():
        with suppress(FileNotFoundError):  # a run took it just now
            if (folder / segment).stat().st_size > read:
                return datetime.fromtimestamp(journal.begun(segment), UTC)
    return now


def _read_by_all(folder: Path, names: tuple[str, ...]) -> dict[str, int]:
    """How far every source read, by segment."""
    cursors = [_noted(folder / f".{name}{READ}") for name in names]
    return {s: min((c.get(s, 0) for c in cursors), default=0) for s in journal.segments(folder)}


def _noted(file: Path) -> dict[str, int]:
    return dict(json.loads(file.read_bytes())) if file.exists() else {}


def _note(file: Path, cursor: dict[str, int]) -> None:
    made = file.with_suffix(f".{os.getpid()}")
    made.write_text(json.dumps(cursor), encoding="utf-8")
    made.rename(file)
