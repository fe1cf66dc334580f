"""How often a key may ask, and how those share it who all have the same one."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import threading
import time
from array import array
from dataclasses import dataclass
from functools import lru_cache

BURST_SECONDS = 10  # of a key's rate may come at once
MOST_KEYS = 10_000  # whose requests are remembered
SLOTS = 4096  # of those who share a key: what lies in one is taken for one
OF_ONE = 0.05  # of a key's rate, that a visitor has for itself
OF_PLACE = 0.25  # and an address
KEPT = 0.25  # of what may come at once, beside it for those who took little


class Rates:
    """A bucket of requests for each key, in this process: it refills evenly and holds a few seconds' worth."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, float]] = {}  # requests that are left, and when that was
        self._lock = threading.Lock()  # pages of the console count on threads

    def wait(self, key_id: str, per_minute: int, count: int = 1) -> float:
        """Seconds until the next request may come; 0: this one may, and is counted, as ``count`` where it stands for
        so many: those after it wait for what it took too much.
        """
        now, rate = time.monotonic(), per_minute / 60
        most = max(rate * BURST_SECONDS, 1.0)
        with self._lock:
            left, since = self._held.get(key_id, (most, now))
            left = min(most, left + (now - since) * rate)
            if len(self._held) >= MOST_KEYS and key_id not in self._held:
                self._forget(now)
            self._held[key_id] = (left - count if left >= 1 else left), now
        return 0.0 if left >= 1 else (1 - left) / rate

    def owe(self, key_id: str, count: int) -> None:
        """One that was let in turned out to stand for so many more: those after it wait for them."""
        with self._lock:
            left, since = self._held[key_id]
            self._held[key_id] = left - count, since

    def _forget(self, now: float) -> None:
        """Those whose bucket has filled since; else the half that was not heard of for longest, rather of those who
        owe nothing."""
        self._held = {key: held for key, held in self._held.items() if held[0] < 0 or now - held[1] < BURST_SECONDS}
        if len(self._held) >= MOST_KEYS:
            longest_first = sorted(self._held.items(), key=lambda each: (each[1][0] < 0, each[1][1]))
            self._held = dict(longest_first[MOST_KEYS // 2 :])


class UsedUp(Exception):
    """Nothing is left of a key's rate for who asks; ``seconds`` until there may be. ``is_own``: others may ask."""

    def __init__(self, seconds: float, *, is_own: bool) -> None:
        super().__init__(seconds)
        self.seconds, self.is_own = seconds, is_own


@dataclass
class _Pools:
    """What is left of a key's rate: for who took little, for visitors who did at an address that did not, for all."""

    left: list[float]
    since: float

    def refill(self, amount: float, most: list[float]) -> None:
        """Those first who took little; what they have no room for is the others'."""
        for at, full in enumerate(most):
            given = min(amount, full - self.left[at])
            self.left[at] += given
            amount -= given


@dataclass(frozen=True)
class Charge:
    """What a request was let in by."""

    shares: Shares
    pools: _Pools
    slots: tuple[int, int]
    rate: float

    def owe(self, count: int, pool: int = -1) -> None:
        """It turned out to stand for so many more: nobody took little who did."""
        self.pools.left[pool] -= count
        self.shares.note(self.slots, count / self.rate)


class Shares:
    """A key that stands in a page is everybody's: each visitor, and each address, has a small part of its rate for
    itself, and a stranger who takes more leaves the others theirs.

    Who took no more than its own part is let in from what is kept for such; who took more, from what they leave. All
    together get the key's rate, and one alone gets it whole. Visitors are told apart within an address, so that nobody
    speaks for another's part; behind a proxy that does not say for whom it asks all have one address, and the visitor
    alone tells them apart.

    Memory is fixed: who asks has a slot by a secret digest. A key's rate is enough for a few dozen visitors to be above
    their part at once, so that one in fifty of the others shares a slot with one of them, at worst.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)
        self._pools: dict[str, _Pools] = {}
        self._taken, self._at = array("d", bytes(8 * SLOTS)), array("d", bytes(8 * SLOTS))  # seconds of the key's rate

    def take(self, key_id: str, per_minute: int, count: int, address: str, visitor: str) -> Charge:
        """Let a request in that stands for ``count``.

        Raises:
            UsedUp: it may not come now.
        """
        now, rate = time.monotonic(), per_minute / 60
        burst = max(rate * BURST_SECONDS, 1.0)
        most = [max(burst * KEPT, 1.0), max(burst * KEPT, 1.0), burst]
        pools = self._pools.setdefault(key_id, _Pools([*most], now))
        pools.refill((now - pools.since) * rate, most)
        pools.since = now
        place = network(address)
        slots = self._slot(key_id, place, visitor), self._slot(key_id, place)
        visitors, places = (
            self._has_taken(slot, part, rate, now) + count / rate <= _own(part, rate)
            for slot, part in zip(slots, (OF_ONE, OF_PLACE), strict=True)
        )
        first = 2 if not visitors else 1 if not places else 0
        pool = next((at for at in range(first, len(most)) if pools.left[at] >= 1), None)
        if pool is None:
            missing = sum(most[at] - pools.left[at] for at in range(first)) + 1 - pools.left[first]
            raise UsedUp(missing / rate, is_own=first > 0)
        charge = Charge(self, pools, slots, rate)
        charge.owe(count, pool)
        return charge

    def note(self, slots: tuple[int, int], seconds: float) -> None:
        for slot in slots:
            self._taken[slot] += seconds

    def _has_taken(self, slot: int, part: float, rate: float, now: float) -> float:
        """What a slot took that its part has not made good yet, in seconds of the key's rate. Of what is long ago, or
        was taken while nobody else asked, no more is remembered than is made good in `BURST_SECONDS`."""
        taken = min(self._taken[slot], 2 * _own(part, rate)) - (now - self._at[slot]) * part
        self._taken[slot], self._at[slot] = max(taken, 0.0), now
        return self._taken[slot]

    def _slot(self, *who: str) -> int:
        said = "\0".join(who).encode(errors="surrogatepass")
        return int.from_bytes(hashlib.blake2b(said, digest_size=8, key=self._secret).digest(), "big") % SLOTS


def _own(part: float, rate: float) -> float:
    """What a part of a key's rate lets come at once, one request at least, in seconds of that rate."""
    return max(part * BURST_SECONDS, 1 / rate)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """The address of a caller, or the network of 2^64 that one caller has of the newer kind."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    return str(found.ipv4_mapped) if found.ipv4_mapped else f"{int(found) >> 64:x}::/64"
