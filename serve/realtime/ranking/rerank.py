"""Last stage: the order that is shown. Boosts and burying, then a mix of categories, then pins."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping

from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.merchandise import Ranking
from customer360.serve.realtime.ranking.retrieve import Slate, Values

DEEPEST = 200  # candidates that are put in order; pages end there


def order(slate: Slate, score: Values, dropped: Mapping[int, str], ranking: Ranking, asked: Asked) -> list[int]:
    """The candidates to show, best first.

    The n-th product of a category counts (1 - diversity)^(n-1) of its score, so that one category never fills a list
    in which others are nearly as good. Candidates of equal score stand in the order in which they were found.
    """
    value = score.copy()
    for _, factor, found in slate.boosts:
        value[found] *= factor
    low = {int(c) for _, found in slate.buried for c in found}
    kept = [c for c in range(len(slate.products)) if c not in dropped]
    kept.sort(key=lambda c: (c in low, -value[c], c))
    diversity = ranking.diversity if asked.diversity is None else asked.diversity
    raised = [c for c in kept if c not in low]
    mixed = _mixed(raised, slate, value, diversity, ranking.most_per_category, asked.k)
    return _pinned(mixed + [c for c in kept if c in low], slate)[:DEEPEST]


def _mixed(kept: list[int], slate: Slate, value: Values, diversity: float, most: int | None, page: int) -> list[int]:
    """Greedy: always the candidate that counts most, given what stands already. Within a category the order never
    changes, so the first of each is enough to compare. Beyond ``most`` on a page a category waits for the next."""
    if diversity == 0 and most is None:
        return kept
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
    while heads or full:
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
            if most is not None and category is not None and shown[category] >= most:
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
