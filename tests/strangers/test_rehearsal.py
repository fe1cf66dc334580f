"""A dry run is a rehearsal: planted faults are named with source, place and what to do; sound projects are left alone.

Each planted fault is a project of a few invented lines. One finding must hold all of its words.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

# ruff: noqa: E501 - a project a line

Files = dict[str, str | bytes]
NAMES = "Ann Bob Eve Mia Tom Ida Leo Kim Zoe Max Uma Ned".split()
CONSTANTS = {"CHANNEL": "'ECOMMERCE'", "TRANSACTION_TYPE": "'PURCHASE'"}


def table(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows, ""])


def orders(count: int = 40, start: int = 0, header: str = "order_id,customer_id,at,total,status", **own: Any) -> str:
    """Orders; ``own`` are functions of the number by column."""
    sound: dict[str, Callable[[int], str]] = {
        "order_id": lambda i: f"O{i}",
        "customer_id": lambda i: f"C{i % 9}",
        "at": lambda i: f"2026-01-{1 + i % 28:02d}T09:{i % 60:02d}:00Z",
        "total": lambda i: f"{10 + i % 37}.50",
        "status": lambda i: "Completed",
    }
    columns = {**sound, **own}
    return table(header, [",".join(value(i) for value in columns.values()) for i in range(start, start + count)])


ZONED_HEADER = "order_id,customer_id,at,total,status,Time Zone"
ZONED: dict[str, Callable[[int], str]] = {
    "at": lambda i: f"2026-01-05 {i % 24:02d}:30:00",
    "zone": lambda i: ("America/Denver", "America/New_York")[i % 2],
}


def customers(count: int = 9, number: Callable[[int], str] = lambda i: f"C{i}", **own: Any) -> str:
    sound: dict[str, Callable[[int], str]] = {
        "id": number,
        "first": lambda i: NAMES[i % 12],
        "mail": lambda i: f"{NAMES[i % 12].lower()}{i}@mailbox.example",
        "city": lambda i: ("Reno", "Salem", "Tulsa")[i % 3],
        "zip": lambda i: f"{89500 + i}",
    }
    columns = {**sound, **own}
    return table(",".join(columns), [",".join(value(i) for value in columns.values()) for i in range(count)])


def order_source(**own: Any) -> dict[str, Any]:
    mapping = {
        "TRANSACTION_ID": "order_id", "CUSTOMER_ID": "customer_id", "TRANSACTION_DATE": "at", "TOTAL_AMOUNT": "total",
        "TRANSACTION_STATUS": "status", **CONSTANTS, **own.pop("mapping", {}),
    }  # fmt: skip
    mapping = {column: text for column, text in mapping.items() if text}
    return {"table": "bronze.transactions", "system": "SHOP", "path": "orders*", "mapping": mapping, **own}


def customer_source(**own: Any) -> dict[str, Any]:
    mapping = {"CUSTOMER_ID": "id", "FIRST_NAME": "first", "EMAIL_ADDRESS": "mail", "CITY": "city", "ZIP_CODE": "zip"}
    mapping |= own.pop("mapping", {})
    mapping = {column: text for column, text in mapping.items() if text}
    return {"table": "bronze.customers", "system": "SHOP", "path": "customers*", "mapping": mapping, **own}


@dataclass(frozen=True)
class Project:
    """Sources and landing files; ``words`` of the finding that must be there, ``severity`` of it."""

    name: str
    files: Files
    severity: str = ""
    words: tuple[str, ...] = ()
    sources: dict[str, Any] = field(default_factory=lambda: {"shop": order_source()})


def lines(count: int = 60, per_order: int = 3) -> str:
    rows = [f"O{i // per_order},C{i % 5},2026-01-05,SKU{i},{i % 7 + 1}.25" for i in range(count)]
    return table("order_id,customer_id,at,sku,price", rows)


def grouped_orders(count: int, at: Callable[[int], str]) -> str:
    return table("order_id,customer_id,at,sku,price", [f"O{i},C{i % 9},{at(i)},S1,{i}.50" for i in range(count)])


def line_source(**own: Any) -> dict[str, Any]:
    mapping = {
        "CUSTOMER_ID": "MIN(customer_id)",
        "TRANSACTION_DATE": "MIN(at)",
        "TOTAL_AMOUNT": "SUM(CAST(price AS DOUBLE))",
    }
    mapping |= {"TRANSACTION_STATUS": "'COMPLETED'", **own.pop("mapping", {})}
    return order_source(mapping=mapping, **{"group_by": ["order_id"], **own})


def people(**own: Any) -> dict[str, Any]:
    return {"crm": customer_source(**own)}


def both(**own: Any) -> dict[str, Any]:
    return {"crm": customer_source(**own), "shop": order_source()}


def objects(count: int = 30, **own: Any) -> list[dict[str, Any]]:
    return [
        {"order_id": f"O{i}", "customer_id": f"C{i % 9}", "at": f"2026-01-{1 + i % 28:02d}T10:00:00Z",
         "total": 10.5 + i, "status": "COMPLETED", **own}
        for i in range(count)
    ]  # fmt: skip


HTML = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><p>Your session ended.</p></body></html>\n"
OLE = bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 504 + "EncryptedPackage".encode("utf-16-le") + b"\0" * 2000
SALES = json.dumps({"page": 1, "sales": objects()})
SLASHED = {"at": lambda i: f"{1 + i % 12:02d}/{13 + i % 15:02d}/2026"}
DAY_FIRST = {"at": lambda i: f"{13 + i % 15:02d}/{1 + i % 12:02d}/2026"}
ADDRESSES = table("customer_id,street", [f"C{i},{i} Elm Road" for i in range(9)])
ADDRESS_SOURCE = {"table": "bronze.customers", "system": "SHOP", "path": "addresses*", "mapping": {"CUSTOMER_ID": "customer_id", "ADDRESS_LINE_1": "street"}}  # fmt: skip
TOTALS = {"total": lambda i: f"{1 + i % 9}.{200 + i}"}
P = Project
FAULTS = [
    # -- where the files are
    P("typo in the path", {"customers.csv": customers()}, "error", ("crm", "custmers*.csv", "did you mean", "customers.csv"), people(path="custmers*.csv")),
    P("brackets in a folder's name", {"pos[2026]/1.csv": orders()}, "error", ("shop", "pos[2026]/*.csv", "pos[[]2026]/*.csv"), {"shop": order_source(path="pos[2026]/*.csv")}),
    P("another case", {"Orders/1.csv": orders()}, "error", ("shop", "orders/*.csv", "Orders/1.csv", "case"), {"shop": order_source(path="orders/*.csv")}),
    P("outside of the landing folder", {"orders.csv": orders()}, "error", ("shop", "../orders.csv", "landing"), {"shop": order_source(path="../orders.csv")}),
    P("the landing folder named twice", {"orders.csv": orders()}, "error", ("shop", "landing/orders*.csv", "orders.csv"), {"shop": order_source(path="landing/orders*.csv")}),
    P("no files yet", {"customers.csv": customers()}, "warning", ("shop", "nothing"), both()),
    # -- what a file is
    P("a header alone", {"orders1.csv": orders(0), "orders2.csv": orders()}, "warning", ("shop", "orders1.csv", "no rows")),
    P("an empty archive", {"orders1.csv.gz": gzip.compress(b""), "orders2.csv": orders()}, "warning", ("shop", "orders1.csv.gz", "no rows")),
    P("a page of HTML", {"orders.csv": HTML}, "error", ("shop", "orders.csv", "HTML")),
    P("a password", {"orders.xlsx": OLE}, "error", ("shop", "orders.xlsx", "password")),
    P("cut off", {"orders.csv": orders()[:-22]}, "warning", ("shop", "orders.csv", "last line", "breaks off")),
    P("ids with a decimal comma", {"customers.csv": customers(9, lambda i: f"77{i}"), "orders.csv": orders(customer_id=lambda i: f'"77{i % 9},0"')}, "warning", ("shop", "CUSTOMER_ID", ".0"), both()),
    P("one number for all guests", {"orders.csv": orders(customer_id=lambda i: "0" if i % 3 else f"{i}")}, "warning", ("shop", "CUSTOMER_ID", "67.5 %", "number 0", "NULLIF")),
    P("fields too many", {"orders.csv": orders(total=lambda i: "1,200.50" if i % 8 == 0 else "9.50")}, "error", ("shop", "orders.csv", "12.5 %", "dead letter")),
    P("text decoded twice", {"customers.csv": customers(40, city=lambda i: ("Köln", "Genève", "Reno")[i % 3].encode().decode("latin-1"))}, "warning", ("crm", "CITY", "encoding"), people()),
    P("another delimiter", {"orders.csv": orders()}, "error", ("shop", "orders.csv", "one column", "','"), {"shop": order_source(delimiter=";")}),
    P("two rows of headers", {"orders.csv": orders(40).replace("status\n", "status\nOrder,Customer,Date,Amount,State\n")}, "warning", ("shop", "orders.csv", "first row", "header")),
    P("a preamble", {"orders.csv": "Export of March\n\n" + orders()}, "error", ("shop", "orders.csv", "skip: 2"), {"shop": order_source(header=1)}),
    P("no such wrapper", {"orders.json": SALES}, "error", ("shop", "orders.json", "orders", "sales"), {"shop": order_source(records="orders")}),
    P("one content under two names", {"orders1.csv": orders(), "orders2.csv": orders(20, 50), "orders3.csv": orders()}, "warning", ("shop", "orders1.csv", "orders3.csv", "same content")),
    # -- columns
    P("renamed in the second file", {"orders1.csv": orders(), "orders2.csv": orders(9, 50, "order_id,customer_id,at,total_amount,status")}, "error", ("shop", "orders2.csv", "total", "total_amount")),
    P("a file of another kind", {"orders1.csv": orders(), "orders_index.csv": table("position,customer_id", ["1,C1", "2,C2"])}, "error", ("shop", "1 of 2 files", "orders_index.csv", "another kind", "'position'")),
    P("nothing but zeros", {"orders.csv": orders(total=lambda i: "0.00")}, "warning", ("shop", "TOTAL_AMOUNT (total)", "0 in every one of 40 rows")),
    P("an optional column that a file lacks", {"orders1.csv": orders(), "orders2.csv": table("order_id,at,total,status", [f"Q{i},2026-01-05,1.50,Completed" for i in range(9)])}, "warning", ("shop", "orders2.csv", "'customer_id'", "CUSTOMER_ID", "null in the 9 rows")),
    P("a mapped column that no file has", {"orders.csv": orders()}, "warning", ("shop", "orders.csv", "'payer'", "PAYMENT_METHOD", "null in the 40 rows"), {"shop": order_source(mapping={"PAYMENT_METHOD": "UPPER(payer)"})}),
    P("absent in the seventh file", {**{f"orders{n}.csv": orders(9, 9 * n) for n in range(1, 7)}, "orders7.csv": orders(9, 90, "order_id,kunde,at,total,status")}, "error", ("shop", "1 of 7", "orders7.csv", "customer_id", "kunde")),
    P("a required column is not mapped", {"orders.csv": orders()}, "error", ("shop", "TRANSACTION_STATUS", "required"), {"shop": order_source(mapping={"TRANSACTION_STATUS": ""})}),
    P("no column of the contract", {"customers.csv": customers()}, "error", ("crm", "EMAIL_ADRESS", "EMAIL_ADDRESS"), people(mapping={"EMAIL_ADRESS": "mail"})),
    P("a blank in the header", {"orders1.csv": orders(), "orders2.csv": orders(9, 50, "order id,customer_id,at,total,status")}, "error", ("shop", "orders2.csv", "order_id", "order id")),
    P("a key that no object has", {"orders.json": json.dumps(objects())}, "warning", ("shop", "CUSTOMER_ID", "cust_id", "customer_id"), {"shop": order_source(mapping={"CUSTOMER_ID": "cust_id"})}),
    P("a path that reaches nothing", {"orders.json": json.dumps(objects(customer={"id": "C1", "mail": "x"}))}, "warning", ("shop", "CUSTOMER_ID (customer.number)", "null in every one of 30 rows", "'id', 'mail'"), {"shop": order_source(mapping={"CUSTOMER_ID": "customer.number"})}),
    P("a path into nothing", {"orders.json": json.dumps(objects())}, "warning", ("shop", "CUSTOMER_ID", "'client.id'", "none of 30 records"), {"shop": order_source(mapping={"CUSTOMER_ID": "client.id"})}),
    P("a joined file that is not there", {"orders.csv": orders()}, "error", ("shop", "orders.csv", "join", "accounts.csv"), {"shop": order_source(mapping={"CUSTOMER_ID": "accounts.number"}, join={"accounts": {"path": "accounts.csv", "on": {"customer_id": "id"}}})}),
    # -- values
    P("one date of a hundred", {"orders.csv": orders(100, at=lambda i: "31.31.2026" if i == 7 else "2026-01-05")}, "warning", ("shop", "TRANSACTION_DATE", "1 of 100", "1.0 %", "31.31.2026")),
    P("no date at all", {"orders.csv": orders(at=lambda i: f"week {i}")}, "error", ("shop", "TRANSACTION_DATE", "100.0 %", "week 0")),
    P("day and month", {"orders1.csv": orders(**SLASHED), "orders2.csv": orders(30, 50, **DAY_FIRST)}, "warning", ("shop", "TRANSACTION_DATE", "orders1.csv", "orders2.csv", "day")),
    P("day or month", {"orders1.csv": orders(at=lambda i: f"{1 + i % 12:02d}/{1 + i % 11:02d}/2026")}, "warning", ("shop", "TRANSACTION_DATE", "dates:")),
    P("times of no zone", {"orders.csv": orders(at=lambda i: f"2026-01-05 {i % 24:02d}:30:00")}, "warning", ("shop", "TRANSACTION_DATE", "timezone")),
    P("times whose zone is in another column", {"orders.csv": orders(header=ZONED_HEADER, **ZONED)}, "warning", ("shop", "TRANSACTION_DATE", "timezone", 'AT TIME ZONE "Time Zone"')),
    P("thousands or fractions", {"orders.csv": orders(**TOTALS)}, "warning", ("shop", "TOTAL_AMOUNT", "thousands", "decimal")),
    P("comma in one file", {"orders1.csv": orders(), "orders2.csv": orders(30, 50, total=lambda i: f'"{10 + i},50"')}, "warning", ("shop", "TOTAL_AMOUNT", "orders2.csv", "comma")),
    P("cents", {"orders1.csv": orders(), "orders2.csv": orders(40, 50, total=lambda i: f"{10 + i % 37}50")}, "warning", ("shop", "TOTAL_AMOUNT", "orders2.csv", "100")),
    P("currencies without rates", {"orders.csv": orders(status=lambda i: ("EUR", "JPY")[i % 2])}, "warning", ("shop", "CURRENCY_CODE", "EUR", "JPY", "rate"), {"shop": order_source(mapping={"CURRENCY_CODE": "status", "TRANSACTION_STATUS": "'COMPLETED'"})}),
    P("signs of currencies", {"orders.csv": orders(total=lambda i: ("£5.20", "$6.10")[i % 2])}, "warning", ("shop", "TOTAL_AMOUNT", "GBP", "USD")),
    P("a status of their own", {"orders.csv": orders(status=lambda i: "on its way" if i % 4 == 0 else "completed ")}, "error", ("shop", "TRANSACTION_STATUS", "on its way", "25.0 %", "COMPLETED")),
    P("future dates", {"orders.csv": orders(100, at=lambda i: "2062-01-05" if i == 3 else "2026-01-05")}, "warning", ("shop", "TRANSACTION_DATE", "future", "2062")),
    P("many future dates", {"orders.csv": orders(100, at=lambda i: "2062-01-05" if i % 10 == 3 else "2026-01-05")}, "error", ("shop", "TRANSACTION_DATE", "future", "10.0 %", "quarantined")),
    P("the beginning of time", {"orders.csv": orders(at=lambda i: "1970-01-01T00:00:00Z" if i % 20 == 0 else "2026-01-05")}, "warning", ("shop", "TRANSACTION_DATE", "1970")),
    P("a date that stands for none", {"customers.csv": customers(40, born=lambda i: "1901-01-01" if i % 2 else f"19{60 + i}-05-0{1 + i % 9}")}, "warning", ("crm", "DATE_OF_BIRTH", "50.0 %", "same"), people(mapping={"DATE_OF_BIRTH": "born"})),
    P("no e-mail addresses", {"customers.csv": customers(mail=lambda i: f"+1775555010{i}")}, "warning", ("crm", "EMAIL_ADDRESS", "100.0 %", "@"), people()),
    P("a city for a postal code", {"customers.csv": customers()}, "warning", ("crm", "ZIP_CODE", "CITY", "exchanged"), people(mapping={"CITY": "zip", "ZIP_CODE": "city"})),
    P("ids of a spreadsheet", {"orders.csv": orders(order_id=lambda i: f"4.5{i:02d}E+11")}, "warning", ("shop", "TRANSACTION_ID", "E+", "text")),
    # -- keys
    P("no keys", {"orders.csv": orders(100, order_id=lambda i: "" if i % 10 == 0 else f"O{i}")}, "error", ("shop", "TRANSACTION_ID", "10.0 %", "key")),
    P("lines as orders", {"orders.csv": orders(60, order_id=lambda i: f"O{i // 3}")}, "error", ("shop", "TRANSACTION_ID", "40 of 60", "group_by")),
    P("versions that do not move", {"customers.csv": customers(60, lambda i: f"C{i // 2}", changed=lambda i: "2026-01-05")}, "warning", ("crm", "LAST_UPDATED_DATE", "CUSTOMER_ID", "order"), people(mapping={"LAST_UPDATED_DATE": "changed"})),
    P("one key of two sources", {"customers.csv": customers(), "addresses.csv": ADDRESSES}, "note", ("crm", "homes", "9 keys", "SHOP", "one record made of both"), {**people(), "homes": ADDRESS_SOURCE}),
    P("one number of two people", {"customers.csv": customers(), "members.csv": customers(first=lambda i: NAMES[(i + 5) % 12])}, "warning", ("crm", "club", "FIRST_NAME", "system"), {**people(path="customers*"), "club": customer_source(path="members*")}),
    P("customers unknown", {"customers.csv": customers(6), "orders.csv": orders(90)}, "warning", ("shop", "CUSTOMER_ID", "bronze.customers", "33.3 %", "'C•'"), both()),
    P("leading zeros", {"customers.csv": customers(9, lambda i: f"00{i}"), "orders.csv": orders(customer_id=lambda i: f"{i % 9}")}, "warning", ("shop", "CUSTOMER_ID", "leading zeros"), both()),
    P("case of ids", {"customers.csv": customers(9, lambda i: f"c{i}"), "orders.csv": orders()}, "warning", ("shop", "CUSTOMER_ID", "case"), both()),
    P("signs within ids", {"customers.csv": customers(9, lambda i: f"C-{i}"), "orders.csv": orders()}, "warning", ("shop", "CUSTOMER_ID", "signs"), both()),
    P("customers of another system", {"customers.csv": customers(), "orders.csv": orders()}, "warning", ("shop", "CUSTOMER_ID", "CRM", "system"), both(system="CRM")),
    # -- conditions and groups
    P("a condition that nothing meets", {"orders.csv": orders()}, "error", ("shop", "where", "none"), {"shop": order_source(where="status = 'COMPLETED'")}),
    P("a condition that all meet", {"orders.csv": orders()}, "note", ("shop", "where", "every"), {"shop": order_source(where="status <> 'TEST'")}),
    P("one group", {"orders.csv": lines()}, "error", ("shop", "group_by", "at", "60 rows"), {"shop": line_source(group_by=["at"], mapping={"TRANSACTION_ID": "MIN(order_id)", "TRANSACTION_DATE": "at"})}),
    P("no groups", {"orders.csv": lines()}, "warning", ("shop", "group_by", "sku", "one row"), {"shop": line_source(group_by=["sku"], mapping={"TRANSACTION_ID": "MIN(order_id)"})}),
]  # fmt: skip
STAMPED = {"changed": lambda i: f"2026-02-{1 + i % 28:02d}T08:00:00Z"}
EUROPE = "order_id;customer_id;at;total;status\n" + "".join(
    f"O{i};C{i};{14 + i % 9}.01.2026 09:30;{i}.234,50 €;completed\n" for i in range(1, 30)
)
SOUND = [
    P("times of the zone that each names", {"orders.csv": orders(header=ZONED_HEADER, **ZONED)}, sources={"shop": order_source(mapping={"TRANSACTION_DATE": 'at AT TIME ZONE "Time Zone"'})}),
    P("orders and their customers", {"customers.csv": customers(), "orders.csv": orders()}, sources=both()),
    P("deliveries day by day", {f"orders{n}.csv": orders(20, 15 * n) for n in range(1, 8)}),
    P("full exports again and again", {f"customers{n}.csv": customers(9 + n) for n in range(3)}, sources=people()),
    P("versions within a file", {"customers.csv": customers(60, lambda i: f"C{i // 2}", **STAMPED)}, sources=people(mapping={"LAST_UPDATED_DATE": "changed"})),
    P("objects that leave out what they lack", {"orders.json": json.dumps([{**o, "status": "COMPLETED"} | ({"note": "x"} if n % 7 == 0 else {}) for n, o in enumerate(objects())])}, sources={"shop": order_source(mapping={"REFUND_REASON": "note"})}),
    P("lines grouped to orders", {"orders.csv": lines()}, sources={"shop": line_source()}),
    P("a condition", {"orders.csv": orders(status=lambda i: "test" if i % 3 else "completed")}, sources={"shop": order_source(where="status <> 'test'")}),
    P("semicolons and commas", {"orders.csv": EUROPE.encode("cp1252")}, sources={"shop": order_source(timezone="Europe/Berlin", dates="day_first", decimal=",")}),
    P("two shops with numbers of their own", {"customers.csv": customers(), "members.csv": customers(first=lambda i: "Pat")}, sources={**people(), "club": customer_source(path="members*", system="CLUB")}),
    P("another case in the header", {"orders1.csv": orders(), "orders2.csv": orders(9, 50, "Order_ID,customer_id,at,total,status")}),
    P("nested objects", {"orders.json": json.dumps(objects(customer={"id": "C1"}, lines=[{"sku": "A", "n": 2}, {"sku": "B", "n": 1}]))}, sources={"shop": order_source(mapping={"CUSTOMER_ID": "customer.id"}), "lines": {"table": "bronze.transaction_items", "system": "SHOP", "path": "orders*", "explode": ["lines"], "mapping": {"TRANSACTION_ID": "order_id", "ITEM_ID": "lines.sku", "QUANTITY": "lines.n", "TOTAL_PRICE": "lines.n * 2"}}}),
    P("a joined file", {"orders.csv": orders(), "accounts.csv": table("id,number", [f"C{i},7{i}" for i in range(9)])}, sources={"shop": order_source(mapping={"CUSTOMER_ID": "accounts.number"}, join={"accounts": {"path": "accounts.csv", "on": {"customer_id": "id"}}})}),
    P("lines without numbers of their own", {"orders.csv": orders(), "lines.csv": table("TRANSACTION_ID,PRODUCT_ID,QUANTITY,TOTAL_PRICE", [f"O{i // 3},tea,1,2.00" for i in range(30)])}, sources={"shop": order_source(path="orders*"), "lines": {"table": "bronze.transaction_items", "system": "SHOP", "path": "lines*"}}),
    P("files joined end to end", {"orders.csv": orders(20) + orders(20, 20)}),
    P("one row", {"orders.csv": orders(1)}),
    P("ids of a float column", {"customers.csv": customers(9, lambda i: f"77{i}"), "orders.csv": orders(customer_id=lambda i: f"77{i % 9}.00")}, sources=both()),
    P("numbers that count from 0", {"orders.csv": orders(customer_id=lambda i: f"{i % 9}")}),
    P("guests", {"customers.csv": customers(), "orders.csv": orders(customer_id=lambda i: "" if i % 3 else f"C{i % 9}")}, sources=both()),
    P("one customer of many unknown", {"customers.csv": customers(100), "orders.csv": orders(100, customer_id=lambda i: "C777" if i == 5 else f"C{i}")}, sources=both()),
    P("whole amounts", {"orders1.csv": orders(total=lambda i: f"{100 + i}"), "orders2.csv": orders(40, 50, total=lambda i: f"{120 + i}")}),
    P("few dates of many customers", {"customers.csv": customers(40, born=lambda i: f"19{60 + i}-05-0{1 + i % 9}" if i % 4 else "")}, sources=people(mapping={"DATE_OF_BIRTH": "born"})),
]  # fmt: skip


def opened(root: Path, project: Project) -> Path:
    """The project's files below ``root``; returns its settings file."""
    for name, content in project.files.items():
        file = root / "landing" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (root / "landing").mkdir(exist_ok=True)
    own = {
        "extends": "base.yaml", "landing": str(root / "landing"), "state": str(root / "state"),
        "lake": {"root": str(root / "lake"), "buckets": 2}, "execution": {"executor": "local"},
        "sources": project.sources,
    }  # fmt: skip
    config = root / "config.yaml"
    config.write_text(json.dumps(own))  # JSON is YAML
    return config


def rehearsed(config: Path) -> Any:
    from customer360.platform.run import RunRequest
    from customer360.platform.settings import load
    from customer360.serve import jobs

    return jobs.preview_pipeline(load(config, {}), RunRequest(command="plan"))


def balanced(found: Any) -> None:
    """Every record that was looked at is in one place."""
    for done in (source.rehearsed for source in found.sources):
        assert done.read + done.exploded == done.landed + done.dead + done.left_out + done.collapsed


@pytest.fixture(scope="module", autouse=True)
def composed() -> None:
    from customer360.serve.compose import compose

    compose()


@pytest.mark.parametrize("project", FAULTS, ids=[p.name for p in FAULTS])
def test_a_planted_fault_is_named(project: Project, tmp_path: Path) -> None:
    found = rehearsed(opened(tmp_path, project))
    told = [f for f in found.findings if all(word.lower() in f.text.lower() for word in project.words)]
    assert told, "\n".join(f.text for f in found.findings) or "nothing was found"
    assert project.severity in {f.severity for f in told}, [f.text for f in told]
    balanced(found)
    assert not [f for f in (tmp_path / "lake").rglob("*") if f.is_file()], "nothing is written"


@pytest.mark.parametrize("project", SOUND, ids=[p.name for p in SOUND])
def test_nothing_is_found_in_a_sound_project(project: Project, tmp_path: Path) -> None:
    found = rehearsed(opened(tmp_path, project))
    assert [f.text for f in found.findings if f.severity != "note"] == []
    balanced(found)


LINES = table("order_id,customer_id,at,price", ["O1,C1,2026-01-05,9.50", "O1,C1,2026-01-05,10.00"])
TEXT_NUMBERS = {
    "the largest of a group": line_source(mapping={"TOTAL_AMOUNT": "MAX(price)"}),
    "a condition over a number": order_source(
        where="price > 9.75", mapping={"TOTAL_AMOUNT": "price", "TRANSACTION_STATUS": "'COMPLETED'"}
    ),
    "a product": order_source(
        where="price = '10.00'", mapping={"TOTAL_AMOUNT": "price * 1", "TRANSACTION_STATUS": "'COMPLETED'"}
    ),
}


@pytest.mark.parametrize("source", TEXT_NUMBERS.values(), ids=TEXT_NUMBERS)
def test_numbers_in_text_are_read_as_numbers_or_the_mapping_is_refused(source: dict[str, Any], tmp_path: Path) -> None:
    config = opened(tmp_path, Project("", {"orders.csv": LINES}, sources={"shop": source}))
    if not rehearsed(config).findings:
        assert ran(config, "bronze.transactions").exit_code == 0
        assert stored(config, "bronze.transactions")["TOTAL_AMOUNT"].cast(float).to_list() == [10.0]


def ran(config: Path, *words: str) -> Any:
    """`customer360 run …` in this process."""
    from customer360.serve import cli

    log = logging.getLogger("customer360")
    before = list(log.handlers)
    result = CliRunner().invoke(cli.app, ["run", *words, "--config", str(config)])
    log.handlers[:] = before
    return result


def stored(config: Path, name: str) -> Any:
    from customer360.platform.run import lake_of
    from customer360.platform.settings import load

    return lake_of(load(config, {})).scan(name).collect()


VERBATIM = (
    "TRANSACTION_ID,CUSTOMER_ID,TRANSACTION_DATE,TOTAL_AMOUNT,TRANSACTION_STATUS,CHANNEL,TRANSACTION_TYPE,COUPON_CODE"
)


def own_names(count: int, start: int = 0, header: str = VERBATIM) -> str:
    return table(
        header,
        [
            f"O{i},C{i % 5},2026-01-05T10:00:00Z,{i}.50,COMPLETED,POS,PURCHASE,K{i % 3}"
            for i in range(start, start + count)
        ],
    )


def test_a_column_that_is_renamed_after_a_delivery_is_told_by_rehearsal_and_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a mapping nothing fails for it: the values would be null without a word."""
    source = {"table": "bronze.transactions", "system": "SHOP", "path": "orders*"}
    config = opened(tmp_path, Project("", {"orders1.csv": own_names(20)}, sources={"shop": source}))
    assert rehearsed(config).findings == () and ran(config, "bronze.transactions").exit_code == 0
    renamed = own_names(20, 20, VERBATIM.replace("COUPON_CODE", "coupon"))
    (tmp_path / "landing/orders2.csv").write_text(renamed)
    (told,) = rehearsed(config).findings
    assert told.severity == "warning"
    for word in ("orders2.csv", "'COUPON_CODE'", "the last delivery", "'coupon' is likely its new name"):
        assert word in told.text
    with watched(caplog):
        assert ran(config, "bronze.transactions").exit_code == 0
    assert (
        "orders2.csv: lacks the column 'COUPON_CODE'" in caplog.text
        and "'coupon' is likely its new name" in caplog.text
    )
    assert outcome(config, 2).facts["vanished|COUPON_CODE"] == 1
    assert outcome(config, 2).inputs[0].facts["columns|CUSTOMER_ID"] == 1


@contextmanager
def watched(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    log = logging.getLogger("customer360")
    log.addHandler(caplog.handler)
    try:
        yield
    finally:
        log.removeHandler(caplog.handler)


def outcome(config: Path, seq: int, source: str = "shop") -> Any:
    from customer360.platform import ledger
    from customer360.platform.run import lake_of
    from customer360.platform.settings import load

    return ledger.outcomes(lake_of(load(config, {})), source)[seq]


def test_a_mapped_column_that_is_renamed_fails_its_file_with_the_likely_name(tmp_path: Path) -> None:
    config = opened(
        tmp_path,
        Project(
            "", {"orders1.csv": orders(), "orders2.csv": orders(9, 50, "order_id,customer_id,at,total_amount,status")}
        ),
    )
    result = ran(config, "bronze.transactions")
    assert result.exit_code == 5, "all was done, and a file was lost"
    assert "1 of 2 files could not be read or mapped" in result.output
    assert outcome(config, 1).inputs[1].failure.endswith("'total_amount' is likely the new name of 'total'")
    assert stored(config, "bronze.transactions").height == 40


def test_a_file_that_came_without_an_optional_column_lands_and_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, own = orders(), {"shop": order_source(mapping={"COUPON_CODE": "voucher"})}
    given = table(
        "order_id,customer_id,at,total,status,voucher", [f"{row},V1" for row in orders(9, 50).splitlines()[1:]]
    )
    config = opened(tmp_path, Project("", {"orders1.csv": given, "orders2.csv": plain}, sources=own))
    (found,) = [f for f in rehearsed(config).findings if "voucher" in f.text]
    assert found.severity == "warning" and "COUPON_CODE" in found.text and "null in the 40 rows" in found.text
    with watched(caplog):
        result = ran(config, "bronze.transactions")
    assert result.exit_code == 0, result.output
    told = "1 of 2 files, orders2.csv the first, came without the column 'voucher'"
    assert len({r.message for r in caplog.records if told in r.message and "in their 40 records" in r.message}) == 1
    rows = stored(config, "bronze.transactions")
    assert (rows.height, rows["COUPON_CODE"].count()) == (49, 9)
    assert f"shop #1: {told}" in said_by_status(config)
    (tmp_path / "landing/orders3.csv").write_text(given.replace("voucher", "voucher_no").replace("O5", "P5"))
    assert ran(config, "bronze.transactions").exit_code, "a column under a new name is not null in silence"
    assert "'voucher_no' is likely the new name of 'voucher'" in outcome(config, 2).inputs[0].failure


def said_by_status(config: Path) -> str:
    from customer360.serve import cli

    return CliRunner().invoke(cli.app, ["status", "--config", str(config)], env={"COLUMNS": "400"}).output


@pytest.mark.parametrize(("loss", "code"), [(0.05, 5), (0.2, 0)])
def test_a_run_says_what_it_lost_beyond_the_stated_share(loss: float, code: int, tmp_path: Path) -> None:
    files: Files = {
        "orders.csv": orders(
            100, total=lambda i: "1,2.50" if i % 25 == 0 else "x" if i % 20 == 1 and i < 80 else "9.50"
        )
    }
    config = opened(tmp_path, Project("", files))
    config.write_text(json.dumps({**json.loads(config.read_text()), "loss": loss}))
    worst, *others = rehearsed(config).findings
    assert ("8 of 100 rows (8.0 %) would be lost" in worst.text and worst.severity == "error") == (code == 5)
    assert {f.severity for f in others} == {"warning"}
    result = ran(config, "bronze.transactions")
    assert result.exit_code == code
    assert ("8 of 100 rows (8.0 %) were lost" in result.output) == (code == 5)
    assert stored(config, "bronze.transactions").height == 96, "whatever the code, all that can be done is done"


@pytest.mark.parametrize("source", [order_source(), line_source()], ids=["row by row", "grouped"])
def test_rows_dated_after_they_landed_are_a_loss(source: dict[str, Any], tmp_path: Path) -> None:
    def at(i: int) -> str:
        return "2062-01-05T10:00:00Z" if i % 10 == 3 else "2026-01-05T10:00:00Z"

    header, *rows = (orders(100, at=at) if "group_by" not in source else grouped_orders(100, at)).splitlines()
    config = opened(tmp_path, Project("", {"orders.csv": table(header, rows)}, sources={"shop": source}))
    result = ran(config, "bronze.transactions")
    assert result.exit_code == 5, result.output
    assert "10 of 100 rows (10.0 %) were lost" in result.output and "10 dated after they landed" in result.output
    assert outcome(config, 1).facts["ahead"] == 10
    assert stored(config, "bronze.transactions").height == 100, "they land; what counts is silver"


def test_a_good_project_is_rehearsed_on_one_screen(tmp_path: Path) -> None:
    config = opened(tmp_path, Project("", {"customers.csv": customers(), "orders.csv": orders()}, sources=both()))
    result = ran(config, "--dry-run")
    assert result.exit_code == 0 and len(result.output.splitlines()) <= 40, result.output
    assert "nothing was found" in result.output
    (tmp_path / "landing/orders.csv").write_text(orders(status=lambda i: "on its way"))
    assert ran(config, "--dry-run").exit_code == 1


def test_many_files_are_looked_at_by_their_columns_and_some_by_their_rows(tmp_path: Path) -> None:
    files: Files = {f"orders{n:03d}.csv": orders(3, 3 * n) for n in range(60)}
    files["orders041.csv"] = orders(3, 200, "order_id,customer_id,at,amount,status")
    found = rehearsed(opened(tmp_path, Project("", files))).sources[0]
    done = found.rehearsed
    assert (done.files, done.looked, done.judged, done.is_whole) == (60, 60, 25, False)
    assert any("orders041.csv" in f.text and "'total'" in f.text for f in found.findings)


def test_customers_that_landed_before_are_known_and_others_are_not(tmp_path: Path) -> None:
    config = opened(tmp_path, Project("", {"customers.csv": customers()}, sources=both()))
    assert ran(config, "bronze").exit_code == 0
    (tmp_path / "landing/orders.csv").write_text(orders())
    assert rehearsed(config).findings == ()
    (tmp_path / "landing/orders.csv").write_text(orders(customer_id=lambda i: f"C{i}"))
    (told,) = rehearsed(config).findings
    assert "31 of 40 rows (77.5 %) name no row of bronze.customers" in told.text


def test_a_source_that_cannot_be_looked_at_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from customer360.platform.sources.rehearsal import headers

    def fails(landing: Any, sample: Any) -> list[Any]:
        if sample.name == "crm":
            raise KeyError("ann@mailbox.example")
        return []

    monkeypatch.setattr(headers, "header_findings", fails)
    config = opened(tmp_path, Project("", {"customers.csv": customers(), "orders.csv": orders()}, sources=both()))
    found = rehearsed(config)
    assert [f.text for f in found.findings] == ["crm: cannot be looked at: KeyError: •••"]
    assert {source.name: source.rehearsed.landed for source in found.sources} == {"crm": 0, "shop": 40}


def test_examples_of_personal_columns_are_covered(tmp_path: Path) -> None:
    files: Files = {"customers.csv": customers(40, born=lambda i: "secretly unknown")}
    found = rehearsed(opened(tmp_path, Project("", files, sources=people(mapping={"DATE_OF_BIRTH": "born"}))))
    (told,) = [f.text for f in found.findings if "DATE_OF_BIRTH" in f.text]
    assert "secretly" not in told and "'s•••••••" in told


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(SOUND),
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from([b'"', b",", b"\n", b"\0", b"\xff", b"{", b"1e999", b"", b"\r"])),
        max_size=6,
    ),
)
def test_whatever_stands_in_a_file_is_told_and_counted(project: Project, damage: list[tuple[float, bytes]]) -> None:
    files: Files = {}
    for name, content in project.files.items():
        data = bytearray(content if isinstance(content, bytes) else content.encode())
        for place, sign in damage:
            at = int(place * len(data))
            data[at : at + 3] = sign
        files[name] = bytes(data)
    with TemporaryDirectory() as folder:
        balanced(rehearsed(opened(Path(folder), Project(project.name, files, sources=project.sources))))
