"""Regular expressions of Polars (the Rust crate `regex`) as those of Python, with the same meaning.

The two differ in what a class holds (`\\p{L}` is unknown to Python, `\\s` holds four separators more there) and in `$`,
which in Python matches before a last line break, too. Classes are therefore spelled out, as Polars itself has them.
"""

from __future__ import annotations

import re
from functools import lru_cache

import polars as pl

from customer360.platform.errors import ModelError

_TOKEN = re.compile(r"\\[pP]\{\w+\}|\\.|\[\^?|\]|\$|\(\?<(?![=!])|.", re.DOTALL)
WORD = r"\w"
_CLASS = re.compile(r"\\(?:p\{\w+\}|[sdw])")


class PatternError(ModelError):
    """A regular expression has no equal in Python here."""


@lru_cache(512)
def python_pattern(pattern: str) -> re.Pattern[str]:
    """The compiled pattern. Raises PatternError."""
    made, inside = [], False
    for token in _TOKEN.findall(pattern):
        if token in ("[", "[^") and not inside:
            inside = True
        elif token == "]" and inside:
            inside = False
        made.append(_translated(token, inside, pattern))
    return re.compile("".join(made))


def _translated(token: str, inside: bool, pattern: str) -> str:
    if _CLASS.fullmatch(token):
        return ranges(token) if inside else f"[{ranges(token)}]"
    if token in ("\\S", "\\D", "\\W") and not inside:
        return f"[^{ranges(token.lower())}]"
    if token == "\\b" and not inside:
        word = f"[{ranges(WORD)}]"
        return f"(?:(?<={word})(?!{word})|(?<!{word})(?={word}))"
    if token in ("$", "\\z") and not inside:
        return r"\Z"
    if token == "(?<" and not inside:
        return "(?P<"
    if len(token) > 1 and token[1].isalnum():
        raise PatternError(f"no Python form of {token!r} in the pattern {pattern!r}")
    return token


@lru_cache(1)
def _every_character() -> pl.DataFrame:
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    return pl.DataFrame({"point": points, "text": list(map(chr, points))})


@lru_cache(16)
def ranges(name: str) -> str:
    """The characters of a class (`\\p{L}`, `\\s`, …) as ranges for a Python character set."""
    every = _every_character()
    held = every.filter(every["text"].str.contains(name))["point"]
    starts = held.filter((held.diff() != 1).fill_null(True))
    ends = held.filter((held.diff().shift(-1) != 1).fill_null(True))
    return "".join(f"\\U{one:08x}-\\U{other:08x}" for one, other in zip(starts, ends, strict=True))


def characters(name: str) -> str:
    """The characters of a class as text."""
    every = _every_character()["text"]
    return "".join(every.filter(every.str.contains(name)))


def python_replacement(replacement: str) -> str:
    """`$1` as Python writes it."""
    return re.sub(r"\\?\$(\d+)", r"\\g<\1>", replacement.replace("\\", "\\\\"))
