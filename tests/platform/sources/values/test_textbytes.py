"""The bytes of text columns, and the rules that are only applied to the values that they may concern."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.sources import values
from customer360.platform.sources.values import Reading, textbytes, timestamps
from customer360.platform.tables import Column, Identifier, String

LETTERS = "ab0.'é\u2003\u00a0 \tnulNA/-?ü😀"
TEXTS = st.lists(
    st.none() | st.text(LETTERS, max_size=30) | st.sampled_from(["NULL ", "n/a", "'007", "5.0", "\\N", "-"])
)


def column(texts: list[str | None]) -> pl.Series:
    """A column in several pieces, one of them cut out of a larger one."""
    whole = pl.Series("t", ["before, and long enough", *texts], pl.String)
    return pl.concat([whole[1:], whole[1:].filter(pl.Series([True] * len(texts), dtype=pl.Boolean))])


@given(TEXTS)
def test_ends_are_those_of_the_encoded_texts(texts: list[str | None]) -> None:
    found = textbytes.of(column(texts))
    raw = [None if text is None else text.encode() for text in texts * 2]
    assert found.length.tolist() == [-1 if text is None else len(text) for text in raw]
    assert found.first.tolist() == [text[0] if text else 0 for text in raw]
    assert found.last.tolist() == [text[-1] if text else 0 for text in raw]
    assert found.before_last.tolist() == [text[-2] if text and len(text) > 1 else 0 for text in raw]


@given(st.integers(1, 30), st.data())
def test_texts_of_one_length_are_a_matrix(length: int, data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text("abc", min_size=length, max_size=length), min_size=1))
    found = textbytes.matrix(column(list(texts)))
    assert found is not None
    assert [bytes(row).decode() for row in found] == texts * 2
    assert textbytes.matrix(column([*texts, "x" * (length + 1)])) is None
    assert textbytes.matrix(column([*texts, None])) is None


@given(TEXTS)
def test_identifiers_that_are_left_alone_need_no_care(texts: list[str | None]) -> None:
    text = column(texts)
    assert values.identifiers(text).to_list() == values._bare_identifiers(text).to_list()


@given(TEXTS, st.sampled_from([Identifier(), String(metadata={"pii": "name"})]))
def test_words_for_nothing_are_found_in_every_case_and_between_blanks(texts: list[str | None], kind: Column) -> None:
    text, words = column(texts), Reading().words
    named = (kind.metadata or {}).get("pii") == "name"

    def plain(word: str | None) -> str | None:
        stripped = (word or "").strip()
        is_word = stripped in ("", *words.nulls_of_names) or (not named and stripped.lower() in words.nulls)
        return None if is_word else word

    assert values.known(text, kind, Reading()).to_list() == [plain(word) for word in text.to_list()]


@st.composite
def times(draw: st.DrawFn) -> list[str | None]:
    """Times that are written alike, some of them of no calendar."""
    length, fraction = draw(st.sampled_from([10, 16, 19])), draw(st.integers(0, 7))
    zone = draw(st.sampled_from(["", "Z", "offset"]))

    def one() -> str:
        date = f"{draw(st.integers(1, 9999)):04}-{draw(st.integers(1, 12)):02}-{draw(st.integers(1, 31)):02}"
        clock = f"{draw(st.sampled_from('T '))}{draw(st.integers(0, 24)):02}:{draw(st.integers(0, 59)):02}"
        seconds = f":{draw(st.integers(0, 60)):02}" + (
            f".{draw(st.integers(0, 10**7)):07}"[: fraction + 1] if fraction else ""
        )
        offset = f"{draw(st.sampled_from('+-'))}{draw(st.integers(0, 14)):02}:{draw(st.sampled_from(['00', '30']))}"
        text = date + (clock if length > 10 else "") + (seconds if length > 16 else "")
        return text + {"": "", "Z": "Z", "offset": offset}[zone]

    return [None if draw(st.integers(0, 9)) == 0 else one() for _ in range(draw(st.integers(1, 4)))]


@settings(deadline=None)
@given(times(), st.sampled_from([None, "Europe/Berlin", "America/New_York"]))
def test_times_read_by_their_digits_are_those_read_with_care(texts: list[str | None], zone: str | None) -> None:
    text = pl.Series("at", texts, pl.String)
    if (found := timestamps.iso(text)) is not None:
        careful = timestamps.parsed(text, "at", lambda _: None, None, zone)
        assert timestamps.in_utc(found, zone).to_list() == careful.to_list()
        assert careful.null_count() == text.null_count()


def test_times_that_are_no_time_are_left_to_those_who_read_with_care() -> None:
    for text in ("2025-02-29", "2025-13-01", "2025-06-01T24:00:00", "2025-06-01T09:30:60", "2025-06-01T09:30:15+1:00"):
        assert timestamps.iso(pl.Series([text])) is None
    assert timestamps.iso(pl.Series(["2025-06-01T09:30:15.250"])) is not None
