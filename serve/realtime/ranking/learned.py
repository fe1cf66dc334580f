"""The learned order: the champion of the model `ranking` over the products of a publication.

It puts the best candidates of the sources in another order, by what counts at this moment; the others stay behind them
as they were. What a person did counts only where that is allowed; place, time and device are of the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from customer360.models.ranking.features import LEAST_LOG_SCORE, NUMBERS, moment, shares_of
from customer360.models.ranking.fitting import Weights
from customer360.serve.publication.rankers import Published
from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.catalogue import Catalogue, Flags, Ints
from customer360.serve.realtime.ranking.retrieve import Slate, Values

LEARNED, AFFINITY = "learned", "affinity"  # among the values of a slate
DIGITS = 12


@dataclass(frozen=True)
class Learned:
    """By place of the catalogue: the number of each product's category, and its numbers as they are weighed; of a
    product that the ranker does not know, the mean."""

    version: str
    weights: Weights
    placements: frozenset[str]
    depth: int
    code: Ints
    numbers: Values

    @staticmethod
    def of(published: Published, catalogue: Catalogue) -> Learned:
        """Lay a published ranker over a catalogue."""
        weights, known = published.fitted.weights, published.products
        places = catalogue.places(known["product_id"])
        count = len(catalogue.is_offered)
        code = np.full(count, len(weights.categories), dtype=np.int64)
        numbers = np.zeros((count, len(NUMBERS)))
        here = places >= 0
        code[places[here]] = weights.codes(known["category"])[here]
        raw = known.select(NUMBERS).to_numpy().astype(np.float64)
        numbers[places[here]] = weights.standard(raw)[here]
        fitted = published.fitted
        return Learned(published.version, weights, frozenset(fitted.placements), fitted.depth, code, numbers)

    def values(self, slate: Slate, places: Ints, fused: Values, asked: Asked, affinity: Values) -> dict[str, Values]:
        """The values that a slate keeps: a score above nought for each candidate, and what it was made of by person.
        ``fused``: the scores by source."""
        may = slate.may
        best = float(fused[may].max(initial=0.0))  # a log tells of what was shown alone
        share = np.minimum(fused / best, 1.0) if best > 0 else np.zeros(len(fused))
        log_share = np.log(np.maximum(share, np.exp(LEAST_LOG_SCORE)))
        weighs = self.weights.base + self.weights.at(_moment(asked))
        known = len(self.weights.categories)
        by_category = np.append(weighs[:known], 0.0)
        utility = by_category[self.code[places]] + self.numbers[places] @ weighs[known:]
        shares = (share, log_share, affinity, slate.values["activity"])
        for weight, values in zip(self.weights.shares.tolist(), shares, strict=True):
            utility += weight * values
        return {LEARNED: self._ordered(may, utility, fused), AFFINITY: affinity}

    def _ordered(self, may: Flags, utility: Values, fused: Values) -> Values:
        """Utilities as scores, of the first `depth` candidates that may be shown; the others below the least of them,
        in their order."""
        score = np.zeros(len(utility))
        open_ = np.flatnonzero(may)
        first = open_[np.argsort(-fused[open_], kind="stable")[: self.depth]]
        if len(first):
            score[first] = np.exp(utility[first] - utility[first].max())
        behind = np.ones(len(utility), dtype=np.bool_)
        behind[first] = False
        least = float(score[first].min()) if len(first) else 1.0
        score[behind] = 0.999 * least * fused[behind] / max(float(fused.max(initial=0.0)), 1e-9)
        return np.round(score, DIGITS)


def _moment(asked: Asked) -> Mapping[str, str | None]:
    context, session = asked.context, asked.session
    touched = {*session.viewed, *session.cart}
    is_known = asked.is_personal and bool(touched or asked.visitor_id or asked.person_id)
    depth = len(touched) if is_known else None
    return moment(
        on=asked.on, hour=context.hour, region=context.region, store=context.store_id, device=context.device,
        depth=depth,
    )  # fmt: skip


def affinity_of(bought: Iterable[str], catalogue: Catalogue, places: Ints) -> Values:
    """The share of what was bought before that is of each candidate's category."""
    mine = catalogue.category[catalogue.places(bought)].tolist()
    shares = shares_of(mine)
    if not shares:
        return np.zeros(len(places))
    return np.array([shares.get(c, 0.0) for c in catalogue.category[places].tolist()])
