"""Flat objects by their bytes: what is found equals what a parser finds line by line, whatever the lines are like."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.sources.formats.lines import split_lines
from customer360.platform.sources.formats.ndjson import flat, objects
from customer360.platform.sources.formats.records import POSITION

ODD = ('say "hi"', "a\\b", "a, b", "ü", "", "{", "}", '":', ',"id":', "null", "tab\there", "line\nend", "😀", "\\ud83d😀", "\\ude00", "\\\\", "x" * 12, "x" * 13, "\u2028")  # fmt: skip  # noqa: E501
TEXTS = st.one_of(st.sampled_from(ODD), st.text(max_size=15))
NUMBERS = st.one_of(
    st.integers(-(10**6), 10**18),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.decimals(-1000, 1000, places=2, allow_nan=False).map(float),
)
VALUES = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
NAMES = ("id", "EVENT_DATE", "a key of many letters", "ñ")


def read(data: bytes) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """Records without their nulls, and dead letters, as the reader gives them."""
    frame, dead, height = objects.records_of(data, 1)
    assert frame.height + dead.height == height
    return [{k: v for k, v in row.items() if v is not None} for row in frame.to_dicts()], dead.rows()


def carefully(data: bytes) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """The same by the reader that takes care alone."""
    frame, dead = objects._of_lines(split_lines(data), 1)
    return [{k: v for k, v in row.items() if v is not None} for row in frame.to_dicts()], dead.rows()


def meant(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records with numbers for texts that are some: a line that is read alone spells 1.0 and 1e+22 as Python does."""
    return [
        {k: float(v) if k != POSITION and NUMBER.fullmatch(v) else v for k, v in record.items()} for record in records
    ]


def usual(count: int, **style: Any) -> list[bytes]:
    return [json.dumps({"id": f"E{i}", "at": i, "note": None, "ok": True}, **style).encode() for i in range(count)]


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Lines of a few kinds, some of them damaged."""
    keys = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    style = draw(st.sampled_from([{}, {"separators": (",", ":")}, {"ensure_ascii": False}]))
    rows = draw(st.lists(st.tuples(*(VALUES for _ in keys)), min_size=1, max_size=8))
    lines = [json.dumps(dict(zip(keys, row, strict=True)), **style).encode() for row in rows] * draw(st.just(6))
    for _ in range(draw(st.integers(0, 2))):
        line = draw(st.integers(0, len(lines) - 1))
        at = draw(st.integers(0, len(lines[line])))
        put = draw(st.sampled_from([b'"', b"\\", b",", b"}", b"\xff", b"\t", b"0", b" ", b'"x":1,', b"", b"\r"]))
        lines[line] = lines[line][:at] + put + lines[line][at + draw(st.integers(0, 2)) :]
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
    return end.join(lines) + draw(st.sampled_from([b"", end]))


@given(texts())
@settings(max_examples=200, deadline=None)
def test_lines_read_by_their_bytes_are_what_care_finds(data: bytes) -> None:
    found, other = read(data), carefully(data)
    assert meant(found[0]) == meant(other[0])
    assert [letter[::2] for letter in found[1]] == [letter[::2] for letter in other[1]], "positions and raw bytes"


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"separators": (",", ": ")}])
def test_lines_of_one_kind_are_read_by_their_bytes(style: dict[str, Any]) -> None:
    data = b"\n".join(usual(50, **style))
    found = flat.parsed(data, split_lines(data))
    assert found is not None
    assert len(found.left) == 0
    assert found.frame.row(7, named=True) == {"id": "E7", "at": "7", "note": None, "ok": "true"}


@pytest.mark.parametrize(
    "odd",
    [
        b'{"id":"E1","at":1,"note":"a "b"","ok":true}',
        b'{"id":"E1","at":1,"note":"a\tb","ok":true}',
        b'{"id":"E1","at":1,"note":"\xff","ok":true}',
        b'{"id":"E1","at":01,"note":null,"ok":true}',
        b'{"id":"E1","at":[1],"note":null,"ok":true}',
        b'{"id":"E1","at":1,"note":"\\ud800","ok":true}',
        b'{"id":"E1","at":1,"note":"\\n","x" :1,"ok":true}',
        b'{"id":"E1","at":1,"note":nul,"ok":true}',
        b'{"id":"E1","at":1,"note":","ok":true}',
        b'{"id":"E1","id":"E2","note":null,"ok":true}',
        b'{"id":"E1","at":1,"Xote":null,"ok":true}',
        b'{"id":"E1","at":1,"note":null,"ok":true,"more":1}',
        b'{"id":"E1","at":1,"note":null,"ok":true',
    ],
)
def test_what_bytes_cannot_vouch_for_is_left_to_care(odd: bytes) -> None:
    lines = usual(60, separators=(",", ":"))
    lines[1] = odd
    data = b"\n".join(lines)
    found = flat.parsed(data, split_lines(data))
    assert found is not None
    assert found.left.tolist() == [1]
    assert read(data)[0] == carefully(data)[0]


@pytest.mark.parametrize(
    "number", ["1.50", "1e3", "-0", "-7", "0.001", "12345678.5", "99999999999999999999", "1.0", "0"]
)
def test_numbers_are_written_as_a_parser_writes_them(number: str) -> None:
    line = b'{"id":"E1","at":' + number.encode() + b"}"
    parsed = pl.read_ndjson(line, schema={"id": pl.String, "at": pl.String})
    frame, _, _ = objects.records_of(b"\n".join([line] * 30), 1)
    assert frame["at"].unique().to_list() == parsed["at"].to_list()


def test_kinds_that_are_few_are_found_beside_the_usual_one() -> None:
    lines = usual(400, separators=(",", ":"))
    for place in range(0, 400, 7):
        lines[place] = lines[place][:-1] + b',"x_%d":"v"}' % (place % 5)
    data = b"\n".join(lines)
    found = flat.parsed(data, split_lines(data))
    assert found is not None
    assert len(found.left) * 20 <= 400
    frame, _, _ = objects.records_of(data, 1)
    assert sum(frame[name].len() - frame[name].null_count() for name in frame.columns if name.startswith("x_")) == 58
    assert frame[POSITION].to_list() == list(range(1, 401))
