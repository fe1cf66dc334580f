"""Feeds beside the retailer's main ones keep their laws: new stores, a store abroad, collected orders, firms, a log."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from customer360.pipelines.sample import abroad, business, changes, collected, openings
from customer360.pipelines.sample.records import customer_rows
from customer360.pipelines.sample.sales import PURCHASE, sales
from customer360.pipelines.sample.stores import distances_km
from customer360.pipelines.sample.streams import Streams
from customer360.pipelines.sample.visits import purchases
from customer360.pipelines.sample.world import World, build_world

DAYS, END = 200, date(2026, 6, 30)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(customers=1500, days=DAYS, seed=7, end_on=END)


def unmoved(world: World) -> pl.DataFrame:
    """The receipts as they would be without the new stores."""
    place = world.people["place"].to_numpy()
    bought = purchases(world.streams, world.lives, world.accounts, place, world.start_on, world.days)
    sold = sales(
        Streams(7), world.tastes, world.shelf, bought, world.visits, world.people, world.lives["gone"].to_numpy(),
        world.member_from, world.home_store, world.days, len(world.stores),
    )  # fmt: skip
    return sold.receipts


def test_a_new_store_takes_its_share_of_known_people_and_the_other_nothing(world: World) -> None:
    before, after = unmoved(world), world.sales.receipts
    assert before.drop("store").equals(after.drop("store")), "nothing but the store changes"
    opened = (world.openings["OPENED_DATE"][0] - world.start_on).days
    moved = after.filter(before["store"] != after["store"])
    assert moved["day"].min() >= opened and not moved["online"].any()
    place = world.people["place"].to_numpy()[after["person"].to_numpy()]
    bought = after.with_columns(near=pl.Series(distances_km(world.openings)[place, 0] <= openings.NEAR_KM))
    open_ = bought.filter(pl.col("kind") == PURCHASE, ~pl.col("online"), pl.col("day") >= opened)
    known = open_.filter("near", pl.col("account") >= 0)
    share, count = (known["store"] == len(world.stores)).mean(), len(known)
    assert count > 30 and share == pytest.approx(openings.TAKEN[0], abs=3 * np.sqrt(0.35 * 0.65 / count))
    second = after.filter(pl.col("store") == len(world.stores) + 1)
    assert len(second) and (second["account"] < 0).all(), "passers-by alone"
    back = after.filter(pl.col("kind") != PURCHASE, ~pl.col("online"))
    assert (after["store"].gather(back["origin"]) == back["store"]).all()
    truth = openings.opening_truth(world.openings)
    assert truth["taken_share"].to_list() == [0.35, 0.0]
    assert set(truth["store_id"]) < set(abroad.store_rows(world)["STORE_ID"])


def test_receipts_abroad_are_in_their_money_and_each_day_has_a_rate(world: World) -> None:
    sold, items, rates = (f(world) for f in (abroad.transactions_abroad, abroad.items_abroad, abroad.rate_rows))
    assert set(sold["CURRENCY_CODE"]) == {"CAD"} and sold["STORE_ID"].unique().to_list() == ["ST043"]
    goods = items.group_by("TRANSACTION_ID").agg(pl.col("TOTAL_PRICE").sum())
    both = sold.join(goods, on="TRANSACTION_ID", validate="1:1")
    assert len(both) == len(sold) and (both["TOTAL_PRICE"] + both["TAX_AMOUNT"] == both["TOTAL_AMOUNT"]).all()
    assert 0.15 < sold["CUSTOMER_ID"].is_not_null().mean() < 0.4
    known = sold.join(world.accounts, left_on="CUSTOMER_ID", right_on="customer_id")
    day = (known["TRANSACTION_DATE"].dt.date() - world.start_on).dt.total_days()
    gone = world.lives["gone"].gather(known["person"])
    assert (known["registered"] <= day).all() and (day < gone).all(), "people who are customers then"
    dollars = rates.filter(FROM_CURRENCY="CAD").sort("RATE_DATE")
    on = sold.sort("TRANSACTION_DATE").with_columns(on=pl.col("TRANSACTION_DATE").dt.date())
    aged = on.join_asof(dollars, left_on="on", right_on="RATE_DATE")
    assert (aged["on"] - aged["RATE_DATE"]).max() <= timedelta(days=2), "a weekend"
    assert aged["RATE"].is_between(0.5, 1.0).all() and rates["RATE_DATE"].dt.weekday().max() == 5
    assert dollars["RATE"].n_unique() > 100


def test_a_collected_order_is_one_sale_and_what_is_bought_beside_it_another(world: World) -> None:
    truth, rows = collected.collection_truth(world), collected.collection_rows(world)
    items = collected.collection_item_rows(world)
    assert set(truth["transaction_id"]) == set(rows["TRANSACTION_ID"]) == set(items["TRANSACTION_ID"])
    assert rows["TRANSACTION_ID"].is_unique().all() and items["ITEM_ID"].is_unique().all()
    heads = world.sales.receipts.with_row_index("receipt")
    shop = heads.select(
        duplicate_of=pl.format("T{}", pl.col("receipt").cast(pl.String).str.zfill(10)), cents="total", at="at"
    )
    said = rows.join(truth, left_on="TRANSACTION_ID", right_on="transaction_id")
    again = said.join(shop, on="duplicate_of")
    assert len(again) == len(truth.drop_nulls()) > 5
    assert (again["TOTAL_AMOUNT"] * 100 == again["cents"]).all()
    assert (again["TRANSACTION_DATE"].dt.epoch("us") > again["at"]).all()
    goods = items.group_by("TRANSACTION_ID").agg(pl.col("TOTAL_PRICE").sum())
    law = pl.col("TOTAL_PRICE") + pl.col("TAX_AMOUNT") + pl.col("SHIPPING_AMOUNT") - pl.col("DISCOUNT_AMOUNT")
    assert rows.join(goods, on="TRANSACTION_ID").filter(law != pl.col("TOTAL_AMOUNT")).is_empty()
    beside = said.filter(pl.col("duplicate_of").is_null())
    assert len(beside) and beside["ONLINE_ORDER_ID"].null_count() == rows["CUSTOMER_ID"].count() == 0


def test_firms_have_branches_and_contacts_who_are_nobody_elses(world: World) -> None:
    rows, truth = business.business_rows(world), business.business_truth(world)
    assert rows["CUSTOMER_ID"].is_unique().all() and truth["customer_id"].to_list() == rows["CUSTOMER_ID"].to_list()
    roles = rows.select("FIRST_NAME", "ENTITY_TYPE", "ORGANISATION_NUMBER", "EMAIL_ADDRESS").hstack(truth)
    firms = roles.filter(pl.col("role") != business.CONTACT)
    assert firms["FIRST_NAME"].count() == 0 and set(firms["ENTITY_TYPE"]) == {"Company"}
    assert firms.drop_nulls("ORGANISATION_NUMBER").group_by("firm").agg(pl.col("ORGANISATION_NUMBER").n_unique())[
        "ORGANISATION_NUMBER"
    ].max() == 1  # fmt: skip
    assert roles.group_by("firm").agg((pl.col("role") == business.FIRM).sum())["role"].unique().to_list() == [1]
    assert {business.BRANCH, business.CONTACT} < set(truth["role"])
    known = set(world.people["email"]) | set(world.people["second_email"])
    assert not known & set(rows["EMAIL_ADDRESS"])


def test_the_log_read_from_its_start_ends_with_the_accounts(world: World) -> None:
    held = world.accounts.filter(source_system="CRM")
    said = customer_rows(world.streams, "CRM", world.people, held, world.activity("CRM"), world.start_on)
    now = {row["CUSTOMER_ID"]: row for row in said.iter_rows(named=True)}
    kept: dict[str, dict[str, object]] = {}
    log = changes.change_rows(world)
    for row in log.iter_rows(named=True):
        before, after = row["before"], row["after"]
        account = (after or before)["id"]
        if row["op"] != "c" and account in kept:
            assert before == kept[account]
        kept[account] = after
    assert log["source"].struct.field("pos").is_unique().all() and set(log["op"]) == {"c", "u", "d"}
    assert log["source"].struct.field("ts_ms").is_sorted()
    gone = {account for account, row in kept.items() if row is None}
    assert gone and not gone & now.keys(), "entered by mistake"
    for account in kept.keys() - gone:
        assert kept[account] == {name: now[account][column] for name, column in changes.COLUMNS.items()}
