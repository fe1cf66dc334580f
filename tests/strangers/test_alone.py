"""A retailer with one source and nothing else: the run ends well, gives what the data allow, and says what it lacks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

SALE = "TRANSACTION_ID,CUSTOMER_ID,CHANNEL,TRANSACTION_DATE,TRANSACTION_TYPE,TOTAL_AMOUNT,TRANSACTION_STATUS"
LINE = "TRANSACTION_ID,SKU,PRODUCT_ID,QUANTITY,TOTAL_PRICE"
PERSON = "CUSTOMER_ID,FIRST_NAME,LAST_NAME,EMAIL_ADDRESS,REGISTRATION_DATE"


@dataclass
class Project:
    """A settings file, its landing folder, and the command line on them."""

    root: Path

    def cli(self, *words: str) -> Any:
        from customer360.serve import cli

        log = logging.getLogger("customer360")
        before = list(log.handlers)
        result = CliRunner().invoke(cli.app, [*words, "--config", str(self.root / "c.yaml")])
        log.handlers[:] = before
        return result

    def deliver(self, name: str, *lines: str) -> None:
        (self.root / "landing").mkdir(exist_ok=True)
        (self.root / "landing" / name).write_text("\n".join(lines) + "\n")

    def rows(self, table: str) -> pl.DataFrame:
        from customer360.platform import settings
        from customer360.platform.lake.editions import scan_current
        from customer360.platform.run import lake_of

        lake = lake_of(settings.load(self.root / "c.yaml"))
        return (scan_current(lake, table) if table.startswith("gold.c") else lake.scan(table)).collect()


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    def made(**sources: dict[str, Any]) -> Project:
        config = {"extends": "base.yaml", "landing": str(tmp_path / "landing"), "state": str(tmp_path / "state"),
                  "lake": {"root": str(tmp_path / "lake"), "buckets": 2}, "execution": {"executor": "local"},
                  "sources": sources}  # fmt: skip
        (tmp_path / "c.yaml").write_text(json.dumps(config))
        return Project(tmp_path)

    return made


def source(table: str, system: str = "SHOP", **options: Any) -> dict[str, Any]:
    return {"table": f"bronze.{table}", "system": system, "path": f"{table}*", "format": "csv", **options}


EVENTS = [
    json.dumps({"EVENT_ID": f"e{n}", "VISITOR_ID": f"v{n % 2}", "EVENT_TYPE": "PRODUCT_VIEW", "PRODUCT_ID": "p", "EVENT_DATE": f"2026-05-0{n}T10:00:00Z"})  # noqa: E501
    for n in range(1, 5)
]  # fmt: skip
ORDERS = ["ONLINE_ORDER_ID,CUSTOMER_ID,ORDER_DATE,ORDER_STATUS,TOTAL_AMOUNT",
          "o1,c1,2026-05-01T10:00:00Z,DELIVERED,12.50", "o2,c2,2026-05-03T10:00:00Z,PAID,20.00"]  # fmt: skip
RETURNS = [SALE, "r1,c1,POS,2026-05-01T10:00:00Z,RETURN,-12.50,COMPLETED",
           "r2,c2,POS,2026-05-02T10:00:00Z,RETURN,-20.00,COMPLETED"]  # fmt: skip
PEOPLE = [PERSON, "c1,Ann,Smith,ann@example.org,2024-02-03", "c2,Bob,Keller,bob@example.org,2023-07-09"]


@pytest.mark.parametrize(
    ("table", "lines", "as_of", "silver"),
    [
        ("customers", PEOPLE, None, "people"),
        ("events", EVENTS, "2026-05-05", "events"),
        ("online_orders", ORDERS, "2026-05-04", "online_orders"),
        ("transactions", RETURNS, "2026-05-03", "transactions"),
    ],
)
def test_one_source_is_enough(
    project: Callable[..., Project], table: str, lines: list[str], as_of: str | None, silver: str
) -> None:
    alone = project(only=source(table, format="json" if table == "events" else "csv"))
    alone.deliver(f"{table}.txt", *lines)
    done = alone.cli("run")
    assert done.exit_code == 0, done.output
    assert alone.rows(f"silver.{silver}").height == len(lines) - (table != "events")
    profiles = alone.rows("gold.customer_360")
    assert profiles.height == (2 if table == "customers" else 0)
    assert "no source fills bronze." in done.output and f"no source fills bronze.{table}," not in done.output
    if as_of is not None:
        assert as_of in alone.cli("status").output
    refused = alone.cli("train", "all")
    assert refused.exit_code != 0 and "models has the history that it needs" in str(refused.exception)
    assert "360" in alone.cli("models").output


def test_orders_alone_have_profiles_once_their_customers_are_mapped(project: Callable[..., Project]) -> None:
    """Receipts of one day, lines without numbers, and a customer of the same file: all count, the last day included."""
    shop = project(
        sales=source("transactions"),
        lines=source("transaction_items"),
        people=source("customers", path="transactions*", mapping={"CUSTOMER_ID": "CUSTOMER_ID"}),
    )
    shop.deliver("transactions.csv", SALE, "t1,c1,POS,2026-05-01T10:00:00Z,PURCHASE,30.00,COMPLETED",
                 "t2,c2,POS,2026-05-01T18:00:00Z,PURCHASE,7.00,COMPLETED",
                 "t3,c1,POS,2027-05-01T18:00:00Z,PURCHASE,500.00,COMPLETED")  # fmt: skip
    receipt = ["t1,K7,p1,1,10.00", "t1,K7,p1,1,10.00", "t1,K8,p2,1,10.00"]
    shop.deliver("transaction_items-1.csv", LINE, *receipt, "t2,K9,p3,1,7.00")
    done = shop.cli("run")
    assert done.exit_code == 5, "a receipt is dated after it landed, and lost: " + done.output
    profiles = shop.rows("gold.customer_360").sort("net_amount")
    assert [str(amount) for amount in profiles["net_amount"]] == ["7.00", "30.00"]
    assert set(profiles["as_of"].cast(pl.String)) == {"2026-05-02"}
    assert "1 rows of bronze.transactions: TRANSACTION_DATE happened_before_it_landed" in done.output
    assert "EMAIL deny (2)" in done.output and profiles["may_email"].to_list() == [False, False]
    assert shop.rows("silver.transaction_items").sort("transaction_id", "item_id").select(
        "transaction_id", "item_id"
    ).rows() == [("t1", "1"), ("t1", "2"), ("t1", "3"), ("t2", "1")]

    # The receipt again, with a price mended.
    shop.deliver("transaction_items-2.csv", LINE, *receipt[:2], "t1,K8,p2,1,9.00")
    assert shop.cli("run", "silver.transaction_items").exit_code == 0
    again = shop.rows("silver.transaction_items").filter(transaction_id="t1").sort("item_id")
    assert [str(price) for price in again["total_price"]] == ["10.00", "10.00", "9.00"]

    shop.deliver("transactions-2.csv", SALE.replace("TRANSACTION_ID,", "TRANSACTION_ID,LAST_UPDATED_DATE,"),
                 "t2,2099-01-01T00:00:00Z,c2,POS,2026-05-01T18:00:00Z,PURCHASE,8.00,COMPLETED")  # fmt: skip
    shop.deliver("transactions-3.csv", SALE.replace("TRANSACTION_ID,", "TRANSACTION_ID,LAST_UPDATED_DATE,"),
                 "t2,2026-06-01T00:00:00Z,c2,POS,2026-05-01T18:00:00Z,PURCHASE,9.00,COMPLETED")  # fmt: skip
    assert shop.cli("run", "silver.transactions").exit_code == 0
    assert [str(a) for a in shop.rows("silver.transactions").filter(transaction_id="t2")["total_amount"]] == ["9.00"]


BUYS = {"TRANSACTION_ID": "no", "CUSTOMER_ID": "who", "TRANSACTION_DATE": "at", "TOTAL_AMOUNT": "total",
        "CHANNEL": "'ECOMMERCE'", "TRANSACTION_TYPE": "'PURCHASE'", "TRANSACTION_STATUS": "'COMPLETED'"}  # fmt: skip
BOUGHT = ["no,who,E-mail,surname,at,total", "1,c1,Ann@example.org,Smith,2026-03-02T09:00:00Z,10",
          "2,,bob@example.org,Key,2026-03-02T10:00:00Z,20", "3,,BOB@example.org,Key,2026-03-03T10:00Z,5"]  # fmt: skip


def test_orders_alone_say_which_columns_make_people_of_buyers_and_guests(project: Callable[..., Project]) -> None:
    shop = project(sales=source("transactions", path="sold*", mapping=BUYS))
    shop.deliver("sold.csv", *BOUGHT)
    done = shop.cli("run")
    told = " ".join(done.output.split())
    assert done.exit_code == 0, done.output
    who = 'COALESCE(who, LOWER("E-mail"))'
    assert "nobody is known: sales sells to no person, as no source fills bronze.customers" in told
    assert f'mapping: {{CUSTOMER_ID: {who}, EMAIL_ADDRESS: "E-mail", …}}' in told and "not mapped yet: surname" in told
    assert "for guests, who have no number, give sales the same CUSTOMER_ID" in told

    mapped = project(
        sales=source("transactions", path="sold*", mapping=BUYS | {"CUSTOMER_ID": who}),
        buyers=source("customers", path="sold*", mapping={
            "CUSTOMER_ID": who, "EMAIL_ADDRESS": '"E-mail"', "LAST_NAME": "surname"}),
    )  # fmt: skip
    shop.deliver("sold-2.csv", *BOUGHT, "4,,cy@example.org,Lee,2026-03-03T11:00:00Z,7")
    again = mapped.cli("run")
    assert again.exit_code == 0 and "nobody is known" not in again.output, again.output
    assert sorted(float(net) for net in mapped.rows("gold.customer_360")["net_amount"]) == [7, 10, 25]


def test_a_date_that_has_not_come_and_nothing_at_all_are_said_in_one_line(project: Callable[..., Project]) -> None:
    shop = project(sales=source("transactions"))
    shop.deliver("transactions.csv", SALE)
    nothing = shop.cli("run")
    assert nothing.exit_code != 0 and str(nothing.exception).startswith("nothing landed: none of 1 source(s)")
    assert "as_of" not in str(nothing.exception)
    future = shop.cli("run", "--as-of", "2199-01-01")
    assert str(future.exception).startswith("--as-of 2199-01-01 has not come") and "\n" not in str(future.exception)
