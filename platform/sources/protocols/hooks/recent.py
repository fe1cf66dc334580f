"""The keys that came last, in memory that stays as large as it once was."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

PARTS = 4  # of what is remembered; as many tables and one more are asked for a key


class Recent:
    """At least the ``most`` keys that came last, and at most a `PARTS`-th more.

    One table from which the oldest key goes with each new one is made anew whenever it is full of gaps, 20 MB at a time
    for 200,000 keys, which the allocator then keeps. Parts are filled, and go whole.
    """

    def __init__(self, most: int) -> None:
        self._room = max(1, -(-most // PARTS))
        self._parts: deque[set[bytes]] = deque([set()], maxlen=PARTS + 1)

    def __contains__(self, key: object) -> bool:
        return any(key in part for part in self._parts)

    def update(self, keys: Iterable[bytes]) -> None:
        """Remember keys that are not remembered yet, the newest last."""
        for key in keys:
            if len(self._parts[-1]) >= self._room:
                self._parts.append(set())
            self._parts[-1].add(key)

    def discard(self, key: bytes) -> None:
        """Forget a key, if it is remembered."""
        for part in self._parts:
            part.discard(key)
