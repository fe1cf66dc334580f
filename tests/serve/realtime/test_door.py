"""Calls of client libraries: who may send, what is durable, what becomes of it in bronze."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from customer360.models.identity.links import identity_links
from customer360.models.identity.rules import Stitching
from customer360.platform import access
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings
from customer360.serve.app import build_app
from customer360.serve.realtime import collector, logs
from customer360.serve.realtime.activity import account, visitor
from customer360.serve.realtime.paths import PATHS

Land = Callable[[Settings], dict[str, pl.DataFrame]]
SHOP, OTHER = "https://shop.example", "https://other.example"


def call(kind: str, number: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "messageId": number, "anonymousId": "v-1", **more}


def track(number: str, event: str, **properties: Any) -> dict[str, Any]:
    return call("track", number, event=event, properties=properties)


def batch(client: TestClient, key: str, calls: list[Any], **more: Any) -> Any:
    return client.post("/v1/batch", json={"batch": calls, **more}, auth=(key, ""))


def test_each_call_lands_once_as_what_it_is(client: TestClient, settings: Settings, write_key: str, land: Land) -> None:
    page = {"page": {"url": "https://shop.example/p1", "title": "Mug", "referrer": "https://search.example/"},
            "userAgent": "Mozilla/5.0 (iPhone) Mobile", "sessionId": "s-1",
            "campaign": {"name": "spring", "source": "mail"}}  # fmt: skip
    sent = [
        ("page", {"messageId": "m1", "anonymousId": "v-1", "name": "Mug", "context": page}),
        ("track", track("m2", "Product Viewed", product_id="P1", category="Mugs")),
        ("track", track("m3", "Products Searched", query="blue mug")),
        ("identify", call("identify", "m4", userId="C1", traits={"email": "pat@example.com", "name": "Pat de Vries"})),
        ("track", call("track", "m5", userId="C1", event="Order Completed", properties={"products": [{"sku": "P1"}]})),
        ("screen", call("screen", "m6", name="Start")),
        ("group", call("group", "m7", userId="C1", groupId="G1")),
        ("alias", call("alias", "m8", previousId="v-0", userId="C1")),
        ("track", track("m9", "Video Played")),
        ("alias", call("alias", "n1", previousId="C1", userId="C1")),
    ]
    for _ in range(2):  # a client that was not heard sends again
        for kind, body in sent:
            answer = client.post(f"/v1/{kind}", json=body, auth=(write_key, ""))
            assert (answer.status_code, answer.json()) == (200, {"success": True})
    found = land(settings)
    events = found["bronze.events"].sort("EVENT_ID")
    shown = events.select("EVENT_ID", "EVENT_TYPE", "CUSTOMER_ID", "VISITOR_ID", "PRODUCT_ID").rows()
    assert shown == [
        ("m1", "PAGE_VIEW", None, "v-1", None),
        ("m2", "PRODUCT_VIEW", None, "v-1", "P1"),
        ("m3", "SEARCH", None, "v-1", None),
        ("m4", "LOGIN", "C1", "v-1", None),
        ("m5", "PURCHASE", "C1", "v-1", "P1"),
        ("m6", "PAGE_VIEW", None, "v-1", None),
        ("m8", "LOGIN", "C1", "v-0", None),
        ("n1", "LOGIN", "C1", "v-1", None),
    ]
    first = events.row(0, named=True)
    assert (first["PAGE_TITLE"], first["SESSION_ID"], first["USER_AGENT"]) == ("Mug", "s-1", page["userAgent"])
    assert events["SEARCH_QUERY"].drop_nulls().to_list() == ["blue mug"]
    (person,) = found["bronze.customers"].to_dicts()
    assert (person["FIRST_NAME"], person["LAST_NAME"], person["EMAIL_ADDRESS"]) == (
        "Pat",
        "de Vries",
        "pat@example.com",
    )
    (visit,) = found["bronze.sessions"].to_dicts()
    assert (visit["SESSION_ID"], visit["CAMPAIGN_ID"], visit["TRAFFIC_SOURCE"]) == ("s-1", "spring", "mail")
    assert found["quality.dead_letters"].is_empty()
    assert land(settings)["bronze.events"].height == 8


def test_the_next_answer_knows_what_was_acknowledged(client: TestClient, write_key: str) -> None:
    batch(client, write_key, [track("1", "Product Viewed", product_id="P1"), track("2", "Product Added", sku="P2")])
    batch(client, write_key, [track("2", "Product Added", sku="P2"), track("3", "Product Viewed", product_id=17)])
    activities = client.app.state.activities  # type: ignore[attr-defined]
    found = activities.of(visitor("v-1"))
    assert (found.viewed, found.cart, found.events) == (("17", "P1"), ("P2",), 3)
    batch(client, write_key, [call("identify", "4", userId=7)])
    assert activities.of(account("SHOP", "7")).cart == ("P2",)
    old = track("5", "Product Viewed", product_id="P9") | {"timestamp": "2020-01-01T00:00:00Z"}
    batch(client, write_key, [old])
    assert "P9" not in activities.of(visitor("v-1")).viewed


def test_after_a_restart_the_windows_are_those_of_the_log(
    client: TestClient, settings: Settings, write_key: str, land: Land
) -> None:
    calls = [track(str(n), "Product Viewed", product_id=f"P{n}") for n in range(5)]
    batch(client, write_key, [*calls, call("identify", "i", userId="C1"), track("odd", ""), 7])
    before = client.app.state.activities.of(visitor("v-1"))  # type: ignore[attr-defined]
    land(settings)  # the journal keeps what a visit is
    again = build_app(settings).state.activities.of(account("SHOP", "C1"))
    assert again == before and again.events == 6


def test_good_calls_land_beside_bad_ones(
    client: TestClient, settings: Settings, write_key: str, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad: list[Any] = [
        {"type": "track", "event": "Product Viewed"}, {"type": "nothing", "userId": "C1"}, call("track", "b1"), 7, None,
        track("b2", "Product Viewed", note="x" * 40_000), call("track", "b3", event="E", properties=[1]),
        call("track", "line\nbreak", event="E"), call("track", "b4", event="E", userId={"id": 1}),
        call("alias", "b5", userId="C1"), call("group", "b6"),
    ]  # fmt: skip
    answer = batch(client, write_key, [track("g1", "Product Viewed"), *bad, track("g2", "Product Viewed")])
    assert answer.status_code == 200 and len(answer.json()["refused"]) == len(bad)
    assert batch(client, write_key, bad).status_code == 200  # the same again is no new letter
    assert client.post("/v1/track", json=bad[0], auth=(write_key, "")).status_code == 400
    found = land(settings)
    assert sorted(found["bronze.events"]["EVENT_ID"]) == ["g1", "g2"]
    letters = found["quality.dead_letters"]
    assert letters.height == len(bad)
    assert [json.loads(raw) for raw in letters.sort("position")["raw"]] == bad
    assert "userId or anonymousId is needed" in letters["reason"].to_list()


@pytest.mark.parametrize("levels", [300, 1000])
def test_nothing_that_is_nested_too_deep_is_kept_or_keeps_others_out(
    client: TestClient, settings: Settings, write_key: str, land: Land, levels: int
) -> None:
    """A write key is everybody's: one event must not fail the answer, nor every reader of the log after it."""
    deep, packed = "[" * levels + "]" * levels, json.dumps("[" * levels + "]" * levels)
    good, bad = json.dumps(track("m1", "Product Viewed", product_id="P1")), json.dumps(track("m2", "X", a="DEEP"))
    own = f'{{"EVENT_TYPE": "SEARCH", "VISITOR_ID": "v-1", "EVENT_ID": "m3", "EVENT_DATA": {packed}}}'
    body = f'{{"batch": [{good}, {bad}, {own}]}}'.replace('"DEEP"', deep)
    answer = client.post("/v1/batch", content=body, auth=(write_key, ""))
    assert answer.status_code == 200, answer.text
    refused = {each["index"] for each in answer.json().get("refused", [])}
    assert refused == ({1, 2} if levels == 300 else {1}), "a text that cannot be opened stays a text"
    found = land(settings)
    assert "P1" in found["bronze.events"]["PRODUCT_ID"].to_list()
    assert found["quality.dead_letters"].height >= len(refused)
    with TestClient(build_app(settings)) as again:
        assert again.post("/v1/page", json=call("page", "m9"), auth=(write_key, "")).status_code == 200


@pytest.mark.parametrize("events", ["deep", "context"])
def test_no_batch_waits_with_more_than_it_brought(
    client: TestClient, settings: Settings, write_key: str, land: Land, monkeypatch: pytest.MonkeyPatch, events: str
) -> None:
    """Good events beside many that are too deep, or under one large context, are taken, and others still find room."""
    most = 2 << 20
    monkeypatch.setattr(logs, "MOST_WAITING", most)
    monkeypatch.setattr(collector, "PIECE", most // 2)
    deep = [json.dumps(track(f"d{n}", "X", a="DEEP")) for n in range(30 if events == "deep" else 0)]
    good = [json.dumps(track(f"g{n}", "Product Viewed", product_id="P1")) for n in range(80)]
    context = {} if deep else {"note": "x" * 30_000}
    body = f'{{"batch": [{", ".join(deep + good)}], "context": {json.dumps(context)}{" " * 100_000}}}'
    answer = client.post("/v1/batch", content=body.replace('"DEEP"', "[" * 300 + "]" * 300), auth=(write_key, ""))
    assert answer.status_code == 200, answer.text
    assert len(answer.json().get("refused", [])) == len(deep)
    found = land(settings)
    assert found["bronze.events"].height == len(good)
    if deep:
        (reason,) = found["quality.dead_letters"]["reason"]
        assert reason.startswith("30 of the batch's events (places 0, 1, 2,") and "at most 254 levels" in reason


def test_a_body_that_cannot_be_read_is_a_dead_letter(
    client: TestClient, settings: Settings, write_key: str, land: Land
) -> None:
    for body in (b"{", b'{"batch": 7}', b"[" * 100_000, b'{"type": "track"}'):
        assert client.post("/v1/batch", content=body, auth=(write_key, "")).status_code == 400
    batch(client, write_key, [track("1", "Product Viewed")])
    assert land(settings)["quality.dead_letters"].height == 4


def test_what_some_clients_write_is_read(client: TestClient, settings: Settings, write_key: str, land: Land) -> None:
    body = (
        b'{"batch": [{"type": "track", "event": "Product Viewed", "messageId": "1", "anonymousId": "v", "properties": '
        b'{"price": NaN, "product_id": 123456789012345678901234567890}}, {"type": "track", "messageId": "2", "userId": '
        b'"C", "event": "Products Searched", "properties": {"query": "\\ud83d"}}]}'
    )
    assert client.post("/v1/batch", content=gzip.compress(body), auth=(write_key, ""),
                       headers={"Content-Encoding": "gzip"}).status_code == 200  # fmt: skip
    events = land(settings)["bronze.events"].sort("EVENT_ID")
    assert events["PRODUCT_ID"][0] == "123456789012345678901234567890" and events.height == 2


def test_a_clock_that_is_wrong_is_put_right(client: TestClient, settings: Settings, write_key: str, land: Land) -> None:
    before = datetime.now(UTC)
    wrong = before - timedelta(days=300)
    told = {"timestamp": wrong.isoformat(), "event": "Product Viewed"}
    batch(client, write_key, [call("track", "1", **told)], sentAt=(wrong + timedelta(minutes=5)).isoformat())
    batch(client, write_key, [call("track", "2", **told)])  # no word of when it was sent: it is believed
    batch(client, write_key, [call("track", "3", event="Product Viewed", timestamp="yesterday")])
    batch(client, write_key, [call("track", "4", event="Product Viewed", timestamp=1_700_000_000_000)])
    at = dict(land(settings)["bronze.events"].select("EVENT_ID", "EVENT_DATE").iter_rows())
    assert abs(at["1"] - (before - timedelta(minutes=5))) < timedelta(seconds=30)
    assert abs(at["2"] - wrong) < timedelta(seconds=1) and abs(at["3"] - before) < timedelta(seconds=30)
    assert at["4"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_the_specifications_own_events(client: TestClient, settings: Settings, write_key: str, land: Land) -> None:
    own = [
        {"EVENT_ID": "E1", "CUSTOMER_ID": "C1", "EVENT_TYPE": "CART_ADD", "EVENT_TIMESTAMP": "2026-04-01T10:00:00",
         "SESSION_ID": "S1", "EVENT_DATA": {"product_id": "P1"}, "PROCESSING_STATUS": "NEW"},
        {"event_id": "E2", "visitor_id": "v-2", "event_type": "SCROLL", "event_date": "2026-04-01T10:00:00Z",
         "scroll_depth": 0.5, "page_url": "https://shop.example/", "event_data": "{\"product_id\": \"P2\"}"},
    ]  # fmt: skip
    assert client.post("/v1/events", json=own, auth=(write_key, "")).status_code == 200
    one = own[0] | {"EVENT_ID": "E3", "EVENT_TYPE": "SEARCH", "EVENT_DATA": {"query": "mug"}}
    assert client.post("/v1/events", json=one, auth=(write_key, "")).status_code == 200
    events = land(settings)["bronze.events"].sort("EVENT_ID")
    assert events.select(
        "EVENT_ID", "EVENT_TYPE", "PRODUCT_ID", "SESSION_ID", "SCROLL_DEPTH", "SEARCH_QUERY"
    ).rows() == [
        ("E1", "CART_ADD", "P1", "S1", None, None),
        ("E2", "SCROLL", "P2", None, 0.5, None),
        ("E3", "SEARCH", None, "S1", None, "mug"),
    ]
    assert events["EVENT_DATE"][0] == datetime(2026, 4, 1, 10, tzinfo=UTC)


def test_consent_is_known_at_once_and_lands_as_answers(
    configure: Callable[..., Settings], land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configure(
        consent={"Advertising": ["MARKETING", "SALE"], "Functional": ["PERSONALIZATION"], "unmapped": []}
    )
    key = access.issue(Path(settings.state), "web shop", "writer")
    client = TestClient(build_app(settings))
    said = {"consent": {"categoryPreferences": {"Advertising": False, "Functional": True, "Unknown": False}}}
    batch(client, key, [call("page", "1", context=said)])
    activities = client.app.state.activities  # type: ignore[attr-defined]
    assert activities.of(visitor("v-1")).refused == {"EMAIL", "SMS", "PHONE", "PUSH", "SALE"}
    batch(client, key, [call("identify", "2", userId="C1", context=said)])
    changed = {"consent": {"categoryPreferences": {"functional": False}}}
    batch(client, key, [call("track", "3", userId="C1", event="Segment Consent Preference Updated", context=changed)])
    assert "PERSONALIZATION" in activities.of(account("SHOP", "C1")).refused
    found = land(settings)["bronze.preferences"]
    assert set(found["CUSTOMER_ID"]) == {"C1"}
    assert sorted(found["PREFERENCE_VALUE"]) == [
        "EMAIL:NO", "PERSONALIZATION:NO", "PERSONALIZATION:YES", "PHONE:NO", "PUSH:NO", "SALE:NO", "SMS:NO"
    ]  # fmt: skip


def test_a_key_of_pages_speaks_for_no_account(
    configure: Callable[..., Settings], land: Land, caplog: pytest.LogCaptureFixture
) -> None:
    settings = configure(consent={"Functional": ["PERSONALIZATION"]})
    server, page = (access.issue(Path(settings.state), name, "writer") for name in ("web shop", "pages"))
    client = TestClient(build_app(settings))
    activities = client.app.state.activities  # type: ignore[attr-defined]

    def says(**answers: bool) -> dict[str, Any]:
        return {"consent": {"categoryPreferences": answers}}

    batch(client, server, [call("track", "1", anonymousId="v-0", userId="100", event="Product Viewed",
                                properties={"product_id": "P1"}, context=says(EMAIL=False))])  # fmt: skip
    far = "2099-01-01T00:00:00Z"
    forged = {"userId": "100", "traits": {"email": "evil@example.com"}, "trusted": True, "timestamp": far}
    batch(client, page, [call("identify", "2", **forged, context=says(EMAIL=True, Functional=False)),
                         call("alias", "3", userId="100", previousId="v-0", trusted=True)])  # fmt: skip
    assert activities.of(visitor("v-1")).viewed == ()
    assert activities.of(account("SHOP", "100")).refused == {"EMAIL", "PERSONALIZATION"}
    found = land(settings)
    assert found.get("bronze.customers", pl.DataFrame()).is_empty()
    preferences = found["bronze.preferences"]
    assert preferences["PREFERENCE_VALUE"].to_list() == ["PERSONALIZATION:NO"]
    assert str(preferences["PREFERENCE_DATE"].max()) < "2099"
    assert found["bronze.events"].filter(VISITOR_ID="v-0")["EVENT_ID"].to_list() == ["1"]
    batch(client, server, [call("identify", "4", **forged | {"timestamp": None}, context=says(EMAIL=True, Odd=True))])
    found = land(settings)
    assert found["bronze.customers"]["EMAIL_ADDRESS"].to_list() == ["evil@example.com"]
    assert "EMAIL:YES" in found["bronze.preferences"]["PREFERENCE_VALUE"].to_list()
    assert activities.of(account("SHOP", "100")).refused == {"PERSONALIZATION"}
    for number in "56":
        batch(client, page, [call("page", number, context=says(Odd=False))])
    assert {"EMAIL", "TRAINING"} <= activities.of(visitor("v-1")).refused
    assert sum("'odd'" in record.message for record in caplog.records) == 1


def test_a_page_is_not_believed_who_is_logged_in_where_the_settings_say_so(
    configure: Callable[..., Settings], land: Land
) -> None:
    settings = configure(page_logins=False)
    server, page = (access.issue(Path(settings.state), name, "writer") for name in ("web shop", "pages"))
    client = TestClient(build_app(settings))
    activities = client.app.state.activities  # type: ignore[attr-defined]
    no = {"consent": {"categoryPreferences": {"EMAIL": False}}}
    forged = [call("identify", "1", userId="100"), track("2", "Product Viewed", product_id="P1") | {"userId": "100"},
              call("page", "3", userId="200", context=no)]  # fmt: skip
    assert batch(client, page, forged).json() == {"success": True}
    lonely = client.post("/v1/track", json={"event": "Signed In", "userId": "100"}, auth=(page, ""))
    assert lonely.status_code == 400 and "anonymousId is needed" in lonely.json()["detail"]
    assert activities.of(account("SHOP", "100")).events == activities.of(account("SHOP", "200")).events == 0
    assert activities.of(visitor("v-1")).viewed == ("P1",) and activities.of(visitor("v-1")).refused == {"EMAIL"}
    batch(client, server, [call("identify", "4", userId="100")])
    assert activities.of(account("SHOP", "100")).viewed == ("P1",)
    events = land(settings)["bronze.events"].sort("EVENT_ID").select("EVENT_ID", "CUSTOMER_ID", "EVENT_TYPE").rows()
    assert events == [("2", None, "PRODUCT_VIEW"), ("3", None, "PAGE_VIEW"), ("4", "100", "LOGIN")]
    again = build_app(settings).state.activities
    assert again.of(account("SHOP", "100")).viewed == ("P1",) and again.of(account("SHOP", "200")).events == 0


def test_a_page_key_joins_no_two_people_and_tells_nobody_of_an_account(client: TestClient, settings: Settings) -> None:
    page = access.issue(Path(settings.state), "pages", "writer")
    activities = client.app.state.activities  # type: ignore[attr-defined]
    batch(client, page, [call("identify", "1", anonymousId="v-ann", userId="ann"),
                         track("2", "Product Viewed", product_id="P1") | {"anonymousId": "v-ann"}])  # fmt: skip
    stranger = [call("identify", str(n), anonymousId="v-evil", userId=who) for n, who in enumerate(("ann", "bob"), 3)]
    batch(client, page, stranger)
    assert activities.of(visitor("v-evil")).viewed == (), "what an account did is told of no device that names it"
    assert activities.of(account("SHOP", "bob")).viewed == ()
    resolved = pl.LazyFrame({"record_id": ["SHOP/ann", "SHOP/bob"], "person_id": ["p1", "p2"]})
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    logins = pl.LazyFrame({"visitor_id": ["v-evil", "v-evil"], "source_system": ["SHOP", "SHOP"],
                           "customer_id": ["ann", "bob"], "first_at": [moment, moment + timedelta(minutes=1)],
                           "last_at": [moment, moment + timedelta(minutes=1)]})  # fmt: skip
    links = identity_links(resolved, logins, Stitching()).collect()
    accounts = dict(links.filter(kind="account").select("identifier", "person_id").rows())
    assert accounts == {"SHOP/ann": "p1", "SHOP/bob": "p2"}


@pytest.mark.parametrize("written", ['"c360_1_\\ud800"', '"\\ud800_1_x"', '"c360_\\ud800_x"', '"c360_1_é"', '""', "7"])
def test_a_key_of_odd_letters_is_no_key_and_no_fault(client: TestClient, written: str) -> None:
    body = f'{{"type": "page", "anonymousId": "v", "writeKey": {written}}}'
    assert client.post("/v1/page", content=body).status_code == 401
    assert client.post("/v1/page?key=c360_1_%ED%A0%80", content="{}").status_code == 401
    said = base64.b64encode("c360_1_é:".encode()).decode()
    assert client.post("/v1/page", content="{}", headers={"Authorization": f"Basic {said}"}).status_code == 401


def test_what_a_window_keeps_of_a_call_is_bounded(client: TestClient, write_key: str) -> None:
    many = [{"product_id": f"P{n}"} for n in range(500)]
    batch(client, write_key, [track("1", "Cart Viewed", products=many), track("2", "Order Completed", products=many),
                              track("3", "Product Viewed", product_id="x" * 201),
                              track("4", "Products Searched", query="y" * 500)])  # fmt: skip
    found = client.app.state.activities.of(visitor("v-1"))  # type: ignore[attr-defined]
    assert (len(found.bought), found.viewed, [len(each) for each in found.searched]) == (100, (), [200])


def test_a_batch_has_so_many_calls_and_an_answer_so_many_refusals(client: TestClient, write_key: str) -> None:
    answer = batch(client, write_key, list(range(collector.MOST_CALLS + 1)))
    assert answer.status_code == 400 and "at most 5,000 calls" in answer.json()["detail"]
    answer = batch(client, write_key, list(range(150))).json()
    assert len(answer["refused"]) == 100 and answer["refused_in_all"] == 150


def test_a_refusal_that_no_run_read_yet_outlives_a_restart(
    client: TestClient, settings: Settings, write_key: str
) -> None:
    said = {"consent": {"categoryPreferences": {"EMAIL": False}}}
    batch(client, write_key, [call("identify", "1", userId="C1", context=said), track("2", "Product Viewed", sku="P")])
    (segment,) = (Path(settings.state) / "collector" / "web").glob("*.frames")
    began, _, rest = segment.name.partition("-")
    segment.rename(segment.with_name(f"{int(began) - 7200 * 10**9:020d}-{rest}"))
    found = build_app(settings).state.activities.of(account("SHOP", "C1"))
    assert found.refused == {"EMAIL"} and found.viewed == ()


def test_a_collector_that_no_source_reads_takes_nothing(configure: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError, match=r"connections.web .* no source reads: add `web: {recipe: collector/calls"):
        build_app(configure({}))


def test_the_key_in_the_address_and_in_no_letter(client: TestClient, settings: Settings, write_key: str) -> None:
    body = json.dumps(track("1", "Product Viewed") | {"writeKey": write_key})
    assert client.post(f"/v1/batch?key={write_key}", content=b"[]").status_code == 200
    assert client.post("/v1/batch?key=c360_0_0", content=body).status_code == 401
    for odd in (b'{"writeKey": "%s", "batch": 5}', b'{"writeKey": "%s", "type": "track"}', b'{"writeKey": "%s", ['):
        for path in ("batch", "track"):
            sent = client.post(f"/v1/{path}?key={write_key}", content=odd % write_key.encode())
            assert sent.status_code == 400
    (segment,) = (Path(settings.state) / "collector" / "web").glob("*.frames")
    assert write_key.encode() not in segment.read_bytes() and b"writeKey" in segment.read_bytes()


def test_only_write_keys_write_and_they_do_nothing_else(client: TestClient, settings: Settings, write_key: str) -> None:
    state = Path(settings.state)
    body = track("1", "Product Viewed")
    assert client.post("/v1/track", json=body).status_code == 401
    assert client.post("/v1/track", json=body, auth=("c360_0_0", "")).status_code == 401
    assert client.post("/v1/track", json=body, headers={"Authorization": "Basic ###"}).status_code == 401
    for role in ("metrics", "reader", "service", "steward", "admin"):
        key = access.issue(state, f"a {role}", role)
        assert client.post("/v1/track", json=body, auth=(key, "")).status_code == 403
    assert client.post("/v1/track", json=body, headers={"X-API-Key": write_key}).status_code == 200
    assert client.post("/v1/t", content=json.dumps(body | {"writeKey": write_key})).status_code == 200
    (segment,) = (state / "collector" / "web").glob("*.frames")
    assert write_key.encode() not in segment.read_bytes()
    mine = {"Authorization": f"Bearer {write_key}"}
    for path in ("/v1/people/p1", "/metrics", "/v1/rights", "/v1/identity/p1/why", "/v1/products/P1/bought-together"):
        assert client.get(path, headers=mine).status_code == 403, path


def test_pages_of_named_origins_alone_may_send(client: TestClient, write_key: str) -> None:
    body = json.dumps(track("1", "Product Viewed") | {"writeKey": write_key})
    asked = client.options("/v1/track", headers={"Origin": SHOP, "Access-Control-Request-Method": "POST"})
    assert asked.status_code == 204 and asked.headers["access-control-allow-origin"] == SHOP
    assert "authorization" in asked.headers["access-control-allow-headers"]
    sent = client.post("/v1/track", content=body, headers={"Origin": SHOP})
    assert sent.status_code == 200 and sent.headers["access-control-allow-origin"] == SHOP
    assert sent.headers["x-content-type-options"] == "nosniff"
    refused = client.post("/v1/track", content=body, headers={"Origin": OTHER})
    assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
    assert client.options("/v1/track", headers={"Origin": OTHER}).status_code == 403
    unread = client.post("/v1/batch", content=b"{", headers={"Origin": SHOP})
    assert unread.status_code == 401 and unread.headers["access-control-allow-origin"] == SHOP
    snippet = client.get("/v1/snippet.js", headers={"Origin": OTHER})
    assert snippet.status_code == 200 and snippet.headers["cross-origin-resource-policy"] == "cross-origin"
    assert client.get("/v1/track").status_code == 405
    assert client.put("/v1/snippet.js", headers={"Origin": OTHER}).status_code == 405


def test_browsers_hear_that_the_shop_is_behind_tls(settings: Settings) -> None:
    served = settings.serve.model_copy(update={"public_url": "https://360.example.org"})
    client = TestClient(build_app(settings.model_copy(update={"serve": served})))
    for answer in (client.get("/v1/snippet.js"), client.post("/v1/batch", json=[])):
        assert "max-age" in answer.headers["strict-transport-security"]


def test_a_key_has_its_rate(client: TestClient, settings: Settings) -> None:
    key = access.issue(Path(settings.state), "slow", "writer", per_minute=60)
    statuses = [batch(client, key, [track(str(n), "E")]).status_code for n in range(12)]
    assert statuses[:10] == [200] * 10 and 429 in statuses[10:]
    other = access.issue(Path(settings.state), "many at once", "writer", per_minute=60)
    assert batch(client, other, [track(f"m{n}", "E") for n in range(40)]).status_code == 200
    answer = batch(client, other, [track("last", "E")])
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 30


def test_what_fills_the_log_counts_as_many(client: TestClient, settings: Settings) -> None:
    """The context of a batch is kept with each of its calls: few bytes that are sent are many of the log."""
    key = access.issue(Path(settings.state), "pages", "writer", per_minute=600)  # a hundred at once
    calls = [track(str(n), "Product Viewed", product_id="P1") for n in range(50)]
    assert batch(client, key, calls).status_code == 200
    light = [track(f"light {n}", "Product Viewed", product_id="P1") for n in range(20)]
    assert batch(client, key, light).status_code == 200
    heavy = [track(f"heavy {n}", "Product Viewed", product_id="P1") for n in range(20)]
    assert batch(client, key, heavy, context={"locale": "x" * 30_000}).status_code == 200
    late = batch(client, key, light)
    assert late.status_code == 429 and int(late.headers["Retry-After"]) > 5


def test_what_is_too_large_is_not_read(client: TestClient, write_key: str) -> None:
    large = b" " * (collector.LARGEST + 1)
    assert client.post("/v1/batch", content=large, auth=(write_key, "")).status_code == 413
    packed = gzip.compress(large)
    answer = client.post("/v1/batch", content=packed, auth=(write_key, ""), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    broken = client.post("/v1/batch", content=packed[:-9], auth=(write_key, ""), headers={"Content-Encoding": "gzip"})
    assert broken.status_code == 400


def test_without_a_disk_nothing_is_acknowledged(
    client: TestClient, settings: Settings, write_key: str, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fdatasync", full)
        answer = batch(client, write_key, [track("1", "Product Viewed", product_id="P1")])
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert client.app.state.activities.of(visitor("v-1")).viewed == ()  # type: ignore[attr-defined]
    assert batch(client, write_key, [track("1", "Product Viewed", product_id="P1")]).status_code == 200
    assert land(settings)["bronze.events"].height == 1


def test_a_backlog_keeps_more_out_until_a_run_takes_it(
    configure: Callable[..., Settings], land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configure(backlog_megabytes=1, keep_minutes=0)
    key = access.issue(Path(settings.state), "web", "writer")
    monkeypatch.setattr(logs, "MEASURED_SECONDS", 0.0)
    client = TestClient(build_app(settings))
    numbers = iter(range(10_000))

    def send() -> Any:
        return batch(client, key, [track(str(next(numbers)), "E", note="x" * 300) for _ in range(400)])

    statuses = [send().status_code for _ in range(8)]
    assert statuses[0] == 200 and statuses[-1] == 503 and send().headers["retry-after"]
    land(settings)
    assert send().status_code == 200
    assert len(list((Path(settings.state) / "collector" / "web").glob("*.frames"))) == 2  # the first may go now
    land(settings)
    assert len(list((Path(settings.state) / "collector" / "web").glob("*.frames"))) == 1


def test_while_a_restore_is_under_way_nothing_is_taken(client: TestClient, settings: Settings, write_key: str) -> None:
    (Path(settings.state) / "_restoring.json").write_text("{}")
    assert batch(client, write_key, [track("1", "E")]).status_code == 503


def test_every_short_name_of_a_path_is_one_of_a_call() -> None:
    assert PATHS["/v1/i"] == "identify" and PATHS["/v1/b"] is None and len(PATHS) == 16


def test_a_server_without_a_collector_says_so(configure: Callable[..., Settings]) -> None:
    settings = configure({}).model_copy(update={"connections": {}})
    key = access.issue(Path(settings.state), "web", "writer")
    answer = TestClient(build_app(settings)).post("/v1/track", json={}, headers={"X-API-Key": key})
    assert answer.status_code == 404 and "no connection of kind collector" in answer.json()["detail"]


def test_every_path_of_a_call_is_in_the_reference(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {path for path in PATHS if len(path) > len("/v1/x")} <= set(paths)
