from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.sources.formats import text


def by_counting(data: bytes) -> bool:
    told = data.decode("utf-8", "surrogateescape")
    return sum(c > "\x7f" and not "\udc80" <= c <= "\udcff" for c in told) > 0


PARTS = st.sampled_from([b"a", b"\n", "é".encode(), "€".encode(), "\U0001f600".encode(), b"\xe9", b"\x80", b"\xff"])


@given(st.lists(PARTS, max_size=8), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=500, deadline=None)
def test_a_whole_character_is_found_wherever_a_text_is_cut(parts: list[bytes], head: int, tail: int) -> None:
    data = b"".join(parts)
    data = data[head : len(data) - tail]
    assert text._holds_utf8(data) == by_counting(data)
