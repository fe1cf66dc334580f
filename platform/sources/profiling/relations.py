"""How columns of several files hang together, told from their values: keys of one that are values of the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from customer360.platform.sources.profiling.columns import Column

JOINS = 0.5  # share of the values of a column that are found in another one, from which on it refers to that
KEPT = 50_000  # distinct values that are compared
ALIKE = 0.9  # of the values of a column have one form, so that it counts
SIGNS = 20  # that a place of a code may hold, by guess
SAME_PREFIX = 0.6  # chance that is left where numbers stand behind the same letters
LONG, FROM_AFAR = 10**7, 0.3  # numbers that hardly two systems count from, and the chance that is left


@dataclass(frozen=True)
class Meeting:
    """How far two columns hold the same distinct values: how many, which ``share`` of the first one's these are, which
    part of the other's (``back``), and which shares unrelated columns of these forms would have by chance.
    """

    count: int
    share: float
    back: float
    chance: float
    chance_back: float

    @property
    def most(self) -> float:
        """The larger one of the two shares."""
        return max(self.share, self.back)

    @property
    def surplus(self) -> float:
        """What chance does not explain, -1 to 1."""
        return max(self.share - self.chance, self.back - self.chance_back)


def meeting(one: Column, other: Column) -> Meeting:
    """How far two columns hold the same values."""
    mine, theirs = one.distinct.head(KEPT), other.distinct.head(KEPT)
    both = mine.filter(mine.is_in(theirs.implode()))
    share, back = (len(both) / max(len(values), 1) for values in (mine, theirs))
    return Meeting(len(both), share, back, _chance(mine, theirs), _chance(theirs, mine))


def _chance(values: pl.Series, others: pl.Series) -> float:
    """Share of values that a column of the form of ``others`` would hold if the two had nothing to do with each other.

    Numbers 1 to 500 meet the numbers 1 to 400 of any other file; ten digits at random meet nothing.
    """
    if not len(values) or not len(others):
        return 0.0
    prefix, number = _numbered(others)
    usual = prefix.mode().sort()[0]
    alike = number.filter(prefix == usual).drop_nulls()
    if len(alike) < ALIKE * len(others):
        length = float(others.str.len_chars().median())  # type: ignore[arg-type]
        return min(1.0, len(others) / SIGNS**length)
    low, high = int(alike.min()), int(alike.max())  # type: ignore[arg-type]
    density = min(1.0, alike.n_unique() / (high - low + 1))
    before, mine = _numbered(values)
    within = float(((before == usual) & mine.is_between(low, high)).fill_null(False).mean() or 0.0)
    return within * density * (SAME_PREFIX if usual else 1.0) * (FROM_AFAR if low >= LONG else 1.0)


def _numbered(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """What stands before the last digits of texts, and the number that these make."""
    number = values.str.extract(r"(\d{1,18})$").cast(pl.Int64, strict=False)
    return values.str.replace(r"\d{1,18}$", ""), number


def overlap(child: Column, parent: Column) -> float:
    """Share of the distinct values of a column that the other one has, too."""
    values = child.distinct.head(KEPT)
    return float(values.is_in(parent.distinct.implode()).mean() or 0.0) if len(values) else 0.0  # type: ignore[arg-type]


def joined_by(child: Column, candidates: Iterable[Column]) -> tuple[Column | None, float]:
    """The column with most values of ``child``, of those that tell rows apart; None where none has half of them."""
    best, most = None, JOINS
    for parent in candidates:
        if len(parent.distinct) * 10 >= len(parent.texts) * 9 and (share := overlap(child, parent)) > most:
            best, most = parent, share
    return best, most if best is not None else 0.0


def depends(frame: pl.DataFrame, column: str, key: str) -> float:
    """Share of the values of ``key`` that have at most one value of ``column``: 1 where it is a fact of the key."""
    counts = frame.lazy().group_by(key).agg(pl.col(column).drop_nulls().n_unique().alias("n")).collect()["n"]
    return float((counts <= 1).mean() or 0.0)  # type: ignore[arg-type]


def varies(frame: pl.DataFrame, column: str, key: str) -> bool:
    """Whether a column is no fact of the key: it has several values for one of them in more than 5 % of the cases."""
    return depends(frame, column, key) < 0.95
