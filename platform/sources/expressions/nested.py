"""Values inside of values: columns of JSON text by path, and records taken apart at a list that they hold.

A step of a path is a key, or the number of an element from 1 (from the end below 0). A key also finds the member of a
list of keys and values that has this name: ``[{"key": "page", "value": {"string_value": "/tea"}}]`` at ``page`` is
``/tea``. What is a list here and one object there (as lists of one element are in XML) is read alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from customer360.platform.sources.expressions import sql
from customer360.platform.sources.expressions.paths import Step
from customer360.platform.sources.formats.ndjson.odd_objects import whole
from customer360.platform.sources.formats.records import POSITION

NAMES = ("key", "name", "attribute_code", "code")  # of what a member of a list of keys and values is about
ELEMENTS = 1_000_000_000  # positions of the elements of a record: its own times this, and their number
APART, ELEMENT, NUMBER, WHOLE = "\0apart", "\0element", "\0number", "\0whole"  # columns while lists are taken apart


@dataclass(frozen=True)
class Found:
    """What stands at a path: texts, and in which rows the path could not be followed to its end: through a text, or
    through a list of which no element was named."""

    values: pl.Series
    failed: pl.Series


def at_paths(column: pl.Series, paths: Sequence[tuple[Step, ...]]) -> list[Found]:
    """The values of a column of JSON text at some paths."""
    frame = column.alias("c").to_frame()
    places = ", ".join(sql.quoted(_json_path(path)) for path in paths)
    read = sql.select(frame, {"v": f"TRY(json_extract_string(c, [{places}]))"})["v"]
    found = [read.list.get(i, null_on_oob=True) for i in range(len(paths))]
    malformed = read.is_null() & column.is_not_null()
    lists = column.str.contains("[", literal=True).fill_null(False)
    absent = pl.Series([False]).new_from_index(0, len(column))
    for values in found:
        absent |= values.is_null()
    rows = ((lists & absent) | malformed | ~column.str.contains(r"^\s*[\[{]").fill_null(True)).arg_true().to_list()
    failed = [pl.Series([False]).new_from_index(0, len(column)) for _ in paths]
    if not rows:
        return [Found(v, f) for v, f in zip(found, failed, strict=True)]
    texts: list[list[str | None]] = [[] for _ in paths]
    broken: list[list[int]] = [[] for _ in paths]
    for row in rows:
        held = _loaded(column[row])
        for number, path in enumerate(paths):
            try:
                texts[number].append(text_of(walk(held, path)))
            except LookupError:
                texts[number].append(None)
                broken[number].append(row)
    for number in range(len(paths)):
        found[number] = found[number].scatter(rows, pl.Series(texts[number], dtype=pl.String))
        if broken[number]:
            failed[number] = failed[number].scatter(broken[number], True)
    return [Found(v, f) for v, f in zip(found, failed, strict=True)]


def _json_path(path: Sequence[Step]) -> str:
    """The path in the words of DuckDB's JSON functions."""
    return "$" + "".join(
        (f"[{step - 1}]" if step > 0 else f"[#{step}]") if isinstance(step, int) else f".{json.dumps(step)}"
        for step in path
    )


class _Number(str):
    """A number as JSON writes it."""


class _Scalar(str):
    """A text that is no JSON: nothing stands below it."""


def _loaded(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text, parse_float=_Number, parse_int=_Number)
    except (ValueError, RecursionError):
        return _Scalar(text)


def walk(value: Any, path: Sequence[Step]) -> Any:
    """What stands at a path. Raises LookupError: it leads through a text or a list of which it names no element."""
    for place, step in enumerate(path):
        if value is None:
            return None
        if isinstance(step, int):
            value = _element(value, step)
        elif isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list):
            held = next((m for m in value if _answers(m, step)), None)
            if held is None and not all(map(_about, value)):
                raise LookupError(step)
            return None if held is None else _member_value(held, path[place + 1 :])
        else:
            raise LookupError(step)
    return value


def _element(value: Any, number: int) -> Any:
    if not isinstance(value, list):
        return value if number in (1, -1) else None  # one object where others are lists
    at = number - 1 if number > 0 else len(value) + number
    return value[at] if 0 <= at < len(value) else None


def _answers(member: Any, name: str) -> bool:
    """Whether a member of a list of keys and values has this name; a look at its values spares most the rest."""
    return isinstance(member, dict) and (name in member.values() or "schema" in member) and name in _about(member)


def _about(member: Any) -> tuple[str, ...]:
    """The names that a member of a list of keys and values answers to; none where it is no such member."""
    if not isinstance(member, dict):
        return ()
    if isinstance(member.get("schema"), str) and "data" in member and len(member) == 2:
        schema = member["schema"]
        return (schema, *schema.split("/")[1:2])  # iglu:com.vendor/name/jsonschema/1-0-0
    name = next((member[n] for n in NAMES if isinstance(member.get(n), str)), None)
    rest = [key for key in member if key not in NAMES]
    return (str(name),) if name is not None and all(_is_value(key) for key in rest) else ()


def _is_value(key: str) -> bool:
    return key.lower().endswith("value") or key == "values"


def _member_value(member: dict[str, Any], rest: Sequence[Step]) -> Any:
    """The value of a member. One that has a field for each type has it in the only one that is filled."""
    if "data" in member and "schema" in member:
        return walk(member["data"], rest)
    held = member.get("value", {k: v for k, v in member.items() if k not in NAMES})
    if rest:
        return walk(held, rest)
    if isinstance(held, dict) and held and all(_is_value(key) or "timestamp" in key for key in held):
        filled = [v for k, v in held.items() if v is not None and _is_value(k)]
        return filled[0] if len(filled) == 1 else held if filled else None
    return held


def text_of(value: Any) -> str | None:
    """A value as text: nested ones as JSON, numbers as they were written."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return whole(str(value) if isinstance(value, str) else _json(value))


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(v) for v in value) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def has_plain_lists(column: pl.Series) -> bool:
    """Whether a row of JSON text is a list of objects that are no keys and values."""
    likely = column.filter(column.str.contains(r"^\s*\[").fill_null(False))
    return any(_is_plain_list(text) for text in likely)


def _is_plain_list(text: str | None) -> bool:
    held = _loaded(text)
    return (
        isinstance(held, list)
        and any(isinstance(element, dict) for element in held)
        and not all(_about(element) for element in held)
    )


def exploded(records: pl.DataFrame, name: str, held: pl.Series, elements: pl.Series) -> pl.DataFrame:
    """A row for each of ``elements`` (lists of text by row), which stand in the column ``name`` then, their numbers
    from 1 in ``NAME_position``. Rows whose list is null stay as they are, with what they ``held``; rows whose list is
    empty go. `APART` says of which rows there may be several.
    """
    number = f"{name}_position"
    whole = elements.is_null()
    lists = pl.select(pl.when(whole).then(pl.concat_list(held)).otherwise(elements)).to_series()
    added = [lists.alias(ELEMENT), whole.alias(WHOLE)]
    rows = records.with_columns(added).filter(pl.col(ELEMENT).list.len() > 0)
    rows = rows.with_columns(pl.int_ranges(1, pl.col(ELEMENT).list.len() + 1).alias(NUMBER)).explode(ELEMENT, NUMBER)
    made = [pl.col(ELEMENT).alias(name), (pl.col(APART) | ~pl.col(WHOLE)).alias(APART)]
    if number not in records.columns:
        made.append(pl.when(~pl.col(WHOLE)).then(NUMBER).alias(number))
    return rows.with_columns(made).drop(ELEMENT, NUMBER, WHOLE)


def elements_of(column: pl.Series, *, soft: bool) -> pl.Series:
    """The elements of a column of JSON lists as lists of text; of one object, that. With ``soft``, only lists of
    objects that are no keys and values are taken apart; what is none is null.
    """
    listed = column.str.contains(r"^\s*\[").fill_null(False)
    frame = column.alias("c").to_frame()
    read = sql.select(frame, {"v": "TRY(json_extract_string(c, '$[*]'))"})["v"]
    empty = pl.Series("v", [[]], pl.List(pl.String)).new_from_index(0, len(column))
    if soft:
        plain = pl.Series(
            [_is_plain_list(t) or t.strip() == "[]" if t and k else False for t, k in zip(column, listed, strict=True)],
            dtype=pl.Boolean,
        )
        return pl.select(pl.when(plain).then(read)).to_series()
    single = pl.select(pl.concat_list(column)).to_series()
    return pl.select(
        pl.when(column.is_null()).then(empty).when(listed & read.is_not_null()).then(read).otherwise(single)
    ).to_series()


def positions(before: pl.Series) -> pl.Series:
    """Positions of elements: those of their records times `ELEMENTS`, and their number in the record."""
    frame = before.alias(POSITION).to_frame()
    number = pl.int_range(1, pl.len() + 1).over(POSITION)
    return frame.select(pl.col(POSITION) * ELEMENTS + number).to_series()


def records_of(places: pl.Series) -> pl.Series:
    """Positions of the records of rows."""
    return pl.select(pl.when(places < ELEMENTS).then(places).otherwise(places // ELEMENTS)).to_series()
