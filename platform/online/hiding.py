"""Documents that are answered no more though they stand in what was published: an erasure hides a person at once,
however large the store is, and the publication that it ends with is made without.

``<state>/online/hidden.json`` holds digests of places under a salt of its own, and names nobody. With each stands the
first generation without the document, once there is one: who still reads one of before, since the new one is being
checked or fetched, goes on without.
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

from customer360.platform import telemetry
from customer360.platform.lake import reached
from customer360.platform.online.files import Signature, Unsound, sync_folder, write_durably

HIDDEN = "hidden.json"
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
    """Answer some places no more, in every generation, from the next look of each reader on. Of a file that cannot be
    read nobody knows what it hid: it is begun anew, by who takes up each erasure that did not end."""
    with _changing(home):
        try:
            stood = read(home)
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
        now = read(home)
        ended = {digest: generation for digest, until in then.until.items() if not until and digest in now.until}
        _write(home, Hiding(now.salt, dict(now.until) | ended))


def read(home: Path) -> Hiding:
    """What is hidden; nothing where there is no file. Raises Unsound: it cannot be read."""
    try:
        stored = json.loads((home / HIDDEN).read_text(encoding="ascii"))
        return Hiding(str(stored["salt"]), {str(digest): str(until) for digest, until in stored["until"].items()})
    except FileNotFoundError:
        return Hiding()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as fault:
        raise Unsound(f"{HIDDEN}, who is being erased, cannot be read ({type(fault).__name__})") from fault


def signature(home: Path) -> Signature | None:
    """What tells that the file changed; None where there is none."""
    try:
        found = (home / HIDDEN).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _write(home: Path, hiding: Hiding) -> None:
    fresh = home / f".{HIDDEN}"
    fresh.touch(mode=0o600)
    write_durably(fresh, json.dumps({"salt": hiding.salt, "until": dict(sorted(hiding.until.items()))}))
    fresh.replace(home / HIDDEN)
    sync_folder(home)


@contextmanager
def _changing(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / "_hiding", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(salt: str, place: bytes) -> str:
    return hashlib.sha256(salt.encode() + place).hexdigest()
