"""Does the star equal the lake? Counts, sums and keys of every table, computed on either side by its own engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl

from customer360.platform import stars, tables
from customer360.platform.lake import File, Lake
from customer360.platform.stars import Load
from customer360.platform.tables import Boolean, String, Table
from customer360.platform.warehouse.ddl import PART

UNKNOWN_PART = "unknown"  # of the member that stands for what is not known; the lake has no such row
FLOAT_TOLERANCE = 1e-9  # relative; sums add up in another order
NUMBERS = (pl.Int64, pl.Float64, pl.Decimal)


class Reconciliations(Table, table="loads.reconciliations"):
    """One row per table and measure of the last load that changed anything: the star's number and the lake's."""

    table_name = String(primary_key=True)
    measure = String(primary_key=True, description="rows, a column's sum, or a reference: keys that do not resolve")
    star_value = String()
    lake_value = String()
    is_equal = Boolean()


@dataclass(frozen=True)
class Check:
    """One number on both sides."""

    table: str
    measure: str
    star: Any
    lake: Any

    @property
    def holds(self) -> bool:
        if isinstance(self.star, float) or isinstance(self.lake, float):
            return math.isclose(float(self.star), float(self.lake), rel_tol=FLOAT_TOLERANCE, abs_tol=FLOAT_TOLERANCE)
        return bool(self.star == self.lake)


@dataclass(frozen=True)
class Pinned:
    """The lake as it was when the load began: file lists are read once."""

    lake: Lake
    held: dict[str, list[File]] = field(default_factory=dict)

    def files(self, name: str) -> list[File]:
        if name not in self.held:
            self.held[name] = self.lake.files(name)
        return self.held[name]

    def frame(self, name: str, files: list[File] | None = None) -> pl.LazyFrame:
        """The table, or only these files of it; empty where it was never built."""
        wanted = self.files(name) if files is None else files
        return self.lake.scan(name, wanted) if wanted else pl.LazyFrame(schema=tables.schema(tables.by_name(name)))


def measures(load: Load) -> list[str]:
    """Numbers that a table and its mirrors name alike; keys are no measures."""
    shared = {c for name in load.mirrors for c in tables.by_name(name).columns()}
    keys = {*stars.key_of(load.table), *stars.foreign_keys(load.table)}
    return [
        n for n, c in load.table.columns().items() if c.dtype.base_type() in NUMBERS and n in shared and n not in keys
    ]


def equalities(connection: duckdb.DuckDBPyConnection, pinned: Pinned) -> Iterator[Check]:
    """Count and sums of every table that mirrors lake tables, computed on either side by its own engine."""
    for load in stars.ordered():
        if load.mirrors:
            summed = measures(load)
            here, there = _star_sums(connection, load, summed), _lake_sums(pinned, load, summed)
            for measure in ("rows", *summed):
                yield Check(load.name, measure, here[measure], there[measure])


def _star_sums(connection: duckdb.DuckDBPyConnection, load: Load, summed: list[str]) -> dict[str, Any]:
    wanted = ["count(*)", *(f'coalesce(sum("{m}"), 0)' for m in summed)]
    condition = f"{PART} <> '{UNKNOWN_PART}'" + (f" AND ({load.where})" if load.where else "")
    row = connection.execute(f"SELECT {', '.join(wanted)} FROM {load.name} WHERE {condition}").fetchall()[0]
    return dict(zip(("rows", *summed), row, strict=True))


def _lake_sums(pinned: Pinned, load: Load, summed: list[str]) -> dict[str, Any]:
    total: dict[str, Any] = dict.fromkeys(("rows", *summed), 0)
    for name in load.mirrors:
        present = [m for m in summed if m in tables.by_name(name).columns()]
        row = (
            pinned.frame(name)
            .select(pl.len().alias("rows"), *(pl.col(m).sum() for m in present))
            .collect()
            .row(0, named=True)
        )
        for measure, value in row.items():
            total[measure] = _added(total[measure], value or 0)
    return total


def _added(one: Any, other: Any) -> Any:
    mixed = {type(one), type(other)} == {Decimal, float}
    return float(one) + float(other) if mixed else one + other


def references(connection: duckdb.DuckDBPyConnection) -> Iterator[Check]:
    """Keys that no member of their dimension has; there must be none."""
    for load in stars.ordered():
        for column, dimension in stars.foreign_keys(load.table).items():
            (key,) = stars.key_of(tables.by_name(dimension))
            orphans = connection.execute(
                f'SELECT count(*) FROM {load.name} AS t ANTI JOIN {dimension} AS d ON t."{column}" = d."{key}"'
            )
            yield Check(load.name, f"{column} without a row in {dimension}", orphans.fetchall()[0][0], 0)


def write_checks(connection: duckdb.DuckDBPyConnection, checks: list[Check]) -> None:
    connection.execute("DELETE FROM loads.reconciliations")
    rows = [[c.table, c.measure, str(c.star), str(c.lake), c.holds] for c in checks]
    connection.executemany("INSERT INTO loads.reconciliations VALUES (?, ?, ?, ?, ?)", rows)
