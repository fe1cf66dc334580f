"""What is bought together, and how often chance is called so: `python tests/bench/affinity.py [--data DIR]`.

Simulated logs without any affinity (products of unequal popularity in baskets of unequal size), judged by Fisher's
exact test over all baskets and by `gold.product_affinity`; then the year before 2011-06-13 of the public log. DIR
holds its CSV files.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from conditions import conditions, measured
from scipy.stats import hypergeom
from value import ROOT, table

from customer360.pipelines.gold.affinity import associations, product_affinity
from customer360.pipelines.inference.intervals import adjusted
from customer360.pipelines.rules import BasketRules, EnrichmentRules

CUT = date(2011, 6, 13)
LOGS, BASKETS, PRODUCTS, LEVEL = 20, 2000, 40, 0.05
RULES = BasketRules(least_baskets=2, partners=PRODUCTS)


def at_random(seed: int) -> pl.DataFrame:
    """Lines of baskets of 1 to 20 products without affinity."""
    rng = np.random.default_rng(seed)
    weight = 1 / np.arange(1, PRODUCTS + 1) ** 0.7
    sizes = np.minimum(rng.geometric(0.25, BASKETS) + rng.choice([0, 8], BASKETS, p=[0.8, 0.2]), 20)
    order = np.argsort(-(np.log(weight) + rng.gumbel(size=(BASKETS, PRODUCTS))), axis=1)
    rows = [("POS", f"t{i:05}", f"p{item:02}") for i, size in enumerate(sizes) for item in order[i, :size]]
    return pl.DataFrame(rows, schema=["source_system", "transaction_id", "item"], orient="row")


def called(seed: int) -> tuple[int, int, int]:
    """Possible pairs, pairs that Fisher's test calls significant, and those of the table."""
    lines = at_random(seed)
    held = lines.with_columns(one=pl.lit(1)).pivot(on="item", index="transaction_id", values="one").fill_null(0)
    matrix = held.drop("transaction_id").to_numpy().astype(np.int64)
    counts, both = matrix.sum(axis=0), matrix.T @ matrix
    one, other = np.triu_indices(len(counts), 1)
    fisher = hypergeom.sf(both[one, other] - 1, len(matrix), counts[one], counts[other])
    ours = associations(lines, RULES).filter("is_significant", pl.col("item") < pl.col("other")).height
    return len(one), int((adjusted(fisher, len(one)) <= LEVEL).sum()), ours


def items(data: Path) -> pl.LazyFrame:
    raw = pl.concat(pl.read_csv(file, infer_schema_length=0) for file in sorted(data.glob("online_retail_*.csv.gz")))
    made = raw.select(
        source_system=pl.lit("UCI"), transaction_id="Invoice", product_id=pl.col("StockCode").str.to_uppercase(),
        occurred_on=pl.col("InvoiceDate").str.slice(0, 10).str.to_date(), is_sale=~pl.col("Invoice").str.starts_with("C"),  # noqa: E501
        is_product=pl.col("StockCode").str.contains(r"^\d{5}"), quantity=pl.col("Quantity").cast(pl.Int64), name="Description",  # noqa: E501
    )  # fmt: skip
    return made.lazy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retail")
    log = items(parser.parse_args().data)
    print(f"{conditions('polars', 'scipy')}\n")
    possible, fisher, ours = np.sum([called(seed) for seed in range(LOGS)], axis=0)
    print(f"{LOGS} logs without affinity, false discovery rate {LEVEL}: of {possible:,} pairs Fisher's test over all baskets calls"  # noqa: E501
          f" {fisher:,} significant, the table {ours:,}.\n")  # fmt: skip
    made = measured(lambda: product_affinity(log, CUT, EnrichmentRules()).collect())
    found = made.result
    print(f"Public log, a year before {CUT}: {found['basket_count'][0]:,} baskets, {found['product_id'].n_unique():,} products,"  # noqa: E501
          f" {found.height:,} pairs kept, {found['is_significant'].sum():,} significant, {made.cpu:.1f} CPU s.\n")  # fmt: skip  # noqa: E501
    names = (
        log.group_by("product_id")
        .agg(name=pl.col("name").drop_nulls().mode().sort().first().str.strip_chars())
        .collect()
    )
    best = found.filter(pl.col("rank") == 1).sort(pl.col("both_count") - pl.col("expected_count"), descending=True)
    shown = best.filter(pl.col("product_id") < pl.col("other_product_id")).head(8)
    told = shown.join(names, on="product_id", maintain_order="left").join(
        names, left_on="other_product_id", right_on="product_id", suffix="_other", maintain_order="left"
    )
    rows = [(r["name"], r["name_other"], r["both_count"], f"{r['expected_count']:.1f}", f"{r['lift']:.1f}", f"{r['q_value']:.0e}")  # noqa: E501
            for r in told.to_dicts()]  # fmt: skip
    print(table("product|bought with it|baskets|by chance|lift|adjusted p", rows))


if __name__ == "__main__":
    main()
