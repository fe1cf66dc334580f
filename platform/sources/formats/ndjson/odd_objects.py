"""JSON objects that a fast parser reads otherwise than JSON is meant: found vectorised, read one by one.

Of a key that stands twice the last value holds, as in json, jq and DuckDB. Half of a surrogate pair alone is no
character and becomes U+FFFD. Nested values become JSON text with their escapes.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np

from customer360.platform.sources.formats.lines import Lines

QUOTE, BACKSLASH, COLON, SPACE = 34, 92, 58, 32
OPENING, CLOSING = (123, 91), (125, 93)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
HALF = re.compile("[\ud800-\udfff]")
WORD = 8
AT_ONCE = 1 << 20  # bytes looked at


def as_text(raw: bytes) -> dict[str, str | None]:
    """The values of one object as text: nested ones JSON text, null None.

    Raises:
        ValueError: no JSON, or no object.
    """
    value = json.loads(raw, parse_constant=_no_json, parse_float=_number)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {type(value).__name__}")
    return {whole(key): _text(held) for key, held in value.items()}


def odd_lines(lines: Lines, unlike: np.ndarray) -> np.ndarray:
    """Numbers of the lines that need `as_text`. ``unlike``: lines that may name a key twice; no others do."""
    if not len(lines.starts):
        return np.empty(0, np.int64)
    odd = [unlike[_with_repeated_keys(lines.some(unlike))]] if len(unlike) else []
    odd += _with_odd_escapes(lines)
    found = np.unique(np.concatenate(odd)) if odd else np.empty(0, np.int64)
    return found[found >= 0]


def has_odd_escapes(lines: Lines) -> bool:
    """Whether a line that holds no object as a value may have half of a surrogate pair, or escapes in an array."""
    escapes = _places(lines.data, BACKSLASH)
    if not len(escapes):
        return False
    return _has_surrogates(lines.data, escapes) or stands_after(lines.data, _places(lines.data, OPENING[1]) - 1, COLON)


def stands_after(data: np.ndarray, places: np.ndarray, byte: int) -> bool:
    """Whether a byte stands at one of some places, or before the blanks that stand there."""
    places = places[places >= 0]
    while len(places):
        held = data[places]
        if (held == byte).any():
            return True
        places = places[(held <= SPACE) & (places > 0)] - 1
    return False


def _places(data: np.ndarray, byte: int) -> np.ndarray:
    pieces = [np.flatnonzero(data[at : at + AT_ONCE] == byte) + at for at in range(0, len(data), AT_ONCE)]
    return np.concatenate(pieces) if pieces else np.empty(0, np.int64)


def _has_surrogates(data: np.ndarray, escapes: np.ndarray) -> bool:
    of_numbers = (data[np.minimum(escapes + 1, len(data) - 1)] == ord("u")).any()
    return bool(of_numbers) and SURROGATE.search(data.data) is not None


def _with_odd_escapes(lines: Lines) -> list[np.ndarray]:
    """Lines with escapes and nested values, and lines with half of a surrogate pair."""
    data, odd = lines.data, list[np.ndarray]()
    escapes = _places(data, BACKSLASH)
    if not len(escapes):
        return odd
    braces, brackets = OPENING
    outermost = np.count_nonzero(data[lines.starts] == braces)
    if np.count_nonzero(data == braces) > outermost or np.count_nonzero(data == brackets):
        line_of = np.unique(_line_of(lines, escapes))
        odd.append(line_of[np.isin(line_of, _with_nested_values(lines), assume_unique=True)])
    if _has_surrogates(data, escapes):
        odd.append(_line_of(lines, np.array([m.start() for m in SURROGATE.finditer(data.data)], np.int64)))
    return odd


def _line_of(lines: Lines, places: np.ndarray) -> np.ndarray:
    return np.searchsorted(lines.starts, places, side="right") - 1


def _with_nested_values(lines: Lines) -> np.ndarray:
    """Lines that seem to hold an object or array as a value; some that hold such signs in a text are among them."""
    opens = np.flatnonzero((lines.data == OPENING[0]) | (lines.data == OPENING[1]))
    before = lines.data[np.maximum(opens - 1, 0)]
    return np.unique(_line_of(lines, opens[(opens > 0) & ((before == COLON) | (before == SPACE) | (before == 9))]))


def _with_repeated_keys(lines: Lines) -> np.ndarray:
    """Lines whose object names a key twice. Keys count as the same by their length and last eight bytes."""
    data, starts = lines.data, lines.starts
    quotes = np.flatnonzero(data == QUOTE)
    quotes = quotes[(quotes == 0) | (data[np.maximum(quotes - 1, 0)] != BACKSLASH)]
    line_of = _line_of(lines, quotes)
    first = np.searchsorted(quotes, starts)
    closes = ((np.arange(len(quotes)) - first[line_of]) % 2 == 1) & (line_of >= 0)
    padded = np.concatenate([data, np.zeros(2, np.uint8)])
    after, next_after = padded[quotes + 1], padded[quotes + 2]
    keys = np.flatnonzero(closes & ((after == COLON) | ((after == SPACE) & (next_after == COLON))))
    braces = np.flatnonzero(np.isin(data, OPENING + CLOSING))
    brace_line = _line_of(lines, braces)
    outside = (np.searchsorted(quotes, braces) - first[brace_line]) % 2 == 0
    braces = braces[outside]
    depth = np.concatenate([[0], np.cumsum(np.where(np.isin(data[braces], OPENING), 1, -1))])
    key_line = line_of[keys]
    level = depth[np.searchsorted(braces, quotes[keys])] - depth[np.searchsorted(braces, starts)][key_line]
    keys, key_line = keys[level == 1], key_line[level == 1]
    sizes = quotes[keys] - quotes[keys - 1] - 1
    words = _last_bytes(data, quotes[keys], sizes)
    order = np.lexsort((words, sizes, key_line))
    same = (
        (key_line[order][1:] == key_line[order][:-1])
        & (sizes[order][1:] == sizes[order][:-1])
        & (words[order][1:] == words[order][:-1])
    )
    return np.unique(key_line[order][1:][same])


def _last_bytes(data: np.ndarray, ends: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The up to eight bytes before each end, no more than its size, as one number."""
    found = np.zeros(len(ends), np.uint64)
    for back in range(1, WORD + 1):
        held = data[np.maximum(ends - back, 0)].astype(np.uint64)
        found = (found << np.uint64(8)) | np.where(back <= sizes, held, np.uint64(0))
    return found


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else whole(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, _Huge)):
        return str(value)
    return whole(json.dumps(value, ensure_ascii=False, default=str))


def whole(text: str) -> str:
    """A text without halves of surrogate pairs: U+FFFD stands for each."""
    return text if text.isascii() else HALF.sub("\ufffd", text)


class _Huge:
    """A number beyond what a float holds: its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def _number(text: str) -> float | _Huge:
    value = float(text)
    return value if math.isfinite(value) else _Huge(text)


def _no_json(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")
