"""Moments that files write in several columns: a date beside a time of day, or year, month and day."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import polars as pl

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.flat import Flat
from customer360.platform.sources.profiling.survey import Delivery
from customer360.serve.drafting.names import Vocabulary

MOST = 0.95  # of the values have to be of a form
CLOCK = r"\d{1,2}:\d{2}"
TIME = r"(?i)^\d{1,2}[:.]\d{2}([:.]\d{2}([.,]\d+)?)?\s*([ap]\.?m\.?)?$"
MIDNIGHT = r"^(\d{4}-\d{2}-\d{2})[ T]00:00(:00(\.0+)?)?$"  # what workbooks make of a date
DIGITS = {
    4: r"^([01]?\d|2[0-3])?[0-5]?\d$",
    6: r"^([01]?\d|2[0-3])[0-5]\d[0-5]\d$",
}  # 1405 and 140501, zeros may be lost
PARTS = {"year": (1990, 2100), "month": (1, 12), "date": (1, 31)}  # by concept, what the numbers lie between
LEAST = 3  # distinct values of a time that tell it from a number


def together(delivery: Delivery, vocabulary: Vocabulary) -> Delivery:
    """A delivery whose dates and times of one moment are one column, which stands where the date stood."""
    columns = dict(delivery.columns)
    for parts, made in [*_of_three(columns, vocabulary), *_of_two(columns, vocabulary)]:
        if all(part.name in columns for part in parts):
            columns = {
                (made.name if name == parts[0].name else name): (made if name == parts[0].name else column)
                for name, column in columns.items()
                if name not in {part.name for part in parts[1:]}
            }
    if list(columns) == list(delivery.columns):
        return delivery
    return replace(delivery, shaped=Flat(columns, delivery.flat.lists))


def _of_three(columns: dict[str, Column], vocabulary: Vocabulary) -> Iterator[tuple[list[Column], Column]]:
    """Year, month and day whose names are otherwise the same."""
    groups: dict[tuple[str, ...], dict[str, Column]] = {}
    for column in columns.values():
        concepts = vocabulary.concepts_of(column.title or column.name)
        for concept, (low, high) in PARTS.items():
            if concept in concepts and _lies_within(column, low, high):
                rest = tuple(sorted(c for c in concepts if c != concept))
                groups.setdefault(rest, {}).setdefault(concept, column)
    for rest, found in groups.items():
        if len(found) == len(PARTS):
            year, month, day = (found[concept] for concept in PARTS)
            texts = [_text(part).str.zfill(2) for part in (year, month, day)]
            data = pl.DataFrame([t.alias(str(i)) for i, t in enumerate(texts)]).select(
                pl.concat_str(pl.all(), separator="-")
            )
            form = "{} || '-' || LPAD({}, 2, '0') || '-' || LPAD({}, 2, '0')"
            title = " ".join(["date", *(c.lstrip("?") for c in rest)])
            yield [year, month, day], _made([year, month, day], data.to_series(), form, title)


def _lies_within(column: Column, low: int, high: int) -> bool:
    if not column.is_number or not column.is_whole or not len(column.distinct):
        return False
    numbers = column.distinct.cast(pl.Int64, strict=False)
    return numbers.null_count() == 0 and bool(numbers.is_between(low, high).all())


def _of_two(columns: dict[str, Column], vocabulary: Vocabulary) -> Iterator[tuple[list[Column], Column]]:
    """Dates without and times of day without a date, by what else their names say, then by where they stand."""
    dates = [c for c in columns.values() if (c.is_moment and c.share(CLOCK) == 0) or _is_midnight(c)]
    times = [(c, read) for c in columns.values() if (read := _reading(c, vocabulary))]
    places = {name: place for place, name in enumerate(columns)}
    for time, (form, written) in times:
        near = [d for d in dates if _rest(d, vocabulary) == _rest(time, vocabulary)] or [
            d for d in dates if len(dates) == len(times) == 1 or abs(places[d.name] - places[time.name]) == 1
        ]
        if len(near) == 1:
            date = near[0]
            day, date_form = _text(date), "{}"
            if _is_midnight(date):
                day, date_form = day.str.slice(0, 10), "LEFT(CAST({} AS VARCHAR), 10)"
            data = pl.select(pl.concat_str(day, pl.lit(" "), written(_text(time)).fill_null(""))).to_series()
            made = _made([date, time], data, f"{date_form} || ' ' || COALESCE({form}, '')", date.title or date.name)
            yield [date, time], made


def _is_midnight(column: Column) -> bool:
    return column.is_moment and column.share(MIDNIGHT) >= 1


def _rest(column: Column, vocabulary: Vocabulary) -> frozenset[str]:
    """What a name says beside that it is a date or a time."""
    return frozenset(vocabulary.concepts_of(column.title or column.name)) - {"date", "time"}


def _reading(column: Column, vocabulary: Vocabulary) -> tuple[str, Callable[[pl.Series], pl.Series]] | None:
    """SQL that writes a time of day as readers know it, and the same on values; None where it is none."""
    if isinstance(column.data.dtype, pl.Time):
        return "CAST({} AS VARCHAR)", lambda text: text
    if not len(column.distinct):
        return None
    if column.share(TIME) >= MOST and column.share(r"[:.]") >= MOST:
        if not column.share(r":"):
            named = "time" in vocabulary.concepts_of(column.title or column.name)
            return (
                ("REPLACE({}, '.', ':')", lambda text: text.str.replace_all(".", ":", literal=True)) if named else None
            )
        return "{}", lambda text: text
    if "time" not in vocabulary.concepts_of(column.title or column.name) or len(column.distinct) < LEAST:
        return None
    longest = int(column.distinct.str.len_chars().max() or 0)  # type: ignore[arg-type]
    if longest in DIGITS and column.share(DIGITS[longest]) >= MOST:
        cut = re.sub("N", str(longest), "LEFT(LPAD({}, N, '0'), 2) || ':' || SUBSTR(LPAD({}, N, '0'), 3, 2)")
        return _twice(cut), lambda text: text.str.zfill(longest).str.replace(r"^(\d\d)(\d\d).*$", "$1:$2")
    return None


def _twice(form: str) -> str:
    """A form of one part that names it in both places."""
    return form.replace("{}", "{1}")


def _text(column: Column) -> pl.Series:
    return column.data.cast(pl.String, strict=False).str.strip_chars()


def _made(parts: list[Column], data: pl.Series, form: str, title: str) -> Column:
    name = " + ".join(part.name for part in parts)
    if "{1}" in form:
        form = form.replace("{}", "{0}")
    return Column(name, data.alias(name), title=title, form=form, parts=tuple(parts))
