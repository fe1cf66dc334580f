"""Every example of a kind of source is whole, short, and read as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform.lake import Lake
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import ingest
from customer360.platform.settings import ExecutionSettings, LakeSettings, RetrySettings, Settings, load
from customer360.platform.sources import apis
from customer360.platform.sources.base import Source, configured
from customer360.serve.compose import compose

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_short_and_sound(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 25
    settings = load(file, {})
    assert settings.sources
    for name in settings.sources:
        source = configured(settings, name)
        assert isinstance(source, Source)
        assert source.connected


def test_each_kind_that_reads_from_a_server_has_one() -> None:
    kinds = {source.kind for file in EXAMPLES for source in load(file, {}).sources.values()}
    assert kinds == {"apis", "streams", "database", "cdc", "webhooks", "binlog", "mongodb", "servicebus", "collector"}


def landed(example: str, root: Path, url: str) -> dict[str, pl.DataFrame]:
    """The tables that an example fills from an API at another URL."""
    compose()
    apis._probed.clear()
    settings = load(FOLDER / f"{example}.yaml", {})
    (name, connection), *_ = settings.connections.items()
    (root / "landing").mkdir()
    placed: dict[str, Any] = {
        "connections": {name: connection.model_copy(update={"url": url})},
        "landing": str(root / "landing"),
        "lake": LakeSettings(root=str(root / "lake"), buckets=4),
    }
    settings = Settings(**{**{k: getattr(settings, k) for k in Settings.model_fields}, **placed})
    lake = Lake(settings.lake.root, {}, 4)
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
    done = list(ingest(lake, settings, list(settings.sources), executor, {}))
    assert [run.failure for run in done] == [None] * len(done)
    return {t: lake.scan(t).collect() for t in {settings.sources[r.name].table for r in done} if lake.exists(t)}


def shopify_order(number: int) -> dict[str, Any]:
    """An order as the admin API has it."""
    line = {"id": 900 + number, "sku": f"S{number % 7}", "title": "Kettle", "quantity": 2, "price": "10.00",
            "total_discount": "1.00", "vendor": None}  # fmt: skip
    return {
        "id": 5_000_000 + number, "name": f"#{1000 + number}", "created_at": "2026-05-02T10:00:00-04:00",
        "updated_at": "2026-05-02T10:00:00-04:00", "processed_at": None, "currency": "EUR", "total_price": "38.00",
        "total_tax": "6.07", "total_discounts": "2.00", "financial_status": "paid", "cancelled_at": None,
        "source_name": "web", "email": f"p{number}@example.com", "phone": None, "payment_gateway_names": [],
        "discount_codes": [], "line_items": [line, {**line, "id": 90_000 + number, "sku": None}], "refunds": [],
        "customer": None if number % 3 == 0 else {
            "id": 70 + number % 50, "first_name": "Ada", "last_name": None, "default_address": {"zip": "1010"}},
        "billing_address": None, "location_id": None, "user_id": None,
    }  # fmt: skip


def test_shopify_works(tmp_path: Path, shop_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPIFY_TOKEN", "shpat_x")
    shop_api.orders = [shopify_order(number) for number in range(260)]
    found = landed("shopify_api", tmp_path, f"{shop_api.url}/header")
    assert found["bronze.transactions"]["TRANSACTION_ID"].n_unique() == 260
    assert found["bronze.transaction_items"].height == 520
    assert found["bronze.transactions"]["TOTAL_AMOUNT"].sum() == 260 * 38
    assert found["bronze.customers"].height == 260


def test_zendesk_works(tmp_path: Path, shop_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZENDESK_USER", "a@example.com/token")
    monkeypatch.setenv("ZENDESK_TOKEN", "x")
    shop_api.orders = [
        {"id": number, "created_at": "2026-05-02T10:00:00Z", "updated_at": "2026-05-02T10:00:00+00:00",
         "status": "open", "priority": None, "requester_id": 7, "assignee_id": None, "type": None,
         "via": {"channel": "email"},
         "metric_set": None, "satisfaction_rating": {"score": "offered"}}
        for number in range(230)
    ]  # fmt: skip
    found = landed("zendesk_api", tmp_path, f"{shop_api.url}/zendesk")
    assert found["bronze.service_tickets"]["TICKET_ID"].n_unique() == 230
