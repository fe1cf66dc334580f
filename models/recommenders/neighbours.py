"""Neighbours: items that share their buyers (item-kNN), and users who share their items (user-kNN)."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from customer360.models.recommenders.histories import top_k
from customer360.models.recommenders.log import Dense, Ints, Log
from customer360.models.recommenders.scoring import Carried, Family, Scorer, normalized

NEIGHBOURS = 100
SHRINK = 20.0
RECENT_HALF_LIFE = 60.0
USER_HALF_LIFE = 180.0
COST_LIMIT = 4e9  # multiplications that the sparse products may take
BLOCK_CELLS = 6_000_000  # of one block of the item-item matrix, about 12 bytes each


def cosine(baskets: sparse.csr_array, shrink: float, neighbours: int) -> sparse.csr_array:
    """Cosine of co-purchase, counts of both in the denominator plus `shrink`; the `neighbours` most similar of each
    item kept. `baskets` is users x items of 0 and 1; weights[i, j] is what having i says for j.
    """
    buyers = np.asarray(baskets.sum(axis=0), dtype=np.float32).ravel()
    columns, parts = baskets.tocsc(), [sparse.csr_array((0, len(buyers)), dtype=np.float32)]
    width = max(1, BLOCK_CELLS // max(len(buyers), 1))
    for start in range(0, len(buyers), width):
        stop = min(start + width, len(buyers))
        together = sparse.csr_array(columns[:, start:stop].T @ baskets).toarray().astype(np.float32)
        together /= np.sqrt(buyers[start:stop, None] * buyers) + np.float32(shrink)
        together[np.arange(stop - start), np.arange(start, stop)] = 0.0  # an item says nothing for itself
        parts.append(keep_largest(together, neighbours))
    return sparse.csr_array(sparse.vstack(parts).T)  # row j of a block holds the neighbours that speak for j


def keep_largest(weights: Dense, k: int) -> sparse.csr_array:
    """The k largest by size of each row, as sparse; zeros are not stored."""
    if weights.shape[1] > k:
        columns = top_k(np.abs(weights), k)
        rows = np.repeat(np.arange(len(weights)), columns.shape[1])
        values = np.take_along_axis(weights, columns, axis=1).ravel()
        found = sparse.coo_array((values, (rows, columns.ravel())), shape=weights.shape).tocsr()
    else:
        found = sparse.csr_array(weights)
    found.eliminate_zeros()
    return found


def item_cost(log: Log) -> float:
    """Multiplications of the co-purchase matrix: squared lengths of the histories."""
    return float((np.bincount(log.user, minlength=1).astype(np.float64) ** 2).sum())


def user_cost(log: Log) -> float:
    """Multiplications of the user-user matrix: squared numbers of buyers."""
    return float((np.bincount(log.item, minlength=1).astype(np.float64) ** 2).sum())


def fit_items(log: Log) -> dict[str, Scorer]:
    """Item-kNN on whole histories and on recent ones."""
    baskets = log.matrix(binary=True)
    weights = cosine(baskets, SHRINK, NEIGHBOURS)
    return {
        "item_knn": Carried(baskets, weights),
        "item_knn_recent": Carried(log.matrix(RECENT_HALF_LIFE), weights),
    }


@dataclass(frozen=True)
class UserNeighbours:
    """`directions` are users as unit vectors of their rare-item-weighted histories; `lately` is what each bought,
    fading."""

    directions: sparse.csr_array
    lately: sparse.csr_array

    def scores(self, users: Ints) -> Dense:
        near = (self.directions[users] @ self.directions.T).tocsr().toarray().astype(np.float32)
        near[np.arange(len(users)), users] = 0.0
        return np.asarray((keep_largest(near, NEIGHBOURS) @ self.lately).toarray(), dtype=np.float32)


def fit_users(log: Log) -> dict[str, Scorer]:
    """User-kNN: what the nearest users bought, the recent weighing more. Common items say little of likeness."""
    baskets = log.matrix(binary=True)
    buyers = np.maximum(np.asarray(baskets.sum(axis=0)).ravel(), 1.0)
    rarity = np.log(1.0 + log.shape[0] / buyers).astype(np.float32)
    directions = normalized(sparse.csr_array(baskets @ sparse.diags_array(rarity)))
    return {"user_knn": UserNeighbours(directions, log.matrix(USER_HALF_LIFE))}


def _too_much(cost: float) -> str | None:
    return f"{cost:.1e} multiplications, at most {COST_LIMIT:.0e}" if cost > COST_LIMIT else None


ITEMS = Family("item_knn", fit_items, lambda log: _too_much(item_cost(log)))
USERS = Family("user_knn", fit_users, lambda log: _too_much(user_cost(log)))
