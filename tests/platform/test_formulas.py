"""What a spreadsheet would run, it must not."""

from __future__ import annotations

import polars as pl
import pytest

from customer360.platform.formulas import as_text, defused


@pytest.mark.parametrize("text", [
    "=1+1", "=cmd|' /C calc'!A0", "+cmd|'x'!A0", "-2+3+cmd", "@SUM(A1)", "\t=1", "\r=1", "  =HYPERLINK(\"http://x\")",
    "|calc", "%00=1", "\uff1d1+1",
])  # fmt: skip
def test_formulas_become_text(text: str) -> None:
    assert as_text(text) == f"'{text}"
    assert defused(pl.DataFrame({"a": [text]}))["a"][0] == f"'{text}"


@pytest.mark.parametrize(("text", "safe"), [
    ("sofa;=1+1", "sofa;'=1+1"), ("a; @SUM(A1);b", "a;' @SUM(A1);b"), ("note\n=cmd|'x'!A0", "note\n'=cmd|'x'!A0"),
    ("=a;=b", "'=a;'=b"), ("a\t+x", "a\t'+x"),
])  # fmt: skip
def test_a_formula_after_a_separator_of_another_country_becomes_text(text: str, safe: str) -> None:
    assert defused(pl.DataFrame({"a": [text, "b"]}))["a"].to_list() == [safe, "b"]


@pytest.mark.parametrize("text", [
    "Ann", "a@b.example", "+49 (221) 12-345", "-12.50", "-1.5E-7", "1;-2", "a;b", "", None, "O'Neil", "50%", "a=b",
])  # fmt: skip
def test_everything_else_stays(text: str | None) -> None:
    assert defused(pl.DataFrame({"a": [text], "n": [-1]}, schema={"a": pl.String, "n": pl.Int64})).row(0) == (text, -1)
