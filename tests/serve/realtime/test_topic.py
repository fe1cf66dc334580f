"""With a broker the log is a topic: acknowledged by it before 200, read by sources of kind streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from customer360.platform import access
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings
from customer360.platform.sources.protocols.kafka import client as client_of_kafka
from customer360.serve.app import build_app
from customer360.serve.realtime.activity import visitor


def views(name: str, numbers: range) -> list[dict[str, Any]]:
    return [
        {"type": "track", "event": "Product Viewed", "messageId": f"{name}-{n}", "anonymousId": name,
         "properties": {"product_id": f"P{n}"}}
        for n in numbers
    ]  # fmt: skip


@pytest.mark.slow
def test_events_go_to_the_topic_and_land_once(
    kafka: Any,
    configure: Callable[..., Settings],
    land: Callable[[Settings], dict[str, pl.DataFrame]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_of_kafka, "first_at", lambda *_: 0)  # the tests' broker knows no offsets by time
    topic = "collected"
    broker = {"kind": "kafka", "servers": kafka.servers, "timeout_seconds": 20}
    sources = {
        "web": {"recipe": "collector/calls", "kind": "streams", "connection": "hub", "topic": topic, "system": "SHOP"}
    }
    settings = configure(sources, {"hub": broker}, broker="hub", topic=topic)
    key = access.issue(Path(settings.state), "web", "writer")
    app = build_app(settings)
    client = TestClient(app)
    for name in ("v1", "v2", "v3", "v4"):
        for _ in range(2):
            body = {"batch": [*views(name, range(20)), {"type": "track", "anonymousId": name}]}
            assert client.post("/v1/batch", json=body, auth=(key, "")).status_code == 200
    assert app.state.activities.of(visitor("v1")).viewed[0] == "P19"
    again = build_app(settings)
    assert again.state.activities.of(visitor("v1")) == app.state.activities.of(visitor("v1"))
    found = land(settings)
    assert found["bronze.events"].height == 80 and found["quality.dead_letters"].is_empty()
    for name in ("v1", "v2", "v3", "v4"):
        mine = found["bronze.events"].filter(VISITOR_ID=name).sort("_seq", "_file", "_position")
        assert mine["PRODUCT_ID"].to_list() == [f"P{n}" for n in range(20)]


@pytest.mark.slow
def test_without_the_broker_nothing_is_acknowledged(configure: Callable[..., Settings]) -> None:
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    hub = {"kind": "kafka", "servers": "127.0.0.1:9", "timeout_seconds": 1}
    settings = configure({}, {"hub": hub}, broker="hub", topic="events")
    key = access.issue(Path(settings.state), "web", "writer")
    client = TestClient(build_app(settings))
    answer = client.post("/v1/batch", json={"batch": views("v1", range(3))}, auth=(key, ""))
    assert answer.status_code == 503 and answer.headers["retry-after"]


def test_a_server_has_one_collector_and_its_broker_is_one(configure: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError, match="no connection of kind kafka"):
        build_app(configure({}, broker="hub", topic="events"))
    with pytest.raises(ConfigError, match="web, other are collectors"):
        build_app(configure({}, {"other": {"kind": "collector", "system": "S"}}))
    with pytest.raises(ConfigError, match="SALES is none of"):
        build_app(configure({}, consent={"A": ["SALES"]}))
    with pytest.raises(ConfigError, match="CART is none of"):
        build_app(configure({}, events={"Basket": "CART"}))
    with pytest.raises(ValueError, match="no origin"):
        configure({}, origins=["shop.example"])
    with pytest.raises(ValueError, match="belong together"):
        configure({}, topic="events")
