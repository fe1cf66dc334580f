"""What a unit does with the rows of a build before it writes them."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.lake import Lake, bucket_numbers
from customer360.platform.run import units
from customer360.platform.run.units import _by_bucket, inserted, lies_by
from customer360.platform.sorting import in_order

ROW = st.tuples(
    st.sampled_from([None, "a", "b", "ä"]),
    st.sampled_from([None, date(1969, 1, 1), date(2026, 1, 1)]),
    st.sampled_from([None, 0.0, 1.5, float("nan")]),
)
SCHEMA = {"who": pl.String, "on": pl.Date, "amount": pl.Float64}


def frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(st.lists(ROW, max_size=6))
def test_rows_lie_by_columns_where_sorting_changes_nothing(rows: list[tuple[object, ...]]) -> None:
    order = list(SCHEMA)
    given_rows = frame(rows)
    stays = given_rows.equals(given_rows.sort(order, nulls_last=True))
    assert lies_by(given_rows, order) == stays
    assert lies_by(given_rows.sort(order, nulls_last=True), order)


WHO = st.sampled_from(["a", "b", "ba", "ä", "z"])
PAIRS = st.sets(st.tuples(WHO, st.integers(0, 4)), max_size=12)


@given(PAIRS, PAIRS, st.sets(WHO), st.booleans(), st.booleans())
def test_rows_of_some_subjects_are_put_where_sorting_would_put_them(
    stored: set[tuple[str, int]], made: set[tuple[str, int]], touched: set[str], is_one: bool, is_wide: bool
) -> None:
    schema, order = {"who": pl.String, "n": pl.Int64}, ["who", "n"]
    held = pl.DataFrame(sorted(stored), schema=schema, orient="row").sort(order)
    rows = pl.DataFrame([row for row in made if row[0] in touched], schema=schema, orient="row")
    names = pl.Series(sorted(touched, reverse=True), dtype=pl.String)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(units, "SLICED", 10_000 if is_wide else 0)
        found = inserted(held, rows, names, "who", order, is_one=is_one)
    rest = [row for row in stored if row[0] not in touched]
    assert found.rows() == sorted([*rest, *rows.rows()], key=lambda row: (row[0].encode(), row[1]))
    assert found.n_chunks() == 1


@pytest.mark.parametrize("sliced", [0, 10_000])
def test_rows_that_tie_lie_as_where_all_are_made(monkeypatch: pytest.MonkeyPatch, sliced: int) -> None:
    """A build reads some orders off the files, as which of two rows is the first."""
    monkeypatch.setattr(units, "SLICED", sliced)
    made = pl.DataFrame({"who": ["b", "a", "c"] * 80, "n": [2, 1, 1, 2] * 60, "told": range(240)})
    held = in_order(made, ["who", "n"])
    for who in (["a"], ["a", "c"], ["b", "c"]):
        rows = made.filter(pl.col("who").is_in(who))
        assert inserted(held, rows, pl.Series(who), "who", ["who", "n"], is_one=True).equals(held)


@pytest.mark.parametrize("other", ["b", None])
def test_no_row_of_another_subject_is_lost(other: str | None) -> None:
    held = pl.DataFrame({"who": ["a"] * 50 + ["c"] * 50, "n": range(100)})
    rows = pl.DataFrame({"who": ["c", other], "n": [1, 2]})
    found = inserted(held, rows, pl.Series(["c"]), "who", ["who", "n"], is_one=True)
    assert found.rows() == [*held.rows()[:50], *sorted(rows.rows(), key=lambda row: row[0] or "z")]


def test_rows_never_lie_by_a_nested_column() -> None:
    assert not lies_by(pl.DataFrame({"many": [[1], [2]]}), ["many"])


@pytest.mark.parametrize("subjects", [[], ["a"], ["a", "a"], ["a", "b", "c", "a"]])
def test_each_row_goes_to_the_bucket_of_its_subject(tmp_path: object, subjects: list[str]) -> None:
    lake = Lake(str(tmp_path), buckets=4)
    rows = pl.DataFrame(
        {"subject_id": subjects, "n": range(len(subjects))}, schema={"subject_id": pl.String, "n": pl.Int64}
    )
    parts = _by_bucket(lake, rows)
    assert sum(part.height for _, part in parts) == rows.height
    for number, part in parts:
        assert part.columns == rows.columns
        assert set(bucket_numbers(part["subject_id"], 4)) == {number}
