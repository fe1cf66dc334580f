"""Why a table of silver or gold has no rows: the feed, the column, the model or the evidence that it lacks.

A table is empty where the first of its inputs is, which its rows are of; where that has rows, where others that it
needs have none; where all have rows, where what decides which rows it has is made of columns of bronze that are empty
in everything that landed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import polars as pl

from customer360.platform import graph, ledger, purposes, tables
from customer360.platform.lake import Lake
from customer360.platform.lineage.columns import ColumnLineage, lineage_of
from customer360.platform.run.closing import written_at_the_end
from customer360.platform.settings import Settings

LAYERS = ("silver", "gold")
Lack = Literal["FEED", "ANY_FEED", "COLUMN", "PERHAPS_COLUMN", "MODEL", "FAILED", "EVIDENCE"]
WORDS: dict[Lack, str] = {
    "FEED": "no rows of",
    "ANY_FEED": "its other inputs have rows; it needs some of",
    "COLUMN": "all inputs have rows; nothing fills",
    "PERHAPS_COLUMN": "all inputs have rows, of which none makes a row of it; perhaps for want of",
    "MODEL": "no model has made it: `customer360 train`, then `customer360 score`",
    "FAILED": "the last run did not make it:",
    "EVIDENCE": "all inputs have rows, of which none makes a row of it: too few, or nothing of its kind happened",
}


@dataclass(frozen=True)
class Missing:
    """A table without rows and what it lacks: bronze tables, ``TABLE.COLUMN`` of bronze, or a reason of the last
    run."""

    table: str
    lacks: Lack
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join([WORDS[self.lacks], ", ".join(self.names)]).strip()


def missing(lake: Lake, settings: Settings, rules: Mapping[str, Any]) -> list[Missing]:
    """What each table of silver and gold without rows lacks, in order of their names; empty where all have rows."""
    looked = _Look(lake, settings, rules)
    made = graph.producers_of()
    asked = [t for t in sorted(made) if t.partition(".")[0] in LAYERS and t not in written_at_the_end()]
    return [looked.why(table) for table in asked if not looked.has_rows(table)]


@dataclass
class _Look:
    lake: Lake
    settings: Settings
    rules: Mapping[str, Any]
    _rows: dict[str, bool] = field(default_factory=dict)
    _empty: dict[str, set[str]] = field(default_factory=dict)

    def has_rows(self, table: str) -> bool:
        if table not in self._rows:
            self._rows[table] = self.lake.exists(table) and any(file.rows for file in self.lake.files(table))
        return self._rows[table]

    @cached_property
    def lineage(self) -> ColumnLineage:
        return lineage_of(self.rules)

    @cached_property
    def faults(self) -> dict[str, str]:
        """By node, why the newest run that asked for it did not make it."""
        found: dict[str, str] = {}
        for record in reversed(ledger.runs(self.lake, 20)):
            for node in record.nodes:
                found.pop(node.node, None)
                if node.state == "failed":
                    found[node.node] = node.reason
        return found

    def why(self, table: str) -> Missing:
        makers = graph.producers_of().get(table, [])
        if reasons := [self.faults[name] for name in makers if name in self.faults]:
            return Missing(table, "FAILED", (reasons[0].splitlines()[0],))
        if not makers:
            return Missing(table, "FEED", (self._as_feed(table),))
        node = graph.NODES[makers[0]]
        inputs = [name for name in node.inputs if name != purposes.DENIALS]
        empty = [name for name in inputs if not self.has_rows(name)]
        if empty and empty[0] == inputs[0]:
            return Missing(table, *self._of(empty[0]))
        if empty:
            below = [self._of(name) for name in empty]
            feeds = tuple(dict.fromkeys(n for lacks, names in below for n in names if lacks in ("FEED", "ANY_FEED")))
            return Missing(table, "ANY_FEED", feeds) if feeds else Missing(table, *below[0])
        if table.startswith("gold.") and node.is_producer and node.function.__module__.split(".")[1] == "models":
            return Missing(table, "MODEL")
        if columns := self._empty_columns(table):
            return Missing(table, "COLUMN", columns)
        read = self._empty_reads(node)
        return Missing(table, "PERHAPS_COLUMN", read) if read else Missing(table, "EVIDENCE")

    def _of(self, table: str) -> tuple[Lack, tuple[str, ...]]:
        found = self.why(table)
        return found.lacks, found.names

    def _as_feed(self, table: str) -> str:
        """A bronze table, and whether a source is there to fill it."""
        fills = sorted(name for name, source in self.settings.sources.items() if source.table == table)
        return f"{table} ({', '.join(fills)} brought none)" if fills else f"{table} (no source)"

    def _empty_columns(self, table: str) -> tuple[str, ...]:
        """Columns of bronze behind what decides which rows the table has, where nothing else is behind it and all of
        them are empty. A build that looks at rows on its way does not tell what decides."""
        key = tables.by_name(table).primary_key()
        if any(self.lineage.is_at_most(table, column) for column in key):
            return ()
        deciding = {(use.table, use.column) for use in self.lineage.deciding(table)} | {(table, c) for c in key}
        return self._empty_behind(deciding)

    def _empty_reads(self, node: graph.Node) -> tuple[str, ...]:
        """The same of the columns that a build says it reads: one of them may be what its rows are made of."""
        return self._empty_behind((name, column) for name, read in (node.reads or {}).items() for column in read)

    def _empty_behind(self, columns: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        found = (self._bronze(*at) for at in sorted(columns))
        lacking = [below for below in found if below and all(column in self._nulls(name) for name, column in below)]
        return tuple(sorted({f"{name}.{column}" for below in lacking for name, column in below}))

    def _bronze(self, table: str, column: str) -> set[tuple[str, str]]:
        if table.startswith("bronze."):
            return {(table, column)}
        if column not in tables.schema(tables.by_name(table)):
            return set()
        return {at for at in self._made_of(self.lineage.upstream(table, column)) if at[0].startswith("bronze.")}

    @staticmethod
    def _made_of(found: Mapping[tuple[str, str], Iterable[Any]]) -> set[tuple[str, str]]:
        return set(found) | {(use.table, use.column) for uses in found.values() for use in uses}

    def _nulls(self, table: str) -> set[str]:
        """Columns of the contract that have no value in any row of a bronze table."""
        if table not in self._empty:
            columns = list(tables.by_name(table).columns())
            counts = self.lake.scan(table).select(pl.col(columns).count()).collect().row(0, named=True)
            self._empty[table] = {column for column, count in counts.items() if not count}
        return self._empty[table]
