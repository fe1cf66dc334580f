"""Scores of a file of CD sales, simulated from known rules: `python tests/bench/cd_sales.py [--customers 23570]
[--only KIND]`.

One cohort that begins within twelve weeks and is followed for 78; about half of the customers buy once. `plain` is
drawn from BG/NBD and Gamma-Gamma itself; `mixed` of three kinds of customers with other rhythms, lives and purses, so
that no BG/NBD is the truth. What `customer360 offline score` does with the past at some dates is judged on what
follows, beside BG/NBD and Gamma-Gamma alone (fitted to the same past; order values with and without the first order).
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta

import numpy as np
import polars as pl
from conditions import conditions
from numpy.typing import NDArray

from customer360.models import clv
from customer360.models.files import scores
from customer360.models.files.transactions import Transactions
from customer360.models.lifecycle import evaluation
from customer360.models.purchasing import btyd

FIRST, WEEKS, COHORT_WEEKS = date(1997, 1, 1), 78, 12
ASKED = ((date(1997, 10, 1), 273), (date(1997, 10, 1), 180), (date(1997, 10, 1), 90), (date(1998, 3, 1), 90))
MOST_ORDERS = 200
# (r, alpha in weeks, a, b) of each kind of customers, its share, and its purse.
KINDS = {
    "plain": (((0.25, 4.8, 0.72, 2.16),), (1.0,), (1.0,)),
    "mixed": (((0.2, 6.0, 0.8, 1.5), (1.5, 20.0, 1.0, 6.0), (4.0, 25.0, 0.5, 9.0)), (0.7, 0.2, 0.1), (1.0, 1.0, 1.3)),
}

Array = NDArray[np.float64]


def sales(kind: str, customers: int, seed: int) -> pl.DataFrame:
    """Lines `customer`, `at`, `amount`."""
    rng = np.random.default_rng(seed)
    kinds, shares, purses = KINDS[kind]
    which = rng.choice(len(kinds), customers, p=shares)
    shape, rate, a, b = np.array(kinds)[which].T
    begins = rng.uniform(0, COHORT_WEEKS, customers)
    gaps = rng.exponential(1.0, (customers, MOST_ORDERS)) / np.maximum(rng.gamma(shape, 1.0 / rate), 1e-9)[:, None]
    at = begins[:, None] + np.concatenate([np.zeros((customers, 1)), np.cumsum(gaps, axis=1)[:, :-1]], axis=1)
    orders = rng.geometric(np.clip(rng.beta(a, b), 1e-12, 1.0)) + 1  # the first never ends it
    kept = (np.arange(MOST_ORDERS) < orders[:, None]) & (at < WEEKS)
    person, turn = np.nonzero(kept)
    purse = np.array(purses)[which] / rng.gamma(3.74, 1 / 15.4, customers)
    days = np.floor(at[person, turn] * 7).astype(int)
    rows = pl.DataFrame({"customer": person, "day": days, "amount": purse[person] * rng.gamma(6.25, 1.0, len(person))})
    return rows.select(
        pl.col("customer").cast(pl.String),
        at=(pl.lit(FIRST) + pl.duration(days="day")).cast(pl.Datetime("us")),
        amount=pl.col("amount") + 0.01,
    )


def known(lines: pl.DataFrame, as_of: date, horizon: int) -> pl.DataFrame:
    """One row a customer with a purchase before the date, sorted: x, last, age (weeks), means, and what followed."""
    day = lines.group_by("customer", on=pl.col("at").dt.date()).agg(pl.col("amount").sum())
    past = day.filter(pl.col("on") < as_of).sort("on").group_by("customer").agg(
        x=pl.len() - 1.0, first=pl.col("on").min(), newest=pl.col("on").max(), mean=pl.col("amount").mean(),
        repeat_mean=pl.col("amount").slice(1).mean(),
    )  # fmt: skip
    after = day.filter(pl.col("on").is_between(as_of, as_of + timedelta(days=horizon), closed="left"))
    bought = after.group_by("customer").agg(orders=pl.len().cast(pl.Float64), revenue=pl.col("amount").sum())
    joined = past.join(bought, on="customer", how="left").sort("customer")
    return joined.with_columns(
        pl.col("orders", "revenue").fill_null(0.0),
        last=(pl.col("newest") - pl.col("first")).dt.total_days() / btyd.DAYS_A_WEEK,
        age=(pl.lit(as_of) - pl.col("first")).dt.total_days() / btyd.DAYS_A_WEEK,
    )


def alone(rows: pl.DataFrame, horizon: int) -> tuple[Array, Array, Array]:
    """Expected purchases, and revenue with order values of repeat orders (as published) and of all orders."""
    x, last, age, mean = (rows[name].to_numpy() for name in ("x", "last", "age", "mean"))
    expected = btyd.expected_purchases(btyd.fit(x, last, age), x, last, age, horizon)
    back = rows.filter(pl.col("x") > 0)
    repeats = btyd.fit_value(back["x"].to_numpy(), back["repeat_mean"].to_numpy())
    everything = btyd.fit_value(back["x"].to_numpy() + 1.0, back["mean"].to_numpy())
    published = btyd.expected_value(repeats, x, rows["repeat_mean"].fill_null(1.0).to_numpy())
    return expected, expected * published, expected * btyd.expected_value(everything, x + 1.0, mean)


def judged(kind: str, lines: pl.DataFrame, as_of: date, horizon: int) -> list[str]:
    rows = known(lines, as_of, horizon)
    found = scores.score(Transactions(lines, (), pl.String()), as_of, horizon).table.sort("customer_id")
    if found["customer_id"].to_list() != rows["customer"].to_list():
        raise SystemExit("not every customer known at the date is scored")
    truth, churned = rows["revenue"].to_numpy(), (rows["orders"] == 0).cast(pl.Float64).to_numpy()
    expected, published, everything = alone(rows, horizon)
    inside = ((truth >= found["clv_low"].to_numpy()) & (truth <= found["clv_high"].to_numpy())).mean()
    gain = evaluation.compare_auc(churned, found["p_churn"].to_numpy(), -expected, 0)
    out = []
    for name, amount, leaving in (
        ("offline score", found["clv"].to_numpy(), found["p_churn"].to_numpy()),
        ("BG/NBD, repeat orders", published, -expected),
        ("BG/NBD, all orders", everything, -expected),
    ):
        m, decile = clv.amount_metrics(truth, amount), clv.decile_table(truth, amount)["decile_error"]
        own = f"{inside:.0%} | {gain}" if name == "offline score" else "|"
        out.append(f"| {kind} {as_of} | {horizon} | {name} | {m['total_error']:+.1%} | {m['mae']:.2f} | {m['spearman']:.4f} | {decile:.2f} | {evaluation.auc(churned, leaving):.4f} | {own} |")  # fmt: skip  # noqa: E501
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=23_570)
    parser.add_argument("--only", choices=["plain", "mixed"])
    options = parser.parse_args()
    lines = [conditions("polars", "xgboost", "scipy"), ""]
    lines.append(
        "| sales | days | method | total | MAE | Spearman | decile error | AUC | inside 80 % | AUC over BG/NBD |"
    )
    lines.append("|" + " --- |" * 10)
    for seed, kind in enumerate(("plain", "mixed"), start=1):
        if options.only in (None, kind):
            log = sales(kind, options.customers, seed)
            for as_of, horizon in ASKED:
                lines += judged(kind, log, as_of, horizon)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
