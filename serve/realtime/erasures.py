"""That persons were erased, told to the servers that hold windows of what they did just now.

One file of the state folder holds digests of the subjects that were erased in the last days, under a salt of its own,
and when; servers look whether it changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customer360.platform import telemetry
from customer360.platform.sources import collector as source

FILE = "erased.json"
KEPT = timedelta(days=15)  # longer than a window lives, and a decision on a machine that was away
LOOK_SECONDS = 1.0


def tell(state: Path, subjects: Iterable[str]) -> None:
    """Let the servers over a state folder forget subjects, as `activity.visitor` and `activity.account` name them."""
    folder = state / source.FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a collector whose log is a topic made none
    with open(folder / f".{FILE}.lock", "a") as lock:  # two erasures may begin at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        _tell(folder, subjects)


def _tell(folder: Path, subjects: Iterable[str]) -> None:
    now = time.time()
    try:
        salt, told = _read(folder / FILE)
    except (OSError, ValueError) as fault:
        telemetry.log.warning(f"{folder / FILE} cannot be read, and is begun anew: {_plain(fault)}")
        salt, told = "", {}
    told = {digest: at for digest, at in told.items() if at > now - KEPT.total_seconds()}
    salt = salt if told else secrets.token_hex(16)
    told |= dict.fromkeys(sorted(_digest(salt, subject) for subject in subjects), now)
    made = folder / f".{FILE}.{os.getpid()}"
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        json.dump({"salt": salt, "erased": told}, file)
        file.flush()
        os.fsync(file.fileno())
    made.rename(folder / FILE)


def told(state: Path) -> Callable[[str], bool]:
    """Whether a subject is among those that were erased in the last days; of a file that cannot be read, nobody is."""
    try:
        salt, found = _read(state / source.FOLDER / FILE)
    except (OSError, ValueError):
        salt, found = "", {}
    return lambda subject: _digest(salt, subject) in found


class Erasures:
    """What a server was told of erasures, and what is new."""

    def __init__(self, state: Path) -> None:
        self._file = state / source.FOLDER / FILE
        self._looked, self._seen, self._newest = float("-inf"), (0, 0), 0.0

    def fresh(self) -> Callable[[str], datetime | None] | None:
        """When a subject was erased, of the erasures that were told since this was asked last; None where none was. A
        file that cannot be read is a line in the log, and looked at again when it changes.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        seen = (-1, -1)  # of a file that cannot even be looked at
        try:
            found = self._file.stat()
            seen = found.st_mtime_ns, found.st_ino
            if seen == self._seen:
                return None
            salt, told = _read(self._file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as fault:
            if seen != self._seen:
                telemetry.log.warning(f"whom to forget cannot be read of {self._file}: {_plain(fault)}")
            self._seen = seen
            return None
        new = {digest: at for digest, at in told.items() if at > self._newest}
        self._seen, self._newest = seen, max(new.values(), default=self._newest)

        def erased_at(subject: str) -> datetime | None:
            at = new.get(_digest(salt, subject))
            return None if at is None else datetime.fromtimestamp(at, UTC)

        return erased_at if new else None


def _read(file: Path) -> tuple[str, dict[str, float]]:
    """The salt, and moments by digest."""
    if not file.exists():
        return "", {}
    found = json.loads(file.read_bytes())
    if not isinstance(found, dict) or not isinstance(found.get("erased"), dict):
        raise ValueError("it is no JSON object of what was erased")
    return str(found.get("salt", "")), {digest: float(at) for digest, at in found["erased"].items()}


def _plain(fault: Exception) -> str:
    return fault.strerror or "unreadable" if isinstance(fault, OSError) else str(fault)


def _digest(salt: str, subject: str) -> str:
    return hashlib.sha256(f"{salt}{subject}".encode()).hexdigest()
