"""Requests that go straight to their endpoint are answered as those that go by way of the framework."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from fastapi import APIRouter, Request, Response

from customer360.platform import access
from customer360.serve.api.placements import ChoiceAnswer, ChosenProduct
from customer360.serve.api.policy import Caller, CurrentView
from customer360.serve.api.recommendations import RecommendationsAnswer, RecommendedProduct
from customer360.serve.straight import Straight

USUAL, STRAIGHT = "application/json; charset=utf-8", "application/json"
CHOICE, FEATURES = "/v1/recommendations", "/v1/features"
BODIES: dict[str, tuple[str, str]] = {
    "a person": (CHOICE, '{"placement": "home", "person_id": "p_ann", "k": 2}'),
    "a number as text": (CHOICE, '{"placement": "home", "k": "3"}'),
    "a whole number with a point": (CHOICE, '{"placement": "home", "k": 3.0}'),
    "yes as a number": (CHOICE, '{"placement": "home", "may_personalize": 1}'),
    "a name twice": (CHOICE, '{"placement": "cart", "placement": "home"}'),
    "an age that is no number": (CHOICE, '{"placement": "home", "boost": [{"where": "price < 3", "factor": NaN}]}'),
    "half a surrogate pair": (CHOICE, '{"placement": "home", "visitor_id": "\\ud800"}'),
    "nobody": (CHOICE, '{"placement": "home", "person_id": "p_nobody"}'),
    "an unknown field": (CHOICE, '{"placement": "home", "size": 3}'),
    "no such condition": (CHOICE, '{"placement": "home", "filter": "margin_rate > 0"}'),
    "no JSON": (CHOICE, '{"placement": '),
    "nothing": (CHOICE, ""),
    "a list": (CHOICE, "[]"),
    "features": (FEATURES, '{"features": ["customer_360:value_segment"], "entities": {"person_id": ["p_ann", "x"]}}'),
    "two keys": (FEATURES, '{"features": ["scores:churn"], "entities": {"person_id": ["p"], "account": ["a"]}}'),
    "an unknown key": (FEATURES, '{"features": ["scores:churn"], "entities": {"name": ["p"]}}'),
}


@pytest.mark.parametrize("role", ["reader", "metrics", None])
def test_both_ways_say_the_same(client: Any, role: str | None) -> None:
    asked = client(role) if role else client("reader")
    key = {} if role else {"X-API-Key": "c360_no_such"}
    for name, (path, body) in BODIES.items():
        straight, usual = (
            asked.post(path, content=body, headers={"Content-Type": kind, **key}) for kind in (STRAIGHT, USUAL)
        )
        assert straight.status_code == usual.status_code, name
        answers = [{**answer.json(), "decision_id": None} for answer in (straight, usual)]
        assert answers[0] == answers[1], name
        assert straight.headers["content-type"] == usual.headers["content-type"], name
        assert straight.headers["x-content-type-options"] == "nosniff"


def test_an_answer_made_by_hand_is_what_is_documented(client: Any) -> None:
    answer = client("reader").post(CHOICE, json={"placement": "home", "person_id": "p_ann", "k": 2})
    ChoiceAnswer.model_validate_json(answer.content, strict=True)
    found = answer.json()
    assert set(found) == set(ChoiceAnswer.model_fields)
    assert set(found["items"][0]) == set(ChosenProduct.model_fields)


QUERIES = ("", "?k=2", "?k=2&mode=all", "?k=%2B3", "?k=2&k=3", "?size=1", "?mode=", "?k=0", "?k=x", "?k=2.0", "?model",
           "?model=item_to_item", "?model=none_such")  # fmt: skip


def test_a_stored_list_says_the_same_by_person_and_by_account(client: Any) -> None:
    """Who asks by account goes by way of the framework."""
    asked = client("reader")
    for query in QUERIES:
        straight, usual = (
            asked.get(f"/v1/{who}/recommendations{query}") for who in ("people/p_ann", "customers/POS/1")
        )
        assert straight.status_code == usual.status_code, query
        assert straight.json() == usual.json(), query
        assert ("x-decision-id" in straight.headers) == (straight.status_code == 200)
        if straight.status_code == 200:
            RecommendationsAnswer.model_validate_json(straight.content, strict=True)
            assert set(straight.json()) == set(RecommendationsAnswer.model_fields)
            assert all(set(item) == set(RecommendedProduct.model_fields) for item in straight.json()["items"])


@pytest.mark.parametrize("who", ["p_nobody", "p%2Fann", "%20", "p_ann/x"])
def test_a_list_of_nobody_is_none(client: Any, who: str) -> None:
    assert client("reader").get(f"/v1/people/{who}/recommendations").status_code == 404


@pytest.mark.parametrize("path, body", [
    (CHOICE, BODIES["a person"][1]), (FEATURES, BODIES["features"][1]),
])  # fmt: skip
def test_a_key_of_another_scope_is_refused_either_way(client: Any, path: str, body: str) -> None:
    asked = client("reader")
    key = access.issue(asked.app.state.folder, f"scores {uuid4()}", "service", scopes=("scores",))
    answers = [
        asked.post(path, content=body, headers={"Content-Type": kind, "X-API-Key": key}) for kind in (STRAIGHT, USUAL)
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json() == answers[1].json()


def test_requests_are_counted_under_one_route_either_way(client: Any) -> None:
    def counted() -> dict[str, float]:
        lines = [line.rpartition(" ") for line in client("metrics").get("/metrics").text.splitlines()]
        return {name: float(value) for name, _, value in lines if "requests_total{" in name and "features" in name}

    told = [counted()]
    for kind in (STRAIGHT, USUAL):
        client("reader").post(FEATURES, content=BODIES["features"][1], headers={"Content-Type": kind})
        told.append(counted())
    grown = [{n for n in after if after[n] != before.get(n)} for before, after in pairwise(told)]
    assert grown[0] == grown[1] and len(grown[0]) == 1


def test_a_body_that_comes_in_pieces_is_read_whole(client: Any) -> None:
    body = json.dumps({"placement": "home", "exclude": ["P3"]}).encode()

    def pieces() -> Iterator[bytes]:
        yield from (body[:9], b"", body[9:])

    answer = client("reader").post(CHOICE, content=pieces(), headers={"Content-Type": STRAIGHT})
    assert [item["product_id"] for item in answer.json()["items"]] == ["P2", "P4"]


def test_who_is_shown_is_in_the_audit_either_way(client: Any) -> None:
    """A reader sees no personal data; a service's features do show it."""
    body = '{"features": ["customer_360:first_name"], "entities": {"person_id": ["p_ann"]}}'
    service = client("service")
    state = service.app.state.folder
    lines = []
    for kind in (STRAIGHT, USUAL):
        assert service.post(FEATURES, content=body, headers={"Content-Type": kind}).status_code == 200
        lines.append(sum(len(f.read_bytes().splitlines()) for f in (state / "audit").rglob("*") if f.is_file()))
    assert lines[1] > lines[0] > 0


def test_an_endpoint_that_takes_more_is_refused_when_the_server_is_made() -> None:
    router = APIRouter()

    @router.post("/more")
    async def more(request: Request, wanted: ChosenProduct, principal: Caller, view: CurrentView, k: int) -> Response:
        return Response()

    with pytest.raises(TypeError, match="/more: an endpoint that is asked straight takes request, wanted"):
        Straight(lambda *_: None, routes=router.routes, prefix="/v1")  # type: ignore[arg-type]
