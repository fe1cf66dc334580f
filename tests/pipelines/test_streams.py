"""Streams of subjects: rows that lie in order are taken as they lie, all others are put in order; the same follows."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines.gold.funnels import funnel_steps
from customer360.pipelines.gold.journeys import journeys, stage_transitions
from customer360.pipelines.gold.paths import purchase_paths, purchase_touches
from customer360.pipelines.rules.journey import JourneyRules
from customer360.pipelines.streams import RUN, begins, numbers, streams

ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 3)), max_size=12)


@given(ROWS)
def test_rows_of_one_stand_together_and_in_order(of: list[tuple[str, int, int]]) -> None:
    rows = pl.LazyFrame(of, schema={"who": pl.String, "at": pl.Int64, "number": pl.Int64}, orient="row")
    told = streams(rows, "who", "at", "number")
    assert sorted(told.select("who", "at", "number").rows()) == sorted(of)
    for _, own in told.group_by("who"):
        assert own.select("at", "number").rows() == sorted(own.select("at", "number").rows())
    runs = told.select("who", RUN).unique().height
    assert runs == told["who"].n_unique() == told[RUN].n_unique() == told.filter(begins()).height


def test_rows_in_order_are_not_sorted_again() -> None:
    """Whoever comes first stays first: a table by subject lies in buckets, not by name."""
    rows = pl.LazyFrame({"who": ["b", "b", "a"], "at": [1, 2, 0]})
    assert streams(rows, "who", "at")["who"].to_list() == ["b", "b", "a"]
    torn = pl.LazyFrame({"who": ["b", "a", "b"], "at": [2, 0, 1]})
    assert streams(torn, "who", "at").rows() == [("a", 0, 0), ("b", 1, 1), ("b", 2, 1)]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "", None]), max_size=5), min_size=1, max_size=4))
def test_numbers_are_of_the_same_name_and_of_no_other(parts: list[list[str | None]]) -> None:
    names = pl.concat([pl.Series("who", part, pl.String) for part in parts], rechunk=False)
    pairs = set(zip(names.to_list(), numbers(names).to_list(), strict=True))
    assert len({name for name, _ in pairs}) == len({number for _, number in pairs}) == len(pairs)


def test_the_order_of_the_rows_changes_no_journey_funnel_or_path(retailer) -> None:  # type: ignore[no-untyped-def]
    touchpoints = retailer.frame("silver.touchpoints").collect()
    mixed = touchpoints.sample(fraction=1, shuffle=True, seed=7)
    for build in (journeys, stage_transitions, funnel_steps, purchase_paths, purchase_touches):
        made = [build(rows.lazy(), retailer.as_of, JourneyRules()).collect() for rows in (touchpoints, mixed)]
        key = [c for c in made[0].columns if made[0][c].dtype != pl.List(pl.String)]
        assert made[0].height > 5 and made[0].sort(key).equals(made[1].sort(key)), build.__name__


def test_those_who_lie_in_order_stay_where_they_lie_beside_others() -> None:
    """A batch adds rows of few beside a bucket of many: theirs are sorted, and the others' are not."""
    rows = pl.LazyFrame({"who": ["c", "b", "a", "a", "b", None, None], "at": [0, 2, 1, 2, 1, 2, 1]})
    assert streams(rows, "who", "at").select("who", "at").rows() == [
        ("c", 0), ("a", 1), ("a", 2), (None, 1), (None, 2), ("b", 1), ("b", 2),
    ]  # fmt: skip
