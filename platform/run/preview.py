"""What a run would do, without doing it: what waits at the sources, faults of their mappings, the state of
every node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from customer360.platform import graph, tables
from customer360.platform.graph import Node
from customer360.platform.lake import Lake
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.run.ingest import pending
from customer360.platform.run.planning import Context, is_current, prepare
from customer360.platform.run.rereading import batch_lines
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured
from customer360.platform.sources.bronze import contract_faults, mapping_faults
from customer360.platform.sources.landing import landing_of


@dataclass(frozen=True)
class SourcePreview:
    """A source: its bronze table, what waits to land, and the faults of its mapping against the first input of it."""

    name: str
    table: str
    batches: int  # of corrections, too, which have no inputs
    inputs: int
    faults: tuple[str, ...] = ()


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
    def faults(self) -> list[str]:
        """What keeps sources from landing, each with the name of its source."""
        return [f"{source.name}: {fault}" for source in self.sources for fault in source.faults]


def preview(settings: Settings, request: RunRequest, *, rules: dict[str, Any]) -> Preview:
    """Look at all sources, and at the nodes that the request asks for; see ``run``. Nothing is written.

    Raises:
        ConfigError: the landing folder is absent.
        GraphError: ``start`` or ``end`` names nothing.
    """
    lake = lake_of(settings)
    sources = tuple(_source(lake, settings, name) for name in settings.sources)
    dirty = {source.table for source in sources if source.batches}
    nodes = []
    for number, stage in enumerate(graph.levels(graph.selection(request.start, request.end)), 1):
        for node in stage:
            why = _reason(node, Context(lake, settings, request.as_of), rules, dirty)
            if why:
                dirty |= {tables.spec(output).name for output in node.outputs}
            nodes.append(NodePreview(number, node.name, "build" if why else "current", why))
    return Preview(sources, tuple(nodes))


def _source(lake: Lake, settings: Settings, name: str) -> SourcePreview:
    source, landing = configured(settings, name), landing_of(settings)
    try:
        waiting = pending(lake, landing, name, source)
        inputs = [piece for batch in waiting for piece in batch.inputs]
        faults = contract_faults(source) or mapping_faults(landing, source, inputs)
        sticking = [line for line in batch_lines(lake, settings, [name]) if line.state == "failed"]
        faults += [f"batch {line.seq} failed: {line.reason}" for line in sticking]
    except Exception as fault:  # noqa: BLE001 - whatever a source does, the others are looked at
        return SourcePreview(name, source.table, 0, 0, (f"{type(fault).__name__}: {fault}",))
    return SourcePreview(name, source.table, len(waiting), len(inputs), tuple(faults))


def _reason(node: Node, context: Context, rules: dict[str, Any], dirty: set[str]) -> str:
    """Why a node would be built; empty when it is current. ``dirty`` are the tables that have new rows by then."""
    if not context.lake.exists(tables.spec(node.table).name):
        return "never built"
    if new_inputs := sorted(set(node.inputs) & dirty):
        return "new rows in " + ", ".join(new_inputs)
    try:
        as_of = context.as_of
        if as_of is None and node.needs_date:
            as_of = graph.default_as_of(context.lake, context.settings.zones)
        job = prepare(node, Context(context.lake, context.settings, as_of), rules)
    except Exception as fault:  # noqa: BLE001 - one node that cannot be planned keeps no other from being looked at
        return f"cannot be planned: {type(fault).__name__}: {fault}"
    return "" if is_current(job) else "its code, rules, inputs or date changed"
