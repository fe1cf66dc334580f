"""What happened since the date of the run: as the process that acknowledges events tells it, and what follows of it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines.gold.real_time import real_time_events, real_time_profiles, real_time_recommendations
from customer360.pipelines.sessions import of_humans
from customer360.pipelines.silver.behavior import Events
from customer360.pipelines.silver.sales import TransactionItems
from customer360.pipelines.silver.traffic import SetApartSessions
from customer360.platform import tables
from customer360.serve.realtime.activity import Activities, Step

AS_OF = date(2026, 7, 1)
MIDNIGHT = datetime(2026, 7, 1, tzinfo=UTC)
KINDS = ("PRODUCT_VIEW", "CART_ADD", "CART_REMOVE", "PURCHASE", "PAGE_VIEW")
APART = pl.LazyFrame(schema=tables.schema(SetApartSessions))
DOING = st.tuples(st.sampled_from(KINDS), st.sampled_from("ABCD"), st.integers(0, 45))


def events(rows: list[dict[str, Any]]) -> pl.LazyFrame:
    full = [
        {
            "event_id": f"E{n:04}",
            "source_system": "SHOP",
            "subject_id": row.get("person_id") or f"v:{n}",
            "event_type": "PAGE_VIEW",
            "occurred_on": row["occurred_at"].date(),
            **row,
        }
        for n, row in enumerate(rows)
    ]
    return pl.LazyFrame(full, schema=tables.schema(Events))


def sales(rows: list[dict[str, Any]]) -> pl.LazyFrame:
    full = [
        {
            "item_id": f"I{n}", "transaction_id": f"T{n}", "source_system": "POS", "subject_id": row["person_id"],
            "occurred_on": row["occurred_at"].date(), "is_orphan": False, "is_sale": True, "is_return": False,
            "is_product": True, "quantity": 1, **row,
        }
        for n, row in enumerate(rows)
    ]  # fmt: skip
    return pl.LazyFrame(full, schema=tables.schema(TransactionItems))


def test_events_of_two_sources_with_one_number_and_moment_are_in_one_order() -> None:
    done = {"person_id": "P", "event_id": "1", "product_id": "A", "occurred_at": MIDNIGHT}
    rows = [done | {"source_system": "S", "event_type": "CART_REMOVE"},
            done | {"source_system": "A", "event_type": "CART_ADD"}]  # fmt: skip
    for told in (rows, rows[::-1]):
        profiles = real_time_profiles(events(told), APART, sales([]), AS_OF).collect()
        assert profiles["cart_products"].to_list() == [[]]


@given(st.lists(DOING, max_size=30))
def test_a_person_is_told_of_as_the_process_that_acknowledged_tells(doings: list[tuple[str, str, int]]) -> None:
    windows, at, rows = Activities(now=lambda: MIDNIGHT + timedelta(hours=23)), MIDNIGHT, []
    for kind, product, minutes in doings:
        at += timedelta(minutes=minutes)
        named = () if kind == "PAGE_VIEW" else (product,)
        windows.note_all([(Step(kind=kind, at=at, products=named), None, "SHOP/1")])
        rows.append({"person_id": "P", "event_type": kind, "product_id": product if named else None, "occurred_at": at})
    told = real_time_profiles(events(rows), APART, sales([]), AS_OF).collect().to_dicts()
    window = windows.of("SHOP/1")
    if not rows:
        assert told == []
        return
    (profile,) = told
    assert profile["viewed_products"] == list(window.viewed)
    assert profile["cart_products"] == list(window.cart)
    assert sorted(profile["bought_products"]) == sorted(window.bought)
    assert profile["event_count"] == window.events and profile["until_at"] == window.last_at
    assert profile["session_count"] == 1 + sum(minutes > 30 for _, _, minutes in doings[1:])


def test_days_that_are_complete_are_left_to_the_other_tables() -> None:
    yesterday = {"person_id": "P", "event_type": "CART_ADD", "product_id": "A"}
    log = [yesterday | {"occurred_at": MIDNIGHT - timedelta(seconds=1)}, {"person_id": None, "occurred_at": MIDNIGHT}]
    told = real_time_events(events(log), AS_OF).collect()
    assert told["event_id"].to_list() == ["E0001"] and told["processing_status"].to_list() == ["ANONYMOUS"]
    assert real_time_profiles(events(log), APART, sales([]), AS_OF).collect().is_empty()
    assert not real_time_profiles(events(log), APART, sales([]), date(2026, 6, 30)).collect().is_empty()


def test_an_event_tells_what_it_said_as_json() -> None:
    said = {"person_id": "P", "event_type": "SEARCH", "search_query": 'a "red" hat', "occurred_at": MIDNIGHT}
    (row,) = real_time_events(events([said]), AS_OF).collect().to_dicts()
    assert json.loads(row["event_data"])["search_query"] == 'a "red" hat' and row["processing_status"] == "RESOLVED"


def test_what_was_bought_at_the_till_leaves_the_cart() -> None:
    log = [
        {"person_id": "P", "event_type": "CART_ADD", "product_id": product, "occurred_at": MIDNIGHT} for product in "AB"
    ]
    till = [
        {"person_id": "P", "product_id": "A", "occurred_at": MIDNIGHT + timedelta(hours=1)},
        {"person_id": "Q", "product_id": "C", "occurred_at": MIDNIGHT + timedelta(hours=2)},
        {"person_id": "R", "product_id": "C", "occurred_at": MIDNIGHT, "is_sale": False},
    ]
    told = real_time_profiles(events(log), APART, sales(till), AS_OF).sort("person_id").collect().to_dicts()
    assert [row["person_id"] for row in told] == ["P", "Q"], "a return is no sale"
    assert told[0]["cart_products"] == ["B"] and told[0]["bought_products"] == ["A"]
    assert told[1]["bought_products"] == ["C"] and told[1]["event_count"] == 0 and told[1]["session_started_at"] is None
    assert told[1]["until_at"] == MIDNIGHT + timedelta(hours=2) and told[1]["receipt_count"] == 1


def test_lists_are_fused_and_leave_out_what_is_had() -> None:
    log = [
        {"person_id": "P", "event_type": kind, "product_id": product, "occurred_at": MIDNIGHT + timedelta(minutes=n)}
        for n, (kind, product) in enumerate([("PRODUCT_VIEW", "V"), ("CART_ADD", "C"), ("PURCHASE", "B")])
    ]
    profiles = real_time_profiles(events(log[:2]), APART, sales([]), AS_OF)
    published = pl.LazyFrame(
        [(p, product, rank, mode) for p in "PQ" for product, rank, mode in
         [("X", 1, "new"), ("C", 2, "new"), ("Y", 3, "new"), ("Z", 1, "all")]],
        schema=["person_id", "product_id", "rank", "mode"], orient="row",
    ).cast({"rank": pl.Int64})  # fmt: skip
    affinity = pl.LazyFrame(
        [("V", "Y", 1, True), ("V", "N", 2, False), ("C", "W", 2, True), ("C", "Y", 5, True)],
        schema=["product_id", "other_product_id", "rank", "is_significant"], orient="row",
    ).cast({"rank": pl.Int64})  # fmt: skip
    told = real_time_recommendations(profiles, published, affinity, AS_OF).collect()
    assert set(told["person_id"]) == {"P"}, "of whoever did nothing the published list stands"
    assert told["product_id"].to_list() == ["Y", "X", "W"] and told["rank"].to_list() == [1, 2, 3]
    assert told["because_of"].to_list() == ["V", None, "C"]
    assert told["score"].to_list() == [1 / 63 + 1 / 61, 1 / 61, 1 / 62]
    bought = real_time_profiles(events(log), APART, sales([]), AS_OF)
    assert "C" in real_time_recommendations(bought, published, affinity, AS_OF).collect()["product_id"].to_list()


def test_of_the_retailer_both_halves_of_the_log_are_told_once(retailer) -> None:  # type: ignore[no-untyped-def]
    log = retailer.frame("silver.events")
    since = retailer.as_of - timedelta(days=3)
    told = real_time_events(log, since).collect()
    counting = log.filter(pl.col("occurred_on") >= since, pl.col("set_apart").is_null())
    assert told.height == counting.select(pl.len()).collect().item() > 50
    apart = retailer.frame("silver.set_apart_sessions")
    profiles = real_time_profiles(log, apart, retailer.frame("silver.transaction_items"), since).collect()
    by_humans = of_humans(counting, apart).collect()
    assert profiles["event_count"].sum() == by_humans["person_id"].count() and profiles["person_id"].is_unique().all()


def test_machines_and_automated_visits_are_shown_nothing() -> None:
    seen = {"person_id": "P", "product_id": "A", "event_type": "PRODUCT_VIEW", "occurred_at": MIDNIGHT}
    log = events([seen, seen | {"product_id": "B", "set_apart": "DECLARED_BOT"},
                  seen | {"product_id": "C", "tracker_session_id": "fast"}])  # fmt: skip
    visit = {"subject_id": "P", "session_id": "fast", "started_at": MIDNIGHT, "ended_at": MIDNIGHT}
    apart = pl.concat([APART, pl.LazyFrame([visit], schema_overrides=tables.schema(SetApartSessions))], how="diagonal")
    told = real_time_profiles(log, apart, sales([]), AS_OF).collect().row(0, named=True)
    assert told["viewed_products"] == ["A"] and told["event_count"] == 1
    assert real_time_events(log, AS_OF).collect()["event_id"].to_list() == ["E0000", "E0002"]
