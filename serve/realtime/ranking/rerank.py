"""Last stage: the order that is shown. Boosts and burying, then a mix of categories, then pins."""

from __future__ import annotations

import heapq
from collections import defaultdict
from functools import lru_cache

import numpy as np

from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.catalogue import NO_CATEGORY, Ints
from customer360.serve.realtime.ranking.merchandise import Ranking
from customer360.serve.realtime.ranking.retrieve import Slate, Values

DEEPEST = 200  # candidates that are put in order; pages end there
SHARES = 128  # that are kept together


def order(slate: Slate, score: Values, ranking: Ranking, asked: Asked) -> list[int]:
    """The candidates to show, best first.

    The n-th product of a category counts (1 - diversity)^(n-1) of its score, so that one category never fills a list
    in which others are nearly as good. Candidates of equal score stand in the order in which they were found.
    """
    value = score.copy()
    for _, factor, found in slate.boosts:
        value[found] *= factor
    is_low = np.zeros(len(value), dtype=np.bool_)
    for _, found in slate.buried:
        is_low[found] = True
    may = slate.may.nonzero()[0]
    kept = may[(-value[may]).argsort(kind="stable")]
    raised, buried = kept[~is_low[kept]], kept[is_low[kept]].tolist()
    diversity = ranking.diversity if asked.diversity is None else asked.diversity
    if ranking.most_per_category is None:
        return _pinned(_mixed(raised, slate, value, diversity).tolist() + buried, slate)[:DEEPEST]
    enough = len(kept) if slate.pins else DEEPEST  # a pin may bring up the last
    paged = _paged(raised.tolist(), slate, value.tolist(), diversity, ranking.most_per_category, asked.k, enough)
    return _pinned(paged + buried, slate)[:DEEPEST]


def _mixed(kept: Ints, slate: Slate, value: Values, diversity: float) -> Ints:
    """Candidates (best first) by what they count after those of their category that stand before them. Within a
    category that falls from one to the next, so that a sort comes to what always taking the best of those left does."""
    if diversity == 0 or not len(kept):
        return kept
    code, place = slate.codes[kept], np.arange(len(kept))
    together = code.argsort(kind="stable")
    sorted_code = code[together]
    begins = np.empty(len(kept), dtype=np.bool_)
    begins[0] = True
    np.not_equal(sorted_code[1:], sorted_code[:-1], out=begins[1:])
    nth = np.empty(len(kept), dtype=np.int64)
    nth[together] = place - np.maximum.accumulate(np.where(begins, place, 0))
    nth[code == NO_CATEGORY] = 0  # what is of no known category crowds nothing
    shares = _shares(diversity, int(nth.max()) // SHARES * SHARES + SHARES)
    return kept[np.lexsort((kept, -value[kept] * shares[nth]))]


@lru_cache(maxsize=256)
def _shares(diversity: float, count: int) -> Values:
    """What the first, second, … product of a category counts of its score."""
    return np.array([(1 - diversity) ** n for n in range(count)])


def _paged(
    kept: list[int], slate: Slate, value: list[float], diversity: float, most: int, page: int, enough: int
) -> list[int]:
    """As `_mixed`, and beyond ``most`` on a page a category waits for the next; the first ``enough`` at least. Greedy:
    always the candidate that counts most, given what stands already, of the first of each category."""
    waiting: dict[str | None, list[int]] = defaultdict(list)
    for candidate in reversed(kept):
        waiting[slate.category[candidate]].append(candidate)
    taken: dict[str | None, int] = defaultdict(int)

    def entry(category: str | None) -> tuple[float, int, str | None]:
        candidate = waiting[category][-1]
        share = 1.0 if category is None else (1 - diversity) ** taken[category]
        return -value[candidate] * share, candidate, category

    heads = [entry(category) for category in waiting]
    heapq.heapify(heads)
    out: list[int] = []
    full: list[str | None] = []
    shown: dict[str | None, int] = defaultdict(int)
    while (heads or full) and len(out) < enough:
        if len(out) % page == 0 or not heads:
            for category in full:
                heapq.heappush(heads, entry(category))
            full = []
            shown.clear()
        _, candidate, category = heapq.heappop(heads)
        waiting[category].pop()
        out.append(candidate)
        taken[category] += 1
        shown[category] += 1
        if waiting[category]:
            if category is not None and shown[category] >= most:
                full.append(category)
            else:
                heapq.heappush(heads, entry(category))
    return out


def _pinned(ordered: list[int], slate: Slate) -> list[int]:
    """Pinned candidates at their place, those of one pin in their order below each other."""
    for _, position, found in reversed(slate.pins):
        mine = {int(c) for c in found}
        up = [c for c in ordered if c in mine]
        rest = [c for c in ordered if c not in mine]
        ordered = rest[: position - 1] + up + rest[position - 1 :]
    return ordered
