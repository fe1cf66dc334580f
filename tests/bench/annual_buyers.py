"""Customers who come back once a year: `python tests/bench/annual_buyers.py [--shops 3] [--customers 300]`.

Five years of customers who each buy in their own month for about 1,000, give or take a week, and leave after each
purchase with a probability of .05. What `customer360 offline score` says of the next 90 days, by the month in which
the next purchase is due, beside the truth: the customer's amount times the probabilities of going on and of a day
within the window.
"""

from __future__ import annotations

import argparse
from datetime import date

import numpy as np
import polars as pl
from conditions import conditions
from scipy.special import ndtr

from customer360.models.files import scores
from customer360.models.files.transactions import Transactions

AS_OF, HORIZON, YEARS, AMOUNT = date(2025, 1, 1), 90, 5, 1000.0
GOES_ON, JITTER_DAYS, MONTHS = 0.95, 7.0, 12


def shop(customers: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines, and one row a customer: `customer`, `due` (months from the date to the next purchase, 0 to 11), `truth`.

    Who left is in the file like all others; the truth of everybody is what is known before the date.
    """
    rng = np.random.default_rng(seed)
    lines, known = [], []
    for person in range(customers):
        phase, name = rng.uniform(3 * JITTER_DAYS, 365.25), f"c{person:03}"
        amount = AMOUNT * rng.lognormal(-0.02, 0.2)
        left = rng.geometric(1.0 - GOES_ON)  # purchases until they leave, counted from the first
        for year in range(min(YEARS, left)):
            ago = (YEARS - 1 - year) * 365.25 + phase + rng.normal(0, JITTER_DAYS)
            if ago >= 1:
                lines.append((name, -int(ago), float(amount * rng.lognormal(-0.005, 0.1))))
        due = 365.25 - phase
        # Who is not there any more is told by being overdue: their last purchase is more than a year ago.
        if left >= YEARS:
            inside = float(ndtr((HORIZON - due) / JITTER_DAYS))
            known.append((name, int(due / 365.25 * MONTHS), due, amount * GOES_ON * inside))
    frame = pl.DataFrame(lines, schema=["customer", "ago", "amount"], orient="row").select(
        "customer", at=(pl.lit(AS_OF) + pl.duration(days="ago")).cast(pl.Datetime("us")), amount="amount"
    )
    return frame, pl.DataFrame(known, schema=["customer", "month", "due", "truth"], orient="row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shops", type=int, default=3)
    parser.add_argument("--customers", type=int, default=300)
    options = parser.parse_args()
    print(conditions("polars", "xgboost", "scipy"))
    parts = []
    for seed in range(options.shops):
        lines, known = shop(options.customers, seed)
        table = scores.score(Transactions(lines, (), pl.String()), AS_OF, HORIZON).table
        parts.append(known.join(table, left_on="customer", right_on="customer_id"))
    rows = pl.concat(parts)
    print("| due in month | customers | mean value | truth | of the truth |\n|---|---|---|---|---|")
    for month, of in sorted(rows.group_by("month"), key=lambda pair: str(pair[0][0]).zfill(2)):
        value, truth = float(of["clv"].mean()), float(of["truth"].mean())  # type: ignore[arg-type]
        ratio = f"{value / truth:.2f}" if truth > 50 else ""
        print(f"| {month[0]} | {of.height} | {value:,.1f} | {truth:,.1f} | {ratio} |")
    due = rows.filter(pl.col("due").is_between(2 * JITTER_DAYS, HORIZON - 2 * JITTER_DAYS))
    later = rows.filter(pl.col("due") > HORIZON + 3 * JITTER_DAYS)
    for what, of in (("surely due", due), ("surely not due", later)):
        print(f"\n{what}: {of.height} customers, mean value {of['clv'].mean():,.1f}, truth {of['truth'].mean():,.1f}")


if __name__ == "__main__":
    main()
