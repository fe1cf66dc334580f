"""AT TIME ZONE over the texts of a file: a time of that place, or what its clocks show.

A text says which it is. One without an offset is a time of the zone; one with an offset is an instant, whatever the
zone. Where an instant is wanted (a column of times, a comparison, a duration), both give one; where a date or a part of
a time is, both give what the zone's clocks show. So the rows of a column may be written either way, and none of them is
moved the wrong way. What surrounds it says which is wanted; where nothing does, the expression is refused.
"""

from __future__ import annotations

import difflib
from functools import cache
from typing import Protocol
from zoneinfo import available_timezones

import polars as pl

from customer360.platform import tables
from customer360.platform.sources import values
from customer360.platform.sources.expressions import sql
from customer360.platform.sources.expressions.sql import Tree
from customer360.platform.sources.values import Reading, Said

TIME = tables.Timestamp(nullable=True)
ELSEWHERE = "Etc/GMT+12"  # any zone that is never UTC: a text without an offset means another instant there
ASKED = "asked"  # of a node: what its surroundings want
CLOCK = ("clock", "date")
CASTS = {"DATE": "clock", "TIME": "clock", "TIMESTAMP WITH TIME ZONE": "time", "TIMESTAMPTZ": "time"}
COMPARED = ("COMPARE_IN", "COMPARE_NOT_IN", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL")
CHOOSING = {"min", "max", "greatest", "least", "first", "last", "any_value", "median", "mode", "quantile_disc",
            "quantile_cont", "nullif", "ifnull", "if"}  # fmt: skip
INSTANTS = {"epoch", "epoch_ms", "epoch_us", "epoch_ns", "date_diff", "datediff", "date_sub", "datesub", "age", "count",
            "to_timestamp"}  # fmt: skip
PARTS = {"date_part", "datepart", "extract"}
CLOCKS = {"hour", "minute", "second", "millisecond", "microsecond", "day", "dayofmonth", "dayofweek", "weekday",
          "isodow", "dayofyear", "week", "weekofyear", "yearweek", "isoyear", "month", "quarter", "year", "decade",
          "century", "millennium", "era", "dayname", "monthname", "last_day", "strftime"}  # fmt: skip
TRUNCATED = {"date_trunc", "datetrunc"}
SPANS = {f"to_{unit}" for unit in ("years", "months", "weeks", "days", "hours", "minutes", "seconds", "milliseconds",
                                   "microseconds", "quarters", "decades", "centuries", "millennia")}  # fmt: skip
UNDECIDED = (
    "AT TIME ZONE stands where nothing says whether an instant or a clock of the place is meant; say so: "
    "CAST(… AS TIMESTAMPTZ), CAST(… AS DATE), or strftime(…, '%Y-%m-%d %H:%M:%S'); a text that is put together stands "
    "in brackets: (day || ' ' || clock) AT TIME ZONE zone"
)


def is_placed(tree: Tree) -> bool:
    """Whether a tree is ``… AT TIME ZONE …``, or its other name, a call of ``timezone``."""
    return str(tree.get("function_name", "")).lower() == "timezone" and len(tree["arguments"]) == 2


def decided(tree: Tree, want: str) -> Tree:
    """A tree in which each ``… AT TIME ZONE …`` says under `ASKED` what its surroundings want, of ``want`` as a whole:
    time (an instant), date or clock (what the zone's clocks show); nothing where they do not say."""
    if is_placed(tree):
        start = tree["arguments"][1]["expression"]
        is_cut = str(start.get("function_name", "")) in TRUNCATED  # the start of a day of the place
        return {**tree, ASKED: want, "arguments": _arguments(tree, ["", "clock" if is_cut else "time"])}
    kind, of = tree.get("class"), tree.get("type", "")
    if kind == "FUNCTION":
        return _inside({**tree, "arguments": _arguments(tree, _asked_by(tree, want))}, {"arguments"})
    if kind == "CAST":
        to = str((tree.get("type_expr") or {}).get("type_name", ""))
        return {**tree, "child": decided(tree["child"], CASTS.get(to, ""))}
    if kind == "CASE":
        checks = [
            {**check, "when_expr": decided(check["when_expr"], ""), "then_expr": decided(check["then_expr"], want)}
            for check in tree["case_checks"]
        ]
        return {**tree, "case_checks": checks, "else_expr": decided(tree["else_expr"], want)}
    if of == "OPERATOR_COALESCE":
        return {**tree, "children": [decided(child, want) for child in tree["children"]]}
    operands = _operands(tree)
    is_compared = kind in ("COMPARISON", "BETWEEN") or of in COMPARED
    is_day = any(_type_named(operand) == "DATE" for operand in operands)  # of which place, nobody says
    return _inside(tree, set(), "time" if is_compared and not is_day else "")


def _inside(tree: Tree, but: set[str], want: str = "") -> Tree:
    def held(value: object) -> object:
        if isinstance(value, list):
            return [held(each) for each in value]
        if isinstance(value, dict):
            return decided(value, want) if "class" in value else {k: held(v) for k, v in value.items()}
        return value

    return {k: v if k in but else held(v) for k, v in tree.items()}


def _operands(tree: Tree) -> list[Tree]:
    named = [tree[k] for k in ("left", "right", "input", "lower", "upper") if isinstance(tree.get(k), dict)]
    return [*named, *tree.get("children", [])]


def _arguments(tree: Tree, wants: list[str]) -> list[Tree]:
    pairs = zip(tree["arguments"], wants, strict=True)
    return [{**argument, "expression": decided(argument["expression"], want)} for argument, want in pairs]


def _asked_by(tree: Tree, want: str) -> list[str]:
    """What a call wants of each of its arguments."""
    name, arguments = tree["function_name"].lower(), [a["expression"] for a in tree["arguments"]]
    asked = ""
    if name in INSTANTS:
        asked = "time"
    elif name in PARTS:
        part = _text(arguments[0]).lower() if arguments else ""
        asked = "" if not part else "time" if part.startswith("epoch") else "clock"
    elif name in CLOCKS or (name in TRUNCATED and want in CLOCK):
        asked = "clock"
    elif name == "-" and len(arguments) == 2 and not any(map(_is_span, arguments)):
        asked = "time" if all(map(_gives, arguments)) or want not in CLOCK else want
    elif name in ("+", "-", *CHOOSING):
        asked = want
    return [asked] * len(arguments)


def _gives(tree: Tree) -> bool:
    """Whether a tree gives what AT TIME ZONE does, perhaps moved."""
    moved = tree.get("class") == "FUNCTION" and tree["function_name"] in ("+", "-")
    return is_placed(tree) or (moved and any(_gives(a["expression"]) for a in tree["arguments"]))


def _is_span(tree: Tree) -> bool:
    return _type_named(tree) == "INTERVAL" or str(tree.get("function_name", "")) in SPANS


def _type_named(tree: Tree) -> str:
    return str((tree.get("type_expr") or {}).get("type_name", "")) if tree.get("class") == "CAST" else ""


def _text(tree: Tree) -> str:
    held = tree.get("literal") or {}
    return str(held["text"]) if held.get("kind") == "STRING" else ""


def require_names(zone: Tree) -> None:
    """Raises Fault where a constant that is to name a zone, or one that CASE chooses, names none."""
    chosen = [c["then_expr"] for c in zone.get("case_checks", [])]
    for constant in [zone, *chosen, *([zone["else_expr"]] if chosen else [])]:
        if (name := _text(constant)) and not _is_zone(name):
            near = difflib.get_close_matches(name, available_timezones(), 3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise sql.Fault(f"AT TIME ZONE {sql.quoted(name)} names no time zone{hint}")


@cache
def _is_zone(name: str) -> bool:
    try:
        sql.select(pl.DataFrame({"row": [0]}), {"v": f"timezone(place({sql.quoted(name)}), TIMESTAMP '2026-01-01')"})
    except sql.FAULTS:
        return False
    return True


class Columns(Protocol):
    """What a scope offers to one who rewrites a call over its columns."""

    times_read: dict[str, str]

    def kind(self, tree: Tree) -> str: ...
    def instants_and_clocks(self, text: Tree) -> tuple[str, str]: ...
    def exact_type(self, tree: Tree) -> str: ...


def placed(scope: Columns, tree: Tree, zone: Tree, held: Tree) -> Tree:
    """The rewritten call over its rewritten arguments: instants, or what the zone's clocks show, as the call is asked.

    Raises:
        Fault: nothing says which of them is wanted, or of what place the times are.
    """
    asked = tree.get(ASKED, "")
    if asked != "time" and asked not in CLOCK:
        raise sql.Fault(UNDECIDED)
    require_names(zone)
    where = f"place({sql.written(zone)})"
    clocks, instants = _both(scope, held)
    here = f"located({where}, {clocks})" if asked == "time" else clocks
    fixed = instants if asked == "time" else f"timezone({where}, {instants})"
    if not clocks or not instants:
        return sql.parsed(here if clocks else fixed)
    return sql.parsed(f"COALESCE({here}, {fixed})")


def _both(scope: Columns, held: Tree) -> tuple[str, str]:
    """SQL of the clock times and of the instants among the values of a rewritten tree; empty where there are none."""
    moved = held.get("class") == "FUNCTION" and held["function_name"] in ("+", "-") and len(held["arguments"]) == 2
    if moved and _reads_times(scope, held):
        operands = [a["expression"] for a in held["arguments"]]
        spans = [operand for operand in operands if scope.kind(operand) == "INTERVAL"]
        if len(spans) == 1:
            (start,) = [operand for operand in operands if operand is not spans[0]]
            span = f" {held['function_name']} {sql.written(spans[0])}"
            clocks, instants = _both(scope, start)
            return clocks and f"({clocks}{span})", instants and f"({instants}{span})"
    if scope.kind(held) == "text" or sql.written(held) in scope.times_read:
        clocks, instants = scope.instants_and_clocks(held)
        return f"CAST({clocks} AS TIMESTAMP)", f"CAST({instants} AS TIMESTAMPTZ)"
    if _reads_times(scope, held):
        raise sql.Fault("AT TIME ZONE of times that are read from text: say what they are, CAST(… AS TIMESTAMP)")
    text, of = sql.written(held), scope.exact_type(held)
    is_instant = "WITH TIME ZONE" in of or "TIMESTAMPTZ" in of
    return ("", text) if is_instant else (f"CAST({text} AS TIMESTAMP)", "")


def _reads_times(scope: Columns, tree: Tree) -> bool:
    """Whether times in a rewritten tree were read from text."""
    read = (n for n in sql.nodes(tree) if n.get("class") in ("CAST", "COLUMN_REF"))
    return any(sql.written(n) in scope.times_read for n in read)


def told(text: pl.Series, label: str, reading: Reading, said: Said) -> pl.DataFrame:
    """``local``: the times that name no offset, ``instant``: those that do, in UTC, each as text and null in the rows
    of the other. What is no time stands in ``local`` so that it fails where it is needed."""
    known = values.known(text.cast(pl.String), TIME, reading)

    def read(zone: str | None, said: Said) -> pl.Series:
        return values.read(known, label, TIME, reading.model_copy(update={"timezone": zone}), said)

    at = read(None, said)
    is_fixed = at.eq_missing(read(ELSEWHERE, Said()))
    as_text = at.dt.strftime("%Y-%m-%d %H:%M:%S%.6f")
    spoiled = pl.concat_str(pl.lit(sql.UNREADABLE), known)
    bad = at.is_null() & known.is_not_null()
    return pl.select(
        local=pl.when(bad).then(spoiled).when(~is_fixed).then(as_text),
        instant=pl.when(is_fixed & at.is_not_null()).then(as_text + "+00"),
    )
