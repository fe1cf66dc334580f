"""What a run would do, without doing it: what waits at the sources, faults of their mappings, the state of
every node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from customer360.platform import graph, ledger, tables
from customer360.platform.graph import Node
from customer360.platform.lake import Lake
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.run.ingest import landed_inputs, pending
from customer360.platform.run.looking import all_looked
from customer360.platform.run.planning import Context, checks_of, is_current, prepare
from customer360.platform.run.rereading import batch_lines
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Source, configured
from customer360.platform.sources.landing import Landing, landing_of
from customer360.platform.sources.rehearsal import Finding, Rehearsed, Waiting, rehearse
from customer360.platform.sources.rehearsal.findings import ordered
from customer360.platform.sources.stated import reading_of


@dataclass(frozen=True)
class SourcePreview:
    """A source: its bronze table, what waits to land, what a rehearsal of it found, and why it cannot be looked at."""

    name: str
    table: str
    batches: int  # of corrections, too, which have no inputs
    inputs: int
    rehearsed: Rehearsed
    failure: str = ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rehearsal found, the worst first."""
        failed = [Finding("error", self.name, "", self.failure)] if self.failure else []
        return ordered([*failed, *self.rehearsed.findings])

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps rows from landing."""
        return tuple(f.text.removeprefix(f"{self.name}: ") for f in self.findings if f.severity == "error")


@dataclass(frozen=True)
class NodePreview:
    """A node of the graph: its stage (from 1), ``current`` or ``build``, and why it would be built."""

    stage: int
    name: str
    state: str
    because: str


@dataclass(frozen=True)
class Preview:
    """What a run would do: to its sources in the order of the settings, to its nodes in the order of the run."""

    sources: tuple[SourcePreview, ...]
    nodes: tuple[NodePreview, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found at all sources, the worst first."""
        return ordered(finding for source in self.sources for finding in source.findings)

    @property
    def faults(self) -> list[str]:
        """What keeps rows of sources from landing, each with the name of its source."""
        return [f"{source.name}: {fault}" for source in self.sources for fault in source.faults]


def preview(settings: Settings, request: RunRequest, *, rules: dict[str, Any], now: datetime | None = None) -> Preview:
    """Rehearse the landing of all sources, and look at the nodes that the request asks for; see ``run``. Nothing is
    written.

    Args:
        now: when it would land, by default the present: events after it are found.

    Raises:
        ConfigError: the landing folder is absent.
        GraphError: ``start`` or ``end`` names nothing.
    """
    lake = lake_of(settings)
    sources = _sources(lake, settings, rules, now or datetime.now(UTC))
    dirty = {source.table for source in sources if source.batches}
    nodes = []

    @cache  # read from data, and the same for all nodes
    def default_as_of() -> date:
        return graph.default_as_of(lake, settings.zones)

    for number, stage in enumerate(graph.levels(graph.selection(request.start, request.end)), 1):
        for node in stage:
            why = _reason(node, Context(lake, settings, request.as_of), rules, dirty, default_as_of)
            if why:
                dirty |= {tables.spec(output).name for output in node.outputs}
            nodes.append(NodePreview(number, node.name, "build" if why else "current", why))
    return Preview(sources, tuple(nodes))


def _sources(lake: Lake, settings: Settings, rules: dict[str, Any], now: datetime) -> tuple[SourcePreview, ...]:
    landing = landing_of(settings)
    waiting, batches, failures, sources = {}, {}, {}, {}
    for name in settings.sources:
        try:
            sources[name] = configured(settings, name).unwritten()
        except Exception as fault:  # noqa: BLE001 - as below
            failures[name] = f"{type(fault).__name__}: {fault}"
    looks = all_looked(settings, sources, lambda name: _waiting(lake, landing, sources[name], rules))
    for name, look in looks.items():
        try:
            waiting[name], batches[name] = look.get()
            failures[name] = _sticking(lake, settings, name)
        except Exception as fault:  # noqa: BLE001 - whatever a source does, the others are looked at
            failures[name] = f"{type(fault).__name__}: {fault}"
    found = rehearse(lake, landing, list(waiting.values()), loss=settings.loss, now=now)
    return tuple(
        SourcePreview(
            name,
            source.table,
            batches.get(name, 0),
            len(waiting[name].inputs) if name in waiting else 0,
            found.get(name, Rehearsed(name, 0)),
            failures[name],
        )
        for name, source in settings.sources.items()
    )


def _waiting(lake: Lake, landing: Landing, source: Source, rules: dict[str, Any]) -> tuple[Waiting, int]:
    """What waits at a source, with what its last batch showed, and in how many batches."""
    name = source.name
    tables.by_name(source.table)
    batches = pending(lake, landing, name, source)
    facts = ledger.last_facts(lake, source.table, f"batch:{name}")
    inputs = tuple(piece for batch in batches for piece in batch.inputs)
    reading = reading_of(source, rules, facts)
    refuse = tuple(checks.refuse) if (checks := checks_of(rules, source.table)) else ()
    return Waiting(name, source, inputs, reading, facts, landed_inputs(lake, name), refuse), len(batches)


def _sticking(lake: Lake, settings: Settings, name: str) -> str:
    """Batches of a source that failed; empty where none did."""
    failed = [line for line in batch_lines(lake, settings, [name]) if line.state == "failed"]
    return "; ".join(f"batch {line.seq} failed: {line.reason}" for line in failed)


def _reason(
    node: Node, context: Context, rules: dict[str, Any], dirty: set[str], default_as_of: Callable[[], date]
) -> str:
    """Why a node would be built; empty when it is current. ``dirty`` are the tables that have new rows by then."""
    if not context.lake.exists(tables.spec(node.table).name):
        return "never built"
    if new_inputs := sorted(set(node.inputs) & dirty):
        return "new rows in " + ", ".join(new_inputs)
    try:
        as_of = context.as_of
        if as_of is None and node.needs_date:
            as_of = default_as_of()
        job = prepare(node, Context(context.lake, context.settings, as_of), rules)
    except Exception as fault:  # noqa: BLE001 - one node that cannot be planned keeps no other from being looked at
        return f"cannot be planned: {type(fault).__name__}: {fault}"
    return "" if is_current(job) else "its code, rules, inputs or date changed"
