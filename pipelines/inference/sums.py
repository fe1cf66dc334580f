"""Sums of floats that come out the same to the last bit, whatever the order of the rows and the number of threads.

Floats do not add up the same in another order. Polars adds a group up in parts where there are few groups, one a
thread, and leaves out a sort whose only reader is a sum, so that an order of the rows is no help: values are sorted and
added up as a list. Integers and decimals are exact in any order and need none of this.
"""

from __future__ import annotations

import polars as pl


def _in_order(values: pl.Expr) -> pl.Expr:
    return values.sort().implode()


def total(values: pl.Expr) -> pl.Expr:
    """The sum of a group's values; 0 of none. Nulls count nothing, as in all of these."""
    return _in_order(values).list.sum()


def mean(values: pl.Expr) -> pl.Expr:
    """Null of none."""
    return _in_order(values).list.mean()


def variance(values: pl.Expr) -> pl.Expr:
    """With one degree of freedom less than values; null of fewer than two."""
    return _in_order(values).list.var()


def deviation(values: pl.Expr) -> pl.Expr:
    """The root of the variance."""
    return _in_order(values).list.std()
