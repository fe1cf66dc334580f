"""Truths about sales."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.cohorts import cohorts
from customer360.pipelines.rules import EnrichmentRules

RETAINED = 0.3


def _retention(seed: int) -> planted.Found:
    """Of 400 customers of one January a share buys again in the second month after; the table counts them."""
    rng = np.random.default_rng(seed)
    again = rng.random(400) < RETAINED
    first = [(f"P{person}", date(2026, 1, 1) + timedelta(days=int(rng.integers(31)))) for person in range(400)]
    later = [
        (f"P{person}", date(2026, 3, 1) + timedelta(days=int(rng.integers(31)))) for person in np.flatnonzero(again)
    ]
    days = pl.DataFrame(first + later, schema=["person_id", "on"], orient="row").with_columns(
        gross_amount=Decimal("10.00"), net_amount=Decimal("10.00"), return_amount=Decimal("0.00"), order_count=1,
        unconverted_order_count=0,
    )  # fmt: skip
    table = cohorts(days.lazy(), pl.LazyFrame({"currency": ["EUR"]}), date(2026, 5, 1), EnrichmentRules()).collect()
    rate = table.filter(pl.col("age_months") == 2)["retained_rate"].item()
    return planted.Found(rate, rate, rate, planted=float(again.mean()))


TRUTHS = [planted.Truth("gold.cohorts", "share of a cohort that buys again in its second month", RETAINED, _retention)]
