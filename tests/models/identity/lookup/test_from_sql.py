"""SQL conditions as Python functions: the same answers as DuckDB."""

from __future__ import annotations

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.models.identity.lookup import Vetoes
from customer360.models.identity.lookup.from_sql import (
    ConditionError,
    compile_condition,
    damerau_levenshtein,
    levenshtein,
)
from customer360.models.identity.rules import Decision
from customer360.models.identity.verdicts.decide import veto_query
from customer360.models.identity.weighing.comparisons import STANDARD

TEXT = st.none() | st.text("abcdé ß日-1", max_size=9)
SQL = (
    "a = b",
    "a is null or b is null",
    "a <> b and length(a) > 3 or b[1] = 'a'",
    "not (a = b)",
    "jaro_winkler_similarity(a, b)",
    "damerau_levenshtein(a, b)",
    "levenshtein(a, b) <= 1",
    "a[1:4]",
    "a[6:7]",
    "left(a, 3)",
    "list_has_any(string_split(a, ' '), string_split(b, ' '))",
    "coalesce(a, b, 'x')",
    "case when a = b then 1 when length(a) > 3 then 2 end",
    "try_cast(a as integer)",
    "list_max(flatten([[jaro_winkler_similarity(x, y) for x in string_split(a, ' ') if length(x) > 1]"
    " for y in string_split(b, ' ')])) >= 0.8",
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=30))
def test_conditions_give_what_duckdb_gives(pairs: list[tuple[str | None, str | None]]) -> None:
    frame = pl.DataFrame(pairs, schema={"a": pl.String, "b": pl.String}, orient="row")
    with duckdb.connect() as con:
        con.register("pairs", frame.to_arrow())
        for sql in SQL:
            told = con.sql(f"select {sql} as v from pairs").fetchall()
            ours = [compile_condition(sql)({"a": a, "b": b}) for a, b in pairs]
            for pair, (theirs,), mine in zip(pairs, told, ours, strict=True):
                expected = pytest.approx(theirs, abs=1e-12) if isinstance(theirs, float) else theirs
                assert mine == expected, f"{sql} of {pair}"


def test_every_level_and_veto_of_the_model_compiles() -> None:
    for comparison in STANDARD:
        for sql in (comparison.null_sql, *(level.sql for level in comparison.levels if level.sql != "ELSE")):
            compile_condition(sql)
    Vetoes(veto_query(Decision(), ("identifier_card",), ()))


def test_what_has_no_python_form_is_named() -> None:
    with pytest.raises(ConditionError, match=r"REVERSE\(a\).*reverse\(a\) = 'B'"):
        compile_condition("reverse(a) = 'B'")
    with pytest.raises(ConditionError, match="cannot read"):
        compile_condition("a = = b")


@settings(max_examples=300, deadline=None)
@given(st.text("abcdé", max_size=8), st.text("abcdé", max_size=8))
def test_a_swap_counts_at_most_two_without_swaps(one, other):
    assert levenshtein(one, other) <= 2 * damerau_levenshtein(one, other)
