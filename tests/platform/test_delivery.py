"""The order of a source: what was delivered after what."""

from __future__ import annotations

import polars as pl

from customer360.platform.delivery import DELIVERY, natural, ranked


def test_names_sort_by_their_numbers() -> None:
    names = ["d10", "d9", "d09", "d1b2", "d1a10", "d1a9", "10", "9", "é1"]
    assert sorted(names, key=natural) == ["9", "10", "d1a9", "d1a10", "d1b2", "d09", "d9", "d10", "é1"]


def test_within_a_batch_inputs_follow_each_other_by_the_numbers_of_their_names() -> None:
    rows = pl.DataFrame(
        [(2, "day1.csv", 1), (1, "day10.csv", 1), (1, "day9.csv", 2), (1, "day9.csv", 1)],
        schema=["_seq", "_file", "_position"],
        orient="row",
    )
    assert ranked(rows).sort(DELIVERY)["_file"].to_list() == ["day9.csv", "day9.csv", "day10.csv", "day1.csv"]
