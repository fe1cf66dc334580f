"""Who gets a page, and whose forms are taken."""

from __future__ import annotations

import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from customer360.platform import access
from customer360.platform.settings import ServeSettings, Settings
from customer360.serve.app import build_app

FORM = {"one": "POS/1", "other": "POS/1", "verdict": "reject"}


def signed_in(state: Any, name: str, public_url: str = "", **key: Any) -> TestClient:
    client = TestClient(
        build_app(Settings(state=str(state), serve=ServeSettings(public_url=public_url))), follow_redirects=False
    )
    client.cookies.set("c360_key", access.issue(state, name, key.pop("role", "steward"), **key))
    return client


@pytest.mark.parametrize(("public_url", "headers", "is_taken"), [
    ("", {"Origin": "http://testserver"}, True),
    ("", {}, True),
    ("", {"Origin": "http://evil.example"}, False),
    ("", {"Origin": "null"}, False),
    ("", {"Origin": "http://[::1"}, False),
    ("", {"Origin": "http://testserver.evil.example"}, False),
    ("", {"Sec-Fetch-Site": "cross-site"}, False),
    ("", {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"}, False),
    ("https://360.shop.example", {"Origin": "https://360.shop.example", "Host": "10.0.0.7:8000"}, True),
    ("https://360.shop.example", {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}, False),
])  # fmt: skip
def test_forms_of_other_sites_are_refused(
    published: Any, public_url: str, headers: dict[str, str], is_taken: bool
) -> None:
    client = signed_in(published.state, f"Kim {public_url} {headers}"[:80], public_url)
    answer = client.post("/console/review/decide", data=FORM, headers=headers)
    is_refused = answer.status_code == 401 and "another site" in answer.text
    assert is_refused is not is_taken, answer.text


@pytest.mark.parametrize("form", ["sign-in", "sign-out"])
def test_another_site_signs_nobody_in_or_out(published: Any, form: str) -> None:
    client = signed_in(published.state, f"Ida {form}")
    key = access.issue(published.state, f"the other site's {form}", "steward")
    answer = client.post(f"/console/{form}", data={"key": key}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 401 and "set-cookie" not in answer.headers
    assert client.post(f"/console/{form}", data={"key": key}).status_code == 303


@pytest.mark.parametrize(("page", "goes_to"), [
    ("/console/review?page=2", "/console/review?page=2"),
    ("/console/../v1/people/p1", "/console/review"),
    ("/console/%2e%2E/docs", "/console/review"),
    ("/console/..\\docs", "/console/review"),
    ("//evil.example/console/", "/console/review"),
    ("https://evil.example", "/console/review"),
])  # fmt: skip
def test_after_the_sign_in_a_browser_stays_among_the_pages(published: Any, page: str, goes_to: str) -> None:
    client = signed_in(published.state, f"Jo {page}")
    key = access.issue(published.state, f"Jo's {page}", "steward")
    answer = client.post("/console/sign-in", data={"key": key, "page": page})
    assert answer.headers["location"] == goes_to


def test_a_key_of_another_scope_opens_no_page(published: Any) -> None:
    client = signed_in(published.state, "scorer", role="admin", scopes=("scores",))
    answer = client.get("/console/review")
    assert answer.status_code == 303 and "/console/sign-in" in answer.headers["location"]


def test_a_key_is_as_often_let_in_by_pages_as_by_the_api(published: Any) -> None:
    client = TestClient(build_app(Settings(state=str(published.state))), follow_redirects=False)
    key = access.issue(published.state, "slow pages", "steward", per_minute=1)
    client.cookies.set("c360_key", key, path="/console")
    answers = [client.get("/console/experiments") for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 429] and int(answers[1].headers["Retry-After"]) > 1
    assert client.get("/v1/people/p_ann", headers={"X-API-Key": key}).status_code == 429


def test_behind_https_the_cookie_is_secure(published: Any) -> None:
    client = signed_in(published.state, "Lou", "https://360.shop.example")
    key = access.issue(published.state, "Max", "steward")
    answer = client.post("/console/sign-in", data={"key": key})
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=strict", "Path=/console"))


@pytest.mark.parametrize("charset", ["idna", "punycode", "unicode_escape", "utf-7", "undefined", "zlib", '"utf-7"'])
def test_a_form_is_read_as_utf_8_or_not_at_all(published: Any, charset: str) -> None:
    """Some codecs of Python take seconds for little, others make letters that no answer can be written with."""
    client = TestClient(build_app(Settings(state=str(published.state))))
    page = b"xn--" + b"a" * 100_000 if charset == "idna" else b"/console/\\ud800+2AA-"
    parts = {b"key": b"c360_1_x", b"page": page, b"role": b"steward"}
    form = b"".join(b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % each for each in parts.items())

    def sent(said: str) -> int:
        kind = {"Content-Type": f"multipart/form-data; boundary=x{said}"}
        return client.post("/console/sign-in", content=form + b"--x--\r\n", headers=kind).status_code

    began = time.process_time()
    assert sent(f"; charset={charset}") == 415 and time.process_time() - began < 1
    assert sent("; charset=UTF-8") == sent("") == 401
