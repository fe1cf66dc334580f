"""Records that share a value of a key meet once, under the first key that they share."""

from itertools import combinations

import polars as pl

from customer360.models.identity.weighing.pairs import meeting


def holders(values: list[int | None], new: list[bool] | None = None) -> pl.LazyFrame:
    rows = pl.LazyFrame({"value": values, "rid": range(len(values))}, schema={"value": pl.Int64, "rid": pl.Int64})
    marked = rows.with_columns(is_new=pl.Series(new or [True] * len(values)))
    return marked.drop_nulls("value")


def test_a_pair_meets_under_its_first_key():
    found = meeting([holders([1, 1, None, 2]), holders([7, 7, 7, 8])])
    assert found.rows() == [(0, 1, 0), (0, 2, 1), (1, 2, 1)]


def test_of_a_pair_one_at_least_is_new():
    new = [False, True, False, True]
    found = meeting([holders([5, 5, 5, 5], new)])
    wanted = [(left, right, 0) for left, right in combinations(range(4), 2) if new[left] or new[right]]
    assert found.rows() == wanted


def test_without_keys_nobody_meets():
    assert meeting([]).is_empty()
    assert meeting([holders([1, 2, 3])]).is_empty()
