"""Identity over HTTP: look-up, reasons, history, a steward's decisions and pages, on a lake that was really
resolved.
"""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from starlette.testclient import TestClient

from customer360.models.identity.erasure import identifiers_of
from customer360.platform import access, audit, online, privacy
from customer360.platform import settings as configuration
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.settings import Settings
from customer360.serve import jobs
from customer360.serve.app import build_app
from customer360.serve.compose import compose, identity_rules
from customer360.serve.publication.indexes import publish_index

pytestmark = pytest.mark.slow
COLUMNS = "CUSTOMER_ID,FIRST_NAME,LAST_NAME,EMAIL_ADDRESS,PHONE_NUMBER,DATE_OF_BIRTH,ADDRESS_LINE_1,CITY,ZIP_CODE"
POS = """\
1,Robert,King,king77@mail.com,4155552671,1980-05-17,12 Elm Street,Springfield,94110
2,Jorge,King,king77@mail.com,4155552671,2004-03-09,12 Elm Street,Springfield,94110
3,Ann,Lee,,,,,,
4,Olu,Ade,olu@mail.com,4155550001,1990-01-20,3 Oak Road,Springfield,94111
"""
MOSS = """\
5,Ada,Moss,moss@mail.com,4155559999,1950-02-02,9 Hill Street,Springfield,94112
6,Ben,Moss,moss@mail.com,4155559999,1985-03-03,9 Hill Street,Springfield,94112
"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CRM = """\
1,Bob,King,king77@mail.com,(415) 555-2671,1980-05-17,12 Elm St,Springfield,94110
4,Olu,Ade,olu@mail.com,,1990-01-20,,,
"""


def prepare(folder: Path, more: str = "") -> Settings:
    """A lake with silver.identities, and a publication whose index belongs to it."""
    compose()
    sources = {}
    for system, rows in {"POS": POS + more, "CRM": CRM}.items():
        (folder / "landing").mkdir(exist_ok=True)
        (folder / "landing" / f"{system}.csv").write_text(f"{COLUMNS}\n{rows}")
        sources[system.lower()] = {
            "table": "bronze.customers",
            "system": system,
            "path": f"{system}.csv",
            "format": "csv",
        }
    base = configuration.load(
        None,
        {
            "CUSTOMER360__LANDING": str(folder / "landing"),
            "CUSTOMER360__LAKE__ROOT": str(folder / "lake"),
            "CUSTOMER360__STATE": str(folder / "state"),
            "CUSTOMER360__EXECUTION__EXECUTOR": "local",
        },
    )
    settings = base.model_validate(base.model_dump() | {"sources": sources, "connections": {}})
    jobs.run_pipeline(settings, RunRequest(end="silver.identities"))
    lake, state = lake_of(settings), folder / "state"
    publish_index(lake, state, identity_rules(settings))
    known = lake.scan("silver.identities").select(key=pl.col("person_id").unique())
    persons = known.select(kind=pl.lit("person"), key="key", document=pl.lit("{}")).collect()
    versions = {"silver.identities": lake.version("silver.identities")}
    online.publish(state, [persons], as_of=date(2026, 1, 1), sources=versions)
    return settings


@contextmanager
def signed_in(settings: Settings, role: str | None) -> Iterator[TestClient]:
    headers = {"X-API-Key": access.issue(Path(settings.state), f"the {role} {uuid4()}", role)} if role else {}
    yield TestClient(build_app(settings), headers=headers)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return prepare(tmp_path_factory.mktemp("identity"))


def person_of(settings: Settings, record: str) -> str:
    owners = lake_of(settings).scan("silver.identities").filter(pl.col("record_id") == record)
    return str(owners.select("person_id").collect().item())


def test_a_record_is_looked_up(settings: Settings) -> None:
    bob = {"first_name": "Bob", "last_name": "King", "email_address": "KING77@mail.com", "date_of_birth": "1980-05-17"}
    with signed_in(settings, "service") as client:
        answer = client.post("/v1/identity/lookup", json=bob).json()
        nobody = client.post("/v1/identity/lookup", json={"first_name": "Ximena", "last_name": "Quispe"}).json()
        wrong = client.post("/v1/identity/lookup", json={"surname": "King"})
    assert (answer["answer"], answer["person_id"]) == ("entity", person_of(settings, "POS/1"))
    assert {e["comparison"] for e in answer["candidates"][0]["evidence"]} >= {"email", "given_name"}
    assert (nobody["answer"], nobody["person_id"]) == ("new", None)
    assert wrong.status_code == 422


def test_any_record_gets_an_answer_or_a_clear_refusal(settings: Settings) -> None:
    junk = dict.fromkeys(("first_name", "last_name", "full_name", "email_address", "phone_number", "city"), "n/a")
    odd = {
        "first_name": "\u0000\U0001f600",
        "last_name": "\u202e'; drop",
        "zip_code": "\n",
        "date_of_birth": "99999999",
    }
    refused = [
        {"first_name": "a" * 100_000}, {"zip_code": 94110}, {"first_name": ["Ann"]}, {"email_address": {"a": 1}},
        {"date_of_birth": 5}, ["Ann"], "Ann", None,
    ]  # fmt: skip
    with signed_in(settings, "service") as client:
        for record in ({}, junk, odd, {"full_name": "x y " * 100, "phone_number": "+" * 40}):
            answer = client.post("/v1/identity/lookup", json=record)
            assert (answer.status_code, answer.json()["answer"]) == (200, "new"), record
        for record in refused:
            answer = client.post("/v1/identity/lookup", json=record)
            assert answer.status_code == 422 and answer.json()["detail"].startswith("body") and len(answer.text) < 1000
        for body in (b"{", b"\xff\xfe", b'{"first_name": "\\ud800"}', b'{"city": NaN}', b"[" * 100_000):
            assert client.post("/v1/identity/lookup", content=body).status_code in (400, 422), body[:20]


@pytest.mark.parametrize("path", ["why", "history"])
def test_reasons_need_the_role_that_sees_accounts(settings: Settings, path: str) -> None:
    person = person_of(settings, "POS/1")
    with signed_in(settings, "reader") as reader, signed_in(settings, None) as nobody:
        assert reader.get(f"/v1/identity/{person}/{path}").status_code == 403
        assert nobody.get(f"/v1/identity/{person}/{path}").status_code == 401
        assert reader.post("/v1/identity/lookup", json={}).status_code == 403


def test_a_person_is_explained(settings: Settings) -> None:
    with signed_in(settings, "service") as client:
        answer = client.get(f"/v1/identity/{person_of(settings, 'POS/1')}/why").json()
        history = client.get(f"/v1/identity/{person_of(settings, 'POS/1')}/history").json()
        unknown = client.get("/v1/identity/pffffffffffffffff/why")
    assert answer["records"] == ["CRM/1", "POS/1"]
    (edge,) = answer["held_by"]
    assert edge == answer["weakest_bridge"] and answer["would_split"]["groups"] == [["CRM/1"], ["POS/1"]]
    assert edge["match_weight"] > 4 and len(edge["evidence"]) >= 4
    assert [e["kind"] for e in history["events"]][:1] == ["mint"]
    assert unknown.status_code == 404 and "pfff" not in unknown.text


def test_only_stewards_decide(settings: Settings) -> None:
    pair = {"one": "POS/3", "other": "POS/4"}
    with signed_in(settings, "service") as service:
        for path in ("confirm", "reject"):
            assert service.post(f"/v1/identity/{path}", json=pair).status_code == 403
        assert service.get("/v1/identity/review").status_code == 403


def test_a_decision_holds_until_it_is_undone(tmp_path: Path) -> None:
    settings = prepare(tmp_path)
    before = {record: person_of(settings, record) for record in ("POS/3", "POS/4", "CRM/4")}
    with signed_in(settings, "steward") as client:
        events = client.post(
            "/v1/identity/confirm", json={"one": "POS/3", "other": "POS/4", "reason": "asked them"}
        ).json()
        assert len(events["events"]) == 1
        merged = client.get(f"/v1/identity/{before['POS/3']}/why").json()
        assert merged["person_id"] == before["POS/4"], "the smaller person's id leads to the larger one's"
        jobs.run_pipeline(settings, RunRequest(end="silver.identities"))
        assert person_of(settings, "POS/3") == before["POS/4"], "the next run keeps the decision"
        client.post(f"/v1/identity/events/{events['events'][0]}/undo").raise_for_status()
        jobs.run_pipeline(settings, RunRequest(end="silver.identities"))
        assert {record: person_of(settings, record) for record in before} == before
        assert client.post("/v1/identity/confirm", json={"one": "POS/3", "other": "GONE/1"}).status_code == 404
        client.post(
            "/v1/identity/confirm", json={"one": "POS/3", "other": "POS/4", "reason": "sure"}
        ).raise_for_status()
        no = client.post("/v1/identity/reject", json={"one": "POS/3", "other": "CRM/4"})
        assert no.status_code == 409 and "sure" in no.json()["detail"], no.text
        (number,) = re.findall(r"undo --decision (\d+)", no.json()["detail"])
        client.post(f"/v1/identity/decisions/{number}/undo").raise_for_status()
        assert client.post(f"/v1/identity/decisions/{number}/undo").status_code == 422, "it was taken back before"
        assert client.post("/v1/identity/decisions/999/undo").status_code == 404
        no = client.post("/v1/identity/reject", json={"one": "POS/3", "other": "POS/3"})
        assert no.status_code == 422 and no.headers["content-type"] == "application/problem+json"
        assert "named twice" in no.json()["detail"]
        with lake_of(settings).run_lock("a run"):
            assert client.post("/v1/identity/confirm", json={"one": "POS/3", "other": "POS/4"}).status_code == 409


def test_a_change_under_an_idempotency_key_is_made_once(tmp_path: Path) -> None:
    settings = prepare(tmp_path)
    pair, token = {"one": "POS/3", "other": "POS/4", "reason": ""}, {"Idempotency-Key": "7f0c"}
    with signed_in(settings, "steward") as client, signed_in(settings, "steward") as another:
        first, second = (client.post("/v1/identity/confirm", json=pair, headers=token) for _ in range(2))
        assert first.json() == second.json() and len(first.json()["events"]) == 1
        assert lake_of(settings).scan("silver.steward_decisions").collect().height == 1
        other = client.post("/v1/identity/reject", json=pair, headers=token)
        assert other.status_code == 422 and "another change" in other.json()["detail"]
        assert another.post("/v1/identity/confirm", json=pair, headers=token).json() == {"events": []}
        person = client.get("/v1/identity/" + person_of(settings, "POS/4") + "/why").json()
        all_of_it = client.post(f"/v1/identity/{person['person_id']}/split", json={"records": person["records"]})
        assert all_of_it.status_code == 422 and "both sides" in all_of_it.json()["detail"]
        for number in (-1, 2**63, 10**30):
            assert client.post(f"/v1/identity/events/{number}/undo").status_code == 422


def test_every_reading_of_identity_stands_in_the_audit_with_persons_alone(tmp_path: Path) -> None:
    settings = prepare(tmp_path)
    person = person_of(settings, "POS/1")
    with signed_in(settings, "steward") as client:
        client.get(f"/v1/identity/{person}/why")
        client.get(f"/v1/identity/{person}/history")
        client.get("/v1/identity/review")
        client.post(
            "/v1/identity/lookup", json={"email_address": "olu@mail.com", "first_name": "Olu", "last_name": "Ade"}
        )
        client.cookies.set("c360_key", client.headers["X-API-Key"], path="/console")
        assert client.get("/console/review/pair?one=POS/1&other=CRM/1").status_code == 200
    lines = list(audit.entries(Path(settings.state)))
    assert [line["asked"].split("/")[-1] for line in lines] == ["why", "history", "review", "lookup", "pair"]
    assert [lines[0]["person"], lines[1]["person"], lines[4]["person"]] == [person] * 3
    assert "POS/" not in str(lines) and "olu" not in str(lines)


def test_who_was_taken_out_is_nobody_to_a_look_up(tmp_path: Path) -> None:
    """Between an erasure's first step and the next index, which still holds the person."""
    settings = prepare(tmp_path)
    bob = {"first_name": "Bob", "last_name": "King", "email_address": "king77@mail.com", "date_of_birth": "1980-05-17"}
    with signed_in(settings, "service") as client:
        person = client.post("/v1/identity/lookup", json=bob).json()["person_id"]
        client.app.state.store._poll_seconds = 0  # type: ignore[attr-defined]
        online.forget(Path(settings.state), [("person", person)])
        answer = client.post("/v1/identity/lookup", json=bob).json()
        assert answer["person_id"] is None and person not in str(answer)


def test_who_is_being_erased_is_nobody_to_a_steward(tmp_path: Path) -> None:
    """The lake holds the records until they are rewritten; the answers stop before."""
    settings = prepare(tmp_path)
    lake, person = lake_of(settings), person_of(settings, "POS/2")
    with signed_in(settings, "steward") as client:
        client.cookies.set("c360_key", access.issue(Path(settings.state), "Kim", "steward"))
        pages = {f"/v1/identity/{person}/why": 200, f"/v1/identity/{person}/history": 200,
                 "/v1/identity/POS%2F2/history": 404, "/console/review/pair?one=CRM/1&other=POS/2": 200}  # fmt: skip
        assert {page: client.get(page).status_code for page in pages} == pages
        assert "POS/2" in client.get("/console/review").text.replace("%2F", "/")
        privacy.begin_erasure(lake, person, identifiers_of(lake, person))
        for page in pages:
            answer = client.get(page)
            assert answer.status_code == 404 and "Jorge" not in answer.text, page
        assert "POS/2" not in client.get("/console/review").text.replace("%2F", "/")
        other = person_of(settings, "POS/4")
        assert client.get(f"/v1/identity/{other}/why").status_code == 200


def test_the_steward_page_shows_and_decides(tmp_path: Path) -> None:
    settings = prepare(tmp_path)
    with signed_in(settings, None) as browser:
        assert browser.get("/console/review", follow_redirects=True).text.count('action="/console/sign-in"') == 1
        weak = access.issue(Path(settings.state), "clerk", "service")
        assert browser.post("/console/sign-in", data={"key": weak}).status_code == 401
        key = access.issue(Path(settings.state), "Kim", "steward")
        queue = browser.post("/console/sign-in", data={"key": key}, follow_redirects=True)
        assert queue.status_code == 200 and "default-src 'none'" in queue.headers["content-security-policy"]
        first = re.search(r'href="(/console/review/pair\?[^"]+)"', queue.text)
        assert first, "father and son wait for a decision: a rule holds them apart against their score"
        page = browser.get(first[1].replace("&amp;", "&")).text
        assert "<svg" in page and "Jorge" in page and "<script" not in page
        pair = {"one": "CRM/1", "other": "POS/2", "verdict": "reject", "reason": "son"}
        foreign = browser.post("/console/review/decide", data=pair, headers={"origin": "https://elsewhere.example"})
        assert foreign.status_code == 401, "a form of another site is refused"
        left = browser.post("/console/review/decide", data=pair, follow_redirects=True).text
        assert queue.text.count("Compare") == 2 and left.count("Compare") == 0, "it is about the two persons"
    decisions = lake_of(settings).scan("silver.steward_decisions").collect()
    assert decisions.select("actor", "kind", "reason").rows() == [("Kim", "cannot link", "son")]


def test_a_record_is_no_pair_with_itself_and_names_have_a_length(settings: Settings) -> None:
    with signed_in(settings, "steward") as client:
        client.cookies.set("c360_key", access.issue(Path(settings.state), "Kim", "steward"))
        assert client.get("/console/review/pair?one=CRM/1&other=CRM/1").status_code == 422
        for wrong in ({"one": "", "other": "CRM/1"}, {"one": "x" * 301, "other": "CRM/1"}):
            assert client.post("/v1/identity/confirm", json=wrong).status_code == 422
        refused = client.post("/v1/identity/p1/split", json={"records": ["CRM/1"] * 1001})
        assert refused.status_code == 422 and len(refused.text) < 300


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_steward_decides_in_a_browser(tmp_path: Path) -> None:
    import uvicorn
    from playwright.sync_api import sync_playwright

    settings = prepare(tmp_path, MOSS)
    key = access.issue(Path(settings.state), "Kim", "steward")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(build_app(settings), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            page.set_default_timeout(60_000)
            while not server.started:
                time.sleep(0.05)
            page.goto(f"http://127.0.0.1:{port}/console/review")
            page.get_by_label("Key").fill(key)
            page.get_by_role("button", name="Sign in").click()
            for record, button, reason in (("POS/6", "One person", "asked"), ("POS/2", "Two people", "son")):
                row = page.locator("tbody tr").filter(has_text=record).first
                row.get_by_role("link", name="Compare").click()
                assert page.locator("thead th").all_inner_texts()[1:] != []
                assert page.locator("figure svg").bounding_box()["height"] > 50
                page.get_by_label("Reason").fill(reason)
                page.get_by_role("button", name=button).click()
                page.wait_for_url("**/console/review")
            browser.close()
    finally:
        server.should_exit = True
        thread.join(20)
    decisions = lake_of(settings).scan("silver.steward_decisions").collect().sort("reason")
    assert decisions.select("actor", "kind", "reason").rows() == [
        ("Kim", "must link", "asked"),
        ("Kim", "cannot link", "son"),
    ]
    with signed_in(settings, "steward") as client:
        answer = client.get(f"/v1/identity/{person_of(settings, 'POS/6')}/why").json()
    assert answer["records"] == ["POS/5", "POS/6"], "the registry holds both as one person"
