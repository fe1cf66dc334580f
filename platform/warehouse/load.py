"""The load: brings the star in a DuckDB file up to date with the lake, in one transaction.

A table is loaded in parts: the partitions and buckets that its lake tables share, else as a whole. A part whose files,
contract and function are those of the last load is current and not read. The others are merged by key: equal rows stay,
and rows that their parts hold no longer go, so that erasures and re-resolved people reach the star. Nothing is
committed unless every key resolves and every count and sum equals the lake's. A process that dies leaves the star as
it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from customer360.platform import graph, judging, stars, tables
from customer360.platform.errors import WarehouseError
from customer360.platform.lake import File, Lake, reached
from customer360.platform.stars import Load
from customer360.platform.tables import Integer, String, Table, Timestamp
from customer360.platform.warehouse.ddl import PART, ddl
from customer360.platform.warehouse.reconcile import (
    UNKNOWN_PART,
    Check,
    Pinned,
    Reconciliations,
    equalities,
    references,
    write_checks,
)

WHOLE = "whole"

Parts = dict[str, dict[str, list[File]]]  # part to input to its files


class LoadedTables(Table, table="loads.tables"):
    """One row per table of the star: how it was created. Another contract makes it anew."""

    table_name = String(primary_key=True)
    statement = String()


class LoadedParts(Table, table="loads.parts"):
    """One row per loaded part of a table of the star: from what, how many rows, and when."""

    table_name = String(primary_key=True)
    part = String(
        primary_key=True, description="Partition values of its lake files; whole; unknown: the unknown member"
    )
    fingerprint = String(description="Of its lake files, the contract and the function")
    row_count = Integer()
    loaded_at = Timestamp()


BOOKS = (LoadedTables, LoadedParts, Reconciliations)


@dataclass(frozen=True)
class TableLoad:
    """What a load did to one table."""

    table: str
    rows: int  # in the star now
    changed: int  # inserted, updated and deleted
    parts: int  # of them
    loaded: int  # were not current

    @property
    def state(self) -> str:
        return "loaded" if self.loaded else "current"


@dataclass(frozen=True)
class LoadReport:
    """A load: its tables and the reconciliation."""

    tables: list[TableLoad]
    checks: list[Check]

    @property
    def is_current(self) -> bool:
        """Whether there was nothing to load."""
        return all(each.state == "current" for each in self.tables)


def load(lake: Lake, path: Path) -> LoadReport:
    """Make the star at ``path`` equal to the lake. The caller holds the lake's run lock.

    Raises:
        WarehouseError: another process has the file open; a key is there twice or does not resolve; or a count or sum
            differs from the lake's. Nothing of the load is kept then.
    """
    pinned = Pinned(lake)
    with _writer(path) as connection:
        _open_books(connection)
        done = [_Loader(connection, pinned, each).run() for each in stars.ordered()]
        dropped = _drop_undeclared(connection)
        checks = [*equalities(connection, pinned), *references(connection)]
        if broken := [c for c in checks if not c.holds]:
            differences = "\n".join(
                f"  {c.table} {c.measure}: {c.star} in the star, {c.lake} in the lake" for c in broken
            )
            raise WarehouseError(f"the star would not equal the lake; the load was taken back:\n{differences}")
        report = LoadReport(done, checks)
        if dropped or not report.is_current:
            write_checks(connection, checks)
            reached("before commit warehouse")
            connection.execute("COMMIT")
            reached("after commit warehouse")
    return report


def rewrite(path: Path) -> None:
    """Write the file anew from what it holds now: deleted rows leave no bytes behind."""
    fresh = path.with_suffix(".fresh")
    fresh.unlink(missing_ok=True)
    connection = duckdb.connect()
    try:
        connection.execute(f"ATTACH '{path}' AS held")
        connection.execute(f"ATTACH '{fresh}' AS fresh")
        connection.execute("COPY FROM DATABASE held TO fresh")
        connection.execute("CHECKPOINT fresh")
    except duckdb.IOException as fault:
        raise WarehouseError(f"{path} cannot be rewritten: {fault}") from None
    finally:
        connection.close()
    fresh.replace(path)


def state(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the load books say: tables (table_name, rows, parts, loaded_at) and reconciliations.

    Raises:
        WarehouseError: there is no warehouse, or a load has it open.
    """
    if not path.exists():
        raise WarehouseError(f"there is no warehouse at {path} yet; `customer360 warehouse load` makes it")
    connection = _connected(path, read_only=True)
    try:
        listed = connection.sql(
            "SELECT table_name, sum(row_count)::BIGINT AS rows, count(*) AS parts, max(loaded_at) AS loaded_at "
            "FROM loads.parts GROUP BY 1 ORDER BY 1"
        ).pl()
        return listed, connection.sql("FROM loads.reconciliations ORDER BY table_name, measure").pl()
    finally:
        connection.close()


def _connected(path: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(path), read_only=read_only)
    except duckdb.IOException as fault:
        raise WarehouseError(f"the warehouse {path} cannot be opened; close what has it open: {fault}") from None


@contextmanager
def _writer(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The one writing connection, in a transaction; what is not committed at the end is taken back."""
    connection = _connected(path)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def _open_books(connection: duckdb.DuckDBPyConnection) -> None:
    layers = {name.partition(".")[0] for name in stars.LOADS} | {tables.spec(book).layer for book in BOOKS}
    for layer in sorted(layers):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {layer}")
    for book in BOOKS:
        connection.execute(ddl(book, "duckdb"))


@dataclass
class _Loader:
    """One table's share of a load."""

    connection: duckdb.DuckDBPyConnection
    pinned: Pinned
    load: Load

    def run(self) -> TableLoad:
        self._create()
        logged = self._logged()
        parts = self._parts()
        fingerprints = {name: self._fingerprint(files) for name, files in parts.items()}
        stale = [name for name in parts if logged.get(name) != fingerprints[name]]
        gone = [name for name in logged if name not in parts]
        changed = 0
        if stale or gone:
            counts = self._stage(stale, parts)
            reached(f"before merge {self.load.name}")
            changed = self._merge([*stale, *gone])
            reached(f"after merge {self.load.name}")
            self._log({name: (fingerprints[name], counts[name]) for name in stale}, [*stale, *gone])
        return TableLoad(self.load.name, self._count(), changed, len(parts), len(stale) + len(gone))

    @cached_property
    def _code(self) -> str:
        return graph.code_fingerprint(self.load.function, [self.load.table])

    @property
    def _columns(self) -> list[str]:
        return [*self.load.table.columns(), PART]

    def _create(self) -> None:
        """The empty table; made anew where its contract has changed."""
        statement = ddl(self.load.table, "duckdb")
        stored = self.connection.execute(
            "SELECT statement FROM loads.tables WHERE table_name = ?", [self.load.name]
        ).fetchall()
        if stored != [(statement,)]:
            _forget(self.connection, self.load.name)
            self.connection.execute(statement)
            self.connection.execute("INSERT INTO loads.tables VALUES (?, ?)", [self.load.name, statement])

    def _logged(self) -> dict[str, str]:
        rows = self.connection.execute(
            "SELECT part, fingerprint FROM loads.parts WHERE table_name = ?", [self.load.name]
        )
        return dict(rows.fetchall())

    def _parts(self) -> Parts:
        """The parts of the table as the lake is now, with the files that each reads."""
        load, cut_by = self.load, self.load.cut_by
        broadcast = {i: self.pinned.files(i) for i in load.inputs if i not in load.sliced}
        parts: Parts = {}
        for name in load.sliced:
            for file in self.pinned.files(name):
                part = "/".join(f"{column}={file.partition[column]}" for column in cut_by)
                parts.setdefault(part, {each: [] for each in load.sliced} | broadcast)
                parts[part][name] = [*parts[part][name], file]
        if not load.sliced:
            parts[WHOLE] = broadcast
        if load.name in stars.dimensions():
            parts[UNKNOWN_PART] = {}
        return parts

    def _fingerprint(self, files: dict[str, list[File]]) -> str:
        facts = [self._code, {name: [f.path for f in some] for name, some in sorted(files.items())}]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _stage(self, names: list[str], parts: Parts) -> dict[str, int]:
        """Build the stale parts, judge them by the contract, and put them into the temporary table ``stage``."""
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE stage AS FROM {self.load.name} LIMIT 0")
        counts = {}
        for name in names:
            frame = judging.require(self.load.table, self._rows(name, parts[name]))
            counts[name] = frame.height
            self.connection.register("arrived", frame.with_columns(pl.lit(name).alias(PART)).to_arrow())
            self.connection.execute("INSERT INTO stage FROM arrived")
            self.connection.unregister("arrived")
        self._refuse_duplicates()
        return counts

    def _rows(self, part: str, files: dict[str, list[File]]) -> pl.DataFrame:
        if part == UNKNOWN_PART:
            return stars.unknown_member(self.load.table)
        frames = [self.pinned.frame(name, files[name]) for name in self.load.inputs]
        return tables.conform(self.load.table, self.load.function(*frames)).collect()

    def _refuse_duplicates(self) -> None:
        key = ", ".join(stars.key_of(self.load.table))
        twice = self.connection.execute(f"SELECT {key} FROM stage GROUP BY ALL HAVING count(*) > 1 LIMIT 3").fetchall()
        if twice:
            raise WarehouseError(f"{self.load.name}: the key ({key}) is there twice, e.g. {twice}")

    def _merge(self, touched: list[str]) -> int:
        """Merge ``stage`` by key: equal rows stay; rows of the touched parts that are not staged go."""
        key = stars.key_of(self.load.table)
        others = [c for c in self._columns if c not in key]
        order = ", ".join(tables.spec(self.load.table).sort_by or key)
        if not self._count():
            return self._affected(f"INSERT INTO {self.load.name} FROM stage ORDER BY {order}")
        return self._affected(
            f"""MERGE INTO {self.load.name} AS t
                USING (FROM stage ORDER BY {order}) AS s ON {" AND ".join(f't."{c}" = s."{c}"' for c in key)}
                WHEN MATCHED AND ({" OR ".join(f't."{c}" IS DISTINCT FROM s."{c}"' for c in others)})
                    THEN UPDATE SET {", ".join(f'"{c}" = s."{c}"' for c in others)}
                WHEN NOT MATCHED THEN INSERT VALUES ({", ".join(f's."{c}"' for c in self._columns)})
                WHEN NOT MATCHED BY SOURCE AND list_contains(?, t.{PART}) THEN DELETE""",
            [touched],
        )

    def _affected(self, statement: str, parameters: list[Any] | None = None) -> int:
        return int(self.connection.execute(statement, parameters or []).fetchall()[0][0])

    def _log(self, loaded: dict[str, tuple[str, int]], touched: list[str]) -> None:
        self.connection.execute(
            "DELETE FROM loads.parts WHERE table_name = ? AND list_contains(?, part)", [self.load.name, touched]
        )
        now = datetime.now(UTC)
        for part, (fingerprint, rows) in loaded.items():
            self.connection.execute(
                "INSERT INTO loads.parts VALUES (?, ?, ?, ?, ?)", [self.load.name, part, fingerprint, rows, now]
            )

    def _count(self) -> int:
        return int(self.connection.execute(f"SELECT count(*) FROM {self.load.name}").fetchall()[0][0])


def _drop_undeclared(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Drop tables that no contract declares any more."""
    stored = [name for (name,) in connection.execute("SELECT table_name FROM loads.tables").fetchall()]
    for name in (gone := [n for n in stored if n not in stars.LOADS]):
        _forget(connection, name)
    return gone


def _forget(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    connection.execute(f"DROP TABLE IF EXISTS {name}")
    for book in ("tables", "parts"):
        connection.execute(f"DELETE FROM loads.{book} WHERE table_name = ?", [name])
