"""A choice of products: what a publication knows is read, and the stages are put together over it.

The products of a publication are read once a process, aside. Until they are there, and when an answer would come late,
what is popular answers, through the same stages: a degraded answer breaks no rule.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from customer360.platform import telemetry
from customer360.platform.errors import LakeError
from customer360.platform.online import NotPublished, View
from customer360.serve.publication.demand import ALL as LAUNCHED_KEY
from customer360.serve.publication.documents import POPULAR_KEY
from customer360.serve.publication.offers import is_offered
from customer360.serve.publication.rankers import RankerStore
from customer360.serve.publication.vectors import VectorStore
from customer360.serve.realtime.ranking import filter as filtering
from customer360.serve.realtime.ranking import rank, retrieve
from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.catalogue import SHOWN, UNKNOWN, Catalogue, Flags
from customer360.serve.realtime.ranking.decision import Decision, Why, decided
from customer360.serve.realtime.ranking.filter import Stocked
from customer360.serve.realtime.ranking.learned import Learned, affinity_of
from customer360.serve.realtime.ranking.merchandise import MerchandisingRules
from customer360.serve.realtime.ranking.retrieve import PER_SOURCE, PER_SOURCE_READ, Listed, Nearest, Slate
from customer360.serve.realtime.session import Session

PATIENCE_SECONDS = 0.5  # for the products of a publication that is new to this process
SLOW_SECONDS = 0.25  # after which no further source is asked
SEEDS = 5  # products of a session or a cart whose companions are looked up
SESSION = 20  # products of a session that make its vector
PINNED = 10  # products of one pin
MOST_LISTS, MOST_STORES = 20_000, 500  # that are kept of a publication
FALLBACK_ITEMS = 120  # popular products of a degraded answer
TOLD = ("interest", "activity")  # values that tell of a person
NOT_READY, LATE = "the catalogue is being read", "time"


@dataclass(frozen=True)
class Shelf:
    """The products of one publication, their vectors and its ranker where it has any. What is the same for everybody
    (lists, the stock of a store) is read when it is asked for first, and kept."""

    generation: str
    catalogue: Catalogue
    nearest: Nearest | None
    learned: Learned | None = None
    _lists: dict[tuple[str, str], Listed] = field(default_factory=dict)
    _stocked: dict[str, Stocked] = field(default_factory=dict)

    def listed(self, view: View, kind: str, key: str) -> Listed:
        """Products of a document with items, the best first; none where there is no such document."""
        kept = self._lists.get((kind, key))
        if kept is None:
            stored = view.get(kind, key) or {"items": []}
            found = list(dict.fromkeys(item["product_id"] for item in stored["items"][:PER_SOURCE_READ]))
            kept = Listed(found, places=self.catalogue.places(found))
            if len(self._lists) < MOST_LISTS:
                self._lists[kind, key] = kept
        return kept

    def stocked(self, view: View, store_id: str | None) -> Stocked | None:
        """What a store has; None where none is named, or nothing is known of its stock."""
        if store_id is None:
            return None
        kept = self._stocked.get(store_id)
        if kept is None and (stored := view.get("stocked", store_id)) is not None:
            kept = Stocked.of(stored["products"], self.catalogue)
            if len(self._stocked) < MOST_STORES:
                self._stocked[store_id] = kept
        return kept


class Shelves:
    """The shelf of the publication in service. A new publication is read by a thread."""

    def __init__(
        self, vectors: VectorStore, patience: float = PATIENCE_SECONDS, rankers: RankerStore | None = None
    ) -> None:
        self._vectors, self._rankers, self._patience = vectors, rankers, patience
        self._lock = threading.Lock()
        self._shelf: Shelf | None = None
        self._reading: tuple[str, threading.Thread] | None = None

    def of(self, view: View, patience: float | None = None) -> Shelf | None:
        """None where it is not read yet, after some seconds of ``patience``. Raises Unsound: it cannot be."""
        shelf = self._shelf
        if shelf is not None and shelf.generation == view.generation.id:
            return shelf
        with self._lock:
            if self._reading is None or self._reading[0] != view.generation.id:
                thread = threading.Thread(target=self._read, args=(view,), name="catalogue", daemon=True)
                self._reading = view.generation.id, thread
                thread.start()
                wait = self._patience if patience is None else patience
            else:
                thread, wait = self._reading[1], 0.0
        thread.join(wait)
        shelf = self._shelf
        return shelf if shelf is not None and shelf.generation == view.generation.id else None

    def _read(self, view: View) -> None:
        try:
            catalogue = Catalogue.of(view.scan("product"), view.generation.as_of)
            vectors = self._vectors.of(view.generation)
            nearest = Nearest.of(vectors, catalogue) if vectors else None
            ranker = self._rankers.of(view.generation) if self._rankers else None
            learned = Learned.of(ranker, catalogue) if ranker else None
            self._shelf = Shelf(view.generation.id, catalogue, nearest, learned)
        except (LakeError, ValueError, KeyError, TypeError) as fault:
            telemetry.log.error(f"the catalogue cannot be read ({type(fault).__name__}); what is popular answers")


@dataclass(frozen=True)
class Found:
    """What a view says for one request."""

    lists: Mapping[str, Listed]
    interests: Mapping[str, float]
    bought: frozenset[str]
    model: Mapping[str, Any]
    is_late: bool = False


class Chooser:
    """Chooses products of a view. ``rules`` gives the rules of now; ``clock`` is for tests."""

    def __init__(
        self, shelves: Shelves, rules: Callable[[], MerchandisingRules], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._shelves, self._rules, self._clock = shelves, rules, clock

    def choose(self, view: View, asked: Asked, person: Mapping[str, Any] | None) -> Decision:
        """The decision for a request; ``person`` is the stored document of whom it is for, None: a visitor.

        Raises:
            ExpressionError: a condition of the request is none.
        """
        began, rules = self._clock(), self._rules()
        shelf = self._shelves.of(view)
        if shelf is None:
            return self._popular(view, asked, rules, NOT_READY, person)
        stocked = shelf.stocked(view, asked.context.store_id)
        allowed = filtering.allowed(shelf.catalogue, asked, rules, stocked)
        found = _found(view, shelf, asked, person, allowed, rules, lambda: self._clock() - began > SLOW_SECONDS)
        return _decision(view, shelf, asked, rules, found, allowed, stocked, LATE if found.is_late else None)

    def facts(self, view: View, products: Sequence[str]) -> list[Mapping[str, Any]]:
        """Name, category, price and currency of products, as far as the publication knows them."""
        shelf = self._shelves.of(view)
        if shelf is None:
            return [document or {} for document in view.mget("product", products)]
        place, shown = shelf.catalogue.place, shelf.catalogue.shown
        return [shown[place.get(product, UNKNOWN)] for product in products]

    def offered(self, view: View, items: Sequence[Mapping[str, Any]], k: int) -> list[dict[str, Any]] | None:
        """The first ``k`` of some items (with a product_id) that may be shown at all, each with what is shown of its
        product; None where the products of the publication are not read yet, which nobody waits for."""
        shelf = self._shelves.of(view, patience=0)
        if shelf is None:
            return None
        catalogue, found = shelf.catalogue, list[dict[str, Any]]()
        for item in items:
            place = catalogue.place.get(item["product_id"], UNKNOWN)
            known = catalogue.shown[place]
            is_shown = bool(catalogue.is_offered[place])
            if place == UNKNOWN:  # not in the store, or under an id too long to be read with the others
                document = view.get("product", item["product_id"])
                is_shown, known = is_offered(document), {name: (document or {}).get(name) for name in SHOWN}
            if is_shown:
                found.append({**item, **known})
                if len(found) == k:
                    break
        return found

    def still_shown(self, view: View, decision: Decision, candidates: Sequence[int]) -> list[bool]:
        """Whether candidates of a decision may be shown now as well, by offer, stock and rules; what was bought or
        added since changes no page."""
        products = [decision.slate.products[c] for c in candidates]
        asked = replace(decision.asked, on=datetime.now(UTC).date(), mode="all", cart=(), session=Session())
        out = self._dropped(view, asked, self._rules(), products)
        return [place not in out for place in range(len(products))]

    def hidden(self, view: View, asked: Asked, products: Sequence[str]) -> dict[str, str]:
        """Those of some products that a rule of now hides, limits of age and region too, with the rule as the reason of
        a decision."""
        rules = self._rules()
        if not any(action == "hide" for action, _ in rules.holding(asked).values()):
            return {}
        out = self._dropped(view, replace(asked, mode="all"), rules, products)
        return {products[at]: why for at, why in out.items() if why.startswith(filtering.HIDES)}

    def _dropped(
        self, view: View, asked: Asked, rules: MerchandisingRules, products: Sequence[str]
    ) -> Mapping[int, str]:
        """Which of some products, by place, may not be shown, and why."""
        shelf = self._shelves.of(view)
        if shelf is None:
            shelf = _small_shelf(view, products)
        slate = Slate(tuple(products), (None,) * len(products), {"popular": np.arange(len(products))}, {})
        stocked = shelf.stocked(view, asked.context.store_id)
        judged = filtering.judged(slate, shelf.catalogue, asked, rules, frozenset(), stocked)
        return filtering.dropped(judged)

    def catalogue(self, view: View) -> Catalogue:
        """The products of a publication. Raises NotPublished: they cannot be read, or not in time."""
        shelf = self._shelves.of(view)
        if shelf is None:
            raise NotPublished(f"the products of publication {view.generation.id} cannot be read")
        return shelf.catalogue

    def nothing(self, view: View, asked: Asked) -> Decision:
        """The decision to show nothing."""
        origin = {"generation": view.generation.id, "as_of": view.generation.as_of.isoformat()}
        return decided(asked, Slate((), (), {}, {}), self._rules().of(asked.placement), origin, "consent", None)

    def _popular(
        self, view: View, asked: Asked, rules: MerchandisingRules, degraded: str, person: Mapping[str, Any] | None
    ) -> Decision:
        """What is popular (or what was given), of a catalogue of these products alone."""
        stored = (view.get("popular", POPULAR_KEY) or {"items": []})["items"][:FALLBACK_ITEMS]
        names = list(dict.fromkeys(item["product_id"] for item in stored)) if asked.given is None else [*asked.given]
        shelf = _small_shelf(view, names)
        stocked = shelf.stocked(view, asked.context.store_id)
        allowed = filtering.allowed(shelf.catalogue, asked, rules, stocked)
        mine = frozenset(_bought(view, asked)[0])
        found = Found({"popular" if asked.given is None else "given": Listed(names)}, {}, mine, {})
        return _decision(view, shelf, asked, rules, found, allowed, stocked, degraded)


def _small_shelf(view: View, products: Sequence[str]) -> Shelf:
    """A shelf of these products alone."""
    documents = view.mget("product", products)
    known = [(product, d) for product, d in zip(products, documents, strict=True) if d is not None]
    return Shelf(view.generation.id, Catalogue.of(known, view.generation.as_of), None)


def _decision(
    view: View,
    shelf: Shelf,
    asked: Asked,
    rules: MerchandisingRules,
    found: Found,
    allowed: Flags,
    stocked: Stocked | None,
    degraded: str | None,
) -> Decision:
    slate = retrieve.slate(found.lists, shelf.catalogue, asked, found.interests, allowed)
    slate = filtering.judged(slate, shelf.catalogue, asked, rules, found.bought, stocked)
    slate, ranker = _learned(shelf, slate, asked, rules, found)
    vectors = shelf.nearest.vectors if shelf.nearest else None
    origin = {
        "generation": view.generation.id,
        "as_of": view.generation.as_of.isoformat(),
        "rules": rules.digest,
        "vectors": f"{vectors.model} {vectors.version}" if vectors and "nearest" in found.lists else None,
        "ranker": ranker,
        **found.model,
    }
    return decided(asked, slate, rules.of(asked.placement), origin, _reason(asked, slate), degraded)


def _learned(
    shelf: Shelf, slate: Slate, asked: Asked, rules: MerchandisingRules, found: Found
) -> tuple[Slate, str | None]:
    """The slate with the learned order, and the version that it is of; as it is where there is none for this place."""
    ranking, learned = rules.of(asked.placement), shelf.learned
    if learned is None or not ranking.learned or asked.placement not in learned.placements or not slate.products:
        return slate, None
    places = shelf.catalogue.places(slate.products) if slate.places is None else slate.places
    affinity = affinity_of(found.bought, shelf.catalogue, places)
    values = learned.values(slate, places, rank.scores(slate, ranking), asked, affinity)
    return replace(slate, values={**slate.values, **values}), f"ranking {learned.version}"


def _reason(asked: Asked, slate: Slate) -> Why | None:
    """Why the answer is the same for everybody; None where it is not."""
    if not asked.is_personal:
        return "consent"
    mine = filtering.PERSONAL & slate.sources.keys()
    if not mine and not any(np.count_nonzero(slate.values[name]) for name in TOLD if name in slate.values):
        return "no history"
    if mine and not any(np.count_nonzero(slate.may[slate.sources[name]]) for name in mine):
        return "nothing available"
    return None


def _found(
    view: View,
    shelf: Shelf,
    asked: Asked,
    person: Mapping[str, Any] | None,
    allowed: Flags,
    rules: MerchandisingRules,
    is_late: Callable[[], bool],
) -> Found:
    """Sources with a weight are asked, personal ones where that is allowed, the dear ones last."""
    weights = rules.of(asked.placement).weights
    lists = dict[str, Listed]()
    mine, ages = _bought(view, asked)
    model: dict[str, Any] = {}
    interests: Mapping[str, float] = {}
    if asked.given is not None:
        allowed = allowed & _only(shelf.catalogue, asked.given)
        lists["given"] = Listed(asked.given)
    if asked.is_personal:
        interests = _interests(view, asked)
        stored = _model_list(view, asked)
        if stored is not None:
            lists["model"] = Listed(list(dict.fromkeys(i["product_id"] for i in stored["items"])))
            model = {name: stored[name] for name in ("model", "version")} | {"scored_as_of": stored["as_of"]}
        lists["session"] = Listed(asked.session.viewed[:PER_SOURCE])
        if asked.mode == "all":
            lists["own"] = Listed(mine[:PER_SOURCE])
    seeds = [asked.product_id] if asked.product_id else []
    if asked.is_personal:
        seeds += [*asked.cart, *asked.session.cart, *asked.session.viewed[:1]]
    if seeds := list(dict.fromkeys(seeds))[:SEEDS]:
        lists["together"] = retrieve.interleaved({s: shelf.listed(view, "together", s).products for s in seeds})
    for name, key in _groups(asked, person).items():
        if weights.get(name, 0):
            lists[name] = shelf.listed(view, "popular_by", key)
    lists["popular"] = shelf.listed(view, "popular", POPULAR_KEY)
    lists["new"] = shelf.listed(view, "launched", LAUNCHED_KEY)
    late = is_late()
    touched = list(dict.fromkeys([*seeds, *asked.session.cart, *asked.session.viewed]))[:SESSION]
    if shelf.nearest and asked.is_personal and weights.get("nearest", 0) and not late and (touched or not model):
        query = shelf.nearest.query(touched, mine, ages)
        if query is not None:
            own = shelf.catalogue.places([*mine, *touched] if asked.mode == "new" else touched)
            open_ = allowed.copy()
            open_[own[own >= 0]] = False
            lists["nearest"] = shelf.nearest.search(query, open_, PER_SOURCE)
    lists["pinned"] = _pinned(shelf.catalogue, asked, rules, allowed)
    lists = {n: listed for n, listed in lists.items() if n in ("given", "pinned") or weights.get(n, 0)}
    if asked.given is not None:
        lists = {name: _within(listed, asked.given) for name, listed in lists.items()}
    return Found(lists, interests, frozenset(mine), model, late)


def _pinned(catalogue: Catalogue, asked: Asked, rules: MerchandisingRules, allowed: Flags) -> Listed:
    """What rules pin is a candidate, whether or not a source names it."""
    found: list[str] = []
    for action, rule in rules.holding(asked).values():
        if action == "pin":
            places = np.flatnonzero(filtering.meant(catalogue, rule) & allowed)[:PINNED]
            found += [catalogue.products[place] for place in places if place < len(catalogue.products)]
    return Listed(list(dict.fromkeys(found)))


def _within(listed: Listed, given: tuple[str, ...]) -> Listed:
    """Of a list that is to be put in another order nothing is added to."""
    wanted = set(given)
    kept = [i for i, product in enumerate(listed.products) if product in wanted]
    seeds = None if listed.seeds is None else [listed.seeds[i] for i in kept]
    return Listed([listed.products[i] for i in kept], seeds)


def _only(catalogue: Catalogue, products: Sequence[str]) -> Flags:
    flags = np.zeros(len(catalogue.is_offered), dtype=np.bool_)
    flags[catalogue.places(products)] = True
    return flags


def _bought(view: View, asked: Asked) -> tuple[list[str], list[float]]:
    """What the person bought, the latest first, and how many days before the day of the data. What somebody did who
    refused is not looked at, not even to leave it out."""
    stored = view.get("bought", asked.person_id) if asked.person_id and asked.is_personal else None
    if stored is None:
        return [], []
    today = view.generation.as_of.toordinal()
    return stored["products"], [float(today - date.fromisoformat(on).toordinal()) for on in stored["on"]]


def _model_list(view: View, asked: Asked) -> Mapping[str, Any] | None:
    stored = view.get("recommendations", asked.person_id) if asked.person_id else None
    return next((found for found in (stored or {"lists": []})["lists"] if found["mode"] == asked.mode), None)


def _interests(view: View, asked: Asked) -> Mapping[str, float]:
    """Share by category: of the likeliest categories of the newest model, else what the request says of somebody."""
    stored = view.get("categories", asked.person_id) if asked.person_id and asked.is_profiled else None
    said = dict(asked.interests)
    if stored and stored["scores"]:
        newest = max(stored["scores"], key=lambda s: str(s["as_of"]))
        mine = [s for s in stored["scores"] if (s["model"], s["as_of"]) == (newest["model"], newest["as_of"])]
        said = {s["category"]: max(float(s["score"]), 0.0) for s in mine} | said
    total = sum(said.values())
    return {c: round(weight / total, 4) for c, weight in said.items()} if total > 0 else {}


def _groups(asked: Asked, person: Mapping[str, Any] | None) -> dict[str, str]:
    """Keys of what sells by group. A segment tells of a person, so it is left out where the person refused."""
    context = asked.context
    segment = context.segment or (person["profile"].get("value_segment") if person else None)
    found = {"segment": f"segment/{segment}"} if segment and asked.is_personal and asked.is_profiled else {}
    if context.store_id:
        found["store"] = f"store/{context.store_id}"
    if context.hour is not None:
        found["hour"] = f"hour/{context.hour:02}"
    return found
