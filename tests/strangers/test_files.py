"""Files as strangers export them, from the landing folder to bronze: every record lands right, or lies in a dead
letter.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import quality

pytestmark = pytest.mark.slow

NAMES = ["TRANSACTION_ID", "CUSTOMER_ID", "CHANNEL", "TRANSACTION_DATE", "TRANSACTION_TYPE", "TOTAL_AMOUNT", "TRANSACTION_STATUS", "RECEIPT_NUMBER"]  # fmt: skip  # noqa: E501
HEADER = ",".join(NAMES)


def sale(number: int, receipt: str = "r", delimiter: str = ",") -> str:
    return delimiter.join([f"S{number}", f"K{number % 7}", "POS", "2026-03-02T09:30:00Z", "PURCHASE", "2.50", "COMPLETED", receipt])  # fmt: skip  # noqa: E501


def as_object(number: int, **more: Any) -> dict[str, Any]:
    return {**dict(zip(NAMES, sale(number).split(","), strict=True)), **more}


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return buffer.getvalue()


def exports() -> dict[str, bytes]:
    """Files by name; the receipts say what they should be read as."""
    till = [sale(i, "lamp 7in") for i in range(300)]
    till[20], till[210] = sale(20, 'lamp 7"'), sale(210, '"lamp')
    till[250] = sale(250, 'shelf, 3"')  # nine fields
    text = "\n".join
    return {
        "till/inches.csv": text([HEADER, *till, ""]).encode(),
        "till/backslash.csv": text([HEADER, sale(1000, r'"the \"best\", she said"'), sale(1001, '"two\nlines"')]).encode(),  # noqa: E501
        "till/trailing.csv": text([HEADER + ",", *(sale(i) + "," for i in range(1100, 1103))]).encode(),
        "till/old-mac.csv": "\r".join([HEADER, *(sale(i) for i in range(1200, 1204)), ""]).encode(),
        "till/semicolons.csv": text(["sep=;", HEADER.replace(",", ";"), sale(1300, "a,b", ";")]).encode("utf-16"),
        "till/windows.csv": text([HEADER, sale(1400, "Café"), sale(1401, "Größe")]).encode("cp1252"),
        "till/report.csv": text(["Sales of March", "", HEADER, sale(1500), sale(1501), "Total,,,,,5.00,,"]).encode(),
        "till/bundle.zip": zipped(**{"a.csv": text([HEADER, sale(1600)]).encode(), "b.csv.gz": gzip.compress(text([HEADER, sale(1601)]).encode())}),  # noqa: E501
        "till/headless.csv": text([sale(1700), sale(1701)]).encode(),
        "till/half.csv.gz": gzip.compress(text([HEADER, *(sale(i) for i in range(1800, 1900))]).encode())[:-20],
        "till/empty.csv": b"",
        "till/guarded.csv": text([HEADER, sale(1900, '="007"'), sale(1901, '"=""008"""'), sale(1902, '=1+1')]).encode(),
        "till/streams.gz": gzip.compress(text([HEADER, sale(2000), ""]).encode()) + gzip.compress(sale(2001).encode()),
        "till/hive": text([HEADER, sale(2100, "a,b|c", "\x01")]).replace(HEADER, HEADER.replace(",", "\x01")).encode(),
        "till/widths.txt": b"0000012026030200250AB\n0000022026030200350CD\n",
        "till/swung.csv": text([HEADER, sale(2200)]).replace(",", "~").encode(),
        "till/foreign.csv": b"sku,price\nX,1\n",
        "till/lower.csv": text([HEADER.lower(), sale(2300)]).encode(),
        "till/old.rar": b"Rar!\x1a\x07\x01\x00" + bytes(range(33, 99)),
        "till/[gr\u00fc\u00dfe] 50%20#&;.csv": text([HEADER, sale(2400)]).encode(),
        "shop/stream.json": b"".join(json.dumps(as_object(i)).encode() for i in (41, 42)),
        "shop/deep.jsonl": text(['{"TRANSACTION_ID": "S51", "x": ' + "[" * 10_000 + "]" * 10_000 + "}", json.dumps(as_object(52)), '{"TRANSACTION_ID": "S53", "TOTAL_AMOUNT": NaN}']).encode(),  # noqa: E501
        "shop/odd.jsonl": text([
            json.dumps(as_object(1)).replace('"2.50"', '9.00, "TOTAL_AMOUNT": 3.25'),
            json.dumps(as_object(2, RECEIPT_NUMBER="x")).replace('"x"', r'"x\udc00y"'),
            json.dumps(as_object(3, RECEIPT_NUMBER=['the "big" one', "D:\\x"])), '{"TRANSACTION_ID": "S4", ',
        ]).encode(),
        "shop/page.json": json.dumps({"next": None, "count": 2, "sales": [as_object(11), as_object(12)]}, indent=1).encode(),  # noqa: E501
        "shop/one.json": json.dumps(as_object(21), indent=1).encode(),
        "shop/feed.xml": b"<feed><made>x</made>" + b"".join(
            b"<sale>" + b"".join(f"<{k}>{v}</{k}>".encode() for k, v in as_object(i).items()) + b"</sale>" for i in (31, 32)  # noqa: E501
        ) + b"</feed>",
    }  # fmt: skip


@pytest.fixture(scope="module")
def landed(site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("files")
    config = root / "config.yaml"
    sources = "\n".join(f"  {name}: {{table: bronze.transactions, system: {name.upper()}, path: {name}/*}}" for name in ("till", "shop"))  # fmt: skip  # noqa: E501
    config.write_text(f"extends: base.yaml\nsources:\n{sources}\n  stores: {{table: bronze.stores, system: ERP, path: stores/*, mapping: {{STORE_ID: id, STORE_NAME: name}}}}\n")  # fmt: skip  # noqa: E501
    made = site(root, config=config)
    for name, content in {**exports(), "stores/1.csv": b"id,name\n1,One\n"}.items():
        path = Path(made.landing) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    made.run(end="bronze")
    return made


def receipts(landed: Any, file: str) -> dict[str, str]:
    """Receipts by the number of the transaction."""
    frame = landed.lake.scan("bronze.transactions").filter(pl.col("_file") == file).sort("_position").collect()
    return {row["TRANSACTION_ID"][1:]: row["RECEIPT_NUMBER"] for row in frame.to_dicts()}


def letters(landed: Any, file: str) -> list[str]:
    return quality.dead_letters(landed.lake).filter(pl.col("file") == file)["reason"].to_list()


def test_inch_marks_swallow_no_sales(landed: Any) -> None:
    found = receipts(landed, "till/inches.csv")
    assert len(found) == 299 and (found["20"], found["210"]) == ('lamp 7"', '"lamp')
    assert letters(landed, "till/inches.csv") == ["expected 8 fields, found 9"]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("till/backslash.csv", {"1000": 'the "best", she said', "1001": "two\nlines"}),
        ("till/trailing.csv", {"1100": "r", "1101": "r", "1102": "r"}),
        ("till/old-mac.csv", {"1200": "r", "1201": "r", "1202": "r", "1203": "r"}),
        ("till/semicolons.csv", {"1300": "a,b"}),
        ("till/windows.csv", {"1400": "Café", "1401": "Größe"}),
        ("till/report.csv", {"1500": "r", "1501": "r"}),
        ("till/bundle.zip", {"1600": "r", "1601": "r"}),
        ("till/guarded.csv", {"1900": "007", "1901": "008", "1902": "=1+1"}),
        ("till/streams.gz", {"2000": "r", "2001": "r"}),
        ("till/hive", {"2100": "a,b|c"}),
        ("till/[gr\u00fc\u00dfe] 50%20#&;.csv", {"2400": "r"}),
        ("shop/stream.json", {"41": "r", "42": "r"}),
        ("shop/deep.jsonl", {"52": "r"}),
        ("shop/page.json", {"11": "r", "12": "r"}),
        ("shop/one.json", {"21": "r"}),
        ("shop/feed.xml", {"31": "r", "32": "r"}),
    ],
)
def test_dialects_land_whole(landed: Any, file: str, expected: dict[str, str]) -> None:
    assert receipts(landed, file) == expected


def test_odd_objects_land_as_json_means_them(landed: Any) -> None:
    found = receipts(landed, "shop/odd.jsonl")
    assert found["2"] == "x\ufffdy"
    assert json.loads(found["3"]) == ['the "big" one', "D:\\x"]
    amount = landed.lake.scan("bronze.transactions").filter(
        pl.col("TRANSACTION_ID") == "S1", pl.col("_source") == "shop"
    )
    assert amount.select(pl.col("TOTAL_AMOUNT").cast(pl.Float64)).collect().item() == 3.25
    assert len(letters(landed, "shop/odd.jsonl")) == 1


def test_a_file_that_cannot_be_read_is_one_letter_with_the_remedy_and_hurts_no_other(landed: Any) -> None:
    assert "`columns: [...]`" in letters(landed, "till/headless.csv")[0]
    assert letters(landed, "till/half.csv.gz")[0].startswith("gzip")
    assert letters(landed, "till/empty.csv") == []
    assert letters(landed, "till/report.csv") == ["looks like a total of the rows above it; give the source `footer: 1` to leave it out"]  # fmt: skip  # noqa: E501
    assert landed.lake.scan("bronze.stores").collect().height == 1


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("till/widths.txt", ["one column", "`delimiter`", "fixed widths"]),
        ("till/swung.csv", ["one column", "`delimiter`"]),
        ("till/foreign.csv", ["'sku', 'price'", "bronze.transactions", "`mapping`"]),
        ("till/lower.csv", ["in case alone", "TRANSACTION_ID: transaction_id"]),
        ("till/old.rar", ["RAR archive", "as zip or gzip"]),
        ("till/half.csv.gz", ["gzip", "deliver it again"]),
    ],
)
def test_another_thing_than_was_meant_is_one_letter_that_says_what_to_do(
    landed: Any, file: str, said: list[str]
) -> None:
    (reason,) = letters(landed, file)
    assert [word for word in said if word not in reason] == []
    assert "00000120260302" not in reason and receipts(landed, file) == {}


def test_no_line_is_lost_whatever_the_files_hold(landed: Any) -> None:
    from customer360.serve.cli import report

    balances = [balance for _, balance in report.balances(landed.lake, landed.settings)]
    assert balances and [b.text for b in balances if not b.holds] == []
    assert [letters(landed, f"shop/{n}") for n in ("deep.jsonl",)] == [
        ["JSON: nested too deep", "JSON: NaN is no JSON value"]
    ]
