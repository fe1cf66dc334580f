"""A column of text by its bytes: lengths, first and last bytes, all bytes of texts that are equally long.

Readers look here first, so that rules about single values are only applied to the values that they may concern. Reading
the bytes of a column takes less time than one pattern does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

INLINE = 12  # bytes of a text that lie in its view, behind their number; longer ones lie in a buffer
BEHIND_LENGTH = 4
VIEW = np.dtype([("length", "<i4"), ("start", "u1", 4), ("buffer", "<i4"), ("offset", "<i4")])
BLANK, BEYOND_ASCII = 32, 128


@dataclass(frozen=True)
class TextBytes:
    """``length`` in bytes of each text, -1 of null; ``first``, ``last`` and ``before_last`` byte, 0 where there is
    none.
    """

    length: np.ndarray
    first: np.ndarray
    last: np.ndarray
    before_last: np.ndarray

    @property
    def odd(self) -> np.ndarray:
        """Texts that are empty, or begin or end with a blank or with something beyond ASCII, which may be one."""
        ends = (self.first <= BLANK) | (self.last <= BLANK) | (self.first >= BEYOND_ASCII) | (self.last >= BEYOND_ASCII)
        return ends & (self.length >= 0)


def of(text: pl.Series) -> TextBytes:
    """The ends of the texts of a String series."""
    views, data, ends = _views(text)
    length = views["length"].copy()
    if text.null_count():
        length[text.is_null().to_numpy()] = -1
        ends = np.where(length < 0, 0, ends)
    found = [np.where(length > 0, views["start"][:, 0], np.uint8(0))]
    for back in (1, 2):
        found.append(np.where(length >= back, data[np.maximum(ends - back, 0)], np.uint8(0)))
    return TextBytes(length, *found)


def where(text: pl.Series, which: np.ndarray, read: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The column with ``read`` applied to some of its texts; it must read each by itself and give text."""
    chosen = np.flatnonzero(which)
    if not len(chosen):
        return text
    if 2 * len(chosen) > len(text):
        return read(text)
    return text.clone().scatter(chosen, read(text.gather(chosen)))  # in place


def matrix(text: pl.Series) -> np.ndarray | None:
    """Bytes of shape (rows, length) of texts without null that are equally long; None where they are not, or empty."""
    if text.null_count() or not len(text):
        return None
    views, data, ends = _views(text)
    length = int(views["length"][0])
    if not length or (views["length"] != length).any():
        return None
    return np.lib.stride_tricks.sliding_window_view(data, length)[ends - length]


def _views(text: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Views of the texts, all bytes that they show, and where each text ends among these."""
    held = text.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    assert isinstance(held, pa.StringViewArray), f"no column of text: {held.type}"
    _, shown, *buffers = held.buffers()
    views = np.frombuffer(shown, VIEW)[held.offset : held.offset + len(held)]
    parts = [np.frombuffer(shown, np.uint8), *(np.frombuffer(buffer, np.uint8) for buffer in buffers)]
    before = np.cumsum([len(part) for part in parts])
    starts = np.arange(held.offset, held.offset + len(held)) * VIEW.itemsize + BEHIND_LENGTH
    if buffers:
        is_long = views["length"] > INLINE
        if text.null_count():  # views of null show nothing that counts
            is_long &= text.is_not_null().to_numpy()
        long = np.flatnonzero(is_long)
        starts[long] = before[views["buffer"][long]] + views["offset"][long]
    return views, np.concatenate(parts) if buffers else parts[0], starts + views["length"]
