"""Tokens that are good no more before they end: single ones (by `jti`), or all of a subject.

``<state>/tokens_revoked.json``. A file that cannot be read refuses every token, until it can: unknown is not none.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customer360.platform.access import KeysUnreadable
from customer360.platform.errors import ConfigError

REVOKED = "tokens_revoked.json"  # of the state folder
LONGEST = 1000  # characters of what is revoked
_Signature = tuple[int, int, int]
_CACHE: dict[Path, tuple[_Signature, frozenset[tuple[str, str, str]]]] = {}


@dataclass(frozen=True)
class Revocation:
    """``kind`` is `jti` or `sub`, and ``value`` what that claim of the issuer's tokens says."""

    issuer: str
    kind: str
    value: str
    at: str  # ISO, UTC


def is_revoked(state: Path, issuer: str, number: Any, subject: str) -> bool:
    """Whether a token of a number (`jti`, if it is a text) and a subject was revoked.

    Raises:
        KeysUnreadable: that cannot be told.
    """
    file = Path(state).absolute() / REVOKED
    try:
        found = file.stat()
    except FileNotFoundError:
        return False
    except OSError as fault:
        raise KeysUnreadable(f"{file} cannot be read ({fault.strerror})") from None
    signature = (found.st_mtime_ns, found.st_ino, found.st_size)
    if (kept := _CACHE.get(file)) is None or kept[0] != signature:
        kept = _CACHE[file] = signature, frozenset((r.issuer, r.kind, r.value) for r in _read(file))
    return (issuer, "sub", subject) in kept[1] or (isinstance(number, str) and (issuer, "jti", number) in kept[1])


def revoke(state: Path, issuer: str, kind: str, value: str) -> None:
    """From the next request on.

    Raises:
        ConfigError: there is nothing to revoke, or too long a one.
    """
    if not value or len(value) > LONGEST:
        raise ConfigError(f"what is revoked has 1 to {LONGEST:,} characters")
    with _changing(state) as revoked:
        if not any((r.issuer, r.kind, r.value) == (issuer, kind, value) for r in revoked):
            revoked.append(Revocation(issuer, kind, value, datetime.now(UTC).isoformat(timespec="seconds")))


def allow(state: Path, issuer: str, kind: str, value: str) -> None:
    """Take a revocation back.

    Raises:
        ConfigError: there is none.
    """
    with _changing(state) as revoked:
        left = [r for r in revoked if (r.issuer, r.kind, r.value) != (issuer, kind, value)]
        if len(left) == len(revoked):
            raise ConfigError(f"no {kind} of {issuer} that reads so was revoked; `customer360 token list` shows them")
        revoked[:] = left


def add(state: Path, later: str) -> None:
    """Revoke what the text of a later file does, too.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        found = _parsed(later)
    except (ValueError, TypeError) as wrong:
        raise ConfigError(f"the tokens revoked there cannot be read ({type(wrong).__name__})") from None
    with _changing(state) as kept:
        known = {(r.issuer, r.kind, r.value) for r in kept}
        kept += [each for each in found if (each.issuer, each.kind, each.value) not in known]


def revoked(state: Path) -> list[Revocation]:
    """All of them, oldest first.

    Raises:
        KeysUnreadable: the file cannot be read.
    """
    file = Path(state).absolute() / REVOKED
    return _read(file) if file.exists() else []


def _read(file: Path) -> list[Revocation]:
    try:
        return _parsed(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as wrong:
        raise KeysUnreadable(
            f"{file} does not say which tokens are revoked ({type(wrong).__name__}); restore it, or delete it and "
            f"revoke them anew"
        ) from None


def _parsed(text: str) -> list[Revocation]:
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError("no list")
    found = [Revocation(**each) for each in entries]
    if any(not isinstance(said, str) for each in found for said in asdict(each).values()):
        raise ValueError("no text")
    return found


@contextmanager
def _changing(state: Path) -> Iterator[list[Revocation]]:
    """What is revoked, to be changed in place; written as a whole, one process at a time. None is ever forgotten: a
    token may have been made long before it is good for no longer than one may be."""
    file = Path(state).absolute() / REVOKED
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(file.with_suffix(".lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = revoked(state)
        yield kept
        fresh = file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            json.dump([asdict(each) for each in kept], out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(file)
