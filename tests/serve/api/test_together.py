"""What is bought together over HTTP: significant pairs of available products, for every role, for nobody without a
key.
"""

from typing import Any

PATH = "/v1/products/{}/bought-together"


def test_significant_and_available_companions_in_order(client: Any) -> None:
    answer = client("reader").get(PATH.format("P2"), params={"k": 2}).json()
    # P1 is out of stock, P5 discontinued; P6 with P2 is not significant; P9 is in no catalogue.
    assert [(i["rank"], i["product_id"], i["name"]) for i in answer["items"]] == [
        (1, "P4", "Product P4"),
        (2, "P9", None),
    ]
    assert answer["items"][0] == {
        "rank": 1, "product_id": "P4", "name": "Product P4", "category": "Toys", "price": "2.95", "currency": "EUR",
        "both_count": 30, "expected_count": 4.0, "confidence": 0.3, "lift": 3.0, "q_value": 0.001,
    }  # fmt: skip
    assert answer["as_of"] == "2026-03-01"


def test_a_product_without_companions_and_one_that_nobody_knows(client: Any) -> None:
    asked = client("reader")
    assert asked.get(PATH.format("P3")).json()["items"] == []
    assert asked.get(PATH.format("nothing")).status_code == 404
    assert client(None).get(PATH.format("P2")).status_code == 401
