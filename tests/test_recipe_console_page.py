"""docs/recipes/console-page.md, followed to the letter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from jinja2 import ChoiceLoader, DictLoader
from starlette.testclient import TestClient

from customer360.platform import access
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun, Run, start_run
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve.app import build_app
from customer360.serve.console import pages, steward

Recipe = Callable[[str, str], AbstractContextManager[ModuleType]]
Block = Callable[[str, str], str]


@pytest.fixture
def browser(
    recipe: Recipe, recipe_block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """A browser at a console that has the page, over a lake with three runs."""
    lake = Lake(str(tmp_path / "lake"))
    started = start_run("run <master>")
    started.nodes = [NodeRun("silver.events", "built"), NodeRun("gold.customer_360", "failed", reason="of no interest")]
    started.end()
    for run in (
        started,
        start_run("broken"),
        Run("20200101T000000.0", datetime(2020, 1, 1, tzinfo=UTC).isoformat(), "of 2020"),
    ):
        run.save(lake)
    template = DictLoader({"runs.html": recipe_block("console-page", "html")})
    monkeypatch.setattr(pages.environment, "loader", ChoiceLoader([template, pages.environment.loader]))
    with recipe("console-page", "recipe_runs") as module:
        app = build_app(Settings(state=str(tmp_path / "state"), lake=LakeSettings(root=lake.root)))
        app.include_router(module.router, prefix=pages.PREFIX, include_in_schema=False)
        monkeypatch.setitem(pages.environment.globals, "menu", pages.menu((steward, module)))
        yield TestClient(app)


def sign_in(browser: TestClient, tmp_path: Path, held: str, **form: str) -> str:
    """What the browser shows after the form was sent."""
    key = access.issue(tmp_path / "state", f"Kim <{held}>", held)
    return browser.post("/console/sign-in", data={"key": key, **form}, follow_redirects=True).text


def test_who_has_no_key_is_led_to_the_sign_in_and_back(browser: TestClient, tmp_path: Path) -> None:
    led = browser.get("/console/runs?days=30", follow_redirects=True)
    assert led.url.path == "/console/sign-in" and "role service" in led.text
    assert 'name="page" value="/console/runs?days=30"' in led.text
    weak = sign_in(browser, tmp_path, "reader", role="service", page="/console/runs?days=30")
    assert 'role="alert"' in weak and "service" in weak
    shown = sign_in(browser, tmp_path, "service", role="service", page="/console/runs?days=30")
    assert "<h1>Runs of the last 30 days</h1>" in shown and "Kim &lt;service&gt;" in shown


def test_the_sign_in_leads_nowhere_else(browser: TestClient, tmp_path: Path) -> None:
    key = access.issue(tmp_path / "state", "Kim", "steward")
    for page in ("https://elsewhere.example/", "//elsewhere.example/console/", "/docs"):
        answer = browser.post("/console/sign-in", data={"key": key, "page": page}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, pages.HOME)


def test_a_key_of_a_weaker_role_does_not_open_the_page(browser: TestClient, tmp_path: Path) -> None:
    sign_in(browser, tmp_path, "reader", role="reader", page="/console/runs")
    assert browser.get("/console/runs", follow_redirects=False).headers["location"].startswith("/console/sign-in?")


def test_it_shows_the_runs_of_the_days_asked_for(browser: TestClient, tmp_path: Path) -> None:
    shown = sign_in(browser, tmp_path, "service", role="service", page="/console/runs")
    assert "run &lt;master&gt;" in shown and "gold.customer_360" in shown and "broke off" in shown
    assert '<nav><a href="/console/review">Review queue</a><a href="/console/runs">Runs</a></nav>' in shown
    assert "of 2020" not in shown and "of no interest" not in shown
    assert browser.get("/console/runs?days=0").status_code == 422


def test_it_runs_no_script_and_stands_in_no_reference(browser: TestClient, tmp_path: Path) -> None:
    sign_in(browser, tmp_path, "service", role="service", page="/console/runs")
    answer = browser.get("/console/runs")
    assert "<script" not in answer.text and "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert not [path for path in browser.get("/openapi.json").json()["paths"] if path.startswith("/console")]
