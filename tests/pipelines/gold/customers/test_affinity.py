"""What a person likes, as shares of what was done."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.gold.customers.affinity import affinity

AS_OF = date(2026, 7, 1)


def test_an_account_of_many_millions_of_purchases_has_shares() -> None:
    """As that of all who show no card at a till: 75 million weights of one category, and 25 million of another."""
    rows = [
        {"person_id": "P", "product_id": f"p{n % 4 // 3}", "category": "AB"[n % 4 // 3],
         "on": AS_OF - timedelta(days=1), "kind": "purchase", "count": 1_000_000}
        for n in range(20)
    ]  # fmt: skip
    products = pl.LazyFrame({"product_id": ["p0", "p1"], "brand": ["X", "Y"]})
    told = affinity(pl.LazyFrame({"person_id": ["P", "Q"]}), pl.LazyFrame(rows), products, AS_OF).collect()
    found = {row["person_id"]: row for row in told.to_dicts()}
    assert found["P"]["category_affinities"] == [{"name": "A", "share": 0.75}, {"name": "B", "share": 0.25}]
    assert found["P"]["top_brands"] == ["X", "Y"] and found["Q"]["top_brands"] == []
