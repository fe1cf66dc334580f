import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from customer360.platform.sorting import in_order

TEXTS = st.sampled_from(["", "a", "A", "ab", "b", "é", "\U0001f600", "z" * 40])
NUMBERS = st.floats(width=16)
ROWS = st.lists(st.tuples(*(st.none() | held for held in (TEXTS, st.integers(-2, 2), NUMBERS, TEXTS))), max_size=40)
FULL = st.lists(st.tuples(TEXTS, st.none() | st.integers(-2, 2), NUMBERS, TEXTS), max_size=40)
SCHEMA = {"subject_id": pl.String, "at": pl.Int64, "share": pl.Float64, "event_id": pl.String}


@given(ROWS | FULL, st.permutations(list(SCHEMA)), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_rows_lie_as_polars_sorts_them_with_missing_values_last(
    rows: list[tuple[str | None, int | None, float | None, str | None]], names: list[str], count: int
) -> None:
    frame, order = pl.DataFrame(rows, schema=SCHEMA, orient="row"), names[:count]
    expected = frame.select(order).sort(order, nulls_last=True)
    assert_frame_equal(in_order(frame.select(order), order), expected)
    assert_frame_equal(in_order(frame, order).select(order), expected)
    for descending in (False, True):  # what lies by a column already is marked so
        marked = frame.sort(order[0], descending=descending, nulls_last=not descending)
        assert_frame_equal(in_order(marked, order).select(order), expected)
    both = pl.concat([frame, frame.sort(order)], rechunk=False)
    assert_frame_equal(in_order(both, order).select(order), both.select(order).sort(order, nulls_last=True))
    assert in_order(both, order).n_chunks() == 1


def test_lists_are_in_order_as_well() -> None:
    rows = pl.DataFrame({"key": ["b", "a", "b", None], "held": [[2], None, [1, 2], [0]]})
    order = ["key", "held"]
    assert_frame_equal(in_order(rows, order), rows.sort(order, nulls_last=True))


TIES = st.lists(st.tuples(*[st.none() | st.sampled_from("ab")] * 3), max_size=60)
FULL_TIES = st.lists(st.tuples(*[st.sampled_from("ab")] * 3), max_size=60)


@given(TIES | FULL_TIES, st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_what_ties_stays_as_it_came(rows: list[tuple[str | None, ...]], count: int) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys("xyz", pl.String), orient="row").with_row_index("came")
    order = ["x", "y", "z"][:count]
    expected = frame.sort(order, nulls_last=True, maintain_order=True)
    assert_frame_equal(in_order(frame, order), expected)
    marked = frame.sort("x", descending=True, maintain_order=True)  # what lies so is marked, and sorted by turning it
    assert_frame_equal(in_order(marked, order), marked.sort(order, nulls_last=True, maintain_order=True))
