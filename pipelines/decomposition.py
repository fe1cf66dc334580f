"""How a change of a product of three factors is shared among them, without a rest and whatever their order.

A factor's part is its Shapley value: the mean, over the six orders in which the factors may change one after another,
of what its own step moves. So the parts add up to the change, none depends on which factor is named first, and zeros
and negative amounts are no special case, as they are to logarithms (LMDI). For three factors this is the complete
decomposition of J. W. Sun (Energy Economics 20, 1998), as Albrecht, François and Schoors showed (Energy Policy 30,
2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from customer360.pipelines.money import TOTAL


def effects(before: Sequence[pl.Expr], after: Sequence[pl.Expr]) -> list[pl.Expr]:
    """The part of each of three factors in the change of their product; null where a factor is."""
    parts = []
    for own in range(3):
        one, two = (n for n in range(3) if n != own)
        alike = (before[one] * before[two] + after[one] * after[two]) / 3
        mixed = (before[one] * after[two] + after[one] * before[two]) / 6
        parts.append((after[own] - before[own]) * (alike + mixed))
    return parts


def to_the_cent(parts: Mapping[str, pl.Expr], change: pl.Expr) -> dict[str, pl.Expr]:
    """The parts with two decimals, so that they add up to ``change``: what rounding leaves goes to the largest part,
    the first of equal ones. A part that is nothing stays so.
    """
    rounded = {name: part.round(2, mode="half_away_from_zero").cast(TOTAL) for name, part in parts.items()}
    rest = change.cast(TOTAL) - pl.sum_horizontal(rounded.values())
    largest = pl.concat_list(part.abs() for part in parts.values()).list.arg_max()
    return {
        name: pl.when(largest == place).then(part + rest).otherwise(part).cast(TOTAL)
        for place, (name, part) in enumerate(rounded.items())
    }
