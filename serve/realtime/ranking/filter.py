"""Second stage: what may not be shown, each candidate with the first reason that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.catalogue import UNKNOWN, Catalogue, Flags, Ints
from customer360.serve.realtime.ranking.merchandise import OPEN, MerchandisingRules, Rule
from customer360.serve.realtime.ranking.retrieve import Slate

PERSONAL = frozenset({"model", "nearest", "session", "own", "segment"})  # sources that a refusal closes
HIDES = "rule "  # before the name of the rule that hides
LIMITS = ("least_age", "regions")
FEW = 8  # of which each is looked for by itself
NONE: Ints = np.array([], dtype=np.int64)
NONE.flags.writeable = False


@dataclass(frozen=True)
class Stocked:
    """What one store has: products, and the same by place of the catalogue."""

    products: frozenset[str]
    flags: Flags

    @staticmethod
    def of(products: Sequence[str], catalogue: Catalogue) -> Stocked:
        flags = np.zeros(len(catalogue.is_offered), dtype=np.bool_)
        flags[catalogue.places(products)] = True
        return Stocked(frozenset(products), flags)


def allowed(catalogue: Catalogue, asked: Asked, rules: MerchandisingRules, stocked: Stocked | None) -> Flags:
    """By place of the catalogue: what retrieval may find, since no reason that holds for everybody here keeps it
    out."""
    flags = catalogue.is_offered.copy()
    if stocked is not None:
        flags &= stocked.flags
    if asked.filter:
        flags &= catalogue.mask(asked.filter, OPEN)
    for action, rule in rules.holding(asked).values():
        if action == "hide":
            flags &= ~meant(catalogue, rule)
    return flags


def meant(catalogue: Catalogue, rule: Rule) -> Flags:
    """The products of a rule, by place."""
    return catalogue.mask(_where(rule))


def _where(rule: Rule) -> str:
    """The condition of a rule, which YAML may fold."""
    return " ".join(rule.where.split("\n"))


def judged(
    slate: Slate,
    catalogue: Catalogue,
    asked: Asked,
    rules: MerchandisingRules,
    bought: Set[str],
    stocked: Stocked | None,
) -> Slate:
    """The slate with every reason to drop a candidate, and what rules and the caller do to the others. ``stocked``:
    what the store of the context has; None: no store, or nothing is known of its stock."""
    places = catalogue.places(slate.products) if slate.places is None else slate.places
    in_cart = {*asked.cart, *asked.session.cart}
    reasons: dict[str, Ints] = {"not offered": (~catalogue.is_offered[places]).nonzero()[0]}
    if stocked is not None:
        reasons["not in this store"] = _not_stocked(slate, places, stocked)
    if asked.mode == "new":
        mine = {*bought, *asked.session.bought}
        reasons["bought"] = _among(slate, mine)
    if asked.placement != "search":  # hits of a search are what was asked for
        reasons["in the cart"] = _among(slate, in_cart)
    reasons["the product of the page"] = _among(slate, {asked.product_id} - {None})
    reasons["excluded"] = _among(slate, set(asked.exclude))
    if asked.filter:
        reasons["filter"] = np.flatnonzero(~catalogue.means(asked.filter, slate.products, OPEN, places))
    if not asked.is_personal:
        reasons["consent"] = _personal_alone(slate)
    pins, boosts, buried = [], [], []
    for name, (action, rule) in rules.holding(asked).items():
        means = catalogue.means(_where(rule), slate.products, places=places)
        if rule.do in LIMITS:  # nobody knows that a product is none of these of which nothing is known
            means |= places == UNKNOWN
        found = np.flatnonzero(means)
        match action:
            case "hide":
                reasons[HIDES + name] = found
            case "pin":
                pins.append((name, rule.position, found))
            case "boost":
                boosts.append((name, rule.factor, found))
            case "bury":
                buried.append((name, found))
    for where, factor in asked.boosts:
        boosts.append((where, factor, np.flatnonzero(catalogue.means(where, slate.products, OPEN, places))))
    drops = {reason: found for reason, found in reasons.items() if len(found)}
    return Slate(
        slate.products, slate.category, slate.sources, slate.seeds, slate.values, drops,
        tuple(pins), tuple(boosts), tuple(buried), slate.places, slate.code,
    )  # fmt: skip


def _not_stocked(slate: Slate, places: Ints, stocked: Stocked) -> Ints:
    """By place; of products that the catalogue does not hold, by name."""
    has = stocked.flags[places]
    for at in np.flatnonzero(places == UNKNOWN).tolist():
        has[at] = slate.products[at] in stocked.products
    return np.flatnonzero(~has)


def _among(slate: Slate, products: Set[str | None]) -> Ints:
    """The candidates that some products are."""
    if not products:
        return NONE
    found = [product for product in frozenset(products).intersection(slate.products) if product is not None]
    if not found:
        return NONE
    if len(found) > FEW:
        return np.array(sorted(map(slate.number.__getitem__, found)), dtype=np.int64)
    return np.array(sorted(map(slate.products.index, found)), dtype=np.int64)


def _personal_alone(slate: Slate) -> Ints:
    """Candidates that no source names which is the same for everybody."""
    is_shared = np.zeros(len(slate.products), dtype=np.bool_)
    for name, found in slate.sources.items():
        if name not in PERSONAL:
            is_shared[found] = True
    return np.flatnonzero(~is_shared)


def dropped(slate: Slate) -> Mapping[int, str]:
    """The reason of each candidate that may not be shown."""
    found: dict[int, str] = {}
    for reason, candidates in slate.drops.items():
        for candidate in candidates.tolist():
            found.setdefault(candidate, reason)
    return found
