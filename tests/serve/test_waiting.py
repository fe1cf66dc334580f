"""Bodies that do not come: who begins many keeps nobody else out, from the first moment on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from customer360.platform.settings import ServeSettings, Settings
from customer360.serve import gate
from customer360.serve.app import build_app

AT_ONCE = 64
FEWEST = 4 * AT_ONCE - AT_ONCE // gate.AWAITED - gate.MOST_LATE  # that are refused


def scope_of(path: str, key: str, address: str, method: str = "POST") -> dict[str, Any]:
    kind = b"application/x-www-form-urlencoded" if path.startswith("/console/") else b"application/json"
    headers = [(b"content-type", kind), *([(b"x-api-key", key.encode())] if key else [])]
    return {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "server": ("test", 80), "client": (address, 1)}  # fmt: skip


async def asked(app: Any, scope: dict[str, Any], seconds: float) -> int:
    """The status of the answer to a request whose body comes after so many seconds."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if seconds:
            await asyncio.sleep(seconds)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


@pytest.mark.parametrize("path", ["/hooks/none", "/console/sign-in", "/v1/identity/lookup"])
def test_who_begins_many_bodies_at_once_keeps_nobody_out(
    published: Any, client: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PROMPT_SECONDS", 60.0)  # none of them is late in this test by the time it takes
    bad, good = (client("service").headers["X-API-Key"] for _ in range(2))
    key = bad if path.startswith("/v1/") else ""
    limits = ServeSettings(max_ongoing_requests=AT_ONCE, max_queued_requests=0)
    app = build_app(Settings(state=str(published.state), serve=limits))

    async def together() -> tuple[Counter[int], list[int]]:
        begun = [asyncio.create_task(asked(app, scope_of(path, key, "192.0.2.1"), 60)) for _ in range(4 * AT_ONCE)]
        end = time.monotonic() + 10
        while sum(task.done() for task in begun) < FEWEST and time.monotonic() < end:
            await asyncio.sleep(0.05)
        honest = [
            await asked(app, scope_of("/v1/people/p_ann", good, "198.51.100.7", "GET"), 0),
            await asked(app, scope_of("/hooks/none", "", "198.51.100.7"), 0.05),
        ]
        over = Counter(task.result() for task in begun if task.done())
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        return over, honest

    over, honest = asyncio.run(together())
    assert honest == [200, 401]
    assert set(over) <= {429, 503} and over.total() >= FEWEST


def test_nothing_is_kept_of_bodies_that_came(published: Any, client: Any) -> None:
    app = build_app(Settings(state=str(published.state)))
    key = client("service").headers["X-API-Key"]

    async def together() -> None:
        asks = [asked(app, scope_of("/v1/identity/lookup", key, "192.0.2.1"), 0.01) for _ in range(20)]
        asks += [asked(app, scope_of("/hooks/none", "", f"192.0.2.{n}"), 0.01) for n in range(20)]
        assert set(await asyncio.gather(*asks)) == {401, 503}  # there is no index to look in

    asyncio.run(together())
    inner: Any = app.middleware_stack
    while not isinstance(inner, gate.Gate):
        inner = inner.app
    assert not inner._awaited and not inner._late
