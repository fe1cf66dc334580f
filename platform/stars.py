"""Star schemas, declared: a warehouse table is a contract and a pure function of lake frames, as a build is.

    @loads(FactTransactions, mirrors=("silver.transactions",))
    def fact_transactions(silver_transactions: LazyFrame) -> LazyFrame: ...

The star lives in the warehouse alone; nothing of it is stored in the lake a second time. A column that names a member
of a dimension says so in its metadata (``references``). Every dimension has one member for what is unknown or missing,
so that every key of a fact resolves. ``sort_by`` of the contract is the clustering key.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import GraphError
from customer360.platform.graph import input_name
from customer360.platform.lake import BUCKET
from customer360.platform.tables import SUBJECT_KEYS, Table

UNKNOWN = "(unknown)"  # key of the unknown member where keys are text; no source writes parentheses around its ids
UNKNOWN_NUMBER = -1

F = TypeVar("F", bound=Callable[..., pl.LazyFrame])


@dataclass(frozen=True)
class Load:
    """How one warehouse table is made of lake tables, and what it must equal."""

    table: type[Table]
    inputs: tuple[str, ...]
    function: Callable[..., pl.LazyFrame]
    mirrors: tuple[str, ...]  # lake tables whose rows, together, are the rows of this one
    where: str | None  # SQL condition: only these rows mirror

    @property
    def name(self) -> str:
        return tables.spec(self.table).name

    @property
    def sliced(self) -> tuple[str, ...]:
        """Inputs that can be read part by part: stored by subject, where the table is made subject by subject."""
        if tables.spec(self.table).per not in SUBJECT_KEYS:
            return ()
        return tuple(i for i in self.inputs if tables.spec(tables.by_name(i)).bucketed)

    @property
    def cut_by(self) -> tuple[str, ...]:
        """Partition columns that all sliced inputs share; their values name a part of this table."""
        stored = [{*tables.spec(tables.by_name(i)).partition_by, BUCKET} for i in self.sliced]
        return tuple(sorted(set.intersection(*stored))) if stored else ()


LOADS: dict[str, Load] = {}


def loads(table: type[Table], *, mirrors: tuple[str, ...] = (), where: str | None = None) -> Callable[[F], F]:
    """Declare a pure function from lake frames (its parameter names are their tables) to the rows of a warehouse table.

    After each load the rows (those that keep ``where``) are counted against the rows of the ``mirrors``, and every
    number that both name alike is summed on both sides.
    """

    def declare(function: F) -> F:
        inputs = tuple(map(input_name, inspect.signature(function).parameters))
        LOADS[tables.spec(table).name] = Load(table, inputs, function, mirrors, where)
        return function

    return declare


def references(dimension: str) -> dict[str, str]:
    """Column metadata: the value is the key of a member of ``dimension``."""
    return {"references": dimension}


def foreign_keys(table: type[Table]) -> dict[str, str]:
    """Column to the dimension that its values are keys of."""
    return {
        n: c.metadata["references"] for n, c in table.columns().items() if c.metadata and "references" in c.metadata
    }


def dimensions() -> set[str]:
    """Tables that others refer to."""
    return {dimension for each in LOADS.values() for dimension in foreign_keys(each.table).values()}


def ordered() -> list[Load]:
    """All loads, dimensions before what refers to them."""
    first = dimensions()
    return sorted(LOADS.values(), key=lambda each: (each.name not in first, each.name))


def key_of(table: type[Table]) -> tuple[str, ...]:
    """Columns of the primary key."""
    return tuple(table.primary_key())


def unknown_member(table: type[Table]) -> pl.DataFrame:
    """The one row of a dimension for what is unknown or missing: its key says so, the rest is null, false or 0."""
    row = {
        name: None if column.nullable else _nothing(column.dtype, is_key=column.primary_key)
        for name, column in table.columns().items()
    }
    return pl.DataFrame([row], schema=tables.schema(table))


def _nothing(dtype: pl.DataType, *, is_key: bool) -> Any:
    if dtype == pl.String:
        return UNKNOWN
    if dtype == pl.Boolean:
        return False
    return UNKNOWN_NUMBER if is_key else 0


def check() -> None:
    """Refuse a star that cannot hold.

    Raises:
        GraphError: an input or dimension is unknown, or a dimension's key has several columns.
    """
    for each in LOADS.values():
        for name in (*each.inputs, *each.mirrors):
            if name not in tables.TABLES:
                raise GraphError(
                    f"{each.name} is loaded from {name}, which no contract declares ({each.function.__module__})"
                )
        for column, dimension in foreign_keys(each.table).items():
            if dimension not in LOADS or len(key_of(LOADS[dimension].table)) != 1:
                raise GraphError(
                    f"{each.name}.{column} refers to {dimension}, which is no dimension with one key column"
                )
