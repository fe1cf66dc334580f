"""Refused rows and corrections: every row ends in one place, and what is mended comes back."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph, ledger, quality, tables
from customer360.platform.graph import builds
from customer360.platform.run import exchange


def test_every_bronze_row_ends_in_one_place(shop: Any) -> None:
    shop.orders(
        "1.csv",
        "o1,ann,1,1.00,1",
        "o1,ann,2,1.00,2",  # newer version
        "o2,bob,1,1.00,1",
        "o2,bob,1,1.00,1",  # exact duplicate
        "o3,bob,0,1.00,1",  # breaks min
        "o4,eve,many,1.00,1",  # does not cast
        "o5,nobody,1,1.00,1",  # set apart by the build
        "broken",  # dead letter
    )
    facts = shop.run(end="silver.t_totals")
    landed, orders = facts["source orders"].facts, facts["silver.t_orders"].facts
    assert (landed["read"], landed["landed"], landed["dead"]) == (8, 7, 1)
    counted = {k: orders[k] for k in ("bronze", "silver", "quarantined", "duplicates", "superseded", "set_apart")}
    assert counted == {"bronze": 7, "silver": 2, "quarantined": 2, "duplicates": 1, "superseded": 1, "set_apart": 1}
    assert shop.rows("silver.t_totals") == [("ann", 1, 2), ("bob", 1, 1)]
    refused = quality.refused(shop.lake).select("row_id", "rule", "value").rows()
    assert refused == [("orders/1/orders/1.csv/5", "min", "0"), ("orders/1/orders/1.csv/6", "type", "many")]
    assert quality.dead_letters(shop.lake).select("letter_id", "raw").rows() == [("orders/1/orders/1.csv/8", b"broken")]


def correct(shop: Any, *rows: dict[str, Any]) -> None:
    text = "\n".join(map(json.dumps, rows)).encode()
    path = f"_replays/{len(ledger.batches(shop.lake, 'orders'))}.jsonl"
    shop.lake.put(path, text)
    ledger.open_batch(shop.lake, "orders", [], inline=path)


def test_corrections_stand_for_the_rows_they_name(shop: Any) -> None:
    shop.orders("1.csv", "o1,ann,0,1.00,1", "o2,bob,1,1.00,1", "o3,eve,x,1.00,1")
    assert shop.run()["silver.t_orders"].facts["quarantined"] == 2
    correct(
        shop,
        {"ORDER_ID": "o1", "WHO": "ann", "UNITS": 5, "_replay_of": "orders/1/orders/1.csv/1"},
        {"ORDER_ID": "o3", "WHO": "eve", "UNITS": 0, "_replay_of": "orders/1/orders/1.csv/3"},  # still wrong
    )
    facts = shop.run()["silver.t_orders"].facts
    assert {k: facts[k] for k in ("bronze", "silver", "quarantined", "superseded")} == {
        "bronze": 5,
        "silver": 2,
        "quarantined": 1,
        "superseded": 2,
    }
    assert quality.refused(shop.lake)["row_id"].to_list() == ["orders/2/_replays/1.jsonl/2"]
    correct(shop, {"ORDER_ID": "o3", "WHO": "eve", "UNITS": 2, "_replay_of": "orders/2/_replays/1.jsonl/2"})
    facts = shop.run()["silver.t_orders"].facts
    assert (facts["silver"], facts["quarantined"], facts["superseded"]) == (3, 0, 3)
    assert quality.refused(shop.lake).is_empty()
    assert shop.rows("silver.t_totals") == [("ann", 1, 5), ("bob", 1, 1), ("eve", 1, 2)]


def test_corrections_reach_every_part_of_an_exchange(many: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    many.run()
    correct(many, {"ORDER_ID": "changed key", "WHO": "p5", "UNITS": 1, "_replay_of": "orders/1/orders/1.csv/8"})
    monkeypatch.setattr(exchange, "carried_bytes", lambda job, table: 900 * 1024 * 1024)
    facts = many.run()["silver.t_orders"].facts
    assert (facts["superseded"], facts["quarantined"], facts["duplicates"]) == (1, 1, 1)
    assert {"o7", "changed key"} & set(many.lake.scan("silver.t_orders").collect()["order_id"]) == {"changed key"}


def test_a_build_that_makes_rows_of_its_own_breaks_conservation(filled: Any) -> None:
    del graph.NODES["silver.t_orders"]

    @builds(tables.by_name("silver.t_orders"))
    def t_orders(bronze_t_orders: pl.LazyFrame) -> pl.LazyFrame:
        rows = bronze_t_orders.select(order_id="ORDER_ID", subject_id="WHO", units="UNITS", paid="PAID")
        return pl.concat([rows, rows.with_columns(pl.col("order_id") + "x")])

    assert "made 8 rows of 4 records" in filled.fails()["silver.t_orders"].reason
