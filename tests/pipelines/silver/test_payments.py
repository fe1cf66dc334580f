"""Payments against independent statements: DuckDB counts the same on the synthetic retailer; states by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines.silver.payments import ENDS, PaymentEvents, payments
from customer360.pipelines.silver.promotion_uses import promotion_uses
from customer360.pipelines.silver.sales import Transactions
from customer360.platform import tables

STATES = """
SELECT attempt_id, source_system,
       CASE WHEN bool_or(payment_status = 'CHARGEBACK') THEN 'CHARGEBACK'
            WHEN bool_or(payment_status = 'REFUNDED') THEN 'REFUNDED'
            WHEN bool_or(payment_status = 'CAPTURED') THEN 'CAPTURED'
            WHEN bool_or(payment_status = 'VOIDED') THEN 'VOIDED'
            WHEN bool_or(payment_status = 'DECLINED') THEN 'DECLINED' ELSE 'AUTHORIZED' END AS payment_status,
       min(occurred_at) AS attempted_at,
       coalesce(sum(amount) FILTER (payment_status = 'CAPTURED'), 0)::DECIMAL(12, 2) AS captured_amount,
       coalesce(sum(amount) FILTER (payment_status = 'REFUNDED'), 0)::DECIMAL(12, 2) AS refunded_amount
FROM events GROUP BY ALL ORDER BY ALL
"""


def test_duckdb_folds_the_same_states(retailer) -> None:  # type: ignore[no-untyped-def]
    ours = retailer.frame("silver.payments").collect()
    with duckdb.connect() as base:
        base.register("events", retailer.frame("silver.payment_events").collect().to_arrow())
        base.execute("SET TimeZone = 'UTC'")
        theirs = base.sql(STATES).pl()
    got = ours.sort("attempt_id", "source_system").select(theirs.columns)
    assert got.height == theirs.height > 200
    for column in theirs.columns:
        if column == "captured_amount":
            told = theirs[column] > 0  # where no capture is told of, what went back was captured
            assert got.filter(told)[column].to_list() == theirs.filter(told)[column].to_list()
        else:
            assert got[column].to_list() == theirs[column].to_list(), column
    assert set(ours["payment_status"]) == {"CHARGEBACK", "REFUNDED", "CAPTURED", "VOIDED", "DECLINED", "AUTHORIZED"}
    assert ours["is_in_order"].all() and (ours["match"] == "SYSTEM").mean() > 0.8


def test_duckdb_counts_the_same_codes(retailer) -> None:  # type: ignore[no-untyped-def]
    ours = retailer.frame("silver.promotion_uses").collect()
    with duckdb.connect() as base:
        base.register("sales", retailer.frame("silver.transactions").collect().to_arrow())
        theirs = base.sql("""
            SELECT kind AS code_kind, upper(trim(code)) AS code, count(*) AS n FROM (
              SELECT 'PROMOTION' AS kind, promotion_code AS code FROM sales WHERE is_sale
              UNION ALL SELECT 'COUPON', coupon_code FROM sales WHERE is_sale)
            WHERE trim(code) <> '' GROUP BY ALL ORDER BY ALL""").pl()
    counted = ours.group_by("code_kind", "code").agg(n=pl.len().cast(pl.Int64)).sort("code_kind", "code")
    assert counted.rows() == theirs.rows() and len(theirs) > 1


def test_amounts_of_codes_add_up_to_those_of_the_sales(retailer) -> None:  # type: ignore[no-untyped-def]
    sales = retailer.frame("silver.transactions").collect()
    ours = promotion_uses(sales.lazy()).collect()
    with_code = sales.join(ours, on=["transaction_id", "source_system"], how="semi")
    assert ours["gross_amount"].sum() == with_code["gross_amount"].sum() > 0
    assert ours["discount_amount"].sum() == with_code["discount_amount"].abs().sum()
    both = sales.filter("is_sale").head(1).with_columns(
        promotion_code=pl.lit("A"), coupon_code=pl.lit("b"), discount_amount=pl.lit(Decimal("5.01")),
        gross_amount=pl.lit(Decimal("20.00")),
    )  # fmt: skip
    told = promotion_uses(both.lazy()).collect().select("code", "discount_amount", "gross_amount").rows()
    assert told == [("A", Decimal("2.51"), Decimal("10.00")), ("B", Decimal("2.50"), Decimal("10.00"))]


def rows(table: type[tables.Table], given: list[dict[str, Any]]) -> pl.LazyFrame:
    schema = tables.schema(table)
    return pl.LazyFrame({c: pl.Series(c, [row.get(c) for row in given], t) for c, t in schema.items()})


def event(status: str, hour: int, amount: str = "10.00", **more: Any) -> dict[str, Any]:
    at = datetime(2026, 5, 4, hour, tzinfo=UTC)
    own = {"payment_id": "A", "attempt_id": "A", "source_system": "PSP", "subject_id": "pay:PSP/A", "currency": "EUR"}
    worth = {"amount": Decimal(amount), "reporting_amount": Decimal(amount), "exchange_rate": 1.0}
    return own | worth | {"payment_status": status, "occurred_at": at, "occurred_on": at.date()} | more


def made(events: list[dict[str, Any]], receipts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    (row,) = payments(rows(PaymentEvents, events), rows(Transactions, receipts or [])).collect().to_dicts()
    return row


def test_states_follow_each_other() -> None:
    row = made([event("AUTHORIZED", 1, "12.00"), event("CAPTURED", 2), event("REFUNDED", 3, "4.00", payment_id="R1"),
                event("REFUNDED", 5, "1.00", payment_id="R2")])  # fmt: skip
    assert (row["payment_status"], row["is_in_order"]) == ("REFUNDED", True)
    assert (row["amount"], row["captured_amount"], row["refunded_amount"]) == tuple(
        map(Decimal, ("12.00", "10.00", "5.00"))
    )
    assert row["refunded_at"].hour == 5 and row["last_at"].hour == 5


@pytest.mark.parametrize(
    "events",
    [
        [event("CAPTURED", 2), event("REFUNDED", 1)],
        [event("AUTHORIZED", 3), event("CAPTURED", 2)],
        [event("CAPTURED", 1), event("REFUNDED", 2, "11.00")],
        [event("CAPTURED", 2), event("CHARGEBACK", 1)],
    ],
)
def test_what_cannot_have_happened_so_is_told(events: list[dict[str, Any]]) -> None:
    assert not made(events)["is_in_order"]


def test_a_last_state_alone_was_captured() -> None:
    row = made([event("REFUNDED", 3)])
    assert (row["captured_amount"], row["captured_at"], row["is_in_order"]) == (Decimal("10.00"), None, True)


@pytest.mark.parametrize(
    ("systems", "match", "person"),
    [(["PSP"], "SYSTEM", "P"), (["SHOP"], "NUMBER", "P"), (["SHOP", "POS"], "AMBIGUOUS", None), ([], "NONE", None)],
)
def test_the_receipt_and_its_person(systems: list[str], match: str, person: str | None) -> None:
    receipts = [{"transaction_id": "T", "source_system": s, "subject_id": "P", "person_id": "P"} for s in systems]
    row = made([event("CAPTURED", 1, transaction_id="T")], receipts)
    assert (row["match"], row["person_id"]) == (match, person)


def test_the_payer_stands_before_the_buyer() -> None:
    receipts = [{"transaction_id": "T", "source_system": "PSP", "subject_id": "P", "person_id": "P"}]
    assert made([event("CAPTURED", 1, transaction_id="T", subject_id="Q", person_id="Q")], receipts)["person_id"] == "Q"


def test_who_is_named_later_is_the_payer() -> None:
    named = event("CAPTURED", 2, subject_id="Q", person_id="Q")
    for first in (event("AUTHORIZED", 1), event("AUTHORIZED", 1, subject_id="v:v9")):
        row = made([first, named])
        assert (row["subject_id"], row["person_id"]) == ("Q", "Q")
    row = made([event("AUTHORIZED", 1), event("CAPTURED", 2, subject_id="v:v9")])
    assert (row["subject_id"], row["person_id"]) == ("v:v9", None)


def test_a_refund_in_another_currency_counts_at_its_rate_or_not_at_all() -> None:
    dollars = {"currency": "USD", "reporting_amount": Decimal("4.00"), "exchange_rate": 0.8, "payment_id": "R2"}
    paid = [event("CAPTURED", 1), event("REFUNDED", 2, "6.00", payment_id="R1")]
    row = made([*paid, event("REFUNDED", 3, "5.00", **dollars)])
    assert (row["refunded_amount"], row["is_unconverted"], row["is_in_order"]) == (Decimal("10.00"), False, True)
    unknown = dollars | {"reporting_amount": None, "exchange_rate": None}
    row = made([*paid, event("REFUNDED", 3, "5.00", **unknown)])
    assert (row["refunded_amount"], row["is_unconverted"]) == (Decimal("6.00"), True)
    abroad = {"currency": "GBP", "reporting_amount": Decimal("20.00"), "exchange_rate": 2.0}
    row = made(
        [
            event("CAPTURED", 1, **abroad),
            event("REFUNDED", 2, "4.00", payment_id="R1", reporting_amount=Decimal("4.00")),
        ]
    )
    assert (row["refunded_amount"], row["captured_reporting_amount"]) == (Decimal("2.00"), Decimal("20.00"))


def test_by_when_it_was_captured_is_told_by_the_first_that_went_back() -> None:
    row = made([event("REFUNDED", 3, "4.00", payment_id="R1"), event("REFUNDED", 5, "1.00", payment_id="R2")])
    assert (row["captured_at"], row["captured_by_at"].hour) == (None, 3)
    assert made([event("AUTHORIZED", 1)])["captured_by_at"] is None


WHO = st.sampled_from([("P1", "P1"), ("Q", "P2"), ("v:v9", None), ("pay:PSP/A", None)])
TOLD = st.lists(
    st.tuples(
        st.sampled_from("AB"), st.integers(1, 3), st.sampled_from(ENDS), WHO, st.sampled_from(["FR", "US", None]),
        st.sampled_from(["EUR", "USD", None]),
    ),
    max_size=12,
)  # fmt: skip


@given(TOLD)
def test_of_each_attempt_the_first_that_an_event_names_counts(told: list[tuple[Any, ...]]) -> None:
    events = [
        event(
            status, hour, f"{n}.00", attempt_id=attempt, payment_id=f"{n % 3}{n}", subject_id=subject, person_id=person,
            bin_country=country, currency=currency,
        )
        for n, (attempt, hour, status, (subject, person), country, currency) in enumerate(told)
    ]  # fmt: skip
    found = payments(rows(PaymentEvents, events), rows(Transactions, [])).collect()
    assert found["attempt_id"].sort().to_list() == sorted({e["attempt_id"] for e in events})
    for row in found.to_dicts():
        own = sorted(
            (e for e in events if e["attempt_id"] == row["attempt_id"]),
            key=lambda e: (e["occurred_at"], e["payment_id"], e["payment_status"]),
        )

        def first(column: str, among: list[dict[str, Any]]) -> Any:
            return next((e[column] for e in among if e[column] is not None), None)

        assert row["bin_country"] == first("bin_country", own) and row["currency"] == first("currency", own)
        assert row["amount"] == own[0]["amount"] and row["payment_status"] == min(
            (e["payment_status"] for e in own), key=ENDS.index
        )
        unnamed = row["subject_id"] == "pay:PSP/A"
        assert row["person_id"] == (None if unnamed else first("person_id", own))
        known, named = [e for e in own if e["person_id"]], [e for e in own if e["subject_id"] != "pay:PSP/A"]
        assert row["subject_id"] == (known or named or own)[0]["subject_id"]
        times = [e["occurred_at"] for e in own if e["payment_status"] == "CAPTURED"]
        assert row["captured_at"] == min(times, default=None)
