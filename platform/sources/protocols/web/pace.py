"""How often an API is asked: a bucket of tokens, which fills by so many a minute and holds a burst."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from customer360.platform.connections.api import Rate
from customer360.platform.errors import TransientError
from customer360.platform.sources.spool import Shelf

ROUNDING = 1e-6  # of a token
LONGEST = 3600.0  # seconds that nobody is asked, whatever an answer said


_turns: dict[str, threading.Lock] = {}  # by lake and path: who counts requests in this process does it in turn


@dataclass
class Bucket:
    """The requests that may be made now. Each that is taken is written to the lake before it is made, so that the next
    process, and one after a crash, goes on from there. Whoever shares a connection takes from it in turn: threads of
    one process by a lock, units of a run by their lane.
    """

    rate: Rate
    lake: Shelf | None = None
    path: str = ""
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    tokens: float = -1.0
    at: float = 0.0
    held: float = 0.0  # seconds that the other side asked to wait, last
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, patience: float = math.inf) -> None:
        """Wait until a request may be made.

        Raises:
            TransientError: the other side asked for a rest that lasts longer than ``patience`` seconds from now.
        """
        paid = False
        while True:
            with self._turn():
                rest, short = self._missing(patience, paid=paid)
                if not rest and not short:
                    return
            self.sleep(rest or short)
            paid = bool(short)

    def _missing(self, patience: float, *, paid: bool) -> tuple[float, float]:
        """Take a token, or the seconds to rest as the other side asked, or those until there is one. Where that was
        ``paid`` by waiting and the clock says otherwise, as it was set back, the token counts as there.
        """
        now = self.clock()
        self._read(now)
        # Where the clock was set back since, the rest lasts no longer than was asked for.
        if (rest := min(self.at - now, self.held)) > 0:
            self.at = now + rest
            if rest > patience:  # the moment, which is the same for all who look until then
                raise TransientError(f"it asked to wait until {datetime.fromtimestamp(self.at, UTC):%F %T} UTC")
            self._write()
            return rest, 0.0
        is_behind = now < self.at
        self._fill()
        if self.tokens < 1 - ROUNDING and not (paid and is_behind):
            self._write()
            return 0.0, (1 - self.tokens) * 60 / self.rate.per_minute
        self.tokens = max(self.tokens - 1, 0.0)
        self._write()
        return 0.0, 0.0

    def hold(self, seconds: float) -> None:
        """The other side asked to wait: nothing is left, and nothing comes in until then."""
        with self._turn():
            now = self.clock()
            self._read(now)
            self.held = max(min(seconds, LONGEST), min(self.at - now, self.held))
            self.tokens, self.at = 0.0, now + self.held
            self._write()

    def _turn(self) -> threading.Lock:
        if not (self.lake and self.path):
            return self._alone
        return _turns.setdefault(f"{self.lake.root} {self.path}", threading.Lock())

    def _fill(self) -> None:
        now = self.clock()
        # A clock that was set back counts as no time; one that was set far ahead fills the bucket once.
        self.tokens = min(self.rate.burst, self.tokens + max(0.0, now - self.at) * self.rate.per_minute / 60)
        self.at = max(now, min(self.at, now + LONGEST))

    def _read(self, now: float) -> None:
        """What is written now, which another may have written; without a place, what this one knows."""
        if self.tokens >= 0 and not (self.lake and self.path):
            return
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
