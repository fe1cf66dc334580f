"""Lists of places, purchase orders and visits as public files, an ERP and a wireless network write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from customer360.platform import quality


def source(path: str, table: str, mapping: dict[str, str], **more: Any) -> dict[str, Any]:
    base = {"kind": "files", "path": path, "format": "csv", "table": f"bronze.{table}", "system": "X"}
    return base | {"mapping": mapping} | more


SOURCES: dict[str, Any] = {
    "names": source("names.txt", "area_centroids", {
        "COUNTRY_CODE": "country", "POSTAL_CODE": "postal", "PLACE_NAME": "place", "STATE_CODE": "code1",
        "LATITUDE": "lat", "LONGITUDE": "lng",
    }, system="LIST"),
    "census": source("census.txt", "area_centroids", {
        "COUNTRY_CODE": "'US'", "POSTAL_CODE": "GEOID", "PLACE_NAME": "GEOID", "LATITUDE": "INTPTLAT",
        "LONGITUDE": "INTPTLONG", "POPULATION": "POP",
    }, system="CENSUS"),
    "lines": source("lines.csv", "purchase_orders", {
        "PURCHASE_ORDER_ID": '"Order Reference"', "LINE_NUMBER": "Sequence", "VENDOR_ID": "Vendor",
        "PRODUCT_ID": "Product",
        "ORDERED_DATE": '"Confirmation Date"', "PROMISED_DATE": '"Expected Arrival"', "ORDERED_QUANTITY": "Quantity",
        "UNIT_COST": '"Unit Price"', "CURRENCY_CODE": "Currency",
        "ORDER_STATUS": "CASE Status WHEN 'cancel' THEN 'CANCELLED' WHEN 'done' THEN 'CLOSED' ELSE 'OPEN' END",
    }),
    "receipts": source("receipts.csv", "deliveries", {
        "DELIVERY_ID": "Reference", "LINE_NUMBER": "Line", "PURCHASE_ORDER_ID": "Origin",
        "PURCHASE_ORDER_LINE": "Sequence",
        "RECEIVED_DATE": '"Effective Date"', "RECEIVED_QUANTITY": "Done", "REJECTED_QUANTITY": "Scrapped",
    }),
    "wifi": source("wifi.jsonl", "store_visits", {
        "VISIT_ID": "clientMac || '-' || seenEpoch", "STORE_ID": "apTag", "VISITOR_ID": "clientMac",
        "ENTERED_AT": "seenEpoch", "VISIT_SOURCE": "'WIFI'",
    }, format="json"),
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = site(tmp_path_factory.mktemp("places"), SOURCES=json.dumps(SOURCES))
    only = {name: made.settings.sources[name] for name in SOURCES}
    made = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    made.deliver("names.txt", [
        "country\tpostal\tplace\tstate\tcode1\tlat\tlng\taccuracy",
        "DE\t01067\tDresden Nordstadt\tSachsen\tSN\t51.06\t13.72\t6",
        "DE\t01067\tDresden Südstadt\tSachsen\tSN\t51.04\t13.74\t6",
        "GB\tSW1A\tWestminster\tEngland\tENG\t51.50\t-0.13\t4",
        "CA\tK1A\tOttawa (Government)\tOntario\tON\t45.42\t-75.7\t6",
        "FR\t00000\tNowhere\t\t\t0\t0\t1",
    ])  # fmt: skip
    made.deliver("census.txt", [
        "GEOID\tALAND\tPOP\tINTPTLAT\tINTPTLONG                    ",
        "02108\t360000\t4000\t42.357\t-71.065  ",
        "99501\t17000000\t\t61.216\t-149.876  ",
    ])  # fmt: skip
    made.deliver("lines.csv", [
        "Order Reference,Sequence,Vendor,Product,Confirmation Date,Expected Arrival,Quantity,Unit Price,Currency,Status",  # noqa: E501
        "P00041,10,Azure Mills,[CHAIR] Chair,2026-01-05 08:30:00,2026-01-20 12:00:00,12.0,24.50,USD,purchase",
        "P00041,20,Azure Mills,[DESK] Desk,2026-01-05 08:30:00,,3.00,1 250.00,USD,cancel",
        "P00042,10,Azure Mills,[LAMP] Lamp,2026-01-06,2026-01-19,2.5,9,USD,done",
    ])  # fmt: skip
    made.deliver("receipts.csv", [
        "Reference,Line,Origin,Sequence,Effective Date,Done,Scrapped",
        "WH/IN/00007,1,P00041,10,2026-01-19 16:45:10,12.0,1.0",
    ])  # fmt: skip
    made.deliver("wifi.jsonl", [
        json.dumps({"clientMac": "22:a4:00:00:00:01", "seenEpoch": 1767605400, "apTag": "S1", "rssi": -60}),
        json.dumps({"clientMac": "22:a4:00:00:00:01", "seenEpoch": 1767605460, "apTag": "S1", "rssi": -44}),
    ])  # fmt: skip
    for table in ("silver.areas", "silver.deliveries", "silver.store_visits"):
        made.run(end=table)
    return made


def test_places_of_two_lists_are_areas(shop: Any) -> None:
    rows = {r["area_id"]: r for r in shop.lake.scan("silver.areas").collect().to_dicts()}
    assert set(rows) == {"DEU/01067", "GBR/SW1A", "CAN/K1A", "USA/02108", "USA/99501"}
    assert (rows["DEU/01067"]["latitude"], rows["DEU/01067"]["population"]) == (51.05, None), "the middle of its places"
    assert (rows["USA/02108"]["longitude"], rows["USA/02108"]["population"]) == (-71.065, 4000)
    refused = quality.refused(shop.lake, "bronze.area_centroids").select("rule").to_series().to_list()
    assert refused == ["lies_somewhere"]


def test_an_erp_writes_moments_and_quantities_with_points(shop: Any) -> None:
    rows = shop.lake.scan("silver.purchase_orders").collect().to_dicts()
    lines = {(r["purchase_order_id"], r["line_number"]): r for r in rows}
    first = lines["P00041", 10]
    assert (first["ordered_on"], first["promised_days"], first["ordered_quantity"]) == (date(2026, 1, 5), 15, 12)
    assert lines["P00041", 20]["unit_cost"] == Decimal("1250.00") and lines["P00041", 20]["is_cancelled"]
    refused = quality.refused(shop.lake, "bronze.purchase_orders").select("column_name", "value").rows()
    assert refused == [("ORDERED_QUANTITY", "2.5")], "quantities are whole; a part of one is said, not rounded"
    (receipt,) = shop.lake.scan("silver.deliveries").collect().to_dicts()
    assert (receipt["lead_days"], receipt["late_days"], receipt["accepted_quantity"]) == (14, -1, 11)


def test_a_device_that_nobody_asked_is_nobodys(shop: Any) -> None:
    rows = shop.lake.scan("silver.store_visits").sort("entered_at").collect()
    assert rows["visitor_id"].null_count() == len(rows) == 2
    assert rows["entered_at"][0] == datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
    assert rows.select(pl.col("subject_id").str.starts_with("sv:").all()).item()
