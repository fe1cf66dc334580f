"""Documents that are answered no more though they stand in what was published: an erasure hides a person at once,
however large the store is, and the publication that it ends with is made without.

``<state>/online/hidden.json`` holds digests of places under a salt of its own, and names nobody. With each stands the
first generation without the document, once there is one: who still reads one of before, since the new one is being
checked or fetched, goes on without.

A copy is written before it, so that it never knows fewer: where the file is damaged or gone, the copy tells. Where
neither can be read, nobody is answered: whoever might be being erased is not guessed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from customer360.platform import telemetry
from customer360.platform.lake import reached
from customer360.platform.online.files import Signature, Unsound, sync_folder, write_durably

HIDDEN, COPY = "hidden.json", "hidden_copy.json"
KEPT = timedelta(days=15)  # that a machine which was away may still serve a generation of before


@dataclass(frozen=True)
class Hidden:
    """Digests of places (``online.address``) that are answered as if they held nothing."""

    salt: str = ""
    digests: frozenset[str] = frozenset()

    def holds(self, place: bytes) -> bool:
        return bool(self.digests) and _digest(self.salt, place) in self.digests


@dataclass(frozen=True)
class Hiding:
    """What is hidden: by digest the id of the first generation without it, empty where there is none yet."""

    salt: str = ""
    until: Mapping[str, str] = field(default_factory=dict)

    def of(self, generation: str) -> Hidden:
        """What is hidden of one generation."""
        held = (digest for digest, until in self.until.items() if not until or generation < until)
        return Hidden(self.salt, frozenset(held))


def hide(home: Path, places: Iterable[bytes]) -> None:
    """Answer some places no more, in every generation, from the next look of each reader on. Where neither the file nor
    its copy can be read nobody knows what it hid: it is begun anew, by who takes up each erasure that did not end."""
    with _changing(home):
        try:
            stood, _ = known(home)
        except Unsound as fault:
            telemetry.log.warning(f"{fault}; it is begun anew")
            stood = Hiding()
        salt = stood.salt or secrets.token_hex(16)
        reached("before hiding")
        past = (datetime.now(UTC) - KEPT).strftime("%Y%m%dT")
        kept = {digest: until for digest, until in stood.until.items() if not until or until > past}
        _write(home, Hiding(salt, kept | dict.fromkeys((_digest(salt, place) for place in places), "")))
    reached("after hiding")


def end(home: Path, then: Hiding, generation: str) -> None:
    """What was hidden ``then`` and had no end is in no generation from this one on."""
    if all(then.until.values()):
        return
    with _changing(home):
        now, _ = known(home)
        ended = {digest: generation for digest, until in then.until.items() if not until and digest in now.until}
        _write(home, Hiding(now.salt, dict(now.until) | ended))


def known(home: Path) -> tuple[Hiding, str | None]:
    """What is hidden, and what is wrong with the file where its copy tells it; nothing where there is neither.

    Raises:
        Unsound: neither can be read, or the one that is there cannot.
    """
    try:
        if (found := read(home)) is not None:
            return found, None
        fault = Unsound(f"{HIDDEN}, who is being erased, is gone")
    except Unsound as damaged:
        fault = damaged
    is_there = (home / HIDDEN).exists()
    try:
        copy = read(home, COPY)
    except Unsound:
        raise fault from None
    if copy is None and is_there:
        raise fault
    return (copy, str(fault)) if copy is not None else (Hiding(), None)


def read(home: Path, name: str = HIDDEN) -> Hiding | None:
    """What one of the two files says; None where it is not there. Raises Unsound: it cannot be read."""
    try:
        stored = json.loads((home / name).read_text(encoding="ascii"))
        if stored.pop("checksum", None) not in (None, _checksum(stored)):  # none: of a version before
            raise ValueError("it is not what was written")
        return Hiding(str(stored["salt"]), {str(digest): str(until) for digest, until in stored["until"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as fault:
        raise Unsound(f"{name}, who is being erased, cannot be read ({type(fault).__name__})") from fault


def signature(home: Path) -> Signature | None:
    """What tells that the file changed; None where there is none."""
    try:
        found = (home / HIDDEN).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _write(home: Path, hiding: Hiding) -> None:
    said = {"salt": hiding.salt, "until": dict(sorted(hiding.until.items()))}
    for name in (COPY, HIDDEN):
        fresh = home / f".{name}"
        fresh.touch(mode=0o600)
        write_durably(fresh, json.dumps(said | {"checksum": _checksum(said)}))
        fresh.replace(home / name)
        sync_folder(home)  # one after the other: the copy never knows fewer, after a loss of power neither


def _checksum(said: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@contextmanager
def _changing(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / "_hiding", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(salt: str, place: bytes) -> str:
    return hashlib.sha256(salt.encode() + place).hexdigest()
