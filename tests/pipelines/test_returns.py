"""Sales and what was given back of them: no row is lost, no sale is, and the order of batches decides nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.bronze.sales import Transactions
from customer360.platform import quality, tables
from customer360.platform.run.records import current_records

FIXED = {"_source_system": "SHOP", "_file": "f", "CHANNEL": "POS", "_ingested_at": datetime(2026, 2, 1, tzinfo=UTC)}
ROW = st.fixed_dictionaries(
    {
        "_source": st.sampled_from(["orders", "back", "zoo"]),
        "TRANSACTION_ID": st.sampled_from(["1", "2"]),
        "TRANSACTION_TYPE": st.sampled_from(["PURCHASE", "PURCHASE", "REFUND", "RETURN", "EXCHANGE"]),
        "TRANSACTION_STATUS": st.sampled_from(["COMPLETED", "COMPLETED", "PENDING", "CANCELLED"]),
        "TOTAL_AMOUNT": st.sampled_from([-30, 0, 10, 80]),
        "REFUNDED_AMOUNT": st.sampled_from([None, None, 0, 5]),
        "CURRENCY_CODE": st.sampled_from([None, "EUR", "USD"]),
        "TRANSACTION_DATE": st.sampled_from([datetime(2026, 1, day, tzinfo=UTC) for day in (2, 3, 4)]),
        "LAST_UPDATED_DATE": st.sampled_from(
            [None, datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC)]
        ),
    }
)


def delivered(rows: list[dict[str, Any]], batches: list[int]) -> pl.DataFrame:
    placed = zip(rows, batches, strict=True)
    full = [{**FIXED, "_seq": batch, "_position": i, **row} for i, (row, batch) in enumerate(placed, 1)]
    return pl.DataFrame(full, schema=tables.schema(Transactions))


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8), st.randoms())
def test_law_of_sales(rows: list[dict[str, Any]], cuts: list[bool], random: Any) -> None:
    whole = delivered(rows, [1] * len(rows))
    current = current_records(Transactions, whole, set())
    facts = current.facts | {"silver": current.rows.height, "set_apart": 0}
    assert quality.record_balance("sales", facts).holds and all(n >= 0 for n in facts.values())
    split = current_records(Transactions, delivered(rows, [1 + sum(cuts[:i]) for i in range(len(rows))]), set())
    again = current_records(Transactions, whole.sample(fraction=1, shuffle=True, seed=random.randint(0, 99)), set())
    for other in (split, again):
        assert other.facts == current.facts
        order = "TRANSACTION_ID"
        assert other.rows.drop("_seq").sort(order).equals(current.rows.drop("_seq").sort(order))

    def is_sale(row: dict[str, Any]) -> bool:
        return row["TRANSACTION_TYPE"] == "PURCHASE" and row["TOTAL_AMOUNT"] >= 0

    sold = {row["TRANSACTION_ID"] for row in rows if is_sale(row)}
    assert {r["TRANSACTION_ID"]: is_sale(r) for r in current.rows.to_dicts()} == {
        number: number in sold for number in {row["TRANSACTION_ID"] for row in rows}
    }, "what was sold stays a sale, whatever came back of it"


def test_refunds_of_one_sale_in_several_currencies_have_no_sum() -> None:
    sale = {"_source": "orders", "TRANSACTION_ID": "1", "TRANSACTION_TYPE": "PURCHASE", "TOTAL_AMOUNT": 90,
            "TRANSACTION_STATUS": "COMPLETED", "TRANSACTION_DATE": datetime(2026, 1, 2, tzinfo=UTC)}  # fmt: skip
    back = {**sale, "_source": "back", "TRANSACTION_TYPE": "REFUND", "TOTAL_AMOUNT": 5}
    euro = {**back, "CURRENCY_CODE": "EUR", "TRANSACTION_DATE": datetime(2026, 1, 3, tzinfo=UTC)}
    yen = {**back, "CURRENCY_CODE": "JPY", "TRANSACTION_DATE": datetime(2026, 1, 4, tzinfo=UTC)}
    (row,) = current_records(Transactions, delivered([sale, euro, yen], [1, 1, 1]), set()).rows.to_dicts()
    assert row["REFUNDED_CURRENCY"] == "XXX"
    (row,) = current_records(Transactions, delivered([sale, euro], [1, 1]), set()).rows.to_dicts()
    assert (row["REFUNDED_CURRENCY"], float(row["REFUNDED_AMOUNT"]), row["CURRENCY_CODE"]) == ("EUR", 5, None)
