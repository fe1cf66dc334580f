"""The windows of a server: made of the log when it starts, and until when they tell what accounts said."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from starlette.testclient import TestClient

from customer360.platform.online import publish
from customer360.platform.settings import Settings
from customer360.serve.api import policy
from customer360.serve.app import build_app
from customer360.serve.realtime import collector
from customer360.serve.realtime.activity import account, visitor

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
    app.state.store = SimpleNamespace(view=lambda: SimpleNamespace(generation=None, environment=None))
    monkeypatch.setattr(policy, "stale_because", lambda app, generation: None)
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
