"""The flow of columns through a plan of Polars: for each column of the result, the columns of tables it is made of.

The plan is walked as it stands, before anything is read, by the interface that Polars gives engines of its own
(`NodeTraverser`). What that interface does not show (a function of Python, say) counts as made of every column that it
could see: never too few. How a column is used is said in the words of OpenLineage.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl
from polars.io.plugins import register_io_source

DIRECT = ("identity", "transformation", "aggregation")  # weakest first: an aggregate of a copy is an aggregate
INDIRECT = ("conditional", "window", "join", "group_by", "filter", "sort")
CHOOSING = ("conditional", "window")  # the indirect ones that choose a value, as the others choose rows
ANY = "*"  # columns of a table, of which it cannot be told which


class Use(NamedTuple):
    """A column of a table, and how it is used: a word of `DIRECT` or `INDIRECT`."""

    table: str
    column: str
    how: str

    @property
    def is_direct(self) -> bool:
        return self.how in DIRECT


Uses = frozenset[Use]
NONE: Uses = frozenset()


@dataclass(frozen=True)
class Flow:
    """What a frame is made of: ``columns``, the uses behind the values of each; ``rows``, those that decide which rows
    there are, and in what order. ``at_most``: columns of which some uses could not be told from others.
    """

    columns: dict[str, Uses]
    rows: Uses = NONE
    at_most: frozenset[str] = frozenset()


class Inputs:
    """Empty lazy frames that stand for tables, told apart in a plan; ``read`` holds what was read of each before the
    plan was complete, by builds that look at rows on their way: their plan of no rows may be another one.
    """

    def __init__(self, schemas: Mapping[str, Mapping[str, pl.DataType]]) -> None:
        self.read: dict[str, set[str]] = {}
        self._tables: dict[int, str] = {}
        self._kept: list[Callable[..., Any]] = []  # an id is one only as long as its object lives
        self.frames = [self._frame(name, dict(schema)) for name, schema in schemas.items()]

    def _frame(self, name: str, schema: dict[str, pl.DataType]) -> pl.LazyFrame:
        def read(columns: list[str] | None, predicate: Any, rows: int | None, size: int | None) -> Iterator[Any]:
            wanted = list(schema) if columns is None else columns
            self.read.setdefault(name, set()).update(wanted)
            yield pl.DataFrame(schema={c: schema[c] for c in wanted})

        self._kept.append(read)
        self._tables[id(read)] = name
        return register_io_source(read, schema=schema)

    def table_of(self, scan: Any) -> str | None:
        """The table that a scan of a plan stands for; None of another."""
        held = inspect.getclosurevars(scan).nonlocals.values() if inspect.isfunction(scan) else ()
        return next((self._tables[id(each)] for each in (scan, *held) if id(each) in self._tables), None)


def flow_of(frame: pl.LazyFrame, inputs: Inputs) -> Flow:
    """What a frame that was made of ``inputs`` is made of."""
    traverser = frame._ldf.visit()
    return _Walk(traverser, inputs).at(traverser.get_node())


def through(uses: Iterable[Use], how: str) -> Uses:
    """Uses of what is itself used: direct ones take the stronger word, or the indirect one; indirect ones stay."""
    if how not in DIRECT:
        return frozenset(Use(u.table, u.column, how) if u.is_direct else u for u in uses)
    strong = DIRECT.index(how)
    return frozenset(
        Use(u.table, u.column, DIRECT[max(strong, DIRECT.index(u.how))]) if u.is_direct else u for u in uses
    )


# Of each kind of expression: attributes that hold the values, with the word for it, and those that only decide.
_EXPRESSIONS: dict[str, tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]] = {
    "Literal": ((), ()),
    "Len": ((), ()),
    "Alias": ((("expr", "identity"),), ()),
    "Cast": ((("expr", "transformation"),), ()),
    "BinaryExpr": ((("left", "transformation"), ("right", "transformation")), ()),
    "Function": ((("input", "transformation"),), ()),
    "Agg": ((("arguments", "aggregation"),), ()),
    "Ternary": ((("truthy", "transformation"), ("falsy", "transformation")), (("predicate", "conditional"),)),
    "Filter": ((("input", "identity"),), (("by", "filter"),)),
    "Sort": ((("expr", "identity"),), ()),
    "SortBy": ((("expr", "identity"),), (("by", "sort"),)),
    "Gather": ((("expr", "identity"),), (("idx", "filter"),)),
    "Slice": ((("input", "identity"),), (("offset", "filter"), ("length", "filter"))),
    "Window": ((("function", "transformation"),), (("partition_by", "window"), ("order_by", "window"))),
    "Rolling": ((("function", "aggregation"),), (("index_column", "window"),)),
}


@dataclass
class _Walk:
    """One plan, walked from its end to its scans; each node once."""

    traverser: Any
    inputs: Inputs
    known: dict[int, Flow] = field(default_factory=dict)

    def at(self, node: int) -> Flow:
        if node not in self.known:
            self.traverser.set_node(node)
            schema = dict(self.traverser.get_schema())
            below, said = self.traverser.get_inputs(), list(self.traverser.get_exprs() or ())
            made = [self.at(each) for each in below]
            self.traverser.set_node(node)
            try:
                view = self.traverser.view_current_node()
            except NotImplementedError:  # a function of Python over frames, say
                self.known[node] = self._hidden(schema, made)
            else:
                make = _NODES.get(type(view).__name__, _Walk._same)
                self.known[node] = make(self, view, schema, made, said)
        return self.known[node]

    def _hidden(self, schema: dict[str, Any], made: list[Flow]) -> Flow:
        """A node that is not shown: anything may be made of anything, and decided by it."""
        everything = self._all(made)
        rows = NONE.union(*(flow.rows for flow in made)) | through(everything, "filter")
        return Flow(dict.fromkeys(schema, everything), rows, frozenset(schema))

    # ---- nodes ------------------------------------------------------------------------------------------------

    def _pythonscan(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        table = self.inputs.table_of(view.options[0])
        if table is None:
            return self._dataframescan(view, schema, made, said)
        flow = Flow({c: frozenset({Use(table, c, "identity")}) for c in schema})
        return Flow(flow.columns, self._indirect(said, flow, "filter"))

    def _dataframescan(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        """Rows that the build holds itself."""
        return Flow(dict.fromkeys(schema, NONE))

    def _same(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        """A node that changes no value: a projection, a cache, a slice, frames under or beside each other."""
        columns: dict[str, Uses] = {}
        for name in schema:
            holding = [flow.columns[name] for flow in made if name in flow.columns]
            columns[name] = NONE.union(*holding) if holding else self._all(made)
        rows = NONE.union(*(flow.rows for flow in made))
        at_most = {c for flow in made for c in flow.at_most} & set(columns)
        unknown = {c for c in columns if not any(c in flow.columns for flow in made)}
        return Flow(columns, rows, frozenset(at_most | unknown))

    def _select(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        return self._computed({}, said, made[0], schema)

    def _hstack(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        return self._computed(made[0].columns, said, made[0], schema)

    def _groupby(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        flow = self._computed({}, said, made[0], schema)
        keys = self._indirect(view.keys, made[0], "group_by")
        return Flow(flow.columns, flow.rows | keys, flow.at_most)

    def _filter(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        return self._deciding(made[0], self._indirect(said, made[0], "filter"))

    def _sort(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        return self._deciding(made[0], self._indirect(said, made[0], "sort"))

    def _distinct(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        subset = view.options[1] or list(made[0].columns)
        keys = NONE.union(*(through(made[0].columns.get(c, NONE), "group_by") for c in subset))
        return self._deciding(made[0], keys)

    def _join(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        left, right = made
        how, suffix, coalesce = view.options[0], view.options[3], view.options[4]
        keys = self._indirect(view.left_on, left, "join") | self._indirect(view.right_on, right, "join")
        if isinstance(how, tuple) and how[0] == "AsOf":
            for flow, by in ((left, how[4]), (right, how[5])):
                keys |= NONE.union(*(through(flow.columns.get(c, NONE), "join") for c in by or ()))
        of_right = {e.output_name for e in view.right_on} if how == "Right" else set()
        both = {e.output_name for e in view.left_on} if how == "Full" and coalesce else set()
        columns: dict[str, Uses] = {}
        for name in schema:
            if name in left.columns and name not in of_right:
                columns[name] = left.columns[name] | (right.columns.get(name, NONE) if name in both else NONE)
            else:
                columns[name] = right.columns.get(name, right.columns.get(name.removesuffix(suffix or ""), NONE))
        at_most = (left.at_most | right.at_most) & set(columns)
        if view.predicate is not None:  # a filter over the joined rows that became part of the join
            keys |= self._indirect([view.predicate], Flow(columns), "filter")
        return Flow(columns, left.rows | right.rows | keys, at_most)

    def _mapfunction(self, view: Any, schema: dict[str, Any], made: list[Flow], said: list[Any]) -> Flow:
        below, (kind, *told) = made[0], view.function
        columns = {name: below.columns[name] for name in schema if name in below.columns}
        if kind == "row_index":
            columns[told[0]] = NONE
        elif kind == "rename":
            columns |= {new: below.columns[old] for old, new in zip(told[0], told[1], strict=True)}
        elif kind == "unpivot":
            _, on, variable, value = told[:4]
            columns |= {variable: NONE, value: NONE.union(*(below.columns[c] for c in on))}
        unknown = frozenset(name for name in schema if name not in columns)
        columns |= dict.fromkeys(unknown, self._all(made))
        return Flow({name: columns[name] for name in schema}, below.rows, (below.at_most & set(columns)) | unknown)

    @staticmethod
    def _deciding(below: Flow, rows: Uses) -> Flow:
        return Flow(below.columns, below.rows | rows, below.at_most)

    @staticmethod
    def _all(made: Iterable[Flow]) -> Uses:
        return through((u for flow in made for uses in flow.columns.values() for u in uses), "transformation")

    # ---- expressions ------------------------------------------------------------------------------------------

    def _computed(self, before: dict[str, Uses], said: list[Any], below: Flow, schema: dict[str, Any]) -> Flow:
        found, at_most = dict(before), set(below.at_most & set(before))
        for each in said:
            uses, is_whole = self._expression(each.node, below)
            found[each.output_name] = uses
            at_most.discard(each.output_name)
            if not is_whole:
                at_most.add(each.output_name)
        columns = {name: found.get(name, NONE) for name in schema}
        return Flow(columns, below.rows, frozenset(at_most))

    def _indirect(self, said: Iterable[Any], below: Flow, how: str) -> Uses:
        return NONE.union(*(through(self._expression(each.node, below)[0], how) for each in said))

    def _expression(self, node: int, below: Flow) -> tuple[Uses, bool]:
        """The uses behind an expression, and whether all of it could be seen."""
        try:
            view = self.traverser.view_expression(node)
        except NotImplementedError:
            return self._all([below]), False
        kind = type(view).__name__
        if kind == "Column":
            return below.columns.get(view.name, NONE), view.name not in below.at_most
        if kind not in _EXPRESSIONS:
            return self._all([below]), False
        uses, is_whole = NONE, True
        values, deciding = _EXPRESSIONS[kind]
        for attribute, how in (*values, *deciding):
            for inner in _nodes(getattr(view, attribute, None)):
                of, seen = self._expression(inner, below)
                uses, is_whole = uses | through(of, how), is_whole and seen
        return uses, is_whole


# The kinds of nodes that change columns or decide rows; others pass on what they are given.
_NODES: dict[str, Callable[..., Flow]] = {
    "PythonScan": _Walk._pythonscan,
    "DataFrameScan": _Walk._dataframescan,
    "Select": _Walk._select,
    "Reduce": _Walk._select,
    "HStack": _Walk._hstack,
    "GroupBy": _Walk._groupby,
    "Filter": _Walk._filter,
    "Sort": _Walk._sort,
    "Distinct": _Walk._distinct,
    "Join": _Walk._join,
    "MapFunction": _Walk._mapfunction,
}


def _nodes(value: Any) -> Iterator[int]:
    """The expressions that an attribute names: one, several, or none."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _nodes(each)
    elif hasattr(value, "node"):
        yield value.node
