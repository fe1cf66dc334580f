"""Pages of a shop, in a browser, with the snippet: what visitors do lands once, consent comes first where it must."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import access
from customer360.platform.settings import Settings
from customer360.platform.sources import collector as source
from customer360.platform.sources.protocols.hooks import journal

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WAIT = 30_000  # milliseconds
PAGE = """<!doctype html><html><head><title>A blue mug</title>
<script type="application/ld+json">{{"@type": "Product", "sku": "P1", "name": "Mug"}}</script>
<script>(window.customer360 = window.customer360 || []).push(["track", "Size Chosen", {{"size": "L"}}]);</script>
<script async src="{server}/v1/snippet.js" data-write-key="{key}" {more}></script></head><body>Mug</body></html>"""


class Quiet(SimpleHTTPRequestHandler):
    """Pages of a folder, and no line for each."""

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The origin of a shop, and the folder that its pages lie in."""
    folder = tmp_path / "pages"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def kept(settings: Settings) -> int:
    return sum(f.read_bytes().count(b'"messageId"') for f in (Path(settings.state) / "collector/web").glob("*.frames"))


def records(settings: Settings) -> list[dict[str, Any]]:
    files = (Path(settings.state) / "collector/web").glob("*.frames")
    return [json.loads(source.opened(frame.content)[0]) for f in files for frame in journal.frames(f, 0)]


def test_a_visit(
    serve: Callable[[Settings], Any],
    configure: Callable[..., Settings],
    land: Callable[[Settings], dict[str, pl.DataFrame]],
    pages: tuple[str, Path],
    browser: Any,
) -> None:
    origin, folder = pages
    settings = configure(origins=[origin])
    key = access.issue(Path(settings.state), "shop", "writer")
    server = serve(settings)
    (folder / "mug.html").write_text(PAGE.format(server=server.url, key=key, more=""))
    (folder / "strict.html").write_text(PAGE.format(server=server.url, key=key, more='data-consent="required"'))
    visit = browser.new_context(locale="de-DE", timezone_id="Europe/Berlin")
    page = visit.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{origin}/mug.html?utm_source=mail&utm_campaign=spring")
    page.wait_for_function("window.customer360 && window.customer360.cart")
    page.evaluate(
        """() => { customer360.search("red mug"); customer360.cart.add({product_id: "P1"});
                   customer360.identify("C1", {email: "pat@example.com"});
                   customer360.consent({PERSONALIZATION: false}); customer360.cart.view([{product_id: "P1"}]); }"""
    )
    page.wait_for_function("!Object.keys(localStorage).some(name => name.startsWith('c360.queue'))")
    # The server goes away, and comes again: what was done meanwhile is sent then.
    server.kill()
    page.evaluate("() => customer360.order({products: [{product_id: 'P1'}]})")
    page.wait_for_timeout(300)
    settings_again = settings.model_copy(update={"serve": settings.serve.model_copy(update={"port": server.port})})
    serve(settings_again)
    page.wait_for_function("!Object.keys(localStorage).some(name => name.startsWith('c360.queue'))")
    page.evaluate("() => { customer360.track('Product Removed', {product_id: 'P1'}); }")
    page.goto("about:blank")  # what waits is sent on leaving
    page.wait_for_timeout(500)
    found = land(settings)
    events = found["bronze.events"].sort("EVENT_DATE")
    counts = dict(events["EVENT_TYPE"].value_counts().iter_rows())
    assert counts == {"PAGE_VIEW": 2, "PRODUCT_VIEW": 1, "SEARCH": 1, "CART_ADD": 1, "LOGIN": 1, "PURCHASE": 1,
                      "CART_REMOVE": 1}  # fmt: skip
    assert events["VISITOR_ID"].n_unique() == 1 and events["SESSION_ID"].n_unique() == 1
    assert events.filter(EVENT_TYPE="PRODUCT_VIEW")["PRODUCT_ID"].to_list() == ["P1"]
    assert events["PAGE_TITLE"].drop_nulls().unique().to_list() == ["A blue mug"]
    assert found["bronze.sessions"]["CAMPAIGN_ID"].to_list() == ["spring"]
    assert found["bronze.preferences"]["PREFERENCE_VALUE"].to_list() == ["PERSONALIZATION:NO"]
    assert found["bronze.customers"].is_empty()  # a key of pages tells no master data

    before = kept(settings)
    page = browser.new_context().new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{origin}/strict.html")
    page.wait_for_function("window.customer360 && window.customer360.cart")
    page.evaluate("() => customer360.cart.add({product_id: 'P2'})")
    page.wait_for_timeout(500)
    assert page.evaluate("Object.keys(localStorage).length") == 0 and page.context.cookies() == []
    assert kept(settings) == before
    page.evaluate("() => { customer360.consent({ALL: false}); customer360.cart.add({product_id: 'P3'}); }")
    page.wait_for_timeout(500)
    assert page.evaluate("Object.keys(localStorage)") == ["c360.consent"] and kept(settings) == before
    page.reload()
    page.wait_for_function("window.customer360 && window.customer360.cart")
    page.wait_for_timeout(300)
    assert page.evaluate("Object.keys(localStorage)") == ["c360.consent"] and kept(settings) == before
    page.evaluate("() => customer360.consent({PERSONALIZATION: true})")
    page.wait_for_function(
        "localStorage.getItem('c360.visitor') && !Object.keys(localStorage).some(name => name.startsWith('c360.queue'))"
    )
    assert kept(settings) == before + 1  # what was done before the yes is nobody's, as it was done after a no
    # Many large events go in requests that a server takes; one that is too large goes alone.
    page.evaluate("() => { for (let n = 0; n < 12; n++) customer360.track('Note', {text: 'x'.repeat(20000)}); }")
    page.wait_for_function("!Object.keys(localStorage).some(name => name.startsWith('c360.queue'))")
    assert kept(settings) == before + 13
    # A no that takes the yes back comes to the server, as of who said yes, with what was done before; nothing else.
    page.evaluate(
        """() => { customer360.identify("C9"); customer360.consent({PERSONALIZATION: false});
                   customer360.cart.add({product_id: "P4"}); customer360.consent({PERSONALIZATION: false}); }"""
    )
    assert page.evaluate("Object.keys(localStorage)") == ["c360.consent"]
    page.wait_for_timeout(1500)
    assert kept(settings) == before + 15
    (no,) = (r for r in records(settings) if r.get("userId") == "C9" and r["type"] == "track")
    (login,) = (r for r in records(settings) if r.get("userId") == "C9" and r["type"] == "identify")
    assert no["context"]["consent"] == {"categoryPreferences": {"PERSONALIZATION": False}}
    assert no["anonymousId"] == login["anonymousId"] and no["timestamp"] > login["timestamp"]

    before = kept(settings)
    page = browser.new_context().new_page()
    page.goto(f"{origin}/strict.html")
    page.wait_for_function("window.customer360 && window.customer360.cart")
    page.evaluate("() => customer360.consent({PERSONALIZATION: true, EMAIL: false})")
    page.wait_for_function("localStorage.getItem('c360.visitor')")
    page.wait_for_timeout(1000)
    assert kept(settings) == before + 4  # page, product, size, consent


def test_pages_of_others_send_nothing(
    serve: Callable[[Settings], Any], settings: Settings, write_key: str, pages: tuple[str, Path], browser: Any
) -> None:
    origin, folder = pages
    server = serve(settings)  # whose pages are of another origin
    (folder / "mug.html").write_text(PAGE.format(server=server.url, key=write_key, more=""))
    page = browser.new_page()
    with page.expect_event("requestfailed", lambda asked: "/v1/batch" in asked.url, timeout=WAIT):
        page.goto(f"{origin}/mug.html")
    assert kept(settings) == 0
