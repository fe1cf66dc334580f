"""A change that is sent twice is made once: what became of it is kept under the caller's own key for it.

The caller sends `Idempotency-Key` with a change. When no answer came in time, it sends the same again: while the first
is still being made, the second waits for it, and both get its events.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from customer360.models.identity.registry import RegistryError

FOLDER = "changes"
OTHERWISE = "this Idempotency-Key was used for another change"


class UsedOtherwise(RegistryError):
    """The idempotency key came with another change before."""


def once(state: Path, caller: str, token: str | None, change: list[Any], make: Callable[[], list[int]]) -> list[int]:
    """The events of a change, which is made unless ``caller`` had it made under the same ``token``; without a token it
    is made. One that was begun and never ended is made again: its parts are each made once (``stewardship``), or what
    was made is found by `sent_as`.

    Raises:
        UsedOtherwise: the token stands for another change.
    """
    if token is None:
        return make()
    home = state / FOLDER
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / f"{_digest([caller, token])}.json", "a+", encoding="utf-8") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        note.seek(0)
        made = _parsed(note.read())
        if made is not None and made["change"] != _digest(change):
            raise UsedOtherwise(OTHERWISE)
        if made is not None:
            events: list[int] = made["events"]
            return events
        events = make()
        note.truncate(0)
        json.dump({"change": _digest(change), "events": events}, note)
        return events


def sent_as(caller: str, token: str | None, change: list[Any]) -> str:
    """By what a change that was sent under a token is found where it was made, should its maker have died before
    `once` could note it; empty without a token."""
    return "" if token is None else f"{_digest([caller, token])} {_digest(change)}"


def is_same(made: str, asked: str) -> bool:
    """Whether what was made was sent as what is asked for, in the words of `sent_as`.

    Raises:
        UsedOtherwise: it was sent under the same token, and is another change.
    """
    if not asked or made.partition(" ")[0] != asked.partition(" ")[0]:
        return False
    if made != asked:
        raise UsedOtherwise(OTHERWISE)
    return True


def _parsed(text: str) -> dict[str, Any] | None:
    """What was kept; None of a change that did not end."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"change", "events"} <= found.keys() else None


def _digest(said: list[Any]) -> str:
    return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()
