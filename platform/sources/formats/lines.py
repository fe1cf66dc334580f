"""Text to lines as byte ranges, so that only lines that cannot be parsed are looked at one by one."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.platform.sources.formats.records import DEAD, POSITION

NEWLINE, RETURN, BLANK = 10, 13, 32
AT_ONCE = 1 << 17  # bytes looked at: what fits the cache takes half the time
NO_UTF8 = "invalid bytes"
PIECE = 256  # lines decoded at once


@dataclass(frozen=True)
class Lines:
    """Records of a text as byte ranges [start, end). ``controls``: control characters beside its line ends."""

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    controls: int = 0

    def raw(self, i: int) -> bytes:
        """The bytes of one line."""
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

    def some(self, which: np.ndarray) -> Lines:
        """The lines with these ascending numbers, over a copy of their bytes alone."""
        data = self.keep(which)
        ends = np.cumsum(self.ends[which] - self.starts[which] + 1) - 1
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        return Lines(np.frombuffer(data, np.uint8), starts, np.minimum(ends, len(data)))


def split_lines(data: bytes) -> Lines:
    """Cut at line feeds; blank lines are no lines."""
    buffer = np.frombuffer(data, dtype=np.uint8)
    pieces = range(0, len(buffer), AT_ONCE)
    signs = np.concatenate([[], *(np.flatnonzero(buffer[at : at + AT_ONCE] < BLANK) + at for at in pieces)]).astype(int)
    is_feed = buffer[signs] == NEWLINE
    ends = signs if is_feed.all() else signs[is_feed]
    if len(buffer) and (not len(ends) or ends[-1] != len(buffer) - 1):
        ends = np.append(ends, len(buffer))
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else np.empty(0, np.int64)
    first = buffer[np.minimum(starts, max(len(buffer) - 1, 0))] if len(starts) else np.empty(0, np.uint8)
    blank = (ends == starts) | ((ends == starts + 1) & (first == RETURN))
    returns = np.count_nonzero((ends > starts) & (buffer[np.maximum(ends - 1, 0)] == RETURN)) if len(ends) else 0
    others = len(signs) - int(np.count_nonzero(is_feed)) - int(returns)
    return Lines(buffer, starts[~blank], ends[~blank], others)


def undecodable(lines: Lines) -> dict[int, str]:
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
        return f"{NO_UTF8}: {fault.reason} at byte {fault.start}"
    return None


def dead_frame(lines: Lines, bad: dict[int, str], first_position: int) -> pl.DataFrame:
    """Dead records from line numbers and reasons."""
    order = sorted(bad)
    return pl.DataFrame(
        {
            POSITION: [i + first_position for i in order],
            "reason": [bad[i] for i in order],
            "raw": [lines.raw(i) for i in order],
        },
        schema=DEAD,
    )


def halve(indices: np.ndarray, fine: Callable[[np.ndarray], bool], report: Callable[[int], None]) -> None:
    """Report each line that makes a set of lines not ``fine``: n bad ones of N cost about n log N looks."""
    if not len(indices) or fine(indices):
        return
    if len(indices) == 1:
        report(int(indices[0]))
        return
    middle = len(indices) // 2
    halve(indices[:middle], fine, report)
    halve(indices[middle:], fine, report)
