"""Polars expressions as a Python function of one row, for the one record that a request asks about.

A query of one row costs Polars some hundred microseconds whatever it does, and identity asks for more than a hundred.
The expressions stay the only definition: their serialized form, which belongs to one version of Polars as the hashes of
an index do, becomes a list of steps, each distinct part of the expressions once. What is not known here is refused when
it is compiled, not when it is asked.
"""

from __future__ import annotations

import io
import json
import operator
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from customer360.models.identity.lookup.from_regex import characters, python_pattern, python_replacement
from customer360.platform.errors import ModelError

Node = Any  # of the serialized expression: text, or a dict of one kind and its parts
ELEMENT = ""  # name of a list's element within `list.eval`


class ExpressionError(ModelError):
    """An expression uses what has no Python form here."""


class Program:
    """`Program({name: expression, …})(row)` gives the values by name; `row` holds those of the columns that are read.

    Text is str, a list a list, null None. Raises ExpressionError when an expression uses something unknown.
    """

    def __init__(self, made: Mapping[str, pl.Expr]) -> None:
        self._places: dict[str, int] = {}
        self._start: list[Any] = []
        self._constant: list[bool] = []
        self._read: list[tuple[int, str]] = []
        self._lines: list[tuple[int, Callable[..., Any], tuple[int, ...], bool]] = []
        self._made = {name: self._place(json.loads(e.meta.serialize(format="json"))) for name, e in made.items()}

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        values = self._start.copy()
        for place, name in self._read:
            values[place] = row[name]
        for place, function, arguments, strict in self._lines:
            given = [values[argument] for argument in arguments]
            values[place] = None if strict and None in given else function(*given)
        return {name: values[place] for name, place in self._made.items()}

    def _place(self, node: Node) -> int:
        """Where the value of a node stands."""
        kind, parts = ("Element", ELEMENT) if node == "Element" else _kind(node)
        if kind == "Alias":
            return self._place(parts[0])
        text = json.dumps(node)
        if text not in self._places:
            if kind in ("Column", "Element"):
                place = self._new()
                self._read.append((place, parts))
            elif kind == "Literal":
                place = self._new(_literal(text), constant=True)
            else:
                place = self._line(kind, parts)
            self._places[text] = place
        return self._places[text]

    def _line(self, kind: str, parts: Node) -> int:
        name, options, inputs = _operation(kind, parts)
        places = tuple(self._place(part) for part in inputs)
        constants = [self._start[place] if self._constant[place] else None for place in places]
        function = _function(name, options, constants)
        place = self._new()
        self._lines.append((place, function, places, name not in TAKE_NULL))
        return place

    def _new(self, value: Any = None, constant: bool = False) -> int:
        self._start.append(value)
        self._constant.append(constant)
        return len(self._start) - 1


def _kind(node: Node) -> tuple[str, Any]:
    if not isinstance(node, dict) or len(node) != 1:
        raise ExpressionError(f"no Python form of the expression {json.dumps(node)[:200]}")
    return next(iter(node.items()))


def _literal(text: str) -> Any:
    value = pl.select(pl.Expr.deserialize(io.StringIO(text), format="json")).to_series()
    return value.to_list()[0]


def _operation(kind: str, parts: Node) -> tuple[str, Any, list[Node]]:
    """Name, options and inputs of a node."""
    if kind == "BinaryExpr":
        return parts["op"], None, [parts["left"], parts["right"]]
    if kind == "Ternary":
        return "Ternary", None, [parts["predicate"], parts["truthy"], parts["falsy"]]
    if kind == "Cast":
        return "Cast", json.dumps(parts["dtype"]), [parts["expr"]]
    if kind == "Agg":
        name, inner = _kind(parts)
        return name, None, [inner]
    if kind == "Eval":
        return "Eval", parts["evaluation"], [parts["expr"]]
    if kind == "Function":
        function, path = parts["function"], []
        while isinstance(function, dict) and next(iter(function)) in FAMILIES:
            family, function = _kind(function)
            path.append(FAMILIES[family])
        name, options = (function, None) if isinstance(function, str) else _kind(function)
        return "".join(path) + name, options, parts["input"]
    raise ExpressionError(f"no Python form of the expression {kind} {str(parts)[:200]}")


def _function(name: str, options: Any, constants: list[Any]) -> Callable[..., Any]:
    if name in PLAIN:
        return PLAIN[name]
    if name in MADE:
        return MADE[name](options, constants)
    raise ExpressionError(f"no Python form of {name} in an expression")


# ---- of fixed meaning -----------------------------------------------------------------------------------------


def _either(decides: bool) -> Callable[..., bool | None]:
    """AND and OR over three values: null gives way to what decides."""

    def evaluate(*values: bool | None) -> bool | None:
        if decides in values:
            return decides
        return None if None in values else not decides

    return evaluate


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _joined_lists(*parts: Any) -> list[Any] | None:
    if any(part is None for part in parts):
        return None
    return [item for part in parts for item in (part if isinstance(part, list) else [part])]


def _difference(one: list[Any], other: list[Any]) -> list[Any]:
    gone = set(other)
    return [value for value in dict.fromkeys(one) if value not in gone]


def _item(listed: list[Any], place: int) -> Any:
    return listed[place] if -len(listed) <= place < len(listed) else None


@lru_cache(1)
def _white_space() -> str:
    return characters(r"\s")


def _stripped(text: str | None, of: str | None) -> str | None:
    return None if text is None else text.strip(_white_space() if of is None else of)


def _part(text: str | None, start: int, length: int | None) -> str | None:
    return None if text is None else text[start : None if length is None else start + length]


FAMILIES = {"StringExpr": "Text", "ListExpr": "List", "Boolean": ""}
TAKE_NULL = {
    "And", "Or", "AllHorizontal", "Ternary", "IsNull", "IsNotNull", "Coalesce", "FillNull", "MinHorizontal",
    "MaxHorizontal", "Sum", "ListConcat", "TextConcatHorizontal", "TextStripChars", "TextSlice", "Replace",
    "ReplaceStrict",
}  # fmt: skip
PLAIN: dict[str, Callable[..., Any]] = {
    "And": _either(False), "Or": _either(True), "AllHorizontal": _either(False), "Not": operator.not_,
    "Eq": operator.eq, "NotEq": operator.ne, "Gt": operator.gt, "GtEq": operator.ge, "Lt": operator.lt,
    "LtEq": operator.le, "Plus": operator.add, "Minus": operator.sub,
    "Ternary": lambda condition, yes, no: yes if condition else no,
    "IsNull": lambda value: value is None, "IsNotNull": lambda value: value is not None,
    "IsBetween": lambda value, low, high: low <= value <= high,
    "Coalesce": _first, "FillNull": _first,
    "MinHorizontal": lambda *values: min((v for v in values if v is not None), default=None),
    "MaxHorizontal": lambda *values: max((v for v in values if v is not None), default=None),
    "Sum": lambda value: int(value or 0),
    "TextLowercase": str.lower, "TextUppercase": str.upper, "TextLenChars": len, "TextEndsWith": str.endswith,
    "TextStripChars": _stripped, "TextZFill": str.zfill, "TextSlice": _part,
    "TextHead": lambda text, count: text[:count], "TextTail": lambda text, count: text[-count:] if count else "",
    "TextSplit": str.split,
    "ListConcat": _joined_lists, "ListLength": len, "ListGet": _item,
    "ListJoin": lambda listed, between: between.join(item for item in listed if item is not None),
    "ListSort": sorted,
}  # fmt: skip

# ---- made of their options and constant arguments -------------------------------------------------------------

Constants = Sequence[Any]


def _is_in(_: Any, constants: Constants) -> Callable[..., bool]:
    held = frozenset(constants[1])
    return lambda value, *_: value in held


def _replaced_values(_: Any, constants: Constants) -> Callable[..., Any]:
    table = dict(zip(constants[1], constants[2], strict=True))
    return lambda value, *_: table.get(value, value)


def _replaced_strictly(_: Any, constants: Constants) -> Callable[..., Any]:
    table, default = dict(zip(constants[1], constants[2], strict=True)), constants[3]
    return lambda value, *_: table.get(value, default)


def _replaced_text(options: Any, constants: Constants) -> Callable[..., str]:
    count = max(options["n"], 0)  # 0: all, as Python has it
    if options["literal"]:
        return lambda text, old, new: text.replace(old, new, count or -1)
    substitute, new = python_pattern(constants[1]).sub, python_replacement(constants[2])
    return lambda text, *_: substitute(new, text, count=count)


def _replaced_parts(_: Any, constants: Constants) -> Callable[..., str]:
    parts = dict(zip(constants[1], constants[2], strict=True))
    if all(len(part) == 1 for part in parts):
        table = str.maketrans(parts)
        return lambda text, *_: text.translate(table)
    if any(one != other and other.startswith(one) for one in parts for other in parts):
        raise ExpressionError("no Python form of str.replace_many where one part is the beginning of another")
    found = re.compile("|".join(map(re.escape, parts)))
    return lambda text, *_: found.sub(lambda match: parts[match[0]], text)


def _contains(options: Any, constants: Constants) -> Callable[..., bool]:
    if options["literal"]:
        return lambda text, part: part in text
    search = python_pattern(constants[1]).search
    return lambda text, _: search(text) is not None


def _extracted(group: Any, constants: Constants) -> Callable[..., str | None]:
    search = python_pattern(constants[1]).search
    return lambda text, _: found[group] if (found := search(text)) else None


def _all_extracted(_: Any, constants: Constants) -> Callable[..., list[str]]:
    matches = python_pattern(constants[1]).finditer
    return lambda text, _: [found[0] for found in matches(text)]


def _cast(kind: Any, _: Constants) -> Callable[[Any], Any]:
    casts: dict[str, Callable[[Any], Any]] = {
        '{"Literal": "String"}': str, '{"Literal": "Int32"}': int, '{"Literal": {"List": "String"}}': list,
    }  # fmt: skip
    if kind not in casts:
        raise ExpressionError(f"no Python form of a cast to {kind}")
    return casts[kind]


def _each(evaluation: Any, _: Constants) -> Callable[[list[Any]], list[Any]]:
    inner = Program({})
    inner._made = {ELEMENT: inner._place(evaluation)}
    return lambda listed: [inner({ELEMENT: item})[ELEMENT] for item in listed]


def _joined_texts(options: Any, _: Constants) -> Callable[..., str | None]:
    between, without_null = options["delimiter"], options["ignore_nulls"]

    def join(*parts: str | None) -> str | None:
        known = [part for part in parts if part is not None]
        return between.join(known) if without_null or len(known) == len(parts) else None

    return join


def _normalized(options: Any, _: Constants) -> Callable[[str], str]:
    return lambda text: unicodedata.normalize(options["form"], text)


MADE: dict[str, Callable[[Any, Constants], Callable[..., Any]]] = {
    "IsIn": _is_in, "Replace": _replaced_values, "ReplaceStrict": _replaced_strictly, "TextReplace": _replaced_text,
    "TextReplaceMany": _replaced_parts, "TextContains": _contains, "TextExtract": _extracted,
    "TextExtractAll": _all_extracted, "TextNormalize": _normalized, "Cast": _cast, "Eval": _each,
    "TextConcatHorizontal": _joined_texts,
    "ListSetOperation": lambda options, _: _set_operation(options),
}  # fmt: skip


def _set_operation(kind: str) -> Callable[..., list[Any]]:
    if kind != "Difference":
        raise ExpressionError(f"no Python form of the set operation {kind}")
    return _difference
