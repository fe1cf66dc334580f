"""That persons were erased, told to the servers that hold windows of what they did just now.

One file of the state folder holds, for each erasure of the last days, digests of its subjects under a salt of its own;
servers look whether it changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from customer360.platform.sources import collector as source

FILE = "erased.json"
KEPT = timedelta(hours=48)  # longer than a window lives
LOOK_SECONDS = 1.0


def tell(state: Path, subjects: Iterable[str]) -> None:
    """Let the servers over a state folder forget subjects, as `activity.visitor` and `activity.account` name them."""
    if not (folder := state / source.FOLDER).is_dir():
        return  # no collector took an event
    now = time.time()
    told = [each for each in _read(folder / FILE) if each[0] > now - KEPT.total_seconds()]
    salt = secrets.token_hex(16)
    told.append((now, salt, sorted(_digest(salt, subject) for subject in subjects)))
    made = folder / f".{FILE}.{os.getpid()}"
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        json.dump(told, file)
    made.rename(folder / FILE)


class Erasures:
    """What a server was told of erasures, and what is new."""

    def __init__(self, state: Path) -> None:
        self._file = state / source.FOLDER / FILE
        self._looked, self._seen, self._newest = float("-inf"), (0, 0), 0.0

    def fresh(self) -> Callable[[str], bool] | None:
        """A test of the subjects that were erased since this was asked last; None where nobody was."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        if (seen := (found.st_mtime_ns, found.st_ino)) == self._seen:
            return None
        told = [each for each in _read(self._file) if each[0] > self._newest]
        self._seen, self._newest = seen, max((each[0] for each in told), default=self._newest)
        sets = [(salt, frozenset(digests)) for _, salt, digests in told]
        return lambda subject: any(_digest(salt, subject) in digests for salt, digests in sets)


def _read(file: Path) -> list[tuple[float, str, list[str]]]:
    return [(at, salt, digests) for at, salt, digests in json.loads(file.read_bytes())] if file.exists() else []


def _digest(salt: str, subject: str) -> str:
    return hashlib.sha256(f"{salt}{subject}".encode()).hexdigest()
