"""Lines whose keys are the usual ones are read at once, as they are read with care."""

from __future__ import annotations

import json
from unittest import mock

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.sources.formats.lines import Lines, split_lines
from customer360.platform.sources.formats.ndjson import balanced, keys, objects
from customer360.platform.sources.formats.records import POSITION

NAMES = ("a", "id", "EVENT_ID", "CUSTOMER_ID", "a_long_name_of_a_column", "é", "_position", "x y")
BREAKS = (b"null", b"[1,2]", b"\xff\xfe", b'{"id":1,,}', b'"x"', b"{}", b"12", b"{", b'{"id":1}{"id":2}')
NASTY = ("", "a:b", ":", '":', '","id":', '"', "\\", "{", "[1]", "\u2028", "é😀", "null", " ", "2025-01-01T00:00:00")
LITERALS = ("1", "-0.5", "12345678901234567890123", "1.50", "1e3", "true", "null", "[]", '{"id":1}', '"\\u00e9"')

ODD = (
    '{"a":1,"c":2}',
    '{"a":1,"c":null,"d":2}',
    '{"a" :1,"c":2}',
    '{"a": 1, "c": null, "b": "x"}',
    '{"a":1,"a":2,"b":3}',
    '{"a":1,"a":null,"b":3}',
    '{"a":null,"b":"{\\"c\\":null}","c":4}',
    '{"a":":null","c":1}',
    '{"a":{"b":1}}',
    "{}",
)


def lines_of(data: bytes) -> Lines:
    return split_lines(data)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Objects one a line, most with the same keys; some with others, twice the same, broken or blank."""
    usual = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    value = st.sampled_from(LITERALS) | st.builds(json.dumps, st.sampled_from(NASTY), ensure_ascii=st.booleans())

    def line() -> bytes:
        names = list(usual)
        kind = draw(st.integers(0, 12))
        if kind == 0:
            return draw(st.sampled_from(BREAKS))
        names += [draw(st.sampled_from((*NAMES, "new")))] if kind in (1, 2) else []
        names = names[::-1] if kind == 3 else names
        colon = " : " if kind == 4 else ":"
        text = "{" + ",".join(json.dumps(n, ensure_ascii=False) + colon + draw(value) for n in names) + "}"
        return (text[: len(text) // 2] if kind == 5 else text).encode() + (b"\r" if kind == 6 else b"")

    return b"\n".join(line() for _ in range(draw(st.integers(1, 12)))) + draw(st.sampled_from([b"", b"\n", b"\n\n"]))


@settings(deadline=None, max_examples=200)
@given(texts())
def test_records_are_those_of_a_reader_that_takes_no_line_for_usual(data: bytes) -> None:
    with mock.patch.object(balanced, "parsed", lambda *_: None):
        frame, dead, height = objects.records_of(data, 5)
        assert_as_with_care(data, frame, dead, height)


@settings(deadline=None, max_examples=300)
@given(texts(), st.sampled_from([2, 3, 128]))
def test_records_of_one_parse_are_those_that_are_read_with_care(data: bytes, looked_at: int) -> None:
    with mock.patch.object(balanced, "LOOKED_AT", looked_at), mock.patch.object(objects, "FEW", 2):
        frame, dead, height = objects.records_of(data, 5)
    assert_as_with_care(data, frame, dead, height)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("usual", ['{"a":1,"b":"x"}', '{"a":null,"b":null}', '{"a": "1", "b": null}', '{"b":":"}'])
def test_a_line_of_other_keys_among_many_is_read_whole(usual: str, odd: str) -> None:
    lines = [usual] * 400
    lines[217] = odd
    data = "\n".join(lines).encode()
    frame, dead, height = objects.records_of(data, 5)
    assert_as_with_care(data, frame, dead, height)
    held = {name for name, value in frame.row(217, named=True).items() if value is not None and name != POSITION}
    assert held == {name for name, value in json.loads(odd).items() if value is not None}


def test_broken_lines_among_many_cost_no_other_line() -> None:
    lines = [b'{"a":%d,"b":"some text"}' % i for i in range(1000)]
    for place, broken in zip(range(7, 1000, 150), BREAKS, strict=False):
        lines[place] = broken
    frame, dead, height = objects.records_of(b"\n".join(lines), 5)
    assert (height, dead["raw"].to_list()) == (1000, [line for line in lines if line in BREAKS[:5] + BREAKS[6:]])
    assert frame.height + dead.height == 1000
    assert_as_with_care(b"\n".join(lines), frame, dead, height)


def assert_as_with_care(data: bytes, frame: pl.DataFrame, dead: pl.DataFrame, height: int) -> None:
    with mock.patch.object(keys, "of", lambda _: None), mock.patch.object(balanced, "parsed", lambda *_: None):
        careful, dead_too, height_too = objects.records_of(data, 5)
    assert (height, dead.rows()) == (height_too, dead_too.rows())
    # A key of no line that is left may have a column of nulls.
    empty = {name for one in (frame, careful) for name in one.columns if name != POSITION and not one[name].count()}
    found, wanted = (one.drop(empty, strict=False) for one in (frame, careful))
    assert found.select(sorted(found.columns)).rows() == wanted.select(sorted(wanted.columns)).rows()
    assert set(found.columns) == set(wanted.columns)


def test_only_lines_with_other_keys_are_unlike() -> None:
    usual = b'{"EVENT_ID":"%d","A_KEY_OF_MORE_THAN_EIGHT":"x"}\n'
    other = (
        b'{"EVENT_ID":"1","A_KEY_OF_MORE_THAN_EIGHT":"x","new":1}\n'
        b'{"EVENT_ID":"1","B_KEY_OF_MORE_THAN_EIGHT":"x"}\n'
        b'{"EVENT_ID":"1","EVENT_ID":"x"}\n'
        b'{"A_KEY_OF_MORE_THAN_EIGHT":"x","EVENT_ID":"1"}\n'
        b'{"EVENT_ID" :"1","A_KEY_OF_MORE_THAN_EIGHT":"x"}\n'
        b'{"EVENT_ID":"1","A_KEY_OF_MORE_THAN_EIGHT":"x"\n'
    )
    found = keys.of(lines_of(b"".join(usual % i for i in range(50)) + other))
    assert found is not None
    assert found.names == ("EVENT_ID", "A_KEY_OF_MORE_THAN_EIGHT")
    assert found.unlike.tolist() == list(range(50, 56))


def test_a_broken_line_among_many_costs_its_own_line_alone() -> None:
    lines = [b'{"id":"%d","seen":"2025-01-01"}' % i for i in range(40)]
    lines[7], lines[21] = b'{"id":"7","seen":', b'{"id":"21","seen":"\xff"}'
    with mock.patch.object(objects, "halve", side_effect=AssertionError("lines were tried one by one")):
        frame, dead, height = objects.records_of(b"\n".join(lines), 1)
    assert height == 40
    assert dead[POSITION].to_list() == [8, 22]
    assert frame["id"].to_list() == [str(i) for i in range(40) if i not in (7, 21)]


def test_an_inner_object_that_names_a_key_twice_is_kept() -> None:
    data = b'{"id":1}\n{"id":2,"new":{"k":{"k":1},"k":2}}\n{"id":3,"new":null}\n'
    frame, dead, _ = objects.records_of(data, 5)
    assert dead.is_empty()
    assert frame["id"].to_list() == ["1", "2", "3"]
    assert frame.schema["new"] == pl.String
