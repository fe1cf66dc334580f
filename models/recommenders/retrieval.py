"""The nearest of many vectors by inner product and bias: exact for usual catalogues, a quantized scan for large ones.

The scan compares codes of one byte a component (each vector has its own scale), a quarter of the memory of the vectors,
and scores twice as many candidates as asked for anew with the vectors themselves, so scores are exact and a list misses
only what fell out of a list twice its length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from customer360.models.recommenders.histories import top_k

EXACT_LIMIT = 200_000  # items; above, the scan is quantized
BLOCK_ITEMS = 16_384
OVERSAMPLE, EXTRA = 2, 32  # candidates that are scored anew: so many times k, and some more
LARGEST = 127

Dense = NDArray[np.float32]
Ints = NDArray[np.int64]
Scores = Callable[[slice], Dense]


@dataclass(frozen=True)
class Index:
    """`items` (count, dimension) and `bias` (count) with the codes of the items, or None where the scan is exact."""

    items: Dense
    bias: Dense
    codes: NDArray[np.int8] | None
    scale: Dense

    @staticmethod
    def of(items: Dense, bias: Dense, exact_limit: int | None = None) -> "Index":
        """Quantized where there are more than `exact_limit` items (`EXACT_LIMIT`)."""
        if len(items) <= (EXACT_LIMIT if exact_limit is None else exact_limit):
            return Index(items, bias, None, np.zeros(0, dtype=np.float32))
        codes, scale = np.empty(items.shape, dtype=np.int8), np.empty(len(items), dtype=np.float32)
        for rows in _blocks(len(items)):
            largest = np.abs(items[rows]).max(axis=1, initial=0.0)
            scale[rows] = np.where(largest > 0, largest / LARGEST, 1.0)
            codes[rows] = np.rint(items[rows] / scale[rows, None])
        return Index(items, bias, codes, scale)

    def search(self, queries: Dense, k: int, closed: sparse.csr_array | None = None) -> tuple[Ints, Dense]:
        """Places and scores of the k best items of each query, best first, equal scores by place; shape (queries, at
        most k). `closed` marks items (queries x items) that are never found: where fewer than k are open, the rest has
        score -inf.
        """
        k = min(k, len(self.items))
        if self.codes is None:
            place, score = self._scan(
                lambda rows: queries @ self.items[rows].T + self.bias[rows], len(queries), k, closed
            )
        else:
            wanted = min(OVERSAMPLE * k + EXTRA, len(self.items))
            place, rough = self._scan(lambda rows: self._rough(queries, rows), len(queries), wanted, closed)
            score = np.einsum("qd,qkd->qk", queries, self.items[place]) + self.bias[place]
            score[np.isneginf(rough)] = -np.inf
        order = np.lexsort((place, -score), axis=1)[:, :k]
        return np.take_along_axis(place, order, axis=1), np.take_along_axis(score, order, axis=1)

    def _rough(self, queries: Dense, rows: slice) -> Dense:
        assert self.codes is not None
        # The scale of a vector is taken out of the product, so that codes of one byte are multiplied as they are.
        return (queries @ self.codes[rows].T.astype(np.float32)) * self.scale[rows] + self.bias[rows]

    def _scan(self, scores: Scores, queries: int, k: int, closed: sparse.csr_array | None) -> tuple[Ints, Dense]:
        """The k best by `scores`, block by block. Of equal scores at the last place the first items stay."""
        columns: Any = None if closed is None else closed.tocsc()
        place, best = np.zeros((queries, 0), dtype=np.int64), np.zeros((queries, 0), dtype=np.float32)
        for rows in _blocks(len(self.items)):
            score = scores(rows)
            if columns is not None:
                score[columns[:, rows].nonzero()] = -np.inf
            here = np.broadcast_to(np.arange(rows.start, rows.stop), score.shape)
            place, best = np.hstack([place, here]), np.hstack([best, score])
            chosen = top_k(best, k)
            place, best = np.take_along_axis(place, chosen, axis=1), np.take_along_axis(best, chosen, axis=1)
        return place, best


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + BLOCK_ITEMS, count)) for start in range(0, count, BLOCK_ITEMS)]
