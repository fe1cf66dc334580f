"""A run over a lake in an object store gives what one over a folder does, and asks for nothing twice."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from customer360.platform import ledger
from customer360.platform.lake import Lake, mirror
from customer360.platform.run.news import look_at
from customer360.platform.settings import LakeSettings

FAULT = ("ConnectionError: nobody answers",)
pytestmark = pytest.mark.slow


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Moto's S3 with a bucket, served by a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(150):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/lake", method="PUT"), timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def far(shop: Any, endpoint: str) -> Any:
    """The shop with its lake in the store."""
    options = {
        "aws_endpoint_url": endpoint, "aws_access_key_id": "test", "aws_secret_access_key": "test",
        "aws_region": "us-east-1", "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false",
        "aws_conditional_put": "etag",
    }  # fmt: skip
    held = LakeSettings(root="s3://lake/house", storage_options=options, buckets=shop.settings.lake.buckets)
    found = shop.at(shop.root)
    found.settings = shop.settings.model_copy(update={"lake": held})
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the lake's store was asked for what."""
    found = Counter[str]()

    def counting(name: str, whole: Any) -> Any:
        def ask(lake: Lake, place: str, *more: Any) -> Any:
            found[f"{name} {place}"] += 1
            return whole(lake, place, *more)

        return ask

    for name in ("_get", "_objects", "_stamps"):
        monkeypatch.setattr(Lake, name, counting(name, getattr(Lake, name)))

    def refresh(uri: str, options: dict[str, str], whole: Any = mirror.refresh) -> None:
        found[f"log {uri}"] += 1
        whole(uri, options)

    monkeypatch.setattr(mirror, "refresh", refresh)
    return found


def is_of_the_ledger(question: str) -> bool:
    return question.split(" ")[1].split("/")[0] in ledger.FOLDERS


def test_a_run_with_nothing_new_asks_once(filled: Any, far: Any, asked: Counter[str]) -> None:
    filled.run(), far.run()
    filled.orders("2.csv", "o5,ann,1,1.00,1", "o1,ann,4,10.00,2")
    filled.run(), far.run()
    assert filled.business() == far.business()
    assert not look_at(far.lake, far.settings)
    asked.clear()
    assert {node.state for node in far.run().values()} == {"current"}
    told = [question for question in asked if question.startswith("log ") or is_of_the_ledger(question)]
    assert told and {question: asked[question] for question in told if asked[question] > 1} == {}
    assert not [question for question in asked if "_origins" in question]


def test_a_look_asks_once_and_sees_what_came_since(filled: Any, far: Any, asked: Counter[str]) -> None:
    far.run()
    asked.clear()
    assert not look_at(far.lake, far.settings)
    assert asked and set(asked.values()) == {1}
    far.orders("2.csv", "o5,ann,1,1.00,1")
    assert set(look_at(far.lake, far.settings).news) == {"orders"}
    far.run()
    assert not look_at(far.lake, far.settings)


def test_a_store_that_does_not_answer_is_told_by_source(far: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("nobody answers")

    for of, name in ((Lake, "_get"), (Lake, "_objects"), (Lake, "_stamps"), (mirror, "refresh")):
        monkeypatch.setattr(of, name, fail)
    assert look_at(far.lake, far.settings).news == dict.fromkeys(far.settings.sources, FAULT)
