"""Days that follow a sample: their volume, their laws, and that nothing depends on how they were made."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from customer360.pipelines.sample import CLEAN, write_day, write_sample
from customer360.pipelines.sample import daily as days
from customer360.pipelines.sample.base import MANIFEST, read_base
from customer360.platform.errors import ConfigError

FIRST, WEEK = date(2026, 7, 1), date(2026, 7, 8)
RATE, PEOPLE = 0.0004, 1200


def written(out: Path) -> Path:
    write_day(out, FIRST, rate=RATE, customers=PEOPLE, dirt=CLEAN, processes=1)
    write_day(out, WEEK, rate=RATE, dirt=CLEAN, processes=1)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    patch = pytest.MonkeyPatch()
    patch.setattr(days, "BLOCK", 400)
    patch.setattr(days, "SLICE", 4_000)
    made = written(tmp_path_factory.mktemp("days"))
    patch.undo()
    return made


def table(out: Path, feed: str, day: date | str = "") -> pl.DataFrame:
    def read(file: Path) -> pl.DataFrame:
        if file.suffix == ".parquet":
            return pl.read_parquet(file)
        if file.suffix == ".csv":
            return pl.read_csv(file, infer_schema=False)
        lines = gzip.decompress(file.read_bytes()).splitlines()
        return pl.DataFrame([json.loads(line) for line in lines], infer_schema_length=None)

    files = sorted((out / "landing" / feed).glob(f"{day}*"))
    return pl.concat([read(file) for file in files], how="diagonal_relaxed")


def digest(out: Path) -> dict[str, str]:
    files = [path for path in out.rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("feeds", "of_the_day"),
    [
        (("pos/transactions", "shop/transactions"), 5_000_000),
        (("pos/transaction_items", "shop/transaction_items"), 15_000_000),
        (("web/events",), 50_000_000),
        (("crm/engagement",), 10_000_000),
        (("support/interactions", "support/tickets"), 100_000),
        (("external/profiles", "external/sentiment"), 1_000_000),
    ],
)
def test_a_day_has_its_share_of_the_specifications_volume(folder, feeds, of_the_day):
    rows = sum(table(folder, feed, FIRST).height for feed in feeds)
    assert rows == pytest.approx(RATE * of_the_day, rel=0.25 if of_the_day >= 1_000_000 else 0.9)


def test_everything_happens_on_the_day_to_people_who_are_there(folder):
    people = pl.concat([table(folder, f"{s}/customers")["CUSTOMER_ID"] for s in ("pos", "shop", "crm")])
    assert people.n_unique() == people.len() > PEOPLE
    sold = table(folder, "pos/transactions", FIRST)
    assert set(sold["CUSTOMER_ID"].drop_nulls()) <= set(people) and sold["CUSTOMER_ID"].drop_nulls().n_unique() > 50
    assert set(sold["TRANSACTION_DATE"].str.head(10)) == {str(FIRST)}
    events = table(folder, "web/events", FIRST)
    assert set(events["EVENT_DATE"].str.head(10)) <= {str(FIRST + timedelta(days=n)) for n in (-1, 0, 1)}
    assert set(events["PRODUCT_ID"].drop_nulls()) <= set(table(folder, "erp/products")["PRODUCT_ID"])
    members = set(table(folder, "crm/customers")["CUSTOMER_ID"])
    assert set(table(folder, "crm/engagement", FIRST)["CUSTOMER_ID"]) <= members


@pytest.mark.parametrize(
    ("feed", "key"),
    [
        ("pos/transactions", "TRANSACTION_ID"), ("shop/transactions", "TRANSACTION_ID"), ("web/events", "EVENT_ID"),
        ("pos/transaction_items", "ITEM_ID"), ("web/sessions", "SESSION_ID"), ("crm/engagement", "ENGAGEMENT_ID"),
        ("support/interactions", "INTERACTION_ID"), ("external/sentiment", "SENTIMENT_ID"),
        ("shop/orders", "ONLINE_ORDER_ID"),
    ],
)  # fmt: skip
def test_keys_occur_once_over_blocks_slices_and_days(folder, feed, key):
    assert len(list((folder / "landing" / feed).glob(f"{FIRST}*"))) > 3, "several blocks and slices"
    assert table(folder, feed)[key].is_duplicated().sum() == 0


def test_lines_add_up_to_their_receipts(folder):
    head, lines = table(folder, "pos/transactions"), table(folder, "pos/transaction_items")
    money = ["TOTAL_AMOUNT", "TAX_AMOUNT", "SHIPPING_AMOUNT", "DISCOUNT_AMOUNT"]
    sums = lines.group_by("TRANSACTION_ID").agg(pl.col("TOTAL_PRICE").cast(pl.Float64).sum())
    both = head.with_columns(pl.col(money).cast(pl.Float64)).join(sums, on="TRANSACTION_ID")
    assert both.height == head.height
    off = pl.col("TOTAL_PRICE") + pl.col("TAX_AMOUNT") + pl.col("SHIPPING_AMOUNT") - pl.col("DISCOUNT_AMOUNT")
    assert both.select((off - pl.col("TOTAL_AMOUNT")).abs().max()).item() < 0.005


def test_goods_come_back_a_week_after_they_were_bought(folder):
    feeds = ("pos/transactions", "shop/transactions")
    first = pl.concat([table(folder, feed, FIRST) for feed in feeds], how="diagonal_relaxed")
    later = pl.concat([table(folder, feed, WEEK) for feed in feeds], how="diagonal_relaxed")
    assert first.filter(pl.col("TRANSACTION_TYPE") != "PURCHASE").is_empty()
    back = later.filter(pl.col("TRANSACTION_TYPE") != "PURCHASE")
    assert back.height > 20 and set(back["TRANSACTION_DATE"].str.head(10)) == {str(WEEK)}
    bought = first.select("RECEIPT_NUMBER", was="CUSTOMER_ID")
    met = back.join(bought, on="RECEIPT_NUMBER", how="left")
    assert met.height == back.height and (met["was"].eq_missing(met["CUSTOMER_ID"])).all()


def test_the_same_whoever_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(days, "BLOCK", 400)
    made = [tmp_path / "one", tmp_path / "two"]
    for out, processes in zip(made, (1, 2), strict=True):
        write_day(out, FIRST, rate=0.00005, customers=200, seed=3, processes=processes)
    assert digest(made[0]) == digest(made[1])
    assert not list(tmp_path.rglob(".unfinished"))


def test_a_day_follows_a_sample_with_a_history(tmp_path):
    write_sample(tmp_path, customers=60, days=40, seed=5, dirt=CLEAN)
    before = digest(tmp_path)
    made = write_day(tmp_path, FIRST, rate=0.00002, dirt=CLEAN)
    after = digest(tmp_path)
    assert {name: after[name] for name in before if name != MANIFEST} == {
        n: d for n, d in before.items() if n != MANIFEST
    }
    assert made.customers == 60 and not {f for f in made.rows if f.endswith("/customers")}
    known = set(table(tmp_path, "shop/customers")["CUSTOMER_ID"])
    assert set(table(tmp_path, "shop/transactions", FIRST)["CUSTOMER_ID"].drop_nulls()) <= known


@pytest.mark.parametrize(
    ("day", "rate", "customers", "said"),
    [
        (FIRST, RATE, None, "2026-07-01 was written already"),
        (date(2026, 6, 30), RATE, None, "the sample's story ends on 2026-06-30"),
        (date(2026, 7, 2), 0.0, None, "above 0, got 0.0"),
        (date(2026, 7, 2), RATE, 7, "the sample has 1200 customers"),
    ],
)
def test_what_cannot_follow_is_refused(folder, day, rate, customers, said):
    with pytest.raises(ConfigError, match=said):
        write_day(folder, day, rate=rate, customers=customers)


def test_a_sample_without_its_description_is_refused(tmp_path):
    (tmp_path / "landing").mkdir()
    with pytest.raises(ConfigError, match=r"without sample\.json"):
        read_base(tmp_path)
