"""How often a key may ask."""

import time

BURST_SECONDS = 10  # of a key's rate may come at once


class Rates:
    """A bucket of requests for each key, in this process: it refills evenly and holds a few seconds' worth."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, float]] = {}  # requests that are left, and when that was

    def wait(self, key_id: str, per_minute: int, count: int = 1) -> float:
        """Seconds until the next request may come; 0: this one may, and is counted, as ``count`` where it stands for
        so many: those after it wait for what it took too much.
        """
        now, rate = time.monotonic(), per_minute / 60
        most = max(rate * BURST_SECONDS, 1.0)
        left, since = self._held.get(key_id, (most, now))
        left = min(most, left + (now - since) * rate)
        self._held[key_id] = (left - count if left >= 1 else left), now
        return 0.0 if left >= 1 else (1 - left) / rate

    def owe(self, key_id: str, count: int) -> None:
        """One that was let in turned out to stand for so many more: those after it wait for them."""
        left, since = self._held[key_id]
        self._held[key_id] = left - count, since
