"""Persons from accepted pairs: connected components, split where two members cannot be one person.

Nodes are the integers 0..n-1. Results do not depend on the order of the edges.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Members of a component of which every pair is checked against the rules; larger ones would cost quadratically and
# are split by size anyway.
_CHECKED_SIZE = 100

CannotLink = Callable[[pl.DataFrame], pl.DataFrame]


def cluster(nodes: int, edges: pl.DataFrame, must: pl.DataFrame, cannot_link: CannotLink, max_size: int) -> np.ndarray:
    """Label of each node, int64 (nodes,): the smallest node of its cluster.

    `edges`: (rid_l, rid_r, match_weight), accepted pairs, themselves free of contradictions. `must`: (rid_l, rid_r),
    pairs that hold whatever else is said. `cannot_link`: of given pairs (rid_l, rid_r) those that contradict. A component that holds a contradiction
    or more than `max_size` nodes is built again, strongest edge first, without the joins that would cause it.
    """
    joined = pl.concat([edges.select("rid_l", "rid_r"), must.select("rid_l", "rid_r")])
    labels = components(nodes, joined["rid_l"].to_numpy(), joined["rid_r"].to_numpy())
    members = pl.DataFrame({"rid": np.arange(nodes), "label": labels}).with_columns(size=pl.len().over("label"))
    contradicting = cannot_link(_pairs_within(members.filter(pl.col("size").is_between(3, _CHECKED_SIZE))))
    sizes = members["size"].to_numpy()
    faulty = np.zeros(nodes, dtype=bool)
    faulty[labels[contradicting["rid_l"].to_numpy()]] = True
    faulty[labels[sizes > max_size]] = True
    if not faulty.any():
        return labels
    again = members.filter(faulty[labels])["rid"].to_numpy()
    labels[again] = _rebuilt(again, edges, must, contradicting, faulty[labels], max_size)
    return labels


def components(nodes: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Connected components, int64 (nodes,), each named by its smallest node."""
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(nodes, nodes))
    _, label = connected_components(graph, directed=False)
    smallest = np.full(nodes, nodes, dtype=np.int64)
    np.minimum.at(smallest, label, np.arange(nodes))
    return smallest[label]


def _pairs_within(members: pl.DataFrame) -> pl.DataFrame:
    one = members.select("label", rid_l="rid")
    other = members.select("label", rid_r="rid")
    pairs = one.join(other, on="label").filter(pl.col("rid_l") < pl.col("rid_r"))
    return pairs.select("rid_l", "rid_r").sort("rid_l", "rid_r")


def _rebuilt(
    again: np.ndarray, edges: pl.DataFrame, must: pl.DataFrame, cannot: pl.DataFrame, in_faulty: np.ndarray,
    max_size: int,
) -> np.ndarray:  # fmt: skip
    """Labels of the nodes `again`: edges in falling order of weight, each kept unless it joins a contradiction."""
    group = {int(node): int(node) for node in again}
    held = {int(node): {int(node)} for node in again}
    barred: dict[int, set[int]] = {int(node): set() for node in again}
    for left, right in cannot.select("rid_l", "rid_r").iter_rows():
        barred[left].add(right)
        barred[right].add(left)

    def join(left: int, right: int) -> None:
        kept, gone = sorted((group[left], group[right]))
        if kept != gone:
            for node in held[gone]:
                group[node] = kept
            held[kept] |= held.pop(gone)
            barred[kept] |= barred.pop(gone)

    for left, right in must.select("rid_l", "rid_r").iter_rows():
        if in_faulty[left]:
            join(left, right)
    inside = edges.filter(pl.Series(in_faulty[edges["rid_l"].to_numpy()]))
    for left, right in (
        inside.sort(["match_weight", "rid_l", "rid_r"], descending=[True, False, False])
        .select("rid_l", "rid_r")
        .iter_rows()
    ):
        one, other = group[left], group[right]
        fits = len(held[one]) + len(held[other]) <= max_size
        if one != other and fits and barred[one].isdisjoint(held[other]):
            join(left, right)
    return np.array([group[int(node)] for node in again], dtype=np.int64)
