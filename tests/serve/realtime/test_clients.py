"""Segment's own client libraries, as they come from their registries, send to the collector and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform.settings import Settings

pytestmark = pytest.mark.slow
NODE_LIBRARY = "@segment/analytics-node@2"
NPM_SECONDS = 120
SCRIPT = """
const { Analytics } = require('@segment/analytics-node');
const analytics = new Analytics({ writeKey: process.env.WRITE_KEY, host: process.env.HOST, flushAt: 5 });
const fail = (fault) => { console.error(fault); process.exit(1); };
analytics.on('error', fail);
analytics.identify({ userId: 'N1', anonymousId: 'nv', traits: { email: 'kim@example.com', lastName: 'Kim' } });
for (let number = 0; number < 23; number++)
  analytics.track({ anonymousId: 'nv', event: 'Product Viewed', properties: { product_id: 'P' + number } });
analytics.page({ anonymousId: 'nv', name: 'Home', properties: { url: 'https://shop.example/' } });
analytics.alias({ userId: 'N1', previousId: 'nv-before' });
analytics.group({ userId: 'N1', groupId: 'G1' });
analytics.screen({ userId: 'N1', name: 'Start' });
analytics.closeAndFlush({ timeout: 20000 }).then(() => console.log('flushed'), fail);
"""


def test_the_python_library(
    serve: Callable[[Settings], Any],
    settings: Settings,
    write_key: str,
    land: Callable[[Settings], dict[str, pl.DataFrame]],
) -> None:
    analytics = pytest.importorskip("segment.analytics.client", reason="segment-analytics-python is not installed")
    failed: list[Any] = []
    server = serve(settings)
    for gzip in (False, True):
        name = f"v-{gzip}"
        client = analytics.Client(
            write_key, host=server.url, gzip=gzip, on_error=lambda fault, _: failed.append(fault), max_retries=2
        )
        client.identify(f"U-{gzip}", {"email": f"{name}@example.com", "name": "Pat Vo"}, anonymous_id=name)
        for number in range(150):
            client.track(anonymous_id=name, event="Product Viewed", properties={"product_id": f"P{number}"})
        client.track(f"U-{gzip}", "Order Completed", {"total": float("nan"), "products": [{"product_id": "P1"}]})
        client.page(anonymous_id=name, name="Home", timestamp=datetime(2026, 4, 1, 10, tzinfo=UTC))
        client.screen(f"U-{gzip}", name="Start")
        client.group(f"U-{gzip}", "G1", {"name": "Firm"})
        client.alias(f"{name}-before", f"U-{gzip}")
        client.flush()
        client.join()
    assert failed == []
    found = land(settings)
    kinds = found["bronze.events"]["EVENT_TYPE"].value_counts(sort=True)
    assert dict(kinds.iter_rows()) == {"PRODUCT_VIEW": 300, "LOGIN": 4, "PAGE_VIEW": 4, "PURCHASE": 2}
    order = found["bronze.events"].filter(VISITOR_ID="v-True", EVENT_TYPE="PRODUCT_VIEW").sort("_seq", "_position")
    assert order["PRODUCT_ID"].to_list() == [f"P{n}" for n in range(150)]
    assert found["bronze.customers"].height == 2 and found["quality.dead_letters"].is_empty()


def test_the_node_library(
    serve: Callable[[Settings], Any],
    settings: Settings,
    write_key: str,
    land: Callable[[Settings], dict[str, pl.DataFrame]],
    tmp_path: Path,
) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no Node.js with npm on this machine")
    (tmp_path / "package.json").write_text(json.dumps({"private": True}))
    got = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", NODE_LIBRARY],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=NPM_SECONDS,
    )  # fmt: skip
    if got.returncode:
        pytest.skip(f"npm cannot install {NODE_LIBRARY} here: {got.stderr.strip().splitlines()[-1:]}")
    server = serve(settings)
    (tmp_path / "send.js").write_text(SCRIPT)
    environment = {**os.environ, "WRITE_KEY": write_key, "HOST": server.url}
    sent = subprocess.run(
        ["node", "send.js"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (sent.returncode, sent.stdout.strip()) == (0, "flushed"), sent.stderr
    found = land(settings)
    kinds = dict(found["bronze.events"]["EVENT_TYPE"].value_counts().iter_rows())
    assert kinds == {"PRODUCT_VIEW": 23, "LOGIN": 2, "PAGE_VIEW": 2}
    views = found["bronze.events"].filter(EVENT_TYPE="PRODUCT_VIEW").sort("_seq", "_position")
    assert set(views["PRODUCT_ID"]) == {f"P{n}" for n in range(23)}, "it sends its batches side by side, in no order"
    assert found["bronze.customers"]["EMAIL_ADDRESS"].to_list() == ["kim@example.com"]
