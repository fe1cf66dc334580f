"""Rows about persons without the persons: k-anonymity and l-diversity by generalization and suppression.

*Quasi-identifiers* are what an outsider may know of somebody beside the name: birth date, postcode, sex, a day. Each is
generalized by a hierarchy, whole column by whole column (full-domain recoding), as little as the law allows: every
combination of generalized values is shared by at least ``k`` rows, and these hold at least ``l`` different values of
every sensitive column. Rows of smaller groups are left out, and counted. No value of one person stands out then, and an
outsider who finds a group cannot tell which of its sensitive values is the person's.

Sweeney 2002 (k-anonymity), Machanavajjhala 2007 (distinct l-diversity), Samarati 2001 (the lattice of generalizations).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product

import polars as pl

from customer360.platform.errors import ConfigError

ANY = "*"
UNKNOWN = "unknown"  # what is not known is a value of its own, at every level but the last
Level = Callable[[pl.Expr], pl.Expr]


def _text(values: pl.Expr) -> pl.Expr:
    return values.cast(pl.String).fill_null(UNKNOWN)


def _any(values: pl.Expr) -> pl.Expr:
    return pl.lit(ANY)


def _ages(width: int, on: date) -> Level:
    def banded(born: pl.Expr) -> pl.Expr:
        years = pl.lit(on).dt.year() - born.dt.year() - (
            pl.lit(on).dt.strftime("%m%d") < born.dt.strftime("%m%d")
        ).cast(pl.Int32)  # fmt: skip
        # The ends are open: of the very old and the very young there are few.
        floor = (years.clip(15, 90) // width) * width
        last = (90 // width) * width
        said = pl.format("{}-{}", floor, floor + width - 1)
        return (
            pl.when(born.is_null()).then(pl.lit(UNKNOWN))
            .when(floor >= last).then(pl.format("{}+", floor))
            .otherwise(said)
        )  # fmt: skip

    return banded


def ages(on: date) -> tuple[Level, ...]:
    """Levels of a birth date: age on a day in bands of 5, 10, 20 years, then any."""
    return (*(_ages(width, on) for width in (5, 10, 20)), _any)


def prefixes(*lengths: int) -> tuple[Level, ...]:
    """Levels of a code of which the first characters are the wider place, such as a postcode; the last is any."""

    def cut(length: int) -> Level:
        def shortened(values: pl.Expr) -> pl.Expr:
            plain = values.cast(pl.String).str.to_uppercase().str.replace_all(r"[\s-]", "")
            return pl.when(plain.str.len_chars() > 0).then(plain.str.slice(0, length)).otherwise(pl.lit(UNKNOWN))

        return shortened

    return (*(cut(length) for length in lengths), _any)


def spans() -> tuple[Level, ...]:
    """Levels of a date: month, quarter, year, any."""

    def quarter(day: pl.Expr) -> pl.Expr:
        return pl.format("{}-Q{}", day.dt.year(), day.dt.quarter()).fill_null(UNKNOWN)

    return lambda d: _text(d.dt.strftime("%Y-%m")), quarter, lambda d: _text(d.dt.strftime("%Y")), _any


def values() -> tuple[Level, ...]:
    """Levels of a name of few kinds: itself, any."""
    return _text, _any


@dataclass(frozen=True)
class Law:
    """What a release must keep: ``k`` rows a group at least, ``l`` values of each sensitive column in it; at most the
    share ``suppressed`` of the rows is left out before a coarser level is taken.

    Raises:
        ConfigError: k or l are too small to hide anybody, or l above k.
    """

    k: int = 10
    l: int = 2  # noqa: E741 - the name of the field
    suppressed: float = 0.05

    def __post_init__(self) -> None:
        if not (self.k >= 2 and 1 <= self.l <= self.k and 0 <= self.suppressed < 1):
            raise ConfigError(
                f"k is 2 at least, l between 1 and k, the suppressed share between 0 and 1; got k {self.k}, "
                f"l {self.l}, share {self.suppressed:g}"
            )


@dataclass(frozen=True)
class Release:
    """Generalized rows in an order that tells nothing, the level of each quasi-identifier (0: the finest), and how many
    rows were left out; ``smallest`` is the size of the smallest group."""

    rows: pl.DataFrame
    levels: dict[str, int]
    suppressed: int
    groups: int
    smallest: int


def anonymized(
    rows: pl.DataFrame, hierarchies: Mapping[str, tuple[Level, ...]], sensitive: Sequence[str], law: Law
) -> Release:
    """Generalize the columns of ``hierarchies`` as little as ``law`` allows; only they and ``sensitive`` are released.

    Raises:
        ConfigError: a sensitive column is a quasi-identifier, or fewer than ``k`` rows can be released at all.
    """
    if both := sorted(set(hierarchies) & set(sensitive)):
        raise ConfigError(f"{', '.join(both)}: released as it is and generalized; name it once")
    kept = rows.select(*hierarchies, *sensitive)
    found = None
    for levels in _lattice(hierarchies):
        made = _generalized(kept, hierarchies, levels)
        good = _lawful(made, list(hierarchies), sensitive, law)
        left_out = made.height - good.height
        if good.height and (found is None or left_out < found[1]):
            found = levels, left_out
        if good.height and left_out <= law.suppressed * made.height:
            found = levels, left_out
            break
    if found is None:
        raise ConfigError(
            f"no release of {rows.height:,} rows keeps k {law.k} and l {law.l}: fewer rows than k, or a sensitive "
            "column with fewer than l values"
        )
    levels, left_out = found
    made = _lawful(_generalized(kept, hierarchies, levels), list(hierarchies), sensitive, law)
    sizes = made.group_by(list(hierarchies)).len()["len"]
    named = dict(zip(hierarchies, levels, strict=True))
    return Release(made.sort(made.columns), named, left_out, len(sizes), int(sizes.min()))  # type: ignore[arg-type]


def generalized(
    rows: pl.DataFrame, hierarchies: Mapping[str, tuple[Level, ...]], levels: Mapping[str, int]
) -> pl.DataFrame:
    """Rows as a release shows them, for who joins something to it; other columns stay."""
    return rows.with_columns(of[levels[name]](pl.col(name)).alias(name) for name, of in hierarchies.items())


def _generalized(
    rows: pl.DataFrame, hierarchies: Mapping[str, tuple[Level, ...]], levels: Sequence[int]
) -> pl.DataFrame:
    return generalized(rows, hierarchies, dict(zip(hierarchies, levels, strict=True)))


def _lattice(hierarchies: Mapping[str, tuple[Level, ...]]) -> Iterator[tuple[int, ...]]:
    """Every combination of levels, those that lose least first; a level counts as its share of the hierarchy."""
    tops = [len(each) - 1 for each in hierarchies.values()]

    def lost(levels: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        return sum(level / top for level, top in zip(levels, tops, strict=True) if top), levels

    yield from sorted(product(*(range(top + 1) for top in tops)), key=lost)


def _lawful(rows: pl.DataFrame, quasi: list[str], sensitive: Sequence[str], law: Law) -> pl.DataFrame:
    """Rows of groups that are large and various enough. Null is a value: that nothing is known tells something, too."""
    enough = pl.len().over(quasi) >= law.k
    various = (pl.col(c).n_unique().over(quasi) >= law.l for c in sensitive)
    return rows.filter(pl.all_horizontal(enough, *various))
