"""How many requests are let in at once, so that who is let in does not wait until the answer comes too late.

A queue of a fixed length is too long for slow answers, and too short for quick ones. So what is measured is how long
answers take: where they take long while the room is used, there is less of it, else a little more each time, as TCP
does with what is on its way. Who finds no room is told at once, which costs next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST, FIRST, MOST = 8, 64, 4096
LONG = 0.25  # of the time-out: answers that take longer stand in a queue
LESS = 0.8


class Room:
    """``seconds``: after which an answer is too late."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._long, self._now = seconds * LONG, now
        self._limit, self._inside, self._lessened_at = float(FIRST), 0, float("-inf")

    @property
    def limit(self) -> int:
        """How many may be inside at once."""
        return int(self._limit)

    def enter(self) -> bool:
        """Whether there is room; then one is inside until `leave`."""
        if self._inside >= self.limit:
            return False
        self._inside += 1
        return True

    def leave(self, seconds: float) -> None:
        """One has its answer after so many seconds."""
        is_used = self._inside > self._limit / 2  # a slow answer that is alone says nothing of a queue
        self._inside -= 1
        if not is_used:
            return
        if seconds <= self._long:
            self._limit = min(self._limit + 1 / self._limit, MOST)
        elif self._now() - self._lessened_at > self._long:  # those who came in before say the same once
            self._limit, self._lessened_at = max(self._limit * LESS, LEAST), self._now()
