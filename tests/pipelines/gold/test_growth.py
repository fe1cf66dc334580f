"""Gaps of segments: rates by an independent statement in DuckDB, and what is no gap."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import polars as pl
import pytest

RATES = """
WITH told AS (
  SELECT person_id, arg_max(tier, {'a': valid_from, 'b': tier}) FILTER (WHERE valid_to IS NULL OR valid_to >= $end) AS tier
  FROM tiers WHERE person_id IS NOT NULL AND valid_from < $end GROUP BY ALL),
master AS (
  SELECT person_id, CASE WHEN t.person_id IS NULL THEN loyalty_tier ELSE t.tier END AS loyalty_tier
  FROM people_master LEFT JOIN (SELECT * FROM told) t USING (person_id)),
sales AS (SELECT * FROM transactions WHERE is_sale AND person_id IS NOT NULL AND occurred_on >= $start AND occurred_on < $end),
people AS (
  SELECT s.person_id, len(list_filter([1, 2, 3, 4, 5, 6, 8, 11, 16, 24], lambda b: b < count(*))) AS band, any_value(coalesce(p.loyalty_tier, 'NONE')) AS segment
  FROM sales s LEFT JOIN master p USING (person_id) GROUP BY s.person_id),
bought AS (
  SELECT DISTINCT person_id, category FROM items
  WHERE is_sale AND is_product AND category IS NOT NULL AND person_id IS NOT NULL AND occurred_on >= $start AND occurred_on < $end),
cells AS (
  SELECT segment, band, category, count(*) AS n, count(b.person_id) AS k
  FROM people CROSS JOIN (SELECT DISTINCT category FROM bought) c LEFT JOIN bought b USING (person_id, category) GROUP BY ALL),
others AS (SELECT *, sum(n) OVER (PARTITION BY band, category) - n AS m, sum(k) OVER (PARTITION BY band, category) - k AS q FROM cells)
SELECT segment, category, sum(k)::BIGINT AS buyer_count, sum(n)::BIGINT AS compared_count,
       sum(k) / sum(n) AS buyer_rate, sum(n * q / m) / sum(n) AS peer_rate
FROM others WHERE m >= 10 GROUP BY ALL ORDER BY ALL
"""  # noqa: E501


def test_duckdb_finds_the_same_rates(retailer) -> None:  # type: ignore[no-untyped-def]
    ours = retailer.frame("gold.growth_opportunities").filter(pl.col("segment_kind") == "LOYALTY_TIER").collect()
    with duckdb.connect() as base:
        base.execute("SET TimeZone = 'UTC'")
        for name, table in (("transactions", "silver.transactions"), ("items", "silver.transaction_items"),
                            ("people_master", "silver.people"), ("tiers", "silver.loyalty_tiers")):  # fmt: skip
            base.register(name, retailer.frame(table).collect().to_arrow())
        dates = {"start": retailer.as_of - timedelta(days=365), "end": retailer.as_of}
        theirs = base.sql(RATES, params=dates).pl()
    got = ours.filter(pl.col("compared_count") > 0).sort("segment", "category").select(theirs.columns)
    assert got.height == theirs.height > 5
    for column in theirs.columns:
        assert got[column].to_list() == pytest.approx(theirs[column].to_list()), column


def test_a_claim_has_its_evidence(retailer) -> None:  # type: ignore[no-untyped-def]
    rows = retailer.frame("gold.growth_opportunities").collect()
    small = rows.filter(pl.col("compared_count") < 30)
    assert small.height and set(small["status"]) == {"NOT_ENOUGH_EVIDENCE"} and small["q_value"].is_null().all()
    assert rows.filter(pl.col("status") != "OPPORTUNITY")["opportunity_amount"].is_null().all()
    judged = rows.filter(pl.col("q_value").is_not_null())
    assert (
        judged.select((pl.col("gap_low") <= pl.col("gap_rate")) & (pl.col("gap_rate") <= pl.col("gap_high")))
        .to_series()
        .all()
    )
