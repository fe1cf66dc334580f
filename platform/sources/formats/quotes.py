"""Where the records of a CSV text end, and what their fields are, when quotes stand where RFC 4180 has none.

A quote opens a field at the field's beginning alone; elsewhere it is a character (an inch mark). Where a record so read
has the header's width, it is a record. Where not, further readings are tried, and the first that gives the width
counts:

1. blanks may stand before and after the quotes of a field;
2. a backslash takes the next quote, delimiter or backslash literally;
3. a quoted field ends at a quote before a delimiter or a line's end alone (quotes inside that were not doubled);
4. a quote is a character everywhere, if the record breaks off otherwise.

A field that spans lines is compared with the same lines one by one, as a lone quote swallows what follows it. A field
that RFC 4180 allows holds, unless every line is a record by itself and enough delimiters agree to make that no
accident, or of more than ten lines at most one in ten is none. A record that needs another reading, or whose width is
wrong, holds only where at least half of its lines are none alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

QUOTE, NEWLINE, BLANK = 34, 10, 32
BLANK_AT_QUOTE = re.compile(rb'" | "')
LONGEST_RECORD = 1 << 22  # bytes that a quoted field may span
LONGEST_LOOSE = 1 << 16  # bytes that a field may span which RFC 4180 does not allow
AGREEING = 3  # delimiters that stand where single lines would have them: no accident
MANY = 10  # lines of which at most one is none by itself: no text that a person wrote into a field


class More(Exception):
    """The text ends before the record does: give it again with what follows."""


@dataclass(frozen=True)
class Reading:
    """One way to tell fields apart: a pattern of a quoted field, of a bare one, and how a quoted one's value is
    written.
    """

    quoted: re.Pattern[bytes] | None
    bare: re.Pattern[bytes]
    value: Callable[[bytes], bytes]
    bare_value: Callable[[bytes], bytes] = bytes
    sign: str = ""  # an escape character that the source states
    blanks: bool = False  # whether a quoted field may have blanks before its quote


@dataclass(frozen=True)
class Found:
    """A record that begins at a line: its values, or None and why it is none; it ends at byte ``end``.

    ``raw``: whether its bytes are RFC 4180 as they stand.
    """

    cells: list[bytes] | None
    end: int
    reason: str = ""
    raw: bool = False


@dataclass(frozen=True)
class Readings:
    """The readings of a text: ``first`` what it should be, ``spaced`` with blanks around quotes, then those of last
    resort.

    ``escaped`` is the first where the source states an escape character, ``strict`` then one of the others.
    """

    first: Reading
    spaced: Reading
    others: tuple[Reading, ...]
    literal: Reading


def readings(delimiter: str, escape: str = "") -> Readings:
    """The readings of a text with this delimiter; a stated escape character comes first."""
    d = re.escape(delimiter.encode())
    after = rb"(?=" + d + rb"|\r?\n|\r?\Z)"
    plain = re.compile(rb"[^" + d + rb"\n]*+")
    inner = rb'((?:[^"]++|"")*+)"'
    strict = Reading(re.compile(rb'"' + inner + after), plain, _undoubled)
    spaced = Reading(re.compile(rb' *"' + inner + rb" *" + after), plain, _undoubled, blanks=True)
    loose = Reading(re.compile(rb'"((?:[^"]++|"(?!' + d + rb'|\r?\n|\r?\Z))*+)(?<!\\)"' + after), plain, _undoubled)
    escaped = replace(_escaped(escape or "\\", d, after), sign=escape)
    others = (strict, loose) if escape else (escaped, loose)
    return Readings(escaped if escape else strict, spaced, others, Reading(None, plain, bytes))


def _undoubled(value: bytes) -> bytes:
    return value.replace(b'""', b'"')


def _escaped(sign: str, d: bytes, after: bytes) -> Reading:
    """What a backslash takes literally are the signs that CSV knows; before others it is a backslash."""
    e = re.escape(sign.encode())
    special = re.compile(e + rb"([" + d + rb'"\n' + e + rb"])|\"\"")

    def value(text: bytes) -> bytes:
        return special.sub(lambda match: match[1] or b'"', text)

    quoted = re.compile(rb'"((?:[^"' + e + rb"]++|" + e + rb'.|"")*+)"' + after, re.DOTALL)
    bare = re.compile(rb"(?:[^" + d + rb"\n" + e + rb"]++|" + e + rb"[^\n]|" + e + rb")*+")
    return Reading(quoted, bare, value, lambda text: re.sub(e + rb"([" + d + rb'"' + e + rb"])", rb"\1", text))


def read_first(found: Readings, data: bytes, start: int, end: int) -> tuple[list[bytes], int, bool] | None:
    """The record at ``start`` as `scan` gives it, read with blanks around its quotes where these are strays without."""
    record = scan(found.first, data, start, end)
    if record is None or record[2]:
        spaced = scan(found.spaced, data, start, end)
        if spaced is not None and not spaced[2]:
            return spaced
    return record


def scan(reading: Reading, data: bytes, start: int, end: int) -> tuple[list[bytes], int, bool] | None:
    """Values of the record at ``start``, where it ends, and whether quotes stood as characters; None if it
    breaks off.
    """
    cells, at, stray = [], start, False
    while True:
        opens = (
            reading.quoted is not None and at < end and (data[at] == QUOTE or (reading.blanks and data[at] == BLANK))
        )
        match = reading.quoted.match(data, at, end) if opens and reading.quoted else None
        if match is not None:
            cells.append(reading.value(match[1]))
        elif opens and data[at] == QUOTE:
            return None
        else:
            match = reading.bare.match(data, at, end)
            assert match is not None
            text = match[0]
            stray = stray or b'"' in text
            cells.append(reading.bare_value(text))
        at = match.end()
        if at >= end or data[at] == NEWLINE or data[at] == 13:
            break
        at += 1
    if at < end and data[at] == 13:
        at += 1
    elif cells[-1].endswith(b"\r") and data[at - 1] == 13:
        cells[-1] = cells[-1][:-1]
    return cells, at, stray


@dataclass
class Splitter:
    """Finds the record at a line of a text that some reading tells. ``width``: fields of the header; ``sign``: the
    delimiter.

    ``whole``: whether no text follows. ``starts``, ``ends``: the lines; ``alone``: whether one is known to be a record
    by itself.
    """

    data: bytes
    width: int
    sign: bytes
    readings: Readings
    whole: bool
    starts: list[int]
    ends: list[int]
    alone: list[bool]
    trailing: bool = False
    single: dict[int, list[bytes] | None] = field(default_factory=dict)

    def at(self, line: int) -> Found:
        """The record that begins with this line. Raises More where the text ends inside it."""
        start, end = self.starts[line], self.ends[line]
        first = self.readings.first
        found = spanning = read_first(self.readings, self.data, start, min(len(self.data), start + LONGEST_RECORD))
        if found is None or found[1] > end:
            self._require_whole(found, start + LONGEST_RECORD)
            found = None
        else:
            spanning = None
        if found is not None:  # quotes that open fields close them: what parts fields inside them is none
            cells = self._fitted(found) or self._closed(line, self.readings.others[:1])
            return Found(cells, end, "" if cells else f"expected {self.width} fields, found {len(found[0])}")
        if spanning is not None and (cells := self._fitted(spanning)) is not None and not self._swallows(line, spanning[1]):  # fmt: skip  # noqa: E501
            is_raw = not spanning[2] and len(spanning[0]) == self.width and not first.sign
            is_raw = is_raw and not BLANK_AT_QUOTE.search(self.data, start, spanning[1])
            return Found(cells, spanning[1], raw=is_raw)
        if (other := self._otherwise(line)) is not None:
            return other
        is_text = spanning is not None and self._mostly_text(line, spanning[1])
        if (literal := self._literal(line)) is not None and not is_text:
            return Found(literal, end)
        if spanning is not None and is_text:
            return Found(None, spanning[1], f"expected {self.width} fields, found {len(spanning[0])}")
        return Found(None, end, "unbalanced quote")

    def _otherwise(self, line: int) -> Found | None:
        """The record in a reading that RFC 4180 does not know: in one line, or in several that are none by
        themselves.
        """
        start, end = self.starts[line], self.ends[line]
        if (closed := self._closed(line, self.readings.others)) is not None:
            return Found(closed, end)
        for reading in self.readings.others:
            limit = min(len(self.data), start + LONGEST_LOOSE)
            loose = scan(reading, self.data, start, limit)
            self._require_whole(loose, limit)
            cells = self._fitted(loose)
            if loose is not None and cells is not None and loose[1] > end:
                escaped = reading is self.readings.others[0] and b'\\"' in self.data[start:end]  # no accident
                if not self._swallows(line, loose[1]) if escaped else self._mostly_text(line, loose[1]):
                    return Found(cells, loose[1])
        return None

    def _require_whole(self, found: tuple[list[bytes], int, bool] | None, limit: int) -> None:
        """Raise More where a record broke off, and the text that follows may be why."""
        if not self.whole and limit >= len(self.data) and (found is None or found[1] >= len(self.data)):
            raise More

    def _fitted(self, found: tuple[list[bytes], int, bool] | None) -> list[bytes] | None:
        """The values of a record that has the header's width, else None; of ``trailing`` empty ones beyond it
        are cut.
        """
        if found is None or len(found[0]) < self.width or any(cell.strip() for cell in found[0][self.width :]):
            return None
        if len(found[0]) > self.width and not self.trailing:
            return None
        return found[0][: self.width]

    def _closed(self, line: int, tried: Sequence[Reading]) -> list[bytes] | None:
        """Values of the line by itself, read otherwise, with every quoted field closed."""
        for reading in tried:
            cells = self._fitted(scan(reading, self.data, self.starts[line], self.ends[line]))
            if cells is not None:
                return cells
        return None

    def _literal(self, line: int) -> list[bytes] | None:
        return self._fitted(scan(self.readings.literal, self.data, self.starts[line], self.ends[line]))

    def _lines_until(self, line: int, after: int) -> tuple[int, int]:
        """How many lines there are from a line to a byte, and how many of them are no record by themselves."""
        broken, last = 0, line
        while last < len(self.starts) and self.starts[last] < after:
            broken += not self._is_record(last)
            last += 1
        return last - line, broken

    def _is_record(self, line: int) -> bool:
        if self.alone[line]:
            return True
        signs = self.data.count(self.sign, self.starts[line], self.ends[line])
        if signs < self.width:  # no reading parts a line at more places than there are delimiters
            return signs == self.width - 1
        if line not in self.single:
            tried = (self.readings.first, self.readings.spaced, *self.readings.others)
            self.single[line] = self._closed(line, tried) or self._literal(line)
        return self.single[line] is not None

    def _swallows(self, line: int, after: int) -> bool:
        """Whether a field that RFC 4180 allows is rather lines that a lone quote swallowed."""
        lines, broken = self._lines_until(line, after)
        if self.width == 1:
            return False
        return MANY * broken < lines and (broken > 0 or (lines - 1) * (self.width - 1) >= AGREEING)

    def _mostly_text(self, line: int, after: int) -> bool:
        lines, broken = self._lines_until(line, after)
        return 2 * broken >= lines
