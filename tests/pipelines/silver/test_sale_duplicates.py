"""A sale or return that till and shop both deliver counts once; nothing is lost, and what only looks so stays two."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.pipelines.bronze.sales import Transactions
from customer360.pipelines.rules import Repair, StandardizationRules
from customer360.pipelines.rules.repairs import StandardizationRepairs
from customer360.pipelines.silver.sale_duplicates import naming_orders, sale_duplicates
from customer360.platform import graph, tables
from customer360.platform.run.records import current_records

AT = datetime(2026, 5, 4, 10, tzinfo=UTC)
LINKS = pl.LazyFrame(
    {"kind": ["account"] * 3, "identifier": ["SHOP/c1", "POS/k1", "POS/k2"], "person_id": ["P1", "P1", "P2"]}
)


def found(
    *rows: dict[str, Any], links: pl.LazyFrame = LINKS, rules: StandardizationRules | None = None
) -> list[dict[str, Any]]:
    schema = tables.schema(Transactions)
    base = {"TRANSACTION_TYPE": "PURCHASE", "TRANSACTION_STATUS": "COMPLETED", "TRANSACTION_DATE": AT,
            "CURRENCY_CODE": "EUR", "TOTAL_AMOUNT": Decimal("30.00")}  # fmt: skip
    landed = {"_file": "f", "_ingested_at": AT + timedelta(days=90), "_source": "s"}
    known = [base | landed | {"_seq": n, "_position": n} | row for n, row in enumerate(rows, 1)]
    frame = pl.LazyFrame({c: pl.Series(c, [row.get(c) for row in known], t) for c, t in schema.items()})
    current = current_records(Transactions, naming_orders(frame).collect(), set()).rows  # as a run judges and folds
    made = sale_duplicates(current.lazy(), links, rules or StandardizationRules()).collect()
    return made.sort("transaction_id").to_dicts()


def shop(**more: Any) -> dict[str, Any]:
    return {"TRANSACTION_ID": "T1", "_source_system": "SHOP", "CHANNEL": "ECOMMERCE", "ONLINE_ORDER_ID": "O1"} | more


def till(**more: Any) -> dict[str, Any]:
    later = AT + timedelta(days=2)
    own = {"TRANSACTION_ID": "R9", "_source_system": "POS", "CHANNEL": "POS", "ONLINE_ORDER_ID": "O1"}
    return own | {"TRANSACTION_DATE": later} | more


def test_the_receipt_at_collection_is_the_order_again() -> None:
    (row,) = found(shop(CUSTOMER_ID="c1"), till(CUSTOMER_ID="k1"))
    assert (row["transaction_id"], row["duplicate_of"], row["match"]) == ("R9", "SHOP/T1", "ORDER")
    assert (row["hours_apart"], row["person_match"], row["total_amount"]) == (48.0, "SAME", Decimal("30.00"))


@pytest.mark.parametrize("spared", ["POS/R9", "SHOP/T1", "none of them", None])
def test_the_rule_file_takes_it_back_for_all_or_for_one(spared: str | None) -> None:
    """A spared sale counts by itself, whichever of the two it is; other pairs stay one sale."""
    repair = Repair(apply=False) if spared is None else Repair(spare=[spared])
    rules = StandardizationRules(repairs=StandardizationRepairs(sale_duplicate=repair))
    other = {"ONLINE_ORDER_ID": "O2"}
    rows = [shop(), till(), shop(TRANSACTION_ID="T2") | other, till(TRANSACTION_ID="R8") | other]
    kept = {None: [], "none of them": ["R8", "R9"]}.get(spared, ["R8"])
    assert [row["transaction_id"] for row in found(*rows, rules=rules)] == kept


def test_a_till_that_names_the_number_of_the_shop() -> None:
    (row,) = found(shop(ONLINE_ORDER_ID=None), till(ONLINE_ORDER_ID="T1"))
    assert (row["transaction_id"], row["match"], row["person_match"]) == ("R9", "NUMBER", "UNKNOWN")


def test_a_number_that_two_shops_have_joins_no_sales_of_theirs() -> None:
    first = shop(TRANSACTION_ID="A1", ONLINE_ORDER_ID=None)
    second = first | {"_source_system": "SHOP2"}
    receipt = till(ONLINE_ORDER_ID="A1", TRANSACTION_DATE=AT + timedelta(days=1))
    assert found(first, second, receipt) == [], "nobody knows whose order it was"
    (row,) = found(first, second | {"TOTAL_AMOUNT": Decimal("31.00")}, receipt)
    assert (row["transaction_id"], row["duplicate_of"], row["match"]) == ("R9", "SHOP/A1", "NUMBER")


@pytest.mark.parametrize(
    "other",
    [
        till(TOTAL_AMOUNT=Decimal("29.99")),
        till(CURRENCY_CODE="USD"),
        till(ONLINE_ORDER_ID="O2"),
        till(ONLINE_ORDER_ID=None),
        till(CUSTOMER_ID="k2"),  # of somebody else
        till(TRANSACTION_DATE=AT + timedelta(days=31)),
        till(TRANSACTION_STATUS="CANCELLED"),
        till(TRANSACTION_TYPE="RETURN", TOTAL_AMOUNT=Decimal("-30.00")),
        till(_source_system="SHOP"),
        till(_deleted=True),
    ],
)
def test_two_sales_stay_two(other: dict[str, Any]) -> None:
    assert found(shop(CUSTOMER_ID="c1"), other) == []


def test_the_newest_version_counts_and_each_sale_has_one_partner() -> None:
    changed = shop(TOTAL_AMOUNT=Decimal("31.00"), LAST_UPDATED_DATE=AT)
    assert found(shop(), till(), changed) == []
    again = till(TRANSACTION_ID="R10", TRANSACTION_DATE=AT + timedelta(days=3))
    assert [row["transaction_id"] for row in found(shop(), till(), again)] == ["R9"], "the nearer one alone"


def test_what_was_given_back_is_not_forgotten() -> None:
    (row,) = found(shop(), till(REFUNDED_AMOUNT=Decimal("30.00")))
    assert (row["transaction_id"], row["duplicate_of"]) == ("T1", "POS/R9")


def test_what_is_refused_or_given_back_is_judged_as_sales_are() -> None:
    assert found(shop(CHANNEL="KIOSKX"), till()) == [], "else the sale would be in neither"
    back = shop(TRANSACTION_TYPE="RETURN", TOTAL_AMOUNT=Decimal("-30.00"), TRANSACTION_DATE=AT + timedelta(days=4))
    (row,) = found(shop(), till(), back)
    assert (row["transaction_id"], row["duplicate_of"]) == ("R9", "SHOP/T1")
    assert graph.NODES["silver.sale_duplicates"].judged == ("bronze.transactions",)


def test_an_order_in_three_systems_counts_once() -> None:
    store = till(
        TRANSACTION_ID="E1", _source_system="ERP", CHANNEL="ECOMMERCE", TRANSACTION_DATE=AT + timedelta(hours=2)
    )
    assert {r["source_system"]: r["duplicate_of"] for r in found(shop(), till(), store)} == {
        "POS": "SHOP/T1", "ERP": "SHOP/T1",
    }  # fmt: skip


@pytest.mark.parametrize("none", ["0", "N/A", "000", "none", "-", "unknown"])
def test_what_stands_for_no_order_is_none(none: str) -> None:
    assert found(shop(ONLINE_ORDER_ID=none), till(ONLINE_ORDER_ID=none)) == []


def test_a_number_that_many_sales_name_is_no_order() -> None:
    many = [till(TRANSACTION_ID=f"R{n}", ONLINE_ORDER_ID="WALKIN") for n in range(6)]
    assert found(shop(ONLINE_ORDER_ID="WALKIN"), *many) == []


def test_a_receipt_that_has_the_number_of_an_order_by_chance_is_another_sale() -> None:
    assert found(shop(ONLINE_ORDER_ID="1001"), till(TRANSACTION_ID="1001", ONLINE_ORDER_ID=None)) == []


BACK = {"TRANSACTION_TYPE": "RETURN", "TOTAL_AMOUNT": Decimal("-30.00"), "TRANSACTION_DATE": AT + timedelta(days=5)}


def back_online(**more: Any) -> dict[str, Any]:
    """The shop tells of a return as a receipt of its own."""
    return shop(TRANSACTION_ID="T8") | BACK | {"TRANSACTION_TYPE": "REFUND"} | more


def back_in_store(**more: Any) -> dict[str, Any]:
    return till(TRANSACTION_ID="R8") | BACK | more


@pytest.mark.parametrize("signed", ["-30.00", "30.00"])
def test_a_return_that_two_channels_deliver_counts_once(signed: str) -> None:
    (row,) = found(back_online(TOTAL_AMOUNT=Decimal(signed)), back_in_store(TRANSACTION_DATE=AT + timedelta(days=6)))
    assert (row["transaction_id"], row["duplicate_of"], row["kind"]) == ("R8", "SHOP/T8", "RETURN")
    assert (row["match"], row["total_amount"], row["hours_apart"]) == ("ORDER", Decimal("30.00"), 24.0)


def test_a_sale_and_its_return_are_told_apart() -> None:
    rows = found(shop(), till(), back_online(), back_in_store())
    assert {r["transaction_id"]: (r["duplicate_of"], r["kind"]) for r in rows} == {
        "R9": ("SHOP/T1", "SALE"), "R8": ("SHOP/T8", "RETURN"),
    }  # fmt: skip


@pytest.mark.parametrize("named", ["O1", "T1"])
def test_a_return_whose_money_the_sale_of_the_shop_tells_of(named: str) -> None:
    refunded = shop(REFUNDED_AMOUNT=Decimal("30.00"), REFUNDED_DATE=AT + timedelta(days=7), CUSTOMER_ID="c1")
    (row,) = found(refunded, back_in_store(ONLINE_ORDER_ID=named, CUSTOMER_ID="k1"))
    assert (row["transaction_id"], row["duplicate_of"], row["match"]) == ("R8", "SHOP/T1", "REFUND")
    assert (row["hours_apart"], row["person_match"]) == (48.0, "SAME")
    (row,) = found(refunded | {"REFUNDED_DATE": None}, back_in_store())
    assert (row["match"], row["hours_apart"]) == ("REFUND", None), "nobody knows when"


@pytest.mark.parametrize(("changed", "is_same"), [(65, True), (5, True), (4, True), (-26, False)])
def test_a_sale_that_is_changed_much_later_has_still_given_the_money_back(changed: int, is_same: bool) -> None:
    """Shops touch old orders; of a return that comes a month after the sale's last word it says nothing."""
    refunded = shop(REFUNDED_AMOUNT=Decimal("30.00"), LAST_UPDATED_DATE=AT + timedelta(days=changed))
    assert len(found(refunded, back_in_store())) == is_same


def test_a_return_in_three_systems_moves_money_once() -> None:
    refunded = shop(REFUNDED_AMOUNT=Decimal("30.00"), REFUNDED_DATE=AT + timedelta(days=5))
    books = back_in_store(TRANSACTION_ID="E8", _source_system="ERP", CHANNEL="ECOMMERCE")
    told = {r["transaction_id"]: r["duplicate_of"] for r in found(refunded, back_in_store(), books)}
    assert told == {"R8": "SHOP/T1", "E8": "SHOP/T1"}


def test_returns_that_add_up_to_what_the_sale_tells_of() -> None:
    parts = [back_in_store(TRANSACTION_ID=f"R{n}", TOTAL_AMOUNT=Decimal(-n)) for n in (12, 18)]
    refunded = shop(REFUNDED_AMOUNT=Decimal("30.00"), REFUNDED_DATE=AT + timedelta(days=5))
    assert {r["transaction_id"] for r in found(refunded, *parts)} == {"R12", "R18"}
    assert found(refunded, parts[0]) == [], "of 12 nothing says that they are among the 30"
    equal = [back_in_store(TRANSACTION_ID=f"R{n}", TRANSACTION_DATE=AT + timedelta(days=n)) for n in (4, 5)]
    assert [r["transaction_id"] for r in found(refunded, *equal)] == ["R5"], "the shop knows of one of two"


@pytest.mark.parametrize(
    "other",
    [
        back_in_store(TOTAL_AMOUNT=Decimal("-29.99")),
        back_in_store(CURRENCY_CODE="USD"),
        back_in_store(ONLINE_ORDER_ID="O2"),
        back_in_store(ONLINE_ORDER_ID=None),
        back_in_store(CUSTOMER_ID="k2"),
        back_in_store(TRANSACTION_DATE=AT + timedelta(days=36)),
        back_in_store(TRANSACTION_STATUS="PENDING"),
        back_in_store(_source_system="SHOP"),
    ],
)
def test_two_returns_stay_two(other: dict[str, Any]) -> None:
    assert found(back_online(CUSTOMER_ID="c1"), other) == []
    refunded = {"REFUNDED_AMOUNT": Decimal("30.00"), "REFUNDED_DATE": AT + timedelta(days=5), "CUSTOMER_ID": "c1"}
    assert found(shop(**refunded), other) == []


@pytest.mark.slow
def test_no_row_is_lost_and_money_counts_once(site: Callable[..., Any], tmp_path: Path) -> None:
    kinds = {name: {"table": "bronze.transactions", "system": name.upper(), "path": f"{name}.csv", "format": "csv"}
             for name in ("shop", "pos")}  # fmt: skip
    own = site(tmp_path, SOURCES=json.dumps(kinds))
    head = "TRANSACTION_ID,CHANNEL,TRANSACTION_DATE,TRANSACTION_TYPE,TRANSACTION_STATUS,TOTAL_AMOUNT,CURRENCY_CODE,ONLINE_ORDER_ID"  # noqa: E501
    row = "{},{},2026-05-0{}T10:00:00Z,PURCHASE,COMPLETED,{},EUR,{}"
    own.deliver(
        "shop.csv", [head, row.format("T1", "ECOMMERCE", 1, 30, "O1"), row.format("T2", "ECOMMERCE", 1, 5, "O2")]
    )
    own.deliver("pos.csv", [head, row.format("R1", "POS", 2, 12, "")])
    own.run(end="silver.transactions")
    assert own.lake.scan("silver.transactions").collect()["gross_amount"].sum() == Decimal("47.00")
    own.deliver("pos.csv", [head, row.format("R1", "POS", 2, 12, ""), row.format("R2", "POS", 3, 30, "O1")])
    own.run(end="silver.transactions")
    rows = own.lake.scan("silver.transactions").collect()
    assert rows.height == 4 and rows["gross_amount"].sum() == Decimal("47.00"), "also where it comes a day later"
    twice = rows.row(by_predicate=pl.col("transaction_id") == "R2", named=True)
    assert (twice["duplicate_of"], twice["is_sale"], twice["net_amount"]) == ("SHOP/T1", False, Decimal("0.00"))
    back = row.replace("PURCHASE", "RETURN")
    own.deliver("shop.csv", [head, back.format("T8", "ECOMMERCE", 4, -30, "O1")])
    own.deliver("pos.csv", [head, back.format("R8", "POS", 5, -30, "O1")])
    own.run(end="silver.transactions")
    rows = own.lake.scan("silver.transactions").collect()
    assert rows.height == 6 and rows["return_amount"].sum() == Decimal("30.00"), "and what was given back, once"
    assert rows["net_amount"].sum() == Decimal("17.00") and rows["is_return"].sum() == 1
