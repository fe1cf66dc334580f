"""What is settled before a request reaches the application, and what every answer carries."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from customer360.platform import access, audit, telemetry
from customer360.platform.backup import marks
from customer360.platform.errors import LakeError, ModelError
from customer360.platform.settings import ServeSettings, Settings
from customer360.serve import front, gate
from customer360.serve.app import build_app
from customer360.serve.room import FIRST, LEAST, Room

PROBLEM = "application/problem+json"


def scope_of(path: str, **headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": named,
            "server": ("test", 80), "client": ("127.0.0.1", 1)}  # fmt: skip


def exchanged(app: Any, scope: dict[str, Any], pieces: AsyncIterator[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer to a request whose body comes piece by piece."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await anext(pieces)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    body = b"".join(m.get("body", b"") for m in sent)
    return sent[0]["status"], json.loads(body)


async def endless(read: list[int]) -> AsyncIterator[dict[str, Any]]:
    while True:
        read.append(1)
        yield {"type": "http.request", "body": b"x" * 65536, "more_body": True}


async def silent(read: list[int]) -> AsyncIterator[dict[str, Any]]:
    read.append(1)
    await asyncio.sleep(60)
    yield {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize("key", [None, "c360_no_no"])
def test_without_a_good_key_no_byte_of_a_body_is_read(published: Any, key: str | None) -> None:
    read: list[int] = []
    headers = {"content_type": "application/json"} | ({"x_api_key": key} if key else {})
    app = build_app(Settings(state=str(published.state)))
    status, answer = exchanged(app, scope_of("/v1/identity/lookup", **headers), endless(read))
    assert (status, answer["title"], read) == (401, "Unauthorized", [])


def test_a_body_ends_at_its_limit_whatever_it_says_of_its_length(
    published: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = build_app(Settings(state=str(published.state), serve=ServeSettings(max_body_kilobytes=200)))
    key = client("service").headers["X-API-Key"]
    read: list[int] = []
    scope = scope_of("/v1/identity/lookup", x_api_key=key, content_type="application/json")
    status, answer = exchanged(app, scope, endless(read))
    assert (status, len(read)) == (413, 4) and "200 kilobytes" in answer["detail"]
    read = []
    scope = scope_of("/v1/identity/lookup", x_api_key=key, content_length="99999999")
    assert (exchanged(app, scope, endless(read))[0], read) == (413, [])
    scope = scope_of("/v1/identity/lookup", x_api_key=key, content_length="-1")
    assert exchanged(app, scope, endless(read))[0] == 400
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.05)
    scope = scope_of("/v1/identity/lookup", x_api_key=key, content_type="application/json")
    assert exchanged(app, scope, silent(read))[0] == 408


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 30_000, "{", "\\ud800", "NaN", ""])
def test_no_body_is_an_unknown_error(client: Any, body: str) -> None:
    answer = client("service").post("/v1/identity/lookup", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422, 503) and answer.headers["content-type"] == PROBLEM


def test_an_unknown_error_is_a_problem_without_its_words(published: Any, client: Any) -> None:
    app = build_app(Settings(state=str(published.state)))

    @app.get("/v1/faulty")
    async def faulty(kind: str) -> None:
        raise {"mistake": ZeroDivisionError, "disk": OSError}[kind]("secret of p_ann")

    for kind, status in (("mistake", 500), ("disk", 503)):
        answer = TestClient(app, headers=client("reader").headers).get(f"/v1/faulty?kind={kind}")
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
        assert "secret" not in answer.text


def test_the_log_says_why_an_answer_failed(published: Any, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = build_app(Settings(state=str(published.state)))

    @app.get("/v1/faulty")
    async def faulty(kind: str) -> None:
        raise {"lake": LakeError("silver.people does not exist in /lake yet"), "model": ModelError("of p_ann")}[kind]

    log = logging.getLogger("customer360")
    log.addHandler(caplog.handler)
    try:
        for kind in ("lake", "model"):
            answer = TestClient(app, headers=client("reader").headers).get(f"/v1/faulty?kind={kind}")
            assert answer.status_code == 503 and "the log says why" in answer.json()["detail"]
        assert "LakeError in test_gate.py" in caplog.text and "silver.people does not exist" in caplog.text
        assert "ModelError in test_gate.py" in caplog.text and "p_ann" not in caplog.text
    finally:
        log.removeHandler(caplog.handler)


def test_every_answer_carries_the_headers_that_browsers_heed(published: Any) -> None:
    configured = Settings(state=str(published.state), serve=ServeSettings(public_url="https://shop.example"))
    client = TestClient(build_app(configured))
    for path in ("/healthz", "/v1/people/x", "/docs", "/console/sign-in", "/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store" and "default-src 'none'" in headers["content-security-policy"]
        assert headers["strict-transport-security"]


def test_a_key_has_a_rate(published: Any, client: Any) -> None:
    slow = access.issue(published.state, "slow", "reader", per_minute=60)
    app = TestClient(build_app(Settings(state=str(published.state))))
    statuses = [app.get("/v1/people/p_ann", headers={"X-API-Key": slow}) for _ in range(14)]
    assert [s.status_code for s in statuses[:10]] == [200] * 10
    last = statuses[-1]
    assert last.status_code == 429 and 1 <= int(last.headers["retry-after"]) <= 2
    assert last.headers["content-type"] == PROBLEM
    assert app.get("/v1/people/p_ann", headers=client("reader").headers).status_code == 200


def test_too_much_at_once_is_refused_but_not_health(published: Any) -> None:
    limits = ServeSettings(max_ongoing_requests=1, max_queued_requests=0)
    app = TestClient(build_app(Settings(state=str(published.state), serve=limits)))
    inner = app.app.middleware_stack or app.app.build_middleware_stack()  # type: ignore[attr-defined]
    app.app.middleware_stack = inner  # type: ignore[attr-defined]
    while not isinstance(inner, gate.Gate):
        inner = inner.app
    inner._at_once = 1
    assert app.get("/v1/people/p_ann").status_code == 503
    assert app.get("/healthz").status_code == 200


@pytest.mark.parametrize(("scope", "path"), [
    ("profile", "/v1/people/p_ann"), ("recommendations", "/v1/people/p_ann/recommendations"),
    ("scores", "/v1/people/p_ann/scores"), ("recommendations", "/v1/products/P2/bought-together"),
])  # fmt: skip
def test_a_key_reaches_its_scope_alone(published: Any, scope: str, path: str) -> None:
    app = TestClient(build_app(Settings(state=str(published.state))))
    for bound in gate.SCOPES:
        key = access.issue(published.state, f"{scope} {path} {bound}", "service", scopes=(bound,))
        answer = app.get(path, headers={"X-API-Key": key})
        assert answer.status_code == (200 if bound == scope else 403)


def test_expired_keys_are_out(published: Any) -> None:
    app = TestClient(build_app(Settings(state=str(published.state))))
    key = access.issue(published.state, "yesterday's", "reader", lives=timedelta(seconds=-1))
    assert app.get("/v1/people/p_ann", headers={"X-API-Key": key}).json()["detail"] == "the API key has expired"


def test_readings_of_personal_data_stand_in_the_audit_and_nothing_else_does(own_shop: Any) -> None:
    own_shop.publish()
    ask = own_shop.clients()
    service = ask("service")
    for path in ("/v1/people/p_ann/recommendations", "/v1/people/p_ann/scores", "/v1/people/nobody"):
        service.get(path)
    ask("reader").get("/v1/people/p_ann")
    assert list(audit.entries(own_shop.state)) == []
    service.get("/v1/people/p_ann")
    service.get("/v1/customers/POS/2")
    first, second = audit.entries(own_shop.state)
    assert (first["person"], first["asked"], first["role"]) == ("p_ann", "GET /people/{person_id}", "service")
    assert second["person"] == "p_bob" and "POS/2" not in json.dumps(second)
    assert audit.verify(own_shop.state).lines == 2


def test_without_its_line_in_the_audit_there_is_no_answer(own_shop: Any) -> None:
    own_shop.publish()
    client = own_shop.clients()("service")
    (own_shop.state / audit.FOLDER).write_text("in the way")
    answer = client.get("/v1/people/p_ann")
    assert answer.status_code == 503 and "example.org" not in answer.text
    assert client.get("/v1/people/p_ann/scores").status_code == 200


@pytest.mark.parametrize("account", ["P/12 3", "a/b/c", "x/recommendations/y", "ä/ö", "/", ".."])
def test_account_numbers_hold_what_they_hold(own_shop: Any, account: str) -> None:
    own_shop.write("silver.identities", [
        {"record_id": f"POS/{account}", "source_system": "POS", "customer_id": account, "person_id": "p_ann",
         "resolved_by": "score"},
    ])  # fmt: skip
    own_shop.publish()
    client = own_shop.clients()("reader")
    base = f"/v1/customers/POS/{quote(account, safe='')}" if account != ".." else "/v1/customers/POS/%2E%2E"
    for tail in ("", "/recommendations", "/scores"):
        answer = client.get(base + tail)
        assert (answer.status_code, answer.json().get("person_id")) == (200, "p_ann"), (account, tail)


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '[{"id": "x"}]', "\x00"])
def test_damaged_keys_let_in_whom_they_let_in_before_and_health_says_so(own_shop: Any, text: str) -> None:
    own_shop.publish()
    client, file = own_shop.clients()("reader"), own_shop.state / "keys.json"
    assert client.get("/v1/people/p_ann").status_code == 200
    file.write_text(text)
    os.utime(file, ns=(1, 1))
    assert client.get("/v1/people/p_ann").status_code == 200
    assert "API keys cannot be read" in client.get("/healthz").json()["stale_because"]
    access._CACHE.clear()  # as a process that starts now
    assert client.get("/v1/people/p_ann").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_callers_cannot_set_the_time_out_and_serves_own_errors_are_problems() -> None:
    seen: list[Any] = []

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": 408, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"Request timed out", "more_body": False})

    async def nothing() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"", "more_body": False}

    scope = scope_of("/v1/identity/confirm", x_request_timeout_seconds="0.05", x_api_key="k")
    status, answer = exchanged(front.Front(proxy), scope, nothing())
    assert seen == [{b"x-api-key": b"k"}]
    assert status == 408 and "Idempotency-Key" in answer["detail"]


def test_rays_proxy_lets_nobody_in_before_the_body_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a body would take the place of another request in a replica; without a good key it is not read at all."""
    seen: list[Any] = []

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        seen.append([await receive(), await receive()] if scope["path"] == "/v1/whole" else scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    async def pieces(*sent: bytes) -> AsyncIterator[dict[str, Any]]:
        for body in sent:
            yield {"type": "http.request", "body": body, "more_body": body != b"]"}
        await asyncio.sleep(10)
        raise AssertionError("who has no key is not waited for")

    monkeypatch.setattr(front, "BODY_SECONDS", 0.05)
    monkeypatch.setenv(front.STATE, str(tmp_path))
    key, application = access.issue(tmp_path, "a", "reader"), front.Front(proxy)

    def sent(path: str, key: str, *body: bytes) -> tuple[int, dict[str, Any]]:
        return exchanged(application, scope_of(path, content_length="9", x_api_key=key), pieces(*body))

    status, answer = sent("/v1/half", key, b"[")
    assert (status, answer["detail"], seen) == (408, "the rest of the body did not come", [])
    assert sent("/v1/nobody", "c360_1_x", b"[")[0] == 204 and seen.pop() == "/v1/nobody", "is refused unread"
    for path in ("/v1/track", "/hooks/shop", "/console/sign-in"):  # the key, or a signature, may be within
        assert sent(path, "", b"[")[0] == 408 and not seen
    assert sent("/v1/whole", key, b"[", b"]")[0] == 204 and [m["body"] for m in seen.pop()] == [b"[", b"]"]
    assert application._bodies == 0
    scope = scope_of("/v1/large", content_length="9" * 13, x_api_key=key)
    assert exchanged(application, scope, pieces(b"["))[0] == 204 and seen.pop() == "/v1/large", "for the gate to refuse"


def test_who_would_wait_too_long_is_told_so_at_once() -> None:
    moment = 0.0
    room = Room(seconds=2.0, now=lambda: moment)
    assert all(room.enter() for _ in range(FIRST)) and not room.enter()
    for _ in range(200):  # all of them take long: of a whole crowd, less room once in a while
        moment += 0.1
        room.leave(1.0)
        while room.enter():
            pass
    assert LEAST <= room.limit < FIRST / 4
    small = room.limit
    for _ in range(2000):
        room.leave(0.01)
        while room.enter():
            pass
    assert room.limit > small * 4

    alone = Room(seconds=2.0, now=lambda: moment)
    for _ in range(50):  # slow answers of which there are few
        moment += 2
        assert alone.enter()
        alone.leave(1.9)
    assert alone.limit == FIRST


def played(room: Room | None, moment: list[float], per_second: float, at_once: int, takes: float) -> list[float]:
    """Seconds that each answer took of those that were let in, of as many as come in a minute: by the room, or by a
    queue of a fixed length."""
    free, inside, waited = [0.0] * at_once, list[tuple[float, float]](), list[float]()
    for number in range(int(60 * per_second)):
        came = number / per_second
        while inside and inside[0][0] <= came:
            moment[0], seconds = heapq.heappop(inside)
            if room is not None:
                room.leave(seconds)
        moment[0] = came
        if not (room.enter() if room is not None else len(inside) < 192):
            continue
        ends = max(heapq.heappop(free), came) + takes
        heapq.heappush(free, ends)
        heapq.heappush(inside, (ends, ends - came))
        waited.append(ends - came)
    return waited


def test_who_is_let_in_is_answered_in_time_and_no_fewer_are() -> None:
    moment = [0.0]
    room = Room(seconds=2.0, now=lambda: moment[0])
    queued, let_in = (played(each, moment, per_second=300, at_once=4, takes=0.05) for each in (None, room))
    assert sum(seconds > 2 for seconds in queued) > len(queued) / 2, "a fixed queue answers most too late"
    assert max(let_in) < 1.0 and len(let_in) > 0.95 * 60 * 4 / 0.05
    quick = Room(seconds=2.0, now=lambda: moment[0])
    assert len(played(quick, moment, per_second=600, at_once=64, takes=0.1)) > 0.99 * 60 * 600, "no crowd: nobody waits"


def test_where_there_is_no_room_it_is_429_and_health_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    async def nothing() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"", "more_body": False}

    application = front.Front(proxy)
    assert all(application._room.enter() for _ in range(FIRST))
    status, answer = exchanged(application, scope_of("/v1/people/p1"), nothing())
    assert (status, answer["title"]) == (429, "Too Many Requests")
    assert exchanged(application, scope_of("/healthz"), nothing())[0] == 200
    application._health = front.KEPT
    assert exchanged(application, scope_of("/healthz"), nothing())[0] == 429, "who asks for nothing else keeps none out"
    application._health = 0
    application._room.leave(0.01)
    assert exchanged(application, scope_of("/v1/people/p1"), nothing())[0] == 200


def test_sockets_of_rays_proxy_are_as_patient_as_those_of_the_plain_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from uvicorn.config import Config
    from uvicorn.protocols.http import auto

    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)
    monkeypatch.setenv(front.HEAD_SECONDS, "3")
    assert [m.cls for m in front.middlewares()] == [front.Front]
    config = Config(app="none:app", log_config=None)  # as Ray makes it, which names no protocol
    with contextlib.suppress(SystemExit, ImportError):
        config.load()
    assert config.http_protocol_class.__name__ == "PatientProtocol"


def test_what_stands_before_the_proxy_is_loaded_in_no_time() -> None:
    """Ray gives a proxy up that is slow to start."""
    heavy = "polars", "duckdb", "fastapi", "pyarrow", "customer360.models"
    script = f"""import sys
from customer360.serve import front
front.middlewares()
sys.exit(any(m in sys.modules for m in {heavy!r}))"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_body_that_trickles_ends(published: Any, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trickling(read: list[int]) -> AsyncIterator[dict[str, Any]]:
        while True:
            read.append(1)
            await asyncio.sleep(0.04)
            yield {"type": "http.request", "body": b"[", "more_body": True}

    monkeypatch.setattr(gate, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(gate, "PROMPT_SECONDS", 0.05)
    key, read = client("service").headers["X-API-Key"], list[int]()
    scope = scope_of("/v1/identity/lookup", x_api_key=key, content_type="application/json")
    assert exchanged(build_app(Settings(state=str(published.state))), scope, trickling(read))[0] == 408
    assert 0 < len(read) < 20


def test_bodies_that_do_not_come_leave_room_for_others(
    published: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key sends as many half bodies as the server takes requests at once: only few of them are waited for."""
    monkeypatch.setattr(gate, "PROMPT_SECONDS", 0.05)
    limits = ServeSettings(max_ongoing_requests=24, max_queued_requests=0)
    app = build_app(Settings(state=str(published.state), serve=limits))
    bad, good = (client("service").headers["X-API-Key"] for _ in range(2))
    scope = scope_of("/v1/identity/lookup", x_api_key=bad, content_type="application/json")

    async def asked(scope: dict[str, Any], seconds: float) -> int:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(seconds)
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return int(sent[0]["status"])

    async def together() -> tuple[set[int], int]:
        stalled = [asyncio.create_task(asked(dict(scope), 60)) for _ in range(24)]
        while sum(task.done() for task in stalled) < 24 - gate.MOST_LATE:
            await asyncio.sleep(0.02)
        status = await asked({**scope_of("/v1/people/p_ann", x_api_key=good), "method": "GET"}, 0)
        refused = {task.result() for task in stalled if task.done()}
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
        return refused, status

    assert asyncio.run(together()) == ({429}, 200)


def test_behind_a_prefix_readings_are_audited_and_keys_come_first(own_shop: Any) -> None:
    own_shop.publish()
    app = build_app(Settings(state=str(own_shop.state)))
    key = own_shop.clients()("service").headers["X-API-Key"]
    client = TestClient(app, root_path="/shop")
    assert client.get("/shop/v1/people/p_ann", headers={"X-API-Key": key}).status_code == 200
    assert [entry["person"] for entry in audit.entries(own_shop.state)] == ["p_ann"]
    read: list[int] = []
    scope = scope_of("/shop/v1/identity/lookup", content_type="application/json") | {"root_path": "/shop"}
    assert (exchanged(app, scope, endless(read))[0], read) == (401, [])


@pytest.mark.parametrize("path", ["/v1/people/p_ann/", "/v1/rights/", "/docs/", "/console/review/"])
def test_no_answer_leads_to_the_host_that_the_caller_says(client: Any, path: str) -> None:
    answer = client("steward").get(path, headers={"Host": "evil.example"}, follow_redirects=False)
    assert answer.status_code == 404 and "evil" not in str(answer.headers)


def test_a_refused_method_names_all_that_the_path_has(client: Any) -> None:
    assert client("steward").delete("/v1/rights").headers["allow"] == "GET, POST"
    assert client("reader").put("/v1/people/p_ann").headers["allow"] == "GET"


def test_the_log_says_why_nobody_is_answered_while_a_restore_has_not_ended(
    own_shop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    own_shop.publish()
    client = TestClient(build_app(Settings(state=str(own_shop.state))))
    (own_shop.state / marks.MARK).write_bytes(b"{")
    log = logging.getLogger(f"{telemetry.log.name}.answers")
    log.filters.clear()
    log.addHandler(caplog.handler)
    try:
        client.get("/v1/people/p_ann")
    finally:
        log.removeHandler(caplog.handler)
    assert any(marks.UNDER_WAY in record.getMessage() for record in caplog.records)


def test_while_a_restore_has_not_ended_a_running_server_tells_of_nobody(own_shop: Any) -> None:
    """What is put in the place of a state folder that was moved away may hold who was erased since."""
    own_shop.publish()
    key = access.issue(own_shop.state, "one", "service")
    client = TestClient(build_app(Settings(state=str(own_shop.state))), headers={"X-API-Key": key})
    assert client.get("/v1/people/p_ann").status_code == 200
    mark = own_shop.state / marks.MARK
    for text in (marks.Mark("2026", "customer360 restore x").written(), b"{"):
        mark.write_bytes(text)
        for path in ("/v1/people/p_ann", "/v1/people/p_ann/scores", "/metrics", "/console/sign-in", "/v1/rights"):
            answer = client.get(path)
            assert answer.status_code == 503 and "restore" in answer.json()["detail"] and "p_ann" not in answer.text, (
                path
            )
            assert answer.headers["Retry-After"] == "60"
        health = client.get("/healthz")
        assert health.status_code == 503 and "restore" in health.json()["stale_because"]
        assert client.get("/docs").status_code == 200
    mark.unlink()
    assert client.get("/v1/people/p_ann").status_code == 200 and client.get("/healthz").status_code == 200


def test_what_is_begun_is_waited_for_and_can_be_given_up() -> None:
    ended: list[str] = []

    async def given(after: asyncio.Future[Any] | None) -> dict[str, Any]:
        try:
            if after is not None:
                await after
            await asyncio.sleep(0)
            return {"body": b"whole"}
        finally:
            ended.append("ended")

    async def at_once() -> dict[str, Any]:
        return {"body": b"there"}

    async def tried() -> None:
        assert gate.begun(at_once()) == {"body": b"there"}
        waits = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(waits.set_result, None)
        piece = gate.begun(given(waits))
        assert not isinstance(piece, dict) and not ended
        assert await piece == {"body": b"whole"}
        endless = gate.begun(given(asyncio.get_running_loop().create_future()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await endless  # type: ignore[misc]
        assert ended == ["ended"] * 2

    asyncio.run(tried())


def test_a_restore_holds_from_the_next_request_on(tmp_path: Path) -> None:
    assert not marks.stands(tmp_path / "none")
    for _ in range(3):
        assert not marks.stands(tmp_path)
        (tmp_path / marks.MARK).touch()
        assert marks.stands(tmp_path) and marks.stands(tmp_path)
        (tmp_path / marks.MARK).unlink()
    os.utime(tmp_path, (1, 1))  # as an old folder is: nothing is looked for again, until it changes
    assert not marks.stands(tmp_path) and not marks.stands(tmp_path)
    (tmp_path / marks.MARK).touch()
    assert marks.stands(tmp_path)
