"""Flat JSON objects, one a line, as columns of text, without a parse: values lie between keys, and keys are found by
comparing bytes.

Writers give the objects of a text the same keys in the same order, or few such kinds of them. Where that holds, a
column is what stands between two keys in every line: views of the text that was read, no copies. What the comparison
cannot vouch for is left for a reader that takes care, line by line: other keys, a key twice, nested values, strings
with an odd number of quotes or with control characters, bytes that are no UTF-8.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.platform.sources.formats.lines import Lines, undecodable
from customer360.platform.sources.formats.ndjson.tokens import BACKSLASH, QUOTE, Columns, is_utf8, last_word

COLON, BRACE, CLOSING, BLANK, RETURN = 58, 123, 125, 32, 13
LOOKED_AT = 24  # lines, whose kinds are looked for among the others
MOST_KINDS = 12
MOST_LOOKS = 3
FEW = 20  # one line of so many may be left, else another way costs less
AT_ONCE = 1 << 17  # bytes that are looked at once, and lines: what fits the cache takes half the time
LINES_AT_ONCE = 1 << 11
WORD = 8
PLAIN = {str, int, float, bool, type(None)}


@dataclass(frozen=True)
class Flat:
    """``frame``: the keys as text columns, of the lines ``of``; ``left``: the numbers of all other lines."""

    frame: pl.DataFrame
    of: np.ndarray
    left: np.ndarray


@dataclass(frozen=True)
class _Kind:
    """Keys in their order, and how many blanks stand after a colon and after a comma."""

    names: tuple[str, ...]
    after_colon: int
    after_comma: int

    def before(self) -> list[bytes]:
        """What stands before the quote that ends each key, from the sign on that ends what comes before it."""
        first, *others = (b'"' + name.encode("utf-8", "surrogatepass") for name in self.names)
        return [b"{" + first, *(b"," + b" " * self.after_comma + name for name in others)]


@dataclass(frozen=True)
class _Signs:
    """Where signs stand in a text: ``keys``, quotes that a colon follows, and ``escapes``; how many quotes it holds;
    ``cuts``: how many of the keys stand before each line.
    """

    keys: np.ndarray
    escapes: np.ndarray
    quotes: int
    cuts: np.ndarray


def parsed(data: bytes, lines: Lines) -> Flat | None:
    """The lines that are alike as columns; None where others are more than a few. ``data``: the bytes of ``lines``."""
    kinds = _kinds(lines, np.arange(len(lines.starts)))
    if not kinds or len(data) < 2 * WORD:
        return None
    signs, height = _signs(lines), len(lines.starts)
    names, tried = list[str](), 0
    columns = Columns(data, height)
    kind_of, rest = np.full(height, -1, np.int8), np.arange(height)
    for _ in range(MOST_LOOKS):
        names = list(dict.fromkeys([*names, *(name for kind in kinds for name in kind.names)]))
        columns.widen(len(names))
        for number, kind in enumerate(kinds[tried:], tried):
            search = _Search(kind, lines, signs, columns, np.array([names.index(name) for name in kind.names]))
            alike = search.put(rest)
            kind_of[rest[alike]] = number
            rest = rest[~alike]
        tried = len(kinds)
        if len(rest) * FEW <= height:
            break
        kinds += [kind for kind in _kinds(lines, rest) if kind not in kinds]
    if len(rest) * FEW > height:
        return None
    columns.sound &= kind_of >= 0
    if len(signs.escapes) and not _put_escaped(lines, signs, kinds, names, kind_of, columns):
        return None
    found = columns.series()
    _drop_unsound(lines, signs, columns, np.array([len(kind.names) for kind in kinds])[kind_of])
    left = np.flatnonzero(~columns.sound)
    if len(left) * FEW > height:
        return None
    frame = pl.DataFrame([column.alias(name) for column, name in zip(found, names, strict=True)])
    if len(left):
        frame = frame.filter(pl.Series(columns.sound))
    return Flat(frame, np.flatnonzero(columns.sound), left)


def _kinds(lines: Lines, rest: np.ndarray) -> list[_Kind]:
    """Kinds of some lines, the most frequent first; none where they are too many, or many lines looked at have none."""
    last = len(rest) - 1
    places = sorted({place * last // (LOOKED_AT - 1) for place in range(LOOKED_AT)}) if len(rest) else []
    found = [_kind(lines.raw(int(rest[place]))) for place in places]
    counted = Counter(kind for kind in found if kind is not None)
    if len(counted) > MOST_KINDS or 2 * counted.total() < len(found):
        return []
    return [kind for kind, _ in counted.most_common()]


def _kind(line: bytes) -> _Kind | None:
    """The kind of a flat object that names each key once, without escapes in keys."""
    try:
        pairs = json.loads(line, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, _Pairs) or not pairs or {type(value) for _, value in pairs} - PLAIN:
        return None
    names = tuple(key for key, _ in pairs)
    if len(set(names)) < len(names) or line.count(b'":') != len(names):
        return None
    after_colon = line[line.index(b'":') + 2] == BLANK
    kinds = [_Kind(names, after_colon, blanks) for blanks in (0, 1)]
    return next((kind for kind in kinds if all(text + b'":' in line for text in kind.before())), None)


class _Pairs(list[tuple[str, object]]):
    """Keys and values of an object."""


def _signs(lines: Lines) -> _Signs:
    data, quotes = lines.data, 0
    keys, escapes = [], []
    for first in range(0, len(data), AT_ONCE):
        piece = data[first : first + AT_ONCE + 1]
        own = piece[:AT_ONCE]
        is_quote, is_escape = own == QUOTE, own == BACKSLASH
        quotes += int(np.count_nonzero(is_quote))
        if is_escape.any():
            escapes.append(np.flatnonzero(is_escape) + first)
        is_key = is_quote[: len(piece) - 1]
        is_key &= piece[1:] == COLON
        keys.append(np.flatnonzero(is_key) + first)
    places = np.concatenate(keys)
    cuts = np.append(np.searchsorted(places, lines.starts), len(places))
    return _Signs(places, np.concatenate([np.empty(0, np.int64), *escapes]), quotes, cuts)


class _Search:
    """Finds the lines of one kind, and puts their values into columns."""

    def __init__(self, kind: _Kind, lines: Lines, signs: _Signs, columns: Columns, places: np.ndarray) -> None:
        self.kind, self.lines, self.signs, self.columns, self.places = kind, lines, signs, columns, places
        self.before = kind.before()
        self.sizes = np.array([len(text) for text in self.before])
        self.checks = []  # which keys are that long, how far before their end a word begins, mask, what stands there
        for back in range(0, int(self.sizes.max()), WORD):
            which = np.flatnonzero(self.sizes > back)
            masks, expected = zip(*(last_word(self.before[i][: self.sizes[i] - back]) for i in which), strict=True)
            self.checks.append((which, back + WORD, np.array(masks, np.uint64), np.array(expected, np.uint64)))

    def put(self, rest: np.ndarray) -> np.ndarray:
        """Put the values of the lines of this kind; returns which of the lines ``rest`` these are."""
        cuts = self.signs.cuts
        alike: np.ndarray = cuts[rest + 1] - cuts[rest] == len(self.before)
        which = np.flatnonzero(alike)
        same = self._ends_in_last(rest[which])
        alike[which], which = same, which[same]
        for first in range(0, len(which), LINES_AT_ONCE):
            part = which[first : first + LINES_AT_ONCE]
            alike[part] = self._put(rest[part])
        return alike

    def _ends_in_last(self, which: np.ndarray) -> np.ndarray:
        """Of lines with as many keys, which seem to have the last one: kinds of a text mostly differ there."""
        mask, expected = last_word(self.before[-1])
        ends = self.signs.keys[self.signs.cuts[which] + len(self.before) - 1]
        same: np.ndarray = self.columns.words[np.maximum(ends - WORD, 0)] & np.uint64(mask) == np.uint64(expected)
        return same | (ends < WORD)

    def _put(self, which: np.ndarray) -> np.ndarray:
        keys, data, cuts = self.signs.keys, self.lines.data, self.signs.cuts[which]
        count, ends = len(self.before), self.lines.ends[which]
        ends = ends - (data[ends - 1] == RETURN) - 1
        if cuts[-1] - cuts[0] == count * (len(which) - 1):
            quotes = keys[cuts[0] : cuts[-1] + count].reshape(-1, count)
        else:
            quotes = keys[cuts[:, None] + np.arange(count)]
        is_kind = (data[ends] == CLOSING) & (quotes[:, 0] - self.sizes[0] == self.lines.starts[which])
        is_kind &= self._named(quotes)
        first = quotes + (2 + self.kind.after_colon)
        if self.kind.after_colon:
            is_kind &= (data[first - 1] == BLANK).all(axis=1)
        end = np.empty_like(first)
        end[:, :-1], end[:, -1] = quotes[:, 1:] - self.sizes[1:], ends
        if not is_kind.all():
            which, first, end = which[is_kind], first[is_kind], end[is_kind]
        self.columns.put(self.places, which, first, end)
        return is_kind

    def _named(self, quotes: np.ndarray) -> np.ndarray:
        """Of lines whose keys end at these quotes, which name those of the kind."""
        same = np.ones(len(quotes), bool)
        for which, back, mask, expected in self.checks:
            places = (quotes if len(which) == len(self.before) else quotes[:, which]) - back
            held = self.columns.words[np.maximum(places, 0) if places[0, 0] < 0 else places]
            held &= mask
            is_same = held == expected
            if places[0, 0] < 0:  # less than a word stands before the first key of a text
                is_same[0, 0] = self.columns.data[: quotes[0, 0]].endswith(self.before[0])
            if not is_same.all():
                same &= is_same.all(axis=1)
        return same


def _put_escaped(
    lines: Lines, signs: _Signs, kinds: list[_Kind], names: list[str], kind_of: np.ndarray, columns: Columns
) -> bool:
    """Have values with a backslash parsed; false where one stands in a key."""
    line = np.searchsorted(lines.starts, signs.escapes, side="right") - 1
    is_of = (line >= 0) & (kind_of[line] >= 0)
    escapes, line = signs.escapes[is_of], line[is_of]
    key = np.searchsorted(signs.keys, escapes) - 1
    if (key < signs.cuts[line]).any():
        return False
    key, once = np.unique(key, return_index=True)
    line = line[once]
    of = kind_of[line]
    widest = max(len(kind.names) for kind in kinds)
    places, sizes = np.zeros((2, len(kinds), widest + 1), np.int64)
    for number, kind in enumerate(kinds):
        places[number, : len(kind.names)] = [names.index(name) for name in kind.names]
        sizes[number, : len(kind.names)] = [len(text) for text in kind.before()]
    gaps, counts = (np.array(held)[of] for held in zip(*((k.after_colon, len(k.names)) for k in kinds), strict=True))
    place = key - signs.cuts[line]
    ends = lines.ends[line]
    following = signs.keys[np.minimum(key + 1, len(signs.keys) - 1)] - sizes[of, place + 1]
    end = np.where(place + 1 < counts, following, ends - (lines.data[ends - 1] == RETURN) - 1)
    columns.parse(places[of, place], line, signs.keys[key] + 2 + gaps, end)
    return True


def _drop_unsound(lines: Lines, signs: _Signs, columns: Columns, keys: np.ndarray) -> None:
    """Leave out lines that hold other quotes than those around their ``keys`` and strings, control characters, or what
    is no UTF-8.
    """
    sound = columns.sound
    others = [lines.raw(int(line)) for line in np.flatnonzero(~sound)]
    expected = np.where(sound, columns.quotes() + 2 * keys, 0)
    if signs.quotes - sum(raw.count(b'"') for raw in others) != expected.sum():
        sound &= _count_by_line(lines, lines.data == QUOTE, lines.ends) == expected
    if lines.controls:
        ends = lines.ends - (lines.data[lines.ends - 1] == RETURN)
        sound &= _count_by_line(lines, lines.data < BLANK, ends) == 0
    if not is_utf8(columns.data):
        sound[list(undecodable(lines))] = False


def _count_by_line(lines: Lines, which: np.ndarray, ends: np.ndarray) -> np.ndarray:
    places = np.flatnonzero(which)
    counted: np.ndarray = np.searchsorted(places, ends) - np.searchsorted(places, lines.starts)
    return counted
