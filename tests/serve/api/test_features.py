"""Features of many entities: values, what is withheld or masked, and what a client of Feast sends."""

from __future__ import annotations

from typing import Any

import pytest

from customer360.platform import access


def asked(client: Any, features: list[str], **entities: list[str]) -> dict[str, Any]:
    answer = client.post("/v1/features", json={"features": features, "entities": entities})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def cells(answer: dict[str, Any], name: str) -> list[tuple[Any, str]]:
    column = answer["results"][answer["metadata"]["feature_names"].index(name)]
    assert len(column["event_timestamps"]) == len(column["values"])
    return list(zip(column["values"], column["statuses"], strict=True))


def test_people_by_id_and_account(client: Any) -> None:
    names = ["customer_360:net_amount", "customer_360:next_category", "scores:churn", "scores:clv", "categories:Toys"]
    answer = asked(client("reader"), names, person_id=["p_ann", "nobody", "p_cyd"])
    assert answer["metadata"]["feature_names"] == ["person_id", *names]
    assert cells(answer, "customer_360:net_amount") == [("12.50", "PRESENT"), (None, "NOT_FOUND"), ("12.50", "PRESENT")]
    assert cells(answer, "scores:churn")[0] == (0.7, "PRESENT")
    assert cells(answer, "scores:clv")[0] == (None, "NULL_VALUE")
    assert cells(answer, "categories:Toys")[0] == (0.3, "PRESENT")
    by_account = asked(client("reader"), names, account=["POS/1", "POS/777", "POS/3"])
    assert by_account["results"][1:] == answer["results"][1:]


def test_what_a_person_refused_is_withheld(client: Any) -> None:
    names = ["scores:churn", "customer_360:churn_probability", "customer_360:net_amount"]
    answer = asked(client("service"), names, person_id=["p_bob"])
    assert [cells(answer, n)[0][1] for n in names] == ["WITHHELD", "WITHHELD", "PRESENT"]


def test_personal_data_needs_role_service(client: Any) -> None:
    names = ["customer_360:email_address"]
    assert cells(asked(client("reader"), names, person_id=["p_ann"]), names[0]) == [(None, "MASKED")]
    assert cells(asked(client("service"), names, person_id=["p_ann"]), names[0]) == [("p_ann@example.org", "PRESENT")]


def test_scores_need_a_key_that_may_read_scores(client: Any, published: Any) -> None:
    bound = client(None)
    bound.headers["X-API-Key"] = access.issue(published.state, "profiles alone", "reader", scopes=("profile",))
    statuses = [
        bound.post("/v1/features", json={"features": [name], "entities": {"person_id": ["p_ann"]}}).status_code
        for name in ("customer_360:net_amount", "scores:churn", "categories:Toys")
    ]
    assert statuses == [200, 403, 403]


def test_products(client: Any) -> None:
    answer = asked(client("reader"), ["products:price", "products:brand"], product_id=["P1", "Z"])
    assert cells(answer, "products:price") == [("2.95", "PRESENT"), (None, "NOT_FOUND")]
    assert cells(answer, "products:brand")[0] == (None, "NULL_VALUE")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"features": ["customer_360:net_amnt"], "entities": {"person_id": ["p"]}}, "did you mean net_amount"),
        ({"features": ["net_amount"], "entities": {"person_id": ["p"]}}, "write"),
        ({"features": ["products:margin_rate"], "entities": {"product_id": ["p"]}}, "products has no"),
        ({"features": ["products:price"], "entities": {"person_id": ["p"]}}, "is none of person_id"),
        ({"features": ["products:price"], "entities": {}}, "name one key"),
        ({"features": ["products:price"], "entities": {"product_id": ["p"] * 1001}}, "1 to 1,000"),
        ({"features": [], "entities": {"product_id": ["p"]}}, "features"),
    ],
)
def test_wrong_requests_say_what_is_wrong(client: Any, body: dict[str, Any], said: str) -> None:
    answer = client("reader").post("/v1/features", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
