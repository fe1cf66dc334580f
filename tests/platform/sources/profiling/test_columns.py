"""What the values of a column are, told from the values alone."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.relations import depends, joined_by, overlap

KINDS = ("email", "phone", "moment", "number", "currency", "id", "word", "text", "any")


def column(*values: object) -> Column:
    return Column("c", pl.Series("c", list(values), strict=False))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("email", ("a@example.org", "b@example.org", None)),
        ("phone", ("+49 30 123456", "030/123456", "(040) 765432")),
        ("moment", ("2026-01-31", "2026-02-01")),
        ("moment", ("31.01.2026 10:00", "01.02.2026 11:30")),
        ("moment", ("Jan 31, 2026", "Feb 1, 2026")),
        ("moment", ("20260131", "20260201")),
        ("moment", ("1767225600000", "1767225660000")),
        ("moment", (datetime(2026, 1, 1, tzinfo=UTC),)),
        ("number", ("1.234,50", "9,90")),
        ("number", ("$5.00", "(3.00)", "1,200.00")),
        ("number", (1.5, 2.0)),
        ("currency", ("EUR", "usd", "EUR")),
        ("id", ("A-17", "B-18", "C-19")),
        ("word", ("paid", "open", "paid", "paid", "open")),
    ],
)
def test_values_are_of_a_kind(kind: str, values: tuple[object, ...]) -> None:
    assert column(*values).is_a(kind) == 1.0


@pytest.mark.parametrize("kind", ["moment", "email", "currency"])
def test_counts_and_zip_codes_are_no_moments(kind: str) -> None:
    assert column("10115", "20095", "04109").is_a(kind) == 0
    assert column("1", "2", "3").is_a(kind) == 0


def test_what_a_column_leaves_open_is_known() -> None:
    assert column("01/02/2026", "03/04/2026").has_unclear_order
    assert column("13/02/2026", "03/04/2026").order == "day_first"
    assert column("2026-01-01 10:00").lacks_offset
    assert not column("2026-01-01T10:00:00Z").lacks_offset
    assert not column("2026-01-01").lacks_offset
    assert column("-1.00", "2.00").has_negatives
    assert column("€5", "€6").currency_signs == {"EUR"}


def test_columns_refer_to_one_another_by_their_values() -> None:
    master, other = column("k1", "k2", "k3"), column("x", "y", "z")
    assert overlap(column("k1", "k1", "k9"), master) == 0.5
    assert joined_by(column("k1", "k2"), [other, master]) == (master, 1.0)
    assert joined_by(column("q"), [other, master]) == (None, 0.0)


def test_a_fact_of_a_key_has_one_value_for_it() -> None:
    frame = pl.DataFrame({"order": ["1", "1", "2"], "date": ["a", "a", "b"], "sku": ["x", "y", "x"]})
    assert depends(frame, "date", "order") == 1.0
    assert depends(frame, "sku", "order") == 0.5


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["1,5", "31/12/26", "a@b.c", "[]", "{}"])),
        max_size=8,
    )
)
def test_any_text_is_judged(values: list[str | None]) -> None:
    found = Column("c", pl.Series("c", values, dtype=pl.String))
    assert all(0 <= found.is_a(kind) <= 1 for kind in KINDS)
    assert 0 <= found.filled <= 1
