"""Truths about sales."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.cohorts import cohorts
from customer360.pipelines.gold.promotion_costs import promotion_costs
from customer360.pipelines.rules import EnrichmentRules

RETAINED, TAKEN_OFF = 0.3, 0.15


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


def _taken_off(seed: int) -> planted.Found:
    """Of 200 sales, a third of them abroad, a share of the price is taken off where they use the promotion; a share of
    those that use it do not say how much."""
    rng, count = np.random.default_rng(seed), 200
    full = rng.integers(1_000, 20_000, count)
    off = np.round(full * TAKEN_OFF).astype(int)
    abroad, silent = rng.random(count) < 0.3, rng.random(count) < 0.1
    home = [Decimal(int(cents)) / 100 for cents in full - off]
    sales = pl.DataFrame(
        {
            "transaction_id": [f"T{n}" for n in range(count)],
            "person_id": [f"P{n % 90}" if n % 3 else None for n in range(count)],
            "discount_amount": [None if s else Decimal(int(c)) / 100 for c, s in zip(off, silent, strict=True)],
            "currency": np.where(abroad, "CAD", "USD"),
            # In the reporting currency; a dollar abroad is worth half.
            "gross_amount": [amount / 2 if far else amount for amount, far in zip(home, abroad, strict=True)],
        },
        schema_overrides={"discount_amount": pl.Decimal(12, 2), "gross_amount": pl.Decimal(12, 3)},
    ).with_columns(code=pl.lit("MAY"), code_kind=pl.lit("PROMOTION"), occurred_on=date(2026, 5, 2))
    rates = pl.DataFrame(
        {"currency": ["USD", "CAD"], "on": [date(1990, 1, 1), date(2026, 5, 1)], "rate": [1.0, 0.5]}
    ).with_columns(valid_until_on=pl.lit(None, pl.Date))
    reporting = pl.LazyFrame({"currency": ["USD"]})
    row = promotion_costs(sales.lazy(), rates.lazy(), reporting, date(2026, 6, 1)).collect().row(0, named=True)
    worth = np.where(abroad, 0.5, 1.0)[~silent]
    share = (off[~silent] * worth).sum() / (full[~silent] * worth).sum()
    found = round(row["discount_rate"], 3)  # cents abroad are rounded
    return planted.Found(found, found, found, planted=round(float(share), 3))


TRUTHS = [
    planted.Truth("gold.cohorts", "share of a cohort that buys again in its second month", RETAINED, _retention),
    planted.Truth("gold.promotion_costs", "share of the price that a promotion took off", TAKEN_OFF, _taken_off),
]
