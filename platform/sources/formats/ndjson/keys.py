"""The keys of JSON objects, one a line: which lines name the same keys in the same order, found without a parse.

To know all keys of a text, a parser would read every value a second time. Most writers write the same keys in every
line; these are found by comparing, as words of eight bytes, what stands before each quote that a colon follows.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np

from customer360.platform.sources.formats.lines import Lines

COLON, QUOTE, BRACE, CLOSING_BRACE, BLANK = 58, 34, 123, 125, 32
WORD = 8  # bytes compared at once
LOOKED_AT = 9  # lines, of which the most frequent keys are those of the text
MOST_KINDS, LEAST_SHARE = 24, 20  # of lines with the same keys, and the part of the lines left that one must be
FEW = 200  # lines that are read with care in less time than they are compared
AT_ONCE = 2048  # lines compared at once


@dataclass(frozen=True)
class Keys:
    """``names`` of the keys of most lines, which name each once; ``unlike`` numbers the lines that may have other ones,
    or one twice. No line beside these has.
    """

    names: tuple[str, ...]
    unlike: np.ndarray


def of(lines: Lines) -> Keys | None:
    """The keys of a text; None where its first lines are no flat objects without blanks after their keys.

    Lines that have not the usual keys are compared with those that are usual among them, and so on.
    """
    names: dict[str, None] = {}
    unlike = np.arange(len(lines.starts))
    for _ in range(MOST_KINDS):
        some = lines.some(unlike) if names else lines
        usual = _usual(some)
        alike = _alike(some, usual) if usual and len(some.data) > WORD else np.zeros(len(unlike), bool)
        if np.count_nonzero(alike) * LEAST_SHARE < len(alike):
            break
        names |= dict.fromkeys(usual)
        unlike = unlike[~alike]
        if len(unlike) < FEW:
            break
    return Keys(tuple(names), unlike) if names else None


def _alike(lines: Lines, names: tuple[str, ...]) -> np.ndarray:
    """Which lines have these keys, in this order, and no others."""
    ends = lines.ends - (lines.data[lines.ends - 1] == 13)
    whole = (lines.data[lines.starts] == BRACE) & (lines.data[np.maximum(ends - 1, lines.starts)] == CLOSING_BRACE)
    search = _Search(lines, names)
    alike = np.concatenate([search.alike(line, line + AT_ONCE) for line in range(0, len(lines.starts), AT_ONCE)])
    alike[0] = _flat_keys(lines.raw(0)) == names  # there may be less than a word before its first key
    return alike & whole


def _usual(lines: Lines) -> tuple[str, ...]:
    count = len(lines.starts)
    looked_at = sorted({place * (count - 1) // (LOOKED_AT - 1) for place in range(LOOKED_AT)}) if count else []
    found = Counter(names for line in looked_at if (names := _flat_keys(lines.raw(line))))
    return found.most_common(1)[0][0] if found else ()


def _flat_keys(line: bytes) -> tuple[str, ...]:
    """The keys of a flat object that names each once, without escapes or blanks after keys; none of other lines."""
    try:
        pairs = json.loads(line, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return ()
    if line[:1] != b"{" or not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return ()
    names = tuple(key for key, _ in pairs)
    is_plain = all(b'"' + _raw(name) + b'":' in line for name in names) and line.count(b'":') == len(names)
    return names if is_plain and len(set(names)) == len(names) else ()


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


class _Search:
    """Compares the keys of lines with the usual ones."""

    def __init__(self, lines: Lines, names: tuple[str, ...]) -> None:
        self.lines = lines
        self.count = len(names)
        data = lines.data
        self.words = np.ndarray(len(data) - WORD + 1, "<u8", buffer=data.data, strides=(1,))
        quoted = [b'"' + _raw(name) + b'"' for name in names]
        self.checks = []  # which keys are that long, how far back from their end a word begins, mask, what is there
        for back in range(0, max(len(name) for name in quoted), WORD):
            which = [place for place, name in enumerate(quoted) if len(name) > back]
            masked = [_masked_word(quoted[place], back) for place in which]
            expected, mask = (np.array(column, np.uint64) for column in zip(*masked, strict=True))
            self.checks.append((which, back + WORD - 1, mask, expected))

    def alike(self, first: int, after: int) -> np.ndarray:
        """Which of the lines have the usual keys and no others."""
        starts, ends = self.lines.starts[first:after], self.lines.ends[first:after]
        start, stop = int(starts[0]), int(ends[-1])
        piece = self.lines.data[start:stop]
        quotes = np.flatnonzero(piece[1:] == COLON)  # where they are, as a colon follows
        before = piece[quotes]
        apart = quotes[before <= BLANK] + start
        quotes = quotes[before == QUOTE] + start
        cuts = np.append(np.searchsorted(quotes, starts), len(quotes))
        alike = np.diff(cuts) == self.count
        if len(apart):
            alike[np.searchsorted(starts, apart, side="right") - 1] = False
        which = np.flatnonzero(alike)
        if not len(which):
            return alike
        if len(which) < len(starts):
            quotes = quotes[cuts[which][:, None] + np.arange(self.count)]
        alike[which] = self._named(quotes.reshape(-1, self.count))
        return alike

    def _named(self, quotes: np.ndarray) -> np.ndarray:
        """Of lines whose keys end at these quotes, which name the usual ones."""
        same = np.ones(len(quotes), bool)
        for which, back, mask, expected in self.checks:
            places = quotes if len(which) == self.count else quotes[:, which]
            found = self.words[np.maximum(places - back, 0)]
            same &= ((found & mask) == expected).all(axis=1)
        return same


def _masked_word(name: bytes, back: int) -> tuple[int, int]:
    """The up to eight bytes of ``name`` that end ``back`` bytes before its end, as one number, and a mask of what
    counts.
    """
    part = name[: len(name) - back][-WORD:]
    return int.from_bytes(part.rjust(WORD, b"\0"), "little"), 2**64 - 2 ** (8 * (WORD - len(part)))
