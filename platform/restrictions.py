"""What requests restrict: purposes that a person refuses by its accounts, until the request is released.

``_rights/restricted/<request>.json`` in the lake. What holds of a person follows from who has the account now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from customer360.platform.lake import Lake
from customer360.platform.lake.damage import RESTORE, parsed, unlike

_RESTRICTED = "_rights/restricted"
_RESTRICTED_BEFORE = "_rights/restricted.json"  # of lakes of before: all in one object

_known: dict[tuple[str, str], tuple[str, dict[str, list[str]]]] = {}  # of this process: stamp and content, by object


def restrict(lake: Lake, request: int, accounts: Iterable[str], purposes: Iterable[str]) -> None:
    """Note that whoever holds one of these accounts ("SYSTEM/id") refuses purposes, until ``release``. One object a
    request, so that of several that are noted at once none is lost."""
    _put_restriction(lake, request, accounts, purposes)


def release(lake: Lake, request: int) -> None:
    """End what a request restricts."""
    _put_restriction(lake, request, (), ())  # not deleted: the object stands for what lakes of before noted of it, too


def restrictions(lake: Lake) -> dict[str, set[str]]:
    """Purposes that somebody had restricted, by account.

    Raises:
        LakeError: an object cannot be read, so that it is not known what it restricts; it is named.
    """
    found: dict[str, set[str]] = {}
    for kept in _restrictions(lake).values():
        for account in kept["accounts"]:
            found.setdefault(account, set()).update(kept["purposes"])
    return found


def forget(lake: Lake, accounts: Iterable[str]) -> None:
    """Take accounts out of every restriction, for an erasure. Call it under the run lock."""
    gone, stands_before = set(accounts), lake.get(_RESTRICTED_BEFORE) is not None
    for request, kept in _restrictions(lake).items():
        left = set(kept["accounts"]) - gone
        if stands_before or len(left) < len(kept["accounts"]):
            _put_restriction(lake, request, left, kept["purposes"])
    if stands_before:
        lake.delete([_RESTRICTED_BEFORE])


def check(lake: Lake, path: str) -> None:
    """Raise LakeError where an object of this folder cannot be read."""
    _of_before(lake) if path == _RESTRICTED_BEFORE else _stored(lake, path)


def _restrictions(lake: Lake) -> dict[int, dict[str, list[str]]]:
    """Accounts and purposes by request."""
    found = _of_before(lake)
    for path, stamp in lake.stamps(_RESTRICTED).items():
        found[_number(path)] = _read(lake, path, stamp)
    return {request: kept for request, kept in found.items() if kept}


def _of_before(lake: Lake) -> dict[int, dict[str, list[str]]]:
    before = parsed(lake, _RESTRICTED_BEFORE)
    if before is None:
        return {}
    if not isinstance(before, dict) or not all(r.isdecimal() and _is_one(kept) for r, kept in before.items()):
        raise unlike(lake, _RESTRICTED_BEFORE)
    return {int(request): kept for request, kept in before.items()}


def _read(lake: Lake, path: str, stamp: str) -> dict[str, list[str]]:
    known = _known.get((lake.root, path))
    if known is None or known[0] != stamp:
        known = _known[lake.root, path] = stamp, _stored(lake, path)
    return known[1]


def _stored(lake: Lake, path: str) -> dict[str, list[str]]:
    remedy = f"{RESTORE}, or `customer360 rights release {_number(path)}` and restrict by another request"
    kept = parsed(lake, path, remedy)
    if kept is None:
        return {}
    if not _is_one(kept):
        raise unlike(lake, path, remedy)
    found: dict[str, list[str]] = kept
    return found


def _is_one(kept: Any) -> bool:
    return isinstance(kept, dict) and all(
        isinstance(kept.get(what), list) and all(isinstance(each, str) for each in kept[what])
        for what in ("accounts", "purposes")
    )


def _number(path: str) -> int:
    return int(path.rpartition("/")[2].removesuffix(".json"))


def _put_restriction(lake: Lake, request: int, accounts: Iterable[str], purposes: Iterable[str]) -> None:
    kept = {"accounts": sorted(accounts), "purposes": sorted(purposes)}
    lake.put(f"{_RESTRICTED}/{request:08d}.json", json.dumps(kept).encode())
