"""docs/recipes/endpoint.md, followed to the letter."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from customer360.platform import access
from customer360.platform.online import publish
from customer360.platform.settings import Settings
from customer360.serve.app import build_app
from customer360.serve.publication import freshness
from customer360.serve.publication.documents import POPULAR_KEY

AS_OF = date(2026, 1, 1)
Recipe = Callable[..., AbstractContextManager[ModuleType]]


@pytest.fixture
def shop(recipe: Recipe, tmp_path: Path) -> Any:
    """A client of an application that has the recipe's endpoint, over three products of which one is sold no more."""
    popular = [{"product_id": f"P{n}", "score": 9.0 - n} for n in range(3)]
    documents = {("popular", POPULAR_KEY): {"items": popular}} | {
        ("product", f"P{n}"): {"is_sellable": n != 0, "is_in_stock": None} for n in range(3)
    }
    rows = [{"kind": kind, "key": key, "document": json.dumps(d)} for (kind, key), d in documents.items()]
    publish(tmp_path / "state", [pl.DataFrame(rows)], as_of=AS_OF, sources={})
    with recipe("endpoint", "recipe_bestsellers") as module:
        app = build_app(Settings(state=str(tmp_path / "state")))
        app.include_router(module.router, prefix="/v1")
        yield TestClient(app, headers={"X-API-Key": access.issue(tmp_path / "state", "shop window", "reader")})


def test_it_answers_what_is_sold(shop: TestClient) -> None:
    answer = shop.get("/v1/bestsellers").json()
    assert answer["items"] == [{"product_id": "P1", "score": 8.0}, {"product_id": "P2", "score": 7.0}]
    assert (answer["as_of"], answer["is_stale"], answer["stale_because"]) == ("2026-01-01", False, None)
    assert [item["product_id"] for item in shop.get("/v1/bestsellers?k=1").json()["items"]] == ["P1"]


def test_it_needs_a_key_and_bounds_what_is_asked_for(shop: TestClient) -> None:
    assert shop.get("/v1/bestsellers", headers={"X-API-Key": ""}).status_code == 401
    for k in (0, 101, -1, "x"):
        assert shop.get(f"/v1/bestsellers?k={k}").status_code == 422


def test_it_says_that_it_is_stale(shop: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "STALE_AFTER", timedelta(0))
    assert shop.get("/v1/bestsellers").json()["is_stale"] is True


def test_an_answer_cannot_forget_to_say_whether_it_is_stale(recipe: Recipe) -> None:
    with recipe("endpoint", "recipe_bestsellers") as module, pytest.raises(ValidationError, match="is_stale"):
        module.BestsellersAnswer(generation="1", as_of=AS_OF, items=[])
