"""A column of text by its bytes: lengths, first and last bytes, all bytes of texts that are equally long.

Readers look here first, so that rules about single values are only applied to the values that they may concern. Reading
the bytes of a column takes less time than one pattern does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa

INLINE = 12  # bytes of a text that lie in its view, behind their number; longer ones lie in a buffer
BEHIND_LENGTH = 4
VIEW = np.dtype([("length", "<i4"), ("start", "<u2"), ("more", "<u2"), ("buffer", "<i4"), ("offset", "<i4")])
BLANK, BEYOND_ASCII = 32, 128


class TextBytes:
    """``length`` in bytes of each text, -1 of null; ``start``, its first two bytes as one number, the first one the
    smaller part; ``first``, ``last`` and ``before_last`` byte. 0 stands where there is none.
    """

    def __init__(self, text: pl.Series) -> None:
        self._text = text
        self._held = _array(text)
        self._views = _views(self._held)
        self.length = self._views["length"].copy()
        self.start = self._views["start"].copy()  # short texts are followed by zeros
        if text.null_count():
            none = text.is_null().to_numpy()
            self.length[none], self.start[none] = -1, 0

    @property
    def first(self) -> np.ndarray:
        return self.start.astype(np.uint8)

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        data, ends = _ends(self._held, self._views, self._text)
        return data, np.where(self.length < 0, 0, ends) if self._text.null_count() else ends

    @cached_property
    def last(self) -> np.ndarray:
        return self._back(1)

    @cached_property
    def before_last(self) -> np.ndarray:
        return self._back(2)

    def _back(self, places: int) -> np.ndarray:
        data, ends = self._ends
        return np.where(self.length >= places, data[np.maximum(ends - places, 0)], np.uint8(0))

    @property
    def odd(self) -> np.ndarray:
        """Texts that are empty, or begin or end with a blank or with something beyond ASCII, which may be one."""
        return (_is_odd(self.first) | _is_odd(self.last)) & (self.length >= 0)


def _is_odd(byte: np.ndarray) -> np.ndarray:
    return (byte <= BLANK) | (byte >= BEYOND_ASCII)


def of(text: pl.Series) -> TextBytes:
    """The ends of the texts of a String series."""
    return TextBytes(text)


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
    held = _array(text)
    views = _views(held)
    length = int(views["length"][0])
    if not length or (views["length"] != length).any():
        return None
    data, ends = _ends(held, views, text)
    return np.lib.stride_tricks.sliding_window_view(data, length)[ends - length]


def _array(text: pl.Series) -> pa.StringViewArray:
    held = text.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    assert isinstance(held, pa.StringViewArray), f"no column of text: {held.type}"
    return held


def _views(held: pa.StringViewArray) -> np.ndarray:
    return np.frombuffer(held.buffers()[1], VIEW)[held.offset : held.offset + len(held)]


def _ends(held: pa.StringViewArray, views: np.ndarray, text: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """All bytes that the texts show, and where each text ends among these."""
    _, shown, *buffers = held.buffers()
    ends = np.arange(held.offset, held.offset + len(held)) * VIEW.itemsize + BEHIND_LENGTH + views["length"]
    inline = np.frombuffer(shown, np.uint8)
    is_long = views["length"] > INLINE
    if text.null_count():  # views of null show nothing that counts
        is_long &= text.is_not_null().to_numpy()
    long = np.flatnonzero(is_long)
    if not len(long):
        return inline, ends
    parts = [inline, *(np.frombuffer(buffer, np.uint8) for buffer in buffers)]
    before = np.cumsum([len(part) for part in parts])
    ends[long] = before[views["buffer"][long]] + views["offset"][long] + views["length"][long]
    return np.concatenate(parts), ends
