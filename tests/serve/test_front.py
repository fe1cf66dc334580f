"""What a caller may not decide of Ray's proxy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from customer360.serve import front

HEADERS = [  # of `ray.serve._private.constants`
    "x-request-timeout-seconds", "x-request-disconnect-disabled", "x-request-id", "serve_multiplexed_model_id",
    "x-session-id",
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("spelt", [str.lower, str.upper, lambda name: name.replace("_", "-")])
def test_no_header_by_which_a_proxy_is_steered_reaches_it(header: str, spelt: Any) -> None:
    seen: list[Any] = []

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        seen.append([name for name, _ in scope["headers"]])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200

    headers = [(b"x-api-key", b"k"), (spelt(header).encode(), b"\xff" * 60_000), (b"accept", b"*/*")]
    scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": headers, "client": ("192.0.2.1", 1)}
    asyncio.run(front.Front(proxy)(scope, receive, send))
    assert seen == [[b"x-api-key", b"accept"]]
