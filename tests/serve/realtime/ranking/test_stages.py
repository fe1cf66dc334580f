"""The stages one by one, on candidates written out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from customer360.serve.publication.vectors import Vectors
from customer360.serve.realtime.ranking import filter as filtering
from customer360.serve.realtime.ranking import rank, rerank, retrieve
from customer360.serve.realtime.ranking.asking import Asked, Context
from customer360.serve.realtime.ranking.catalogue import UNKNOWN, Catalogue
from customer360.serve.realtime.ranking.decision import as_listed, replayed, unpacked
from customer360.serve.realtime.ranking.merchandise import MerchandisingRules, Ranking
from customer360.serve.realtime.ranking.retrieve import Listed, Slate
from customer360.serve.realtime.session import Session

AS_OF = date(2026, 3, 1)
ASKED = Asked("home", AS_OF, 10)
PLAIN = Ranking(weights={"model": 1.0, "popular": 0.5}, interest=0, activity=0, diversity=0)
ROWS = {"A": ("Toys", "1.00"), "B": ("Toys", "2.00"), "C": ("Wine", "9.00"), "D": ("Toys", "4.00"), "E": (None, None)}


def product(category: str | None, price: str | None, **other: Any) -> dict[str, Any]:
    return {"name": "x", "category": category, "price": price, "is_sellable": True, "is_in_stock": None} | other


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue.of([(key, product(*row)) for key, row in ROWS.items()], AS_OF)


def laid(catalogue: Catalogue, asked: Asked = ASKED, rules: MerchandisingRules | None = None, **lists: str) -> Slate:
    """The slate of lists of products of one letter, judged."""
    rules = rules or MerchandisingRules()
    found = {name: Listed(list(products)) for name, products in lists.items()}
    slate = retrieve.slate(found, catalogue, asked, {}, catalogue.is_offered)
    return filtering.judged(slate, catalogue, asked, rules, frozenset(), None)


def ordered(slate: Slate, ranking: Ranking = PLAIN, asked: Asked = ASKED) -> str:
    order = rerank.order(slate, rank.scores(slate, ranking), ranking, asked)
    return "".join(slate.products[c] for c in order)


def test_ranks_of_sources_are_fused(catalogue: Catalogue) -> None:
    assert ordered(laid(catalogue, model="AB", popular="BC")) == "BAC", "B is in both"


def test_a_source_without_weight_moves_nothing(catalogue: Catalogue) -> None:
    assert ordered(laid(catalogue, model="AB", new="BA")) == "AB"


def test_categories_are_mixed_and_the_unknown_is_none(catalogue: Catalogue) -> None:
    slate = laid(catalogue, model="ABDCE")
    assert ordered(slate) == "ABDCE"
    assert ordered(slate, PLAIN.model_copy(update={"diversity": 0.5})) == "ACEBD"
    assert ordered(slate, asked=replace(ASKED, diversity=0.5)) == "ACEBD", "the request decides"


def test_a_category_that_is_full_waits_for_the_next_page(catalogue: Catalogue) -> None:
    capped = PLAIN.model_copy(update={"most_per_category": 1})
    assert ordered(laid(catalogue, model="ABDCE"), capped, replace(ASKED, k=3)) == "ACEBD"


def test_rules_hide_pin_boost_and_bury(catalogue: Catalogue) -> None:
    rules = MerchandisingRules.model_validate({"rules": {
        "gone": {"do": "hide", "where": 'product_id == "B"'},
        "first": {"do": "pin", "position": 1, "where": 'category == "Wine"'},
        "more": {"do": "boost", "factor": 2.0, "where": 'product_id == "D"'},
        "less": {"do": "bury", "where": 'product_id == "A"'},
    }})  # fmt: skip
    slate = laid(catalogue, rules=rules, model="ABCDE")
    assert ordered(slate) == "CDEA"
    assert filtering.dropped(slate) == {1: "rule gone"}


def test_age_and_region_that_are_unknown_keep_products_out(catalogue: Catalogue) -> None:
    rules = MerchandisingRules.model_validate({"rules": {
        "wine": {"do": "least_age", "age": 18, "where": 'category == "Wine"'},
        "toys": {"do": "regions", "regions": ["DE"], "where": 'product_id == "A"'},
    }})  # fmt: skip

    def shown(**context: Any) -> str:
        asked = replace(ASKED, context=Context(**context))
        return ordered(laid(catalogue, asked, rules, model="ABC"))

    assert [shown(), shown(age=17, region="FR"), shown(age=18), shown(age=40, region="DE")] == ["B", "B", "BC", "ABC"]


def test_rules_hold_between_their_days_and_at_their_moment(catalogue: Catalogue) -> None:
    rule = {"do": "hide", "where": 'product_id == "A"', "since": AS_OF, "until": AS_OF, "placements": ["home"],
            "when": 'device == "mobile" and hour < 12'}  # fmt: skip
    rules = MerchandisingRules.model_validate({"rules": {"r": rule}})
    morning = replace(ASKED, context=Context(device="mobile", hour=9))
    others = (
        replace(morning, on=date(2026, 3, 2)),
        replace(morning, placement="cart"),
        replace(morning, context=Context(device="mobile", hour=12)),
        replace(morning, context=Context(hour=9)),
    )
    assert ordered(laid(catalogue, morning, rules, model="AB")) == "B"
    assert {ordered(laid(catalogue, other, rules, model="AB")) for other in others} == {"AB"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"do": "hide", "where": "categry == 1"}, "did you mean category"),
        ({"do": "hide", "where": 'category == "x"', "when": "price < 1"}, "no column"),
        ({"do": "regions", "where": "price < 1"}, "name the regions"),
        ({"do": "pin", "where": "price < 1", "since": "2026-02-01", "until": "2026-01-01"}, "is after until"),
    ],
)
def test_a_wrong_rule_is_refused_with_what_is_wrong(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MerchandisingRules.model_validate({"rules": {"r": rule}})


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValidationError, match="no sources are called modle"):
        Ranking(weights={"modle": 1.0})


def test_an_unknown_product_is_shown_but_meant_by_no_condition(catalogue: Catalogue) -> None:
    assert catalogue.places(["A", "Z"]).tolist() == [0, UNKNOWN]
    rules = MerchandisingRules.model_validate({"rules": {"r": {"do": "hide", "where": "not price > 1"}}})
    assert ordered(laid(catalogue, rules=rules, model="AZE")) == "ZE", "of E no price is known"
    assert ordered(laid(catalogue, replace(ASKED, filter="price < 3"), model="AZE")) == "A"


def test_what_is_known_of_an_unknown_product_is_its_id(catalogue: Catalogue) -> None:
    rules = MerchandisingRules.model_validate({"rules": {"r": {"do": "hide", "where": 'product_id in ["B", "Z"]'}}})
    assert ordered(laid(catalogue, rules=rules, model="AZBY")) == "AY"
    assert ordered(laid(catalogue, replace(ASKED, filter='product_id != "A"'), model="AZB")) == "ZB"


@pytest.mark.parametrize("limit", [{"do": "least_age", "age": 18}, {"do": "regions", "regions": ["DE"]}])
def test_limits_keep_products_out_of_which_nothing_is_known(catalogue: Catalogue, limit: dict[str, Any]) -> None:
    rules = MerchandisingRules.model_validate({"rules": {"r": limit | {"where": 'category == "Wine"'}}})
    met = replace(ASKED, context=Context(age=40, region="DE"))
    assert ordered(laid(catalogue, rules=rules, model="AZC")) == "A"
    assert ordered(laid(catalogue, met, rules, model="AZC"), asked=met) == "AZC"


def test_hits_of_a_search_stay_though_they_are_in_the_cart(catalogue: Catalogue) -> None:
    asked = replace(ASKED, placement="search", given=("A", "B"), cart=("A",), session=Session(cart=("B",)))
    given = PLAIN.model_copy(update={"weights": {"given": 1.0}})
    assert ordered(laid(catalogue, asked, given="AB"), given, asked) == "AB"


def test_what_a_file_says_of_weights_is_laid_over_the_built_in_ones() -> None:
    rules = MerchandisingRules.model_validate(
        {"ranking": {"search": {"weights": {"popular": 2.0}}, "default": {"margin": 0.5}}}
    )
    search, cart = rules.of("search"), rules.of("cart")
    assert (search.weights["popular"], search.weights["given"], search.diversity) == (2.0, 1.0, 0.0)
    assert (cart.margin, cart.weights) == (0.5, MerchandisingRules().of("cart").weights)


def test_the_session_draws_its_categories_and_a_refusal_ends_that(catalogue: Catalogue) -> None:
    asked = replace(ASKED, session=Session(viewed=("C",)))
    drawn = PLAIN.model_copy(update={"activity": 1.0})
    assert ordered(laid(catalogue, asked, model="ABC"), drawn, asked) == "CAB"
    refused = replace(asked, is_personal=False)
    slate = laid(catalogue, refused, popular="ABC")
    assert ordered(slate, drawn, refused) == "ABC"


def test_companions_of_several_products_take_turns() -> None:
    listed = retrieve.interleaved({"S": ["A", "B"], "T": ["A", "C"]})
    assert (listed.products, listed.seeds) == (["A", "B", "C"], ["S", "S", "T"])


def test_the_best_of_many_are_those_of_a_full_sort() -> None:
    draw = np.random.default_rng(5)
    for count, k in ((10, 20), (64 * 50 + 13, 7), (20_000, 60)):
        score = draw.integers(0, 500, count).astype(np.float32)  # many are equal
        assert retrieve.top(score, k).tolist() == np.lexsort((np.arange(count), -score))[:k].tolist()


@pytest.mark.parametrize("diversity", [0.0, 0.3])
@pytest.mark.parametrize("most", [None, 2])
def test_pages_end_where_a_whole_order_is_cut(
    monkeypatch: pytest.MonkeyPatch, diversity: float, most: int | None
) -> None:
    names = [f"P{i:03}" for i in range(90)]
    rows = [(name, product(("Toys", "Wine", None)[i % 7 % 3], "1.00")) for i, name in enumerate(names)]
    found = retrieve.slate({"model": Listed(names)}, Catalogue.of(rows, AS_OF), ASKED, {}, np.ones(91, dtype=np.bool_))
    ranking = PLAIN.model_copy(update={"diversity": diversity, "most_per_category": most})
    orders = []
    for deepest in (1000, 30):
        monkeypatch.setattr(rerank, "DEEPEST", deepest)
        orders.append(rerank.order(found, rank.scores(found, ranking), ranking, ASKED))
    assert len(orders[1]) == 30
    assert orders[1] == orders[0][:30]


@pytest.mark.parametrize("share", [0.0, 0.002, 0.5, 1.0])
def test_the_nearest_are_those_that_are_allowed_whatever_their_share(share: float) -> None:
    draw = np.random.default_rng(3)
    names = [f"P{i:04}" for i in range(3000)]
    items, hidden = (draw.normal(size=(3000, 8)).astype(np.float32) for _ in range(2))
    vectors = Vectors("two_tower", "1", names, np.zeros(3000, dtype=np.float32), items, hidden, 30.0)
    nearest = retrieve.Nearest.of(vectors, Catalogue.of([(n, product(None, None)) for n in names], AS_OF))
    query = draw.normal(size=8).astype(np.float32)
    allowed = np.append(draw.random(3000) < share, True)
    score = np.einsum("ij,j->i", items, query)
    whole = [names[at] for at in np.argsort(-score, kind="stable") if allowed[at]][:40]
    assert nearest.search(query, allowed, 40).products == whole


def test_a_sort_mixes_as_always_taking_the_best_of_those_left(catalogue: Catalogue) -> None:
    """Of any scores, ties and categories: as the greedy way, which pages of a full category need."""
    draw = np.random.default_rng(5)
    for count in (0, 1, 7, 60):
        for diversity in (0.0, 0.2, 0.9):
            value = np.round(draw.random(count) * draw.integers(0, 2, count), 2)
            category = tuple(np.array(["Toys", "Wine", None], dtype=object)[draw.integers(0, 3, count)].tolist())
            slate = Slate(tuple(f"p{n}" for n in range(count)), category, {}, {})
            kept = np.lexsort((np.arange(count), -value))
            mixed = rerank._mixed(kept, slate, value, diversity).tolist()
            assert mixed == rerank._paged(kept.tolist(), slate, value.tolist(), diversity, 10**6, 10**6, count)


@pytest.mark.parametrize("count", [0, 1, 3, 199, 200, 201, 350])
def test_a_stored_list_stands_in_the_order_that_the_stages_come_to(count: int) -> None:
    products, draw = [f"P{n}" for n in range(count)], np.random.default_rng(count)
    shown = {product for product in products if draw.random() < 0.8}
    for source in ("model", "popular"):
        decision = as_listed(ASKED, source, products, shown, {}, None, {"P0": "rule r"})
        assert decision.order == replayed(unpacked(decision.packed())).order
        assert decision.order == [at for at, product in enumerate(products) if product in shown][:200]
