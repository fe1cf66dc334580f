"""Ranked lists out of candidate rows, and how good they are: the full catalogue counts, nothing is sampled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from customer360.models.lifecycle.evaluation import NDCG_AT, RECALL_AT
from customer360.models.recommenders.candidates import Candidates
from customer360.models.recommenders.log import Dense, Flags, Ints


@dataclass(frozen=True)
class Judge:
    """What is relevant to each asked user, laid over the candidate rows of `found` so that many scorings are judged
    fast.

    `place` says where each row stands in a table of users x most candidates of a user; `hit` whether it is relevant.
    Of equal scores the earlier place goes first, as `ranked` would have it.
    """

    shape: tuple[int, int]
    place: Ints
    hit: Flags
    relevant: Ints

    @staticmethod
    def of(found: Candidates, truth: sparse.csr_array, precedence: Ints | None = None) -> "Judge":
        """`truth` holds the relevant items of the asked users, users x items in the order of `found.users`; equal
        scores go by the `precedence` of their items, else by item."""
        ends, relevant = found.ends(), np.diff(truth.indptr).astype(np.int64)
        width = max(int(np.diff(ends).max(initial=0)), RECALL_AT)
        order = np.lexsort((found.item if precedence is None else precedence[found.item], found.user))
        within = np.empty(len(order), dtype=np.int64)
        within[order] = np.arange(len(order)) - ends[found.user[order]]
        place = found.user * width + within
        return Judge((len(found.users), width), place, hits(found, truth), relevant)

    def by_user(self, score: Dense) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Recall@20 and NDCG@10 of each user when candidates are ranked by `score` (rows of candidates)."""
        table = np.full(self.shape[0] * self.shape[1], -np.inf, dtype=np.float32)
        table[self.place] = score
        mark = np.zeros(self.shape[0] * self.shape[1], dtype=np.bool_)
        mark[self.place] = self.hit
        table, mark = table.reshape(self.shape), mark.reshape(self.shape)
        best = _best(table, RECALL_AT)
        order = np.argsort(-np.take_along_axis(table, best, axis=1), axis=1, kind="stable")
        gained = np.take_along_axis(mark, np.take_along_axis(best, order, axis=1), axis=1)
        recall = gained.sum(axis=1) / np.clip(self.relevant, 1, RECALL_AT)
        discount = 1.0 / np.log2(np.arange(2, NDCG_AT + 2))
        ideal = np.concatenate([[1.0], np.cumsum(discount)])[np.clip(self.relevant, 0, NDCG_AT)]
        return recall, gained[:, :NDCG_AT] @ discount / ideal

    def value(self, score: Dense) -> float:
        """What blends are chosen by: mean of Recall@20 and NDCG@10."""
        recall, ndcg = self.by_user(score)
        return float(recall.mean() + ndcg.mean()) / 2


def _best(table: Dense, count: int) -> Ints:
    """Columns of the `count` highest values of each row in ascending order; of values that are equal, the first."""
    if table.shape[1] == count:
        return np.tile(np.arange(count), (len(table), 1))
    best = np.sort(np.argpartition(-table, count - 1, axis=1)[:, :count], axis=1)
    least = np.take_along_axis(table, best, axis=1).min(axis=1, keepdims=True)
    tied = np.flatnonzero((table >= least).sum(axis=1) > count)  # where it is luck which of them was chosen
    if len(tied):
        above, equal = table[tied] > least[tied], table[tied] == least[tied]
        free = count - above.sum(axis=1, keepdims=True)
        chosen = above | (equal & (np.cumsum(equal, axis=1) <= free))
        best[tied] = np.nonzero(chosen)[1].reshape(-1, count)
    return best


def hits(found: Candidates, truth: sparse.csr_array) -> Flags:
    """Whether each candidate row is relevant."""
    flags = truth.astype(np.bool_)
    return np.asarray(flags[found.user, found.item]).ravel()


def ranked(found: Candidates, score: Dense, k: int, precedence: Ints | None = None) -> tuple[Ints, Ints]:
    """Rows of the k best candidates of each user, best first, equal scores by the `precedence` of their items, else by
    item; and the rank of each, from 1."""
    equal = found.item if precedence is None else precedence[found.item]
    order = np.lexsort((equal, -score, found.user))
    starts = found.ends()[:-1]
    rank = np.arange(len(order)) - starts[found.user[order]]
    kept = rank < k
    return order[kept], rank[kept] + 1
