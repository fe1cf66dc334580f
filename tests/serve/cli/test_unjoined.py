"""What does not join is told with examples, also where child and parent call the key differently."""

from __future__ import annotations

from datetime import date
from typing import Any

from customer360.serve.cli import remarks
from customer360.serve.compose import compose

DAY = date(2026, 1, 1)
COUNTED = {"row_count": 2, "null_count": 0, "orphan_count": 1, "orphan_rate": 0.5, "is_within_system": False}
PLACES = COUNTED | {"child": "silver.touchpoint_records", "foreign_key": "location_id", "parent": "silver.stores",
                    "parent_key": "store_id"}  # fmt: skip
PAID = COUNTED | {"child": "silver.payment_events", "foreign_key": "transaction_id", "parent": "silver.transactions",
                  "parent_key": "transaction_id", "row_count": 3, "orphan_count": 2}  # fmt: skip


RECEIVED = COUNTED | {"child": "silver.deliveries", "foreign_key": "purchase_order_id", "row_count": 5,
                      "parent": "silver.purchase_orders", "parent_key": "purchase_order_id",
                      "orphan_count": 2}  # fmt: skip


def test_a_receipt_that_answers_an_order_of_another_system_joins(empty_shop: Any) -> None:
    """Nor is one of a line that its order lacks an example of an order that is not there."""
    compose()
    empty_shop.write("gold.reference_counts", [RECEIVED])
    ordered = {"source_system": "ERP", "line_number": 1, "vendor_id": "V", "product_id": "p", "ordered_quantity": 1,
               "ordered_on": DAY, "is_cancelled": False, "is_open": True}  # fmt: skip
    empty_shop.write("silver.purchase_orders", [ordered | {"purchase_order_id": n} for n in ("P1", "P2")])
    got = {"source_system": "WMS", "received_on": DAY, "line_number": 1, "received_quantity": 1,
           "rejected_quantity": 0, "accepted_quantity": 1}  # fmt: skip
    lines = [("P1", 1, False), ("P1", 1, False), ("P1", 1, False), ("P2", 9, True), ("P9", 1, True)]
    empty_shop.write("silver.deliveries", [
        got | {"delivery_id": str(n), "purchase_order_id": order, "purchase_order_line": line, "is_orphan": is_orphan}
        for n, (order, line, is_orphan) in enumerate(lines)
    ])  # fmt: skip
    (said,) = remarks.unjoined(empty_shop.lake)
    assert said.endswith("name a purchase_order_id that silver.purchase_orders lacks, such as P9")


def test_a_key_of_another_name_and_one_of_any_system(empty_shop: Any) -> None:
    compose()
    write = empty_shop.write
    write("gold.reference_counts", [PLACES, PAID])
    write("silver.stores", [{"store_id": "S1"}])
    where = [("1", "S1"), ("2", "s1")]
    own = {"source_system": "CRM", "subject_id": "p"}
    write("silver.touchpoint_records", [own | {"touchpoint_id": n, "location_id": place} for n, place in where])
    write("silver.transactions", [{"transaction_id": "T1", "source_system": "SHOP", "subject_id": "p"}])
    paid = {"source_system": "BANK", "subject_id": "p"}
    write("silver.payment_events", [paid | {"payment_id": t, "transaction_id": t} for t in ("T1", "T7", "T8")])
    payments, stores = remarks.unjoined(empty_shop.lake)
    assert "name a transaction_id that silver.transactions lacks, such as T7, T8" in payments
    assert "name a location_id that silver.stores lacks, such as s1: 1 of 1 keys differ in case alone" in stores
