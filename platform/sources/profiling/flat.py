"""Objects and lists inside of records as columns: values by path, and the elements of a list as rows of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from customer360.platform.sources.profiling.columns import Column

DEEPEST = 3  # objects inside of objects
ROWS = 2_000  # records that are looked into
WIDEST = 60  # paths of one column


@dataclass(frozen=True, eq=False)
class Flat:
    """Columns of records with the values of their objects by path; ``lists`` are the columns that hold lists of
    objects.
    """

    columns: dict[str, Column]
    lists: tuple[str, ...]

    @property
    def frame(self) -> pl.DataFrame:
        return pl.DataFrame({name: column.data for name, column in self.columns.items()})


def flat(records: pl.DataFrame) -> Flat:
    """Records with objects taken apart; of records without any, the columns as they are."""
    plain = {name: Column(name, records[name]) for name in records.columns}
    nested = [name for name, column in plain.items() if column.is_nested]
    if not nested:
        return Flat(plain, ())
    head = records.head(ROWS)
    columns = {name: Column(name, head[name]) for name in records.columns}
    lists = []
    for name in nested:
        values = [_loaded(value) for value in head[name].to_list()]
        if any(isinstance(value, list) and value and isinstance(value[0], dict) for value in values):
            lists.append(name)
        columns |= _by_path((name,), values)
    return Flat(columns, tuple(lists))


def elements(records: pl.DataFrame, name: str, about: str) -> Flat:
    """The elements of a list as rows: their values by path, beside the plain values of the record that they are of.
    ``about`` says what a record is.
    """
    head = records.head(ROWS)
    lists = [value if isinstance(value, list) else [] for value in map(_loaded, head[name].to_list())]
    places = [place for place, held in enumerate(lists) for each in held if isinstance(each, dict)]
    held = [each for value in lists for each in value if isinstance(each, dict)]
    of_record = flat(head).columns
    columns = {
        key: Column(key, column.data.gather(places), column.path, f"{about} {column.title or key}")
        for key, column in of_record.items()
        if not column.is_nested
    }
    for path, column in _by_path((name,), held).items():
        columns[path] = Column(path, column.data, column.path, " ".join(column.path[1:]))
    return Flat(columns, ())


def _by_path(path: tuple[str, ...], values: list[Any]) -> dict[str, Column]:
    """Columns of the values inside of objects."""
    keys: dict[str, None] = {}
    for value in values:
        if isinstance(value, dict):
            keys |= dict.fromkeys(map(str, value))
    found: dict[str, Column] = {}
    for key in list(keys)[:WIDEST]:
        below, inner = (*path, key), [value.get(key) if isinstance(value, dict) else None for value in values]
        if any(isinstance(value, dict) for value in inner) and len(path) < DEEPEST:
            found |= _by_path(below, inner)
        else:
            name = ".".join(below)
            found[name] = Column(name, _series(name, inner), below, " ".join(below))
    return found


def _series(name: str, values: list[Any]) -> pl.Series:
    texts = [json.dumps(v) if isinstance(v, list | dict) else None if v is None else str(v) for v in values]
    return pl.Series(name, texts, dtype=pl.String)


def _loaded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
