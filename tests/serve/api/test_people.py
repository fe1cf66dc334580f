"""Profiles: found by person and by account, masked for readers."""

from datetime import date
from typing import Any

from customer360.pipelines.gold.customers import Customer360
from customer360.platform import online, tables

AS_OF = date(2026, 3, 1)


def test_profile_by_person_and_by_account_is_the_same(client: Any, published: Any) -> None:
    by_person = client("service").get("/v1/people/p_ann").json()
    assert client("service").get("/v1/customers/SHOP/9").json() == by_person
    assert by_person["generation"] == online.current(published.state).id  # type: ignore[union-attr]
    assert by_person["as_of"] == AS_OF.isoformat()
    assert by_person["accounts"] == ["POS/1", "SHOP/9"]
    assert not by_person["is_masked"]
    assert list(by_person["profile"]) == list(Customer360.columns())
    assert by_person["profile"]["email_address"] == "p_ann@example.org"
    assert by_person["profile"]["net_amount"] == "12.50"


def test_readers_see_no_personal_data(client: Any) -> None:
    response = client("reader").get("/v1/customers/POS/1")
    answer = response.json()
    assert answer["is_masked"] and answer["accounts"] is None
    assert {answer["profile"][c] for c in tables.pii_columns(Customer360)} == {None, "•••"}
    assert answer["profile"]["lifecycle_stage"] == "ACTIVE"
    for personal in ("Firstp_ann", "example.org", "+4922112345", "Köln", "SHOP/9"):
        assert personal not in response.text


def test_unknown_person_and_account(client: Any) -> None:
    for path, what in (
        ("/v1/people/nobody", "person"),
        ("/v1/customers/POS/777", "account"),
        ("/v1/customers/CRM/1", "account"),
    ):
        response = client("reader").get(path)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json() == {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": f"no such {what}",
        }


def test_newest_score_with_its_reasons(client: Any) -> None:
    answer = client("reader").get("/v1/customers/POS/1/scores").json()
    assert answer["person_id"] == "p_ann"
    (churn,) = answer["scores"]
    assert (churn["model"], churn["version"], churn["score"], churn["as_of"]) == ("churn", "3", 0.7, AS_OF.isoformat())
    assert churn["reasons"] == [{"feature": "recency_days", "value": 40.0, "contribution": 0.3}]
    assert client("reader").get("/v1/people/p_ann/scores").json() == answer


def test_unscored_person_has_no_scores_and_unknown_is_404(client: Any) -> None:
    assert client("reader").get("/v1/people/p_cyd/scores").json()["scores"] == []
    assert client("reader").get("/v1/people/nobody/scores").status_code == 404
    assert client("reader").get("/v1/customers/POS/777/scores").status_code == 404


def test_scores_by_category_are_withheld_where_personalization_was_refused(client: Any) -> None:
    ann, bob, cyd = (
        client("reader").get(f"/v1/people/{p}/scores").json()["categories"] for p in ("p_ann", "p_bob", "p_cyd")
    )
    assert [(c["category"], c["rank"], c["score"]) for c in ann] == [("Toys", 1, 0.3), ("Wine", 2, 0.15)]
    assert ann[0]["model"] == "propensity" and ann[0]["as_of"] == AS_OF.isoformat()
    assert bob == [] and cyd == [], "Bob refused, Cyd was scored for an older date only"


def test_risk_tells_nothing_of_feelings_and_leaving_of_who_refuses_profiling(own_shop: Any) -> None:
    signs = {"return_rate": 0.3, "churn_probability": 0.1, "sentiment_score": 0.1}
    reasons = [{"feature": f, "value": 0.9, "contribution": points} for f, points in signs.items()]
    judged = {"risk_reasons": reasons, "risk_score": 0.5, "risk_level": "HIGH"}
    own_shop.write("gold.customer_360", [
        own_shop.profile("p_ann", **judged), own_shop.profile("p_bob", may_profile=False, **judged)
    ])  # fmt: skip
    own_shop.publish()
    client = own_shop.clients()("service")
    shown = {p: client.get(f"/v1/people/{p}").json()["profile"] for p in ("p_ann", "p_bob")}
    assert {name: shown["p_ann"][name] for name in judged} == judged
    left = {"risk_reasons": reasons[:1], "risk_score": 0.3, "risk_level": None}
    assert {name: shown["p_bob"][name] for name in judged} == left
    asked = {"features": ["customer_360:risk_score", "customer_360:risk_reasons"], "entities": {"person_id": ["p_bob"]}}
    answer = client.post("/v1/features", json=asked).json()
    assert [r["values"][0] for r in answer["results"][1:]] == [0.3, reasons[:1]]


def test_groups_that_a_person_refused_are_withheld(own_shop: Any) -> None:
    known = {"category_affinities": [{"name": "Toys", "share": 0.5}], "occupation": "Cook", "household_id": "h1", "preferred_weekday": "MONDAY",  # noqa: E501
             "order_count": 3}  # fmt: skip
    own_shop.write(
        "gold.customer_360",
        [own_shop.profile("p_ann", **known), own_shop.profile("p_bob", may_personalize=False, **known)],
    )
    own_shop.publish()
    service = own_shop.clients()("service")
    ann, bob = (service.get(f"/v1/people/{p}").json() for p in ("p_ann", "p_bob"))
    assert ann["withheld"] == [] and {c: ann["profile"][c] for c in known} == known
    assert bob["withheld"] == [
        "rfm",
        "standing",
        "clv",
        "churn",
        "segment",
        "propensity",
        "affinity",
        "preference",
        "contact",
        "sentiment",
        "voice",
        "household",
        "location",
        "external",
        "journey",
    ]
    assert {c: bob["profile"][c] for c in known} == {**dict.fromkeys(known), "order_count": 3}
    assert bob["profile"]["email_address"] == "p_bob@example.org", "may_email says who may not be contacted"


def test_readers_see_no_external_facts_but_shares(own_shop: Any) -> None:
    facts = {
        "occupation": "Cook",
        "age_range": "25-34",
        "interests": ["chess"],
        "brand_affinities": [{"name": "Acme", "share": 0.5}],
    }
    own_shop.write("gold.customer_360", [own_shop.profile("p_ann", **facts)])
    own_shop.publish()
    shown = own_shop.clients()("reader").get("/v1/people/p_ann").json()["profile"]
    assert (shown["occupation"], shown["age_range"], shown["interests"]) == ("•••", "•••", None)
    assert shown["brand_affinities"] == facts["brand_affinities"]
