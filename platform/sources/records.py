"""Bytes to records: CSV, JSON lines and Parquet as frames of text, with every unreadable record set aside.

The common case is one vectorised parse. Only the lines that cannot be parsed are looked at one by one. A record's
position is its 1-based number in the file, unreadable records counted.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.platform.errors import SourceError

POSITION = "_position"
DEAD = {POSITION: pl.Int64, "reason": pl.String, "raw": pl.Binary}
NEWLINE, QUOTE = 10, 34


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
        """The bytes of the lines with these ascending numbers; costs what lies between the first and the last of them."""
        if not len(which):
            return b""
        starts, ends = self.starts[which], np.minimum(self.ends[which] + 1, len(self.data))
        span = self.data[starts[0] : ends[-1]]
        if int((ends - starts).sum()) == len(span):
            return span.tobytes()
        edges = np.zeros(len(span) + 1, dtype=np.int8)
        edges[starts - starts[0]] += 1
        edges[ends - starts[0]] -= 1
        return span[np.cumsum(edges[:-1], dtype=np.int8) > 0].tobytes()


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
    """Lines that are no UTF-8; only lines with a byte beyond ASCII are decoded one by one."""
    try:
        lines.data.tobytes().decode("utf-8")
        return {}
    except UnicodeDecodeError:
        pass
    high = np.flatnonzero(lines.data >= 0x80)
    suspects = np.unique(np.searchsorted(lines.ends, high, side="left"))
    bad = {}
    for i in suspects[suspects < len(lines.starts)]:
        try:
            lines.raw(i).decode("utf-8")
        except UnicodeDecodeError as fault:
            bad[int(i)] = f"invalid bytes: {fault.reason} at byte {fault.start}"
    return bad


def _dead_frame(lines: _Lines, bad: dict[int, str], first_position: int) -> pl.DataFrame:
    order = sorted(bad)
    return pl.DataFrame(
        {POSITION: [i + first_position for i in order], "reason": [bad[i] for i in order], "raw": [lines.raw(i) for i in order]}, schema=DEAD
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
        _halve(good, lambda part: _parse_csv(lines, part, delimiter) is not None, lambda i: bad.update({i: "text beside a quoted field"}))
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
    buffer = np.frombuffer(data, dtype=np.uint8)
    lines = _lines(data, buffer == NEWLINE)
    if not len(lines.starts):
        return Records(pl.DataFrame(schema={POSITION: pl.Int64}), pl.DataFrame(schema=DEAD))
    bad = _undecodable(lines)
    frame = None if bad else _parse_json(data)
    if frame is None or frame.height != len(lines.starts) or not frame.width:  # without a key anything passes as an object
        bad |= _broken_json(lines, bad)
        good = np.setdiff1d(np.arange(len(lines.starts)), np.fromiter(bad, np.int64, len(bad)))
        frame = _parse_json(lines.keep(good)) if len(good) else pl.DataFrame()
        if frame is None:
            return _whole_file_dead(data, "JSON lines could not be parsed although each line is valid JSON")
    return Records(_numbered(frame, _positions(len(lines.starts), bad, 1)), _dead_frame(lines, bad, 1))


def _read_json_array(data: bytes) -> Records:
    """A file that is one array; a file of lines whose first happens to start like one is still read by line."""
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as fault:
        by_line = _read_json_lines(data)
        return by_line if by_line.frame.height else _whole_file_dead(data, f"JSON: {fault}")
    return _read_json_lines("\n".join(json.dumps(row) for row in rows).encode())


def _parse_json(data: bytes) -> pl.DataFrame | None:
    """All keys of all lines as text columns, or None when a line is no JSON object."""
    keys = _json_keys(data)
    if keys is None:
        return None
    try:
        return pl.read_ndjson(io.BytesIO(data), schema=dict.fromkeys(keys, pl.String))
    except pl.exceptions.PolarsError:
        return None


def _json_keys(data: bytes) -> list[str] | None:
    try:
        return list(pl.read_ndjson(io.BytesIO(data), infer_schema_length=None, n_rows=1).columns)
    except pl.exceptions.PolarsError:
        pass
    # Values of one key with types that do not unite (an object here, a number there): take the keys alone.
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
    """Lines that are no JSON object, found by halving: whole chunks parse fast, only failing ones are split."""
    bad: dict[int, str] = {}
    last = lines.data[np.maximum(lines.ends - 1, 0)]
    last = np.where(last == 13, lines.data[np.maximum(lines.ends - 2, 0)], last)
    cut = (lines.data[lines.starts] != ord("{")) | (last != ord("}"))
    for i in np.flatnonzero(cut):
        if int(i) not in known:
            bad[int(i)] = _json_fault(lines.raw(i)) or ""
    bad = {i: reason for i, reason in bad.items() if reason}
    rest = np.setdiff1d(np.arange(len(lines.starts)), np.fromiter([*known, *bad], np.int64))
    _halve(rest, lambda part: _parses(lines, part), lambda i: bad.update({i: _json_fault(lines.raw(i)) or "not readable"}))
    return bad


def _halve(indices: np.ndarray, fine: Callable[[np.ndarray], bool], report: Callable[[int], None]) -> None:
    if not len(indices) or fine(indices):
        return
    if len(indices) == 1:
        report(int(indices[0]))
        return
    middle = len(indices) // 2
    _halve(indices[:middle], fine, report)
    _halve(indices[middle:], fine, report)


def _parses(lines: _Lines, part: np.ndarray) -> bool:
    frame = _parse_json(lines.keep(part))
    return frame is not None and frame.height == len(part)


def _json_fault(raw: bytes) -> str | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        return f"JSON: {fault}"
    return None if isinstance(value, dict) else f"JSON: expected an object, found {type(value).__name__}"
