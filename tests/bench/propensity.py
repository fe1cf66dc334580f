"""Propensity by category against its rules: `python tests/bench/propensity.py [--lake DIR] [--data DIR]`.

`--lake`: a lake of the synthetic retailer, whose catalogue has categories; the last known window and the one 60 days
before. `--data`: the CSV files of the public log Online Retail II, which has no categories: the last word of a
product's name (BAG, CARD, HOLDER …), the 15 commonest ones, stands for one; customers of the last year, the 30 days
after each of three cuts. Each fit reads what was known at its cut. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

import polars as pl
from conditions import conditions, measured
from value import CUTS, log

from customer360.models import propensity
from customer360.models.base import NoProgress, Snapshot
from customer360.pipelines import last_complete_day_end
from customer360.platform.lake import Lake
from customer360.serve.compose import compose

WORDS = 15


def interactions(data: Path) -> pl.LazyFrame:
    """Rows as of gold.interactions from the sold lines of goods of the public log."""
    raw = pl.concat(pl.read_csv(file, infer_schema_length=0) for file in sorted(data.glob("online_retail_*.csv.gz")))
    sold = raw.filter(
        ~pl.col("Invoice").str.starts_with("C"), pl.col("Quantity").cast(pl.Int64) > 0, pl.col("Price").cast(pl.Float64) > 0,  # noqa: E501
        pl.col("StockCode").str.contains(r"^\d{5}"), pl.col("Customer ID").is_not_null(),
    ).with_columns(product_id=pl.col("StockCode").str.to_uppercase())  # fmt: skip
    word = pl.col("Description").str.to_uppercase().str.extract(r"([A-Z]+)[^A-Z]*$").str.strip_suffix("S")
    named = sold.group_by("product_id").agg(category=word.drop_nulls().mode().sort().first())
    common = named.group_by("category").len().drop_nulls().sort("len", "category", descending=[True, False]).head(WORDS)
    known = named.join(common, on="category", how="semi")
    return (
        sold.join(known, on="product_id", how="left")
        .group_by(
            "product_id", "category", person_id="Customer ID", on=pl.col("InvoiceDate").str.slice(0, 10).str.to_date()
        )
        .agg(count=pl.len().cast(pl.Int64), quantity=pl.col("Quantity").cast(pl.Int64).sum())
        .with_columns(kind=pl.lit("purchase"))
        .lazy()
    )


def row(snapshot: Snapshot) -> str:
    fitted = measured(lambda: propensity.fit(snapshot, propensity.PropensityParams(), NoProgress()))
    found = propensity.evaluate(fitted.result, snapshot).metrics
    gains = [f"{found[f'auc_over_{name}']:+.3f} [{found[f'auc_over_{name}_low']:+.3f}, {found[f'auc_over_{name}_high']:+.3f}]"  # noqa: E501
             for name in ("rate", "last_purchase", "frequency")]  # fmt: skip
    cells = [str(snapshot.as_of), f"{found['row_count']:,.0f}", f"{found['category_count']:.0f}", f"{found['base_rate']:.3f}",  # noqa: E501
             f"{found['auc']:.3f}", *gains, f"{found['category_auc']:.3f}", f"{found['ece']:.3f}", f"{found['category_ece']:.3f}",  # noqa: E501
             f"{found['category_ece_max']:.3f}", f"{fitted.cpu:.1f}"]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


HEAD = """| cut | pairs | categories | base rate | AUC | over the category's rate | over the own last purchase | over the own frequency | AUC within a category | calibration error | of a category, mean | of a category, largest | CPU s of the fit |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""  # noqa: E501


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--lake", type=Path, help="a lake of the synthetic retailer")
    reader.add_argument("--data", type=Path, help="folder with online_retail_*.csv.gz")
    chosen = reader.parse_args()
    compose()
    print(f"{conditions('polars', 'xgboost', 'scikit-learn')}\n")
    if chosen.lake:
        lake = Lake(str(chosen.lake), {}, 16)
        held = {table: lake.scan(table) for table in propensity.MODEL.tables}
        end = last_complete_day_end(lake)
        print("Synthetic retailer\n\n" + HEAD)
        for back in (90, 30):
            print(row(Snapshot(held, end - timedelta(days=back))))
    if chosen.data:
        held = {propensity.DAYS: log(chosen.data), propensity.INTERACTIONS: interactions(chosen.data).collect().lazy()}
        print("\nPublic log, categories by the last word of a name\n\n" + HEAD)
        for cut in CUTS:
            print(row(Snapshot(held, cut)))


if __name__ == "__main__":
    main()
