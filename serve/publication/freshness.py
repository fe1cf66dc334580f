"""Whether what is served is behind: the last run did not end in a publication, or the publication is old.

Serving goes on with the last good generation whatever a run does; here stands what its answers say about that, so that
an old answer is never taken for a fresh one. A run notes its outcome in ``<state>/online/LAST_RUN``; publishing removes
the note. While a run is under way it holds a lock, which one that died holds no longer.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

from customer360.platform.errors import LakeLocked, RunError
from customer360.platform.ledger import Run
from customer360.platform.online import POLL_SECONDS, Generation

STALE_AFTER = timedelta(hours=36)  # a daily publication that was missed, with half a day of grace
RENEWED_AFTER = STALE_AFTER / 2  # so that a daily run over silent sources does not let it grow old
NOTE, LOCK = "LAST_RUN", "_run"
Note = dict[
    str, Any
]  # command, at, state (running, failed, unpublished, restored), in: failed nodes, before: the note before
NAMED = 3  # failed nodes that a reason names
SHOWN_WORDS = 2  # of a command: `run gold`
UNREADABLE = "unreadable"
NEEDED = {  # by state: what a note says as text
    "running": ("command", "at"),
    "failed": ("command", "at", "in"),
    "unpublished": ("command", "at"),
    "restored": ("at",),
    UNREADABLE: (),
}
_WORD = re.compile(r"[a-z][a-z0-9_.]*")


@contextmanager
def watched(state: Path, command: str) -> Iterator[list[Run]]:
    """Note what becomes of a run in the block; the caller appends its record when it ends well.

    A run that built nothing new, or that another run kept from starting, leaves the note as it was.
    """
    home = state / "online"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    before, ended = _read(home), list[Run]()
    command = _pipeline(command)
    note: Note = {"command": command, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    with open(home / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # shared: whether two runs may go on at once is the lake's affair
        _write(home, note | {"state": "running", "before": before})
        outcome: Note | None = note | {"state": "failed", "in": ""}
        try:
            yield ended
            built = any(n.state == "built" for run in ended for n in run.nodes)
            outcome = note | {"state": "unpublished"} if built else before
        except LakeLocked:
            outcome = before
            raise
        except RunError as fault:
            outcome = note | {"state": "failed", "in": _named(sorted(fault.failures))}
            raise
        finally:
            _write(home, outcome)


def published(state: Path) -> None:
    """What stands in the lake is what is served."""
    (state / "online" / NOTE).unlink(missing_ok=True)


def restored(state: Path, *, is_newest: bool) -> None:
    """A stored publication was put into service: it is behind, unless it is the newest, of which holds what held
    before.
    """
    home = state / "online"
    note = _read(home)
    before = note.get("before") if note is not None and note["state"] == "restored" else note
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    _write(home, before if is_newest else {"state": "restored", "at": moment, "before": before})


def behind(state: Path) -> str | None:
    """Why the generation in service is behind the lake or the sources; None when it is not."""
    home = state / "online"
    note = _read(home)
    if note is not None and note["state"] == "running" and _is_held(home):
        note = note.get("before")
    if note is None:
        return None
    if note["state"] == "restored":
        return f"an earlier publication was put back at {note['at']}"
    if note["state"] == UNREADABLE:
        return "what became of the last run cannot be read"
    said = f"the run `{_pipeline(str(note['command']))}` of {note['at']}"
    if note["state"] == "failed":
        return f"{said} failed" + (f" in {note['in']}" if note["in"] else "")
    return f"{said} " + ("built newer tables that are not published" if note["state"] == "unpublished" else "broke off")


def is_unreadable(state: Path) -> bool:
    """Whether the note of the last run cannot be read."""
    note = _read(state / "online")
    return note is not None and note["state"] == UNREADABLE


def staleness(generation: Generation, reason: str | None, now: datetime) -> str | None:
    """Why a generation is stale: ``reason`` (see ``behind``), else its age; None when it is current."""
    age = now - generation.published_at
    if reason is None and age > STALE_AFTER:
        hours, most = (span.total_seconds() / 3600 for span in (age, STALE_AFTER))
        return f"published {hours:.0f} hours ago, which is over {most:g}"
    return reason


def is_young(generation: Generation | None) -> bool:
    """Whether a generation is so new that it need not be written again for its age."""
    return generation is not None and datetime.now(UTC) - generation.published_at < RENEWED_AFTER


class Watch:
    """``behind`` for an application: looked up again when the last look is ``poll_seconds`` old."""

    def __init__(self, state: Path, poll_seconds: float = POLL_SECONDS):
        self._state, self._poll_seconds = state, poll_seconds
        self._looked_at = float("-inf")
        self._reason: str | None = None

    def reason(self) -> str | None:
        if time.monotonic() - self._looked_at >= self._poll_seconds:
            self._looked_at, self._reason = time.monotonic(), behind(self._state)
        return self._reason


def _named(nodes: list[str]) -> str:
    """Names only: a reason may quote data, and every caller reads this."""
    more = len(nodes) - NAMED
    return ", ".join(nodes[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _is_held(home: Path) -> bool:
    try:
        with open(home / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _pipeline(command: str) -> str:
    """Of a command line what everybody may read: the command and what it built. Options name files and people."""
    words = list(takewhile(_WORD.fullmatch, command.split()))
    return " ".join(words[:SHOWN_WORDS]) or "run"


def _read(home: Path) -> Note | None:
    """The note; one that cannot be read says so, and the next run writes another."""
    unreadable: Note = {"state": UNREADABLE, "before": None}
    try:
        found = json.loads((home / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return unreadable
    return found if _is_whole(found) else unreadable


def _is_whole(note: Any) -> bool:
    """Whether a note has what ``behind`` reads, in itself and in the notes before."""
    needed = NEEDED.get(str(note.get("state"))) if isinstance(note, dict) else None
    if needed is None or not all(isinstance(note.get(key), str) for key in needed):
        return False
    return note.get("before") is None or _is_whole(note["before"])


def _write(home: Path, note: Note | None) -> None:
    if note is None:
        (home / NOTE).unlink(missing_ok=True)
        return
    fresh = home / f".{NOTE}"
    with fresh.open("w", encoding="utf-8") as handle:
        json.dump(note, handle)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(home / NOTE)
