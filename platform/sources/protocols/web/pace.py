"""How often an API is asked: a bucket of tokens, which fills by so many a minute and holds a burst."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from customer360.platform.connections.api import Rate
from customer360.platform.lake import Lake

LEASE = 10  # requests that are written down at once: a process that dies gives up so many at most


@dataclass
class Bucket:
    """The requests that may be made now. What was taken is written to the lake before it is used, so that the next
    process, and one after a crash, goes on from there. Whoever shares a connection takes from it in turn.
    """

    rate: Rate
    lake: Lake | None = None
    path: str = ""
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    tokens: float = -1.0
    at: float = 0.0
    leased: int = field(default=0)

    def take(self) -> None:
        """Wait until a request may be made."""
        if self.leased:
            self.leased -= 1
            return
        self._fill()
        if self.tokens < 1:
            self.sleep((1 - self.tokens) * 60 / self.rate.per_minute)
            self._fill()
            self.tokens = max(self.tokens, 1.0)  # a clock that stood still must not be waited for twice
        granted = max(1, min(int(self.tokens), LEASE))
        self.tokens -= granted
        self.leased = granted - 1
        self._write()

    def hold(self, seconds: float) -> None:
        """The other side asked to wait: nothing is left, and nothing comes in until then."""
        self.leased = 0
        self.tokens, self.at = 0.0, self.clock() + seconds
        self._write()
        self.sleep(seconds)

    def _fill(self) -> None:
        now = self.clock()
        if self.tokens < 0:
            self._read(now)
        # A clock that was set back counts as no time; one that was set far ahead fills the bucket once.
        self.tokens = min(self.rate.burst, self.tokens + max(0.0, now - self.at) * self.rate.per_minute / 60)
        self.at = max(now, min(self.at, now + 3600))

    def _read(self, now: float) -> None:
        said = self.lake.get(self.path) if self.lake and self.path else None
        try:
            kept = json.loads(said or b"{}")
            self.tokens, self.at = float(kept["tokens"]), float(kept["at"])
        except (ValueError, KeyError, TypeError):  # nothing yet, or damaged: a count of requests is no record
            self.tokens, self.at = float(self.rate.burst), now

    def _write(self) -> None:
        if self.lake and self.path:
            self.lake.put(self.path, json.dumps({"tokens": self.tokens, "at": self.at}).encode())
