"""A stranger's shop from its orders to what moved its revenue: two currencies, guests, no lines, late news."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow

AS_OF = date(2026, 4, 10)
ORDERS = {
    "TRANSACTION_ID": "no", "CUSTOMER_ID": "who", "TRANSACTION_DATE": "at", "LAST_UPDATED_DATE": "touched",
    "TOTAL_AMOUNT": "total", "CURRENCY_CODE": "money", "REFUNDED_AMOUNT": "refunded", "CHANNEL": "'ECOMMERCE'",
    "TRANSACTION_TYPE": "'PURCHASE'", "TRANSACTION_STATUS": "'COMPLETED'",
}  # fmt: skip
NAMES = {"CUSTOMER_ID": "id", "FIRST_NAME": "first", "LAST_NAME": "last", "EMAIL_ADDRESS": "mail"}
TOLD = ("month", "currency", "net_amount", "new_count", "repeat_count", "guest_order_count", "change_amount",
        "customer_effect", "guest_effect", "return_effect")  # fmt: skip


def source(path: str, table: str, mapping: dict[str, str]) -> dict[str, Any]:
    return {"kind": "files", "path": path, "format": "csv", "table": f"bronze.{table}", "system": "SHOP",
            "mapping": mapping}  # fmt: skip


def told(found: Any) -> list[tuple[Any, ...]]:
    rows = found.lake.scan("gold.revenue_drivers").sort("currency", "month")
    return rows.select(pl.col(TOLD)).with_columns(pl.col(pl.Decimal).cast(pl.Float64)).collect().rows()


def test_orders_and_what_is_told_of_them_later(site: Callable[..., Any], tmp_path: Path) -> None:
    sources = {
        "orders": source("orders*.csv", "transactions", ORDERS),
        "people": source("people.csv", "customers", NAMES),
    }
    made = site(tmp_path, SOURCES=json.dumps(sources))
    only = {name: made.settings.sources[name] for name in sources}
    found = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    found.deliver(
        "people.csv", ["id,first,last,mail", "7,Ida,Brook,ida.brook@example.org", "8,Jan,Field,jan.field@example.org"]
    )
    head = "no,who,at,touched,money,total,refunded"
    found.deliver("orders1.csv", [
        head,
        "1,7,2026-01-01T09:00:00Z,2026-01-01T09:00:00Z,EUR,60.00,0.00",
        "2,7,2026-02-02T09:00:00Z,2026-02-02T09:00:00Z,EUR,60.00,0.00",
        "3,8,2026-02-03T09:00:00Z,2026-02-03T09:00:00Z,EUR,60.00,0.00",
        "4,,2026-02-04T09:00:00Z,2026-02-04T09:00:00Z,EUR,5.50,0.00",
        "5,8,2026-03-05T09:00:00Z,2026-03-05T09:00:00Z,SEK,900.00,0.00",
        "6,8,2026-04-05T09:00:00Z,2026-04-05T09:00:00Z,EUR,77.00,0.00",
    ])  # fmt: skip
    found.run(as_of=AS_OF, end="gold.revenue_drivers")
    jan, feb, mar = (date(2026, month, 1) for month in (1, 2, 3))
    assert told(found) == [
        (jan, "EUR", 60, 1, 0, 0, None, None, None, None),
        (feb, "EUR", 125.5, 1, 1, 1, 65.5, 60, 5.5, 0),
        (mar, "EUR", 0, 0, 0, 0, -125.5, -120, -5.5, 0),
        (mar, "SEK", 900, 0, 1, 0, None, None, None, None),
    ]
    found.deliver("orders2.csv", [
        head,
        "2,7,2026-02-02T09:00:00Z,2026-03-09T09:00:00Z,EUR,60.00,20.00",
        "7,8,2026-01-20T09:00:00Z,2026-03-09T09:00:00Z,EUR,60.00,0.00",
    ])  # fmt: skip
    found.run(as_of=AS_OF, end="gold.revenue_drivers")
    assert told(found) == [
        (jan, "EUR", 120, 2, 0, 0, None, None, None, None),
        (feb, "EUR", 125.5, 0, 2, 1, 5.5, 0, 5.5, 0),
        (mar, "EUR", -20, 0, 0, 0, -145.5, -120, -5.5, -20),
        (mar, "SEK", 900, 0, 1, 0, None, None, None, None),
    ], "a refund counts when it was given, and an older order makes a new customer an old one"
    products = ("price_effect", "new_product_effect", "other_effect")
    lines = found.lake.scan("gold.revenue_drivers").select(pl.col(products)).collect()
    assert lines.null_count().row(0) == (lines.height,) * 3, "no lines are no change of prices"
    found.run(as_of=AS_OF, end="gold.cohorts")
    cohorts = found.lake.scan("gold.cohorts").sort("cohort_month", "age_months").collect()
    assert cohorts["active_count"].to_list() == [2, 2, 1]
    assert cohorts["net_amount"].cast(pl.Float64).to_list() == [120, 120, -20]
    assert cohorts["unconverted_order_count"].to_list() == [0, 0, 1]
    assert set(cohorts["currency"]) == {"EUR"}
