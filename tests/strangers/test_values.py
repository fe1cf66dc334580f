"""Values as strangers write them, from the file to silver: what is wrong costs its cell, ids join, times have a
zone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from customer360.platform import quality

LONG = "urn:shop:customer:0b8a1d5e-9c7f-4f7e-8f0e-3f3c1a2b4d5e/7"
SALE = {"CHANNEL": "'ECOMMERCE'", "TRANSACTION_TYPE": "'PURCHASE'", "TRANSACTION_STATUS": "'COMPLETED'"}


def source(path: str, table: str, mapping: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "kind": "files",
        "path": path,
        "format": "csv",
        "table": f"bronze.{table}",
        "system": "SHOP",
        "mapping": mapping,
        **more,
    }


SOURCES: dict[str, Any] = {
    "people": source("people.csv", "customers", {
        "CUSTOMER_ID": "id", "FIRST_NAME": "first", "LAST_NAME": "last", "STATE_CODE": "state", "DATE_OF_BIRTH": "born",
        "CUSTOMER_STATUS": "status", "LOYALTY_POINTS": "points",
    }),
    "orders": source("orders.csv", "transactions", {
        "TRANSACTION_ID": "no", "CUSTOMER_ID": "who", "TRANSACTION_DATE": "at", "TOTAL_AMOUNT": "total", **SALE,
    }, timezone="Europe/Lisbon", decimal=","),
    "floats": source("floats.parquet", "transactions", {
        "TRANSACTION_ID": "no", "CUSTOMER_ID": "who", "TRANSACTION_DATE": "at", "TOTAL_AMOUNT": "total", **SALE,
    }, format="parquet"),
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = site(tmp_path_factory.mktemp("values"), SOURCES=json.dumps(SOURCES))
    only = {name: made.settings.sources[name] for name in SOURCES}
    made = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    made.deliver("people.csv", [
        "id,first,last,state,born,status,points,k,v",
        f"{LONG},Nora,Null,Lower Austria (Niederösterreich) and a note that someone typed into the field of the state by mistake,1991-04-05,active,12,a,",  # noqa: E501
        "4711,NULL,Vogt,OR,30.02.1990,@@,many,,b",
        ' 0042 ,Ida,Berg,N/A,9999-12-31,BLOCKED,"1,200",,',
        "\\N,No,Body,OR,,,,,",
    ])  # fmt: skip
    made.deliver("orders.csv", [
        "no,who,at,total",
        f'A1,{LONG},2026-07-01 09:30,"1.234,50 €"',
        'A2,4711 ,2026-07-01T09:30:00Z,"(5,00)"',
        "A3,0042,1782894600,7",
        "A4,nan,1-Jul-2026 09:30,-3",
        "A5,-,2026-01-15 10:00,1.000",
        "A6,4711,some day,2",
    ])  # fmt: skip
    pl.DataFrame({
        "no": ["F1", "F2"], "who": [4711.0, None], "total": [9.5, 2.0], "at": [datetime(2026, 7, 2, 8), datetime(2026, 7, 2, 9)],  # noqa: E501
    }).write_parquet(made.landing / "floats.parquet")  # fmt: skip
    made.run(end="silver.transactions")
    return made


def test_customers_stay_whatever_their_optional_values_are(shop: Any) -> None:
    rows = {r["CUSTOMER_ID"]: r for r in shop.lake.scan("bronze.customers").collect().to_dicts()}
    assert set(rows) == {LONG, "4711", "0042", None}
    wrong, sentinel = (json.loads(rows[who]["_rescued"]) for who in ("4711", "0042"))
    assert (wrong["DATE_OF_BIRTH"], wrong["CUSTOMER_STATUS"]) == (
        "30.02.1990",
        "@@",
    )
    assert (wrong["LOYALTY_POINTS"], wrong["v"], sentinel["DATE_OF_BIRTH"]) == ("many", "b", "9999-12-31")
    assert wrong["_rules"] == {"CUSTOMER_STATUS": "one_of"}
    assert (rows["0042"]["LOYALTY_POINTS"], rows["0042"]["STATE_CODE"], rows[LONG]["LAST_NAME"]) == (1200, None, "Null")
    records = shop.lake.scan("silver.customer_records").collect()
    assert set(records["customer_id"]) == {LONG, "4711", "0042"}
    refused = quality.refused(shop.lake, "bronze.customers").select("column_name", "rule").rows()
    assert refused == [("CUSTOMER_ID", "nullability")]


def test_orders_join_their_customers_and_unknown_is_nobody(shop: Any) -> None:
    sales = {r["transaction_id"]: r for r in shop.lake.scan("silver.transactions").collect().to_dicts()}
    assert {n: s["customer_id"] for n, s in sales.items()} == {
        "A1": LONG, "A2": "4711", "A3": "0042", "A4": None, "A5": None, "F1": "4711", "F2": None,
    }  # fmt: skip
    assert sales["A1"]["person_id"] and sales["A2"]["person_id"] == sales["F1"]["person_id"] != sales["A1"]["person_id"]


def test_times_and_amounts_are_read_as_the_source_says(shop: Any) -> None:
    sales = {r["transaction_id"]: r for r in shop.lake.scan("silver.transactions").collect().to_dicts()}
    summer = datetime(2026, 7, 1, 8, 30, tzinfo=UTC)  # Lisbon is an hour ahead in summer
    at = {n: s["occurred_at"] for n, s in sales.items()}
    assert (at["A1"], at["A4"], at["A3"], at["A5"]) == (
        summer, summer, summer, datetime(2026, 1, 15, 10, tzinfo=UTC),
    )  # fmt: skip
    assert at["A2"] == datetime(2026, 7, 1, 9, 30, tzinfo=UTC)
    totals = {
        r["TRANSACTION_ID"]: r["TOTAL_AMOUNT"] for r in shop.lake.scan("bronze.transactions").collect().to_dicts()
    }
    assert [totals[n] for n in ("A1", "A2", "A4", "A5")] == [Decimal(t) for t in ("1234.50", "-5", "-3", "1000")]
    refused = quality.refused(shop.lake, "bronze.transactions").select("column_name", "rule", "value").rows()
    assert refused == [("TRANSACTION_DATE", "type", "some day")]
