"""Why records are one person: the edges that hold them together, the weakest of them, the cheapest cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from customer360.models.identity.verdicts.decide import ACCEPTED

if TYPE_CHECKING:
    import networkx

Edge = dict[str, Any]  # a row of silver.identity_edges
CERTAIN_BITS = 100.0  # what a link without a score (a login, a steward's word) counts when the cheapest cut is sought


@dataclass(frozen=True)
class Cut:
    """Edges whose rejection parts the records into two groups; ``weight``: the bits that hold them together."""

    edges: tuple[Edge, ...]
    groups: tuple[tuple[str, ...], tuple[str, ...]]
    weight: float


@dataclass(frozen=True)
class Explanation:
    """``held_by``: accepted edges among the records, strongest first; ``against``: vetoed or rejected ones.

    ``weakest_bridge``: the accepted edge with least weight without which the records fall apart, None when no single
    one does. ``cheapest_cut``: the least evidence that has to go for a split; None for a single record.
    """

    held_by: tuple[Edge, ...]
    against: tuple[Edge, ...]
    weakest_bridge: Edge | None
    cheapest_cut: Cut | None


def explain(records: Iterable[str], edges: Iterable[Edge]) -> Explanation:
    """Explain one person from its record ids and the rows of silver.identity_edges among them."""
    import networkx

    members = sorted(set(records))
    within = [e for e in edges if e["record_id_l"] in members and e["record_id_r"] in members]
    held = sorted((e for e in within if e["decision"] == ACCEPTED), key=_bits, reverse=True)
    against = sorted((e for e in within if e["decision"] != ACCEPTED), key=_bits, reverse=True)
    graph = networkx.Graph()
    graph.add_nodes_from(members)
    for edge in held:
        graph.add_edge(edge["record_id_l"], edge["record_id_r"], weight=max(_bits(edge), 0.0), edge=edge)
    bridges = [graph.edges[pair]["edge"] for pair in networkx.bridges(graph)] if held else []
    return Explanation(tuple(held), tuple(against), min(bridges, key=_bits, default=None), _cheapest_cut(graph))


def _bits(edge: Edge) -> float:
    weight = edge["match_weight"]
    return CERTAIN_BITS if weight is None else float(weight)


def _cheapest_cut(graph: networkx.Graph) -> Cut | None:
    import networkx

    if graph.number_of_nodes() < 2 or not networkx.is_connected(graph):
        return None
    weight, (one, other) = networkx.stoer_wagner(graph)
    between = [graph.edges[pair]["edge"] for pair in networkx.edge_boundary(graph, one, other)]
    groups = sorted((tuple(sorted(one)), tuple(sorted(other))), key=lambda group: (-len(group), group))
    return Cut(tuple(sorted(between, key=_bits, reverse=True)), (groups[0], groups[1]), float(weight))
