"""Traces: which values tell who somebody is, and how each of them may stand in bytes.

A value is searched for in any case, whether its characters are written plainly, percent-encoded, as JSON escapes or as
HTML references, in UTF-8, Latin-1 or UTF-16; a telephone number by its digits, however they are parted; first and last
name where they stand beside each other. What does not tell one person from others is not searched for, and counted.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html.entities import codepoint2name

import polars as pl
import pyarrow as pa
from pyarrow import compute as pc

SHORTEST = {"e-mail": 6, "phone": 7, "account": 5, "device": 6, "person": 6, "name": 2, "address": 8}
NATIONAL = 10  # last digits of a telephone number: whatever stands before them is a country's code
AROUND = 400  # characters beside a possible hit by which it is judged
LONGEST_NAME = 100  # bytes of a first or last name that stands in a column of its own
_LONGEST_NUMBER = 19  # digits from which on a number is none of 64 bits
EACH_I = "[iIıİ]"  # one letter for Python where case does not count; three for Rust
_TOGETHER = 40  # values in one expression: what Rust compiles is bounded
_BLANK = r"(?:[\s_+\xa0]|%20|%C2%A0|&nbsp;|&#32;|&#160;|\\u0020|\\u00a0)+"
_PARTED = r"(?:[\s()./+\xa0\xc2-]|%20|%2B|%28|%29|&nbsp;|\\u00a0|\\u002b){0,4}"
_BESIDE = r"(?:[^A-Za-z0-9<>]|%[0-9A-Fa-f]{2}|&nbsp;|\\u00[0-9A-Fa-f]{2}|\\t){1,6}"
_INITIAL = r"(?:[A-Za-z]\.?[^A-Za-z0-9]{1,3})?"
_KEY = r"""[\\"']{1,4}[\s]*[,;][\s]*[\\"']{1,4}[A-Za-z_ ]{1,30}[\\"']{1,4}[\s]*[:=][\s]*[\\"']{1,4}"""
_ELEMENT = r"</[A-Za-z_:-]{1,40}>[\s]*<[A-Za-z_:-]{1,40}>"
_ALIKE = {"\u03bc": "\xb5", "\u039c": "\xb5", "\u0178": "\xff", "\u1e9e": "\xdf", "\u017f": "s", "\u212a": "k",
          "\u212b": "\xe5"}  # of Latin-1, where case does not count  # fmt: skip
_SPACES = r"\t-\r\x1c-\x20\x85\xa0"  # within brackets
_BEFORE = r"(?:(?<![^\W_])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"
_AFTER = r"(?![^\W_])"


@dataclass(frozen=True)
class Value:
    """One value of a person: ``kind`` is a key of ``SHORTEST``; a name has two parts, first and last."""

    kind: str
    text: tuple[str, ...]

    @property
    def is_telling(self) -> bool:
        """Whether it is long enough to be looked for in anybody's bytes."""
        plain = self.text[0].strip()
        if self.kind == "phone":
            return len(_digits(plain)) >= SHORTEST["phone"]
        if self.kind == "account" and plain.isdigit():
            return len(plain) >= 8  # shorter ones are also amounts, dates and numbers of orders
        if self.kind == "name":
            return all(len(part.strip()) >= SHORTEST["name"] for part in self.text)
        return len(plain) >= SHORTEST[self.kind]

    @cached_property
    def pattern(self) -> str:
        """Regular expression, of Rust and of Python, without the bounds of words."""
        if self.kind == "phone":
            return _PARTED.join(_digits(self.text[0])[-NATIONAL:])
        if self.kind == "name":
            first, last = (spelt(part) for part in self.text)
            between = f"(?:{_BESIDE}{_INITIAL}|{_KEY}|{_ELEMENT})"
            return f"(?:{first}{between}{last}|{last}{between}{first})"
        return spelt(self.text[0])

    @cached_property
    def whole(self) -> re.Pattern[str]:
        """As ``pattern``, as a word of its own."""
        before, after = _BEFORE, _AFTER
        if self.kind == "phone":
            before = r"(?<![0-9.])(?:(?!0\.)[0-9]{1,4}" + _PARTED + ")?"
        if self.kind == "e-mail":  # mary.ann@x.org and ann@x.org.uk are others' than ann@x.org
            before, after = _BEFORE + r"(?<![^\W_][._-])", r"(?![.-]?[^\W_])"
        return re.compile(f"{before}{self.pattern}{after}", re.IGNORECASE)

    def without(self, text: str, mask: str) -> str:
        """A text with every place where the value stands as a word of its own covered."""
        return self.whole.sub(mask, text)


def spelt(text: str) -> str:
    """Regular expression of a text in any of the ways in which its characters may be written."""
    text = unicodedata.normalize("NFC", text.strip())
    return "".join(_BLANK if part.isspace() else "".join(map(_written, part)) for part in re.split(r"(\s+)", text))


def _written(character: str) -> str:
    """A character, in both cases: plain, percent-encoded, as a JSON escape, as an HTML reference."""
    if character.isascii() and character.isalnum():
        return character
    alike = {character, character.lower(), character.upper(), *("iIıİ" if character in "ıİ" else "")}
    ways = {w for c in alike if len(c) == 1 for w in _ways(c)}
    return f"(?:{'|'.join(sorted(ways))})"


def _ways(character: str) -> Iterator[str]:
    number = ord(character)
    encoded = character.encode()
    yield re.escape(character)
    yield "".join(f"%{byte:02X}" for byte in encoded)
    yield rf"\\u{number:04x}"
    yield rf"&#0?{number};"
    yield f"&#x0?{number:x};"
    if number in codepoint2name:
        yield f"&{codepoint2name[number]};"
    if character in "/'\"":
        yield rf"\\{re.escape(character)}"
    if character == "'":
        yield "&apos;"
    if not character.isascii():
        yield re.escape(encoded.decode("latin-1"))  # UTF-8 as bytes are looked at
        yield re.escape(unicodedata.normalize("NFD", character))
        if number < 256:
            yield f"%{number:02X}"


def _digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)


@dataclass(frozen=True)
class Traces:
    """Values of a person, and how many by kind were left out since others have them, too, or they are too short."""

    values: tuple[Value, ...] = ()
    common: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[Value], shared: Iterable[Value] = ()) -> Traces:
        told = dict.fromkeys(v for v in values if v.text and all(v.text))
        left = Counter(v.kind for v in (*(v for v in told if not v.is_telling), *dict.fromkeys(shared)))
        return cls(tuple(v for v in told if v.is_telling), dict(left))

    @property
    def kinds(self) -> dict[str, int]:
        """How many values are looked for, by kind."""
        return dict(Counter(v.kind for v in self.values))

    @cached_property
    def _patterns(self) -> list[str]:
        parts = [self.values[at : at + _TOGETHER] for at in range(0, len(self.values), _TOGETHER)]
        return ["(?i)(?:" + "|".join(v.pattern for v in part) + ")" for part in parts]

    def suspects(self, texts: pl.Series) -> pl.Series:
        """Those texts in which a value may stand: no other text holds one."""
        found = texts.clear()
        folded = texts.filter(texts.str.contains("[ıİ]").fill_null(False))
        plain = folded.str.replace_all("[ıİ]", "i")
        for pattern in self._patterns:
            found = found.append(texts.filter(texts.str.contains(pattern).fill_null(False)))
            if not folded.is_empty():
                found = found.append(folded.filter(plain.str.contains(pattern).fill_null(False)))
        return found

    @cached_property
    def _of_values(self) -> list[bytes]:
        return list(map(in_bytes, self._patterns))

    @cached_property
    def _of_last_names(self) -> list[bytes]:
        return [in_bytes(self._halves[1])] if self._pairs else []

    def suspected(self, texts: pa.LargeBinaryArray) -> pl.Series:
        """Whether a value may stand in each of some bytes, read as Latin-1."""
        return _any_found(texts, self._of_values)

    def suspected_halves(self, texts: pa.LargeBinaryArray) -> pl.Series:
        """Whether a last name may stand in each of some bytes, read as Latin-1."""
        return _any_found(texts, self._of_last_names)

    def kinds_in(self, text: str) -> set[str]:
        """Kinds of the values that stand in a text, as words of their own."""
        return {value.kind for value in self.values if value.whole.search(text)}

    def without(self, text: str, mask: str) -> str:
        """A text in which every value is covered."""
        for value in self.values:
            text = value.without(text, mask)
        return text

    def covered(self, place: str, mask: str) -> str:
        """The name of a file in which every value is covered, also as a part of a word."""
        for value in self.values:
            place = re.sub(value.pattern, mask, place, flags=re.IGNORECASE)
        return place

    def among(self, texts: pl.Series) -> set[str]:
        """Kinds of the values that stand in any of some texts."""
        found: set[str] = set()
        for text in self.suspects(texts).unique():
            found |= self.kinds_in(text)
        return found

    @cached_property
    def _ends(self) -> list[str]:
        """Digits with which a number ends that a value may be."""
        found = {_digits(v.text[0])[-NATIONAL:] if v.kind == "phone" else v.text[0].strip() for v in self.values}
        return sorted(end for end in found if end.isascii() and end.isdigit() and len(end) < _LONGEST_NUMBER)

    def in_numbers(self, numbers: pl.Series) -> set[str]:
        """Kinds of the values that stand in any of some whole numbers without sign."""
        if numbers.is_empty() or not self._ends:
            return set()
        column = pl.col("number")
        alike = pl.any_horizontal(column % 10 ** len(end) == int(end) for end in self._ends)
        found = numbers.alias("number").to_frame().filter(alike).to_series()
        return self.among(found.unique().cast(pl.String))

    @cached_property
    def _pairs(self) -> list[tuple[str, str]]:
        return [(v.text[0].strip().lower(), v.text[1].strip().lower()) for v in self.values if v.kind == "name"]

    @cached_property
    def _part(self) -> str:
        """Regular expression of a text that is a first or a last name and nothing else; empty where none is alike."""
        parts = sorted({part for pair in self._pairs for part in pair})
        return rf"(?i)^\s*(?:{'|'.join(map(re.escape, parts))})\s*$" if all(map(str.isascii, parts)) else ""

    def has_part(self, texts: pl.Series) -> bool:
        """Whether any of some texts is a first or a last name."""
        if not self._pairs:
            return False
        if self._part:
            return bool(texts.str.contains(self._part).any())
        parts = sorted({part for pair in self._pairs for part in pair})
        return bool(_plain(_short(texts.unique())).is_in(parts).any())

    @cached_property
    def _halves(self) -> tuple[str, str]:
        """Regular expressions of the first and of the last names, in any place."""
        first, last = ("|".join(sorted({spelt(pair[at]) for pair in self._pairs})) for at in (0, 1))
        return f"(?i)(?:{first})", f"(?i)(?:{last})"

    def has_half(self, texts: pl.Series) -> bool:
        """Whether any of some texts holds a last name, in any place."""
        return bool(self._pairs) and bool(texts.str.contains(self._halves[1]).any())

    def has_both(self, columns: Iterable[pl.Series]) -> bool:
        """Whether some texts hold a first name, and some of them a last name, in any place."""
        held = [[bool(texts.str.contains(half).any()) for half in self._halves] for texts in columns]
        return all(any(each[at] for each in held) for at in (0, 1))

    def in_columns(self, frame: pl.DataFrame) -> set[str]:
        """Kind name, where both names of a person stand in columns of one row of texts."""
        names = self._pairs
        held = [c for c, t in frame.schema.items() if t == pl.String and self.has_part(frame[c])]
        if len(held) < 2:
            return set()
        plain = frame.select(_plain(frame[c]) for c in held)
        both = [pl.any_horizontal(pl.col(held) == one) & pl.any_horizontal(pl.col(held) == two) for one, two in names]
        return {"name"} if plain.select(pl.any_horizontal(both).any()).item() else set()


def in_bytes(pattern: str) -> bytes:
    """A pattern for RE2, which looks at bytes as Latin-1, several times as fast as value by value. In ASCII it finds
    the same. A character that no byte is stands for none; what engines call a blank, for all that any does.
    """
    spaced = re.sub(r"\\(.)", lambda found: _SPACES if found[1] == "s" else found[0], pattern, flags=re.DOTALL)
    return "".join(_ALIKE.get(c, c if ord(c) < 256 else r"[^\x00-\xff]") for c in spaced).encode("latin-1")


def _any_found(texts: pa.LargeBinaryArray, patterns: Iterable[bytes]) -> pl.Series:
    found = pl.Series([False] * len(texts), dtype=pl.Boolean)
    for pattern in patterns:
        try:
            found = found | pl.Series(pc.match_substring_regex(texts, pattern=pattern).to_pylist(), dtype=pl.Boolean)
        except pa.ArrowInvalid:  # larger than what RE2 takes: each text is looked at
            return ~found.clear(len(texts)).fill_null(False)
    return found


def _short(texts: pl.Series) -> pl.Series:
    return texts.filter(texts.str.len_bytes() <= LONGEST_NAME)


def _plain(texts: pl.Series) -> pl.Series:
    return texts.str.strip_chars().str.to_lowercase()
