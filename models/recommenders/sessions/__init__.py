"""The next item of a session: candidates of several methods, ordered by the best single one, a weighted sum or a
ranker.

The newest sessions play the future. The older half of them teaches, the newer half judges the ways against each other;
the way that was best is learned anew on both, and methods are fitted on every event before the date.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from customer360.models.recommenders import blend
from customer360.models.recommenders import ranker as trees
from customer360.models.recommenders.candidates import Candidates
from customer360.models.recommenders.lists import ranked
from customer360.models.recommenders.log import Dense, Flags, Ints
from customer360.models.recommenders.sessions.log import Moments, SessionLog
from customer360.models.recommenders.sessions.methods import Fitted, best_of_rows, values_at

PER_METHOD = 50
WEIGHED_MOMENTS = 1_500  # moments that weights are searched on; the ranker learns from all
RANKED = 80  # candidates of a moment that the ranker orders
POPULAR = 40  # candidates for everybody
INNER_SHARE = 0.2  # of the sessions, the newest
INNER_MOMENTS = 12_000
FEWEST_MOMENTS = 50
RANKER_MOMENTS = 1_000
HIT_AT = 20
BLOCK_MOMENTS = 20_000

Tell = Callable[[str], None]


@dataclass(frozen=True)
class SessionHybrid:
    """Fitted methods and the way that was chosen; `figures` are HR@20 and MRR@20 on the inner sessions by way."""

    log: SessionLog
    fitted: Fitted
    weights: dict[str, float]
    ranker: trees.Ranker | None
    name: str
    figures: dict[str, tuple[float, float]]

    def lists(self, sessions: Ints, k: int) -> tuple[Ints, Ints, Ints, Dense]:
        """Session, item, rank from 1 and score of the k best next items of each, in order of session and rank."""
        parts = []
        for start in range(0, len(sessions), BLOCK_MOMENTS):
            asked = sessions[start : start + BLOCK_MOMENTS]
            found, facts = candidates(self.fitted, Moments.last(self.log, asked), max(k, PER_METHOD))
            score = _score(found, facts, self.weights, self.ranker)
            rows, rank = ranked(found, score, k)
            parts.append((asked[found.user[rows]], found.item[rows], rank, score[rows]))
        if not parts:
            none = np.zeros(0, dtype=np.int64)
            return none, none, none, np.zeros(0, dtype=np.float32)
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


@dataclass(frozen=True)
class NextJudge:
    """HR@20 and MRR@20 of orders of candidates, with one next item per moment."""

    found: Candidates
    hit: Flags

    def by_moment(self, score: Dense) -> tuple[np.ndarray, np.ndarray]:
        """Hit and reciprocal rank of each moment; both 0 past rank 20."""
        count = len(self.found.users)
        target = np.full(count, -np.inf)
        target[self.found.user[self.hit]] = score[self.hit]
        better = score > target[self.found.user]
        rank = 1 + np.bincount(self.found.user, weights=better, minlength=count)
        tied = (score == target[self.found.user]) & ~self.hit
        before = tied & (self.found.item < self._target_item(count)[self.found.user])
        rank += np.bincount(self.found.user, weights=before, minlength=count)
        hit = np.isfinite(target) & (rank <= HIT_AT)
        return hit.astype(np.float64), np.where(hit, 1.0 / rank, 0.0)

    def _target_item(self, count: int) -> Ints:
        item = np.full(count, -1, dtype=np.int64)
        item[self.found.user[self.hit]] = self.found.item[self.hit]
        return item

    def value(self, score: Dense) -> float:
        """What ways are chosen by: mean of HR@20 and MRR@20."""
        hit, reciprocal = self.by_moment(score)
        return float(hit.mean() + reciprocal.mean()) / 2


def candidates(fitted: Fitted, moments: Moments, per_method: int = PER_METHOD) -> tuple[Candidates, Dense]:
    """The best of every method and what sells lately, never the current item; and facts of each row for the ranker.

    `parts` are scores over the largest of their moment and method, so between 0 and 1.
    """
    scores, items, count = fitted.scores(moments), len(moments.log.items), len(moments.event)
    popular = np.lexsort((np.arange(items), -fitted.lately))[: max(POPULAR, per_method)]
    popular = popular[fitted.lately[popular] > 0]
    keys = [np.repeat(np.arange(count), len(popular)) * items + np.tile(popular, count)]
    for score in scores.values():
        best = best_of_rows(score, per_method).tocoo()
        keys.append(best.coords[0].astype(np.int64) * items + best.coords[1])
    key = np.unique(np.concatenate(keys))
    key = key[key % items != moments.current[key // items]]
    row, item = key // items, key % items
    raw = {name: values_at(score, row, item) for name, score in scores.items()}
    raw["popularity"] = fitted.lately[item]
    parts = np.stack([_over_largest(value, row, count) for value in raw.values()], axis=1)
    found = Candidates(np.arange(count), row, item, parts, tuple(raw))
    return found, np.stack([*(np.log1p(v) for v in raw.values()), *_facts(fitted, moments, row, item)], axis=1)


def _facts(fitted: Fitted, moments: Moments, row: Ints, item: Ints) -> list[Dense]:
    """Popularity, how long the session is, and how many steps back the item was seen in it (-1 for never)."""
    moment, event, back = moments.history(50)
    shape = (len(moments.event), len(moments.log.items))
    key = moment * shape[1] + moments.log.item[event]
    order = np.lexsort((back, key))
    first = order[np.diff(key[order], prepend=-1) != 0]
    cells = ((back[first] + 1).astype(np.float32), (moment[first], moments.log.item[event][first]))
    seen = values_at(sparse.coo_array(cells, shape=shape).tocsr(), row, item) - 1
    length = (moments.event - moments.log.starts[moments.session] + 1).astype(np.float32)
    current = np.log1p(fitted.sold[moments.current])
    return [np.log1p(fitted.sold)[item], length[row], current[row], seen.astype(np.float32)]


def _over_largest(value: Dense, row: Ints, count: int) -> Dense:
    largest = np.zeros(count, dtype=np.float32)
    np.maximum.at(largest, row, value)
    return np.divide(value, largest[row], out=np.zeros_like(value), where=largest[row] > 0)


def fit(log: SessionLog, tell: Tell) -> SessionHybrid:
    """Choose on the newest sessions, fit on all. Where no session has two different items, what sells lately is all
    there is to say.
    """
    taught = _inner(log, tell)
    if taught is not None:
        weights, ranker, name, figures = _choose(*taught, tell)
    else:
        weights, ranker, name, figures = {"rules_history": 1.0, "popularity": 0.01}, None, "blend", {}
    tell(f"fitting on all {len(log.item):,} events of {len(log.sessions):,} sessions before the date")
    return SessionHybrid(log, Fitted.of(log), weights, ranker, name, figures)


def _inner(log: SessionLog, tell: Tell) -> tuple[Candidates, Dense, Flags, Flags] | None:
    """Candidates, facts, hits and which moments are of the newer half; None where too little is left to judge by."""
    first, last = log.first_at(), log.last_at()
    steps = np.bincount(log.session, minlength=len(log.sessions)) - 1
    order = np.lexsort((np.arange(len(first)), -first))
    enough = np.searchsorted(np.cumsum(np.maximum(steps[order], 0)), INNER_MOMENTS) + 1
    newest = order[: max(1, min(int(enough), int(INNER_SHARE * len(order))))]
    start = first[newest].min()
    past, future = log.of_sessions(last < start), log.of_sessions(first >= start)
    moments = Moments.inside(future)
    if len(moments.event) < FEWEST_MOMENTS or len(Moments.inside(past).event) == 0:
        tell("too few sessions to judge methods by: sequential rules are used, popularity where they are silent")
        return None
    tell(
        f"inner split: {len(newest):,} newest sessions with {len(moments.event):,} next items judge methods fitted "
        "before them"
    )
    found, facts = candidates(Fitted.of(past), moments)
    hit = found.item == moments.following()[found.user]
    begun = first[moments.session]
    return found, facts, hit, begun > np.median(begun)


def _choose(
    found: Candidates, facts: Dense, hit: Flags, newer: Flags, tell: Tell
) -> tuple[dict[str, float], trees.Ranker | None, str, dict[str, tuple[float, float]]]:
    older_rows, newer_rows = ~newer[found.user], newer[found.user]
    judged = found.of_users(newer)
    judge = NextJudge(judged, hit[newer_rows])

    def means(score: Dense) -> tuple[float, float]:
        hits, reciprocal = judge.by_moment(score)
        return float(hits.mean()), float(reciprocal.mean())

    figures = {name: means(judged.parts[:, column]) for column, name in enumerate(found.names)}
    older = found.of_users(~newer)
    weights, ranker = _learn(older, facts[older_rows], hit[older_rows])
    figures["blend"] = means(blend.combined(judged, weights))
    if ranker is not None:
        figures["ranker"] = means(_score(judged, facts[newer_rows], weights, ranker))
    for name, (rate, reciprocal) in sorted(figures.items(), key=lambda pair: -sum(pair[1])):
        tell(f"  inner HR@20 {rate:.4f}  MRR@20 {reciprocal:.4f}  {name}")
    best = max(figures, key=lambda name: sum(figures[name]))
    if best in ("blend", "ranker"):
        weights, ranker = _learn(found, facts, hit)
    else:
        weights, ranker = {best: 1.0, "popularity": 0.001}, None
    shown = ", ".join(f"{name} {weight:.2f}" for name, weight in sorted(weights.items(), key=lambda p: -p[1]))
    tell(f"chosen: {best} ({shown})")
    return weights, ranker if best == "ranker" else None, best, figures


def _learn(found: Candidates, facts: Dense, hit: Flags) -> tuple[dict[str, float], trees.Ranker | None]:
    every = max(1, len(found.users) // WEIGHED_MOMENTS)
    few = np.arange(len(found.users)) % every == 0
    fewer = found.of_users(few)
    weights = blend.learn(fewer, NextJudge(fewer, hit[few[found.user]]))
    weights["popularity"] = max(weights.get("popularity", 0.0), 0.001)  # orders what nothing else speaks of
    if len(found.users) < RANKER_MOMENTS // 2:
        return weights, None
    rows = _ranked_rows(found, weights)
    kept = found.rows(rows)
    return weights, trees.fit(_inputs(kept, facts[rows], weights), hit[rows], kept.user)


def _ranked_rows(found: Candidates, weights: dict[str, float]) -> Ints:
    """The candidates that are worth the ranker's time: the best by the weighted sum, in ascending order."""
    return np.sort(ranked(found, blend.combined(found, weights), RANKED)[0])


def _inputs(found: Candidates, facts: Dense, weights: dict[str, float]) -> Dense:
    return np.hstack([found.parts, facts, blend.combined(found, weights)[:, None]])


def _score(found: Candidates, facts: Dense, weights: dict[str, float], ranker: trees.Ranker | None) -> Dense:
    if ranker is None or len(found.user) == 0:
        return blend.combined(found, weights)
    rows = _ranked_rows(found, weights)
    score = np.full(len(found.user), -np.inf, dtype=np.float32)
    score[rows] = ranker.order(_inputs(found.rows(rows), facts[rows], weights))
    return score
