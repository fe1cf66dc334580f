"""What a row's columns could not hold is one JSON object, in the rows that have something."""

from __future__ import annotations

import json

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform import rescued

TEXT = st.none() | st.text(max_size=4)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=6))
def test_every_row_keeps_its_texts_and_the_rules_that_they_broke(rows: list[tuple[str | None, ...]]) -> None:
    a, b, rule = (pl.Series([row[place] for row in rows], dtype=pl.String) for place in range(3))
    found = rescued.written(len(rows), {"a": a, 'b"': b}, {"a": rule})
    assert found.dtype == pl.String and found.name == "_rescued"
    for kept, row in zip(found, rows, strict=True):
        wanted = {key: text for key, text in zip(("a", 'b"'), row[:2], strict=True) if text is not None}
        wanted |= {rescued.RULES: {"a": row[2]}} if row[2] is not None else {}
        assert (json.loads(kept) if kept is not None else {}) == wanted
