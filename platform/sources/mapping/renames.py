"""Columns that a file lacks, and which of its own are likely the same under a new name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

LIKELY = 0.6  # of names, where 1 is equal but for case and signs
OVERLAP = 0.3  # share of a column's different values that stood in the other, from which on the names do not matter
NAMED = re.compile(r"""'[^']*'|"([^"]+)"|([A-Za-z_]\w*(?:\.\w+)*)""")


def names_in(texts: Iterable[str]) -> list[str]:
    """Names that stand in SQL expressions, those of functions among them, in their order."""
    found = (quoted or plain for text in texts for quoted, plain in NAMED.findall(text))
    return [name for name in dict.fromkeys(found) if name]


def likely_name(
    missing: str,
    candidates: Collection[str],
    before: Collection[str] = (),
    values: Mapping[str, Collection[str]] | None = None,
) -> str | None:
    """Which of a file's columns is likely a missing one under a new name; None where none is.

    ``before`` are values that the column had, ``values`` those of the candidates: with many of them in common the names
    do not matter.
    """
    scored = [(_likeness(missing, name) + _overlap(before, (values or {}).get(name, ())), name) for name in candidates]
    best = max(scored, default=(0.0, ""))
    return best[1] if best[0] >= LIKELY else None


def plain(name: str) -> str:
    """A name without case, blanks and signs."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _likeness(one: str, other: str) -> float:
    left, right = plain(one), plain(other)
    if left == right:
        return 2.0
    words = (set(re.split(r"[\W_]+", name.casefold())) - {""} for name in (one, other))
    mine, theirs = words
    shared = 0.75 if mine and theirs and (mine <= theirs or theirs <= mine) else 0.0
    return max(difflib.SequenceMatcher(None, left, right).ratio(), shared)


def _overlap(before: Collection[str], now: Collection[str]) -> float:
    known = set(before)
    share = len(known & set(now)) / len(known) if known else 0.0
    return 1.0 if share >= OVERLAP else 0.0
