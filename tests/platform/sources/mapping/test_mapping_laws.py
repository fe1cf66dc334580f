"""Laws of mappings, over expressions and texts that nobody chose: nothing raises, no record is lost, and how a file was
cut does not show."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer360.platform import tables
from customer360.platform.sources.casting import fit
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import Mapping
from customer360.platform.tables import Identifier, Integer, Money, String, Table, Timestamp

TEXTS = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "7", "-3.50", "1.234,5", "(5)", "1e5", "nan", "inf", "€ 9", "yes", "null", '"', "\\N"]),
    st.sampled_from(["2026-01-31", "13/45/2026", "[]", "{}", '{"a": 1}', '[{"a": 1}, {"a": [2]}]', "[1,"]),
    st.sampled_from(['[{"key": "a", "value": {"int_value": 5}}]', '{"a": {"b": null}}', '{"a": "\\ud800"}']),
    st.text(max_size=12),
)  # fmt: skip
COLUMNS = ("x", "y", "z.w", "gone")
LEAVES = st.sampled_from(["x", "y", '"z.w"', "z.w", "x.a", "y.a.b", "x[1]", "x[-1].a", "param(y, 'a')", "gone", "1", "0", "2.5", "'t'", "NULL", "DATE '2026-01-01'"])  # fmt: skip  # noqa: E501

FUNCTIONS = st.sampled_from(["UPPER", "ROUND", "ABS", "YEAR", "LENGTH", "TRIM", "LN"])
TYPES = st.sampled_from(["BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR", "BOOLEAN"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["=", "<", ">=", "<>"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(FUNCTIONS, inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, TYPES).map(lambda t: f"CAST({t[0]} AS {t[1]})"),
        inner.map(lambda t: f"STRPTIME({t}, '%m/%d/%Y')"),
        inner.map(lambda t: f"json_extract_string({t}, '$.a')"),
        two.map(lambda t: f"COALESCE({t[0]}, {t[1]})"),
        two.map(lambda t: f"({t[0]} || {t[1]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"CASE WHEN {t[0]} THEN {t[1]} ELSE {t[2]} END"),
    )  # fmt: skip


EXPRESSIONS = st.recursive(LEAVES, _grown, max_leaves=5)
FRAMES = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=6)


@pytest.fixture(scope="module")
def things() -> type[Table]:
    kept = dict(tables.TABLES)

    class Things(Table, table="bronze.t_things", key=("ID",)):
        """One row per thing."""

        ID = Identifier(nullable=True)
        NUMBER = Money(nullable=True)
        COUNT = Integer(nullable=True)
        AT = Timestamp(nullable=True)
        WHAT = String(nullable=True)

    tables.TABLES.clear()
    tables.TABLES.update(kept)
    return Things


def _frame(rows: list[tuple[str | None, ...]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS[:3], pl.String), orient="row")
    return frame.insert_column(0, pl.int_range(1, frame.height + 1, eager=True).alias(POSITION))


def _is_sound(mapping: Mapping, table: type[Table]) -> bool:
    return not [f for f in mapping.faults(table, list(COLUMNS)) if not f.startswith("required")]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(expression=EXPRESSIONS, target=st.sampled_from(["NUMBER", "COUNT", "AT", "WHAT"]), rows=FRAMES)
def test_every_record_is_one_row_whatever_it_holds(
    things: type[Table], expression: str, target: str, rows: list[tuple[str | None, ...]]
) -> None:
    mapping = Mapping({target: expression})
    if not _is_sound(mapping, things):
        return
    frame = _frame(rows)
    found = fit(frame, things, mapping)
    assert found.frame[POSITION].to_list() == frame[POSITION].to_list()
    for text in found.frame["_rescued"].drop_nulls():
        json.loads(text)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(expression=EXPRESSIONS, key=EXPRESSIONS, rows=FRAMES)
def test_every_record_is_in_one_group(
    things: type[Table], expression: str, key: str, rows: list[tuple[str | None, ...]]
) -> None:
    mapping = Mapping({"ID": key, "NUMBER": f"SUM({expression})", "WHAT": f"MAX({expression})"}, group_by=(key,))
    if not _is_sound(mapping, things):
        return
    found = fit(_frame(rows), things, mapping)
    assert found.frame.height + found.collapsed == len(rows)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    where=EXPRESSIONS, explode=st.sampled_from([(), ("x",), ("y.a",), ("x", "x.a")]), rows=FRAMES, cut=st.integers(0, 6)
)
def test_records_and_rows_balance_however_a_file_is_cut(
    things: type[Table], where: str, explode: tuple[str, ...], rows: list[tuple[str | None, ...]], cut: int
) -> None:
    mapping = Mapping({"ID": "x.a", "WHAT": "y"}, where=f"({where}) IS NULL", explode=explode)
    if not _is_sound(mapping, things):
        return
    frame = _frame(rows)
    whole = fit(frame, things, mapping)
    went = whole.frame.height + whole.left_out + whole.without_elements
    assert len(rows) + whole.exploded == went and whole.frame[POSITION].is_unique().all()
    if all(text is None or not text.strip()[:1].isdigit() for row in rows for text in row):  # else a sign may be voted
        parts = [fit(part, things, mapping).frame for part in (frame[:cut], frame[cut:])]
        assert pl.concat(parts).select(POSITION, "ID", "WHAT").equals(whole.frame.select(POSITION, "ID", "WHAT"))
