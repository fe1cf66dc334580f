"""Folders as they are: what is one delivery, what is skipped and why; nothing that lies there raises."""

from __future__ import annotations

import io
import os
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer360.platform.sources.landing import Landing, matcher
from customer360.platform.sources.profiling.survey import Survey, survey

ORDERS = "order_id,customer_id,total\n1,a,5.00\n2,b,6.00\n"
NASTY = {
    "empty.csv": b"",
    "header.csv": b"a,b,c\n",
    "picture.csv": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "photo.png": b"\x89PNG",
    "book.pdf": b"%PDF-1.7",
    "report.csv": b"%PDF-1.7 ...",
    "._orders.csv": b"\x00\x05\x16\x07",
    "~$orders.xlsx": b"lock",
    ".DS_Store": b"\x00",
    "noise.bin": bytes(range(256)) * 40,
    "broken.zip": b"PK\x03\x04 and then nothing of it",
    "broken.csv.gz": b"\x1f\x8b\x08 no",
    "broken.xlsx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 600,
    "broken.json": b'{"a": [1, 2',
    "broken.parquet": b"PAR1 no PAR1",
    "page.csv": b"<html><body>Please log in</body></html>",
    "one.csv": b"just one line of words",
    "odd [name]?.csv": ORDERS.encode(),
    "sp ace/\xe4\xf6.csv".encode().decode("utf-8"): b"id;wert\n1;2\n",
}


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def looked(root: Path) -> Survey:
    return survey(Landing(str(root)))


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return buffer.getvalue()


def test_every_file_of_a_nasty_folder_is_a_delivery_or_skipped_with_a_reason(tmp_path: Path) -> None:
    folder(tmp_path, NASTY)
    nested = archive({"inner.zip": archive({"orders.csv": ORDERS.encode()}), "__MACOSX/._orders.csv": b"\0"})
    (tmp_path / "nested.zip").write_bytes(nested)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "gone.csv")
    found = looked(tmp_path)
    taken = {file for delivery in found.deliveries for file in delivery.files}
    skipped = {skip.name.split(": ")[0] for skip in found.skipped}
    assert taken | skipped >= {*NASTY, "nested.zip"}
    assert {"odd [name]?.csv", "nested.zip"} <= taken
    assert all(skip.reason and "\n" not in skip.reason for skip in found.skipped)
    assert {"empty.csv": "empty", "header.csv": "a header and no rows"}.items() <= {
        s.name: s.reason for s in found.skipped
    }.items()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
def test_a_file_that_may_not_be_read_is_skipped(tmp_path: Path) -> None:
    folder(tmp_path, {"orders.csv": ORDERS.encode(), "secret.csv": ORDERS.encode()})
    (tmp_path / "secret.csv").chmod(0)
    assert [skip.name for skip in looked(tmp_path).skipped] == ["secret.csv"]


def test_deliveries_of_one_thing_are_one_glob_and_no_other_file_is_in_it(tmp_path: Path) -> None:
    days = {f"shop/orders_2026-01-{day:02d}.csv": ORDERS.encode() for day in range(1, 9)}
    others = {"shop/orders_open.csv": b"order_id,reason\n1,x\n", "shop/orders_2026-01-09.csv.bak": ORDERS.encode()}
    found = looked(folder(tmp_path, days | others))
    of_days = next(delivery for delivery in found.deliveries if len(delivery.files) == len(days))
    matches = matcher(of_days.path)
    assert {name for name in {**days, **others} if matches(name)} == set(days)


def test_files_of_like_names_and_other_columns_are_other_deliveries(tmp_path: Path) -> None:
    files = {"export_1.csv": ORDERS.encode(), "export_2.csv": b"sku,title\nA,Lamp\n", "export_3.csv": ORDERS.encode()}
    found = looked(folder(tmp_path, files))
    assert sorted(sorted(delivery.columns) for delivery in found.deliveries)[-1] == ["sku", "title"]
    assert {file for delivery in found.deliveries for file in delivery.files} == set(files)


def test_tables_of_an_archive_are_deliveries_each(tmp_path: Path) -> None:
    folder(
        tmp_path,
        {
            "all.zip": archive(
                {"orders.csv": ORDERS.encode(), "products.csv": b"sku,title\nA,Lamp\n", "read me.pdf": b"%PDF"}
            )
        },
    )
    found = looked(tmp_path)
    assert {delivery.place.members: sorted(delivery.columns)[0] for delivery in found.deliveries} == {
        "orders.csv": "customer_id",
        "products.csv": "sku",
    }


def test_the_lake_of_an_earlier_run_is_no_data(tmp_path: Path) -> None:
    lake = {"mine_data/lake/t/_delta_log/0.json": b"{}", "mine_data/lake/t/bucket=1/part.csv": ORDERS.encode()}
    found = looked(folder(tmp_path, {"orders.csv": ORDERS.encode() + b"3,c,1.00\n", **lake}))
    assert [delivery.path for delivery in found.deliveries] == ["orders.csv"]


def test_equal_content_under_two_names_is_one_delivery(tmp_path: Path) -> None:
    found = looked(folder(tmp_path, {"orders.csv": ORDERS.encode(), "copy of orders.csv": ORDERS.encode()}))
    assert len(found.deliveries) == 1
    assert [skip.reason for skip in found.skipped] == ["the same content as copy of orders.csv"]


def test_two_thousand_files_are_looked_at_in_bounded_time(tmp_path: Path) -> None:
    folder(tmp_path, {f"d{day % 40}/orders-{day}.csv": ORDERS.encode() for day in range(2000)})
    began = time.monotonic()
    found = looked(tmp_path)
    assert time.monotonic() - began < 20
    assert sum(len(delivery.files) for delivery in found.deliveries) == 2000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    st.sampled_from([".csv", ".json", ".xlsx", ".zip", ".gz", ""]),
)
def test_no_bytes_raise(contents: list[bytes], suffix: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        for number, content in enumerate(contents):
            Path(root, f"file{number}{suffix}").write_bytes(content)
        looked(Path(root))
