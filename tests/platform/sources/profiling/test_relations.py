"""What two columns share, and what of it chance explains."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.relations import meeting

CARDS = [f"{(i * 7_919 + 13) % 9_000_000_000 + 10**9}" for i in range(1_000_000, 1_000_200)]


def column(values: list[str | None]) -> Column:
    return Column("x", pl.Series(values, dtype=pl.String))


@pytest.mark.parametrize(
    ("mine", "theirs", "is_telling"),
    [
        (CARDS[:80], CARDS, True),
        ([str(i) for i in range(1, 400)], [str(i) for i in range(1, 500)], False),
        ([str(10_000 + i) for i in range(300)], [str(10_000 + i) for i in range(400)], False),
        ([f"MC-{7 * i:06d}" for i in range(80)], [f"MC-{7 * i:06d}" for i in range(100)], True),
        ([f"{9_000_000_001 + i}" for i in range(50)], [f"{9_000_000_001 + i}" for i in range(60)], True),
        (["DE", "FR", "IT"], ["DE", "FR", "IT", "ES", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"], False),
    ],
    ids=["cards", "counted from 1", "counted from 10000", "behind letters", "long and in a row", "short codes"],
)  # fmt: skip
def test_common_values_tell_something_where_chance_does_not_explain_them(
    mine: list[str], theirs: list[str], is_telling: bool
) -> None:
    met = meeting(column(list(mine)), column(list(theirs)))
    assert met.share == 1.0
    assert (met.surplus >= 0.3) is is_telling


@given(st.lists(st.text("0123456789AB-", max_size=8)), st.lists(st.text("0123456789AB-", max_size=8)))
def test_shares_go_both_ways_and_lie_between_nothing_and_all(one: list[str], other: list[str]) -> None:
    met, back = meeting(column(list(one)), column(list(other))), meeting(column(list(other)), column(list(one)))
    assert (met.count, met.share, met.back, met.chance) == (back.count, back.back, back.share, back.chance_back)
    assert all(0 <= share <= 1 for share in (met.share, met.back, met.chance, met.chance_back))
