"""A decision: the stages put together, what is kept of them, and the same answer made of that again."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import orjson

try:
    from isal.isal_zlib import compress  # a quarter of the time; where it is absent, Python's own
except ImportError:  # pragma: no cover
    from zlib import compress

from customer360.serve.realtime.ranking import filter as filtering
from customer360.serve.realtime.ranking import rank, rerank
from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.learned import LEARNED
from customer360.serve.realtime.ranking.merchandise import Ranking
from customer360.serve.realtime.ranking.retrieve import Slate

FORMAT = 1
IDS_AT_ONCE = 256
Why = Literal["consent", "no history", "nothing available"]
# What of a record is personal, by kind of personal data: covered for keys that may not see it, gone after an erasure.
PERSONAL = {
    "person_id": "person", "visitor_id": "device", "session": "behaviour", "cart": "behaviour", "interests": "behaviour"
}  # fmt: skip
PERSONAL_CONTEXT = ("age", "segment")
SENTENCES = {
    "pin": "Recommended by the shop",
    "given": "Matches what was asked for",
    "together": "Often bought with {seed}",
    "nearest": "Goes with what was looked at or bought",
    "session": "Looked at just now",
    "model": "Picked by what was bought before",
    "own": "Bought before",
    "segment": "Popular with similar customers",
    "store": "Popular in this store",
    "hour": "Popular at this time of day",
    "new": "New in the shop",
    "popular": "Popular now",
}


@dataclass(frozen=True)
class Decision:
    """One answer and what it was made of. ``origin``: publication, day of its data, versions of models and rules;
    ``degraded``: why less was looked at than usual; ``stands``: the order, where it was there before and the stages
    come to it, too."""

    id: str
    at: datetime
    asked: Asked
    slate: Slate
    ranking: Ranking
    origin: Mapping[str, Any]
    reason: Why | None = None
    degraded: str | None = None
    stands: list[int] | None = None

    @cached_property
    def dropped(self) -> Mapping[int, str]:
        """Reason by candidate."""
        return filtering.dropped(self.slate)

    @cached_property
    def order(self) -> list[int]:
        """Candidates to show, best first: all pages."""
        if self.stands is not None:
            return self.stands
        return rerank.order(self.slate, self.score, self.ranking, self.asked)

    @cached_property
    def score(self) -> Any:
        """The learned one, where a ranker was there."""
        learned = self.slate.values.get(LEARNED)
        return learned if learned is not None else self.base_score

    @cached_property
    def base_score(self) -> Any:
        """By sources and set weights, as it is without a ranker."""
        return rank.summed(self._parts, len(self.slate.products))

    @cached_property
    def _parts(self) -> Mapping[str, Any]:
        return rank.parts(self.slate, self.ranking)

    @cached_property
    def _pinned(self) -> frozenset[int]:
        return frozenset(candidate for _, _, found in self.slate.pins for candidate in found.tolist())

    @cached_property
    def _seeds(self) -> Mapping[int, str]:
        """The product that led to a candidate of `together`."""
        if "together" not in self.slate.seeds:
            return {}
        return dict(zip(self.slate.sources["together"].tolist(), self.slate.seeds["together"], strict=True))

    def products(self) -> list[str]:
        return [self.slate.products[c] for c in self.order]

    def whys(self, candidates: Sequence[int]) -> list[tuple[str, str | None]]:
        """For each candidate the source that counts most (of equal ones the last by name), and the product that led to
        it, if one did."""
        if not candidates:
            return []
        names = sorted(self.slate.sources, reverse=True)
        at = np.array(candidates)
        best = np.array([self._parts[name][at] for name in names]).argmax(axis=0)
        found = zip(candidates, (names[at] for at in best.tolist()), strict=True)
        return [
            ("pin", None) if c in self._pinned else (name, self._seeds.get(c) if name == "together" else None)
            for c, name in found
        ]

    def record(self) -> dict[str, Any]:
        """Everything that the same answer can be made of again, as `packed` writes it."""
        return {
            "format": FORMAT,
            "id": self.id,
            "at": self.at.isoformat(),
            "asked": self.asked.record(),
            "slate": self.slate.record(),
            "ranking": self.ranking.record,
            "origin": dict(self.origin),
            "reason": self.reason,
            "degraded": self.degraded,
            "answer": self.order,
        }

    def packed(self) -> bytes:
        """The record as JSON in gzip, which the search for traces opens."""
        return compress(_written(self.record()), 1, wbits=31)


def _written(record: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(record, _as_list, orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:  # half a surrogate pair in what was asked
        return json.dumps(record, separators=(",", ":"), default=_as_list).encode()


def _as_list(found: Any) -> Any:
    """Numbers whose memory is not in one piece, or that Python writes."""
    if isinstance(found, np.ndarray):
        return found.tolist()
    raise TypeError(f"{type(found).__name__} is no part of a record")


class _Ids:
    """Random ids of 128 bits: the system is asked for many at once, as each question costs as much as ordering."""

    def __init__(self) -> None:
        self._left: list[str] = []
        os.register_at_fork(after_in_child=self._left.clear)  # two processes never give the same

    def __call__(self) -> str:
        try:
            return self._left.pop()
        except IndexError:
            found = os.urandom(16 * IDS_AT_ONCE).hex()
            self._left.extend(found[at : at + 32] for at in range(32, len(found), 32))
            return found[:32]


fresh_id = _Ids()


def decided(
    asked: Asked, slate: Slate, ranking: Ranking, origin: Mapping[str, Any], reason: Why | None, degraded: str | None
) -> Decision:
    """A new decision, of this moment."""
    return Decision(fresh_id(), datetime.now(UTC), asked, slate, ranking, origin, reason, degraded)


def as_listed(
    asked: Asked, source: str, products: Sequence[str], shown: Set[str], origin: Mapping[str, Any], reason: Why | None,
    hidden: Mapping[str, str] | None = None,
) -> Decision:  # fmt: skip
    """The decision to show a stored list as it is: of the products that were looked at, in order, those ``shown``;
    ``hidden``: those that a rule hides, with the rule."""
    everything = np.arange(len(products), dtype=np.int64)
    out: dict[str, list[int]] = {}
    for at, product in enumerate(products):
        if product not in shown:
            out.setdefault((hidden or {}).get(product, "not offered"), []).append(at)
    drops = {why: np.array(places, dtype=np.int64) for why, places in out.items()}
    slate = Slate(tuple(products), (None,) * len(products), {source: everything}, {}, {}, drops)
    kept = [at for at, product in enumerate(products) if product in shown][: rerank.DEEPEST]
    return replace(decided(asked, slate, _as_it_is(source), origin, reason, None), stands=kept)


@cache
def _as_it_is(source: str) -> Ranking:
    """By the place in the list of one source alone."""
    return Ranking(weights={source: 1.0}, interest=0, activity=0, diversity=0)


def unpacked(packed: bytes) -> dict[str, Any]:
    """The record in what `Decision.packed` gave."""
    record: dict[str, Any] = json.loads(zlib.decompress(packed, wbits=47))  # of before: without the header of gzip
    return record


def replayed(record: Mapping[str, Any]) -> Decision:
    """The decision of a record, made again by the code as it is now; ``order`` is the answer it comes to."""
    return Decision(
        record["id"],
        datetime.fromisoformat(record["at"]),
        Asked.of_record(record["asked"]),
        Slate.of_record(record["slate"]),
        Ranking.model_validate(record["ranking"]),
        record["origin"],
        record["reason"],
        record["degraded"],
    )


def covered(record: Mapping[str, Any], mask: str) -> dict[str, Any]:
    """A record without what is personal in it: who, and what was just done; the candidates stay."""
    asked = record["asked"]
    hidden = {
        name: mask if isinstance(asked[name], str) else type(asked[name])()
        for name in PERSONAL
        if asked[name] is not None
    }
    context = asked["context"] | dict.fromkeys(PERSONAL_CONTEXT)
    return {**record, "asked": asked | hidden | {"context": context}}


def explained(decision: Decision) -> list[dict[str, Any]]:
    """Every candidate: from which sources (rank in each), what its features are, what it scored, where it stands or
    which reason dropped it."""
    ranks: dict[int, dict[str, int]] = {}
    for name, found in decision.slate.sources.items():
        for place, candidate in enumerate(found.tolist(), start=1):
            ranks.setdefault(candidate, {}).setdefault(name, place)
    position = {candidate: place for place, candidate in enumerate(decision.order, start=1)}
    touched: dict[int, list[str]] = {}
    slate = decision.slate
    effects = [*((n, f) for n, _, f in slate.pins), *((n, f) for n, _, f in slate.boosts), *slate.buried]
    for name, found in effects:
        for candidate in found.tolist():
            touched.setdefault(candidate, []).append(name)
    return [
        {
            "product_id": product,
            "position": position.get(candidate),
            "dropped_by": decision.dropped.get(candidate),
            "score": float(decision.score[candidate]),
            "base_score": float(decision.base_score[candidate]),
            "sources": ranks.get(candidate, {}),
            "features": {"category": slate.category[candidate]}
            | {name: float(found[candidate]) for name, found in slate.values.items()},
            "rules": touched.get(candidate, []),
        }
        for candidate, product in enumerate(slate.products)
    ]
