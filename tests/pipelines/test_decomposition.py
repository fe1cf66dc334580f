"""What a change of a product of three factors is shared into: a hand case, and the laws that make it a fair share."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines.decomposition import effects, to_the_cent

NAMES = ("a", "b", "c")
factor = st.floats(min_value=-1000, max_value=1000, allow_nan=False).map(lambda v: round(v, 3))
triples = st.tuples(factor, factor, factor)


def parts(before: tuple[float, ...], after: tuple[float, ...]) -> list[float]:
    shared = effects([pl.lit(v) for v in before], [pl.lit(v) for v in after])
    return list(pl.select(**dict(zip(NAMES, shared, strict=True))).row(0))


def product(values: tuple[float, ...]) -> float:
    return values[0] * values[1] * values[2]


def by_every_order(before: tuple[float, ...], after: tuple[float, ...]) -> list[float]:
    """The definition, read aloud: the mean step of each factor over all orders in which they may change."""
    steps = [0.0, 0.0, 0.0]
    for order in permutations(range(3)):
        now = list(before)
        for own in order:
            was = product(tuple(now))
            now[own] = after[own]
            steps[own] += (product(tuple(now)) - was) / 6
    return steps


def test_a_hand_case() -> None:
    """Ten customers with two orders of 5 become twelve with two of 6: each brings half of the 44."""
    assert parts((10, 2, 5), (12, 2, 6)) == pytest.approx([22, 0, 22])
    assert parts((10, 2, 5), (10, 3, 5)) == pytest.approx([0, 50, 0])
    assert parts((0, 2, 5), (10, 2, 5)) == pytest.approx([100, 0, 0])


@given(triples, triples)
def test_it_is_the_mean_over_every_order(before: tuple[float, ...], after: tuple[float, ...]) -> None:
    assert parts(before, after) == pytest.approx(by_every_order(before, after), rel=1e-9, abs=1e-3)


@given(triples, triples)
def test_the_parts_add_up_and_turn_with_time(before: tuple[float, ...], after: tuple[float, ...]) -> None:
    assert sum(parts(before, after)) == pytest.approx(product(after) - product(before), rel=1e-9, abs=1e-3)
    assert parts(after, before) == pytest.approx([-p for p in parts(before, after)], rel=1e-9, abs=1e-3)


@given(st.lists(st.floats(min_value=-1e9, max_value=1e9), min_size=3, max_size=3))
def test_cents_add_up_and_nothing_stays_nothing(amounts: list[float]) -> None:
    amounts = [*amounts[:2], 0.0]
    change = Decimal(str(round(sum(amounts), 2)))
    told = to_the_cent({n: pl.lit(v) for n, v in zip(NAMES, amounts, strict=True)}, pl.lit(change))
    row = pl.select(**told).row(0)
    assert sum(row) == change
    assert row[2] == 0 or not any(amounts)
    assert all(abs(float(got) - wanted) <= 0.0151 for got, wanted in zip(row, amounts, strict=True))


def test_what_is_unknown_is_shared_among_nobody() -> None:
    unknown = pl.lit(None, pl.Float64)
    told = effects([unknown, pl.lit(1.0), pl.lit(1.0)], [pl.lit(1.0)] * 3)
    assert pl.select(**to_the_cent(dict(zip(NAMES, told, strict=True)), pl.lit(Decimal(1)))).row(0) == (None,) * 3
