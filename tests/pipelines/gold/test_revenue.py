"""What moved revenue: every split adds up to the cent, a planted change is found, and DuckDB counts the same."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.gold.revenue import product_drivers, purchase_months, revenue_drivers
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.sales import TransactionItems, Transactions
from customer360.platform import tables

AS_OF, RULES = date(2026, 7, 1), EnrichmentRules()
CUSTOMERS = ("customer_effect", "frequency_effect", "basket_effect", "guest_effect")
PRODUCTS = ("price_effect", "volume_effect", "mix_effect", "new_product_effect", "resumed_product_effect",
            "not_sold_product_effect", "other_effect")  # fmt: skip
OUTSIDE = ("return_effect", "exchange_effect")
Row = dict[str, Any]


def frame(table: type[tables.Table], rows: list[Row], defaults: Row) -> pl.LazyFrame:
    schema = tables.schema(table)
    full = [{**dict.fromkeys(schema), **defaults, **row} for row in rows]
    return pl.DataFrame(full, schema=schema, orient="row").lazy()


def drivers(sales: list[Row], lines: list[Row], as_of: date = AS_OF, currency: str = "EUR") -> pl.DataFrame:
    """gold.revenue_drivers of transactions and lines, by way of all that lies between."""
    reporting = pl.LazyFrame({"currency": [currency]})
    plain = {
        "source_system": "SHOP", "transaction_type": "PURCHASE", "transaction_status": "COMPLETED", "is_sale": True,
        "refunded_amount": Decimal(0), "currency": currency,
    }  # fmt: skip
    line = {"is_sale": True, "is_product": True, "currency": currency}
    months = purchase_months(frame(Transactions, sales, plain), reporting, RULES)
    products = product_drivers(frame(TransactionItems, lines, line), reporting, as_of)
    return revenue_drivers(months, products, as_of, RULES).sort("currency", "month").collect()


def sale(person: str | None, on: date, amount: str, number: int = 0, **more: Any) -> Row:
    subject = person or f"t{number}"
    known = {"subject_id": subject, "person_id": person, "transaction_id": f"t{number}", "occurred_on": on}
    return {**known, "total_amount": Decimal(amount), **more}


def line(product: str, on: date, quantity: int, amount: str) -> Row:
    return {"product_id": product, "occurred_on": on, "quantity": quantity, "total_price": Decimal(amount)}


def check_sums(found: pl.DataFrame) -> None:
    for before, row in zip([None, *found.to_dicts()], found.to_dicts(), strict=False):
        assert row["net_amount"] == row["gross_amount"] - row["return_amount"] + row["exchange_amount"]
        parts = ("new_amount", "repeat_amount", "reactivated_amount", "guest_amount")
        assert sum(row[c] for c in parts) == row["gross_amount"]
        assert row["new_count"] + row["repeat_count"] + row["reactivated_count"] == row["customer_count"]
        if row["change_amount"] is None:
            assert all(row[c] is None for c in (*CUSTOMERS, *PRODUCTS, *OUTSIDE))
            continue
        assert before is not None and row["currency"] == before["currency"]
        assert row["change_amount"] == row["net_amount"] - before["net_amount"]
        assert sum(row[c] for c in (*CUSTOMERS, *OUTSIDE)) == row["change_amount"]
        if row["price_effect"] is not None:
            assert sum(row[c] for c in (*PRODUCTS, *OUTSIDE)) == row["change_amount"]


cents = st.integers(0, 2_000_000).map(lambda c: Decimal(c) / 100)
days = st.dates(date(2026, 1, 1), date(2026, 7, 20))
currencies = st.sampled_from(["EUR", "JPY", None])


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    sales, lines = [sale("P0", date(2026, 1, 1), "1", 999)], []
    for number in range(draw(st.integers(1, 25))):
        on, amount, of = draw(days), draw(cents), draw(currencies)
        row = sale(draw(st.sampled_from(["P1", "P2", "P3", None])), on, str(amount), number, currency=of)
        if draw(st.booleans()):
            row |= {
                "refunded_amount": draw(cents),
                "refund_currency": draw(currencies),
                "returned_on": max(on, draw(days)),
            }
        if draw(st.integers(0, 5)) == 0:
            row |= {"is_sale": False, "transaction_type": "EXCHANGE"}
        sales.append(row)
        for _ in range(draw(st.integers(0, 3)) if row.get("is_sale", True) else 0):
            product, quantity = draw(st.sampled_from("abcd")), draw(st.integers(1, 50))
            lines.append(line(product, on, quantity, str(draw(cents))) | {"currency": of})
    return sales, lines


@settings(max_examples=60)
@given(logs())
def test_every_split_adds_up_to_the_cent(log: tuple[list[Row], list[Row]]) -> None:
    check_sums(drivers(*log))


def two_months(people: tuple[int, int], orders: tuple[int, int], amounts: tuple[str, str]) -> pl.DataFrame:
    sales = [
        sale(f"P{person}", date(2026, month, day + 1), amounts[month - 1], 100 * person + day + 10_000 * month)
        for month in (1, 2)
        for person in range(people[month - 1])
        for day in range(orders[month - 1])
    ]
    return drivers(sales, [], date(2026, 3, 1))


@pytest.mark.parametrize(
    ("people", "orders", "amounts", "wanted"),
    [
        ((10, 15), (2, 2), ("20", "20"), (200, 0, 0)),
        ((10, 10), (2, 3), ("20", "20"), (0, 200, 0)),
        ((10, 10), (2, 2), ("20", "17.50"), (0, 0, -50)),
        ((10, 10), (2, 2), ("20", "20"), (0, 0, 0)),
    ],
    ids=["customers", "frequency", "basket", "nothing"],
)
def test_a_planted_change_is_found_where_it_is(
    people: tuple[int, int], orders: tuple[int, int], amounts: tuple[str, str], wanted: tuple[int, int, int]
) -> None:
    row = two_months(people, orders, amounts).row(1, named=True)
    assert tuple(row[c] for c in CUSTOMERS[:3]) == wanted
    assert row["change_amount"] == sum(wanted)
    assert (row["new_count"], row["repeat_count"]) == (people[1] - people[0], people[0])


def test_price_volume_and_mix_are_told_apart() -> None:
    """Prices, then units, then shares of dear and cheap goods, then the assortment: one thing a month."""
    months = {
        1: {"tea": (100, "100.00"), "mug": (100, "500.00")},
        2: {"tea": (100, "110.00"), "mug": (100, "500.00")},
        3: {"tea": (150, "165.00"), "mug": (150, "750.00")},
        4: {"tea": (50, "55.00"), "mug": (250, "1250.00")},
        5: {"tea": (50, "55.00"), "mug": (250, "1250.00"), "cup": (10, "30.00")},
        6: {"tea": (50, "55.00"), "cup": (10, "30.00")},
    }
    lines = [line(p, date(2026, m, 1), q, amount) for m, sold in months.items() for p, (q, amount) in sold.items()]
    sales = [
        sale("P1", date(2026, m, 1), str(sum(Decimal(a) for _, a in sold.values()) + (m == 6)), m)
        for m, sold in months.items()
    ]
    found = drivers(sales, lines)
    told = {row["month"].month: {c: float(row[c]) for c in PRODUCTS if row[c]} for row in found.to_dicts()[1:]}
    assert told == {
        2: {"price_effect": 10.0},
        3: {"volume_effect": 305.0},
        4: {"mix_effect": 390.0},
        5: {"new_product_effect": 30.0},
        6: {"not_sold_product_effect": -1250.0, "other_effect": 1.0},
    }


def test_what_comes_later_changes_no_month() -> None:
    sales = [sale("P1", date(2026, m, 1), str(10 * m), m) for m in range(1, 7)]
    lines = [line("tea", date(2026, m, 1), m, str(9 * m)) for m in range(1, 7)]
    early = date(2026, 4, 30)
    known = [row for row in sales if row["occurred_on"] < early], [row for row in lines if row["occurred_on"] < early]
    told = drivers(sales, lines, early)
    assert told["month"].to_list() == [date(2026, m, 1) for m in (1, 2, 3)]
    assert told.equals(drivers(*known, early))
    assert told.equals(drivers(sales, lines).head(3))


def test_a_month_of_many_digits_has_room() -> None:
    """Ten billion fits no amount of a receipt; a month in rupiah has more."""
    row = drivers([sale(f"P{n}", date(2026, 1, 1), "9999999999.99", n) for n in range(3)], []).row(0, named=True)
    assert row["gross_amount"] == Decimal("29999999999.97")


INDEPENDENT = """
WITH t AS (SELECT *, coalesce(currency, (SELECT currency FROM reporting), 'unstated') AS cur,
                  coalesce(refund_currency, (SELECT currency FROM reporting), 'unstated') AS back FROM transactions),
sold AS (
  SELECT cur, date_trunc('month', occurred_on)::DATE AS month, person_id, count(*) AS orders,
         sum(total_amount + coalesce(exchanged_amount, 0)) AS gross, sum(coalesce(exchanged_amount, 0)) AS at_once
  FROM t WHERE is_sale AND occurred_on < $end GROUP BY ALL),
sums AS (
  SELECT cur, month, sum(gross) AS gross, sum(at_once) AS at_once, count(person_id) AS customers,
         coalesce(sum(orders) FILTER (person_id IS NOT NULL), 0) AS orders,
         coalesce(sum(gross) FILTER (person_id IS NOT NULL), 0)::DOUBLE AS known
  FROM sold GROUP BY ALL),
given AS (
  SELECT back AS cur, date_trunc('month', returned_on)::DATE AS month, sum(refunded_amount) AS amount
  FROM t WHERE returned_on < $end GROUP BY ALL),
differences AS (
  SELECT cur, date_trunc('month', occurred_on)::DATE AS month, sum(total_amount) AS amount FROM t
  WHERE transaction_type = 'EXCHANGE' AND transaction_status = 'COMPLETED' GROUP BY ALL),
came AS (
  SELECT cur, month, count(*) FILTER (first = month) AS new_count FROM sold JOIN
    (SELECT person_id, date_trunc('month', min(occurred_on))::DATE AS first FROM t WHERE is_sale GROUP BY ALL)
    USING (person_id) GROUP BY ALL),
pairs AS (
  SELECT a.cur, a.month, a.gross, a.gross - a.at_once - coalesce(g.amount, 0) + coalesce(d.amount, 0) AS net,
         a.customers AS c1,
         a.orders / a.customers AS f1, a.known / a.orders AS k1, b.customers AS c0, b.orders / b.customers AS f0,
         b.known / b.orders AS k0, came.new_count, a.known - coalesce(b.known, 0) AS known_change,
         a.customers = 0 OR coalesce(b.customers, 0) = 0 AS is_of_none
  FROM sums a LEFT JOIN given g USING (cur, month)
  LEFT JOIN differences d USING (cur, month) LEFT JOIN came USING (cur, month)
  LEFT JOIN sums b ON b.cur = a.cur AND b.month = a.month - INTERVAL 1 MONTH)
SELECT cur AS currency, month, gross, net, c1 AS customers, new_count,
       CASE WHEN is_of_none THEN known_change ELSE
       (c1-c0)*f0*k0 + (c1-c0)*((f1-f0)*k0 + (k1-k0)*f0)/2 + (c1-c0)*(f1-f0)*(k1-k0)/3 END AS customer_effect,
       CASE WHEN is_of_none THEN 0 ELSE
       (f1-f0)*c0*k0 + (f1-f0)*((c1-c0)*k0 + (k1-k0)*c0)/2 + (c1-c0)*(f1-f0)*(k1-k0)/3 END AS frequency_effect,
       CASE WHEN is_of_none THEN 0 ELSE
       (k1-k0)*c0*f0 + (k1-k0)*((c1-c0)*f0 + (f1-f0)*c0)/2 + (c1-c0)*(f1-f0)*(k1-k0)/3 END AS basket_effect
FROM pairs ORDER BY ALL
"""


def test_duckdb_counts_the_same(retailer) -> None:  # type: ignore[no-untyped-def]
    """From the transactions alone, by Sun's own formula."""
    sold, reporting = retailer.frame("silver.transactions"), retailer.frame("silver.reporting_currency")
    months = purchase_months(sold, reporting, RULES)
    products = product_drivers(retailer.frame("silver.transaction_items"), reporting, retailer.as_of)
    ours = revenue_drivers(months, products, retailer.as_of, RULES).collect()
    check_sums(ours.sort("currency", "month"))
    with duckdb.connect() as base:
        base.register("transactions", sold.collect().to_arrow())
        base.register("reporting", reporting.collect().to_arrow())
        theirs = base.sql(INDEPENDENT, params={"end": retailer.as_of.replace(day=1)}).pl()
    both = ours.join(theirs, on=["currency", "month"], suffix="__theirs")
    assert both.height == theirs.height > 10
    for column, wanted in (("gross_amount", "gross"), ("net_amount", "net")):
        assert both[column].to_list() == both[wanted].to_list(), column
    assert both["customer_count"].to_list() == both["customers"].to_list()
    assert both["new_count"].to_list() == both["new_count__theirs"].fill_null(0).to_list()
    told = both.filter(pl.col("change_amount").is_not_null())
    assert told.height > 10
    for effect in CUSTOMERS[:3]:
        assert told[effect].cast(pl.Float64).to_list() == pytest.approx(told[f"{effect}__theirs"].to_list(), abs=0.02)
