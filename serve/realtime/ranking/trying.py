"""Merchandising rules before they go live: what they mean, and what they would change for people as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import islice
from typing import Any

from customer360.platform.online import View
from customer360.serve.publication.documents import POPULAR_KEY
from customer360.serve.publication.refusals import Refusals, without_refused
from customer360.serve.realtime.ranking.asking import Asked, Placement
from customer360.serve.realtime.ranking.catalogue import Catalogue
from customer360.serve.realtime.ranking.choosing import Chooser
from customer360.serve.realtime.ranking.filter import meant
from customer360.serve.realtime.ranking.merchandise import MerchandisingRules

PAGES = 20  # popular products whose pages, carts and searches are looked at


@dataclass
class Difference:
    """Of one placement: answers that were compared and that changed, and how many more (or fewer) answers show a
    product among the first."""

    compared: int = 0
    changed: int = 0
    shown: Counter[str] = field(default_factory=Counter)


def asks(
    view: View, refusals: Refusals, placement: Placement, on: date, k: int, people: int
) -> Iterator[tuple[Asked, Any]]:
    """Requests as they may come: of some published people, evenly over all, and of one who is unknown; with the
    document of each person, in which what is refused now is not allowed."""
    total = view.generation.counts.get("person", 0)
    step = max(total // people, 1) if people else 1
    sample = islice(view.scan("person"), 0, step * people, step) if people else iter(())
    popular = [i["product_id"] for i in (view.get("popular", POPULAR_KEY) or {"items": []})["items"][:PAGES]]
    everybody: list[tuple[str | None, Any]] = [(None, None), *sample]
    for number, (person_id, published) in enumerate(everybody):
        stored = None if published is None else without_refused(published, refusals.of(published))
        may = stored is None or stored["profile"].get("may_personalize") is True
        may_profile = may and (stored is None or stored["profile"].get("may_profile") is not False)
        asked = Asked(placement, on, k, person_id=person_id, is_personal=may, is_profiled=may_profile)
        if popular and placement in ("product", "cart"):
            one = popular[number % len(popular)]
            asked = replace(asked, product_id=one) if placement == "product" else replace(asked, cart=(one,))
        if placement == "search":
            asked = replace(asked, given=tuple(popular), mode="all")
        yield asked, stored


def compared(
    view: View,
    refusals: Refusals,
    before: Chooser,
    after: Chooser,
    placements: Sequence[Placement],
    on: date,
    k: int,
    people: int,
) -> Mapping[Placement, Difference]:
    """What other rules change in the first ``k`` products of answers."""
    found: dict[Placement, Difference] = {}
    for placement in placements:
        difference = found.setdefault(placement, Difference())
        for asked, stored in asks(view, refusals, placement, on, k, people):
            old, new = (chooser.choose(view, asked, stored).products()[:k] for chooser in (before, after))
            difference.compared += 1
            difference.changed += old != new
            difference.shown.update(new)
            difference.shown.subtract(old)
    return found


def products_of(rules: MerchandisingRules, catalogue: Catalogue) -> Mapping[str, int]:
    """How many products of the catalogue each rule means."""
    count = len(catalogue.products)
    return {name: int(meant(catalogue, rule)[:count].sum()) for name, rule in rules.rules.items()}
