"""Lineage of columns: what each column of every table is made of, asked of the builds themselves.

A build is a pure function of frames, so it is given empty ones, and its plan says which columns of which tables become
which. A producer does I/O, so that no plan says it: its outputs are made of its inputs, of which columns is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from customer360.platform import graph, stars, tables
from customer360.platform.errors import GraphError
from customer360.platform.graph import Node
from customer360.platform.lineage.plans import ANY, CHOOSING, NONE, Flow, Inputs, Use, Uses, flow_of, through

ANY_DAY = date(2000, 1, 1)  # a plan has the same columns on every day
PRODUCED = "produced"  # beside the words of `plans`: by a producer, which is no plan


@dataclass(frozen=True)
class Made:
    """How a node, or a load of the warehouse, makes its tables: the flow into each, by name. ``is_derived`` is false
    where it is known of tables alone."""

    name: str
    flows: dict[str, Flow]
    inputs: tuple[str, ...]
    is_derived: bool = True


@dataclass(frozen=True)
class ColumnLineage:
    """The lineage of all columns. ``made`` is by node; several nodes may fill one table (the models their scores)."""

    made: Mapping[str, Made]
    by_table: dict[str, list[Made]] = field(init=False)

    def __post_init__(self) -> None:
        found: dict[str, list[Made]] = {}
        for each in self.made.values():
            for table in each.flows:
                found.setdefault(table, []).append(each)
        object.__setattr__(self, "by_table", found)

    def makers(self, table: str) -> list[Made]:
        """Nodes and loads that fill a table; none of bronze, which sources fill."""
        return self.by_table.get(table, [])

    def behind(self, table: str, column: str) -> Uses:
        """The uses that the values of a column are made of, one step back.

        Raises:
            GraphError: the table has no such column.
        """
        check_column(table, column)
        flows = (made.flows[table] for made in self.makers(table))
        return NONE.union(*(flow.columns.get(column, NONE) for flow in flows))

    def deciding(self, table: str) -> Uses:
        """The uses that decide which rows a table has, one step back."""
        return NONE.union(*(made.flows[table].rows for made in self.makers(table)))

    def is_at_most(self, table: str, column: str) -> bool:
        """Whether some of the uses behind a column could not be told from others."""
        return any(column in made.flows[table].at_most for made in self.makers(table))

    def upstream(self, table: str, column: str) -> dict[tuple[str, str], Uses]:
        """The uses that a column's values are made of and chosen by, those behind these, and so on: by column, nearest
        first."""
        found: dict[tuple[str, str], Uses] = {}
        todo = [(table, column)]
        while todo:
            at = todo.pop(0)
            if at in found or at[1] == ANY:
                continue
            found[at] = frozenset(u for u in self.behind(*at) if u.is_direct or u.how in (*CHOOSING, PRODUCED))
            todo += sorted((u.table, u.column) for u in found[at])
        return found

    def downstream(self, table: str, column: str) -> dict[tuple[str, str], set[str]]:
        """Columns that are made of a column, directly or not: by column, the words for how. Rows that it decides are
        told as the column ``*`` of their table."""
        check_column(table, column)
        reached: dict[tuple[str, str], set[str]] = {}
        todo = [(table, column)]
        while todo:
            at = todo.pop(0)
            for target, how in self._users(*at):
                if target not in reached and how != "rows":
                    todo.append(target)
                reached.setdefault(target, set()).add(how)
        return reached

    def _users(self, table: str, column: str) -> Iterable[tuple[tuple[str, str], str]]:
        for made in self.made.values():
            if table not in made.inputs:
                continue
            for name, flow in made.flows.items():
                for target, uses in flow.columns.items():
                    for use in uses:
                        if use.table == table and use.column in (column, ANY):
                            yield (name, target), use.how
                if any(use.table == table and use.column == column for use in flow.rows):
                    yield (name, ANY), "rows"


def lineage_of(rules: Mapping[str, Any]) -> ColumnLineage:
    """The lineage of all nodes and loads that are declared, with the rule files as typed values by kind."""
    made = {node.name: of_node(node, rules) for node in graph.NODES.values()}
    return ColumnLineage(made | {load.name: of_load(load) for load in stars.LOADS.values()})


def of_node(node: Node, rules: Mapping[str, Any]) -> Made:
    """How a build, or a producer, makes its tables."""
    if node.is_producer:
        return _of_tables(node.name, [tables.spec(output).name for output in node.outputs], node.inputs)
    reserved: dict[str, Any] = {"as_of": ANY_DAY} if "as_of" in node.wants else {}
    if "params" in node.wants:
        reserved["params"] = rules.get(node.rules or "")
    return _derived(node.name, node.inputs, lambda *frames: node.function(*frames, **reserved))


def of_load(load: stars.Load) -> Made:
    """How a table of the warehouse is made of lake tables."""
    return _derived(load.name, load.inputs, load.function)


def _derived(name: str, inputs: tuple[str, ...], function: Callable[..., pl.LazyFrame]) -> Made:
    given = Inputs({each: tables.schema(tables.by_name(each)) for each in inputs})
    frame = function(*given.frames)
    return Made(name, {name: _anything(name, inputs) if given.read else flow_of(frame, given)}, inputs)


def _anything(name: str, inputs: tuple[str, ...]) -> Flow:
    """The flow of a build that looks at rows before its plan is complete, so that the plan of no rows is another one:
    any column may be made of any of its inputs."""
    columns = tables.by_name(name).columns()
    behind = frozenset(Use(t, c, "transformation") for t in inputs for c in tables.schema(tables.by_name(t)))
    return Flow(dict.fromkeys(columns, behind), through(behind, "filter"), frozenset(columns))


def _of_tables(name: str, outputs: list[str], inputs: tuple[str, ...]) -> Made:
    behind = frozenset(Use(table, ANY, PRODUCED) for table in inputs)
    flows = {output: Flow(dict.fromkeys(tables.by_name(output).columns(), behind)) for output in outputs}
    return Made(name, flows, inputs, is_derived=False)


def check_column(table: str, column: str) -> None:
    """Raise GraphError where a table has no such column; names the nearest ones."""
    import difflib

    known = tables.schema(tables.by_name(table))
    if column not in known:
        near = difflib.get_close_matches(column, known, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else f"; it has {', '.join(known)}"
        raise GraphError(f"{table} has no column {column!r}{hint}")
