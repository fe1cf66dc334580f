"""Rows of each subject as a stream in time, which a comparison of neighbours can read.

A window over subjects hashes every row's key. Where each subject's rows stand together and in order, the row before is
that of the same subject or the row is its first, so that a shift does: an order of magnitude cheaper.
"""

from __future__ import annotations

from functools import reduce

import polars as pl

RUN = "run"  # number of the subject, as its rows stand


def streams(rows: pl.LazyFrame, who: str, *place: str) -> pl.DataFrame:
    """The rows with those of one ``who`` together, in the order of ``place``, and a number of the one, `RUN`.

    Tables by subject are stored so; where a look at the rows finds another order, rows of whom it is of are sorted.
    """
    found = _numbered(rows.collect(), who)
    torn = _torn(found, who, place)
    if torn.is_empty():
        return found
    is_torn = found[who].is_in(torn.implode(), nulls_equal=True)
    ordered = found.filter(is_torn).sort(who, *place, maintain_order=True)
    return _numbered(pl.concat([found.filter(~is_torn), ordered]), who)


def begins() -> pl.Expr:
    """Whether a row of streams is its subject's first."""
    return (pl.col(RUN) != pl.col(RUN).shift(1)).fill_null(True)


def numbers(names: pl.Series) -> pl.Series:
    """A number for each different name, to sort and group by; another one of the same name elsewhere."""
    coded = names.cast(pl.Categorical)  # whole: the codes of what is cast in parts need not agree
    return coded.to_physical()


def _numbered(rows: pl.DataFrame, who: str) -> pl.DataFrame:
    return rows.with_columns(pl.col(who).rle_id().alias(RUN))


def _torn(rows: pl.DataFrame, who: str, place: tuple[str, ...]) -> pl.Series:
    """Subjects that stand in two runs, or have a row before one of their own that it follows."""
    heads = rows.filter(begins())[who]
    twice = heads.filter(heads.is_duplicated()) if heads.n_unique() < len(heads) else heads.clear()
    follows = reduce(
        lambda rest, c: (pl.col(c) > pl.col(c).shift(1)) | ((pl.col(c) == pl.col(c).shift(1)) & rest),
        reversed(place),
        pl.lit(True),
    )
    mixed = rows.filter(~(begins() | follows).fill_null(False))[who]
    return pl.concat([twice, mixed]).unique()
