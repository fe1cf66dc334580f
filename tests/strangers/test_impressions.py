"""Impressions as others log them: a list and clicks by the e-commerce specification of Segment, the log of a bandit
without users, the search results of a travel shop; from the file to lists that a ranker can be given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

AS_ASKED = "case when properties.list_id = 'hot_deals' then 'home' end"  # the placement of requests

TABLE = {"table": "bronze.impressions", "system": "SHOP"}
SEGMENT = {"kind": "files", "path": "segment/*.jsonl", "format": "json", **TABLE}
# The list is an event, and each click on a product of it another, with the same key: columns of both are one row. Their
# `list_id` is of a kind of list; a showing has an id that the page adds.
LISTS = SEGMENT | {
    "where": "event = 'Product List Viewed'", "explode": ["properties.products"],
    "mapping": {
        "IMPRESSION_ID": "concat(properties.view_id, '/', properties.products.product_id)",
        "LIST_ID": "properties.view_id", "PLACEMENT": AS_ASKED, "SHOWN_AT": "timestamp",
        "CUSTOMER_ID": "userId", "VISITOR_ID": "anonymousId",
        "PRODUCT_ID": "properties.products.product_id", "POSITION": "properties.products.position",
        "DEVICE": "context.device.type",
    },
}  # fmt: skip
CLICKS = SEGMENT | {
    "where": "event = 'Product Clicked' and properties.view_id is not null",
    "mapping": {
        "IMPRESSION_ID": "concat(properties.view_id, '/', properties.product_id)", "LIST_ID": "properties.view_id",
        "PLACEMENT": AS_ASKED, "CUSTOMER_ID": "userId", "VISITOR_ID": "anonymousId",
        "SHOWN_AT": "timestamp", "CLICKED_AT": "timestamp",
        "PRODUCT_ID": "properties.product_id", "POSITION": "properties.position",
    },
}  # fmt: skip
# A slot a row; what was shown at one moment is a list. Positions begin at 1, and nobody is named.
BANDIT = {
    "kind": "files", "path": "bandit/*.csv", "format": "csv", **TABLE,
    "mapping": {
        "IMPRESSION_ID": "concat(timestamp, '/', position)", "LIST_ID": "timestamp", "SHOWN_AT": "timestamp",
        "PRODUCT_ID": "item_id", "POSITION": "position", "CLICKED_AT": "case when click = '1' then timestamp end",
    },
}  # fmt: skip
SEARCH = {
    "kind": "files", "path": "search/*.csv", "format": "csv", **TABLE,
    "mapping": {
        "IMPRESSION_ID": "concat(srch_id, '-', prop_id)", "LIST_ID": "srch_id", "SHOWN_AT": "date_time",
        "PRODUCT_ID": "prop_id", "POSITION": "position", "PLACEMENT": "'search'", "REGION": "visitor_country",
        "CLICKED_AT": "case when click_bool = '1' then date_time end",
        "BOUGHT_AT": "case when booking_bool = '1' then date_time end",
    },
}  # fmt: skip


def event(name: str, at: str, who: str = "anon-1", view: str = "L1", **properties: Any) -> str:
    return json.dumps({"type": "track", "event": name, "messageId": at, "anonymousId": who, "userId": None,
                       "timestamp": f"2026-01-05T10:00:{at}Z", "context": {"device": {"type": "Android"}},
                       "properties": {"list_id": "hot_deals", "view_id": view} | properties})  # fmt: skip


def test_logs_of_others_become_lists(site: Callable[..., Any], tmp_path: Path) -> None:
    sources = {"lists": LISTS, "clicks": CLICKS, "bandit": BANDIT, "search": SEARCH}
    made = site(tmp_path / "site", SOURCES=json.dumps(sources))
    only = {name: made.settings.sources[name] for name in sources}
    made = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    products = [{"product_id": p, "position": n} for n, p in enumerate(("A", "B", "C"), start=1)]
    made.deliver("segment/day.jsonl", [
        event("Product List Viewed", "00", products=products),
        event("Product Clicked", "07", product_id="B", position=2),
        event("Product Viewed", "08", product_id="B"),
        event("Product List Viewed", "09", "anon-2", "L2", products=products),
    ])  # fmt: skip
    made.deliver("bandit/day.csv", [
        ",timestamp,item_id,position,click,propensity_score",
        "0,2026-01-05 09:00:00.123456+00:00,14,3,0,0.0125",
        "1,2026-01-05 09:00:00.123456+00:00,9,1,1,0.0125",
    ])  # fmt: skip
    made.deliver("search/day.csv", [
        "srch_id,date_time,visitor_country,prop_id,position,click_bool,booking_bool",
        "7,2026-01-05 12:30:00,219,801,1,0,0",
        "7,2026-01-05 12:30:00,219,455,2,1,1",
    ])  # fmt: skip
    made.run(end="silver.impressions")
    shown = made.lake.scan("silver.impressions").sort("list_id", "position").collect()
    by_list = {key[0]: rows for key, rows in shown.group_by("list_id", maintain_order=True)}
    assert by_list["L1"]["product_id"].to_list() == ["A", "B", "C"]
    assert by_list["L1"]["is_clicked"].to_list() == [False, True, False]
    assert by_list["L2"]["is_clicked"].to_list() == [False, False, False]  # another visitor of the same kind of list
    assert by_list["L1"]["subject_id"][0] != by_list["L2"]["subject_id"][0]
    assert set(by_list["L2"]["placement"]) == {"home"}
    assert by_list["7"].select("is_clicked", "is_bought", "placement").rows() == [
        (False, False, "search"), (True, True, "search"),
    ]  # fmt: skip
    bandit = shown.filter(pl.col("list_id").str.starts_with("2026"))
    assert bandit["position"].to_list() == [1, 3] and bandit["is_clicked"].to_list() == [True, False]
    assert bandit["subject_id"].n_unique() == 1 and bandit["person_id"].null_count() == 2
