"""Findings: their order, their line, and personal values in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.sources.rehearsal.findings import Finding, covered, listed, ordered, part, without_values


def test_the_worst_stand_first_and_none_twice() -> None:
    small, large = Finding("warning", "s", "A", "few", share=0.01), Finding("warning", "s", "B", "many", share=0.5)
    note, error = Finding("note", "s", "where", "meant"), Finding("error", "s", "C", "lost", share=0.001)
    assert ordered([small, note, large, error, large]) == (error, large, small, note)


def test_a_finding_is_one_line() -> None:
    assert Finding("error", "shop", "a.csv", "is empty", "send it again").text == "shop: a.csv: is empty; send it again"
    assert Finding("error", "shop", "", "is gone").text == "shop: is gone"
    assert part(3, 100) == "3 of 100 rows (3.0 %)" and part(0, 0) == "0 of 0 rows (0.0 %)"
    assert listed(["a", "b", "c", "d"]) == "'a', 'b', 'c' and 1 more"


@pytest.mark.parametrize(
    ("value", "shown"), [("ann@mail.example", "a••@••••.•••••••"), ("31.12.1999", "3•.••.••••"), ("7", "•"), ("", "")]
)
def test_a_personal_value_keeps_its_form_alone(value: str, shown: str) -> None:
    assert covered(value) == shown


@given(st.text(min_size=2))
def test_no_letter_or_digit_but_the_first_is_shown(value: str) -> None:
    assert not any(sign.isalnum() for sign in covered(value)[1:])


def test_quoted_values_are_taken_out_of_a_sentence() -> None:
    assert without_values("values like '1/2/1980' and \"x\"") == "values like '•••' and '•••'"
