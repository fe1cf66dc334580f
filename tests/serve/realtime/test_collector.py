"""The windows of a server: made of the log when it starts, and until when they tell what accounts said."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from customer360.platform.online import publish
from customer360.platform.settings import Settings
from customer360.serve.api import policy
from customer360.serve.app import build_app
from customer360.serve.realtime import collector
from customer360.serve.realtime.activity import account, visitor
from customer360.serve.realtime.calls import Entry

Land = Callable[[Settings], dict[str, pl.DataFrame]]


def test_the_log_is_read_back_when_a_server_starts(client: TestClient, settings: Settings, write_key: str) -> None:
    client.post("/v1/page", json={"messageId": "1", "anonymousId": "v-1"}, auth=(write_key, ""))
    app = build_app(settings)
    with TestClient(app):
        end = time.monotonic() + 30
        while not app.state.activities.is_ready and time.monotonic() < end:
            time.sleep(0.01)
        assert app.state.activities.is_ready and len(app.state.activities) == 1


def test_no_answer_reads_the_log_back_on_the_loop(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = build_app(settings)
    threads: list[int] = []
    monkeypatch.setattr(app.state.collector, "_replay", lambda: threads.append(threading.get_ident()))
    app.state.collector.activities._replay = app.state.collector._replay
    app.state.store = SimpleNamespace(view=lambda: SimpleNamespace(generation=None, texts=None, hidden=None))
    monkeypatch.setattr(policy, "stale_because", lambda app, generation, **_: None)
    view = asyncio.run(policy.current_view(SimpleNamespace(app=app)))  # type: ignore[arg-type]
    assert view.activities.of(visitor("v-1")).events == 0
    assert len(threads) == 1 and threads[0] != threading.get_ident()


def test_an_account_is_told_by_the_publication_once_that_has_what_it_said(
    client: TestClient, settings: Settings, write_key: str, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "LIVES", timedelta(0))
    monkeypatch.setattr(collector, "LANDED_SECONDS", -1.0)
    said = {"consent": {"categoryPreferences": {"EMAIL": False}}}
    login = {"messageId": "1", "anonymousId": "v-1", "userId": "C1", "context": said}
    client.post("/v1/identify", json=login, auth=(write_key, ""))
    told = partial(client.app.state.activities.of, account("SHOP", "C1"))  # type: ignore[attr-defined]
    assert told().refused == {"EMAIL"}
    publish(Path(settings.state), [], as_of=date(2026, 5, 1), sources={})
    assert told().refused == {"EMAIL"}  # which no run took
    land(settings)
    assert told().refused == frozenset()


def test_replicas_hear_what_others_took(settings: Settings, write_key: str) -> None:
    """A no in one tab holds whichever replica answers the next, at once; so does a cart, and who logged in."""
    one, other = (TestClient(build_app(settings)) for _ in "12")

    def known(client: TestClient, subject: str) -> Any:
        return client.app.state.activities.of(subject)  # type: ignore[attr-defined]

    def sent(client: TestClient, **call: Any) -> None:
        assert client.post("/v1/track", json=call, auth=(write_key, "")).status_code == 200

    assert known(other, "visitor/v").events == 0, "its log is read back before the first event comes"
    no = {"consent": {"categoryPreferences": {"PERSONALIZATION": False}}}
    sent(one, anonymousId="v", event="Product Viewed", properties={"product_id": "P1"})
    sent(one, anonymousId="v", event="Product Added", properties={"product_id": "P2"}, context=no)
    assert (known(other, "visitor/v").viewed, known(other, "visitor/v").cart) == (("P1",), ("P2",))
    assert known(other, "visitor/v").refused == {"PERSONALIZATION"}
    sent(other, anonymousId="v", userId="u", event="Product Viewed", properties={"product_id": "P3"})
    for client in (one, other):
        assert known(client, "SHOP/u").viewed == ("P3", "P1")
        assert known(client, "visitor/v").events == 3, "own events are noted once, and those of others once"
        assert "PERSONALIZATION" in known(client, "SHOP/u").refused
    yes = {"consent": {"categoryPreferences": {"PERSONALIZATION": True}}}
    sent(other, anonymousId="v", event="Product Viewed", properties={"product_id": "P4"}, context=yes)
    assert known(one, "visitor/v").refused == frozenset()


def test_a_replica_that_starts_later_goes_on_where_it_read_back(
    settings: Settings, write_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = TestClient(build_app(settings))

    def view(product: str) -> None:
        call = {"anonymousId": "v", "event": "Product Viewed", "properties": {"product_id": product}}
        assert one.post("/v1/track", json=call, auth=(write_key, "")).status_code == 200

    view("P1")
    later = build_app(settings)
    assert later.state.activities.of("visitor/v").events == 1
    view("P2")
    monkeypatch.setattr("customer360.platform.sources.protocols.hooks.journal.SEGMENT_BYTES", 1)
    view("P3")  # in a segment of its own
    assert later.state.activities.of("visitor/v").viewed == ("P3", "P2", "P1")
    assert later.state.activities.of("visitor/v").events == 3
    one.app.state.collector._log._journal._end(one.app.state.collector._log._journal._name)  # type: ignore[attr-defined]
    assert later.state.activities.of("visitor/v").events == 3


def test_a_server_listens_to_others_until_it_ends(settings: Settings, write_key: str) -> None:
    one = TestClient(build_app(settings))
    app = build_app(settings)
    with TestClient(app):
        call = {"anonymousId": "v", "event": "Product Viewed", "properties": {"product_id": "P1"}}
        assert one.post("/v1/track", json=call, auth=(write_key, "")).status_code == 200
        end = time.monotonic() + 60
        while len(app.state.activities) == 0 and time.monotonic() < end:  # nobody asks
            time.sleep(0.05)
        assert len(app.state.activities) == 1
    names = {thread.name for thread in threading.enumerate() if thread.is_alive()}
    end = time.monotonic() + 60
    while "replay" in names and time.monotonic() < end:
        time.sleep(0.05)
        names = {thread.name for thread in threading.enumerate() if thread.is_alive()}
    assert "replay" not in names


@pytest.mark.parametrize("body, kept", [
    (b'{"n": 12345678901234567890123}', 12345678901234567890123),
    (b'{"n":-98765432109876543210}', -98765432109876543210),
    (b'{"n": "12345678901234567890123"}', "12345678901234567890123"),
    (b'{"n": "m-00000000000000000000001"}', "m-00000000000000000000001"),
    (b'{"n": ": 12345678901234567890"}', ": 12345678901234567890"),
    (b'{"n":\n\t 123456789012345678901}', 123456789012345678901),
    (b'{"n": 1234567890123456789}', 1234567890123456789),
])  # fmt: skip
def test_whole_numbers_keep_their_digits(body: bytes, kept: Any) -> None:
    assert collector._parsed(body) == {"n": kept}
    assert collector._has_long_number(body) == bool(collector._LONG_NUMBER.search(body))


def test_what_a_batch_was_read_into_is_let_go_before_it_is_durable(
    client: TestClient, write_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is waited for, the next requests use that memory."""
    log = client.app.state.collector._log  # type: ignore[attr-defined]
    append, held = log.append, list[int]()

    def counting(entries: Sequence[Entry]) -> Any:
        held.append(sum(type(each) is dict and each.get("messageId") == "let-go" for each in gc.get_objects()))
        return append(entries)

    monkeypatch.setattr(log, "append", counting)
    call = '{"type": "track", "event": "Product Viewed", "messageId": "let-go", "anonymousId": "v", "properties": {}}'
    answer = client.post("/v1/batch", content=f'{{"batch": [{call}, {{"type": "none"}}]}}', auth=(write_key, ""))
    assert answer.status_code == 200 and [each["index"] for each in answer.json()["refused"]] == [1]
    assert held == [0]
