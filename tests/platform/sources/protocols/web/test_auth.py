"""Who asks: what goes into a header, and where a new token comes from."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qs

import pytest

from customer360.platform.connections.api import Api, Rate
from customer360.platform.errors import ConfigError, TransientError
from customer360.platform.sources.protocols.web.auth import Caller
from customer360.platform.sources.protocols.web.pace import Bucket
from customer360.platform.sources.protocols.web.session import Request, Session


class Giver(HTTPServer):
    """Gives tokens for a refresh token, which it takes once, and answers with faults first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.good, self.given, self.faults = "first", 0, list[tuple[int, str]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Giver

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        if self.server.faults:
            return self._answer(*self.server.faults.pop(0))
        if form.get("refresh_token") != [self.server.good]:
            return self._answer(400, '{"error": "invalid_grant"}')
        self.server.given += 1
        self.server.good = f"refresh{self.server.given}"
        return self._answer(200, json.dumps({"access_token": f"a{self.server.given}", "token_type": "bearer",
                                             "expires_in": 600, "refresh_token": self.server.good}))  # fmt: skip

    def do_GET(self) -> None:
        self._answer(200, "[]")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def giver() -> Iterator[Giver]:
    server = Giver()
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(giver: Giver, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv("T_SECRET", "open-sesame")
    monkeypatch.setenv("T_REFRESH", "first")
    return Api(
        url=giver.url, auth="oauth2", token_url=f"{giver.url}/token", client_id="us", client_secret_env="T_SECRET",
        refresh_token_env="T_REFRESH",
    )  # fmt: skip


def test_a_refresh_token_that_is_taken_once_is_followed_by_the_one_that_came_with_it(api: Api) -> None:
    caller = Caller(api)
    for token in ("Bearer a1", "Bearer a2", "Bearer a3"):
        assert caller.headers() == {"Authorization": token}
        caller.forget(token)


@pytest.mark.parametrize("fault", [(429, '{"error": "slow_down"}'), (503, "<html>"), (500, '{"error": "oops"}')])
def test_who_gives_tokens_may_fail_for_the_moment(giver: Giver, api: Api, fault: tuple[int, str]) -> None:
    giver.faults = [fault]
    with pytest.raises(TransientError, match=f"answers {fault[0]}"):
        Caller(api).headers()
    giver.faults = [fault]
    with Session(Caller(api), Bucket(Rate(per_minute=6000)), 5.0, 2) as session:
        assert session.ask(Request("GET", giver.url)).content == b"[]"


def test_a_secret_that_no_header_can_hold_is_one_line_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_TOKEN", "s3cr3t-tök")
    with pytest.raises(ConfigError, match=r"^T_TOKEN \(token\) holds a character that no header can") as fault:
        Caller(Api(url="https://x.example", auth="bearer", token_env="T_TOKEN")).headers()
    assert "s3cr3t" not in str(fault.value)


def test_a_token_that_is_refused_is_renewed_once_by_all_who_were_refused(giver: Giver, api: Api) -> None:
    callers = [Caller(api) for _ in range(40)]
    assert {caller.headers()["Authorization"] for caller in callers} == {"Bearer a1"}
    together = threading.Barrier(40)

    def refused(caller: Caller) -> str:
        together.wait()
        caller.forget("Bearer a1")
        return caller.headers()["Authorization"]

    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(refused, callers)) == {"Bearer a2"}
    callers[0].forget("Bearer a1")  # an answer to a request of before, late
    assert callers[0].headers()["Authorization"] == "Bearer a2" and giver.given == 2


def test_another_secret_is_another_token(giver: Giver, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Caller(api).headers() == {"Authorization": "Bearer a1"}
    giver.good = "r9"
    monkeypatch.setenv(api.refresh_token_env, "r9")
    assert Caller(api).headers() == {"Authorization": "Bearer a2"}
