"""Values of a JSON text as lines: elements of an array, objects one after the other, or the list inside an object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from customer360.platform.sources.formats.records import Unreadable
from customer360.platform.sources.formats.text import LONGEST_LINE

QUOTE, BACKSLASH, COMMA = 34, 92, 44
OPENING, CLOSING = (123, 91), (125, 93)
BLANKS = re.compile(r"[ \t\r\n]*")
BROKEN_OFF = b"<the list breaks off here>"
NO_JSON = b" <line break inside a text>"
BETWEEN = b" \t\r\n,\x1e"  # what may stand between values: RFC 7464 begins each with a record separator
DECODER = json.JSONDecoder()


def lines_of(chunks: Iterator[tuple[bytes, bool]], path: str) -> Iterator[bytes]:
    """The records of a text, each a line, in pieces. ``path``: keys that lead to their list, empty for an array or
    objects.

    A text that breaks off gives what is whole; the rest is a line that is no JSON.

    Raises:
        Unreadable: there is no list at the path, or a value is longer than 128 MiB.
    """
    rest, begun, in_list, ended = b"", False, False, False
    for chunk, last in chunks:
        if ended:
            continue
        data = rest + chunk if rest else chunk
        if not begun:
            data, in_list = _begin(data, path)
            begun = bool(data)
        values, used, ended = _split(data, in_list, last)
        rest = b"" if ended else data[used:]
        if len(rest) > LONGEST_LINE:
            raise Unreadable("a value is longer than 128 MiB: no list of records")
        if last and not ended:
            values += _unfinished(rest, in_list)
        if values:
            yield b"\n".join(one_line(value) for value in values) + b"\n"


def lists_in(head: bytes, deepest: int) -> list[str]:
    """The path of the first list of objects in an object whose end is not known."""
    text = head.decode("utf-8", "replace")
    found = _first_list(text, BLANKS.match(text).end(), deepest)  # type: ignore[union-attr]
    return [found] if found else []


def _begin(data: bytes, path: str) -> tuple[bytes, bool]:
    """The text from its first record on, and whether records are elements of a list."""
    start = data.lstrip()
    if not path:
        return (start[1:], True) if start[:1] == b"[" else (start, False)
    text = data.decode("utf-8", "surrogateescape")
    at = _at_path(text, BLANKS.match(text).end(), path.split("."))  # type: ignore[union-attr]
    if at is None:
        raise Unreadable(f"there is no list at `records: {path}` in the first 16 MiB")
    return text[at + 1 :].encode("utf-8", "surrogateescape"), True


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Keys of the object at a place and where their values begin, as far as the text goes."""
    if text[at : at + 1] != "{":
        return
    at = BLANKS.match(text, at + 1).end()  # type: ignore[union-attr]
    try:
        while text[at : at + 1] == '"':
            key, at = DECODER.raw_decode(text, at)
            at = BLANKS.match(text, at).end()  # type: ignore[union-attr]
            if text[at : at + 1] != ":":
                return
            at = BLANKS.match(text, at + 1).end()  # type: ignore[union-attr]
            yield key, at
            _, at = DECODER.raw_decode(text, at)
            at = BLANKS.match(text, at).end()  # type: ignore[union-attr]
            if text[at : at + 1] != ",":
                return
            at = BLANKS.match(text, at + 1).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        return


def _at_path(text: str, at: int, keys: list[str]) -> int | None:
    for key, begin in _members(text, at):
        if key == keys[0]:
            if len(keys) > 1:
                return _at_path(text, begin, keys[1:])
            return begin if text[begin : begin + 1] == "[" else None
    return None


def _first_list(text: str, at: int, deepest: int) -> str:
    for key, begin in _members(text, at):
        if text[begin : begin + 1] == "[" and text[BLANKS.match(text, begin + 1).end() :][:1] == "{":  # type: ignore[union-attr]
            return key
        if text[begin : begin + 1] == "{" and deepest > 1 and (inner := _first_list(text, begin, deepest - 1)):
            return f"{key}.{inner}"
    return ""


def _split(data: bytes, in_list: bool, last: bool) -> tuple[list[bytes], int, bool]:
    """Whole values of a text, how many bytes they take, and whether the list ended. Nothing is inside a text value
    here.
    """
    buffer = np.frombuffer(data, np.uint8)
    quotes = _quotes(buffer)
    marks = np.flatnonzero(np.isin(buffer, (*OPENING, *CLOSING, COMMA)))
    marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
    signs = buffer[marks]
    steps = np.where(np.isin(signs, OPENING), 1, np.where(np.isin(signs, CLOSING), -1, 0))
    depth = np.cumsum(steps)
    over = np.flatnonzero(depth < 0)
    stop = int(over[0]) if len(over) else len(marks)
    if in_list:
        cuts = marks[:stop][(signs[:stop] == COMMA) & (depth[:stop] == 0)]
        end = int(marks[stop]) if len(over) else None
        edges = [-1, *cuts.tolist(), *([end] if end is not None else [])]
        values = [data[a + 1 : b] for a, b in pairwise(edges)]
        if end is not None and values and not values[-1].strip():  # an empty list, or a comma behind its last value
            values.pop()
        return values, edges[-1] + 1, end is not None
    opens = marks[:stop][(steps[:stop] == 1) & (depth[:stop] == 1)].tolist()
    ends = (marks[:stop][(steps[:stop] == -1) & (depth[:stop] == 0)] + 1).tolist()
    values, at = [], 0
    for begin, end in zip(opens, ends, strict=False):  # of the last object the end may be missing
        values += [line for line in data[at:begin].split(b"\n") if line.strip(BETWEEN)]
        values.append(data[begin:end])
        at = end
    return values, at, False


def _quotes(buffer: np.ndarray) -> np.ndarray:
    """Quotes that no backslash escapes: an even number of backslashes stands before them."""
    quotes = np.flatnonzero(buffer == QUOTE)
    escaped = quotes[(quotes > 0) & (buffer[np.maximum(quotes - 1, 0)] == BACKSLASH)]
    if not len(escaped):
        return quotes
    data = buffer.tobytes()
    odd = [q for q in escaped.tolist() if (q - len(data[max(q - 4096, 0) : q].rstrip(b"\\")) - max(q - 4096, 0)) % 2]
    return np.setdiff1d(quotes, np.array(odd, np.int64), assume_unique=True)


def _unfinished(rest: bytes, in_list: bool) -> list[bytes]:
    """What a text ends with that breaks off: a list that is not closed has lost what followed, even after a whole
    value.
    """
    values = [rest] if rest.strip(None if in_list else BETWEEN) else []
    try:
        whole = not values or json.loads(rest) is not None
    except (ValueError, RecursionError):
        whole = False
    return [*values, BROKEN_OFF] if in_list and whole else values


def one_line(value: bytes) -> bytes:
    """A value as one line: the line breaks between its parts are blanks. With one inside a text it is no JSON, and
    stays none.
    """
    value = value.strip(b" \t\r\n")
    if b"\n" not in value and b"\r" not in value:
        return value or b"null"
    line = value.replace(b"\n", b" ").replace(b"\r", b" ")
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return line + NO_JSON
    return line
