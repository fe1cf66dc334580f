"""A second file beside the files of a source: its columns by key, as ``NAME.COLUMN``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import polars as pl
from pydantic import Field, model_validator

from customer360.platform.errors import SourceError
from customer360.platform.sources import formats, values
from customer360.platform.sources.expressions import sql
from customer360.platform.sources.expressions.scope import Scope
from customer360.platform.sources.expressions.sql import Fault
from customer360.platform.sources.formats.reader import Reader
from customer360.platform.sources.formats.records import POSITION, together
from customer360.platform.sources.landing import Landing

SHOWN = 3


class Join(Reader):
    """A file that a source is joined with. ``on``: expression over the source's columns, and the column of the file
    that it equals. Of several rows of a key, ``first`` takes the first in the file; without it they are a fault.
    """

    path: str  # of one file below the landing root
    on: dict[str, str] = Field(min_length=1)
    first: bool = False
    sha256: str = ""  # of the content, once the source is configured: rows are known by what they were made of

    @model_validator(mode="before")
    @classmethod
    def _on(cls, given: Any) -> Any:
        """YAML reads the key `on` as true."""
        return {"on" if key is True else key: held for key, held in given.items()} if isinstance(given, dict) else given


@dataclass(frozen=True)
class Joined:
    """A file with its rows. ``frame``: text columns of the file under their names."""

    name: str
    on: dict[str, str]
    first: bool
    path: str
    frame: pl.DataFrame = field(compare=False)

    @property
    def columns(self) -> list[str]:
        """The names that its columns have beside those of the source."""
        return [f"{self.name}.{c}" for c in self.frame.columns]


def pinned(landing: Landing, joins: Mapping[str, Join]) -> dict[str, Join]:
    """The joins with the digest of what their files hold now; empty where there is none."""
    return {
        name: join.model_copy(update={"sha256": landing.digest_of(join.path) if landing.state_of(join.path) else ""})
        for name, join in joins.items()
    }


def loaded(landing: Landing, joins: Mapping[str, Join]) -> tuple[Joined, ...]:
    """The files of joins with their rows.

    Raises:
        SourceError: a file is not there, or cannot be read.
    """
    return tuple(
        Joined(name, join.on, join.first, join.path, _records(landing, name, join.model_dump_json()))
        for name, join in joins.items()
    )


@lru_cache(4)
def _records(landing: Landing, name: str, settings: str) -> pl.DataFrame:
    join = Join.model_validate_json(settings)
    if landing.state_of(join.path) is None:
        raise SourceError(f"join {name}: there is no file {join.path} below {landing.root}")
    read = together(formats.pieces(landing.stream(join.path), join.options, join.path))
    if read.dead.height:
        first = read.dead.row(0, named=True)
        raise SourceError(
            f"join {name}: {read.dead.height:,} records of {join.path} cannot be read, the first is record "
            f"{first[POSITION]}: {first['reason']}"
        )
    return read.frame.drop(POSITION)


def faults(landing: Landing, joins: Mapping[str, Join]) -> list[str]:
    """Why files of joins cannot be used; empty where they can."""
    try:
        found = loaded(landing, joins)
    except (SourceError, OSError) as fault:
        return [str(fault)]
    return [
        f"join {join.name}: {join.path} has no column {right!r}, it has {join.frame.columns}"
        for join in found
        for right in join.on.values()
        if right not in join.frame.columns
    ]


def with_columns(
    rows: pl.DataFrame, joins: Sequence[Joined], columns: list[str]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows with the columns of joined files, null where no row of the file has the key; and how many such rows there
    are, by join. ``columns`` are those of the source.

    Raises:
        SourceError: rows of the file share a key that a row asks for, and the join does not say ``first``.
    """
    unmatched = {}
    for join in joins:
        keys = _keys(rows, list(join.on), columns)
        names = keys.columns
        right = pl.DataFrame(
            [
                values.identifiers(join.frame[c].cast(pl.String)).alias(n)
                for n, c in zip(names, join.on.values(), strict=True)
            ]
        ).with_row_index("row")
        right = right.drop_nulls()
        if not join.first:
            _check_single(join, keys, right)
        right = right.unique(names, keep="first", maintain_order=True)
        there = keys.join(right, on=names, how="left", maintain_order="left")["row"]
        brought = join.frame.rename(dict(zip(join.frame.columns, join.columns, strict=True)))
        rows = pl.concat([rows, brought[there]], how="horizontal")
        unmatched[join.name] = there.null_count()
    return rows, unmatched


def _keys(rows: pl.DataFrame, expressions: list[str], columns: list[str]) -> pl.DataFrame:
    scope = Scope(rows.select(POSITION, *columns))  # a key may be a constant
    trees = {f"k{i}": scope.over(sql.parsed(text), "", "") for i, text in enumerate(expressions)}
    found = scope.results(trees)
    return pl.DataFrame([values.identifiers(r.values.cast(pl.String, strict=False)).alias(n) for n, r in found.items()])


def _check_single(join: Joined, keys: pl.DataFrame, right: pl.DataFrame) -> None:
    names = keys.columns
    shared = right.group_by(names, maintain_order=True).len().filter(pl.col("len") > 1)
    asked = shared.join(keys, on=names, how="semi", maintain_order="left")
    if asked.height:
        shown = ", ".join(" ".join(map(repr, row)) for row in asked.select(names).head(SHOWN).rows())
        raise SourceError(
            f"join {join.name}: {asked.height:,} keys stand several times in {join.path}, such as {shown}; say "
            f"`first: true` to take the first row of each, or join on more columns"
        )


def on_faults(joins: Sequence[Joined], columns: list[str]) -> list[str]:
    """Expressions of keys that files with these columns cannot give."""
    found = []
    empty = pl.DataFrame(schema={POSITION: pl.Int64, **dict.fromkeys(columns, pl.String)})
    for join in joins:
        for text in join.on:
            try:
                _keys(empty, [text], columns)
            except Fault as fault:
                found.append(f"join {join.name}: {fault}")
    return found
