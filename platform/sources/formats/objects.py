"""JSON objects, one a line, as records of text. The common case is one vectorised parse; odd lines are read one by
one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection

import numpy as np
import polars as pl
import pyarrow as pa

from customer360.platform.sources.formats.lines import NEWLINE, Lines, dead_frame, halve, split_lines, undecodable
from customer360.platform.sources.formats.odd_objects import as_text, needs_a_look, odd_lines
from customer360.platform.sources.formats.records import POSITION, dead_letters, numbered

COLON, QUOTE, BACKSLASH = 58, 34, 92
SPACES = [9, 10, 13, 32]
WORD = 8  # bytes compared at once
BLOCK = 1 << 20  # bytes of a text compared at once


def records_of(data: bytes, first_position: int) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Records and dead letters of a text that has an object a line, and how many records it holds."""
    keys = _repeated_keys(data)
    if keys and not needs_a_look(data):
        frame, height = _parse_json(data, keys), data.count(b"\n") + (data[-1:] != b"\n")
        if frame is not None and frame.width and frame.height == height:
            places = pl.int_range(first_position, first_position + height, eager=True)
            return numbered(frame, places), dead_letters([]), height
    return _of_lines(data, keys, first_position)


def _of_lines(data: bytes, keys: list[str] | None, first_position: int) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    lines = split_lines(data, np.frombuffer(data, dtype=np.uint8) == NEWLINE)
    height = len(lines.starts)
    bad: dict[int, str] = {}
    written: dict[int, dict[str, str | None]] = {}
    for line in odd_lines(lines, keys is not None).tolist():
        _read_alone(lines, line, written, bad)
    good = _others(lines, bad.keys() | written.keys())
    text = data if len(good) == height else lines.keep(good)
    frame = (
        _parse_json(text, keys or _json_keys(text)) if len(good) else pl.DataFrame()
    )  # refuses what is no UTF-8, too
    if frame is None or (len(good) and (frame.height != len(good) or not frame.width)):
        frame = _parsed_apart(lines, written, bad)  # without a key anything passes as an object
    places = _others(lines, bad.keys() | written.keys())
    frame = numbered(frame, pl.Series(POSITION, places + first_position, dtype=pl.Int64))
    if written:
        schema = dict.fromkeys((key for row in written.values() for key in row), pl.String)
        alone = pl.DataFrame(list(written.values()), schema=schema)
        alone = numbered(alone, pl.Series(POSITION, [line + first_position for line in written], dtype=pl.Int64))
        frame = pl.concat([frame, alone], how="diagonal").sort(POSITION)
    return frame, dead_frame(lines, bad, first_position), height


def _parsed_apart(lines: Lines, written: dict[int, dict[str, str | None]], bad: dict[int, str]) -> pl.DataFrame:
    """The lines that are neither ``written`` nor ``bad`` as a frame, after those that break it were added to one of
    them.
    """
    bad |= {line: reason for line, reason in undecodable(lines).items() if line not in written}
    bad |= _broken_json(lines, bad.keys() | written.keys())
    good = _others(lines, bad.keys() | written.keys())
    frame = _parse_good(lines, good)
    if frame is None:
        halve(
            good,
            lambda part: _parse_good(lines, part) is not None,
            lambda line: _read_alone(lines, line, written, bad),
        )
        frame = _parse_good(lines, _others(lines, bad.keys() | written.keys()))
    assert frame is not None, "lines that can be parsed each cannot be parsed together"
    return frame


def _read_alone(lines: Lines, line: int, written: dict[int, dict[str, str | None]], bad: dict[int, str]) -> None:
    """Read one line that the fast parser would read otherwise than JSON is meant, or not at all."""
    try:
        written[line] = as_text(lines.raw(line))
    except (ValueError, RecursionError) as fault:
        bad[line] = f"JSON: {_told(fault)}"
        if isinstance(fault, UnicodeDecodeError):
            bad[line] = f"invalid bytes: {fault.reason}"


def _told(fault: Exception) -> str:
    """What is wrong with a line, in words of the file."""
    return "nested too deep" if isinstance(fault, RecursionError) else str(fault)


def _others(lines: Lines, known: Collection[int]) -> np.ndarray:
    return np.setdiff1d(np.arange(len(lines.starts)), np.fromiter(known, np.int64, len(known)), assume_unique=True)


def _parse_good(lines: Lines, part: np.ndarray) -> pl.DataFrame | None:
    """Lines that are JSON objects, most likely, as a frame; None when they do not give one row each."""
    data = lines.keep(part)
    frame = _parse_json(data, _json_keys(data) or _keys_line_by_line(data)) if len(part) else pl.DataFrame()
    return frame if frame is None or not frame.width or frame.height == len(part) else None


def _parse_json(data: bytes, keys: list[str] | None) -> pl.DataFrame | None:
    """The keys of all lines as text columns, or None when a line is no JSON object."""
    if keys is None:
        return None
    try:
        return pl.read_ndjson(io.BytesIO(data), schema=dict.fromkeys(keys, pl.String))
    except pl.exceptions.PolarsError:
        return None


def _json_keys(data: bytes) -> list[str] | None:
    """The keys of all lines; None when a line is broken, or when values of one key have types that do not unite."""
    keys = _repeated_keys(data)
    if keys is not None:
        return keys
    try:
        return list(pl.read_ndjson(io.BytesIO(data), infer_schema_length=None, n_rows=1).columns)
    except pl.exceptions.PolarsError:
        return None


def _repeated_keys(data: bytes) -> list[str] | None:
    """The keys of the first line when every key of the text is one of them, in turn, as most writers have it; else
    None.

    A key ends in quote and colon; inside of values that needs a backslash.
    """
    # To know all keys, Polars would infer a schema, which parses every value a second time. Comparing the keys of a
    # block as 8-byte words, over a strided view that copies nothing, costs a quarter of that.
    first = data[: data.find(b"\n") + 1] or data
    try:
        pairs = json.loads(first, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if isinstance(pairs, list) and len({pair[0] for pair in pairs if isinstance(pair, tuple)}) < len(pairs):
        return None  # a key twice, of which the parser would take the first
    quoted = (
        [b'"' + key.encode("utf-8", "surrogatepass") + b'"' for key, _ in pairs]
        if isinstance(pairs, list) and first[:1] == b"{"
        else []
    )
    if (
        not quoted or len(data) <= WORD or first.count(b'":') != len(quoted)
    ):  # else a key is nested, or quote and colon are apart
        return None
    checks = [
        (j, back, *_masked_word(name, back)) for j, name in enumerate(quoted) for back in range(0, len(name), WORD)
    ]
    words, start = np.ndarray(len(data) - WORD + 1, dtype="<u8", buffer=data, strides=(1,)), len(first)
    while start < len(data):
        end = data.rfind(b"\n", start, start + BLOCK) + 1 or data.find(b"\n", start + BLOCK) + 1 or len(data)
        piece = np.frombuffer(data, np.uint8, end - start, start)
        colons = np.flatnonzero(piece == COLON)
        before = piece[colons - 1]
        ends = colons[before == QUOTE] - 1
        if (
            len(ends) % len(quoted)
            or np.bincount(before, minlength=256)[SPACES].any()
            or (piece[ends - 1] == BACKSLASH).any()
        ):
            return None
        places = ends.reshape(-1, len(quoted)).T + (start - WORD + 1)
        if any(((words[places[j] - back] & mask) != expected).any() for j, back, expected, mask in checks):
            return None
        start = end
    return list(dict.fromkeys(key for key, _ in pairs))


def _masked_word(name: bytes, back: int) -> tuple[np.uint64, np.uint64]:
    """The up to eight bytes of ``name`` that end ``back`` bytes before its end, as one number, and a mask of what
    counts.
    """
    part = name[: len(name) - back][-WORD:]
    return np.uint64(int.from_bytes(part.rjust(WORD, b"\0"), "little")), np.uint64(
        2**64 - 2 ** (8 * (WORD - len(part)))
    )


def _keys_line_by_line(data: bytes) -> list[str] | None:
    """The keys of valid lines whose values do not unite in a type (an object here, a number there)."""
    keys: dict[str, None] = {}
    try:
        for line in data.splitlines():
            if line.strip():
                value = json.loads(line)
                if not isinstance(value, dict):
                    return None
                keys.update(dict.fromkeys(value))
    except (ValueError, TypeError, RecursionError):
        return None
    return list(keys)


def _broken_json(lines: Lines, known: Collection[int]) -> dict[int, str]:
    """Lines that are no JSON object, of those that are not ``known`` as bad. One vectorised look finds the suspects."""
    rest = _others(lines, known)
    if not len(rest):
        return {}
    starts, ends = lines.starts[rest], np.minimum(lines.ends[rest] + 1, len(lines.data))
    offsets = np.concatenate([[0], np.cumsum(ends - starts)])
    texts = pa.LargeStringArray.from_buffers(len(rest), pa.py_buffer(offsets), pa.py_buffer(lines.keep(rest)))
    parsed = pl.Series(texts).str.json_path_match("$").is_not_null().to_numpy()
    suspects = rest[~parsed | (lines.data[starts] != ord("{"))]
    return {int(i): reason for i in suspects if (reason := _json_fault(lines.raw(i)))}


def _json_fault(raw: bytes) -> str | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        return f"JSON: {_told(fault)}"
    return None if isinstance(value, dict) else f"JSON: expected an object, found {type(value).__name__}"
