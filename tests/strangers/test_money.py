"""Shops of strangers, from files to figures: sales that are refunded, two files of one key, several currencies."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import quality
from customer360.serve import jobs
from customer360.serve.cli.report import balances

pytestmark = pytest.mark.slow

AS_OF = date(2026, 4, 1)
SALE = {"CHANNEL": "'ECOMMERCE'", "TRANSACTION_TYPE": "'PURCHASE'", "TRANSACTION_STATUS": "'COMPLETED'"}
ORDERS = {
    "TRANSACTION_ID": "no", "CUSTOMER_ID": "who", "TRANSACTION_DATE": "at", "LAST_UPDATED_DATE": "touched",
    "TOTAL_AMOUNT": "total", "CURRENCY_CODE": "money", "REFUNDED_AMOUNT": "refunded", "CHANNEL": "'ECOMMERCE'",
    "TRANSACTION_TYPE": "CASE WHEN state = 'refunded' THEN 'REFUND' ELSE 'PURCHASE' END",
    "TRANSACTION_STATUS": "CASE state WHEN 'pending' THEN 'PENDING' ELSE 'COMPLETED' END",
}  # fmt: skip
NAMES = {"CUSTOMER_ID": "id", "FIRST_NAME": "first", "LAST_NAME": "last", "EMAIL_ADDRESS": "mail"}
RATES = {"RATE_DATE": "day", "FROM_CURRENCY": "base", "TO_CURRENCY": "quote", "RATE": "value"}


def source(path: str, table: str, mapping: dict[str, str]) -> dict[str, Any]:
    return {"kind": "files", "path": path, "format": "csv", "table": f"bronze.{table}", "system": "SHOP",
            "mapping": mapping}  # fmt: skip


@pytest.fixture
def shop(site: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def make(**sources: dict[str, Any]) -> Any:
        made = site(tmp_path, SOURCES=json.dumps(sources))
        only = {name: made.settings.sources[name] for name in sources}
        return type(made)(made.root, made.settings.model_copy(update={"sources": only}))

    return make


def money(found: Any) -> dict[str, tuple[int, float, float, float]]:
    """Orders, gross, returned and net by customer."""
    rows = found.lake.scan("gold.customer_360").join(found.lake.scan("silver.identities"), on="person_id")
    wanted = ("customer_id", "order_count", "gross_amount", "return_amount", "net_amount")
    return {row[0]: (row[1], *map(float, row[2:])) for row in rows.select(wanted).collect().rows()}


def holds(found: Any) -> bool:
    return all(balance.holds for _, balance in balances(found.lake, found.settings))


def test_orders_change_on_the_second_day(shop: Callable[..., Any]) -> None:
    found = shop(orders=source("orders*.csv", "transactions", ORDERS), people=source("people.csv", "customers", NAMES))
    found.deliver(
        "people.csv", ["id,first,last,mail", "7,Ida,Brook,ida.brook@example.org", "8,Jan,Field,jan.field@example.org"]
    )
    head = "no,who,at,touched,money,total,state,refunded"
    found.deliver("orders1.csv", [
        head,
        "1,7,2026-03-02T09:00:00Z,2026-03-02T09:00:00Z,USD,60.00,pending,0.00",
        "2,8,2026-03-02T10:00:00Z,2026-03-02T10:00:00Z,USD,45.00,paid,0.00",
        "3,7,2026-03-02T11:00:00Z,2026-03-02T11:00:00Z,USD,15.00,paid,0.00",
        "4,8,2026-03-02T12:00:00Z,2026-03-02T12:00:00Z,USD,9.50,paid,0.00",
    ])  # fmt: skip
    found.run(as_of=AS_OF, end="gold.customer_360")
    assert money(found) == {"7": (1, 15, 0, 15), "8": (2, 54.5, 0, 54.5)}
    found.deliver("orders2.csv", [
        head,
        "1,7,2026-03-02T09:00:00Z,2026-03-03T08:00:00Z,USD,60.00,paid,0.00",
        "2,8,2026-03-02T10:00:00Z,2026-03-05T08:00:00Z,USD,45.00,refunded,45.00",
        "3,7,2026-03-02T11:00:00Z,2026-03-04T08:00:00Z,USD,15.00,partially_refunded,4.25",
    ])  # fmt: skip
    found.run(as_of=AS_OF, end="gold.customer_360")
    assert money(found) == {"7": (2, 75, 4.25, 70.75), "8": (2, 54.5, 45, 9.5)}
    days = found.lake.scan("silver.subject_days").sort("on").group_by("on", maintain_order=True)
    assert days.agg(pl.col("net_amount").sum().cast(pl.Float64)).collect().rows() == [
        (date(2026, 3, 2), 129.5), (date(2026, 3, 4), -4.25), (date(2026, 3, 5), -45.0),
    ]  # fmt: skip
    last = found.lake.scan("gold.customer_360").select(pl.col("last_purchase_on").max()).collect().item()
    assert last == date(2026, 3, 2), "a refund is no purchase"
    assert holds(found)


def test_two_files_of_one_key_are_one_record(shop: Callable[..., Any]) -> None:
    back = {**SALE, "TRANSACTION_TYPE": "'REFUND'"}
    sold = {"TRANSACTION_ID": "no", "CUSTOMER_ID": "who", "TRANSACTION_DATE": "at", "TOTAL_AMOUNT": "total"}
    found = shop(
        people=source("people.csv", "customers", NAMES),
        homes=source("homes.csv", "customers", {"CUSTOMER_ID": "id", "ADDRESS_LINE_1": "street", "CITY": "city"}),
        sales=source("sales.csv", "transactions", {**sold, **SALE}),
        refunds=source("refunds.csv", "transactions", {**sold, **back}),
    )
    found.deliver("people.csv", ["id,first,last,mail", "7,Ida,Brook,ida.brook@example.org"])
    found.deliver("homes.csv", ["id,street,city", "7,3 Mill Lane,Kendal"])
    found.deliver(
        "sales.csv", ["no,who,at,total", "A1,7,2026-03-02T09:00:00Z,80.00", "A2,7,2026-03-03T09:00:00Z,20.00"]
    )
    found.deliver("refunds.csv", ["no,who,at,total", "A1,7,2026-03-09T09:00:00Z,-25.00", "A9,7,2026-03-09T09:00:00Z,5"])
    found.run(as_of=AS_OF, end="gold.customer_360")
    wanted = ("first_name", "last_name", "email_address", "address_line_1", "city")
    (row,) = found.lake.scan("silver.customer_records").select(wanted).collect().rows()
    assert row == ("Ida", "Brook", "ida.brook@example.org", "3 Mill Lane", "Kendal")
    assert money(found) == {"7": (2, 100, 30, 70)}
    assert holds(found)
    combined = {
        name: b.outcomes["combined"] for name, b in balances(found.lake, found.settings) if "combined" in b.outcomes
    }
    assert (combined["silver.customer_records"], combined["silver.transactions"]) == (1, 1)
    jobs.drop_batch(found.settings, "refunds", 1, ignore=True)
    jobs.drop_batch(found.settings, "homes", 1, ignore=True)
    found.run(as_of=AS_OF, end="gold.customer_360")
    assert money(found) == {"7": (2, 100, 0, 100)} and holds(found), "without one of two contributors"
    assert found.lake.scan("silver.customer_records").select(wanted).collect().rows()[0][2:] == (row[2], None, None)


TILL = SALE | {"TRANSACTION_ID": "no", "CUSTOMER_ID": "who", "TRANSACTION_DATE": "at", "TOTAL_AMOUNT": "total",
               "TAX_AMOUNT": "tax"}  # fmt: skip
RUNG_UP = {"TRANSACTION_ID": "no", "PRODUCT_ID": "code", "QUANTITY": "pieces", "TOTAL_PRICE": "price"}
ASKED = {"PREFERENCE_ID": "'EMAIL:' || id", "CUSTOMER_ID": "id", "PREFERENCE_TYPE": "'COMMUNICATION'",
         "PREFERENCE_VALUE": "'EMAIL:' || said", "PREFERENCE_DATE": "day"}  # fmt: skip


def test_an_exchange_at_the_till_is_an_order_and_a_return(shop: Callable[..., Any]) -> None:
    """Tax stands in the prices; lines come after their receipt, and the later answer to an address holds."""
    found = shop(
        sales=source("sales.csv", "transactions", TILL),
        lines=source("lines*.csv", "transaction_items", RUNG_UP),
        people=source("people.csv", "customers", NAMES),
        asked=source("asked.csv", "preferences", ASKED),
        club=source("club.csv", "customers", NAMES) | {"system": "CLUB"},
        club_asked=source("club_asked.csv", "preferences", ASKED) | {"system": "CLUB"},
    )
    found.deliver("people.csv", ["id,first,last,mail", "7,Ida,Brook,ida.brook@brook.example",
                                 "8,Jan,Field,jan@field.example"])  # fmt: skip
    found.deliver("club.csv", ["id,first,last,mail", "m7,Ida,Brook,Ida.Brook@brook.example"])
    found.deliver("asked.csv", ["id,said,day", "7,NO,2026-01-05", "8,YES,2026-01-05"])
    found.deliver("club_asked.csv", ["id,said,day", "m7,YES,2026-02-05"])
    found.deliver("sales.csv", ["no,who,at,total,tax", "1,7,2026-03-02T09:00:00Z,20.00,3.19",
                                "2,8,2026-03-03T09:00:00Z,0.00,0", "3,8,2026-03-04T09:00Z,-12.00,-1.92"])  # fmt: skip
    found.run(as_of=AS_OF, end="gold.customer_360")
    assert money(found)["7"] == (1, 20, 0, 20)
    found.deliver("lines-1.csv", ["no,code,pieces,price", "1,A,1,50.00", "1,B,-1,-30.00", "2,A,1,50.00",
                                  "2,A,-1,-50.00", "3,B,-1,-12.00"])  # fmt: skip
    found.run(as_of=AS_OF)
    sums = money(found)
    assert (sums["7"], sums["8"]) == ((1, 50, 30, 20), (1, 50, 62, -12)) and holds(found)
    days = found.lake.scan("silver.subject_days").select(pl.col("return_count", "order_count").sum()).collect()
    assert days.rows() == [(3, 2)]
    (read,) = found.lake.scan("gold.total_readings").collect().to_dicts()
    assert (read["reading"], read["compared_count"], read["agreed_count"]) == ("lines, tax included", 3, 3)
    said = found.lake.scan("gold.customer_360").join(found.lake.scan("silver.identities"), on="person_id")
    assert dict(said.select("customer_id", "may_email").collect().rows()) == {"7": True, "m7": True, "8": True}


LINES = [
    "no,who,at,touched,money,total,state,refunded",
    "1,7,2026-03-02T09:00:00Z,2026-03-02T09:00:00Z,GBP,40.00,paid,0",
    "2,7,2026-03-03T09:00:00Z,2026-03-03T09:00:00Z,GBP,20.00,paid,0",
    "3,7,2026-03-04T09:00:00Z,2026-03-04T09:00:00Z,EUR,30.00,paid,0",
    "4,8,2026-03-04T10:00:00Z,2026-03-04T10:00:00Z,JPY,9000,paid,0",
    "5,8,2026-03-05T10:00:00Z,2026-03-09T10:00:00Z,CHF,50.00,paid,10.00",
]


def test_four_currencies_without_rates(shop: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    found = shop(orders=source("orders.csv", "transactions", ORDERS), people=source("people.csv", "customers", NAMES))
    found.deliver(
        "people.csv", ["id,first,last,mail", "7,Ida,Brook,ida.brook@example.org", "8,Jan,Field,jan.field@example.org"]
    )
    found.deliver("orders.csv", LINES)
    found.run(as_of=AS_OF, end="gold.customer_360")
    chosen, said = (r.getMessage() for r in caplog.records if r.getMessage().startswith("money:"))
    assert "amounts are in GBP, the currency of most transactions of 4" in chosen
    assert "3 of 5 transactions" in said and "no rate to GBP" in said and "(CHF 1, EUR 1, JPY 1)" in said
    assert money(found) == {"7": (3, 60, 0, 60), "8": (2, 0, 0, 0)}
    view = found.lake.scan("gold.customer_360").sort("order_count").collect()
    assert view["mean_order_amount"].to_list() == [None, 30.0], "of what is known, never of nothing"
    assert view["unconverted_order_count"].to_list() == [2, 1] and view["rfm_monetary"].to_list() == [None, None]
    found.run(as_of=AS_OF, end="gold.money_by_currency")
    kept = found.lake.scan("gold.money_by_currency").sort("currency")
    assert kept.select("currency", "order_count", pl.col("net_amount").cast(pl.Float64)).collect().rows() == [
        ("CHF", 1, 40.0), ("EUR", 1, 30.0), ("GBP", 2, 60.0), ("JPY", 1, 9000.0),
    ]  # fmt: skip
    assert quality.refused(found.lake).is_empty() and holds(found)


def test_four_currencies_with_rates(shop: Callable[..., Any]) -> None:
    found = shop(
        orders=source("orders.csv", "transactions", ORDERS),
        people=source("people.csv", "customers", NAMES),
        rates=source("rates.csv", "exchange_rates", RATES),
    )
    found.deliver(
        "people.csv", ["id,first,last,mail", "7,Ida,Brook,ida.brook@example.org", "8,Jan,Field,jan.field@example.org"]
    )
    found.deliver("orders.csv", LINES)
    found.deliver("rates.csv", [
        "day,base,quote,value",
        "2026-03-01,EUR,GBP,0.8", "2026-03-01,EUR,JPY,160", "2026-03-03,GBP,CHF,1.25", "2026-03-09,GBP,CHF,2",
    ])  # fmt: skip
    found.run(as_of=AS_OF, end="gold.customer_360")
    # EUR as given, JPY by way of EUR, CHF by the inverse, its refund at the rate of the sale
    assert money(found) == {"7": (3, 84, 0, 84), "8": (2, 85, 8, 77)}
    before = found.versions()
    found.run(as_of=AS_OF, end="gold.customer_360")
    assert found.versions() == before
    path = [f.path for f in found.lake.files("silver.reporting_rates")]
    found.deliver("orders.csv", [*LINES, "6,8,2026-03-10T10:00:00Z,2026-03-10T10:00:00Z,GBP,1.00,paid,0"])
    found.run(as_of=AS_OF, end="gold.customer_360")
    assert [f.path for f in found.lake.files("silver.reporting_rates")] == path, "another batch, the same rates"
    assert money(found) == {"7": (3, 84, 0, 84), "8": (3, 86, 8, 78)}
