"""One invented person planted wherever an installation may hold somebody, for tests of erasure.

``plant`` writes into landing files before a run; ``plant_beside`` what a life of the installation leaves around it.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

FIRST, LAST, MAIL, PHONE = "Zyxcanarie", "Quorvexly", "zyx.quorvexly@canary.test", "2025550147"
STREET, BORN, POS, SHOP, DEVICE = "77 Wyrmwood Passage", "1971-03-09", "PCANARY1", "SCANARY1", "VCANARYDEVICE"
WORDS = ("zyxcanarie", "quorvexly", "2025550147", "202 555 0147", "wyrmwood", "pcanary1", "scanary1", "vcanarydevice",
         "canaryextra", "tokcanary")  # fmt: skip
DAY = "2026-06-20"


def _header(file: Path) -> str:
    return file.read_text(encoding="latin-1").splitlines()[0]


def _row(header: str, **values: Any) -> str:
    return ",".join(str(values.get(column, "")) for column in header.split(","))


def _lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def plant(landing: Path, neighbour: str) -> int:
    """Write the person, and what others say of it, into landing files; ``neighbour`` is a shop account of somebody
    else. Returns how many places that makes."""
    who = {"FIRST_NAME": FIRST, "LAST_NAME": LAST, "DATE_OF_BIRTH": BORN, "GENDER": "FEMALE", "ADDRESS_LINE_1": STREET,
           "CITY": "Austin", "STATE_CODE": "TX", "ZIP_CODE": "73399", "COUNTRY_CODE": "US",
           "CUSTOMER_STATUS": "ACTIVE", "REGISTRATION_DATE": "2026-04-13"}  # fmt: skip
    head = _header(landing / "pos/customers/customers.csv")
    own = who | {
        "CUSTOMER_ID": POS,
        "EMAIL_ADDRESS": MAIL,
        "PHONE_NUMBER": PHONE,
        "LAST_UPDATED_DATE": "2026-05-01T10:00:00.000Z",
    }
    nameless = who | {"LAST_UPDATED_DATE": "2026-05-01T10:00:00.000Z"}
    ragged = f"PCANARYX,{FIRST},{LAST}"
    (landing / "pos/customers/zz.csv").write_text(
        "\n".join([head, _row(head, **own), _row(head, **nameless), ragged]) + "\n"
    )
    shop = who | {"CUSTOMER_ID": SHOP, "EMAIL_ADDRESS": MAIL, "PHONE_NUMBER": "+1 202 555 0147", "LAST_UPDATED_DATE": "2026-05-06T23:45:02.000Z",  # noqa: E501
                  "EXTRA_NOTE": f"canaryextra of {FIRST} {LAST}"}  # fmt: skip
    _lines(landing / "shop/customers/zz.jsonl.gz", [shop])
    return 4 + _plant_sales(landing) + _plant_behaviour(landing) + _plant_words(landing, neighbour)


def _plant_sales(landing: Path) -> int:
    head = _header(landing / "pos/transactions/2026-06.csv")
    common = {"CUSTOMER_ID": POS, "CHANNEL": "POS", "TRANSACTION_DATE": f"{DAY}T10:00:00Z", "CURRENCY_CODE": "USD", "TAX_AMOUNT": 0,  # noqa: E501
              "SHIPPING_AMOUNT": 0, "PAYMENT_METHOD": "CASH", "STORE_ID": "ST013", "TRANSACTION_STATUS": "COMPLETED",
              "LAST_UPDATED_DATE": f"{DAY}T10:00:00Z"}  # fmt: skip
    sales = [
        ("TCANARY0", "PURCHASE", "40.00", ""),
        ("TCANARY1", "PURCHASE", "60.00", ""),
        ("TCANARY2", "RETURN", "-10.00", f"paid back to {FIRST} {LAST}"),
    ]
    rows = [
        _row(
            head,
            TRANSACTION_ID=t,
            TRANSACTION_TYPE=k,
            TOTAL_AMOUNT=a,
            REFUND_REASON=r,
            RECEIPT_NUMBER=f"R{t}",
            **common,
        )
        for t, k, a, r in sales
    ]
    (landing / "pos/transactions/zz.csv").write_text("\n".join([head, *rows]) + "\n")
    head = _header(landing / "pos/transaction_items/2026-06.csv") + ",BUYER_EMAIL"
    item = {"CATEGORY": "Home", "QUANTITY": 1, "DISCOUNT_AMOUNT": 0, "ITEM_STATUS": "SOLD", "PRODUCT_ID": "PR00730"}
    items = [_row(head, ITEM_ID="ICAN0", TRANSACTION_ID="TCANARY0", PRODUCT_NAME=f"Mug engraved {FIRST} {LAST}", UNIT_PRICE="40.00", TOTAL_PRICE="40.00", BUYER_EMAIL=MAIL, **item),  # noqa: E501
             _row(head, ITEM_ID="ICAN1", TRANSACTION_ID="TCANARY1", PRODUCT_NAME="Cloud vase", UNIT_PRICE="60.00", TOTAL_PRICE="60.00", **item)]  # noqa: E501  # fmt: skip
    (landing / "pos/transaction_items/zz.csv").write_text("\n".join([head, *items]) + "\n")
    head = _header(landing / "pos/payments/2026-06.csv") + ",CARD_HOLDER"
    paid = _row(head, PAYMENT_ID="PMCANARY", PAYMENT_STATUS="CAPTURED", TRANSACTION_ID="TCANARY0", CUSTOMER_ID=POS,
                PAYMENT_DATE=f"{DAY}T10:00:00Z", PAYMENT_METHOD="CARD", CARD_LAST4="4242", AMOUNT="40.00",
                DEVICE_HASH=DEVICE, CARD_HOLDER=f"{FIRST} {LAST}")  # fmt: skip
    # As terminals tell of it: nobody is named but by the receipt, in the refund not even that.
    terminal = {"PAYMENT_METHOD": "CARD", "CARD_LAST4": "4242", "CARD_TOKEN": "tokcanary"}
    unnamed = _row(head, PAYMENT_ID="PMNONE", PAYMENT_STATUS="CAPTURED", TRANSACTION_ID="TCANARY1", AMOUNT="60.00",
                   PAYMENT_DATE=f"{DAY}T10:00:00Z", **terminal)  # fmt: skip
    back = _row(head, PAYMENT_ID="RFNONE", PAYMENT_STATUS="REFUNDED", ORIGINAL_PAYMENT_ID="PMNONE", AMOUNT="5.00",
                PAYMENT_DATE=f"{DAY}T11:00:00Z", **terminal)  # fmt: skip
    (landing / "pos/payments/zz.csv").write_text("\n".join([head, paid, unnamed, back]) + "\n")
    return 7


def _plant_behaviour(landing: Path) -> int:
    event = {"SESSION_ID": "SESCANARY", "PRODUCT_ID": None, "DEVICE_TYPE": "DESKTOP", "BROWSER": "Safari"}
    rows = [
        event | {"EVENT_ID": f"evcanary-{i}", "CUSTOMER_ID": SHOP if i == 0 else None, "VISITOR_ID": DEVICE, "EVENT_TYPE": "LOGIN" if i == 0 else "SEARCH",  # noqa: E501
                 "EVENT_DATE": f"{DAY}T10:0{i}:00.000Z", "SEARCH_QUERY": f"gifts for {FIRST} {LAST}",
                 "PAGE_URL": f"https://shop.example.com/?u={MAIL}", "USER_AGENT": f"app/1.0 ({MAIL})"}
        for i in range(4)
    ]  # fmt: skip
    encoded = MAIL.replace("@", "%40")
    other = event | {
        "SESSION_ID": "SESOTHER",
        "VISITOR_ID": "VFRIEND",
        "EVENT_TYPE": "PAGE_VIEW",
        "EVENT_DATE": f"{DAY}T11:00:00.000Z",
    }
    rows += [
        other | {"EVENT_ID": "evother-1", "PAGE_URL": f"https://shop.example.com/share?from={encoded}", "REFERRER_URL": f"https://mail.example.com/{MAIL}"},
        other | {"EVENT_ID": "evother-2", "PAGE_URL": f"https://shop.example.com/gift?to={FIRST}+{LAST}&tel=%2B12025550147"},
        other | {"EVENT_ID": "evother-3", "PAGE_TITLE": f"Gifts &amp; more for {LAST}, {FIRST}", "NOTE_OF_APP": json.dumps({"to": MAIL})},  # noqa: E501
        other | {"EVENT_ID": "evother-4", "SEARCH_QUERY": f"{STREET.lower()} austin"},
    ]  # fmt: skip
    _lines(landing / "web/events/zz.jsonl.gz", rows)
    return 9


def _plant_words(landing: Path, neighbour: str) -> int:
    head = _header(landing / "support/interactions/interactions.csv")
    common = {
        "INTERACTION_TYPE": "EMAIL",
        "INTERACTION_DATE": "2026-05-05T03:29:12.123Z",
        "INTERACTION_CHANNEL": "WEB",
        "PRIORITY_LEVEL": "MEDIUM",
    }
    rows = [_row(head, INTERACTION_ID="INCAN1", CUSTOMER_ID=SHOP, INTERACTION_SUBJECT=f"Order of {LAST}", INTERACTION_DESCRIPTION=f"Please call {PHONE}", **common),  # noqa: E501
            _row(head, INTERACTION_ID="INCAN2", CUSTOMER_ID=neighbour, INTERACTION_DESCRIPTION=f"My neighbour {FIRST} {LAST} ({MAIL}) took the parcel", **common),  # noqa: E501
            _row(head, INTERACTION_ID="INCAN3", CUSTOMER_ID=neighbour, INTERACTION_DESCRIPTION="Call her at (202) 555-0147", **common),  # noqa: E501
            _row(head, INTERACTION_ID="INCAN4", CUSTOMER_ID=neighbour, INTERACTION_DESCRIPTION=f"It went to {STREET} instead", **common)]  # noqa: E501  # fmt: skip
    (landing / "support/interactions/zz.csv").write_text("\n".join([head, *rows]) + "\n")
    message = {
        "ENGAGEMENT_ID": "EGCANARY",
        "CUSTOMER_ID": neighbour,
        "ENGAGEMENT_TYPE": "EMAIL",
        "ENGAGEMENT_DATE": "2026-06-02T14:07:57.000Z",
        "MESSAGE_CONTENT": f"Dear {FIRST} {LAST}, welcome",
    }
    _lines(landing / "crm/engagement/zz.jsonl.gz", [message])
    head = _header(landing / "crm/campaigns/campaigns.csv")
    (landing / "crm/campaigns/zz.csv").write_text(
        "\n".join(
            [
                head,
                _row(
                    head,
                    CAMPAIGN_ID="CMPCAN",
                    CAMPAIGN_NAME=f"Thanks to {FIRST} {LAST}",
                    CAMPAIGN_TYPE="EMAIL",
                    START_DATE="2026-05-03",
                    END_DATE="2026-05-16",
                    CREATED_BY="marketer0",
                ),
            ]
        )
        + "\n"
    )
    return 6


Made = Callable[[], object]


def plant_beside(lake: Path, state: Path) -> dict[str, Path]:
    """What runs that died, lakes of before and people leave in lake and state folder, by what it is."""
    rows = pl.DataFrame({"CUSTOMER_ID": [POS], "FIRST_NAME": [FIRST], "LAST_NAME": [LAST], "EMAIL_ADDRESS": [MAIL]})
    said = json.dumps({"message": f"row of {MAIL} failed", "who": f"{FIRST} {LAST}"})
    found: dict[str, tuple[str, Path, Made]] = {}

    def put(name: str, path: Path, write: Callable[[Path], object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        found[name] = name, path, lambda: write(path)

    put(
        "a file that no commit names", lake / "bronze/customers/_source=pos_customers/never.parquet", rows.write_parquet
    )
    put("a file of a gold table that no commit names", lake / "gold/customer_360/never.parquet", rows.write_parquet)
    put("a table that no contract declares", lake / "silver/former_people/never.parquet", rows.write_parquet)
    put("pieces of a run that died", lake / "_staging/dead/out-0.parquet", rows.write_parquet)
    put("a run's failure", lake / "_runs/20200101T000000000000Z.json.canary", lambda p: p.write_text(said))
    put("a replay", lake / "_replays/zz/1.jsonl", lambda p: p.write_text(json.dumps({"EMAIL_ADDRESS": MAIL}) + "\n"))
    put("a load that died", state / "warehouse.fresh", lambda p: p.write_bytes(b"\0" * 40 + MAIL.encode()))
    put("a load that died, its log", state / "warehouse.fresh.wal", lambda p: p.write_text(MAIL))
    for _, _, write in found.values():
        write()
    return {name: path for name, path, _ in found.values()}


def plant_foreign(folder: Path) -> dict[str, Path]:
    """Copies that people keep, each in another encoding, format or packing, by what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "plain": f"to {MAIL}", "upper case": MAIL.upper(),
        "percent": f"https://x.example/?to={MAIL.replace('@', '%40')}",
        "percent twice spelt": f"u%3D{MAIL.replace('@', '%40')}%26",
        "json escapes": json.dumps({"m": MAIL}).replace("@", "\\u0040"),
        "html references": MAIL.replace("@", "&#64;"), "phone parted": "+1 (202) 555-0147",
        "phone dotted": "202.555.0147",
        "phone with a country": "0012025550147", "name turned": f"{LAST}, {FIRST}",
        "name with an initial": f"{FIRST} J. {LAST}",
        "name in a url": f"?n={FIRST}+{LAST}", "name in json": json.dumps({"first": FIRST, "last": LAST}),
        "name in xml": f"<first>{FIRST}</first><last>{LAST}</last>", "name in csv": f'"{FIRST}";"{LAST}"',
        "account": f"POS/{POS}", "account alone": f"id={SHOP};", "device": DEVICE.lower(), "address": STREET.upper(),
        "address in a url": STREET.replace(" ", "%20"), "a log": f"WARN could not write row {POS}",
    }  # fmt: skip
    made = {f"text: {name}": (f"{name.replace(' ', '_')}.txt", text.encode()) for name, text in texts.items()}
    line = json.dumps({"mail": MAIL}).encode()
    made["utf-16"] = "utf16.txt", f"to {FIRST} {LAST}".encode("utf-16-le")
    made["gzip"] = "log.gz", gzip.compress(line)
    made["gzip in gzip"] = "log.gz.gz", gzip.compress(gzip.compress(line))
    made["gzip of two members"] = "two.gz", gzip.compress(b"nothing") + gzip.compress(line)
    made["gzip that was cut"] = "cut.gz", gzip.compress(line * 50)[:-12]
    found: dict[str, Path] = {}
    for name, (file, data) in made.items():
        found[name] = folder / file
        found[name].write_bytes(data)
    rows = pl.DataFrame(
        {"who": [FIRST, "Ann"], "family": [LAST, "Other"], "tags": [[MAIL], []], "raw": [b"x", PHONE.encode()]}
    )
    for name, columns in {
        "parquet of names": ["who", "family"],
        "parquet of lists": ["tags"],
        "parquet of bytes": ["raw"],
    }.items():
        found[name] = folder / f"{name.replace(' ', '_')}.parquet"
        rows.select(columns).write_parquet(found[name], compression="zstd")
    found["zip"] = folder / "export.zip"
    with zipfile.ZipFile(found["zip"], "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("rows.csv", f"mail\n{MAIL}\n")
    found["sqlite"] = folder / "runs.db"
    with closing(sqlite3.connect(found["sqlite"])) as database, database:
        database.execute("CREATE TABLE params (value TEXT)")
        database.execute("INSERT INTO params VALUES (?)", (f"trained on {POS}",))
    found["file name"] = folder / f"ticket of {MAIL}.txt"
    found["file name"].write_text("nothing")
    return found
