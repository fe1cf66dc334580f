"""Exports with values inside of values, a bad date, text for numbers and a second file, from the files to bronze."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from customer360.platform import ledger, quality

SALE = {"CHANNEL": "'ECOMMERCE'", "TRANSACTION_TYPE": "'PURCHASE'", "TRANSACTION_STATUS": "'COMPLETED'"}
ORDERS = [
    {"id": 1, "at": "1/5/2026", "buyer": {"id": 70}, "lines": [{"no": 11, "sku": "TEA", "price": "9,50", "qty": 2}, {"no": 12, "sku": "CUP", "price": "3", "qty": 1}]},  # noqa: E501
    {"id": 2, "at": "13/45/2026", "buyer": None, "lines": []},
    {"id": 3, "at": "1/7/2026", "buyer": {"id": 71}, "lines": [{"no": 31, "sku": "POT", "price": "?", "qty": 1}]},
]  # fmt: skip
EVENTS = [
    {"ts": 1767607200000000, "who": "d1", "params": [{"key": "page", "value": {"string_value": "/tea"}}]},
    {"ts": 1767607200000001, "who": "d1", "params": []},
]
SOURCES: dict[str, Any] = {
    "orders": {"table": "bronze.transactions", "path": "orders.json", "mapping": {
        "TRANSACTION_ID": "id", "CUSTOMER_ID": "buyer.id", "TRANSACTION_DATE": "STRPTIME(at, '%m/%d/%Y')",
        "CURRENCY_CODE": "shops.currency", "TOTAL_AMOUNT": "lines[1].price * lines[1].qty", **SALE,
    }, "decimal": ",", "join": {"shops": {"path": "shops.csv", "on": {"'1'": "shop"}}}},
    "lines": {"table": "bronze.transaction_items", "path": "orders.json", "decimal": ",", "mapping": {
        "TRANSACTION_ID": "id", "ITEM_ID": "lines.no", "PRODUCT_ID": "lines.sku", "QUANTITY": "lines.qty",
        "TOTAL_PRICE": "lines.price * lines.qty",
    }},
    "events": {"table": "bronze.events", "path": "events.jsonl", "mapping": {
        "EVENT_ID": "ts", "EVENT_DATE": "make_timestamp(ts)", "EVENT_TYPE": "'PAGE_VIEW'", "VISITOR_ID": "who",
        "PAGE_URL": "params.page",
    }},
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    sources = {name: {"kind": "files", "format": "json", "system": "SHOP", **made} for name, made in SOURCES.items()}
    made = site(tmp_path_factory.mktemp("mappings"), SOURCES=json.dumps(sources))
    only = {name: made.settings.sources[name] for name in SOURCES}
    made = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    made.deliver("orders.json", [json.dumps(ORDERS, indent=1)])
    made.deliver("events.jsonl", [json.dumps(event) for event in EVENTS])
    made.deliver("shops.csv", ["shop,currency", "1,EUR"])
    made.run(end="bronze")
    return made


def rows(shop: Any, table: str, *columns: str) -> list[tuple[Any, ...]]:
    return shop.lake.scan(table).sort("_position").select(columns).collect().rows()


def test_a_bad_date_and_an_order_without_lines_cost_no_row(shop: Any) -> None:
    have = rows(shop, "bronze.transactions", "TRANSACTION_ID", "CUSTOMER_ID", "TOTAL_AMOUNT", "CURRENCY_CODE")
    assert have == [("1", "70", Decimal("19.00"), "EUR"), ("2", None, None, "EUR"), ("3", "71", None, "EUR")]
    frame = shop.lake.scan("bronze.transactions").sort("_position").collect()
    assert frame["TRANSACTION_DATE"].is_null().to_list() == [False, True, False]
    assert json.loads(frame["_rescued"][1])["TRANSACTION_DATE"] == "13/45/2026"


def test_lines_are_rows_and_the_sums_hold(shop: Any) -> None:
    have = rows(shop, "bronze.transaction_items", "TRANSACTION_ID", "ITEM_ID", "TOTAL_PRICE", "_position")
    assert have == [
        ("1", "11", Decimal("19.00"), 1_000_000_001),
        ("1", "12", Decimal("3.00"), 1_000_000_002),
        ("3", "31", None, 3_000_000_001),
    ]
    (outcome,) = ledger.outcomes(shop.lake, "lines").values()
    balance = quality.batch_balance("lines", outcome.facts)
    assert balance.holds and balance.text == "3 + 1 exploded = 3 landed + 1 without_elements"


def test_events_have_the_values_of_their_parameters(shop: Any) -> None:
    assert [row[1] for row in rows(shop, "bronze.events", "EVENT_ID", "PAGE_URL")] == ["/tea", None]
    assert shop.lake.scan("bronze.events").select(pl.col("EVENT_DATE").dt.year().unique()).collect().item() == 2026
