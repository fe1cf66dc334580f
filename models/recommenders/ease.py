"""EASE (Steck 2019): the linear item-item model with a zero diagonal, in closed form."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from customer360.models.recommenders.log import Dense, Ints, Log
from customer360.models.recommenders.scoring import Family, Scorer
from customer360.platform.errors import ModelError

REGULARISATION = 200.0
ITEM_LIMIT = 12_000  # the inverse takes items^2 * 4 bytes
BLOCK_ITEMS = 1024
DOUBLE_LIMIT = 1_000  # up to here in double precision; above, twice the time changes no list
PAIRS_SHARE = 0.995  # of pairs of user and item, held by the items that have weights
RECENT_HALF_LIFE = 60.0


def weights(baskets: sparse.csr_array, regularisation: float) -> Dense:
    """B = -P / diag(P) with P = (X'X + lambda I)^-1 and a zero diagonal; shape (items, items), B[i, j] is what having i
    says for j. Two such matrices in memory at most. Raises ModelError when the matrix cannot be inverted.
    """
    from scipy.linalg import lapack  # a tenth of a second to import

    double = baskets.shape[1] <= DOUBLE_LIMIT
    gram = _gram(baskets, np.float64 if double else np.float32)
    gram[np.diag_indices_from(gram)] += regularisation
    factorize, invert = (lapack.dpotrf, lapack.dpotri) if double else (lapack.spotrf, lapack.spotri)
    with threadpool_limits(1):  # several threads add in another order: the last bits would tell how many
        factor, failed = factorize(gram, lower=1, clean=0, overwrite_a=1)
        inverse, failed_too = invert(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise ModelError(f"the item matrix of {len(gram)} items cannot be inverted (LAPACK {failed}, {failed_too})")
    _mirror(inverse)
    inverse = inverse.T  # the same, being symmetric, with rows that lie together: histories are multiplied by rows
    inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0.0)
    return np.asarray(inverse, dtype=np.float32)


def _gram(baskets: sparse.csr_array, kind: type) -> NDArray[Any]:
    """X'X by blocks of columns, in the order of memory that LAPACK overwrites."""
    items, columns = baskets.shape[1], baskets.tocsc()
    gram = np.empty((items, items), dtype=kind, order="F")
    for start in range(0, items, BLOCK_ITEMS):
        stop = min(start + BLOCK_ITEMS, items)
        gram[:, start:stop] = (baskets.T @ columns[:, start:stop]).toarray()
    return gram


def _mirror(lower: NDArray[Any]) -> None:
    """Copy the lower half over the upper one, in place."""
    for start in range(0, len(lower), BLOCK_ITEMS):
        stop = start + BLOCK_ITEMS
        lower[start:stop, stop:] = lower[stop:, start:stop].T
        block = np.tril(lower[start:stop, start:stop])
        lower[start:stop, start:stop] = block + np.tril(block, -1).T


def common(baskets: sparse.csr_array) -> Ints:
    """The most bought items that hold `PAIRS_SHARE` of all pairs, in order of their places; those with as many buyers
    as the last of them among them. The others have too few buyers to say anything against the regularisation, and are
    a fifth of a usual catalogue: half of the time.
    """
    buyers = np.bincount(baskets.indices, minlength=baskets.shape[1])
    ordered = np.sort(buyers)[::-1]
    last = ordered[np.searchsorted(np.cumsum(ordered), PAIRS_SHARE * buyers.sum())] if buyers.any() else 1
    return np.flatnonzero(buyers >= max(int(last), 1))


@dataclass(frozen=True)
class AmongSome:
    """A user's history of some items (users x items) carried by weights among these; other items score 0."""

    history: sparse.csr_array
    weights: Dense
    items: Ints
    item_count: int

    def scores(self, users: Ints) -> Dense:
        found = np.zeros((len(users), self.item_count), dtype=np.float32)
        found[:, self.items] = self.history[users] @ self.weights
        return found


def fit(log: Log) -> dict[str, Scorer]:
    """EASE on whole histories and on recent ones, among the common items."""
    baskets = log.matrix(binary=True)
    items = common(baskets)
    whole, recent = (sparse.csr_array(each[:, items]) for each in (baskets, log.matrix(RECENT_HALF_LIFE)))
    carried = weights(whole, REGULARISATION)
    return {
        "ease": AmongSome(whole, carried, items, log.shape[1]),
        "ease_recent": AmongSome(recent, carried, items, log.shape[1]),
    }


def _skip(log: Log) -> str | None:
    items = len(common(log.matrix(binary=True)))
    return f"{items:,} common items, at most {ITEM_LIMIT:,}" if items > ITEM_LIMIT else None


FAMILY = Family("ease", fit, _skip)
