"""How often a key may ask, and that who shares one with others cannot use it up for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from customer360.serve import rates
from customer360.serve.rates import SLOTS, Rates, Shares, UsedUp

KEY, PER_MINUTE = "0123456789ab", 600  # ten a second, a hundred at once
HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = 1_000.0

    def go_on(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("customer360.serve.rates.time.monotonic", lambda: now)
    # By a secret of its own, now and then two of a test lie in one slot.
    monkeypatch.setattr("customer360.serve.rates.secrets.token_bytes", bytes)
    return go_on


def taken(shares: Shares, times: int, address: str = HERE, visitor: str = "v-1", count: int = 1) -> int:
    """How many of so many requests are let in."""
    got = 0
    for _ in range(times):
        try:
            shares.take(KEY, PER_MINUTE, count, address, visitor)
            got += 1
        except UsedUp:
            pass
    return got


def test_one_visitor_leaves_the_others_their_part(clock: Callable[[float], None]) -> None:
    shares = Shares()
    assert 90 <= taken(shares, 1_000) <= 110
    with pytest.raises(UsedUp) as fault:
        shares.take(KEY, PER_MINUTE, 1, HERE, "v-1")
    assert fault.value.is_own and 0 < fault.value.seconds < 20
    assert taken(shares, 3, THERE, "v-2") == 3
    assert taken(shares, 3, HERE, "v-2") == 3  # as behind a proxy that does not say for whom it asks


def test_a_stranger_goes_on_for_ever_and_the_others_are_let_in(clock: Callable[[float], None]) -> None:
    shares = Shares()
    flood = honest = 0
    for second in range(600):
        clock(1.0)
        flood += taken(shares, 50, HERE, f"v-{second}")  # another visitor each time, of one address
        if second % 3 == 0:
            honest += taken(shares, 1, THERE, "v-2") + taken(shares, 1, "203.0.113.9", "v-3")
    assert honest == 400
    assert flood <= 600 * 10 - 400 + 200  # what they leave of ten a second


def test_one_alone_has_the_whole_rate_and_all_together_no_more(clock: Callable[[float], None]) -> None:
    shares, got = Shares(), 0
    for _ in range(600):
        clock(1.0)
        got += taken(shares, 30)
    assert 6_000 <= got <= 6_200
    for second in range(60):
        clock(1.0)
        got += sum(taken(shares, 1, f"192.0.2.{n}", f"v-{second}-{n}") for n in range(30))
    assert got <= 6_000 + 600 + 200


def test_one_large_batch_is_not_what_others_wait_for(clock: Callable[[float], None]) -> None:
    shares = Shares()
    assert taken(shares, 1, count=5_000) == 1
    assert taken(shares, 1) == 0
    assert taken(shares, 5, THERE, "v-2") == 5
    charge = shares.take(KEY, PER_MINUTE, 1, "203.0.113.9", "v-3")
    charge.owe(5_000)  # few events that were heavy
    assert taken(shares, 5, THERE, "v-4") == 5


def test_nobody_speaks_for_the_part_of_a_visitor_elsewhere(clock: Callable[[float], None]) -> None:
    shares = Shares()
    taken(shares, 1_000, HERE, "v-2")
    assert taken(shares, 5, THERE, "v-2") == 5


def test_who_took_much_is_soon_as_others_are(clock: Callable[[float], None]) -> None:
    shares = Shares()
    for _ in range(3_600):
        clock(1.0)
        taken(shares, 30)
    clock(25.0)
    assert taken(shares, 5) == 5


def test_strangers_without_number_cost_no_memory_and_push_few_out(clock: Callable[[float], None]) -> None:
    shares = Shares()
    for second in range(120):
        clock(1.0)
        for n in range(20):
            taken(shares, 1, HERE, f"v-{second}-{n}")
    assert len(shares._taken) == SLOTS and len(shares._pools) == 1
    clock(15.0)
    assert sum(taken(shares, 1, f"198.51.100.{n}", f"w-{n}") for n in range(20)) == 20


@pytest.mark.parametrize(("address", "network"), [
    ("2001:db8::1", "2001:db8::2"), ("192.0.2.1", "::ffff:192.0.2.1"), ("", ""),
])  # fmt: skip
def test_who_has_a_network_is_one(address: str, network: str) -> None:
    assert rates.network(address) == rates.network(network)


def test_other_networks_are_others() -> None:
    assert len({rates.network(a) for a in ("2001:db8::1", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "unix:")}) == 5


def test_keys_without_number_cost_no_memory(clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_KEYS", 100)
    several = Rates()
    several.wait("in debt", 60, 600)
    for n in range(1_000):
        several.wait(f"k{n}", 60)
        clock(0.01)
    assert len(several._held) <= 100 and several.wait("in debt", 60) > 0
