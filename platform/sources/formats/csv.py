"""CSV files as records of text. Every line that does not give as many fields as the header is set aside, with the reason."""

from __future__ import annotations

import csv
import io

import numpy as np
import polars as pl

from customer360.platform.errors import SourceError
from customer360.platform.sources.formats.lines import NEWLINE, Lines, dead_frame, halve, split_lines, undecodable
from customer360.platform.sources.formats.records import POSITION, Records, no_records, numbered, whole_file_dead

QUOTE = 34


def read(data: bytes, delimiter: str) -> Records:
    """Records of a UTF-8 text with a header; a file without a readable header is one dead letter.

    The common case is one vectorised parse. Only the lines that cannot be parsed are looked at one by one.

    Raises:
        SourceError: the header names a column twice.
    """
    if not data.strip():
        return no_records()
    lines, bad = _csv_lines(data, delimiter)
    if 0 in bad:
        return whole_file_dead(data, f"the header line: {bad[0]}")
    try:
        header = _parse_header(lines.raw(0), delimiter)
    except UnicodeDecodeError:
        return whole_file_dead(data, "the header line is not UTF-8")
    width = len(header)
    assert lines.fields is not None
    for i in np.flatnonzero(lines.fields != width):
        bad.setdefault(int(i), f"expected {width} fields, found {lines.fields[i]}")
    if 0 in bad:
        return whole_file_dead(data, f"the header line: {bad[0]}")
    bad |= undecodable(lines)
    good = np.setdiff1d(np.arange(1, len(lines.starts)), np.fromiter(bad, np.int64, len(bad)))
    frame = _parse_csv(lines, good, delimiter)
    if frame is None:
        halve(
            good,
            lambda part: _parse_csv(lines, part, delimiter) is not None,
            lambda i: bad.update({i: "text beside a quoted field"}),
        )
        good = np.setdiff1d(good, np.fromiter(bad, np.int64, len(bad)))
        frame = _parse_csv(lines, good, delimiter)
        if frame is None:
            return whole_file_dead(data, "CSV could not be parsed although each line can")
    return Records(numbered(frame, pl.Series(POSITION, good, pl.Int64)), dead_frame(lines, bad, 0))


def _parse_csv(lines: Lines, part: np.ndarray, delimiter: str) -> pl.DataFrame | None:
    """The header and some lines as a frame, or None when they do not give one row each. Blank lines are no records."""
    text = lines.raw(0) + b"\n" + lines.keep(part)
    try:
        frame = pl.read_csv(io.BytesIO(text), separator=delimiter, infer_schema=False)
    except pl.exceptions.PolarsError:
        return None
    return frame if frame.height == len(part) else None


def _parse_header(line: bytes, delimiter: str) -> list[str]:
    header = next(csv.reader([line.decode("utf-8").rstrip("\r\n")], delimiter=delimiter))
    if len(set(header)) != len(header):
        repeated = sorted({c for c in header if header.count(c) > 1})
        raise SourceError(f"the header names columns twice: {repeated}")
    return header


def _csv_lines(data: bytes, delimiter: str) -> tuple[Lines, dict[int, str]]:
    """Record boundaries with quoted newlines respected; a stray quote falls back to one record a line."""
    buffer = np.frombuffer(data, dtype=np.uint8)
    newline, separator = buffer == NEWLINE, buffer == ord(delimiter)
    quote = buffer == QUOTE
    if not quote.any():
        return split_lines(data, newline, separator), {}
    inside = (np.cumsum(quote) & 1).astype(bool)
    lines = split_lines(data, newline & ~inside, separator & ~inside)
    assert lines.fields is not None
    odd = bool(inside[-1])
    if not odd and not _spans_lines(lines, newline):
        return lines, {}
    # A stray quote swallows the lines after it. Count quotes a line instead; a line with an odd number is broken.
    plain = split_lines(data, newline)
    quotes = np.flatnonzero(quote)
    per_line = np.searchsorted(quotes, plain.ends) - np.searchsorted(quotes, plain.starts)
    before = np.searchsorted(quotes, plain.starts)
    line_of = np.searchsorted(plain.ends, np.flatnonzero(separator), side="left")
    places = np.flatnonzero(separator)
    opened = np.searchsorted(quotes, places) - before[np.minimum(line_of, len(before) - 1)]
    outside = places[(opened & 1) == 0]
    fields = np.searchsorted(outside, plain.ends) - np.searchsorted(outside, plain.starts) + 1
    broken = {int(i): "unbalanced quote" for i in np.flatnonzero(per_line & 1)}
    return Lines(plain.data, plain.starts, plain.ends, fields), broken


def _spans_lines(lines: Lines, newline: np.ndarray) -> bool:
    """Whether a record with a wrong number of fields runs over several lines: the mark of a stray quote."""
    assert lines.fields is not None
    if not len(lines.fields):
        return False
    places = np.flatnonzero(newline)
    inner = np.searchsorted(places, lines.ends) - np.searchsorted(places, lines.starts)
    return bool(((inner > 0) & (lines.fields != lines.fields[0])).any())
