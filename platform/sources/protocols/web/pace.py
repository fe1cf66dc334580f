"""How often an API is asked: a bucket of tokens, which fills by so many a minute and holds a burst."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from customer360.platform.connections.api import Rate
from customer360.platform.errors import TransientError
from customer360.platform.sources.spool import Shelf

LONGEST = 3600.0  # seconds that nobody is asked, whatever an answer said


@dataclass
class Bucket:
    """The requests that may be made now. Each that is taken is written to the lake before it is made, so that the next
    process, and one after a crash, goes on from there. Whoever shares a connection takes from it in turn.
    """

    rate: Rate
    lake: Shelf | None = None
    path: str = ""
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    tokens: float = -1.0
    at: float = 0.0
    held: float = 0.0  # seconds that the other side asked to wait, last

    def take(self, patience: float = math.inf) -> None:
        """Wait until a request may be made.

        Raises:
            TransientError: the other side asked for a rest that lasts longer than ``patience`` seconds from now.
        """
        now = self.clock()
        if self.tokens < 0:
            self._read(now)
        # Where the clock was set back since, the rest lasts no longer than was asked for.
        if (rest := min(self.at - now, self.held)) > 0:
            self.at = now + rest
            if rest > patience:  # the moment, which is the same for all who look until then
                raise TransientError(f"it asked to wait until {datetime.fromtimestamp(self.at, UTC):%F %T} UTC")
            self.sleep(rest)
        self._fill()
        if self.tokens < 1:
            self.sleep((1 - self.tokens) * 60 / self.rate.per_minute)
            self._fill()
            self.tokens = max(self.tokens, 1.0)  # a clock that stood still must not be waited for twice
        self.tokens -= 1
        self._write()

    def hold(self, seconds: float) -> None:
        """The other side asked to wait: nothing is left, and nothing comes in until then."""
        now = self.clock()
        if self.tokens < 0:
            self._read(now)
        self.held = max(min(seconds, LONGEST), min(self.at - now, self.held))
        self.tokens, self.at = 0.0, now + self.held
        self._write()

    def _fill(self) -> None:
        now = self.clock()
        # A clock that was set back counts as no time; one that was set far ahead fills the bucket once.
        self.tokens = min(self.rate.burst, self.tokens + max(0.0, now - self.at) * self.rate.per_minute / 60)
        self.at = max(now, min(self.at, now + LONGEST))

    def _read(self, now: float) -> None:
        said = self.lake.get(self.path) if self.lake and self.path else None
        try:
            kept = json.loads(said or b"{}")
            self.tokens, self.at = float(kept["tokens"]), float(kept["at"])
            self.held = float(kept.get("held", 0.0))
        except (ValueError, KeyError, TypeError, AttributeError):  # none yet, or damaged: a count is no record
            self.tokens, self.at, self.held = float(self.rate.burst), now, 0.0

    def _write(self) -> None:
        if self.lake and self.path:
            kept = {"tokens": self.tokens, "at": self.at, "held": self.held}
            self.lake.put(self.path, json.dumps(kept).encode())
