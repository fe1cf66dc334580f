"""JSON objects, one a line, as records of text. The common case is one vectorised parse; odd lines are read one by
one.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from customer360.platform.sources.formats.lines import NO_UTF8, Lines, dead_frame, halve, split_lines, undecodable
from customer360.platform.sources.formats.ndjson import balanced, keys
from customer360.platform.sources.formats.ndjson.keys import Keys
from customer360.platform.sources.formats.ndjson.odd_objects import as_text, has_odd_escapes, odd_lines, whole
from customer360.platform.sources.formats.records import POSITION, numbered

OPENING, CLOSING, RETURN, LINE_END = 123, 125, 13, 10
DEEPEST = 64  # levels of nesting up to which a parser is asked for the keys
FEW = 20  # lines, of which fewer than one is looked at by itself

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"{[")], _STEPS[list(b"}]")] = 1, -1


def records_of(data: bytes, first_position: int) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Records and dead letters of a text that has an object a line, and how many records it holds."""
    lines = split_lines(data)
    height = len(lines.starts)
    if not has_odd_escapes(lines):
        frame, bad = _at_once(data, lines)
        if frame is not None:
            places = pl.Series(POSITION, _others(lines, bad) + first_position, dtype=pl.Int64)
            return numbered(frame, places), dead_frame(lines, bad, first_position), height
    return _of_lines(lines, first_position)


def _at_once(data: bytes, lines: Lines) -> tuple[pl.DataFrame | None, dict[int, str]]:
    """All lines in one parse, without those that are broken, and these with the reason; None where it takes care."""
    suspects = np.flatnonzero(_without_braces(lines))
    is_few = 0 < len(suspects) * FEW < len(lines.starts)
    if not is_few and (frame := balanced.parsed(data, lines)) is not None:
        return frame, {}
    suspects = np.union1d(suspects, _short(lines))
    if len(suspects) * FEW > len(lines.starts):
        return None, {}
    bad = _broken(lines, suspects) if len(suspects) else {}
    if not bad:
        return (balanced.parsed(data, lines) if is_few else None), {}
    good = lines.some(_others(lines, bad))
    return balanced.parsed(good.data.tobytes(), good), bad


def _without_braces(lines: Lines) -> np.ndarray:
    """Which lines do not begin and end as an object does."""
    last = lines.data[lines.ends - 1]
    if (last == RETURN).any():
        last = lines.data[np.maximum(lines.ends - 1 - (last == RETURN), lines.starts)]
    return (lines.data[lines.starts] != OPENING) | (last != CLOSING)


def _short(lines: Lines) -> np.ndarray:
    """Numbers of the lines that have less than half of the bytes that most have: they may be broken off."""
    sizes = lines.ends - lines.starts
    return np.flatnonzero(2 * sizes < np.median(sizes)) if len(sizes) else np.empty(0, np.int64)


def _of_lines(lines: Lines, first_position: int) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """The same with care: lines of other keys than the usual ones, and odd ones, are looked at apart."""
    found, height = keys.of(lines), len(lines.starts)
    odd = odd_lines(lines, np.arange(height) if found is None else found.unlike)
    bad: dict[int, str] = {}
    written: dict[int, dict[str, str | None]] = {}
    for line in odd.tolist():
        _read_alone(lines, line, written, bad)
    names = _names(lines, found, written, bad)
    good = _others(lines, bad.keys() | written.keys())
    frame = _parse_json(lines.keep(good), names) if len(good) else pl.DataFrame()  # refuses what is no UTF-8, too
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


def _names(
    lines: Lines, found: Keys | None, written: dict[int, dict[str, str | None]], bad: dict[int, str]
) -> Sequence[str] | None:
    """The keys of all lines that are neither ``written`` nor ``bad``: the usual ones, and then the others; None where
    some cannot be read. Of lines unlike the others, those that break are added to ``bad``.
    """
    if found is None:
        return _names_of(lines, _others(lines, bad.keys() | written.keys()))
    unlike = np.setdiff1d(found.unlike, np.fromiter(bad.keys() | written.keys(), np.int64), assume_unique=True)
    if not len(unlike):
        return found.names
    names = _names_of(lines, unlike)
    if names is None:
        bad |= _broken(lines, unlike)
        unlike = np.setdiff1d(unlike, np.fromiter(bad, np.int64, len(bad)), assume_unique=True)
        names = _names_of(lines, unlike) if len(unlike) else []
    return None if names is None else list(dict.fromkeys([*found.names, *names]))


def _names_of(lines: Lines, which: np.ndarray) -> list[str] | None:
    """The keys of some lines; None where one is broken."""
    text = lines.keep(which)
    return _json_keys(text) or _keys_line_by_line(text)


def _broken(lines: Lines, which: np.ndarray) -> dict[int, str]:
    """Those of some lines that are no UTF-8 or no object, with the reason."""
    some = lines.some(which)
    bad = undecodable(some)
    bad |= _broken_json(some, bad.keys())
    return {int(which[place]): reason for place, reason in bad.items()}


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
        good = _others(lines, bad.keys() | written.keys())
        frame = _parse_good(lines, good)
    if frame is None:  # each can be parsed, but not together: an empty object behind a byte order mark, say
        for line in good:
            _read_alone(lines, int(line), written, bad)
        frame = pl.DataFrame()
    return frame


def _read_alone(lines: Lines, line: int, written: dict[int, dict[str, str | None]], bad: dict[int, str]) -> None:
    """Read one line that the fast parser would read otherwise than JSON is meant, or not at all."""
    try:
        written[line] = as_text(lines.raw(line).removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError) as fault:
        bad[line] = f"JSON: {_told(fault)}"
        if isinstance(fault, UnicodeDecodeError):
            bad[line] = f"{NO_UTF8}: {fault.reason} at byte {fault.start}"


def _told(fault: Exception) -> str:
    """What is wrong with a line, in words of the file."""
    return "nested too deep" if isinstance(fault, RecursionError) else str(fault)


def _others(lines: Lines, known: Collection[int]) -> np.ndarray:
    if not known:
        return np.arange(len(lines.starts))
    return np.setdiff1d(np.arange(len(lines.starts)), np.fromiter(known, np.int64, len(known)), assume_unique=True)


def _parse_good(lines: Lines, part: np.ndarray) -> pl.DataFrame | None:
    """Lines that are JSON objects, most likely, as a frame; None when they do not give one row each."""
    data = lines.keep(part)
    frame = _parse_json(data, _json_keys(data) or _keys_line_by_line(data)) if len(part) else pl.DataFrame()
    return frame if frame is None or not frame.width or frame.height == len(part) else None


def _parse_json(data: bytes, names: Sequence[str] | None) -> pl.DataFrame | None:
    """The keys of all lines as text columns, or None when a line is no JSON object."""
    if names is None:
        return None
    return balanced.of_keys(data, names)


def _json_keys(data: bytes) -> list[str] | None:
    """The keys of all lines; None when a line is broken or nested deep, or when values of one key have types that do
    not unite.
    """
    if _depth(data) > DEEPEST:  # a schema of what is inside takes the cube of it: minutes at a thousand levels
        return None
    try:
        return list(pl.read_ndjson(balanced.as_written(data), infer_schema_length=None, n_rows=1).columns)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):  # of an inner object that names a key twice
        return None


def _depth(data: bytes) -> int:
    """How deep the lines of a text are nested at most, brackets inside texts counted with them."""
    buffer = np.frombuffer(data, np.uint8)
    signs = _STEPS[buffer]
    places = np.flatnonzero(signs)
    if not len(places):
        return 0
    signs = signs[places]
    depth = np.cumsum(signs, dtype=np.int64)
    of_line = np.searchsorted(np.flatnonzero(buffer == LINE_END), places)
    first = np.flatnonzero(np.diff(of_line, prepend=-1))
    return int((np.maximum.reduceat(depth, first) - depth[first] + signs[first]).max())


def _keys_line_by_line(data: bytes) -> list[str] | None:
    """The keys of valid lines whose values do not unite in a type (an object here, a number there)."""
    names: dict[str, None] = {}
    try:
        for line in data.splitlines():
            if line.strip():
                value = json.loads(line)
                if not isinstance(value, dict):
                    return None
                names.update(dict.fromkeys(map(whole, value)))
    except (ValueError, TypeError, RecursionError):
        return None
    return list(names)


def _broken_json(lines: Lines, known: Collection[int]) -> dict[int, str]:
    """Lines that are no JSON object, of those that are not ``known`` as bad. One vectorised look finds the suspects."""
    rest = _others(lines, known)
    if not len(rest):
        return {}
    starts, ends = lines.starts[rest], np.minimum(lines.ends[rest] + 1, len(lines.data))
    offsets = np.concatenate([[0], np.cumsum(ends - starts)])
    texts = pa.LargeStringArray.from_buffers(len(rest), pa.py_buffer(offsets), pa.py_buffer(lines.keep(rest)))
    parsed = pl.Series(texts).str.json_path_match("$").is_not_null().to_numpy()
    suspects = rest[~parsed | (lines.data[starts] != OPENING)]
    return {int(i): reason for i in suspects if (reason := _json_fault(lines.raw(i)))}


def _json_fault(raw: bytes) -> str | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        return f"JSON: {_told(fault)}"
    return None if isinstance(value, dict) else f"JSON: expected an object, found {type(value).__name__}"
