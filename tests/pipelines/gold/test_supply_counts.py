"""Visits, deliveries and stock as DuckDB counts them, over the synthetic retailer."""

from __future__ import annotations

from datetime import date

import duckdb
import polars as pl
import pytest

from customer360.pipelines.gold.stock import _on_order
from customer360.pipelines.gold.store_performance import visit_conversion
from customer360.pipelines.gold.vendors import lead_times, vendor_scorecard
from customer360.pipelines.rules import EnrichmentRules

RULES = EnrichmentRules()

VISITS = """
WITH noticed AS (
  SELECT *, max(greatest(coalesce(left_at, entered_at), entered_at + INTERVAL 10 MINUTE)) OVER (
    PARTITION BY person_id, store_id ORDER BY entered_at, visit_id, source_system
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
  FROM visits WHERE person_id IS NOT NULL AND entered_at::DATE >= $day - 365),
v AS (SELECT * FROM noticed WHERE (before IS NULL OR entered_at > before)
      AND entered_at + INTERVAL 240 MINUTE < $day::TIMESTAMPTZ),
pairs AS (
  SELECT t.transaction_id, v.visit_id, v.store_id,
         row_number() OVER (PARTITION BY t.source_system, t.transaction_id
                            ORDER BY v.entered_at DESC, v.visit_id DESC) AS n
  FROM sales t JOIN v ON v.person_id = t.person_id AND v.store_id = t.store_id
    AND t.occurred_at >= v.entered_at - INTERVAL 10 MINUTE AND t.occurred_at <= v.entered_at + INTERVAL 240 MINUTE
  WHERE t.is_sale AND t.channel_group = 'IN_STORE' AND t.occurred_at < $day::TIMESTAMPTZ)
SELECT store_id, count(*)::BIGINT AS visit_count,
       (SELECT count(DISTINCT visit_id) FROM pairs p
        WHERE p.store_id = v.store_id AND n = 1)::BIGINT AS purchase_visit_count
FROM v GROUP BY store_id ORDER BY store_id
"""

LINES = """
WITH due AS (
  SELECT * FROM orders
  WHERE NOT is_cancelled AND promised_on >= $day - 365 AND promised_on < $day AND ordered_on < $day),
came AS (
  SELECT d.vendor_id, d.purchase_order_id, d.line_number, d.ordered_quantity,
         coalesce(sum(r.accepted_quantity), 0) AS units,
         coalesce(sum(r.accepted_quantity) FILTER (r.received_on <= d.promised_on), 0) AS in_time
  FROM due d LEFT JOIN receipts r ON r.purchase_order_id = d.purchase_order_id AND r.purchase_order_line = d.line_number
    AND r.received_on < $day
  GROUP BY ALL)
SELECT vendor_id, count(*)::BIGINT AS due_count,
       count(*) FILTER (in_time >= ordered_quantity)::BIGINT AS on_time_in_full_count,
       count(*) FILTER (units >= ordered_quantity)::BIGINT AS in_full_count,
       sum(least(units, ordered_quantity))::BIGINT AS received_quantity
FROM came GROUP BY vendor_id ORDER BY vendor_id
"""

LEADS = """
WITH told AS (
  SELECT o.vendor_id,
         min(r.received_on - o.ordered_on) FILTER (r.received_on < $day AND r.received_quantity > 0) AS days
  FROM orders o LEFT JOIN receipts r
    ON r.purchase_order_id = o.purchase_order_id AND r.purchase_order_line = o.line_number
  WHERE NOT o.is_cancelled AND o.ordered_on >= $day - 365 AND o.ordered_on < $day - 60
  GROUP BY o.vendor_id, o.purchase_order_id, o.line_number)
SELECT vendor_id, count(days)::BIGINT AS line_count, (count(*) - count(days))::BIGINT AS open_count,
       avg(days) AS mean_days, quantile_cont(days, 0.9) AS p90_days
FROM told GROUP BY vendor_id ORDER BY vendor_id
"""


def asked(statement: str, day: object, **frames: pl.DataFrame) -> pl.DataFrame:
    with duckdb.connect() as base:
        base.sql("SET TimeZone = 'UTC'")
        for name, frame in frames.items():
            base.register(name, frame.to_arrow())
        return base.sql(statement, params={"day": day}).pl()


def same(ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    for column in theirs.columns:
        got, want = ours[column].to_list(), theirs[column].to_list()
        assert got == (want if theirs[column].dtype != pl.Float64 else pytest.approx(want)), column


def test_visits_are_matched_as_duckdb_matches_them(retailer) -> None:  # type: ignore[no-untyped-def]
    seen, sold = retailer.frame("silver.store_visits"), retailer.frame("silver.transactions")
    ours = visit_conversion(seen, sold, retailer.as_of, RULES).collect().sort("store_id")
    assert ours["purchase_visit_count"].sum() > 20
    same(ours, asked(VISITS, retailer.as_of, visits=seen.collect(), sales=sold.collect()))


def test_lines_of_vendors_are_judged_as_duckdb_judges_them(retailer) -> None:  # type: ignore[no-untyped-def]
    names = ("silver.purchase_orders", "silver.deliveries", "silver.products", "silver.reporting_currency")
    orders, receipts, *rest = (retailer.frame(name) for name in names)
    frames = {"orders": orders.collect(), "receipts": receipts.collect()}
    ours = vendor_scorecard(orders, receipts, *rest, retailer.as_of, RULES).collect().sort("vendor_id")
    assert ours["due_count"].sum() > 200
    same(ours.filter(pl.col("due_count") > 0), asked(LINES, retailer.as_of, **frames))
    days = lead_times(orders, receipts, retailer.as_of, RULES).collect().sort("vendor_id")
    same(days, asked(LEADS, retailer.as_of, **frames))


def test_what_is_refused_is_still_to_come() -> None:
    """Of a hundred ordered sixty came, ten of them refused; the receipts are another system's."""
    orders = pl.LazyFrame(
        {
            "source_system": "ERP",
            "purchase_order_id": ["A"],
            "line_number": 1,
            "product_id": "p",
            "ordered_quantity": 100,
        }
    )
    receipts = pl.LazyFrame(
        {"source_system": "WMS", "order_source_system": "ERP", "purchase_order_id": ["A"], "purchase_order_line": 1,
         "received_on": date(2026, 5, 1), "received_quantity": 60, "accepted_quantity": 50}
    )  # fmt: skip
    assert _on_order(orders, receipts, date(2026, 6, 1)).collect().rows() == [("p", 50)]
