"""Directories of keys at the end of a run: of record tables that were built whole, and of folded bronze files.

Without this the first batch after would hash the keys of all of history, which is read here anyway or just was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from customer360.platform import graph, telemetry
from customer360.platform.graph import Node
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.run.executor import Executor, Failure
from customer360.platform.run.incremental.appended import grain_of, is_listed, joined_key
from customer360.platform.run.incremental.keys import cover
from customer360.platform.run.units import key_column
from customer360.platform.run.upkeep import Folded


@dataclass(frozen=True)
class CoverUnit:
    """Hash the keys of a bronze table's files that no directory knows yet."""

    lake: Lake
    table: str
    column: str

    def run(self) -> None:
        cover(self.lake, self.table, self.column, self.lake.files(self.table))


def cover_keys(lake: Lake, executor: Executor, record: Run, folded: Collection[Folded]) -> None:
    """Bring up to date the directories of what this run built whole, and of bronze tables that were folded. One that
    cannot be made is made when it is asked for."""
    others = {each.table for each in folded}
    wanted = {
        (table, column)
        for done in record.nodes
        if (node := graph.NODES.get(done.node)) is not None and node.records
        for table, column in directories(node)
        if _is_whole(done) or table in others
    }
    units = [CoverUnit(lake, table, column) for table, column in sorted(wanted) if lake.exists(table)]
    for place, result in executor.map(units):
        if isinstance(result, Failure):
            telemetry.log.debug(result.trace)
            telemetry.log.warning(f"the keys of {units[place].table} are hashed by the next batch: {result.reason}")


def directories(node: Node) -> Iterator[tuple[str, str]]:
    """Bronze tables and columns by which bringing a record table forward looks for earlier rows (`AppendUnit`)."""
    if not node.table.primary_key():  # it is built whole each time
        return
    joined = [t for t in node.judged if t != node.records and t not in node.concerns and key_column(t, node.per or "")]
    asked = [(node.records or "", grain_of(node)), *((table, joined_key(node, table)) for table in joined)]
    yield from ((table, column) for table, column in asked if column and is_listed(table, column))


def _is_whole(done: NodeRun) -> bool:
    return done.state == "built" and "rows_new" not in done.facts


__all__ = ["cover_keys"]
