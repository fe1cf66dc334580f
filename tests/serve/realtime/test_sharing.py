"""A write key stands in a page that everybody reads: what one of them does with it is no other's loss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from customer360.platform import access
from customer360.platform.settings import Settings
from customer360.serve import door, front
from customer360.serve.app import build_app

PROBLEM = "application/problem+json"


def viewed(visitor: str, number: int) -> dict[str, Any]:
    return {"type": "track", "event": "Product Viewed", "messageId": f"{visitor} {number}", "anonymousId": visitor,
            "properties": {"product_id": "P1"}}  # fmt: skip


def from_address(settings: Settings, address: str) -> TestClient:
    return TestClient(build_app(settings), client=(address, 1))


@pytest.fixture
def page_key(settings: Settings) -> str:
    return access.issue(Path(settings.state), "pages", "writer", per_minute=600)


@pytest.mark.parametrize("address", ["198.51.100.7", "192.0.2.1"])
def test_one_visitor_that_sends_without_end_locks_nobody_else_out(
    settings: Settings, page_key: str, address: str
) -> None:
    app = build_app(settings)
    loud, other = TestClient(app, client=("192.0.2.1", 1)), TestClient(app, client=(address, 1))

    def sent(client: TestClient, *calls: dict[str, Any]) -> Any:
        return client.post("/v1/batch", json={"batch": calls}, auth=(page_key, ""))

    assert sent(loud, *(viewed("v-1", n) for n in range(400))).status_code == 200
    refused = sent(loud, viewed("v-1", 400))
    assert (refused.status_code, refused.headers["content-type"]) == (429, PROBLEM)
    assert "this visitor or address" in refused.json()["detail"] and int(refused.headers["Retry-After"]) > 5
    for n in range(5):
        answer = sent(other, viewed("v-2", n))
        assert (answer.status_code, answer.json()) == (200, {"success": True})


def test_a_server_shares_its_key_with_nobody(settings: Settings, write_key: str) -> None:
    client = from_address(settings, "192.0.2.1")
    calls = [viewed("v-1", n) for n in range(1_500)]
    for _ in range(4):
        assert client.post("/v1/batch", json={"batch": calls}, auth=(write_key, "")).status_code == 200


@pytest.mark.parametrize("first", [None, [], 7, {}, {"anonymousId": {"a": 1}}, {"anonymousId": "\ud800 v"}])
def test_whoever_a_batch_names_it_is_counted(settings: Settings, page_key: str, first: Any) -> None:
    body = json.dumps({"batch": [first, viewed("v-2", 1)]})  # half a surrogate pair as an escape
    answer = from_address(settings, "192.0.2.1").post("/v1/batch", content=body, auth=(page_key, ""))
    assert (answer.status_code, len(answer.json()["refused"])) == (200, 1)


Asked = Callable[[str], Awaitable[int]]


async def all_at_once(app: Any, path: str, headers: dict[str, str], asked: Callable[[Asked], Awaitable[None]]) -> None:
    """Let ``asked`` send requests from addresses whose bodies do not come; then they go away."""
    waiting: list[asyncio.Task[int]] = []

    async def from_(address: str, *, is_whole: bool = False) -> int:
        status = 0

        async def receive() -> dict[str, Any]:
            if not is_whole:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": b"[]", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
                 "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": named,
                 "server": ("test", 80), "client": (address, 1)}  # fmt: skip
        await app(scope, receive, send)
        return status

    async def asking(address: str) -> int:
        """The status of the answer; 0 while the body is waited for."""
        task = asyncio.create_task(from_(address))
        waiting.append(task)
        done, _ = await asyncio.wait([task], timeout=0.01)
        return task.result() if done else 0

    try:
        await asked(asking)
        assert await from_("198.51.100.7", is_whole=True) == 200
    finally:
        for task in waiting:
            task.cancel()


def test_bodies_of_one_address_that_do_not_come_take_no_room_of_others(settings: Settings, page_key: str) -> None:
    async def asked(ask: Asked) -> None:
        statuses = [await ask("192.0.2.1") for _ in range(door.MOST_AT_ONCE)]
        assert statuses.count(0) == door.MOST_OF_PLACE[True] and set(statuses) == {0, 429}
        assert await ask("192.0.2.2") == 0

    headers = {"x-api-key": page_key, "content-length": "2", "content-type": "application/json"}
    asyncio.run(all_at_once(build_app(settings), "/v1/batch", headers, asked))


def test_nor_do_they_in_front_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "PROMPT_SECONDS", 0.0)

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def asked(ask: Asked) -> None:
        statuses = [await ask("192.0.2.1") for _ in range(2 * front.BODIES)]
        assert statuses.count(0) == front.BODIES_OF_PLACE and set(statuses) == {0, 429}

    asyncio.run(all_at_once(front.Front(proxy), "/v1/batch", {"content-length": "2"}, asked))
