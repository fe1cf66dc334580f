"""A message of a sender: signed, durable, and in bronze once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import ingest
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.tables import Float, String, Table
from customer360.serve.api import hooks
from customer360.serve.api.hooks import Hooks
from customer360.serve.app import build_app

TABLE = "bronze.t_hooked"


@pytest.fixture
def settings(tmp_path: Path, registries: None, monkeypatch: pytest.MonkeyPatch) -> Settings:
    class Hooked(Table, table=TABLE, key=("ID",)):
        """One row per order."""

        ID = String(nullable=True)
        TOTAL = Float(nullable=True)

    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    (tmp_path / "landing").mkdir()
    return Settings.model_validate(
        {
            "landing": str(tmp_path / "landing"),
            "state": str(tmp_path / "state"),
            "lake": {"root": str(tmp_path / "lake"), "buckets": 4},
            "connections": {"shop": {"kind": "webhook", "scheme": "github", "secret_env": "HOOK_SECRET"}},
            "sources": {
                "orders": {
                    "kind": "webhooks", "connection": "shop", "table": TABLE, "system": "SHOP", "metadata": True,
                    "where": "\"hook.topic\" = 'order'", "mapping": {"ID": "id", "TOTAL": "total"},
                },
            },
        }
    )  # fmt: skip


@pytest.fixture
def client(settings: Settings) -> TestClient:
    return TestClient(build_app(settings))


def send(
    client: TestClient, body: bytes, number: str, topic: str = "order", secret: str = "s3cret", name: str = "orders"
) -> Any:
    made = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={made}", "X-GitHub-Delivery": number, "X-GitHub-Event": topic}
    return client.post(f"/hooks/{name}", content=body, headers=headers)


def land(settings: Settings) -> pl.DataFrame:
    lake = Lake(settings.lake.root, {}, 4)
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
    (done,) = ingest(lake, settings, ["orders"], executor, {})
    assert done.failure is None
    return lake.scan(TABLE).collect()


def test_messages_land_once(client: TestClient, settings: Settings) -> None:
    for number in range(6):
        body = json.dumps({"id": f"O{number}", "total": 1.5}).encode()
        assert send(client, body, str(number)).status_code == 202
        assert send(client, body, str(number)).status_code == 202  # a sender that was not heard sends again
    send(client, b'[{"id": "O7", "total": 2}, {"id": "O8", "total": 3}]', "list")
    send(client, b'{"id": "C1"}', "other", topic="customer")
    send(client, b"not json", "odd")
    found = land(settings)
    assert sorted(found["ID"]) == [*(f"O{n}" for n in range(6)), "O7", "O8"]
    assert land(settings).height == 8
    letters = Lake(settings.lake.root, {}, 4).scan("quality.dead_letters").collect()
    assert letters["raw"].to_list() == [b"not json"]
    send(client, b'{"id": "O9", "total": 1}', "9")
    assert land(settings).height == 9


def bears_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract of the table says that its sources may bring numbers of cards."""
    spec, table = tables._spec_of, tables.by_name(TABLE)
    told = replace(tables.spec(table), card_data=True)
    monkeypatch.setattr(tables, "_spec_of", lambda asked: told if asked is table else spec(asked))


def test_a_card_number_is_in_no_journal(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bears_cards(monkeypatch)
    assert send(
        client, b'{"id": "O1", "total": 1, "card": {"number": 4000001234567899, "cvc": "7391"}}', "1"
    ).is_success
    kept = b"".join(file.read_bytes() for file in Path(settings.state).rglob("*") if file.is_file())
    assert b"O1" in kept and b"4000001234567899" not in kept and b"7391" not in kept
    assert land(settings)["ID"].to_list() == ["O1"]


def test_a_form_lands_as_the_object_that_it_tells(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bears_cards(monkeypatch)
    orders = settings.sources["orders"].model_copy(update={"body": "form", "json_fields": ("payload",)})
    orders = orders.model_copy(update={"mapping": {"ID": "payload.id", "TOTAL": "total"}})
    settings = settings.model_copy(update={"sources": {"orders": orders}})
    client = TestClient(build_app(settings))
    assert send(client, b"payload=%7B%22id%22%3A%22O1%22%7D&total=2.5&card=4000+0012+3456+7899", "1").is_success
    assert send(client, b"payload=broken&total=1", "2").is_success
    kept = b"".join(file.read_bytes() for file in Path(settings.state).rglob("*") if file.is_file())
    assert b"O1" in kept and b"3456" not in kept
    assert land(settings).select("ID", "TOTAL").rows() == [("O1", 2.5)]
    letters = Lake(settings.lake.root, {}, 4).scan("quality.dead_letters").collect()
    assert letters["raw"].to_list() == [b"payload=broken&total=1"]


def test_other_answers_do_not_wait_while_a_body_is_searched(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []

    def searched(source: Any, body: bytes) -> bytes:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        heard.append(body)
        return body

    monkeypatch.setattr(hooks, "cleared_bytes", searched)
    assert send(client, b'{"id": "O1", "total": 1}', "1").status_code == 202 and len(heard) == 1


def test_what_is_not_signed_is_not_taken(client: TestClient, settings: Settings) -> None:
    assert send(client, b"{}", "1", secret="other").status_code == 401
    assert client.post("/hooks/orders", content=b"{}").status_code == 401
    assert send(client, b"{}", "1", name="nobody").status_code == 401
    assert client.get("/hooks/orders").status_code == 405
    assert send(client, b"x" * (300 * 1024), "1").status_code == 413
    assert not (Path(settings.state) / "hooks").exists()


def test_a_sender_has_a_limit_of_its_own(settings: Settings) -> None:
    large = b'{"id": "' + b"x" * (300 * 1024) + b'"}'
    for kilobytes, status in ((310, 202), (100, 413)):
        sender = settings.connections["shop"].model_copy(update={"max_body_kilobytes": kilobytes})
        client = TestClient(build_app(settings.model_copy(update={"connections": {"shop": sender}})))
        assert send(client, large, "1").status_code == status
    assert client.post("/hooks/nobody", content=large).status_code == 413
    assert "100 kilobytes" in send(client, large, "1").text


def test_without_its_secret_or_a_disk_nothing_is_acknowledged(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fdatasync", full)
        answer = send(client, b'{"id": "O1", "total": 1}', "1")
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert send(client, b'{"id": "O1", "total": 1}', "1").status_code == 202
    monkeypatch.delenv("HOOK_SECRET")
    assert send(client, b'{"id": "O2", "total": 1}', "2").status_code == 503
    assert land(settings)["ID"].unique().to_list() == ["O1"]


def test_a_source_of_another_kind_is_not_even_looked_at(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("a request of nobody opened a source")

    monkeypatch.setattr(hooks, "configured", never)
    files = Settings.model_validate(
        {"landing": settings.landing, "sources": {"f": {"table": TABLE, "system": "S", "path": "f.csv"}}}
    )
    assert Hooks(files).source("f") is None and Hooks(files).source("nobody") is None


def test_a_message_sent_again_by_another_id_is_kept_once(client: TestClient, settings: Settings) -> None:
    for number in range(4):
        assert send(client, b'{"id": "O1", "total": 1}', str(number)).status_code == 202
    assert land(settings).height == 1


def test_damage_is_a_dead_letter_and_the_rest_lands(client: TestClient, settings: Settings) -> None:
    for number in range(5):
        send(client, json.dumps({"id": f"O{number}", "total": 1}).encode(), str(number))
    (segment,) = (Path(settings.state) / "hooks" / "orders").glob("*.frames")
    data = bytearray(segment.read_bytes())
    data[data.index(b"O2")] ^= 1
    segment.write_bytes(data)
    assert sorted(land(settings)["ID"]) == ["O0", "O1", "O3", "O4"]
    letters = Lake(settings.lake.root, {}, 4).scan("quality.dead_letters").collect()
    assert letters["reason"].to_list() == ["bytes of the journal that are damaged"]
    assert b"N2" in letters["raw"][0]
