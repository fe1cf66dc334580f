"""What requests restrict: purposes that a person refuses by its accounts, until the request is released.

``_rights/restricted/<request>.json`` in the lake. What holds of a person follows from who has the account now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from customer360.platform.lake import Lake

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
    """Purposes that somebody had restricted, by account."""
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


def _restrictions(lake: Lake) -> dict[int, dict[str, list[str]]]:
    """Accounts and purposes by request."""
    before = json.loads(lake.get(_RESTRICTED_BEFORE) or b"{}")
    found = {int(request): kept for request, kept in before.items()}
    for path, stamp in lake.stamps(_RESTRICTED).items():
        found[int(path.rpartition("/")[2].removesuffix(".json"))] = _read(lake, path, stamp)
    return {request: kept for request, kept in found.items() if kept}


def _read(lake: Lake, path: str, stamp: str) -> dict[str, list[str]]:
    known = _known.get((lake.root, path))
    if known is None or known[0] != stamp:
        known = _known[lake.root, path] = stamp, json.loads(lake.get(path) or b"{}")
    return known[1]


def _put_restriction(lake: Lake, request: int, accounts: Iterable[str], purposes: Iterable[str]) -> None:
    kept = {"accounts": sorted(accounts), "purposes": sorted(purposes)}
    lake.put(f"{_RESTRICTED}/{request:08d}.json", json.dumps(kept).encode())
