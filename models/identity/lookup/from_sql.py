"""SQL conditions of comparison levels as Python functions, for the one pair that a request asks about.

A batch evaluates the conditions in DuckDB; a look-up of one record cannot wait for a query. The SQL text stays the only
definition of a level: it is parsed once and becomes nested closures with DuckDB's meaning of null, of string indices
(from 1, both ends included) and of string distances (which work on UTF-8 bytes). What is not known here is refused
when it is compiled, not when it is asked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import exp

from customer360.platform.errors import ModelError

Row = Mapping[str, Any]
Evaluate = Callable[[Row], Any]

PREFIX_WEIGHT, PREFIX_LENGTH, BOOST_FROM = 0.1, 4, 0.7  # of Jaro-Winkler, as DuckDB has them
DISTANCE_MEMORY = 65_536  # pairs of strings whose distance is remembered: names repeat


class ConditionError(ModelError):
    """A SQL condition uses what has no Python form here."""


def compile_condition(sql: str) -> Evaluate:
    """A function from a row (values by column name) to what the SQL expression gives: a value, or None for null.

    Columns are looked up as written (`given_l`, `l.given`). Raises ConditionError when the expression uses something
    unknown; the message names it and the SQL.
    """
    try:
        parsed = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.ParseError as fault:
        raise ConditionError(f"cannot read the condition {sql!r}: {fault}") from None
    return _compile(parsed, sql)


def columns_of(sql: str) -> set[str]:
    """Names of the columns that a condition reads, as `compile_condition` looks them up."""
    found = sqlglot.parse_one(sql, read="duckdb").find_all(exp.Column)
    return {f"{column.table}.{column.name}" if column.table else column.name for column in found}


def _compile(node: exp.Expr, sql: str) -> Evaluate:
    def inner(part: exp.Expr) -> Evaluate:
        return _compile(part, sql)

    if isinstance(node, exp.Paren):
        return inner(node.this)
    if isinstance(node, exp.Column):
        return operator.itemgetter(f"{node.table}.{node.name}" if node.table else node.name)
    if isinstance(node, (exp.Literal, exp.Boolean, exp.Null)):
        value = _literal(node)
        return lambda row: value
    if isinstance(node, (exp.And, exp.Or)):
        return _connective(node, inner)
    if isinstance(node, exp.Not):
        negated = inner(node.this)
        return lambda row: None if (value := negated(row)) is None else not value
    if isinstance(node, exp.Is):
        tested = inner(node.this)
        return lambda row: tested(row) is None
    if isinstance(node, exp.Case):
        return _case(node, inner)
    if isinstance(node, exp.Coalesce):
        choices = [inner(part) for part in (node.this, *node.expressions)]
        return lambda row: next((v for choice in choices if (v := choice(row)) is not None), None)
    if isinstance(node, exp.Comprehension):
        return _comprehension(node, inner)
    if isinstance(node, exp.Array):
        return _array(node, inner)
    return _strict(node, inner, sql)


def _literal(node: exp.Expr) -> Any:
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Null):
        return None
    if node.args["is_string"]:
        return node.this
    return float(node.this) if "." in node.this or "e" in node.this.lower() else int(node.this)


def _connective(node: exp.Expr, inner: Callable[[exp.Expr], Evaluate]) -> Evaluate:
    """AND and OR over three values: null gives way to what decides."""
    decides = isinstance(node, exp.Or)
    parts = [inner(part) for part in node.flatten()]

    def evaluate(row: Row) -> bool | None:
        unknown = False
        for part in parts:
            value = part(row)
            if value is None:
                unknown = True
            elif bool(value) == decides:
                return decides
        return None if unknown else not decides

    return evaluate


def _case(node: exp.Case, inner: Callable[[exp.Expr], Evaluate]) -> Evaluate:
    branches = [(inner(branch.this), inner(branch.args["true"])) for branch in node.args["ifs"]]
    default = inner(node.args["default"]) if node.args.get("default") else lambda row: None

    def evaluate(row: Row) -> Any:
        for condition, value in branches:
            if condition(row):
                return value(row)
        return default(row)

    return evaluate


def _comprehension(node: exp.Comprehension, inner: Callable[[exp.Expr], Evaluate]) -> Evaluate:
    """``[value for name in items if condition]``; a null list gives null."""
    value, items, name = inner(node.this), inner(node.args["iterator"]), node.args["expression"].name
    condition = inner(node.args["condition"]) if node.args.get("condition") else lambda row: True

    def evaluate(row: Row) -> list[Any] | None:
        listed = items(row)
        if listed is None:
            return None
        rows = ({**row, name: item} for item in listed)
        return [value(each) for each in rows if condition(each)]

    return evaluate


def _array(node: exp.Array, inner: Callable[[exp.Expr], Evaluate]) -> Evaluate:
    parts = [inner(part) for part in node.expressions]
    if len(parts) == 1 and isinstance(node.expressions[0], exp.Comprehension):
        return parts[0]  # the brackets of a comprehension are its own
    return lambda row: [part(row) for part in parts]


def _strict(node: exp.Expr, inner: Callable[[exp.Expr], Evaluate], sql: str) -> Evaluate:
    """An operator or function that is null where one of its arguments is."""
    function, arguments = _function(node, sql)
    parts = [inner(argument) for argument in arguments]
    if len(parts) == 1:
        (only,) = parts

        def evaluate_one(row: Row) -> Any:
            value = only(row)
            return None if value is None else function(value)

        return evaluate_one
    if len(parts) == 2:
        first, second = parts

        def evaluate_two(row: Row) -> Any:
            left = first(row)
            if left is None:
                return None
            right = second(row)
            return None if right is None else function(left, right)

        return evaluate_two

    def evaluate(row: Row) -> Any:
        values = [part(row) for part in parts]
        return None if any(value is None for value in values) else function(*values)

    return evaluate


def _function(node: exp.Expr, sql: str) -> tuple[Callable[..., Any], list[exp.Expr]]:
    """The Python function of a node and the nodes of its arguments."""
    if isinstance(node, exp.Bracket):
        index = node.expressions[0]
        if isinstance(index, exp.Slice):
            return _slice, [node.this, index.this, index.expression]
        return _item, [node.this, index]  # the parser counts from 0 already
    if isinstance(node, exp.In) and node.expressions:
        return lambda value, *listed: value in listed, [node.this, *node.expressions]
    if isinstance(node, (exp.Cast, exp.TryCast)):
        kind = node.args["to"].sql("duckdb").upper()
        if kind in CASTS:
            return lambda value: _cast(value, CASTS[kind]), [node.this]
    if isinstance(node, exp.Anonymous) and node.name.lower() in NAMED:
        return NAMED[node.name.lower()], list(node.expressions)
    if type(node) in TYPED:
        return TYPED[type(node)], _arguments(node)
    raise ConditionError(f"no Python form of {node.sql('duckdb')!r} in the condition {sql!r}")


def _arguments(node: exp.Expr) -> list[exp.Expr]:
    found: list[exp.Expr] = []
    for key in node.arg_types:
        value = node.args.get(key)
        found += [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, exp.Expr)]
    return found


def _slice(value: Any, first: int, last: int) -> Any:
    return value[max(first, 1) - 1 : max(last, 0)]


def _item(value: Any, index: int) -> Any:
    if isinstance(value, str):
        return value[index : index + 1]
    return value[index] if -len(value) <= index < len(value) else None


def _cast(value: Any, kind: Callable[[Any], Any]) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        return None


@lru_cache(DISTANCE_MEMORY)
def jaro_winkler(one: str, other: str) -> float:
    """Jaro-Winkler similarity of the UTF-8 bytes, 0 to 1."""
    a, b = one.encode(), other.encode()
    similarity = _jaro(a, b)
    if similarity <= BOOST_FROM:
        return similarity
    prefix = 0
    for left, right in zip(a[:PREFIX_LENGTH], b[:PREFIX_LENGTH], strict=False):
        if left != right:
            break
        prefix += 1
    return similarity + prefix * PREFIX_WEIGHT * (1.0 - similarity)


def _jaro(a: bytes, b: bytes) -> float:
    if not a or not b:
        return 0.0
    reach = max(max(len(a), len(b)) // 2 - 1, 0)
    taken = [False] * len(b)
    matched = []
    for place, char in enumerate(a):
        for other in range(max(0, place - reach), min(len(b), place + reach + 1)):
            if not taken[other] and b[other] == char:
                taken[other] = True
                matched.append(char)
                break
    if not matched:
        return 0.0
    moved = sum(x != y for x, y in zip(matched, (c for c, t in zip(b, taken, strict=True) if t), strict=True)) // 2
    common = len(matched)
    return (common / len(a) + common / len(b) + (common - moved) / common) / 3.0


@lru_cache(DISTANCE_MEMORY)
def damerau_levenshtein(one: str, other: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours between the UTF-8 bytes, unrestricted."""
    a, b = one.encode(), other.encode()
    far = len(a) + len(b)
    last_row_of: dict[int, int] = {}
    table = [[far] * (len(b) + 2) for _ in range(len(a) + 2)]
    for i in range(len(a) + 1):
        table[i + 1][1] = i
    for j in range(len(b) + 1):
        table[1][j + 1] = j
    for i in range(1, len(a) + 1):
        last_match = 0
        for j in range(1, len(b) + 1):
            row, column = last_row_of.get(b[j - 1], 0), last_match
            same = a[i - 1] == b[j - 1]
            if same:
                last_match = j
            table[i + 1][j + 1] = min(
                table[i][j] + (not same),
                table[i + 1][j] + 1,
                table[i][j + 1] + 1,
                table[row][column] + (i - row - 1) + 1 + (j - column - 1),
            )
        last_row_of[a[i - 1]] = i
    return table[len(a) + 1][len(b) + 1]


@lru_cache(DISTANCE_MEMORY)
def levenshtein(one: str, other: str) -> int:
    """Insertions, deletions and substitutions between the UTF-8 bytes."""
    a, b = one.encode(), other.encode()
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row = row, [i]
        for j, right in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (left != right)))
    return row[-1]


def _shared(one: list[Any], other: list[Any]) -> list[Any]:
    held = set(other)
    return [value for value in dict.fromkeys(one) if value is not None and value in held]


def _jaccard(one: str, other: str) -> float:
    a, b = set(one.encode()), set(other.encode())
    return len(a & b) / len(a | b)


CASTS: dict[str, Callable[[Any], Any]] = {
    "INT": int, "BIGINT": int, "INTEGER": int, "DOUBLE": float, "TEXT": str, "VARCHAR": str,
}  # fmt: skip
TYPED: dict[type[exp.Expr], Callable[..., Any]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.Add: operator.add,
    exp.Sub: operator.sub,
    exp.Mul: operator.mul,
    exp.Div: operator.truediv,
    exp.Neg: operator.neg,
    exp.Abs: abs,
    exp.Between: lambda value, low, high: low <= value <= high,
    exp.Greatest: max,
    exp.Least: min,
    exp.Length: len,
    exp.Lower: str.lower,
    exp.Upper: str.upper,
    exp.Left: lambda text, count: text[:count],
    exp.Right: lambda text, count: text[-count:] if count else "",
    exp.Substring: lambda text, start, count=None: text[start - 1 :][:count],
    exp.Split: str.split,
    exp.Concat: lambda *parts: "".join(parts),
    exp.DPipe: operator.add,
    exp.StartsWith: str.startswith,
    exp.Contains: lambda text, part: part in text,
    exp.ArrayOverlaps: lambda one, other: bool(_shared(one, other)),
    exp.ArrayContains: lambda listed, value: value in listed,
    exp.ArrayMax: lambda listed: max((v for v in listed if v is not None), default=None),
    exp.Flatten: lambda listed: [item for part in listed if part is not None for item in part],
    exp.JarowinklerSimilarity: jaro_winkler,
    exp.Levenshtein: levenshtein,
}
NAMED: dict[str, Callable[..., Any]] = {
    "damerau_levenshtein": damerau_levenshtein,
    "list_intersect": _shared,
    "jaccard": _jaccard,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "list_has_all": lambda one, other: set(other) <= set(one),
}
