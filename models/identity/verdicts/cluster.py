"""Persons from accepted pairs: groups of records that hold together, without members that cannot be one person.

A chain of pairs is no person: one wrong pair between two people of ten records each would join twenty. So groups grow
by average linkage: two groups join while the weight between them outweighs the pairs between them that nothing speaks
for. Nodes are the integers 0..n-1. Results do not depend on the order of the edges, nor on other components.
"""

import heapq
from collections.abc import Callable, Iterable

import numpy as np
import polars as pl

from customer360.models.identity.components import components

# Bits that a pair without an accepted edge speaks against joining the groups of its two records.
_SILENCE = 0.25

CannotLink = Callable[[pl.DataFrame], pl.DataFrame]


def cluster(nodes: int, edges: pl.DataFrame, must: pl.DataFrame, cannot_link: CannotLink, max_size: int) -> np.ndarray:
    """Label of each node, int64 (nodes,): the smallest node of its cluster.

    `edges`: (rid_l, rid_r, match_weight), accepted pairs, themselves free of contradictions. `must`: (rid_l, rid_r),
    pairs that hold whatever else is said. `cannot_link`: of given pairs (rid_l, rid_r) those that contradict.
    """
    joined = pl.concat([edges.select("rid_l", "rid_r"), must.select("rid_l", "rid_r")])
    labels = components(nodes, joined["rid_l"].to_numpy(), joined["rid_r"].to_numpy())
    nothing = must.clear()
    labels = _regrouped(labels, _loose(labels, edges, must, max_size), edges, must, nothing, max_size)
    members = pl.DataFrame({"rid": np.arange(nodes), "label": labels}).with_columns(size=pl.len().over("label"))
    contradicting = cannot_link(_pairs_within(members.filter(pl.col("size") > 2)))
    contradicted = np.zeros(nodes, dtype=bool)
    contradicted[labels[contradicting["rid_l"].to_numpy()]] = True
    return _regrouped(labels, contradicted[labels], edges, must, contradicting, max_size)


def _loose(labels: np.ndarray, edges: pl.DataFrame, must: pl.DataFrame, max_size: int) -> np.ndarray:
    """Nodes of components in which some pair has no edge, or that are too large: bool (nodes,)."""
    sizes = np.bincount(labels, minlength=len(labels))
    present = pl.concat([edges.select("rid_l", "rid_r"), must.select("rid_l", "rid_r")]).unique()
    held = np.bincount(labels[present["rid_l"].to_numpy()], minlength=len(labels))
    loose: np.ndarray = ((held < sizes * (sizes - 1) // 2) | (sizes > max_size))[labels]
    return loose


def _pairs_within(members: pl.DataFrame) -> pl.DataFrame:
    one = members.select("label", rid_l="rid")
    other = members.select("label", rid_r="rid")
    pairs = one.join(other, on="label").filter(pl.col("rid_l") < pl.col("rid_r"))
    return pairs.select("rid_l", "rid_r").sort("rid_l", "rid_r")


def _regrouped(
    labels: np.ndarray, chosen: np.ndarray, edges: pl.DataFrame, must: pl.DataFrame, cannot: pl.DataFrame, max_size: int
) -> np.ndarray:
    """`labels` with the nodes `chosen` (bool, whole groups) grouped anew within their groups."""
    if not chosen.any():
        return labels
    groups = _Groups(np.flatnonzero(chosen), cannot, max_size)
    for left, right in _inside(must, labels, chosen).select("rid_l", "rid_r").sort("rid_l", "rid_r").iter_rows():
        groups.join(left, right)
    inside = _inside(edges, labels, chosen).sort("rid_l", "rid_r")
    groups.grow(inside.select("rid_l", "rid_r", "match_weight").iter_rows())
    result = labels.copy()
    for node, group in groups.group.items():
        result[node] = group
    return result


def _inside(pairs: pl.DataFrame, labels: np.ndarray, chosen: np.ndarray) -> pl.DataFrame:
    left, right = pairs["rid_l"].to_numpy(), pairs["rid_r"].to_numpy()
    return pairs.filter(pl.Series(chosen[left] & (labels[left] == labels[right])))


class _Groups:
    """Groups of nodes under average linkage; a group is named by its smallest node."""

    def __init__(self, nodes: np.ndarray, cannot: pl.DataFrame, max_size: int) -> None:
        ids = [int(node) for node in nodes]
        self.group = {node: node for node in ids}
        self.held = {node: [node] for node in ids}
        self.barred: dict[int, set[int]] = {}
        self.links: dict[int, dict[int, float]] = {node: {} for node in ids}  # summed weight and silence lifted
        self.max_size = max_size
        for left, right in cannot.select("rid_l", "rid_r").iter_rows():
            self.barred.setdefault(left, set()).add(right)
            self.barred.setdefault(right, set()).add(left)

    def join(self, left: int, right: int) -> int:
        """The group of both, the smaller name."""
        kept, gone = sorted((self.group[left], self.group[right]))
        if kept == gone:
            return kept
        for node in self.held[gone]:
            self.group[node] = kept
        self.held[kept] += self.held.pop(gone)
        if gone in self.barred:
            self.barred.setdefault(kept, set()).update(self.barred.pop(gone))
        for other, weight in self.links.pop(gone).items():
            del self.links[other][gone]
            if other != kept:
                self.links[kept][other] = self.links[other][kept] = self.links[kept].get(other, 0.0) + weight
        return kept

    def grow(self, edges: Iterable[tuple[int, int, float]]) -> None:
        """Join the two groups with the highest mean weight between them, again and again, while it is above zero."""
        for left, right, weight in edges:
            one, other = self.group[left], self.group[right]
            if one != other:
                total = self.links[one].get(other, 0.0) + weight + _SILENCE
                self.links[one][other] = self.links[other][one] = total
        waiting = [(-self._mean(a, b), a, b) for a, near in self.links.items() for b in near if a < b]
        heapq.heapify(waiting)
        while waiting:
            mean, one, other = heapq.heappop(waiting)
            if one not in self.links or other not in self.links[one] or -mean != self._mean(one, other):
                continue
            if mean >= 0:
                return
            if not self._may_join(one, other):
                continue
            kept = self.join(one, other)
            for near in self.links[kept]:
                heapq.heappush(waiting, (-self._mean(kept, near), min(kept, near), max(kept, near)))

    def _mean(self, one: int, other: int) -> float:
        # Every pair of members counts, also those without an edge, each of which speaks against by `_SILENCE`: `links`
        # holds the weights of edges with that lifted, so that one sum and two sizes give the mean.
        return self.links[one][other] / (len(self.held[one]) * len(self.held[other])) - _SILENCE

    def _may_join(self, one: int, other: int) -> bool:
        if len(self.held[one]) + len(self.held[other]) > self.max_size:
            return False
        return self.barred.get(one, set()).isdisjoint(self.held[other])
