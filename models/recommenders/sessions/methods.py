"""What comes next in a session: sequential rules, session neighbours (V-SKNN) and popularity, each as a sparse matrix.

A method is fitted on a log of past sessions and scores moments against items, 0 meaning nothing to say. Where a session
that is asked about is itself part of what was fitted, its own contribution is taken out, so that fitted and asked-about
sessions are treated as on the inner split, where they are apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from customer360.models.recommenders.log import Dense, Ints
from customer360.models.recommenders.sessions.log import Moments, SessionLog

STEPS = 10  # how far apart two items of a rule may be
RULE_WIDTH = 500  # consequences kept for an item
HISTORY = 10  # items of a session that are looked at
HISTORY_DECAY = 0.6  # weight of one step further back
NEIGHBOURS = 100
NEWEST = 1000  # sessions kept for an item
BLOCK_MOMENTS = 1000
RECENT_SHARE = 0.15  # half-life of the time-weighted rules, as a share of the span of the log

Weight = Callable[[Ints], Dense]


@dataclass(frozen=True)
class Pairs:
    """Two items of one session, `to` after `come`, at most `STEPS` apart."""

    session: Ints
    come: Ints
    to: Ints
    distance: Ints
    at: np.ndarray

    @staticmethod
    def of(log: SessionLog, steps: int = STEPS) -> "Pairs":
        firsts = [np.zeros(0, dtype=np.int64)]
        for apart in range(1, min(steps, len(log.item) - 1) + 1):
            same = (log.session[apart:] == log.session[:-apart]) & (log.item[apart:] != log.item[:-apart])
            firsts.append(np.flatnonzero(same))
        first = np.concatenate(firsts)
        distance = np.repeat(np.arange(len(firsts)), [len(part) for part in firsts])
        second = first + distance
        return Pairs(log.session[first], log.item[first], log.item[second], distance, log.at[second])


@dataclass(frozen=True)
class Rules:
    """Weights from item to item; `own` gives the pairs back with the weight that each added."""

    weights: sparse.csr_array
    pairs: Pairs
    value: Dense

    @staticmethod
    def of(pairs: Pairs, value: Dense, items: int) -> "Rules":
        whole = sparse.coo_array((value, (pairs.come, pairs.to)), shape=(items, items)).tocsr()
        return Rules(best_of_rows(whole, RULE_WIDTH), pairs, value)

    def scores(self, asked: sparse.csr_array, moments: Moments) -> sparse.csr_array:
        """`asked` is what of its history each moment looks at, moments x items."""
        found = sparse.csr_array(asked @ self.weights)
        mine = self._own(asked, moments)
        if mine.nnz == 0:
            return found
        found = sparse.csr_array(found - mine)
        found.data[found.data < 1e-6] = 0.0
        found.eliminate_zeros()
        return found

    def _own(self, asked: sparse.csr_array, moments: Moments) -> sparse.csr_array:
        """What pairs of a moment's own session added to its scores."""
        order = np.argsort(self.pairs.session, kind="stable")
        sorted_sessions = self.pairs.session[order]
        low = np.searchsorted(sorted_sessions, moments.session, side="left")
        high = np.searchsorted(sorted_sessions, moments.session, side="right")
        length = high - low
        moment = np.repeat(np.arange(len(length)), length)
        pair = order[np.arange(len(moment)) - np.repeat(np.cumsum(length) - length, length) + low[moment]]
        value = self.value[pair] * values_at(asked, moment, self.pairs.come[pair])
        kept = value > 0
        cells = (value[kept], (moment[kept], self.pairs.to[pair][kept]))
        return sparse.coo_array(cells, shape=asked.shape).tocsr()


@dataclass(frozen=True)
class SessionNeighbours:
    """`holds` is sessions x items; `newest` items x sessions with the latest sessions of each item alone."""

    holds: sparse.csr_array
    newest: sparse.csr_array

    @staticmethod
    def of(log: SessionLog) -> "SessionNeighbours":
        shape = (len(log.sessions), len(log.items))
        ones = np.ones(len(log.item), dtype=np.float32)
        holds = sparse.coo_array((ones, (log.session, log.item)), shape=shape).tocsr()
        holds.data[:] = 1.0
        cells = holds.tocoo()
        session, item = cells.coords
        order = np.lexsort((session, -log.last_at()[session], item))
        session, item = session[order], item[order]
        rank = np.arange(len(item)) - np.searchsorted(item, item)
        kept = rank < NEWEST
        rarity = np.log(1.0 + shape[0] / np.maximum(np.bincount(item, minlength=shape[1]), 1)).astype(np.float32)
        newest = sparse.coo_array((rarity[item[kept]], (item[kept], session[kept])), shape=shape[::-1]).tocsr()
        return SessionNeighbours(holds, newest)

    def scores(self, asked: sparse.csr_array, moments: Moments) -> sparse.csr_array:
        """Items of the nearest sessions, each counted by its likeness to what the moment looks at."""
        parts = []
        for start in range(0, asked.shape[0], BLOCK_MOMENTS):
            near = sparse.coo_array(asked[start : start + BLOCK_MOMENTS] @ self.newest)
            other = near.coords[1] != moments.session[start : start + BLOCK_MOMENTS][near.coords[0]]
            coords = (near.coords[0][other], near.coords[1][other])
            near = sparse.coo_array((near.data[other], coords), shape=near.shape).tocsr()
            parts.append(best_of_rows(near, NEIGHBOURS) @ self.holds)
        return sparse.csr_array(sparse.vstack(parts)) if parts else sparse.csr_array(asked.shape, dtype=np.float32)


@dataclass(frozen=True)
class Fitted:
    """All methods on one log."""

    rules: Rules
    recent: Rules
    steps: Rules
    neighbours: SessionNeighbours
    sold: Dense
    lately: Dense

    @staticmethod
    def of(log: SessionLog) -> "Fitted":
        pairs, items = Pairs.of(log), len(log.items)
        end = log.at.max() if len(log.at) else 0.0
        half = max(RECENT_SHARE * (end - log.at.min()), 3600.0) if len(log.at) else 1.0
        closeness = (1.0 / pairs.distance).astype(np.float32)
        fade = (0.5 ** ((end - pairs.at) / half)).astype(np.float32)
        direct = (pairs.distance == 1).astype(np.float32)
        lately = np.bincount(log.item, weights=0.5 ** ((end - log.at) / half), minlength=items).astype(np.float32)
        return Fitted(
            rules=Rules.of(pairs, closeness, items),
            recent=Rules.of(pairs, closeness * fade, items),
            steps=Rules.of(pairs, direct, items),
            neighbours=SessionNeighbours.of(log),
            sold=np.bincount(log.item, minlength=items).astype(np.float32),
            lately=lately,
        )

    def scores(self, moments: Moments) -> dict[str, sparse.csr_array]:
        """Every method for the moments, moments x items, the current item left out."""
        items = len(moments.log.items)
        last = looking_back(moments, 1, lambda back: np.ones(len(back), dtype=np.float32), items)
        faded = looking_back(moments, HISTORY, lambda back: (HISTORY_DECAY**back).astype(np.float32), items)
        flat = looking_back(moments, HISTORY, lambda back: (1.0 - back / (HISTORY + 1)).astype(np.float32), items)
        found = {
            "rules_last": self.rules.scores(last, moments),
            "rules_history": self.rules.scores(faded, moments),
            "rules_recent": self.recent.scores(faded, moments),
            "next_step": self.steps.scores(last, moments),
            "session_knn": self.neighbours.scores(flat, moments),
            "session_knn_faded": self.neighbours.scores(faded, moments),
        }
        return {name: without(scores, moments.current) for name, scores in found.items()}


def looking_back(moments: Moments, most: int, weight: Weight, items: int) -> sparse.csr_array:
    """What of its history each moment looks at, moments x items; an item seen twice counts where it was seen last."""
    moment, event, back = moments.history(most)
    item = moments.log.item[event]
    key = moment * items + item
    order = np.lexsort((back, key))
    first = np.diff(key[order], prepend=-1) != 0
    chosen = order[first]
    cells = (weight(back[chosen]), (moment[chosen], item[chosen]))
    return sparse.coo_array(cells, shape=(len(moments.event), items)).tocsr()


def without(scores: sparse.csr_array, items: Ints) -> sparse.csr_array:
    """One item of each row taken out."""
    rows = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    scores.data[scores.indices == items[rows]] = 0.0
    scores.eliminate_zeros()
    return scores


def best_of_rows(cells: sparse.csr_array, k: int) -> sparse.csr_array:
    """The k largest of each row."""
    length = np.diff(cells.indptr)
    kept = np.ones(len(cells.data), dtype=np.bool_)
    for row in np.flatnonzero(length > k):
        start, stop = cells.indptr[row], cells.indptr[row + 1]
        kept[start:stop] = False
        kept[start + np.argpartition(-cells.data[start:stop], k)[:k]] = True
    ends = np.concatenate([[0], np.cumsum(np.minimum(length, k))])
    return sparse.csr_array((cells.data[kept], cells.indices[kept], ends), shape=cells.shape)


def values_at(cells: sparse.csr_array, row: Ints, column: Ints) -> Dense:
    """Values at some places, 0 where nothing stands."""
    cells.sort_indices()
    length = np.diff(cells.indptr)
    keys = np.repeat(np.arange(cells.shape[0]), length) * cells.shape[1] + cells.indices
    asked = row * cells.shape[1] + column
    if len(keys) == 0:
        return np.zeros(len(asked), dtype=np.float32)
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, cells.data[at], 0.0).astype(np.float32)
