"""Bytes to records: CSV, JSON lines and Parquet as frames of text, with every unreadable record set aside.

The common case is one vectorised parse. Only the lines that cannot be parsed are looked at one by one. A record's
position is its 1-based number in the file, unreadable records counted.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from customer360.platform.errors import SourceError

POSITION = "_position"
DEAD = {POSITION: pl.Int64, "reason": pl.String, "raw": pl.Binary}
NEWLINE, QUOTE, COLON, BACKSLASH = 10, 34, 58, 92
SPACES = [9, 10, 13, 32]
WORD = 8  # bytes compared at once
PIECE, BLOCK = 256, 1 << 20  # lines decoded, bytes compared at once


@dataclass(frozen=True)
class Records:
    """``frame``: one row a readable record, ``_position`` first; ``dead``: position, reason, raw bytes."""

    frame: pl.DataFrame
    dead: pl.DataFrame

    @property
    def count(self) -> int:
        """Records in the file, readable or not."""
        return self.frame.height + self.dead.height


def read(data: bytes, format: str, delimiter: str = ",") -> Records:
    """Split a file's bytes into records; gzip is recognised by its magic number."""
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as fault:
            return _whole_file_dead(data, f"gzip: {fault}")
    if format == "parquet":
        return _read_parquet(data)
    data = data.removeprefix(b"\xef\xbb\xbf")
    return _read_json(data) if format == "json" else _read_csv(data, delimiter)


def _whole_file_dead(data: bytes, reason: str) -> Records:
    return Records(pl.DataFrame(schema={POSITION: pl.Int64}), pl.DataFrame([[0], [reason], [data]], schema=DEAD))


def _read_parquet(data: bytes) -> Records:
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError as fault:
        return _whole_file_dead(data, f"parquet: {str(fault).splitlines()[0]}")
    plain = pl.DataFrame([_plain(values) for values in frame])
    return Records(_numbered(plain, pl.int_range(1, frame.height + 1, eager=True)), pl.DataFrame(schema=DEAD))


def _plain(values: pl.Series) -> pl.Series:
    """Numbers, truth, text and instants as they are; nested values as JSON text, as JSON files give them; the rest as text."""
    kind = values.dtype
    if kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Date, pl.Datetime):
        return values
    if kind.is_nested():
        text = values.to_frame("v").to_struct().struct.json_encode().str.slice(5).str.head(-1)
        return pl.select(pl.when(values.is_not_null()).then(text).alias(values.name)).to_series()
    if kind == pl.Binary:
        try:
            return values.cast(pl.String)
        except pl.exceptions.ComputeError:  # not UTF-8, so no text: keep the bytes readable
            return values.bin.encode("base64")
    return values.dt.to_string("iso") if kind == pl.Duration else values.cast(pl.String)


@dataclass(frozen=True)
class _Lines:
    """Records of a text as byte ranges [start, end) and, for CSV, their number of fields."""

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    fields: np.ndarray | None = None

    def raw(self, i: int) -> bytes:
        return self.data[self.starts[i] : self.ends[i]].tobytes()

    def keep(self, which: np.ndarray) -> bytes:
        """The bytes of the lines with these ascending numbers, neighbours in one piece."""
        if not len(which):
            return b""
        starts, ends = self.starts[which], np.minimum(self.ends[which] + 1, len(self.data))
        gaps = np.flatnonzero(starts[1:] != ends[:-1])
        first, last = starts[np.append(0, gaps + 1)].tolist(), ends[np.append(gaps, -1)].tolist()
        view = self.data.data  # a view: slices copy nothing
        return b"".join(view[start:end] for start, end in zip(first, last, strict=True))


def _lines(data: bytes, newline: np.ndarray, separator: np.ndarray | None = None) -> _Lines:
    buffer = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(newline)
    if len(buffer) and (not len(ends) or ends[-1] != len(buffer) - 1):
        ends = np.append(ends, len(buffer))
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else np.empty(0, np.int64)
    first = buffer[np.minimum(starts, max(len(buffer) - 1, 0))] if len(starts) else np.empty(0, np.uint8)
    blank = (ends == starts) | ((ends == starts + 1) & (first == 13))
    starts, ends = starts[~blank], ends[~blank]
    if separator is None:
        return _Lines(buffer, starts, ends)
    places = np.flatnonzero(separator)
    fields = np.searchsorted(places, ends) - np.searchsorted(places, starts) + 1
    return _Lines(buffer, starts, ends, fields)


def _undecodable(lines: _Lines) -> dict[int, str]:
    """Lines that are no UTF-8; only pieces of text that do not decode are looked at line by line."""
    view = lines.data.data
    bad: dict[int, str] = {}
    for first in range(0, len(lines.starts), PIECE):
        after = min(first + PIECE, len(lines.starts))
        try:
            codecs.utf_8_decode(view[lines.starts[first] : lines.ends[after - 1]], "strict", True)
        except UnicodeDecodeError:
            bad |= {i: reason for i in range(first, after) if (reason := _byte_fault(lines.raw(i)))}
    return bad


def _byte_fault(raw: bytes) -> str | None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        return f"invalid bytes: {fault.reason} at byte {fault.start}"
    return None


def _dead_frame(lines: _Lines, bad: dict[int, str], first_position: int) -> pl.DataFrame:
    order = sorted(bad)
    return pl.DataFrame(
        {
            POSITION: [i + first_position for i in order],
            "reason": [bad[i] for i in order],
            "raw": [lines.raw(i) for i in order],
        },
        schema=DEAD,
    )


def _positions(lines: int, bad: dict[int, str], first_position: int) -> pl.Series:
    good = np.setdiff1d(np.arange(lines), np.fromiter(bad, dtype=np.int64, count=len(bad)), assume_unique=True)
    return pl.Series(POSITION, good + first_position, dtype=pl.Int64)


def _numbered(frame: pl.DataFrame, positions: pl.Series) -> pl.DataFrame:
    """The frame with its positions first; a file's own column of that name steps aside."""
    return frame.rename({POSITION: f"file:{POSITION}"}, strict=False).insert_column(0, positions.alias(POSITION))


# ---- CSV ------------------------------------------------------------------------------------------------------


def _read_csv(data: bytes, delimiter: str) -> Records:
    if not data.strip():
        return Records(pl.DataFrame(schema={POSITION: pl.Int64}), pl.DataFrame(schema=DEAD))
    lines, bad = _csv_lines(data, delimiter)
    if 0 in bad:
        return _whole_file_dead(data, f"the header line: {bad[0]}")
    try:
        header = next(iter(_parse_header(lines.raw(0), delimiter)))
    except UnicodeDecodeError:
        return _whole_file_dead(data, "the header line is not UTF-8")
    width = len(header)
    assert lines.fields is not None
    for i in np.flatnonzero(lines.fields != width):
        bad.setdefault(int(i), f"expected {width} fields, found {lines.fields[i]}")
    if 0 in bad:
        return _whole_file_dead(data, f"the header line: {bad[0]}")
    bad |= _undecodable(lines)
    good = np.setdiff1d(np.arange(1, len(lines.starts)), np.fromiter(bad, np.int64, len(bad)))
    frame = _parse_csv(lines, good, delimiter)
    if frame is None:
        _halve(
            good,
            lambda part: _parse_csv(lines, part, delimiter) is not None,
            lambda i: bad.update({i: "text beside a quoted field"}),
        )
        good = np.setdiff1d(good, np.fromiter(bad, np.int64, len(bad)))
        frame = _parse_csv(lines, good, delimiter)
        if frame is None:
            return _whole_file_dead(data, "CSV could not be parsed although each line can")
    return Records(_numbered(frame, pl.Series(POSITION, good, pl.Int64)), _dead_frame(lines, bad, 0))


def _parse_csv(lines: _Lines, part: np.ndarray, delimiter: str) -> pl.DataFrame | None:
    """The header and some lines as a frame, or None when they do not give one row each. Blank lines are no records."""
    text = lines.raw(0) + b"\n" + lines.keep(part)
    try:
        frame = pl.read_csv(io.BytesIO(text), separator=delimiter, infer_schema=False)
    except pl.exceptions.PolarsError:
        return None
    return frame if frame.height == len(part) else None


def _parse_header(line: bytes, delimiter: str) -> list[list[str]]:
    import csv

    header = next(csv.reader([line.decode("utf-8").rstrip("\r\n")], delimiter=delimiter))
    if len(set(header)) != len(header):
        repeated = sorted({c for c in header if header.count(c) > 1})
        raise SourceError(f"the header names columns twice: {repeated}")
    return [header]


def _csv_lines(data: bytes, delimiter: str) -> tuple[_Lines, dict[int, str]]:
    """Record boundaries with quoted newlines respected; a stray quote falls back to one record a line."""
    buffer = np.frombuffer(data, dtype=np.uint8)
    newline, separator = buffer == NEWLINE, buffer == ord(delimiter)
    quote = buffer == QUOTE
    if not quote.any():
        return _lines(data, newline, separator), {}
    inside = (np.cumsum(quote) & 1).astype(bool)
    lines = _lines(data, newline & ~inside, separator & ~inside)
    assert lines.fields is not None
    odd = bool(inside[-1])
    if not odd and not _spans_lines(lines, newline):
        return lines, {}
    # A stray quote swallows the lines after it. Count quotes a line instead; a line with an odd number is broken.
    plain = _lines(data, newline)
    quotes = np.flatnonzero(quote)
    per_line = np.searchsorted(quotes, plain.ends) - np.searchsorted(quotes, plain.starts)
    before = np.searchsorted(quotes, plain.starts)
    line_of = np.searchsorted(plain.ends, np.flatnonzero(separator), side="left")
    places = np.flatnonzero(separator)
    opened = np.searchsorted(quotes, places) - before[np.minimum(line_of, len(before) - 1)]
    outside = places[(opened & 1) == 0]
    fields = np.searchsorted(outside, plain.ends) - np.searchsorted(outside, plain.starts) + 1
    broken = {int(i): "unbalanced quote" for i in np.flatnonzero(per_line & 1)}
    return _Lines(plain.data, plain.starts, plain.ends, fields), broken


def _spans_lines(lines: _Lines, newline: np.ndarray) -> bool:
    """Whether a record with a wrong number of fields runs over several lines: the mark of a stray quote."""
    assert lines.fields is not None
    if not len(lines.fields):
        return False
    places = np.flatnonzero(newline)
    inner = np.searchsorted(places, lines.ends) - np.searchsorted(places, lines.starts)
    return bool(((inner > 0) & (lines.fields != lines.fields[0])).any())


# ---- JSON lines -----------------------------------------------------------------------------------------------


def _read_json(data: bytes) -> Records:
    if data.lstrip()[:1] == b"[":
        return _read_json_array(data)
    return _read_json_lines(data)


def _read_json_lines(data: bytes) -> Records:
    frame, bad = _parse_json(data, _json_keys(data)), {}  # the parser refuses what is no UTF-8, too
    if frame is not None and frame.width and frame.height == data.count(b"\n") + (data[-1:] != b"\n"):
        return Records(_numbered(frame, pl.int_range(1, frame.height + 1, eager=True)), pl.DataFrame(schema=DEAD))
    lines = _lines(data, np.frombuffer(data, dtype=np.uint8) == NEWLINE)
    if not len(lines.starts):
        return Records(pl.DataFrame(schema={POSITION: pl.Int64}), pl.DataFrame(schema=DEAD))
    if (
        frame is None or frame.height != len(lines.starts) or not frame.width
    ):  # without a key anything passes as an object
        bad = _undecodable(lines)
        bad |= _broken_json(lines, bad)
        good = _others(lines, bad)
        frame = _parse_good(lines, good)
        if frame is None:
            _halve(
                good,
                lambda part: _parse_good(lines, part) is not None,
                lambda i: bad.update({i: _json_fault(lines.raw(i)) or "not readable"}),
            )
            frame = _parse_good(lines, _others(lines, bad))
        if frame is None:
            return _whole_file_dead(data, "JSON lines could not be parsed although each line is valid JSON")
    return Records(_numbered(frame, _positions(len(lines.starts), bad, 1)), _dead_frame(lines, bad, 1))


def _others(lines: _Lines, bad: dict[int, str]) -> np.ndarray:
    return np.setdiff1d(np.arange(len(lines.starts)), np.fromiter(bad, np.int64, len(bad)), assume_unique=True)


def _read_json_array(data: bytes) -> Records:
    """A file that is one array; a file of lines whose first happens to start like one is still read by line."""
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as fault:
        by_line = _read_json_lines(data)
        return by_line if by_line.frame.height else _whole_file_dead(data, f"JSON: {fault}")
    return _read_json_lines("\n".join(json.dumps(row) for row in rows).encode())


def _parse_good(lines: _Lines, part: np.ndarray) -> pl.DataFrame | None:
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
    """The keys of the first line when every key of the text is one of them, in turn, as most writers have it; else None.

    A quarter of the cost of inferring a schema. A key ends in quote and colon; inside of values that needs a backslash.
    """
    first = data[: data.find(b"\n") + 1] or data
    try:
        pairs = json.loads(first, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
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
    """The up to eight bytes of ``name`` that end ``back`` bytes before its end, as one number, and a mask of what counts."""
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


def _broken_json(lines: _Lines, known: dict[int, str]) -> dict[int, str]:
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


def _halve(indices: np.ndarray, fine: Callable[[np.ndarray], bool], report: Callable[[int], None]) -> None:
    if not len(indices) or fine(indices):
        return
    if len(indices) == 1:
        report(int(indices[0]))
        return
    middle = len(indices) // 2
    _halve(indices[:middle], fine, report)
    _halve(indices[middle:], fine, report)


def _json_fault(raw: bytes) -> str | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        return f"JSON: {fault}"
    return None if isinstance(value, dict) else f"JSON: expected an object, found {type(value).__name__}"
