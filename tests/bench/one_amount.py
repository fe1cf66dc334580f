"""One mistyped amount in a shop, and what it does to everybody else: `python tests/bench/one_amount.py [--shops 8]
[--times 2500] [--public DIR]`.

Simulated shops whose amounts spread within a customer by .4, .8 and 1.2 in logarithms. In each some purchases are
multiplied, one at a time: usual ones, and the largest of the last window and of the log, which passed as they were.
Prints how far the total value of all other customers moves, and that of the one who moves most. `--public` asks the
same of the public log (its largest purchase, and usual ones) instead.
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import cd_sales
import numpy as np
import polars as pl
from conditions import conditions, measured

from customer360.models.files import scores
from customer360.models.files.transactions import Transactions

HORIZON, COHORTS, EVERY = 90, 6, 60
AS_OF = cd_sales.FIRST + timedelta(days=7 * cd_sales.WEEKS)
SHOPS = (
    (130, 0.8),
    (400, 0.4),
    (400, 1.2),
    (130, 1.2),
    (800, 0.8),
    (200, 0.4),
    (300, 1.0),
    (1500, 1.2),
)  # customers, spread


class Moved(NamedTuple):
    """Of one mistyped purchase: change of the total of all others, and of the one who changes most."""

    what: str
    amount: float
    total: float
    single: float


def shop(customers: int, spread: float, seed: int) -> pl.DataFrame:
    """Lines `customer`, `at`, `amount` of cohorts that begin every sixty days; purses spread by .6."""
    rng = np.random.default_rng(1000 + seed)
    parts = [
        cd_sales.sales("mixed", customers // COHORTS, 100 * seed + turn).with_columns(
            customer=pl.format("{}-{}", pl.lit(turn), "customer"), at=pl.col("at") + pl.duration(days=EVERY * turn)
        )
        for turn in range(COHORTS)
    ]
    lines = pl.concat(parts).filter(pl.col("at").dt.date() < AS_OF).sort("customer", "at")
    names = lines["customer"].unique().sort()
    purse = pl.DataFrame({"customer": names, "purse": rng.lognormal(3.5, 0.6, len(names))})
    noise = pl.Series(rng.lognormal(0.0, spread, lines.height))
    return lines.join(purse, on="customer", how="left").with_columns(
        amount=(pl.col("purse") * noise).round(2) + 0.01
    ).drop("purse").sort("at", "customer")  # fmt: skip


def values(lines: pl.DataFrame, as_of: date) -> pl.DataFrame:
    return scores.score(Transactions(lines, (), pl.String()), as_of, HORIZON).table.select("customer_id", "clv")


def rows(lines: pl.DataFrame, as_of: date, seed: int) -> dict[str, int]:
    """Which purchases are mistyped in turn."""
    known = lines.with_row_index().filter(pl.col("at").dt.date() < as_of)
    newest = known.filter(pl.col("at").dt.date() >= as_of - timedelta(days=HORIZON))
    usual = known.filter((pl.col("amount") / pl.col("amount").median()).log().abs() < 0.2)
    drawn = usual.sample(2, seed=seed)["index"].to_list()
    tops = known.sort("amount", descending=True)["index"]
    return {
        "usual": drawn[0], "usual, too": drawn[1], "largest": tops[0], "second largest": tops[1],
        "largest of the last window": newest.sort("amount", descending=True)["index"][0],
    }  # fmt: skip


def moved(lines: pl.DataFrame, as_of: date, times: float, seed: int) -> list[Moved]:
    before, found = values(lines, as_of), []
    for what, row in rows(lines, as_of, seed).items():
        amount = pl.when(pl.int_range(pl.len()) == row).then(pl.col("amount") * times).otherwise("amount")
        after = values(lines.with_columns(amount=amount), as_of)
        both = before.join(after, on="customer_id", suffix="_after").filter(
            pl.col("customer_id") != lines["customer"][row]
        )
        single = (both["clv_after"] / both["clv"] - 1.0).abs().max()
        total = both["clv_after"].to_numpy().sum() / both["clv"].to_numpy().sum() - 1.0
        found.append(Moved(what, lines["amount"][row], float(total), float(single)))  # type: ignore[arg-type]
    return found


def public(data: Path) -> pl.DataFrame:
    import value

    days = value.log(data).collect()
    return days.select(
        customer="person_id", at=pl.col("on").cast(pl.Datetime("us")), amount=pl.col("gross_amount").cast(pl.Float64)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shops", type=int, default=len(SHOPS))
    parser.add_argument("--times", type=float, default=2500.0)
    parser.add_argument("--seed", type=int, default=0, help="other shops of the same kind")
    parser.add_argument("--public", type=Path)
    options = parser.parse_args()
    print(conditions("polars", "xgboost", "scipy"))
    logs = (
        [("public log", public(options.public), date(2011, 6, 13))]
        if options.public
        else [
            (f"{customers:,} customers, spread {spread}", shop(customers, spread, options.seed + place), AS_OF)
            for place, (customers, spread) in enumerate(SHOPS[: options.shops])
        ]
    )
    print("| shop | mistyped | amount | total of all others | single, at most |\n|---|---|---|---|---|")
    worst = []
    for name, lines, as_of in logs:
        cost = measured(lambda lines=lines, as_of=as_of: moved(lines, as_of, options.times, options.seed))
        for each in cost.result:
            worst.append(abs(each.total))
            print(f"| {name} | {each.what} | {each.amount:,.0f} | {each.total:+.2%} | {each.single:.1%} |", flush=True)
    print(f"\nWorst: {max(worst):.2%}; above 1 %: {sum(each > 0.01 for each in worst)} of {len(worst)}.")


if __name__ == "__main__":
    main()
