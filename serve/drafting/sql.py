"""Expressions of a draft's mapping: names quoted where they need it, numbers and enumerations as files write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from customer360.platform.sources.profiling.columns import Column
from customer360.serve.drafting.names import plain_words

RESERVED = frozenset(
    "all and any as asc between by case cast check column constraint create cross current_date current_time "
    "current_timestamp date day default desc distinct else end except exists false filter first for foreign from full "
    "grant group having hour in index inner intersect interval into is join last left like limit match month natural "
    "not null offset on only or order outer over position primary references right row rows second select set some "
    "table then time timestamp to true type union unique update user using value values when where window with "
    "year".split()
)


def name(column: Column | str) -> str:
    """A column as SQL names it, or what it is made of."""
    if isinstance(column, Column) and column.form:
        return column.form.format(*map(name, column.parts))
    if isinstance(column, Column) and column.path:
        return ".".join(name(part) for part in column.path)
    text = column if isinstance(column, str) else column.name
    if re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) and text.lower() not in RESERVED:
        return text
    return '"' + text.replace('"', '""') + '"'


def constant(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def is_negative(column: Column) -> str:
    """Whether an amount is below zero."""
    return f"{name(column)} < 0"


def first_name(column: Column) -> str:
    """What stands before the first blank of a full name."""
    n = name(column)
    return f"CASE WHEN STRPOS({n}, ' ') > 0 THEN LEFT({n}, STRPOS({n}, ' ') - 1) END"


def last_name(column: Column) -> str:
    """What stands after the first blank of a full name, all of it where there is none."""
    n = name(column)
    return f"SUBSTR({n}, STRPOS({n}, ' ') + 1)"


def words(column: Column, known: dict[str, str], replaced: dict[str, str], default: str | None = None) -> str:
    """An enumeration in the contract's words; ``replaced`` exchanges some of these. Words that nobody knows stay, or
    become the default.
    """
    cases: dict[str, list[str]] = {}
    for word in column.words:
        value = known.get(plain_words(word))
        if value is not None:
            cases.setdefault(replaced.get(value, value), []).append(word)
    lower = f"LOWER({name(column)})"
    whens = " ".join(
        f"WHEN {_one_of(lower, sorted({word.lower() for word in found}))} THEN {constant(value)}"
        for value, found in cases.items()
    )
    return f"CASE {whens} ELSE {name(column) if default is None else constant(default)} END"


def is_one_of(column: Column, found: Sequence[str]) -> str:
    """Whether a word is one of some, whatever its case."""
    return _one_of(f"LOWER({name(column)})", sorted({word.lower() for word in found}))


def _one_of(lower: str, found: Sequence[str]) -> str:
    if len(found) == 1:
        return f"{lower} = {constant(found[0])}"
    return f"{lower} IN ({', '.join(constant(word) for word in found)})"


def joined(parts: Sequence[Column]) -> str:
    """Several columns as one key."""
    return " || '|' || ".join(f"COALESCE(CAST({name(part)} AS VARCHAR), '')" for part in parts)


def any_of(expression: str) -> str:
    """One value of a group."""
    return f"MAX({expression})"
