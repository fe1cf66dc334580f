"""Values of flat JSON objects as byte ranges of their text: which are strings, numbers, truth and null, and all as
columns of text.

Plain strings and numbers are views of the text itself. Values that are written otherwise than they are read (escapes,
exponents, zeros at the end of a fraction) are parsed, each by itself.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pyarrow as pa

from customer360.platform.sources.values.textbytes import INLINE

QUOTE, BACKSLASH, POINT = 34, 92, 46
WORD, HALF = 8, 4
ROOM = 64  # columns for which there is room at first
VIEW = np.dtype([("length", "<u4"), ("start", "<u8"), ("end", "<u4")])  # of a long text: end is where it begins
KEY, END = b'{"v":', b"}\n"
HIGH_HALF, LOW_HALF = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F]"  # of a surrogate pair
# A key within a value, an escape that is none, half of a pair alone.
DOUBTFUL = re.compile(rb'"[ \t]+:|\\\\u|' + HIGH_HALF + rb"(?!" + LOW_HALF + rb")|(?<!" + HIGH_HALF + rb")" + LOW_HALF)
NULL, TRUE, FALS = (np.uint64(int.from_bytes(text, "little")) for text in (b"null", b"true", b"fals"))
MASKS = np.array([2 ** (8 * size) - 1 for size in range(WORD + 1)], np.uint64)
LOW = MASKS[HALF]
MASKS_OF_SIZE = np.array([2 ** (8 * min(size, WORD)) - 1 for size in range(INLINE + 1)] + [2**32 - 1], np.uint64)
MASKS_OF_MORE = np.array([2 ** (8 * max(size - WORD, 0)) - 1 for size in range(INLINE + 1)] + [0], np.uint32)


def _each(byte: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([byte]) * WORD, "little"))


TENS, SIXES, ZEROS, POINTS, TOPS, SEVENS = (_each(byte) for byte in (0xF0, 0x06, 0x30, POINT, 0x80, 0x7F))


def last_word(text: bytes) -> tuple[int, int]:
    """Of the word whose last bytes are those of a text, or of its end: a mask of these bytes, and what they are."""
    part = text[-WORD:]
    return 2**64 - 2 ** (8 * (WORD - len(part))), int.from_bytes(part.rjust(WORD, b"\0"), "little")


def is_utf8(data: bytes) -> bool:
    """Whether bytes are a text in UTF-8."""
    ends = pa.py_buffer(np.array([0, len(data)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


class Columns:
    """Columns of the values of ``height`` lines, put in as byte ranges of ``data``.

    ``sound``: lines all of whose values are strings, numbers, truth or null, as far as their ends tell it.
    """

    def __init__(self, data: bytes, height: int) -> None:
        self.data, self.height = data, height
        self._bytes = np.frombuffer(data, np.uint8)
        self.words = np.ndarray(len(data) - WORD + 1, "<u8", buffer=data, strides=(1,))
        self._halves = np.ndarray(len(data) - HALF + 1, "<u4", buffer=data, strides=(1,))
        self.width = 0
        self._views, self._is_there, self._is_text = self._room(ROOM)
        self.sound = np.ones(height, bool)
        self._within = np.zeros(height, np.int64)
        self._parse: list[tuple[np.ndarray, ...]] = []  # column, line, first byte and end of values to be parsed

    def widen(self, width: int) -> None:
        """Have so many columns: of new ones all values are null."""
        self.width, room = width, len(self._views)
        if width > room:
            held, more = (self._views, self._is_there, self._is_text), self._room(2 * width - room)
            self._views, self._is_there, self._is_text = (
                np.concatenate(parts) for parts in zip(held, more, strict=True)
            )

    def _room(self, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns in which nothing was put; memory is taken as they are."""
        shape = (width, self.height)
        return np.zeros(shape, VIEW), np.zeros(shape, bool), np.zeros(shape, bool)

    def put(self, columns: np.ndarray, lines: np.ndarray, first: np.ndarray, end: np.ndarray) -> None:
        """Put values of shape (lines, columns)."""
        shape, first, end = first.shape, first.ravel(), end.ravel()
        sign = self._bytes[first]
        is_text = sign == QUOTE
        quotes = is_text.astype(np.int64)
        begin = first + quotes
        last = end - 1
        length = end - begin
        length -= quotes
        unsound = (self._bytes[last] != QUOTE) & is_text
        unsound |= length < 0
        word = self._at(self.words, begin, WORD)
        is_null = np.zeros(len(first), bool)
        others = np.flatnonzero(~is_text)
        if len(others):
            null, odd, wrong = _others(word[others], length[others], sign[others])
            is_null[others[null]] = True
            unsound[others[wrong]] = True
            length[others[null]] = 0
            if odd.any():
                self._note(columns, lines, others[odd], first, end)
        if unsound.any():
            length[unsound] = 0
            self.sound[lines] = ~unsound.reshape(shape).any(axis=1)
        views, where = self._viewed(begin, length, word), _box(columns, lines)
        self._views.view(np.complex128)[where] = views.view(np.complex128).reshape(shape).T
        self._is_there[where] = ~is_null.reshape(shape).T
        self._is_text[where] = is_text.reshape(shape).T

    def quotes(self) -> np.ndarray:
        """How many quotes each line has around its strings, and within those that were parsed."""
        counted: np.ndarray = 2 * self._is_text[: self.width].sum(axis=0) + self._within
        return counted

    def parse(self, column: np.ndarray, line: np.ndarray, first: np.ndarray, end: np.ndarray) -> None:
        """Have some of the values that were put parsed, as `series` is asked for."""
        self._parse.append((column, line, first, end))

    def series(self) -> list[pl.Series]:
        """The columns. Lines of which a value cannot be parsed for certain are not ``sound``."""
        found = [
            self._series(views, is_there)
            for views, is_there in zip(self._views[: self.width], self._is_there, strict=False)
        ]
        if not self._parse:
            return found
        column, line, first, end = (np.concatenate(parts) for parts in zip(*self._parse, strict=True))
        is_sound = self.sound[line]
        column, line, first, end = (part[is_sound] for part in (column, line, first, end))
        values = self._parsed(line, first, end) if len(line) else None
        for place in np.unique(column) if values is not None else ():
            of = np.flatnonzero(column == place)
            found[place] = found[place].scatter(line[of], values.gather(of))  # type: ignore[union-attr]
        return found

    def _note(
        self, columns: np.ndarray, lines: np.ndarray, which: np.ndarray, first: np.ndarray, end: np.ndarray
    ) -> None:
        line, column = np.divmod(which, len(columns))
        self.parse(columns[column], lines[line], first[which], end[which])

    def _at(self, view: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
        """The bytes from each place on as numbers; zeros follow the text."""
        over = int(places.max()) - (len(view) - 1) if len(places) else 0
        if over <= 0:
            return view[places]
        late = np.clip(places - (len(view) - 1), 0, size - 1).astype(view.dtype)
        found = view[np.minimum(places, len(view) - 1)] >> (late * view.dtype.type(8))
        found[places >= len(self.data)] = 0
        return found

    def _viewed(self, begin: np.ndarray, length: np.ndarray, word: np.ndarray) -> np.ndarray:
        views, size = np.empty(len(begin), VIEW), np.minimum(length, INLINE + 1)
        views["length"] = length
        views["start"] = word & MASKS_OF_SIZE[size]
        views["end"] = begin
        middle = np.flatnonzero(size <= INLINE)
        short = size[middle]
        more = self._at(self._halves, begin[middle] + WORD, HALF)
        views["end"][middle] = more & MASKS_OF_MORE[short]
        return views

    def _series(self, views: np.ndarray, is_there: np.ndarray) -> pl.Series:
        valid = pa.py_buffer(np.packbits(is_there, bitorder="little")) if not is_there.all() else None
        buffers = [valid, pa.py_buffer(views), pa.py_buffer(self.data)]
        found = pl.from_arrow(pa.Array.from_buffers(pa.string_view(), len(views), buffers))
        assert isinstance(found, pl.Series)
        return found

    def _parsed(self, line: np.ndarray, first: np.ndarray, end: np.ndarray) -> pl.Series | None:
        """Values that are written otherwise than they are read; None where they cannot be parsed together."""
        text, starts = self._wrapped(first, end - first)
        raw = text.tobytes()
        is_text = self._bytes[first] == QUOTE
        quotes = np.add.reduceat(text == QUOTE, starts) - 2
        np.add.at(self._within, line, quotes - 2 * is_text)
        doubtful = [match.start() for match in DOUBTFUL.finditer(raw)]
        if doubtful:
            self.sound[line[np.searchsorted(starts, doubtful, side="right") - 1]] = False
        try:
            values = pl.read_ndjson(raw, schema={"v": pl.String}).to_series()
        except pl.exceptions.PolarsError:
            values = pl.Series(dtype=pl.String)
        if len(values) == len(line):
            return values
        self.sound[line] = False
        return None

    def _wrapped(self, first: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values as objects of one key, one a line, and where each line begins."""
        sizes = size + len(KEY) + len(END)
        starts = np.cumsum(sizes) - sizes
        text = np.empty(int(sizes.sum()), np.uint8)
        for place, byte in enumerate(KEY):
            text[starts + place] = byte
        for place, byte in enumerate(END):
            text[starts + len(KEY) + size + place] = byte
        within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        text[np.repeat(starts + len(KEY), size) + within] = self._bytes[np.repeat(first, size) + within]
        return text, starts


def _box(columns: np.ndarray, lines: np.ndarray) -> tuple[slice | np.ndarray, slice | np.ndarray]:
    """An index of some lines of some columns, by slices where they follow each other."""
    rows: slice | np.ndarray = lines
    if len(lines) and lines[-1] - lines[0] == len(lines) - 1:
        rows = slice(int(lines[0]), int(lines[-1]) + 1)
    if columns[-1] - columns[0] == len(columns) - 1 and (np.diff(columns) == 1).all():
        return slice(int(columns[0]), int(columns[-1]) + 1), rows
    return (columns, rows) if isinstance(rows, slice) else (columns[:, None], rows)


def _others(word: np.ndarray, size: np.ndarray, sign: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of values that are no strings, by their first eight bytes: which are null, which are numbers that have to be
    parsed, and which are no value.
    """
    start = word & LOW
    null = (size == HALF) & (start == NULL)
    is_number = ((sign - np.uint8(48)) < 10) | (sign == ord("-"))
    truth = (size == HALF) & (start == TRUE)
    truth |= (size == HALF + 1) & (start == FALS) & (((word >> np.uint64(32)) & MASKS[1]) == ord("e"))
    plain = is_number & (size <= WORD)
    digits = np.flatnonzero(plain)
    plain[digits] = _is_plain(word[digits], size[digits], sign[digits])
    return null, is_number & ~plain, ~(null | truth | is_number)


def _is_plain(word: np.ndarray, size: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Which numbers of up to eight bytes are written as they are read: digits alone, or some before a point and some
    after it, no zero before another digit, none at the end of a fraction.
    """
    mask = MASKS[size]
    held = (word & mask) | (ZEROS & ~mask)
    apart = held ^ POINTS
    points = ~(((apart & SEVENS) + SEVENS) | apart | SEVENS)  # the top bit of each byte that is a point
    has_point = points != 0
    held ^= (points >> np.uint64(7)) * np.uint64(POINT ^ ord("0"))
    digits = ((held & TENS) == ZEROS) & (((held + SIXES) & TENS) == ZEROS)
    one_point = (points & (points - np.uint64(1))) == 0
    last = (word >> ((size - 1).astype(np.uint64) * np.uint64(8))) & MASKS[1]
    second = (word >> np.uint64(8)) & MASKS[1]
    led = (sign != ord("0")) | (size == 1) | (second == POINT)
    ends_well = ~has_point | ((last != POINT) & (last != ord("0")))
    return digits & one_point & led & ends_well & (sign != POINT)
