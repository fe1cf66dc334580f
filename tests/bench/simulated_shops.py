"""Small shops, simulated: `python tests/bench/simulated_shops.py [--shops 10] [--seed 0]`.

Ten shops of 300 to 2,000 customers who arrive all the time, each kind of customers with its own rhythm, life and purse
(the kinds of `cd_sales.py`). What `customer360 offline score` does with a shop's past is judged on the next 90 days,
beside BG/NBD and Gamma-Gamma alone, fitted to the same past.
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta

import cd_sales
import numpy as np
import polars as pl
from conditions import conditions

from customer360.models import clv
from customer360.models.files import scores
from customer360.models.files.transactions import Transactions
from customer360.models.lifecycle import evaluation

SIZES = np.linspace(300, 2000, 10).astype(int)
COHORTS, EVERY, HORIZON = 6, 60, 90
AS_OF = cd_sales.FIRST + timedelta(days=7 * cd_sales.WEEKS - 90)


def shop(seed: int, customers: int) -> pl.DataFrame:
    """Lines of cohorts that begin every sixty days."""
    kind = ("plain", "mixed")[seed % 2]
    parts = [cd_sales.sales(kind, customers // COHORTS, 100 * seed + turn) for turn in range(COHORTS)]
    return pl.concat(
        part.with_columns(customer=pl.format("{}-{}", pl.lit(turn), "customer"), at=pl.col("at") + pl.duration(days=EVERY * turn))  # noqa: E501
        for turn, part in enumerate(parts)
    ).filter(pl.col("at").dt.date() < AS_OF + timedelta(days=HORIZON))  # fmt: skip


def row(seed: int, customers: int, as_of: date = AS_OF) -> tuple[str, bool, bool]:
    lines = shop(seed, customers)
    known = cd_sales.known(lines, as_of, HORIZON)
    found = scores.score(Transactions(lines, (), pl.String()), as_of, HORIZON).table.sort("customer_id")
    truth, churned = known["revenue"].to_numpy(), (known["orders"] == 0).cast(pl.Float64).to_numpy()
    expected, _, plain = cd_sales.alone(known, HORIZON)
    ours, theirs = (clv.amount_metrics(truth, amount) for amount in (found["clv"].to_numpy(), plain))
    auc, rival = (evaluation.auc(churned, score) for score in (found["p_churn"].to_numpy(), -expected))
    inside = ((truth >= found["clv_low"].to_numpy()) & (truth <= found["clv_high"].to_numpy())).mean()
    text = f"| {seed} | {known.height:,} | {ours['mae']:.2f} ({theirs['mae']:.2f}) | {ours['total_error']:+.1%} ({theirs['total_error']:+.1%}) | {auc:.4f} ({rival:.4f}) | {inside:.0%} |"  # noqa: E501
    return text, ours["mae"] <= theirs["mae"], auc >= rival


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shops", type=int, default=len(SIZES))
    parser.add_argument("--seed", type=int, default=0, help="of the first shop: other shops of the same sizes")
    options = parser.parse_args()
    print(f"{conditions('polars', 'xgboost', 'scipy', 'scikit-learn')}\n")
    print("| shop | customers | MAE | total | AUC | inside 80 % |\n|---|---|---|---|---|---|")
    rows = []
    for seed, customers in enumerate(SIZES[: options.shops], options.seed):
        rows.append(row(seed, int(customers)))
        print(rows[-1][0], flush=True)
    errors, ranks = (sum(each[place] for each in rows) for place in (1, 2))
    print(f"\nNo worse than BG/NBD and Gamma-Gamma: absolute error in {errors}, AUC in {ranks} of {len(rows)} shops.")


if __name__ == "__main__":
    main()
