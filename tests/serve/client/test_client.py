"""The client against the API: every path and field that it names is there, faults are typed, what is lost is sent
again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, is_typeddict

import httpx2
import pytest
from starlette.testclient import TestClient

from customer360.platform import access, systems
from customer360.platform.settings import Settings
from customer360.serve import client as client_module
from customer360.serve.app import build_app
from customer360.serve.client import (
    Client,
    ClientError,
    Conflict,
    NotAllowed,
    NotFound,
    TooMany,
    Unavailable,
    Unreachable,
    answers,
)
from customer360.serve.client import WrongRequest as Wrong
from customer360.serve.compose import compose

URL = "http://testserver"
# The schema of each answer in the OpenAPI document; those inside others are found from there.
ANSWERS = {
    "Person": "PersonAnswer", "RecommendedList": "RecommendationsAnswer", "Choice": "ChoiceAnswer",
    "Page": "PageAnswer", "Decision": "DecisionAnswer", "Scores": "ScoresAnswer", "Features": "FeaturesAnswer",
    "Acknowledged": "Acknowledged", "Decided": "Decided",
}  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return build_app(Settings(state=str(tmp_path_factory.mktemp("state")))).openapi()


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_those_of_the_document(document: dict[str, Any], name: str) -> None:
    schemas = document["components"]["schemas"]
    assert list(_differences(getattr(answers, name), schemas[ANSWERS[name]], schemas)) == []


def _differences(kind: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str = "") -> Iterator[str]:
    """Where a type is not what a schema says."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if kind is Any:
        return
    if is_typeddict(kind):
        hints = typing.get_type_hints(kind)
        if hints.keys() != schema["properties"].keys():
            yield f"{at}: {sorted(hints.keys() ^ schema['properties'].keys())}"
            return
        for field, inner in hints.items():
            yield from _differences(inner, schema["properties"][field], schemas, f"{at}.{field}")
        return
    origin = get_origin(kind)
    if origin is NotRequired:
        yield from _differences(get_args(kind)[0], schema, schemas, at)
    elif origin in (types.UnionType, Union):
        (inner,) = (a for a in get_args(kind) if a is not types.NoneType)
        options = schema.get("anyOf", [])
        if {"type": "null"} not in options:
            yield f"{at}: is never null"
        for option in options:
            if option != {"type": "null"}:
                yield from _differences(inner, option, schemas, at)
    elif origin is list:
        yield from _differences(get_args(kind)[0], schema["items"], schemas, f"{at}[]")
    elif origin is Literal:
        told = schema.get("enum", [schema.get("const")])
        if set(get_args(kind)) != set(told):
            yield f"{at}: {told}"
    else:
        words = {str: "string", int: "integer", float: "number", bool: "boolean"}
        wanted = "object" if origin is dict else words[kind]
        if schema.get("type") not in (wanted, None) and not any(
            o.get("type") == wanted for o in schema.get("anyOf", [])
        ):
            yield f"{at}: {schema.get('type')} instead of {wanted}"


class Recorded:
    """A server that notes what is asked and answers nothing of use."""

    def __init__(self) -> None:
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return httpx2.Response(200, json={})


def test_every_request_is_one_of_the_document(document: dict[str, Any]) -> None:
    server = Recorded()
    client = Client("http://x/", "k", write_key="w", http=httpx2.Client(transport=httpx2.MockTransport(server)))
    calls: dict[str, Callable[[], Any]] = {
        "person": lambda: client.person("p/1"), "scores": lambda: client.scores("p"),
        "recommended": lambda: client.recommended(("POS", "1/2"), k=3, mode="all", model="hybrid"),
        "features": lambda: client.features(["scores:churn"], "person_id", ["p"]),
        "recommend": lambda: client.recommend(
            "home", person_id="p", k=3, cart=["P1"], context={"hour": 3}, boost=[{"where": "price < 2", "factor": 2}],
            attributes={"interests": {"Toys": 1.0}}, may_personalize=True, filter="price < 1", arm="a",
        ),
        "page": lambda: client.page("0" * 32, 8), "decision": lambda: client.decision("0" * 32),
        "track": lambda: client.track("Product Viewed", anonymous_id="v", properties={"product_id": "P1"}),
        "identify": lambda: client.identify("u", {"email": "a@b.c"}, anonymous_id="v"),
        "consent": lambda: client.consent({"Advertising": False}, anonymous_id="v"),
        "batch": lambda: client.batch([{"type": "page", "anonymousId": "v"}]),
        "confirm": lambda: client.confirm("POS/1", "SHOP/2"), "reject": lambda: client.reject("POS/1", "SHOP/2"),
        "split": lambda: client.split("p", ["POS/1"]), "undo": lambda: client.undo(7, "wrong"),
    }  # fmt: skip
    public = {name for name, found in vars(Client).items() if callable(found) and not name.startswith("_")}
    assert calls.keys() == public - {"close", "pages"}
    for name, call in calls.items():
        server.asked.clear()
        call()
        (request,) = server.asked
        operation = _operation(document, request)
        asked = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
        assert set(request.url.params) <= asked, name
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            _fits(json.loads(request.content), schema, document["components"]["schemas"], name)
        writes = request.url.path in ("/v1/track", "/v1/identify", "/v1/batch")
        assert request.headers["authorization"] == ("Bearer w" if writes else "Bearer k")
        headers = {p["name"] for p in operation.get("parameters", []) if p["in"] == "header"}
        assert ("idempotency-key" in request.headers) == ("Idempotency-Key" in headers), name


def _operation(document: dict[str, Any], request: httpx2.Request) -> dict[str, Any]:
    path = request.url.raw_path.decode().partition("?")[0]
    for template, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and request.method.lower() in operations:
            found: dict[str, Any] = operations[request.method.lower()]
            return found
    raise AssertionError(f"{request.method} {path} is no path of the document")


def _fits(body: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str) -> None:
    """Every field of a body is one of its schema, and none that is needed lacks."""
    schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(body, dict) and "properties" in schema:
        assert body.keys() <= schema["properties"].keys() and set(schema.get("required", [])) <= body.keys(), at
        for name, value in body.items():
            _fits(value, schema["properties"][name], schemas, f"{at}.{name}")
    elif isinstance(body, list) and "items" in schema:
        for value in body:
            _fits(value, schema["items"], schemas, at)


# ---- a live application ------------------------------------------------------------------------------------------


@pytest.fixture
def shop(published: Any) -> Callable[[str], Client]:
    def made(role: str) -> Client:
        key = access.issue(published.state, f"client {role}", role)
        return Client(URL, key, http=TestClient(build_app(Settings(state=str(published.state)))), patience=0)

    yield made
    for each in access.issued(published.state):
        if each.name.startswith("client "):
            access.revoke(published.state, each.id)


def test_answers_of_a_live_application(shop: Callable[[str], Client]) -> None:
    client = shop("service")
    person = client.person("p_ann")
    assert person["profile"]["email_address"] == "p_ann@example.org"
    assert client.person(("POS", "1"))["person_id"] == "p_ann"
    assert [s["model"] for s in client.scores("p_ann")["scores"]] == ["churn"]
    assert client.features(["scores:churn"], "person_id", ["p_ann", "x"])["results"][1]["statuses"][1] == "NOT_FOUND"
    assert client.recommended("p_ann", k=2)["items"][0]["rank"] == 1
    choice = client.recommend("home", person_id="p_ann", k=1)
    rest = [item["product_id"] for page in client.pages(choice, k=1) for item in page["items"]]
    assert len({choice["items"][0]["product_id"], *rest}) == 1 + len(rest) == choice["total"]
    why = client.decision(choice["decision_id"])
    assert why["replays"] and why["candidates"][0]["product_id"] == choice["items"][0]["product_id"]


def test_faults_are_typed(shop: Callable[[str], Client]) -> None:
    client = shop("reader")
    with pytest.raises(NotFound, match="404 Not Found: no such person"):
        client.person("nobody")
    with pytest.raises(Wrong, match="placement"):
        client.recommend("nowhere")  # type: ignore[arg-type]
    with pytest.raises(NotAllowed):
        client.confirm("POS/1", "POS/2")
    with pytest.raises(ClientError, match="need a key of role writer"):
        client.track("Product Viewed", anonymous_id="v")
    client._write_key = client._key
    with pytest.raises(NotFound, match="collects no events"):
        client.track("Product Viewed", anonymous_id="v")


def test_events_and_consent_reach_the_next_answer(tmp_path: Path) -> None:
    state = tmp_path / "state"
    web = {"kind": "collector", "system": "SHOP", "trusted": ["shop"]}
    sources = {"web": {"recipe": "collector/calls", "kind": "collector", "connection": "web", "system": "SHOP"}}
    compose()
    settings = Settings.model_validate(
        {"state": str(state), "landing": str(tmp_path), "lake": {"root": str(tmp_path / "lake")},
         "connections": {"web": web}, "sources": systems.with_recipes(sources)}
    )  # fmt: skip
    app = build_app(settings)
    client = Client(URL, write_key=access.issue(state, "shop", "writer"), http=TestClient(app), patience=0)
    client.track("Product Viewed", anonymous_id="v", properties={"product_id": "P1"})
    client.identify("u", anonymous_id="v")
    client.consent({"PERSONALIZATION": False}, anonymous_id="v")
    added = {"type": "track", "anonymousId": "w", "event": "Product Added", "properties": {"product_id": "P2"}}
    told = client.batch([added, {"type": "track", "event": "of nobody"}])
    known = app.state.activities.of("visitor/v")
    assert known.viewed == ("P1",) and known.refused == {"PERSONALIZATION"}
    assert app.state.activities.of("SHOP/u").viewed == ("P1",)
    assert app.state.activities.of("visitor/w").cart == ("P2",)
    assert [r["index"] for r in told["refused"] or []] == [1]


# ---- lost answers ------------------------------------------------------------------------------------------------


def lossy(*outcomes: Any) -> tuple[Client, list[httpx2.Request]]:
    """A client whose server answers one after the other; an exception is raised."""
    left, asked = list(outcomes), list[httpx2.Request]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return typing.cast(httpx2.Response, outcome)

    return Client(URL, "k", write_key="w", http=httpx2.Client(transport=httpx2.MockTransport(answer))), asked


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(client_module.time, "sleep", waits.append)
    return waits


def problem(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json={"title": "t", "status": status, "detail": "d"}, headers=headers)


def test_what_is_lost_is_sent_again_as_the_same(slept: list[float]) -> None:
    good = httpx2.Response(200, json={"events": [1]})
    client, asked = lossy(httpx2.ReadTimeout("late"), problem(503, **{"Retry-After": "2"}), good)
    assert client.confirm("POS/1", "SHOP/2") == {"events": [1]}
    assert len({request.headers["idempotency-key"] for request in asked}) == 1
    assert slept[0] < 0.2 and slept[1] == 2.0
    client, asked = lossy(problem(429), httpx2.ConnectError("gone"), httpx2.Response(200, json={"success": True}))
    client.track("Product Viewed", anonymous_id="v")
    assert len({request.content for request in asked}) == 1 and len(asked) == 3


def test_what_stays_wrong_is_not_sent_again_and_patience_ends(slept: list[float]) -> None:
    for status, kind in ((404, NotFound), (422, Wrong), (401, NotAllowed), (409, Conflict)):
        client, asked = lossy(problem(status), problem(status))
        with pytest.raises(kind):
            client.person("p")
        assert len(asked) == 1, status
    client, asked = lossy(problem(429, **{"Retry-After": "3600"}))
    with pytest.raises(TooMany) as told:
        client.person("p")
    assert told.value.retry_after == 3600 and slept == []
    client, _ = lossy(httpx2.ConnectError("refused"))
    client._patience = 0
    with pytest.raises(Unreachable, match="ConnectError: refused"):
        client.person("p")


def test_an_answer_of_a_proxy_is_told_by_its_status(slept: list[float]) -> None:
    client, _ = lossy(httpx2.Response(502, text="<html>bad gateway"))
    client._patience = 0
    with pytest.raises(Unavailable, match="502 Bad Gateway: no detail"):
        client.person("p")
    client, _ = lossy(httpx2.Response(200, text="<html>a portal"))
    with pytest.raises(Unreachable, match="no JSON"):
        client.person("p")


def test_a_long_batch_is_sent_in_parts_and_its_places_are_of_the_whole() -> None:
    told = [httpx2.Response(200, json={"success": True, "refused": [{"index": 3, "reason": "r"}]}) for _ in range(3)]
    client, asked = lossy(*told)
    found = client.batch({"type": "track", "anonymousId": "v", "event": "e"} for _ in range(1200))
    sizes = [len(json.loads(request.content)["batch"]) for request in asked]
    assert sizes == [500, 500, 200]
    assert [r["index"] for r in found["refused"] or []] == [3, 503, 1003]
    client, asked = lossy(*(httpx2.Response(200, json={"success": True}) for _ in range(4)))
    client.batch(
        {"type": "track", "anonymousId": "v", "event": "e", "properties": {"x": "y" * 150_000}} for _ in "1234"
    )
    assert all(len(request.content) < 500 * 1024 for request in asked) and len(asked) == 2


def test_it_loads_nothing_heavy() -> None:
    said = "import sys, customer360.serve.client; print([m for m in sys.modules if m.startswith('customer360.')])"
    said += "; assert not {'ray', 'polars', 'pydantic', 'fastapi', 'numpy'} & set(sys.modules)"
    ended = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert all(name.startswith("customer360.serve") for name in re.findall(r"'([\w.]+)'", ended.stdout))


def test_a_write_key_may_come_as_any_other_does(document: dict[str, Any]) -> None:
    ways = [name for each in document["paths"]["/v1/batch"]["post"]["security"] for name in each]
    assert ways == ["HTTPBasic", "HTTPBearer", "APIKeyHeader"]
