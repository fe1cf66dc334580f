"""Candidates of users with what every method says of them: one table that blends and rankers work on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from customer360.models.recommenders import popular
from customer360.models.recommenders.histories import top_k
from customer360.models.recommenders.log import Dense, Flags, Ints, Log
from customer360.models.recommenders.scoring import Scorer, blocks

Mode = Literal["new", "all"]
PER_METHOD = 50  # the best of each method that become candidates where no blend is learned yet
FLOOR = np.float32(-1e30)  # below every score
LEAST_SPREAD = 1e-12  # of scores that tell anything


@dataclass(frozen=True)
class Candidates:
    """Rows of `user` (position in the asked users, ascending) and `item`; `parts[row, method]` is the standardised
    score of each method in `names`.
    """

    users: Ints
    user: Ints
    item: Ints
    parts: Dense
    names: tuple[str, ...]

    def ends(self) -> Ints:
        """Where the rows of each asked user begin; one more entry than users."""
        return np.searchsorted(self.user, np.arange(len(self.users) + 1)).astype(np.int64)

    def of_users(self, chosen: Flags) -> "Candidates":
        """The rows of some of the asked users."""
        rows = chosen[self.user]
        place = np.cumsum(chosen) - 1
        return Candidates(self.users[chosen], place[self.user[rows]], self.item[rows], self.parts[rows], self.names)

    def rows(self, chosen: Ints) -> "Candidates":
        """Some of the rows, given in ascending order."""
        return Candidates(self.users, self.user[chosen], self.item[chosen], self.parts[chosen], self.names)


@dataclass(frozen=True)
class Recommendable:
    """What may be recommended: items somebody kept; in mode `new` without what the user ever touched. `precedence`
    orders items that a method says the same of."""

    known: Flags
    touched: sparse.csr_array | None
    precedence: Ints

    @staticmethod
    def of(log: Log, mode: Mode) -> "Recommendable":
        touched = log.touched() if mode == "new" else None
        return Recommendable(log.sales() > 0, touched, popular.precedence(log))

    def closed(self, users: Ints) -> "Closed":
        """What may not be recommended to some users."""
        cells = None if self.touched is None else self.touched[users].nonzero()
        return Closed(np.flatnonzero(~self.known), cells)


@dataclass(frozen=True)
class Closed:
    """Items closed to all of some users, and further cells of users and items."""

    items: Ints
    cells: tuple[Ints, Ints] | None

    def lower(self, scores: Dense) -> None:
        """Put what is closed below everything else, in place."""
        scores[:, self.items] = FLOOR
        if self.cells is not None:
            scores[self.cells] = FLOOR


@dataclass(frozen=True)
class Standardized:
    """Scores of users less their mean over the known items, and the factor of each row that makes their standard
    deviation 1 there: 0 where all are the same. A factor changes no order, so only what is chosen is multiplied.
    """

    centred: Dense
    factor: Dense

    @staticmethod
    def of(scores: Dense, unknown: Ints) -> "Standardized":
        known = np.float32(scores.shape[1] - len(unknown))
        if len(unknown):
            scores = scores.copy()
            scores[:, unknown] = 0.0
        centred = scores - scores.sum(axis=1, keepdims=True) / max(known, np.float32(1.0))
        centred[:, unknown] = 0.0
        spread = np.sqrt(np.einsum("ui,ui->u", centred, centred) / max(known, np.float32(1.0)))
        return Standardized(centred, np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > LEAST_SPREAD))

    def at(self, row: Ints, item: Ints) -> Dense:
        """Standardized scores of some cells."""
        row = row if len(self.centred) > 1 else np.zeros_like(row)
        return self.centred[row, item] * self.factor[row]


def union(log: Log, scorers: dict[str, Scorer], users: Ints, mode: Mode, per_method: int = PER_METHOD) -> Candidates:
    """The best few of every method."""
    allowed, names = Recommendable.of(log, mode), tuple(scorers)
    unknown, parts = np.flatnonzero(~allowed.known), []
    for block in blocks(users, log.shape[1] * len(names)):
        closed = allowed.closed(block)
        chosen, rows = np.zeros((len(block), log.shape[1]), dtype=np.bool_), np.arange(len(block))[:, None]
        scores = []
        for name in names:
            score = Standardized.of(scorers[name].scores(block), unknown)
            scores.append(score)
            if len(score.centred) == 1 and len(block) > 1:
                _mark_shared(chosen, score.centred[0], allowed, block, per_method)
                continue
            closed.lower(score.centred)  # what is closed is never chosen, so its own score is not missed
            best = top_k(score.centred, per_method, allowed.precedence)
            chosen[rows, best] |= score.centred[rows, best] > FLOOR
        row, item = np.nonzero(chosen)
        parts.append((row, item, np.stack([score.at(row, item) for score in scores], axis=1), len(block)))
    return _joined(users, parts, names)


def _mark_shared(chosen: Flags, score: Dense, allowed: Recommendable, block: Ints, per_method: int) -> None:
    """Mark the best of one score that all users of a block share, without a table of it."""
    known = np.flatnonzero(allowed.known)
    before = allowed.precedence[known]
    if allowed.touched is None:
        chosen[:, known[top_k(score[None, known], per_method, before)[0]]] = True
        return
    touched = allowed.touched[block]
    enough = per_method + int(np.diff(touched.indptr).max(initial=0))
    best = known[top_k(score[None, known], enough, before)[0]]
    free = touched[:, best].toarray() == 0
    chosen[:, best] |= free & (np.cumsum(free, axis=1) <= per_method)


@dataclass(frozen=True)
class Restraint:
    """What one method says of an item is held against it, times `amount`, in units of the score: no further than to
    what a user's scores are at least. Items of which the others say nothing have nothing to make room for; held back,
    they would be listed from what the method likes least."""

    method: str
    amount: float

    def against(self, score: Dense, said: Dense, least: Dense) -> Dense:
        """Scores held back. `said`: what the method says of each, from 0 upwards; `least`: of the user's scores."""
        return np.maximum(score - np.float32(self.amount) * said, least)


def best_of_blend(
    log: Log,
    scorers: dict[str, Scorer],
    weights: dict[str, float],
    users: Ints,
    mode: Mode,
    count: int,
    restraint: Restraint | None = None,
) -> tuple[Candidates, Dense]:
    """The best `count` items of each user by a weighted sum of standardised scores, and these scores; rows in order of
    item."""
    allowed, names = Recommendable.of(log, mode), tuple(scorers)
    unknown, parts, totals = np.flatnonzero(~allowed.known), [], [np.zeros(0, dtype=np.float32)]
    for block in blocks(users, log.shape[1] * len(names)):
        scores = [Standardized.of(scorers[name].scores(block), unknown) for name in names]
        total = np.zeros((len(block), log.shape[1]), dtype=np.float32)
        for name, score in zip(names, scores, strict=True):
            if weights.get(name):
                total += score.centred * (np.float32(weights[name]) * score.factor[:, None])
        if restraint is not None:
            # Unknown items stand at the mean, so that they are the least of no row.
            method = scores[names.index(restraint.method)]
            said = (method.centred - method.centred.min(axis=1, keepdims=True)) * method.factor[:, None]
            total = restraint.against(total, said, total.min(axis=1, keepdims=True))
        allowed.closed(block).lower(total)
        best = np.sort(top_k(total, count, allowed.precedence), axis=1)
        row = np.repeat(np.arange(len(block)), best.shape[1])
        item = best.ravel()
        open_ = total[row, item] > FLOOR
        row, item = row[open_], item[open_]
        totals.append(total[row, item])
        parts.append((row, item, np.stack([score.at(row, item) for score in scores], axis=1), len(block)))
    return _joined(users, parts, names), np.concatenate(totals)


def _joined(users: Ints, parts: list[tuple[Ints, Ints, Dense, int]], names: tuple[str, ...]) -> Candidates:
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return Candidates(users, empty, empty, np.zeros((0, len(names)), dtype=np.float32), names)
    firsts = np.cumsum([0, *(count for *_, count in parts)])
    return Candidates(
        users,
        np.concatenate([row + first for (row, *_), first in zip(parts, firsts, strict=False)]),
        np.concatenate([item for _, item, _, _ in parts]),
        np.concatenate([score for _, _, score, _ in parts]),
        names,
    )
