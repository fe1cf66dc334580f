"""What an input brings: types of columns by their values, and what is left out of it."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.sources.observed import FORMS, NULLS, misfits, type_of


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "-20", "+3"], "integer"),
        (["1", "2.50", "1e-3"], "decimal"),
        (["1.5", "2"], "decimal"),
        (["007", "8"], "text"),  # an id: as a number it would lose its zeros
        (["12345678901234567890"], "text"),
        (["true", "FALSE", " true "], "boolean"),
        (["2026-01-31", None], "date"),
        (["2026-01-31", "2026-01-31T10:00:00Z", "2026-01-31 10:00:00.123+02:00"], "timestamp"),
        (["31.01.2026"], "text"),
        (['{"a":1}', "[1]"], "json"),
        (["1", "n/a", "", "NULL"], "integer"),  # words for nothing are no values
        (["", "-", None], "empty"),
        (["x"], "text"),
        ([1, None], "integer"),
        ([1.5], "decimal"),
        ([True], "boolean"),
        ([None], "empty"),
    ],
)
def test_the_narrowest_type_that_holds_all_values(values: list[Any], type_: str) -> None:
    assert type_of(pl.Series("c", values)) == type_
    assert type_of(pl.Series("c", values * 30)) == type_  # many are looked at column by column
    if isinstance(values[0], str) and type_ not in ("text", "empty"):
        for many in (1, 30):
            assert misfits(pl.Series(["?!", *values] * many), type_).sum() == many
            assert not misfits(pl.Series(values * many), type_).any()


def test_a_text_of_a_format_that_declares_types_is_text() -> None:
    assert type_of(pl.Series(["1", "2"]), is_declared=True) == "text"
    assert type_of(pl.Series(["", None]), is_declared=True) == "empty"


def test_typed_values_are_judged_by_their_type() -> None:
    assert (
        type_of(pl.Series([date(2026, 1, 1)])) == "date" and type_of(pl.Series([datetime(2026, 1, 1)])) == "timestamp"
    )
    assert misfits(pl.Series([1, None]), "decimal").to_list() == [False, False]
    assert misfits(pl.Series([1.5, None]), "integer").to_list() == [True, False]
    assert misfits(pl.Series(["1", "x", None, "n/a"]), "integer").to_list() == [False, True, False, False]


WORDS = st.sampled_from(
    ["", " ", "NULL", "n/a", "x", "true", "7", "007", "1.5", "2026-01-01", "2026-01-01 10:00", "{}"]
)


@given(st.lists(st.none() | WORDS, max_size=60), st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_first_values_decide_as_all_of_them_do(texts: list[str | None], is_declared: bool) -> None:
    told = [t.strip() for t in texts if t and t.strip() and t.strip().lower() not in NULLS]
    asked = [type_ for type_, form in FORMS.items() if all(re.search(form, text) for text in told)]
    expected = "empty" if not told else "text" if is_declared else next(iter(asked), "text")
    assert type_of(pl.Series(texts, dtype=pl.String), is_declared=is_declared) == expected
