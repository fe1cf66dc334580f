"""Shares of counts, their differences and the intervals of both, as expressions over columns.

A share has Wilson's score interval (Wilson 1927), a difference of two independent shares Newcombe's hybrid of two such
intervals (Newcombe 1998, method 10): both keep their coverage at small counts and at shares near 0 and 1.
"""

from __future__ import annotations

from statistics import NormalDist

import polars as pl

Interval = tuple[pl.Expr, pl.Expr]


def z_of(confidence: float) -> float:
    """The two-sided quantile of the normal distribution."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(count: pl.Expr, of: pl.Expr, confidence: float) -> Interval:
    """Wilson's interval of ``count`` out of ``of``; null where there is nothing to count among."""
    z, total = z_of(confidence), of.cast(pl.Float64)
    share = count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)).sqrt()
    some = of > 0
    return (
        pl.when(some).then(pl.max_horizontal(middle - half, pl.lit(0.0))),
        pl.when(some).then(pl.min_horizontal(middle + half, pl.lit(1.0))),
    )


def design_effect(count: pl.Expr, of: pl.Expr, squares: pl.Expr) -> pl.Expr:
    """By how much the variance of a share is above that of free draws, because draws of one person are alike; at least
    1. ``squares``: the sum over persons of (count - of x share) squared (Rao and Scott 1992)."""
    free = count * (1 - count / of)
    return pl.when(of > 0, free > 0).then(pl.max_horizontal(squares / free, pl.lit(1.0))).otherwise(1.0)


def squares_of(count: pl.Expr, of: pl.Expr) -> pl.Expr:
    """``squares`` of `design_effect`, in a group of rows of one person each. Both are whole numbers, whose sums are the
    same in any order of the rows."""
    a, n = count.cast(pl.Int64), of.cast(pl.Int64)
    share = a.sum() / n.sum()
    squares = (a * a).sum() - 2 * share * (a * n).sum() + share**2 * (n * n).sum()
    return pl.max_horizontal(squares, pl.lit(0.0))


def shares_of_kinds(rows: pl.LazyFrame, kind: str, among: str, who: str) -> pl.LazyFrame:
    """Rows counted by ``among`` and ``kind``: ``count``, ``of`` so many of any kind, and ``design``, the effect of rows
    of one ``who`` being alike. What one does twice is no independent evidence."""
    own = rows.group_by(among, kind, who).agg(a=pl.len().cast(pl.Int64))
    each = rows.group_by(among, who).agg(n=pl.len().cast(pl.Int64))
    every = each.group_by(among).agg(of=pl.col("n").sum(), nn=(pl.col("n") ** 2).sum())
    a, n = pl.col("a"), pl.col("n")
    told = own.join(each, on=[among, who]).group_by(among, kind).agg(
        count=a.sum(), aa=(a**2).sum(), an=(a * n).sum()
    ).join(every, on=among)  # fmt: skip
    share = pl.col("count") / pl.col("of")
    squares = pl.col("aa") - 2 * share * pl.col("an") + share**2 * pl.col("nn")
    design = design_effect(pl.col("count"), pl.col("of"), squares)
    return told.select(among, kind, "count", "of", design=design)


def newcombe(count: pl.Expr, of: pl.Expr, other: pl.Expr, of_other: pl.Expr, confidence: float) -> Interval:
    """Newcombe's interval of count / of - other / of_other; null where either has nothing to count among."""
    (low, high), (other_low, other_high) = wilson(count, of, confidence), wilson(other, of_other, confidence)
    share, other_share = count / of, other / of_other
    difference = share - other_share
    below = ((share - low) ** 2 + (other_high - other_share) ** 2).sqrt()
    above = ((high - share) ** 2 + (other_share - other_low) ** 2).sqrt()
    some = (of > 0) & (of_other > 0)
    return pl.when(some).then(difference - below), pl.when(some).then(difference + above)
