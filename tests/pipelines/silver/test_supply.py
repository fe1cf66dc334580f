"""Which order line a goods receipt answers."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from customer360.pipelines.bronze.supply import Deliveries
from customer360.pipelines.silver.supply import PurchaseOrders, deliveries
from customer360.platform import tables


def answered(receipts: list[tuple[str, str]], orders: list[tuple[str, str]]) -> dict[str, str | None]:
    """By system of the receipt the system of its order line; both are (system, order number), of line 1."""

    def frame(table: type[tables.Table], rows: list[dict[str, Any]]) -> pl.LazyFrame:
        schema = tables.schema(table)
        return pl.LazyFrame([dict.fromkeys(schema) | row for row in rows], schema=schema, orient="row")

    received = [
        {"DELIVERY_ID": f"D{n}", "LINE_NUMBER": 1, "_source_system": system, "PURCHASE_ORDER_ID": number,
         "PURCHASE_ORDER_LINE": 1, "RECEIVED_DATE": date(2026, 5, 9), "RECEIVED_QUANTITY": 5}
        for n, (system, number) in enumerate(receipts)
    ]  # fmt: skip
    ordered = [
        {"purchase_order_id": number, "line_number": 1, "source_system": system, "vendor_id": f"V_{system}",
         "product_id": "P1", "ordered_on": date(2026, 5, 1), "promised_on": date(2026, 5, 8)}
        for system, number in orders
    ]  # fmt: skip
    rows = deliveries(frame(Deliveries, received), frame(PurchaseOrders, ordered)).collect()
    assert (rows["is_orphan"] == rows["vendor_id"].is_null()).all()
    return {row["source_system"]: row["order_source_system"] for row in rows.to_dicts()}


def test_a_warehouse_that_orders_nothing_answers_the_only_order_of_that_number() -> None:
    assert answered([("WMS", "1001")], [("ERP", "1001")]) == {"WMS": "ERP"}
    assert answered([("WMS", "1001")], [("ERP", "1001"), ("SHOP", "1001")]) == {"WMS": None}


def test_a_system_that_orders_answers_its_own_orders_alone() -> None:
    """Its order 1001 came late or was never delivered; that of another system is another order."""
    orders = [("ERP", "1001"), ("SHOP", "1002")]
    assert answered([("SHOP", "1001"), ("ERP", "1001")], orders) == {"SHOP": None, "ERP": "ERP"}
