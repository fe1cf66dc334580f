"""Conditions: the compiled expression says of every row what a direct reading of the text says; hostile text is
refused.
"""

from __future__ import annotations

import ast
import contextlib
import math
import re
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.conditions import LONGEST, ExpressionError, condition
from customer360.platform.tables import (
    Boolean,
    Date,
    Float,
    Integer,
    List,
    Money,
    OneOf,
    String,
    Struct,
    Table,
    Timestamp,
)

AS_OF = date(2026, 3, 1)
STAGES, NAMES = ("NEW", "ACTIVE", "LAPSED"), ("Ann", "bob", "Çelik", "")


class Row(Table):
    """One row of what conditions are put on."""

    orders = Integer(nullable=True)
    rate = Float(nullable=True)
    spent = Money(nullable=True)
    name = String(nullable=True)
    stage = OneOf(*STAGES, nullable=True)
    is_member = Boolean(nullable=True)
    seen_on = Date(nullable=True)
    scored_at = Timestamp(nullable=True)
    tags = List(String(), nullable=True)
    shares = List(Struct({"name": String()}), nullable=True)


COLUMNS = Row.columns()
SCHEMA = {name: column.dtype for name, column in COLUMNS.items()}


def meant(text: str, rows: list[dict[str, Any]]) -> list[bool]:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    return frame.with_columns(meant=condition(text, COLUMNS, AS_OF))["meant"].to_list()


# ---- a direct reading, row by row ------------------------------------------------------------------------------


def read(node: ast.expr, row: dict[str, Any]) -> Any:
    """The value of a part for a row; None is unknown."""
    match node:
        case ast.Constant():
            return float(node.value) if type(node.value) in (int, float) else node.value
        case ast.Name():
            return plain(row[node.id])
        case ast.BoolOp():
            parts = [read(value, row) for value in node.values]
            decides = isinstance(node.op, ast.Or)
            return decides if decides in parts else None if None in parts else not decides
        case ast.UnaryOp(op=ast.Not()):
            return negated(read(node.operand, row))
        case ast.UnaryOp(op=ast.USub()):
            value = read(node.operand, row)
            return None if value is None else -value
        case ast.BinOp():
            return arithmetic(node.op, read(node.left, row), read(node.right, row))
        case ast.Compare():
            sides, parts = [node.left, *node.comparators], []
            for at, operator in enumerate(node.ops):
                parts.append(compared(operator, sides[at], sides[at + 1], row))
            return False if False in parts else None if None in parts else True
        case ast.Call():
            return called(node.func.id, [read(arg, row) for arg in node.args])  # type: ignore[attr-defined]
    raise AssertionError(ast.dump(node))


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return None if math.isnan(value) else float(value)
    return value


def negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def arithmetic(operator: ast.operator, one: float | None, two: float | None) -> float | None:
    if one is None or two is None or (isinstance(operator, ast.Div) and two == 0):
        return None
    found = {
        ast.Add: lambda: one + two,
        ast.Sub: lambda: one - two,
        ast.Mult: lambda: one * two,
        ast.Div: lambda: one / two,
    }
    value = found[type(operator)]()
    return None if math.isnan(value) else value


def compared(operator: ast.cmpop, left: ast.expr, right: ast.expr, row: dict[str, Any]) -> bool | None:
    one = read(left, row)
    if isinstance(operator, ast.In | ast.NotIn):
        if isinstance(right, ast.List):
            found = None if one is None else any(same(one, read(element, row)) for element in right.elts)
        else:
            texts = read(right, row)
            found = None if texts is None else one in texts
        return negated(found) if isinstance(operator, ast.NotIn) else found
    two = read(right, row)
    if isinstance(operator, ast.Is | ast.IsNot):
        return (one is None) == isinstance(operator, ast.Is)
    if one is None or two is None:
        return None
    if isinstance(one, date) or isinstance(two, date):
        one, two = (date.fromisoformat(v) if isinstance(v, str) else v for v in (one, two))
    return {ast.Lt: one < two, ast.LtE: one <= two, ast.Gt: one > two, ast.GtE: one >= two, ast.Eq: one == two,
            ast.NotEq: one != two}[type(operator)]  # fmt: skip


def same(one: Any, two: Any) -> bool:
    return one == (date.fromisoformat(two) if isinstance(one, date) else two)


def called(name: str, given: list[Any]) -> Any:
    if name == "known":
        return given[1] if given[0] is None else given[0]
    if name == "between":
        value, low, high = given
        parts = [
            None if value is None or low is None else value >= low,
            None if value is None or high is None else value <= high,
        ]
        return False if False in parts else None if None in parts else True
    if None in given:
        return None
    return {
        "days_since": lambda day: float((AS_OF - day).days), "month": lambda day: float(day.month), "lower": str.lower,
        "starts_with": lambda text, start: text.startswith(start), "size": lambda texts: float(len(texts)),
    }[name](*given)  # fmt: skip


# ---- any condition, any rows -----------------------------------------------------------------------------------

numbers = st.integers(-5, 5) | st.sampled_from([0.5, 1.25, -2.5, 1e300])
days = st.dates(date(2025, 12, 1), date(2026, 4, 1))
rows = st.fixed_dictionaries(
    {
        "orders": st.none() | st.integers(-5, 5),
        "rate": st.none() | numbers.map(float) | st.just(math.nan),
        "spent": st.none() | st.integers(-500, 500).map(lambda cents: Decimal(cents) / 100),
        "name": st.none() | st.sampled_from(NAMES), "stage": st.none() | st.sampled_from(STAGES),
        "is_member": st.none() | st.booleans(), "seen_on": st.none() | days,
        "scored_at": st.none() | days.map(lambda day: datetime(day.year, day.month, day.day, 13, tzinfo=UTC)),
        "tags": st.none() | st.lists(st.sampled_from(("red", "blue")), max_size=2),
        "shares": st.none(),
    }
)  # fmt: skip


def nested(depth: int) -> tuple[st.SearchStrategy[str], st.SearchStrategy[str]]:
    """Texts of numbers and of conditions."""
    number = st.sampled_from(
        ["orders", "rate", "spent", "days_since(seen_on)", "month(scored_at)", "size(tags)"]
    ) | numbers.map(str)
    text = st.sampled_from(["name", "lower(name)", "stage"])
    named = st.sampled_from(NAMES).map(repr)
    day = st.sampled_from(["seen_on", "scored_at"])
    written = st.dates(date(2026, 1, 1), date(2026, 3, 1)).map(lambda d: f'"{d}"')
    flag = (
        st.sampled_from(["is_member", "True", "False", '"red" in tags', '"red" not in tags', "tags is None", 'stage == "NEW"',  # noqa: E501
                         'stage not in ["NEW", "LAPSED"]', "rate is not None", "is_member == True", "is_member != (orders > 1)"])  # noqa: E501
        | st.tuples(st.sampled_from(["name", "lower(name)"]), compares, named).map(" ".join)
        | st.tuples(text, compares, text).map(" ".join)
        | st.tuples(day, compares, written | day).map(" ".join)
        | st.tuples(day, written, written).map(lambda t: f"{t[0]} in [{t[1]}, {t[2]}]")
        | st.tuples(st.sampled_from(["name", "lower(name)"]), named).map(lambda t: f"starts_with({t[0]}, {t[1]})")
    )  # fmt: skip
    for _ in range(depth):
        number = number | st.tuples(number, st.sampled_from("+-*/"), number).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        number = (
            number | st.tuples(number, number).map(lambda t: f"known({t[0]}, {t[1]})") | number.map(lambda n: f"-({n})")
        )
        flag = (
            flag
            | st.tuples(number, compares, number).map(" ".join)
            | st.tuples(number, compares, number, compares, number).map(" ".join)
            | st.tuples(number, number, number).map(lambda t: f"between({t[0]}, {t[1]}, {t[2]})")
            | st.tuples(number, st.sampled_from(["in", "not in"])).map(lambda t: f"{t[0]} {t[1]} [1, 2.5, -3]")
            | st.tuples(flag, st.sampled_from(["and", "or"]), flag).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
            | flag.map(lambda f: f"not ({f})")
        )  # fmt: skip
    return number, flag


compares = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


@settings(max_examples=150, deadline=None)
@given(text=nested(3)[1], table=st.lists(rows, min_size=1, max_size=8))
def test_every_row_is_judged_as_a_direct_reading_does(text: str, table: list[dict[str, Any]]) -> None:
    parsed = ast.parse(text, mode="eval").body
    assert meant(text, table) == [read(parsed, row) is True for row in table], text


def test_a_column_without_a_value_is_compared_row_by_row() -> None:
    rows = [dict.fromkeys(SCHEMA), dict.fromkeys(SCHEMA)]
    assert meant("0 < known(orders, 0)", rows) == [False, False]
    assert meant("0 < known(orders, 3)", rows) == [True, True]
    assert meant("0 < known(0, orders)", rows) == [False, False]


# ---- what is said of it ----------------------------------------------------------------------------------------


def row(**values: Any) -> dict[str, Any]:
    return dict.fromkeys(SCHEMA) | values


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("days_since(seen_on) <= 30 and orders >= 2", {"seen_on": AS_OF - timedelta(30), "orders": 2}, True),
        ("1 < orders <= 3", {"orders": 3}, True),
        ("between(orders, 1, 3)", {"orders": 4}, False),
        ("spent / orders > 10", {"spent": Decimal("50"), "orders": 0}, False),
        ("not (spent / orders > 10)", {"spent": Decimal("50"), "orders": 0}, False),
        ("orders > 1 or is_member", {"is_member": True}, True),
        ("known(orders, 0) < 1", {}, True),
        ("  stage == 'NEW'\n  and\n name != 'x'  ".replace("\n", " "), {"stage": "NEW", "name": "y"}, True),
    ],
)
def test_examples(text: str, values: dict[str, Any], expected: bool) -> None:
    assert meant(text, [row(**values)]) == [expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("oders > 1", "'oders' (character 1): is no column; did you mean orders"),
        ("stage == 'ACTVE'", "is no value of this column; did you mean ACTIVE"),
        ("stage in ['NEW', 'OLD']", "there are NEW, ACTIVE, LAPSED"),
        ("orders > 'many'", "is text, compared with a number"),
        ("orders == None", "use `is None`"),
        ("seen_on > '31.1.2026'", "is no date; write it as 2026-01-31"),
        ("seen_on > 3", "is a number, compared with a date"),
        ("is_member > True", "true or false cannot be compared so"),
        ("tags == tags", "use `in`"),
        ("shares is None", "list of structures"),
        ("orders", "is a number, a condition is true or false"),
        ("name and is_member", "is text, true or false is needed"),
        ("orders is 3", "`is` is for None alone"),
        ("orders in []", "is empty"),
        ("orders in [orders]", "a list holds written numbers"),
        ("days_sinc(seen_on) > 1", "did you mean days_since"),
        ("between(orders, 1)", "between takes 3"),
        ("lower(text=name) == 'x'", "is no function of the language"),
        ("orders >", "cannot be read"),
        ("orders > 1e999", "is no finite number"),
        ("is_member and " * 600 + "is_member", "characters"),
        ("is_member or " * 290 + "is_member", "parts"),
        ("not " * 100 + "is_member", "levels"),
        ("True == is_member == True", "put `and` between comparisons"),
        ("1 < orders == True == True", "is true or false"),
    ],
)
def test_faults_are_named(text: str, words: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(words)):
        condition(text, COLUMNS, AS_OF)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') == 0", "name.__class__ == 'x'", "().__class__.__bases__[0]", "lambda: True",
        "[orders for orders in tags]", "{x for x in tags}", "(orders := 3) > 1", "eval('1') == 1", "open('f') is None",
        "name[0] == 'A'", "f'{name}' == 'A'", "orders if is_member else rate", "9**9**9 > 1", "orders @ orders > 1",
        "orders << 99999 > 1", "~is_member", "+orders > 1", "*tags", "await name", "(yield)", "b'x' == name", "1j > orders",  # noqa: E501
        "... is None", "print", "lower(lower)(name)", "starts_with(name, *tags)", "lower(**tags)", "getattr(name, 'x')",
        "is_member; True", "import os", "{'a': 1} is None", "orders in {1: 2}", "", "\x00", "(" * 300 + "1" + ")" * 300,
        "-" * 3000 + "1 > 0", "9" * 3900 + " > orders", "x" * (LONGEST + 1), "'\\d' == stage",
    ],
)  # fmt: skip
def test_hostile_text_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        condition(text, COLUMNS, AS_OF)


def within(text: str, times: int) -> str:
    """A text within itself, so many times."""
    found = "orders"
    for _ in range(times):
        found = text.format(found)
    return found


@pytest.mark.parametrize("text", [
    " + ".join(["orders"] * 55) + " > 0",
    within("1 / ({})", 28) + " > 0",
    within("known({} + 1, 1)", 16) + " > 0",
    within("(is_member == ({}))", 28).replace("orders", "orders > 1"),
    within("(True == {} == True)", 28).replace("orders", "is_member"),
    within("-({} - 1)", 25) + " in [1, 2, 3, 4, 5, 6, 7, 8]",
])  # fmt: skip
def test_a_condition_costs_what_its_length_says(text: str) -> None:
    """Each level of what is compiled to something that holds its part twice would double the cost."""
    began = time.process_time()
    with contextlib.suppress(ExpressionError):
        meant(text, [row(orders=2, is_member=True)] * 100)
    assert time.process_time() - began < 5


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="()[]{}.,_=<>+-*/'\"\\ andornotinislambda19", max_size=60))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        found = condition(text, COLUMNS, AS_OF)
    except ExpressionError:
        return
    assert isinstance(found, pl.Expr)
