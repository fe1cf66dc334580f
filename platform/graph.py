"""The graph of builds: tables as nodes, signatures as edges.

    @builds(Sessions)
    def sessions(silver_events: LazyFrame) -> LazyFrame: ...

The parameter ``silver_events`` is the table ``silver.events``. Two names are reserved: ``as_of`` (a date; gold only)
and ``params`` (typed business thresholds). Who takes ``as_of`` also waits for the table that the default date is read
from (``gives_as_of``). A *producer* may do I/O or hold a model and may make several tables:

    @produces(Identities, IdentityEdges, inputs=("silver.customer_records",), rules="identity")
    def identities(context, silver_customer_records): ...
"""

from __future__ import annotations

import difflib
import graphlib
import hashlib
import importlib
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from customer360.platform import purposes, tables
from customer360.platform.errors import GraphError
from customer360.platform.lake import Lake
from customer360.platform.tables import Table

RESERVED = ("as_of", "params")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Node:
    """One build or producer. ``name`` is its main table, with ``/part`` when it fills one part of a shared table."""

    name: str
    outputs: tuple[type[Table], ...]
    inputs: tuple[str, ...]
    function: Callable[..., Any]
    is_producer: bool = False
    wants: frozenset[str] = frozenset()  # reserved parameters that the function takes
    rules: str | None = None  # kind of rule file that becomes `params`
    part: tuple[str, str] | None = None  # partition column and value
    reads: dict[str, tuple[str, ...]] | None = None  # columns that an input needs, where not all
    version: Callable[[Any], str] | None = None  # of what a producer holds beside its inputs, e.g. a model
    follows: Callable[..., Any] | None = None  # gives stored rows the subject that their inputs name now
    reached: Callable[..., Any] | None = None  # stored rows that changed rows of those inputs may give another subject
    concerns: Mapping[str, Callable[..., Any]] = field(default_factory=dict)  # stored rows that rows of an input touch
    after_records: bool = False  # waits for every record table, as what measures their commits must
    of_reports: tuple[str, ...] = ()  # inputs that may be as old as reports; see ``run.reports``
    judges: Mapping[str, Callable[..., Any]] = field(default_factory=dict)  # bronze tables judged beside, and what of
    past: Mapping[str, str] = field(default_factory=dict)  # inputs of which rows count by this date before as_of alone

    @property
    def followed(self) -> tuple[str, ...]:
        """Inputs that decide nothing of a row but whose it is: the tables that ``follows`` reads beside the rows."""
        return (
            tuple(input_name(p) for p in list(inspect.signature(self.follows).parameters)[1:]) if self.follows else ()
        )

    @property
    def table(self) -> type[Table]:
        return self.outputs[-1]

    @property
    def per(self) -> str | None:
        return tables.spec(self.table).per

    @property
    def records(self) -> str | None:
        """The bronze table whose rows this node turns into silver rows one to one, if it does."""
        if self.is_producer or self.per is None:
            return None
        for name in self.inputs:
            if name.startswith("bronze.") and tables.spec(tables.by_name(name)).key[:1] == (self.per.upper(),):
                return name
        return None

    @property
    def judged(self) -> tuple[str, ...]:
        """Bronze tables whose rows a node gets judged and folded: a record node its own records and those it reads
        beside, others what they declare so."""
        if not self.records:
            return tuple(self.judges)
        return tuple(name for name in self.inputs if name.startswith("bronze."))

    @property
    def is_dated(self) -> bool:
        """Whether the result depends on the date of the run."""
        return "as_of" in self.wants

    @property
    def needs_date(self) -> bool:
        """Whether a run of it has a date: its result depends on one, or its table keeps an edition a date."""
        return self.is_dated or tables.spec(self.table).is_dated

    @property
    def awaits(self) -> tuple[str, ...]:
        """Tables that must stand before: its inputs; where it needs a date, the table that the default is read from;
        all record tables where it declares so; a producer of what persons may deny waits for what they deny.
        """
        records = [node.name for node in NODES.values() if node.records] if self.after_records else []
        asks = self.is_producer and purposes.is_withheld(self.table) and purposes.DENIALS in tables.TABLES
        return (*self.inputs, *(DATE_TABLES if self.needs_date else ()), *records, *([purposes.DENIALS] * asks))


NODES: dict[str, Node] = {}
GivesDate = Callable[[Lake, Mapping[str, str]], date]
DATE_TABLES: dict[str, GivesDate] = {}  # one at most: the table, and what reads the default date from it


def gives_as_of(table: str) -> Callable[[F], F]:
    """Declare a function of the lake, and of the zones of sources, as what gives the default ``as_of``. It reads
    ``table``, which every node that needs a date waits for, whether it reads the table or not.

    Raises:
        GraphError: another function gives it already.
    """

    def declare(function: F) -> F:
        for known in DATE_TABLES.values():
            if _address(known) != _address(function):
                raise GraphError(f"as_of is given twice: by {known.__module__} and by {function.__module__}")
        DATE_TABLES.clear()
        DATE_TABLES[table] = function
        return function

    return declare


def default_as_of(lake: Lake, zones: Mapping[str, str] | None = None) -> date:
    """The date of a run that was given none; ``zones`` are IANA zones by source, UTC where one is not named.

    Raises:
        GraphError: no function was declared to give it.
        LakeError: the data have no date yet; says what to do.
    """
    for read in DATE_TABLES.values():
        return read(lake, zones or {})
    raise GraphError(
        "nothing gives as_of: give the run a date (--as-of), or declare a function with @gives_as_of(TABLE)"
    )


def input_name(parameter: str) -> str:
    layer, _, table = parameter.partition("_")
    return f"{layer}.{table}"


def _register(node: Node) -> None:
    known = NODES.get(node.name)
    if known and _address(known.function) != _address(node.function):
        raise GraphError(f"{node.name} is built twice: {known.function.__module__} and {node.function.__module__}")
    NODES[node.name] = node


def _address(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def builds(
    table: type[Table],
    *,
    rules: str | None = None,
    reads: dict[str, tuple[str, ...]] | None = None,
    follows: Callable[..., Any] | None = None,
    reached: Callable[..., Any] | None = None,
    concerns: Mapping[str, Callable[..., Any]] | None = None,
    judges: Mapping[str, Callable[..., Any]] | None = None,
    past: Mapping[str, str] | None = None,
) -> Callable[[F], F]:
    """Declare a pure function from frames to one frame as the build of ``table``.

    ``rules`` names the rule file that becomes ``params``. ``reads`` names the columns that are needed of a wide input,
    so that an exchange carries no others; the key of the grain is one of them where the input has it. ``follows`` takes
    stored rows, then some of the inputs by their names, and returns the same rows with the ``subject_id`` and
    ``person_id`` that a build would give them now: where nothing else has changed, only rows whose subject did are
    written again (see ``run.following``). ``reached`` takes the same, of the inputs only rows that came, went or
    changed, and returns the stored rows that these may concern: no others are asked whose they are. ``concerns`` does
    the same for what else a record table reads and is joined by another column than its key, as the products of lines
    are: a function of stored rows and the rows of the input that came, went or changed, which returns the stored rows
    that these may change. It decides values of rows alone, never which rows there are; so do builds of another grain,
    which go by its keys. ``judges`` is for what is no record table and must see a bronze table as record tables do,
    judged, corrected and folded: a function from its rows to those that are needed, of a key all or none. ``past``
    names of inputs of a build about ``as_of`` the date by which their rows count before it alone: what comes later
    leaves the table as it is. Where the table serves a purpose that persons may refuse,
    what they deny leaves the output, and the table of denials is the last input (`platform.purposes`).
    """

    def declare(function: F) -> F:
        parameters = list(inspect.signature(function).parameters)
        inputs = tuple(input_name(p) for p in parameters if p not in RESERVED)
        wants = frozenset(parameters) & frozenset(RESERVED)
        if "as_of" in wants and tables.spec(table).layer != "gold":
            raise GraphError(f"{tables.spec(table).name} is no gold table, so its build cannot take as_of")
        if past and "as_of" not in wants:
            raise GraphError(f"{tables.spec(table).name} takes no as_of, before which rows of {', '.join(past)} count")
        if follows and not (tables.spec(table).bucketed and {"subject_id", "person_id"} <= set(table.columns())):
            raise GraphError(
                f"{tables.spec(table).name} follows nobody: it has no subject_id and person_id to be stored by"
            )
        made: Callable[..., Any] = function
        if tables.spec(table).layer == "gold" and purposes.is_withheld(table):
            made, inputs = purposes.withholding(table, function, inputs)
        _register(
            Node(
                name=tables.spec(table).name,
                outputs=(table,),
                inputs=inputs,
                function=made,
                wants=wants,
                rules=rules,
                reads=reads,
                follows=follows,
                reached=reached,
                concerns=dict(concerns or {}),
                judges=dict(judges or {}),
                past=dict(past or {}),
            )
        )
        return function

    return declare


def joined_on(*columns: str) -> Callable[[Any, Any], Any]:
    """For ``concerns``: stored rows that have the values of a changed row in some columns, named so in both."""
    return partial(_joined_on, list(columns))


def _joined_on(columns: list[str], stored: Any, changed: Any) -> Any:
    return stored.join(changed, on=columns, how="semi")


def produces(
    *outputs: type[Table],
    inputs: Iterable[str] = (),
    rules: str | None = None,
    part: tuple[str, str] | None = None,
    dated: bool = False,
    version: Callable[[Any], str] | None = None,
    after_records: bool = False,
    of_reports: Iterable[str] = (),
) -> Callable[[F], F]:
    """Declare a function that may do I/O; it takes a context, then its inputs, and returns one frame an output.

    The last output is the main table: it is committed last and names the node. With ``part`` the node fills one
    partition of a table that several nodes share; ``dated`` says that it uses ``context.as_of``; ``version(context)``
    names what else decides the result. With ``after_records`` it waits for every record table, new ones included.
    ``of_reports`` are inputs that may be as old as reports.
    """

    def declare(function: F) -> F:
        name = tables.spec(outputs[-1]).name + (f"/{part[1]}" if part else "")
        _register(
            Node(
                name=name,
                outputs=outputs,
                inputs=tuple(inputs),
                function=function,
                is_producer=True,
                wants=frozenset(["as_of"] if dated else []),
                rules=rules,
                part=part,
                version=version,
                after_records=after_records,
                of_reports=tuple(of_reports),
            )
        )
        return function

    return declare


def producers_of() -> dict[str, list[str]]:
    """Table name to the nodes that fill it."""
    found: dict[str, list[str]] = {}
    for node, output in ((each, output) for each in NODES.values() for output in each.outputs):
        found.setdefault(tables.spec(output).name, []).append(node.name)
    return found


def readers_of() -> dict[str, set[str]]:
    """Table name to the tables that are built of it."""
    found: dict[str, set[str]] = {}
    for node, read in ((each, read) for each in NODES.values() for read in each.inputs):
        found.setdefault(read, set()).update(tables.spec(output).name for output in node.outputs)
    return found


def edges() -> dict[str, set[str]]:
    """Node name to the nodes it needs. A bronze table is filled by sources, not by a node.

    Raises:
        GraphError: an input table is unknown.
    """
    makers = producers_of()
    result: dict[str, set[str]] = {}
    for node in NODES.values():
        result[node.name] = set()
        for table in node.awaits:
            if table not in tables.TABLES:
                near = difflib.get_close_matches(table, tables.TABLES, n=3)
                hint = f"; did you mean {', '.join(near)}?" if near else ""
                use = "reads" if table in node.inputs else "waits for the date of"
                raise GraphError(
                    f"{node.name} {use} {table}, which no contract declares ({node.function.__module__}){hint}"
                )
            result[node.name] |= set(makers.get(table, ())) - {node.name}
    return result


def levels(wanted: set[str] | None = None) -> list[list[Node]]:
    """Nodes in stages; a stage needs only the stages before it.

    Raises:
        GraphError: the graph has a cycle; it is named.
    """
    sorter = graphlib.TopologicalSorter(edges())
    try:
        sorter.prepare()
    except graphlib.CycleError as fault:
        raise GraphError(f"builds depend on each other: {' -> '.join(fault.args[1])}") from None
    result = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        sorter.done(*ready)
        if stage := [NODES[n] for n in ready if wanted is None or n in wanted]:
            result.append(stage)
    return result


def selection(start: str | None, end: str | None) -> set[str]:
    """Names of the nodes from ``start`` on (and all that needs it) up to ``end`` (and all that it needs).

    Bronze is landed, not built: up to ``bronze`` or one of its tables there is no node.
    """
    needs = edges()
    if end and end.partition(".")[0] == "bronze":
        return set()
    needed_by: dict[str, set[str]] = {}
    for name, below in needs.items():
        for b in below:
            needed_by.setdefault(b, set()).add(name)
    chosen = set(needs)
    if start:
        chosen &= _closure(_nodes_named(start), needed_by)
    if end:
        chosen &= _closure(_nodes_named(end), needs)
    return chosen


def _nodes_named(name: str) -> set[str]:
    """Nodes by node name, table name, or layer."""
    found = {
        n.name
        for n in NODES.values()
        if name in (n.name, n.name.partition(".")[0], *(tables.spec(o).name for o in n.outputs))
    }
    if not found and name.startswith("bronze"):
        found = {n.name for n in NODES.values() if name in n.inputs or name == "bronze"}
    if not found:
        near = difflib.get_close_matches(name, NODES, n=3)
        raise GraphError(f"nothing builds {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    return found


def _closure(start: set[str], edges_: dict[str, set[str]]) -> set[str]:
    reached, todo = set(start), list(start)
    while todo:
        for following in edges_.get(todo.pop(), ()):
            if following not in reached:
                reached.add(following)
                todo.append(following)
    return reached


# ---- code fingerprints ----------------------------------------------------------------------------------------


def code_fingerprint(function: Callable[..., Any], contracts: Iterable[type[Table]]) -> str:
    """Changes when the source of a build, its contracts, or any project module that they import changes."""
    modules = {function.__module__, *(c.__module__ for c in contracts)}
    seen: set[str] = set()
    while modules - seen:
        name = (modules - seen).pop()
        seen.add(name)
        modules |= _project_imports(name)
    # The platform's plumbing may change without changing results; its contract machinery may not.
    relevant = [m for m in sorted(seen) if not m.startswith("customer360.platform") or m.endswith(".tables")]
    return hashlib.sha256("".join(_source_digest(m) for m in relevant).encode()).hexdigest()


@cache
def _source_file(module: str) -> Path | None:
    """The file of a module, found without importing it (or, as `find_spec` would, the packages above it)."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
        return Path(origin) if origin and origin.endswith(".py") else None
    above = module.rpartition(".")[0]
    if above in sys.modules and not hasattr(sys.modules[above], "__path__"):
        return None  # a name in a module, no module
    package, *inner = module.split(".")
    for root in getattr(sys.modules.get(package), "__path__", ()):
        stem = "/".join((root, *inner))
        for file in (f"{stem}.py", f"{stem}/__init__.py"):
            if os.path.isfile(file):  # noqa: PTH113 - a thousand a run
                return Path(file)
    return None


@cache
def _source_digest(module: str) -> str:
    file = _source_file(module)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file else ""


# Every run looks into a few hundred modules, and a syntax tree of each takes seconds. Words of a docstring that look
# like an import name a module too many, which costs nothing.
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(customer360[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([^\n#]*))", re.MULTILINE
)
_COMMENT = re.compile(r"#[^\n]*")


@cache
def _project_imports(module: str) -> frozenset[str]:
    file = _source_file(module)
    if file is None:
        return frozenset()
    found: set[str] = set()
    for package, names, whole in _IMPORT.findall(file.read_text(encoding="utf-8")):
        listed = [
            n.split()[0] for n in re.split(r",|\\\n", _COMMENT.sub("", names or whole).strip("() \t\n")) if n.strip()
        ]
        found |= {package, *(f"{package}.{n}" for n in listed)} if package else set(listed)
    return frozenset(m for m in found if m.startswith("customer360.") and _source_file(m))


def load(packages: Iterable[ModuleType], leave_out: Iterable[str] = ()) -> None:
    """Import every module of the packages, so that their tables, builds and models are declared.

    ``leave_out`` names modules (with all below them) that declare nothing and would only cost time.
    """
    left_out = frozenset(leave_out)
    for package in packages:
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if found.name not in left_out:
                module = importlib.import_module(found.name)
                load([module] if found.ispkg else [], left_out)
