"""A column of text by its bytes: lengths, first and last bytes, all bytes of texts that are equally long.

Readers look here first, so that rules about single values are only applied to the values that they may concern. Reading
the bytes of a column takes less time than one pattern does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    def last(self) -> np.ndarray:
        return self._back(1)

    @cached_property
    def before_last(self) -> np.ndarray:
        return self._back(2)

    def _back(self, places: int) -> np.ndarray:
        ends = _inline_places(self._held) + np.minimum(self._views["length"], INLINE)
        inline, long = _shown(self._held)
        found = inline[np.maximum(ends - places, 0)]
        for which, data, begins in _long(self._views, long, self.length > INLINE):
            found[which] = data[begins + (self.length[which] - places)]
        found[self.length < places] = 0
        return found

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
    inline, long = _shown(held)
    if length <= INLINE:
        return np.lib.stride_tricks.sliding_window_view(inline, length)[_inline_places(held)]
    found = np.empty((len(views), length), np.uint8)
    for which, data, begins in _long(views, long, np.ones(len(views), bool)):
        found[which] = np.lib.stride_tricks.sliding_window_view(data, length)[begins]
    return found


def _array(text: pl.Series) -> pa.StringViewArray:
    held = text.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    assert isinstance(held, pa.StringViewArray), f"no column of text: {held.type}"
    return held


def _views(held: pa.StringViewArray) -> np.ndarray:
    return np.frombuffer(held.buffers()[1], VIEW)[held.offset : held.offset + len(held)]


def _shown(held: pa.StringViewArray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The bytes of the views of a column, and those of its long texts."""
    _, shown, *buffers = held.buffers()
    return np.frombuffer(shown, np.uint8), [np.frombuffer(buffer, np.uint8) for buffer in buffers]


def _inline_places(held: pa.StringViewArray) -> np.ndarray:
    """Where short texts begin among the bytes of the views."""
    return np.arange(held.offset, held.offset + len(held)) * VIEW.itemsize + BEHIND_LENGTH


def _long(
    views: np.ndarray, buffers: list[np.ndarray], is_long: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By buffer, which long texts lie in it, its bytes, and where each text begins."""
    which = np.flatnonzero(is_long)
    if not len(which):
        return
    of = views["buffer"][which]
    for number in (of[0],) if (of == of[0]).all() else np.unique(of):
        some = which[of == number]
        yield some, buffers[number], views["offset"][some].astype(np.int64)
