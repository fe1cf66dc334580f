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

    Tables by subject are stored so, and are sorted here only where a look at the rows finds otherwise.
    """
    found = _numbered(rows.collect(), who)
    return found if _are_streams(found, who, place) else _numbered(found.sort(who, *place, maintain_order=True), who)


def begins() -> pl.Expr:
    """Whether a row of streams is its subject's first."""
    return (pl.col(RUN) != pl.col(RUN).shift(1)).fill_null(True)


def numbers(names: pl.Series) -> pl.Series:
    """A number for each different name, to sort and group by; another one of the same name elsewhere."""
    coded = names.cast(pl.Categorical)  # whole: the codes of what is cast in parts need not agree
    return coded.to_physical()


def _numbered(rows: pl.DataFrame, who: str) -> pl.DataFrame:
    return rows.with_columns(pl.col(who).rle_id().alias(RUN))


def _are_streams(rows: pl.DataFrame, who: str, place: tuple[str, ...]) -> bool:
    """Whether no subject stands in two runs, and no row before one of its own that it follows."""
    heads = rows.filter(begins())[who]
    if heads.n_unique() < len(heads):
        return False
    follows = reduce(
        lambda rest, c: (pl.col(c) > pl.col(c).shift(1)) | ((pl.col(c) == pl.col(c).shift(1)) & rest),
        reversed(place),
        pl.lit(True),
    )
    return bool(rows.select((begins() | follows).fill_null(False).all()).item())
