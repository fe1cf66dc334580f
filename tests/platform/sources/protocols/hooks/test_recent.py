"""What is remembered of keys: the newest, however many came, and in tables that no longer grow."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.sources.protocols.hooks.recent import PARTS, Recent


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


@given(most=st.integers(1, 40), lots=st.lists(st.integers(0, 25), max_size=12))
def test_the_newest_are_known_and_few_more(most: int, lots: list[int]) -> None:
    recent, count = Recent(most), 0
    for lot in lots:
        recent.update(key(n) for n in range(count, count + lot))
        count += lot
    known = [n for n in range(count) if key(n) in recent]
    assert known == list(range(count - len(known), count))
    assert min(count, most) <= len(known) <= most + -(-most // PARTS) + PARTS


def test_a_key_that_is_taken_back_is_new_again() -> None:
    recent = Recent(10)
    recent.update(map(key, range(8)))
    recent.discard(key(1))
    recent.discard(key(99))
    assert [n for n in range(8) if key(n) not in recent] == [1]


def test_no_table_grows_with_what_came() -> None:
    recent = Recent(1000)
    recent.update(map(key, range(2000)))
    full = sum(map(sys.getsizeof, recent._parts))
    recent.update(map(key, range(2000, 30_000)))
    assert sum(map(sys.getsizeof, recent._parts)) <= full
