"""What people ask for over HTTP: noted with a day, fulfilled by a steward who knows who asks, in the audit."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from customer360.platform import access, audit
from customer360.platform.run import lake_of
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import fulfilment
from customer360.serve.app import build_app


def steward(shop: Any) -> TestClient:
    app = build_app(settings(shop))
    app.state.store._poll_seconds = app.state.refusals.store._poll_seconds = 0
    return TestClient(app, headers={"X-API-Key": access.issue(shop.state, "al", "steward")})


def settings(shop: Any) -> Settings:
    return Settings(state=str(shop.state), lake=LakeSettings(root=shop.lake.root, buckets=shop.lake.buckets))


def test_a_restriction_holds_at_once_for_every_answer_until_it_is_released(own_shop: Any) -> None:
    own_shop.publish()
    client = steward(own_shop)
    made = client.post(
        "/v1/rights", json={"kind": "restrict", "person_id": "p_ann", "received_on": "2026-03-01"}
    ).json()
    assert (made["state"], made["due_on"], made["law"]) == ("open", str(date(2026, 3, 1) + timedelta(30)), "GDPR")
    refused = client.post(f"/v1/rights/{made['number']}/fulfil", json={})
    assert refused.status_code == 422 and "made sure who asks" in refused.json()["detail"]
    assert client.get("/v1/people/p_ann/recommendations").json()["personalized"]
    done = client.post(f"/v1/rights/{made['number']}/fulfil", json={"identity": "passport at the desk"}).json()
    assert done["state"] == "fulfilled"
    assert not client.get("/v1/people/p_ann/recommendations").json()["personalized"]
    assert client.get("/v1/people/p_ann").json()["profile"]["may_email"] is False
    assert client.get("/v1/people/p_bob").json()["profile"]["may_email"] is not False
    fulfilment.release(settings(own_shop), made["number"], actor="al")
    assert client.get("/v1/people/p_ann/recommendations").json()["personalized"]
    said = [line["asked"] for line in audit.entries(own_shop.state) if line["name"] == "al"]
    assert {"rights open 1 restrict", "rights fulfil 1 restrict", "rights release 1 restrict"} <= set(said)


def test_an_opt_out_of_sale_needs_no_proof_and_leaves_the_rest(own_shop: Any) -> None:
    own_shop.publish()
    client = steward(own_shop)
    asked = {"kind": "opt_out", "person_id": "p_ann", "law": "CCPA", "received_on": "2026-03-01"}
    made = client.post("/v1/rights", json=asked).json()
    assert made["due_on"] == str(date(2026, 3, 1) + timedelta(45))
    assert client.post(f"/v1/rights/{made['number']}/fulfil", json={}).json()["state"] == "fulfilled"
    profile = client.get("/v1/people/p_ann").json()["profile"]
    assert profile["may_sell"] is False and profile["may_email"] is True
    assert client.get("/v1/rights").json() == [] and len(client.get("/v1/rights?done=true").json()) == 1
    again = client.post(f"/v1/rights/{made['number']}/fulfil", json={})
    assert again.status_code == 422 and "fulfilled already" in again.json()["detail"]


def test_only_stewards_see_requests_and_an_erasure_is_a_command(own_shop: Any) -> None:
    own_shop.publish()
    client = steward(own_shop)
    number = client.post("/v1/rights", json={"kind": "erase", "person_id": "p_ann"}).json()["number"]
    assert client.post(f"/v1/rights/{number}/fulfil", json={"identity": "letter"}).status_code == 409
    for body in ({"kind": "erase"}, {"kind": "fly", "person_id": "p_ann"}, {"kind": "rectify", "person_id": "p_ann"},
                 {"kind": "erase", "person_id": "p_ann", "law": "LEX"}):  # fmt: skip
        assert client.post("/v1/rights", json=body).status_code == 422, body
    assert client.post("/v1/rights/99/fulfil", json={}).status_code == 422
    service = own_shop.clients()("service")
    assert service.get("/v1/rights").status_code == 403
    assert lake_of(settings(own_shop)).objects("_rights/requests") == [f"_rights/requests/{number:08d}.json"]


@pytest.mark.parametrize("wish", [
    {"kind": "access", "received_on": "9999-12-31"},
    {"kind": "access", "received_on": "0001-01-01"},
    {"kind": "access", "received_on": str(date.today() + timedelta(days=5))},
    {"kind": "rectify", "values": {"no_such_attribute": "x"}},
    {"kind": "rectify", "values": {"date_of_birth": "soon"}},
    {"kind": "rectify", "values": {"city": "x" * 501}},
    {"kind": "rectify", "values": {"city": "\ud800"}},
    {"kind": "rectify", "values": {"\ud800": "x"}},
])  # fmt: skip
def test_what_cannot_be_fulfilled_is_not_noted(own_shop: Any, wish: dict[str, Any]) -> None:
    own_shop.publish()
    client = steward(own_shop)
    body = json.dumps({"person_id": "p_ann"} | wish)  # as JSON escapes, which may name half a character
    answer = client.post("/v1/rights", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert client.get("/v1/rights").json() == []


def test_a_request_that_is_sent_twice_is_noted_once(own_shop: Any) -> None:
    own_shop.publish()
    client, asked = steward(own_shop), {"kind": "access", "person_id": "p_ann"}
    numbers = [client.post("/v1/rights", json=asked, headers={"Idempotency-Key": "a"}).json()["number"] for _ in "12"]
    assert numbers == [1, 1]
    other = client.post("/v1/rights", json=asked | {"law": "CCPA"}, headers={"Idempotency-Key": "a"})
    assert other.status_code == 422 and "another change" in other.json()["detail"]
    assert client.post("/v1/rights", json=asked).json()["number"] == 2


def test_a_request_whose_maker_died_before_it_was_noted_as_sent_is_found(own_shop: Any) -> None:
    own_shop.publish()
    client, asked, key = steward(own_shop), {"kind": "access", "person_id": "p_ann"}, {"Idempotency-Key": "a"}
    assert client.post("/v1/rights", json=asked, headers=key).json()["number"] == 1
    for note in (own_shop.state / "changes").iterdir():
        note.write_text("")  # as a process leaves it that was killed after it had opened the request
    other = client.post("/v1/rights", json=asked | {"law": "CCPA"}, headers=key)
    assert other.status_code == 422 and "another change" in other.json()["detail"]
    assert client.post("/v1/rights", json=asked, headers=key).json()["number"] == 1
    assert len(client.get("/v1/rights").json()) == 1
    kept = own_shop.lake.get("_rights/requests/00000001.json")
    assert kept is not None and b'"sent_as": "' in kept and b'"a"' not in kept, "a digest, not the key"
