"""What a recommender is: something fitted on a log that scores users against every item, and the few shapes of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from customer360.models.recommenders.log import Dense, Ints, Log

BLOCK_CELLS = 12_000_000  # users x items x methods scored at once: 48 MB


class Scorer(Protocol):
    """A fitted method."""

    def scores(self, users: Ints) -> Dense:
        """Finite scores of all items for some users, higher is better; shape (users, items), or (1, items) where all
        users have the same.
        """


@dataclass(frozen=True)
class Family:
    """A kind of recommender. `fit` gives one scorer by name, or a few that share their fit; `skip` says why a log is
    not for it, or None. `go_on` fits a log from what was fitted on an earlier part of it (same users and items), where
    that is cheaper.
    """

    name: str
    fit: Callable[[Log], dict[str, Scorer]]
    skip: Callable[[Log], str | None] = lambda log: None
    go_on: Callable[[Log, dict[str, Scorer]], dict[str, Scorer]] | None = None


@dataclass(frozen=True)
class SameForAll:
    """One score per item, whoever asks."""

    score: Dense

    def scores(self, users: Ints) -> Dense:
        return self.score[None, :]


@dataclass(frozen=True)
class OwnHistory:
    """Scores that users have of their own past, users x items."""

    history: sparse.csr_array

    def scores(self, users: Ints) -> Dense:
        return self.history[users].toarray()


@dataclass(frozen=True)
class Carried:
    """A user's history (users x items) carried by weights from item to item."""

    history: sparse.csr_array
    weights: Dense | sparse.csr_array

    def scores(self, users: Ints) -> Dense:
        found = self.history[users] @ self.weights
        return np.asarray(found.toarray() if sparse.issparse(found) else found, dtype=np.float32)


@dataclass(frozen=True)
class Vectors:
    """Users and items in one space; the inner product counts."""

    of_users: Dense | sparse.csr_array
    of_items: Dense | sparse.csr_array

    def scores(self, users: Ints) -> Dense:
        found: Any = self.of_users[users] @ self.of_items.T
        return np.asarray(found.toarray() if sparse.issparse(found) else found, dtype=np.float32)


def blocks(users: Ints, items: int) -> Iterator[Ints]:
    """Users in parts whose scores fit `BLOCK_CELLS`."""
    size = max(1, BLOCK_CELLS // max(items, 1))
    return (users[start : start + size] for start in range(0, len(users), size))


def normalized(rows: sparse.csr_array) -> sparse.csr_array:
    """Rows of length 1; an empty row stays empty."""
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float64)).ravel()
    scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return sparse.csr_array(sparse.diags_array(scale.astype(np.float32)) @ rows)
