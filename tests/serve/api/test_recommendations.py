"""Recommendations: consent, availability, and what comes instead."""

from datetime import date
from typing import Any

import pytest

from customer360.serve.realtime.ranking.merchandise import MerchandisingRules

AS_OF = date(2026, 3, 1)


def shown(answer: dict[str, Any]) -> list[str]:
    assert [i["rank"] for i in answer["items"]] == list(range(1, len(answer["items"]) + 1))
    return [i["product_id"] for i in answer["items"]]


@pytest.fixture
def ask(client: Any):  # type: ignore[no-untyped-def]
    reader = client("reader")
    return lambda who, **query: reader.get(f"/v1/people/{who}/recommendations", params=query).json()


def test_unavailable_products_give_way_to_the_next_ranks(ask) -> None:  # type: ignore[no-untyped-def]
    answer = ask("p_ann", k=3)
    # P1 is out of stock everywhere, P5 discontinued, P6 no product; P4 has no known stock; P2 is left in one store.
    assert shown(answer) == ["P4", "P3", "P2"]
    assert (answer["personalized"], answer["reason"]) == (True, None)
    assert (answer["model"], answer["version"], answer["scored_as_of"]) == ("item_to_item", "2", AS_OF.isoformat())
    first = answer["items"][0]
    assert first == {
        "rank": 1,
        "product_id": "P4",
        "name": "Product P4",
        "category": "Toys",
        "price": "2.95",
        "currency": "EUR",
        "score": 0.5,
    }


def test_k_and_mode_choose(ask) -> None:  # type: ignore[no-untyped-def]
    assert shown(ask("p_ann", k=1)) == ["P4"]
    assert shown(ask("p_ann", mode="all")) == ["P2", "P3"]
    assert shown(ask("p_ann", model="item_to_item", k=1)) == ["P4"]


def test_refused_personalization_gives_what_everybody_gets(ask) -> None:  # type: ignore[no-untyped-def]
    answer = ask("p_bob", k=5)
    assert shown(answer) == ["P3", "P2", "P4"], "popular and available; not Bob's own list"
    assert (answer["personalized"], answer["reason"], answer["model"]) == (False, "consent", None)


def test_without_a_list_popular_products_are_shown(ask) -> None:  # type: ignore[no-untyped-def]
    for who, query in (("p_cyd", {}), ("p_dan", {"mode": "all"})):
        answer = ask(who, k=2, **query)
        assert (shown(answer), answer["personalized"], answer["reason"]) == (["P3", "P2"], False, "no history")


def test_a_list_of_which_nothing_is_available(ask) -> None:  # type: ignore[no-untyped-def]
    answer = ask("p_dan")
    assert (shown(answer), answer["reason"]) == (["P3", "P2", "P4"], "nothing available")


def test_what_a_rule_hides_now_is_left_out_and_the_next_ranks_come(own_shop: Any) -> None:
    """Of the person's list and of the popular one; a limit of age hides, as no age is known; the decision names it."""
    own_shop.publish()
    service = own_shop.clients()("service")
    chooser = service.app.state.chooser
    rules = {
        "recall": {"do": "hide", "where": 'product_id == "P4"'},
        "elsewhere": {"do": "hide", "where": 'product_id == "P2"', "placements": ["cart"]},
        "last": {"do": "bury", "where": 'product_id == "P3"'},
    }
    chooser._rules = lambda: MerchandisingRules.model_validate({"rules": rules})
    said = service.get("/v1/people/p_ann/recommendations", params={"k": 2})
    assert shown(said.json()) == ["P3", "P2"] and said.json()["personalized"]
    decision = service.get(f"/v1/decisions/{said.headers['X-Decision-Id']}").json()
    assert decision["dropped"]["rule recall"] == 1 and decision["replays"]
    assert shown(service.get("/v1/people/p_bob/recommendations", params={"k": 5}).json()) == ["P3", "P2"]
    rules["recall"] |= {"do": "least_age", "age": 18}
    assert shown(service.get("/v1/people/p_ann/recommendations", params={"k": 1}).json()) == ["P3"]
    rules["recall"] |= {"since": "2999-01-01"}
    assert shown(service.get("/v1/people/p_ann/recommendations", params={"k": 1}).json()) == ["P4"]


def test_by_account_is_the_same(client: Any) -> None:
    reader = client("reader")
    by_account = reader.get("/v1/customers/POS/1/recommendations?k=2&mode=all").json()
    assert by_account == reader.get("/v1/people/p_ann/recommendations?k=2&mode=all").json()


def test_unknown_person_and_wrong_parameters(client: Any) -> None:
    reader = client("reader")
    assert reader.get("/v1/people/nobody/recommendations").status_code == 404
    assert reader.get("/v1/customers/POS/777/recommendations").status_code == 404
    for query in ("k=0", "k=51", "k=x", "mode=old"):
        response = reader.get(f"/v1/people/p_ann/recommendations?{query}")
        assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
        assert query.partition("=")[0] in response.json()["detail"]


def test_long_unavailable_stretches_are_passed(own_shop: Any) -> None:
    own_shop.write("gold.recommendations", own_shop.ranked("p_ann", [*(["P1", "P5", "P6"] * 20), "P2"]))
    own_shop.publish()
    answer = own_shop.clients()("reader").get("/v1/people/p_ann/recommendations").json()
    assert (shown(answer), answer["personalized"]) == (["P2"], True)


def test_without_catalogue_stock_or_sales(own_shop: Any) -> None:
    for name in ("silver.products", "silver.stock", "gold.interactions"):
        own_shop.write(name, [])
    own_shop.publish()
    reader = own_shop.clients()("reader")
    answer = reader.get("/v1/people/p_ann/recommendations?k=2").json()
    assert (shown(answer), answer["items"][0]["name"]) == (["P1", "P4"], None)
    assert reader.get("/v1/people/p_cyd/recommendations").json()["items"] == []


def test_a_model_without_published_lists_is_refused(client: Any) -> None:
    refused = client("reader").get("/v1/people/p_ann/recommendations?model=nope")
    assert refused.status_code == 422 and "there are item_to_item" in refused.json()["detail"]
    assert client("reader").get("/v1/people/p_ann/recommendations?model=item_to_item").json()["personalized"]
