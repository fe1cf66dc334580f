"""An invented shop in an online store, requests of all kinds for it, and a judge of answers that shares no code with
the stages: what must not be shown is found in the documents again, one product after the other."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from customer360.models.two_tower import TwoTowerFitted
from customer360.models.two_tower.examples import TwoTowerParams
from customer360.platform import online
from customer360.serve.publication import vectors
from customer360.serve.realtime.ranking.asking import Asked, Context
from customer360.serve.realtime.ranking.decision import Decision
from customer360.serve.realtime.ranking.merchandise import MerchandisingRules
from customer360.serve.realtime.session import Session

AS_OF = date(2026, 3, 1)
CATEGORIES = ("Toys", "Wine", "Kitchen", "Garden", "Books", "Lamps", None)
SEGMENTS, STORES, REGIONS = ("VIP", "GOLD", "LOW"), ("S1", "S2", "S3"), ("DE", "AT", "FR")
PLACEMENTS = ("home", "product", "cart", "search", "email")
Document = dict[str, Any]

RULES = {
    "no_lamps": {"do": "hide", "where": 'category == "Lamps"', "when": 'device == "mobile"'},
    "wine": {"do": "least_age", "age": 18, "where": 'category == "Wine"'},
    "home_only": {"do": "regions", "regions": ["DE", "AT"], "where": 'category == "Garden"'},
    "push": {"do": "pin", "position": 2, "where": "price < 1.2", "placements": ["home", "cart"]},
    "cheap_last": {"do": "bury", "where": "price < 3"},
    "books": {"do": "boost", "factor": 3.0, "where": 'category == "Books"', "until": date(2026, 6, 1)},
}
# The same conditions of the request, as a condition and as Python.
FILTERS: dict[str, Callable[[Document], bool]] = {
    'category in ["Toys", "Books"]': lambda d: d["category"] in ("Toys", "Books"),
    "price < 10": lambda d: float(d["price"]) < 10,
    'brand == "B1" or price > 15': lambda d: d["brand"] == "B1" or float(d["price"]) > 15,
}


@dataclass(frozen=True)
class World:
    """The documents by kind and key, and where they are published."""

    state: Path
    documents: dict[str, dict[str, Document]]

    @cached_property
    def names(self) -> list[str]:
        return sorted(self.documents["product"])

    @cached_property
    def people(self) -> list[str | None]:
        """And nobody that is known."""
        return [None, *self.documents["person"]]

    def get(self, kind: str, key: str | None) -> Document:
        return self.documents[kind].get(key or "", {})


def publish_world(
    state: Path, products: int = 400, people: int = 60, seed: int = 0, dimension: int = 16, candidates: int = 40
) -> World:
    """Write a shop of so many products and people, with vectors."""
    draw = random.Random(seed)
    documents = {kind: dict(rows) for kind, rows in _documents(draw, products, people, candidates).items()}
    home = state / vectors.HOME
    names = sorted(documents["product"])
    vectors.write_vectors(home / "7", _towers(names, dimension, seed), "two_tower", "1")
    frames = (
        pl.DataFrame({"kind": kind, "key": list(rows), "document": [json.dumps(d) for d in rows.values()]})
        for kind, rows in documents.items() if rows
    )  # fmt: skip
    online.publish(state, frames, as_of=AS_OF, sources={vectors.SOURCE: 7}, is_told=False)
    return World(state, documents)


def _towers(names: list[str], dimension: int, seed: int) -> TwoTowerFitted:
    draw = np.random.default_rng(seed)
    items, hidden = (draw.normal(size=(len(names), dimension)).astype(np.float32) for _ in range(2))
    words = np.zeros((1, dimension), dtype=np.float32)
    bias = draw.normal(size=len(names)).astype(np.float32)
    return TwoTowerFitted(
        TwoTowerParams(dimension=dimension), AS_OF, pl.Series("product_id", names), bias, items, hidden, words, words
    )


def _documents(
    draw: random.Random, products: int, people: int, candidates: int
) -> dict[str, Iterator[tuple[str, Document]]]:
    names = [f"P{i:06}" for i in range(products)]

    def some(most: int) -> list[str]:
        return draw.sample(names, draw.randint(0, min(most, products)))

    def listed(most: int) -> Document:
        return {"items": [{"product_id": p, "score": 1.0 / r} for r, p in enumerate(some(most), start=1)]}

    def person(i: int) -> Document:
        may = draw.random() > 0.3
        profile = {"person_id": f"p{i}", "may_personalize": may, "may_profile": may and draw.random() > 0.2,
                   "value_segment": draw.choice(SEGMENTS), "may_email": draw.random() > 0.5}  # fmt: skip
        return {"profile": profile, "accounts": [f"POS/{i}"]}

    def lists() -> Document:
        found = [{"model": "hybrid", "version": "1", "mode": mode, "as_of": AS_OF.isoformat(), **listed(candidates)}
                 for mode in ("new", "all")]  # fmt: skip
        return {"lists": found}

    def categories() -> Document:
        score = {"rank": 1, "lift": 1.0, "model": "propensity", "version": "1", "target": "t", "as_of": "2026-03-01"}
        return {"scores": [score | {"category": c, "score": draw.random()} for c in CATEGORIES if c]}

    def bought() -> Document:
        mine = some(12)
        return {"products": mine, "on": [(AS_OF - timedelta(days=draw.randint(1, 300))).isoformat() for _ in mine]}

    who = [f"p{i}" for i in range(people)]
    groups = [f"segment/{s}" for s in SEGMENTS] + [f"store/{s}" for s in STORES] + [f"hour/{h:02}" for h in range(24)]
    return {
        "product": ((name, _product(draw)) for name in names),
        "person": ((p, person(i)) for i, p in enumerate(who)),
        "recommendations": ((p, lists()) for p in who if draw.random() > 0.2),
        "categories": ((p, categories()) for p in who if draw.random() > 0.3),
        "bought": ((p, bought()) for p in who if draw.random() > 0.2),
        "together": ((name, listed(15)) for name in draw.sample(names, min(products // 2, 2000))),
        "popular": iter([("all", listed(min(products // 2, 300)))]),
        "popular_by": ((key, listed(60)) for key in groups),
        "launched": iter([("all", listed(40))]),
        "stocked": ((store, {"products": some(products // 2)}) for store in STORES[:2]),
    }


def _product(draw: random.Random) -> Document:
    return {
        "name": f"Thing {draw.randint(1, 999)}", "category": draw.choice(CATEGORIES), "subcategory": None,
        "brand": draw.choice(("B1", "B2", None)), "price": f"{draw.uniform(1, 20):.2f}", "currency": "EUR",
        "launched_on": (AS_OF - timedelta(days=draw.randint(1, 900))).isoformat(), "margin_rate": draw.random(),
        "is_sellable": draw.random() > 0.1, "is_in_stock": draw.choice((True, True, True, False, None)),
    }  # fmt: skip


@cache
def rules() -> MerchandisingRules:
    return MerchandisingRules.model_validate({"rules": RULES})


def random_request(draw: random.Random, world: World) -> Asked:
    """A request of any kind: also for people unknown to the shop's models, and with products that nobody sells."""
    names = [*draw.sample(world.names, 30), "X1", "X2"] if draw.random() < 0.5 else _few(world)
    person = draw.choice(world.people)
    may = world.get("person", person).get("profile", {"may_personalize": draw.random() > 0.3, "may_profile": True})
    placement = draw.choice(PLACEMENTS)

    def some(most: int) -> tuple[str, ...]:
        return tuple(draw.sample(names, draw.randint(0, min(most, len(names)))))

    return Asked(
        placement=placement,
        on=date(2026, draw.randint(1, 12), 15),
        k=draw.randint(1, 20),
        mode=draw.choice(("new", "all")),
        person_id=person,
        visitor_id=draw.choice((None, "v1")),
        is_personal=may["may_personalize"],
        is_profiled=may["may_personalize"] and may["may_profile"],
        product_id=draw.choice(names) if placement == "product" else None,
        cart=some(4),
        given=some(30) if placement == "search" else None,
        exclude=some(5),
        filter=draw.choice(("", "", *FILTERS)),
        boosts=draw.choice(((), (('category == "Toys"', 2.0),))),
        diversity=draw.choice((None, 0.0, 0.5)),
        interests=draw.choice(((), (("Wine", 2.0),))) if may["may_personalize"] else (),
        context=Context(
            store_id=draw.choice((None, *STORES)), region=draw.choice((None, *REGIONS)),
            device=draw.choice((None, "mobile", "desktop")), hour=draw.randint(0, 23),
            age=draw.choice((None, 12, 18, 40)), segment=draw.choice((None, *SEGMENTS)),
        ),
        session=Session(some(8), some(3), some(2)) if may["may_personalize"] else Session(),
    )  # fmt: skip


def _few(world: World) -> list[str]:
    """What is often met: what is popular, so that carts and exclusions hit."""
    return [i["product_id"] for i in world.documents["popular"]["all"]["items"][:40]] or ["X1"]


def violations(decision: Decision, world: World) -> list[str]:
    """What is shown and must not be, by the documents."""
    asked, found = decision.asked, list[str]()
    products = decision.products()
    mine = world.get("bought", asked.person_id).get("products", []) if asked.is_personal else []
    stocked = world.documents["stocked"].get(asked.context.store_id or "")
    for product in products:
        document = world.documents["product"].get(product)
        unknown = {"category": None, "brand": None, "price": "nan", "is_sellable": None, "is_in_stock": None}
        d = document or unknown
        checks = {
            "not sold": d["is_sellable"] is False,
            "out of stock": d["is_in_stock"] is False,
            "not in the store": stocked is not None and product not in stocked["products"],
            "bought": asked.mode == "new" and product in {*mine, *asked.session.bought},
            "in cart": asked.placement != "search" and product in {*asked.cart, *asked.session.cart},
            "page": product == asked.product_id,
            "excluded": product in asked.exclude,
            "filter": bool(asked.filter) and (document is None or not FILTERS[asked.filter](document)),
            "hidden": d["category"] == "Lamps" and asked.context.device == "mobile",
            "age": (document is None or d["category"] == "Wine") and (asked.context.age or 0) < 18,
            "region": (document is None or d["category"] == "Garden") and asked.context.region not in ("DE", "AT"),
            "not given": asked.given is not None and product not in asked.given,
        }
        found += [f"{name}: {product}" for name, is_broken in checks.items() if is_broken]
    if len(set(products)) < len(products):
        found.append("a product stands twice")
    return found
