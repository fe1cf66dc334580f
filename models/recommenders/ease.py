"""EASE (Steck 2019): the linear item-item model with a zero diagonal, in closed form."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from customer360.models.recommenders.log import Dense, Log
from customer360.models.recommenders.scoring import Carried, Family, Scorer
from customer360.platform.errors import ModelError

REGULARISATION = 200.0
ITEM_LIMIT = 12_000  # the inverse takes items^2 * 4 bytes
BLOCK_ITEMS = 1024
DOUBLE_LIMIT = 6_000  # up to here in double precision
RECENT_HALF_LIFE = 60.0


def weights(baskets: sparse.csr_array, regularisation: float) -> Dense:
    """B = -P / diag(P) with P = (X'X + lambda I)^-1 and a zero diagonal; shape (items, items), B[i, j] is what having i
    says for j. Two such matrices in memory at most. Raises ModelError when the matrix cannot be inverted.
    """
    double = baskets.shape[1] <= DOUBLE_LIMIT
    gram = _gram(baskets, np.float64 if double else np.float32)
    gram[np.diag_indices_from(gram)] += regularisation
    factorize, invert = (lapack.dpotrf, lapack.dpotri) if double else (lapack.spotrf, lapack.spotri)
    factor, failed = factorize(gram, lower=1, clean=0, overwrite_a=1)
    inverse, failed_too = invert(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise ModelError(f"the item matrix of {len(gram)} items cannot be inverted (LAPACK {failed}, {failed_too})")
    _mirror(inverse)
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


def fit(log: Log) -> dict[str, Scorer]:
    """EASE on whole histories and on recent ones; items that nobody kept have no weight."""
    baskets = log.matrix(binary=True)
    carried = weights(baskets, REGULARISATION)
    return {"ease": Carried(baskets, carried), "ease_recent": Carried(log.matrix(RECENT_HALF_LIFE), carried)}


def _skip(log: Log) -> str | None:
    items = log.shape[1]
    return f"{items:,} items, at most {ITEM_LIMIT:,}" if items > ITEM_LIMIT else None


FAMILY = Family("ease", fit, _skip)
