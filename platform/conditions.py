"""A small language of conditions on the columns of a contract, checked and compiled to Polars; nothing is evaluated.

    recency_days > 60 and value_segment in ["VIP", "GOLD"] and days_since(last_seen_on) < 30

Words: columns, numbers, "text", True, False; `and or not`, `< <= > >= == != in "not in"` (also chained, `1 < x <= 5`),
`is None`, `is not None`, `+ - * /`, and `FUNCTIONS`. A date column compares with text like "2026-01-31". Whatever
touches a missing value is unknown, as in SQL; a person of whom the condition is unknown is not meant. Division by zero
is unknown. Parsing is Python's own (`ast`), and every node that is not named here is refused.

Whoever asks may write a condition: it costs what its length says. So no part stands twice in what a part above it is
compiled to, as each level would double that (`fill_nan` of Polars does, and a chain over parts that are true or false).
"""

from __future__ import annotations

import ast
import difflib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import polars as pl

from customer360.platform.errors import ConfigError
from customer360.platform.tables import Column

LONGEST, MOST_NODES, DEEPEST = 4000, 500, 60
NOT_A_NUMBER = float("nan")
Kind = Literal["number", "text", "flag", "day", "texts", "nothing"]
WORDS: dict[str, str] = {
    "number": "a number", "text": "text", "flag": "true or false", "day": "a date", "texts": "a list of texts",
    "nothing": "None",
}  # fmt: skip


class ExpressionError(ConfigError):
    """A condition is not one; says what is wrong, where in it, and what is near."""


@dataclass(frozen=True)
class Term:
    """A checked part: its kind, its Polars expression, its value where it is written out, and the values that its
    column may have, where the contract says."""

    kind: Kind
    expr: pl.Expr
    value: Any = None
    values: tuple[str, ...] | None = None


def condition(text: str, columns: Mapping[str, Column], as_of: date) -> pl.Expr:
    """A Boolean expression without nulls over `columns`; `as_of` is what `days_since` counts from.

    Raises:
        ExpressionError: it is no condition, names an unknown column or value, or compares what cannot be compared.
    """
    found = _Compiler(text, columns, as_of).term(_parsed(text))
    if found.kind != "flag":
        raise ExpressionError(f"{text!r} is {WORDS[found.kind]}, a condition is true or false")
    return _row_by_row(found.expr.fill_null(False))


def _row_by_row(flag: pl.Expr) -> pl.Expr:
    """Polars folds what a column without any value leaves of an expression to one row; a column's length spreads it."""
    names = flag.meta.root_names()
    return flag & (pl.col(names[0]).is_null() | pl.col(names[0]).is_not_null()) if names else flag


def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise ExpressionError(f"a condition has at most {LONGEST:,} characters, this one {len(text):,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in texts, which mean what they say
            body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise ExpressionError(f"{text!r} cannot be read: {getattr(fault, 'msg', None) or fault}") from None
    if sum(1 for _ in ast.walk(body)) > MOST_NODES:
        raise ExpressionError(f"a condition has at most {MOST_NODES} parts")
    level: list[ast.AST] = [body]
    for _ in range(DEEPEST):
        if not (level := [inner for each in level for inner in ast.iter_child_nodes(each)]):
            return body
    raise ExpressionError(f"a condition has at most {DEEPEST} levels of parts within parts")


class _Compiler:
    """Turns the nodes of one condition into terms."""

    def __init__(self, text: str, columns: Mapping[str, Column], as_of: date) -> None:
        self.text, self.columns, self.as_of = text, columns, as_of

    def fault(self, node: ast.expr, why: str) -> ExpressionError:
        part = ast.get_source_segment(self.text.strip(), node) or ast.unparse(node)
        return ExpressionError(f"{part!r} (character {node.col_offset + 1}): {why}")

    def term(self, node: ast.expr) -> Term:
        match node:
            case ast.Constant():
                return self.constant(node)
            case ast.Name():
                return self.column(node)
            case ast.BoolOp():
                parts = [self.expect(value, "flag").expr for value in node.values]
                both = pl.all_horizontal if isinstance(node.op, ast.And) else pl.any_horizontal
                return Term("flag", both(parts))
            case ast.UnaryOp(op=ast.Not()):
                return Term("flag", ~self.expect(node.operand, "flag").expr)
            case ast.UnaryOp(op=ast.USub()):
                operand = self.expect(node.operand, "number")
                return Term("number", -operand.expr, None if operand.value is None else -operand.value)
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.Call():
                return self.call(node)
            case _:
                raise self.fault(node, f"{type(node).__name__} is not part of the language of conditions")

    def expect(self, node: ast.expr, kind: Kind) -> Term:
        found = self.term(node)
        if found.kind != kind:
            raise self.fault(node, f"is {WORDS[found.kind]}, {WORDS[kind]} is needed")
        return found

    def constant(self, node: ast.Constant) -> Term:
        match node.value:
            case None:
                return Term("nothing", pl.lit(None))
            case bool():
                return Term("flag", pl.lit(node.value), node.value)
            case int() | float():
                try:
                    number = float(node.value)
                except OverflowError:
                    number = math.inf
                if not math.isfinite(number):
                    raise self.fault(node, "is no finite number")
                return Term("number", pl.lit(number), number)
            case str():
                return Term("text", pl.lit(node.value), node.value)
            case _:
                raise self.fault(node, f"{type(node.value).__name__} is not part of the language of conditions")

    def column(self, node: ast.Name) -> Term:
        if node.id not in self.columns:
            near = difflib.get_close_matches(node.id, self.columns, n=3)
            raise self.fault(node, "is no column" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        column = self.columns[node.id]
        dtype, expr = column.dtype, pl.col(node.id)
        values = tuple(column.metadata["values"]) if column.metadata and "values" in column.metadata else None
        if dtype == pl.Boolean:
            return Term("flag", expr)
        if dtype == pl.String:
            return Term("text", expr, values=values)
        if dtype.is_numeric():
            return Term("number", _number(expr.cast(pl.Float64)))
        if dtype == pl.Date or dtype == pl.Datetime:
            return Term("day", expr.cast(pl.Date))
        if dtype == pl.List(pl.String):
            return Term("texts", expr)
        raise self.fault(node, "is a list of structures; no condition can be put on it")

    def arithmetic(self, node: ast.BinOp) -> Term:
        one, two = self.expect(node.left, "number").expr, self.expect(node.right, "number").expr
        match node.op:
            case ast.Add():
                found = one + two
            case ast.Sub():
                found = one - two
            case ast.Mult():
                found = one * two
            case ast.Div():
                found = one / two.replace(0.0, None)
            case _:
                raise self.fault(node, f"{type(node.op).__name__} is not among + - * /")
        return Term("number", _number(found))

    def comparison(self, node: ast.Compare) -> Term:
        """A chain `a < b <= c` is `a < b and b <= c`."""
        sides, parts = [node.left, *node.comparators], []
        for side in sides[1:-1]:
            if not isinstance(side, ast.List | ast.Tuple | ast.Set) and self.term(side).kind == "flag":
                raise self.fault(side, f"is {WORDS['flag']}, and stands between two; put `and` between comparisons")
        for at, operator in enumerate(node.ops):
            parts.append(self.compared(node, sides[at], operator, sides[at + 1]))
        return Term("flag", parts[0] if len(parts) == 1 else pl.all_horizontal(parts))

    def compared(self, node: ast.Compare, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> pl.Expr:
        match operator:
            case ast.In():
                return self.membership(left, right)
            case ast.NotIn():
                return ~self.membership(left, right)
            case ast.Is() | ast.IsNot():
                if not (isinstance(right, ast.Constant) and right.value is None):
                    raise self.fault(node, "`is` is for None alone; use == or !=")
                there = self.term(left).expr.is_not_null()
                return there if isinstance(operator, ast.IsNot) else ~there
        one, two = self.alike(left, right)
        compare = _COMPARE[type(operator)]
        if one.kind in ("flag", "texts", "nothing") and (one.kind != "flag" or compare not in (pl.Expr.eq, pl.Expr.ne)):
            hint = "; use `is None`" if one.kind == "nothing" else "; use `in`" if one.kind == "texts" else ""
            raise self.fault(node, f"{WORDS[one.kind]} cannot be compared so{hint}")
        return compare(one.expr, two.expr)

    def alike(self, left: ast.expr, right: ast.expr) -> tuple[Term, Term]:
        """Two terms of one kind; text is read as a date beside one, as a declared value beside a column of such."""
        one, two = self.term(left), self.term(right)
        one, two = self.fitted(left, one, two), self.fitted(right, two, one)
        if one.kind != two.kind:
            hint = "; use `is None`" if "nothing" in (one.kind, two.kind) else ""
            raise self.fault(right, f"is {WORDS[two.kind]}, compared with {WORDS[one.kind]}{hint}")
        return one, two

    def fitted(self, node: ast.expr, term: Term, beside: Term) -> Term:
        if term.kind != "text" or term.value is None:
            return term
        if beside.kind == "day":
            try:
                return Term("day", pl.lit(date.fromisoformat(term.value)), date.fromisoformat(term.value))
            except ValueError:
                raise self.fault(node, "is no date; write it as 2026-01-31") from None
        if beside.values is not None and term.value not in beside.values:
            near = difflib.get_close_matches(term.value, beside.values, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(beside.values)}"
            raise self.fault(node, f"is no value of this column; {hint}")
        return term

    def membership(self, left: ast.expr, right: ast.expr) -> pl.Expr:
        """A value in a written list, or a text in a column of texts."""
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            texts = self.expect(right, "texts")
            text = self.expect(left, "text")
            return texts.expr.list.contains(text.expr)
        if not right.elts:
            raise self.fault(right, "is empty: nothing is in it")
        parts = []
        for element in right.elts:
            one, two = self.alike(left, element)
            if two.value is None or one.kind not in ("number", "text", "day"):
                raise self.fault(element, "a list holds written numbers, texts or dates")
            parts.append(one.expr == two.expr)
        return pl.any_horizontal(parts)

    def call(self, node: ast.Call) -> Term:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in FUNCTIONS or node.keywords:
            near = difflib.get_close_matches(name or "", FUNCTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FUNCTIONS)}"
            raise self.fault(node, f"is no function of the language; {hint}")
        needed, build = FUNCTIONS[name]
        if len(node.args) != len(needed):
            raise self.fault(node, f"{name} takes {len(needed)}: {', '.join(WORDS[kind] for kind in needed)}")
        return build(self, [self.expect(arg, kind).expr for arg, kind in zip(node.args, needed, strict=True)])


def _number(expr: pl.Expr) -> pl.Expr:
    """Unknown where it is no number; `fill_nan` would have the expression stand twice in its own place."""
    return expr.replace(NOT_A_NUMBER, None)


def _days_since(compiler: _Compiler, given: Sequence[pl.Expr]) -> Term:
    return Term("number", (pl.lit(compiler.as_of) - given[0]).dt.total_days().cast(pl.Float64))


Build = Callable[[_Compiler, Sequence[pl.Expr]], Term]
FUNCTIONS: dict[str, tuple[tuple[Kind, ...], Build]] = {
    "days_since": (("day",), _days_since),  # whole days before the date of the data
    "month": (("day",), lambda _, given: Term("number", given[0].dt.month().cast(pl.Float64))),  # 1 to 12
    "between": (("number", "number", "number"), lambda _, given: Term("flag", pl.all_horizontal(given[0] >= given[1],
                                                                                                given[0] <= given[2]))),
    "lower": (("text",), lambda _, given: Term("text", given[0].str.to_lowercase())),
    "starts_with": (("text", "text"), lambda _, given: Term("flag", given[0].str.starts_with(given[1]))),
    "size": (("texts",), lambda _, given: Term("number", given[0].list.len().cast(pl.Float64))),
    # else the second
    "known": (("number", "number"), lambda _, given: Term("number", pl.coalesce(given[0], given[1]))),
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Lt: pl.Expr.lt, ast.LtE: pl.Expr.le, ast.Gt: pl.Expr.gt, ast.GtE: pl.Expr.ge, ast.Eq: pl.Expr.eq,
    ast.NotEq: pl.Expr.ne,
}  # fmt: skip
