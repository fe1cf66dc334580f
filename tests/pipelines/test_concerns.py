"""For every build that says which stored rows another table concerns: rows that become others are among them."""

from __future__ import annotations

import pickle
import random
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph, tables
from customer360.platform.run.units import conform_to_storage, other_rows
from customer360.serve.compose import compose

RATES, SALES, LINES = "silver.reporting_rates", "bronze.transactions", "bronze.transaction_items"
PAYMENTS, TWICE = "bronze.payments", "silver.sale_duplicates"
NAMES = ("record_id", "source_system", "customer_id", "ticket_id", "campaign_id", "product_id", "transaction_id")
compose()
CASES = sorted((name, table) for name, node in graph.NODES.items() for table in node.concerns)


def test_what_is_joined_by_another_column_than_the_key_is_said() -> None:
    assert {name for name, _ in CASES} == {
        "silver.payment_events", "silver.payments", "silver.preferences", "silver.service_contacts", "silver.touches",
        "silver.transaction_items", "silver.transactions",
    }  # fmt: skip


def changed(rows: pl.DataFrame, key: list[str], draw: random.Random) -> pl.DataFrame:
    """The rows without some, and some with the values of another one beside their key."""
    lot = [draw.random() for _ in range(rows.height)]
    kept = rows.with_columns(lot__=pl.Series(lot)).filter(pl.col("lot__") > 0.1)
    others = kept.drop(*key, "lot__")
    shuffled = pl.DataFrame(
        [others.row(draw.randrange(others.height)) for _ in range(kept.height)], others.schema, orient="row"
    )
    values = [pl.when(pl.col("lot__") < 0.3).then(shuffled[c]).otherwise(pl.col(c)).alias(c) for c in others.columns]
    return kept.with_columns(values).drop("lot__")


def rates(draw: random.Random) -> pl.DataFrame:
    days = sorted(draw.sample(range(0, 900), 12))
    rows: list[tuple[str, date, float, date | None]] = [("USD", date(1900, 1, 1), 1.0, None)]
    for currency in ("EUR", "GBP"):
        for day in days:
            on = date(2024, 1, 1) + timedelta(days=day)
            rows.append((currency, on, round(draw.uniform(0.5, 2), 3), on + timedelta(days=60)))
    return pl.DataFrame(rows, tables.schema(tables.by_name(RATES)), orient="row")


def abroad(sales: pl.DataFrame, draw: random.Random) -> pl.DataFrame:
    """Sales of several currencies, some given back later, in another one."""
    count = sales.height
    return sales.with_columns(
        CURRENCY_CODE=pl.Series([draw.choice(["USD", "EUR", "GBP", None]) for _ in range(count)], dtype=pl.String),
        REFUNDED_CURRENCY=pl.Series([draw.choice(["EUR", "GBP", None]) for _ in range(count)], dtype=pl.String),
        REFUNDED_AMOUNT=pl.Series([draw.choice([None, 1, 2]) for _ in range(count)]).cast(sales.schema["TOTAL_AMOUNT"]),
        REFUNDED_DATE=pl.col("TRANSACTION_DATE") + pl.duration(days=40),
    ).with_columns(pl.col("REFUNDED_DATE").cast(sales.schema["REFUNDED_DATE"]))


def paid_abroad(payments: pl.DataFrame, draw: random.Random) -> pl.DataFrame:
    drawn = [draw.choice(["USD", "EUR", "GBP", None]) for _ in range(payments.height)]
    return payments.with_columns(CURRENCY_CODE=pl.Series(drawn, dtype=pl.String))


def twice(sales: pl.DataFrame, draw: random.Random) -> pl.DataFrame:
    """Some sales, each told of by another channel, too."""
    drawn = sales.select("TRANSACTION_ID", "_source_system").unique().sort("TRANSACTION_ID", "_source_system")
    drawn = drawn.filter(pl.Series([draw.random() < 0.1 for _ in range(drawn.height)]))
    rows = [
        {"transaction_id": number, "source_system": system, "duplicate_of": f"OTHER/{draw.randrange(9)}"}
        for number, system in drawn.iter_rows()
    ]
    said = {"match": "ORDER", "order_number": "1", "total_amount": 1, "hours_apart": 1.0, "person_match": "SAME"}
    return pl.DataFrame([row | said for row in rows], tables.schema(tables.by_name(TWICE)), strict=False)


ABROAD = {SALES: abroad, PAYMENTS: paid_abroad}


@pytest.mark.parametrize(("name", "table"), CASES)
def test_other_rows_of_the_table_change_no_others(name: str, table: str, retailer: Any) -> None:
    node = graph.NODES[name]
    concerns = pickle.loads(pickle.dumps(node.concerns[table]))  # as a worker gets it
    values = {"params": retailer.rules[node.rules]} if "params" in node.wants else {}
    given = {t: retailer.frame(t).collect() for t in node.inputs}
    if table == "silver.products":  # lines of the sample name their category themselves
        given[LINES] = given[LINES].with_columns(pl.lit(None, pl.String).alias(c) for c in ("CATEGORY", "BRAND"))
    found = 0
    for seed in (1, 2):
        draw = random.Random(seed)
        if table == TWICE:
            given[TWICE], other = twice(given[SALES], draw), twice(given[SALES], draw)
        elif table == RATES:
            given |= {RATES: rates(draw)}
            given |= {name: made(given[name], draw) for name, made in ABROAD.items() if name in given}
            other = pl.concat(
                [
                    given[RATES].filter(pl.col("on") < date(2025, 6, 1)),
                    rates(draw).filter(pl.col("on") >= date(2025, 6, 1)),
                ]
            )
        else:
            other = changed(given[table], [c for c in given[table].columns if c in NAMES], draw)
        was, now = (
            conform_to_storage(
                node.table, node.function(*(f.lazy() for f in (given | {table: d}).values()), **values), {}
            )
            for d in (given[table], other)
        )
        columns = list((node.reads or {}).get(table) or given[table].columns)
        touched = pl.concat(other_rows(given[table].select(columns), other.select(columns)))
        key = list(node.table.primary_key())
        assert was.select(key).sort(key).equals(now.select(key).sort(key)), "it decides which rows there are"
        others, _ = other_rows(was, now)
        said = concerns(was.lazy(), touched.lazy()).select(node.per).collect()[node.per or ""]
        assert others[node.per or ""].is_in(said.implode()).all()
        found += others.height
    assert found
