"""Which bronze rows an erasure finds by what silver says of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from customer360.models.identity.erasure import FEW_UNNAMED, _facts, _handles
from customer360.pipelines.bronze.voice import SocialPosts
from customer360.pipelines.silver.payments import PaymentEvents, Payments, payments
from customer360.pipelines.silver.sales import Transactions
from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.lake.stored import partition_columns
from customer360.platform.run.units import conform_to_storage
from customer360.serve.compose import compose

AT = datetime(2026, 5, 4, 10, tzinfo=UTC)


@pytest.fixture(autouse=True)
def composed() -> None:
    compose()


def event(payment: str, status: str = "CAPTURED", **more: Any) -> dict[str, Any]:
    own = {"payment_id": payment, "attempt_id": payment, "payment_status": status, "source_system": "POS",
           "subject_id": f"pay:POS/{payment}", "occurred_at": AT, "occurred_on": AT.date(), "amount": 30}  # fmt: skip
    return own | more


def rows(table: type[tables.Table], given: list[dict[str, Any]]) -> pl.LazyFrame:
    schema = tables.schema(table)
    return pl.LazyFrame({c: pl.Series(c, [row.get(c) for row in given], t, strict=False) for c, t in schema.items()})


def put(lake: Lake, table: type[tables.Table], frame: pl.LazyFrame) -> None:
    name = tables.spec(table).name
    lake.ensure(table)
    partition: dict[str, str | None] = dict.fromkeys(partition_columns(table), "0")
    adds = [lake.write_file(name, conform_to_storage(table, frame, {}), partition)]
    lake.replace(name, adds, scope={}, app="test", app_version=1)


def test_a_payment_that_names_nobody_is_the_buyers_of_its_receipt(lake: Lake) -> None:
    told = [
        event("p1", transaction_id="R1"),
        event("f1", "REFUNDED", attempt_id="p1", transaction_id=None),  # with a number of its own
        event("p2", transaction_id="R2"),
        event("p3", transaction_id="R1", subject_id="karl", person_id="karl"),  # who pays another's receipt
        event("f3", "REFUNDED", attempt_id="p3", subject_id="rosa", person_id="rosa"),
    ]
    bought = [{"transaction_id": f"R{n}", "source_system": "POS", "subject_id": who, "person_id": who}
              for n, who in ((1, "rosa"), (2, "karl"))]  # fmt: skip
    put(lake, PaymentEvents, rows(PaymentEvents, told))
    put(lake, Payments, payments(rows(PaymentEvents, told), rows(Transactions, bought)))
    assert _facts(lake, "rosa") == {"bronze.payments": {"POS/p1/CAPTURED", "POS/f1/REFUNDED", "POS/f3/REFUNDED"}}
    assert _facts(lake, "karl") == {"bronze.payments": {"POS/p2/CAPTURED", "POS/p3/CAPTURED"}}


def test_a_handle_that_many_unknown_people_sign_with_is_nobodys(lake: Lake) -> None:
    signed = [(account, handle) for handle in ("[deleted]", "Instagram user", "Ann.Lee", "Shared", "crowd")
              for account in ("C1", None, None)]  # fmt: skip
    signed += [("C2", "shared"), *[(None, "CROWD")] * (FEW_UNNAMED + 1)]
    posts = [{"POST_ID": f"{n}", "CUSTOMER_ID": account, "AUTHOR_HANDLE": handle, "PLATFORM": "reddit", "POST_DATE": AT,
              "_source": "s", "_source_system": "SHOP"} for n, (account, handle) in enumerate(signed)]  # fmt: skip
    put(lake, SocialPosts, rows(SocialPosts, posts))
    assert _handles(lake, {"SHOP/C1"}) == (
        {"SHOP/reddit/ann.lee"},
        {"bronze.social_posts": {"SHOP/7", "SHOP/8"}},
        2,
    )
    assert _handles(lake, {"SHOP/C3"}) == (frozenset(), {}, 0)
