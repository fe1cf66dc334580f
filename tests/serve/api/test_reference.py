"""The reference page shows every endpoint and asks nobody for anything."""

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from customer360.platform.settings import Settings
from customer360.serve.api import reference
from customer360.serve.app import build_app
from customer360.serve.gate import SCOPES


def test_every_endpoint_and_type_is_shown_without_outside_help(tmp_path: Path) -> None:
    app = build_app(Settings(state=str(tmp_path)))
    page = TestClient(app).get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    document = app.openapi()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"</span>{path}</h3>" in page.text and f'class="method {method.upper()}"' in page.text
    for name in document["components"]["schemas"]:
        assert f'id="type-{name}"' in page.text
    assert not re.search(r"<script|https?://(?!\$)", page.text), "the page must load nothing"
    assert "/docs" not in document["paths"]


def test_it_is_made_once_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(reference, "render", lambda document: str(made.append(document) or len(made)))
    client = TestClient(build_app(Settings(state=str(tmp_path))))
    assert [client.get("/docs").text for _ in range(3)] == ["1"] * 3


def test_texts_are_escaped(tmp_path: Path) -> None:
    app = build_app(Settings(state=str(tmp_path), name="a <b> & c"))
    assert "a &lt;b&gt; &amp; c API" in TestClient(app).get("/docs").text


def test_a_key_can_be_bound_to_every_group_that_asks_for_a_scope(client: Any) -> None:
    paths = client(None).app.openapi()["paths"].values()
    groups = {said["tags"][0] for path in paths for said in path.values()}
    assert groups - {"hooks", "events", "operations"} == set(SCOPES), "those are open, or for roles of their own"
