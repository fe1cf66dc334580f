"""What a caller may not decide of Ray's proxy, and what stands before a replica that has a server of its own; more of
both is in `test_gate`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from customer360.serve import front
from customer360.serve.room import FIRST

GET: dict[str, Any] = {"type": "http", "method": "GET", "path": "/v1/people/p1", "headers": [(b"x-api-key", b"k")]}


def asked(application: front.Front, **more: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(application({**GET, **more}, receive, send))
    return sent


def replica(seconds: float, *, begins: bool = False, swallows: bool = True) -> Any:
    """What answers after so many seconds, and, as Serve does with a caller of its own server, keeps a cancellation to
    itself."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": scope["headers"]}
        if begins:
            await send(head)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if swallows:
                return
            raise
        if not begins:
            await send(head)
        await send({"type": "http.response.body", "body": b"{}"})

    return answer


def test_a_replica_is_asked_to_watch_neither_the_time_nor_the_caller() -> None:
    caller = [(b"x-api-key", b"k"), (b"x-request-timeout-seconds", b"900"), (b"x-request-disconnect-disabled", b"?0")]
    answered = asked(front.Front(replica(0), is_direct=True), headers=caller)
    said = [(b"x-request-timeout-seconds", b"0"), (b"x-request-disconnect-disabled", b"?1")]
    assert answered[0]["headers"] == [(b"x-api-key", b"k"), *said]


@pytest.mark.parametrize("swallows", [True, False])
def test_an_answer_of_a_replica_that_comes_too_late_is_a_problem_in_time(
    monkeypatch: pytest.MonkeyPatch, swallows: bool
) -> None:
    monkeypatch.setenv(front.ANSWER_SECONDS, "0.05")
    began = time.monotonic()
    answered = asked(front.Front(replica(20, swallows=swallows), is_direct=True))
    assert time.monotonic() - began < 5
    assert [m["type"] for m in answered] == ["http.response.start", "http.response.body"]
    assert answered[0]["status"] == 408 and b"Idempotency-Key" in answered[1]["body"]


def test_an_answer_that_has_begun_gets_no_second_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(front.ANSWER_SECONDS, "0.05")
    answered = asked(front.Front(replica(20, begins=True), is_direct=True))
    assert [m["type"] for m in answered] == ["http.response.start"]


@pytest.mark.parametrize("path", ["/-/healthz", "/-/routes"])
def test_a_busy_replica_is_not_taken_for_a_dead_one(path: str) -> None:
    """HAProxy asks each replica how it is, and asks one no more that twice said 429."""
    application = front.Front(replica(0), is_direct=True)
    while application._room.enter():
        pass
    assert asked(application)[0]["status"] == 429 and asked(application, path=path)[0]["status"] == 200


def test_bodies_that_do_not_come_take_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: beyond those that are waited for none is let in unread, and whole requests are."""
    monkeypatch.setattr(front, "BODIES", 3)
    monkeypatch.setattr(front, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(front, "PROMPT_SECONDS", 0.05)
    application = front.Front(replica(0))
    post = {**GET, "method": "POST", "path": "/console/sign-in", "headers": [(b"content-length", b"0000000009")]}

    async def exchanged(*pieces: bytes) -> int:
        come, sent = iter(pieces), list[dict[str, Any]]()

        async def receive() -> dict[str, Any]:
            piece = next(come, None)
            if piece is None:
                await asyncio.sleep(30)
            return {"type": "http.request", "body": piece, "more_body": piece != b"]"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await application(post, receive, send)
        return int(sent[0]["status"])

    async def played() -> tuple[Counter[int], list[int]]:
        half = [asyncio.create_task(exchanged(b"[")) for _ in range(200)]
        await asyncio.sleep(0)
        whole = [await exchanged(b"[", b"]") for _ in range(5)]
        return Counter(await asyncio.gather(*half)), whole

    half, whole = asyncio.run(played())
    assert whole == [200] * 5 and half == {429: 197, 408: 3}
    assert application._bodies == 0 and application._room.limit == FIRST


def test_a_time_out_of_the_application_itself_is_not_ours() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError("of something that it asked")

    with pytest.raises(TimeoutError, match="of something"):
        asked(front.Front(failing, is_direct=True))


@pytest.mark.parametrize(("is_replica", "on_a_thread", "is_direct"), [
    (True, "0", True), (True, "1", False), (True, None, False), (False, "0", False), (None, "0", False),
])  # fmt: skip
def test_only_where_answers_are_made_on_the_loop_of_a_replica_is_it_told_so(
    monkeypatch: pytest.MonkeyPatch, is_replica: bool | None, on_a_thread: str | None, is_direct: bool
) -> None:
    class NoReplica(Exception):
        pass

    def context() -> None:
        if not is_replica:
            raise NoReplica

    serve = SimpleNamespace(get_replica_context=context, exceptions=SimpleNamespace(RayServeException=NoReplica))
    if is_replica is None:
        monkeypatch.delitem(sys.modules, "ray.serve", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "ray.serve", serve)
    monkeypatch.delenv(front.ON_A_THREAD, raising=False)
    if on_a_thread is not None:
        monkeypatch.setenv(front.ON_A_THREAD, on_a_thread)
    from uvicorn.protocols.http import auto

    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)
    assert [m.kwargs for m in front.middlewares()] == [{"is_direct": is_direct}]


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
