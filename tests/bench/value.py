"""Churn and customer value on the public log, three rolling cuts: `python tests/bench/value.py [--data DIR] [--cuts
…]`.

The frozen protocol: sold lines of goods with a customer, one purchase a customer and day, customers of the last year,
the 90 days after each cut. Prints the churn table (paired differences of AUC to BG/NBD expected purchases, each cut
and pooled) and the value table with every rule of the public comparison, so that the trade-off between absolute error,
order and total is seen. Each fit reads what was known at its cut. DIR holds the log's CSV files.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import xgboost
from conditions import conditions, measured
from numpy.typing import NDArray

from customer360.models import churn, clv, frames
from customer360.models.files.transactions import days as days_of
from customer360.models.lifecycle import evaluation
from customer360.models.purchasing import starts

ROOT = Path(__file__).resolve().parents[2]
CUTS = (date(2010, 12, 15), date(2011, 3, 15), date(2011, 6, 13))
HORIZON, ACTIVE = 90, 365
TREES = {"tree_method": "hist", "max_depth": 4, "eta": 0.04, "nthread": 2, "seed": 0}  # the untuned rivals of the log
ROUNDS = 300

Array = NDArray[np.float64]


def log(data: Path) -> pl.LazyFrame:
    """Days of customers from the sold lines of goods."""
    raw = pl.concat(pl.read_csv(file, infer_schema_length=0) for file in sorted(data.glob("online_retail_*.csv.gz")))
    quantity, price = pl.col("Quantity").cast(pl.Int64), pl.col("Price").cast(pl.Float64)
    sold = raw.filter(
        ~pl.col("Invoice").str.starts_with("C"), quantity > 0, price > 0, pl.col("StockCode").str.contains(r"^\d{5}"),
        pl.col("Customer ID").is_not_null(),
    )  # fmt: skip
    lines = sold.select(
        customer="Customer ID", at=pl.col("InvoiceDate").str.to_datetime(), amount=quantity * price,
        invoice="Invoice", item=pl.col("StockCode").str.to_uppercase(),
    )  # fmt: skip
    return days_of(lines).collect().lazy()


def judged_churn(days: pl.LazyFrame, cut: date, known: starts.Examples) -> tuple[Array, Array, Array]:
    """Truth, probability and BG/NBD score of everybody at a cut."""
    frame = frames.examples(days, cut, HORIZON, ACTIVE).collect()
    fitted = churn.fit_examples(known, churn.ChurnParams())
    rival = churn.baselines(days, frame, cut, HORIZON)["bgnbd"]
    return frame["churned"].cast(pl.Float64).to_numpy(), churn.score(fitted, frame, cut)["score"].to_numpy(), rival


def churn_row(name: str, truth: Array, score: Array, rival: Array) -> tuple[object, ...]:
    found, gain = evaluation.binary_metrics(truth, score), evaluation.compare_auc(truth, score, rival, 0)
    return (name, f"{len(truth):,}", f"{found['base_rate']:.3f}", f"{found['auc']:.4f}", f"{evaluation.auc(truth, rival):.4f}",  # noqa: E501
            f"{gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]", f"{found['ece']:.3f}", f"{found['brier']:.3f}",  # noqa: E501
            f"{found['lift_10']:.2f} of {found['lift_10_ceiling']:.2f}")  # fmt: skip


def pooled_gain(parts: list[tuple[Array, Array, Array]], seed: int = 0) -> str:
    """Mean difference of AUC over the cuts, customers of each cut drawn anew."""
    draws = []
    for truth, score, rival in parts:
        rng, size = np.random.default_rng(seed), len(truth)
        rows = [rng.integers(0, size, size) for _ in range(evaluation.RESAMPLES // 2)]
        draws.append([evaluation.auc(truth[r], score[r]) - evaluation.auc(truth[r], rival[r]) for r in rows])
    means = np.mean(draws, axis=0)
    found = np.mean([evaluation.auc(t, s) - evaluation.auc(t, r) for t, s, r in parts])
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{found:+.4f} [{low:+.4f}, {high:+.4f}]"


def amounts(days: pl.LazyFrame, cut: date, known: starts.Examples) -> tuple[Array, dict[str, Array], pl.DataFrame]:
    """True revenue, the amounts of the model and of every rival, and one row a customer for `held`."""
    frame = frames.examples(days, cut, HORIZON, ACTIVE).collect()
    revenue = frame["revenue"].to_numpy()
    scored = clv.score(clv.fit_examples(known, clv.ClvParams()), frame, cut)
    ends = scored.select("score", "low", "high").with_columns(
        frame.select("revenue", days="purchase_day_count").get_columns()
    )
    rules = clv.baselines(days, frame, cut, HORIZON)
    found = {
        "clv": scored["score"].to_numpy(), "BG/NBD + Gamma-Gamma": rules["btyd"],
        "revenue of the last 90 days": rules["last_90d"], "revenue rate x 90": rules["rate"],
        **trees(days, frame, cut),
    }  # fmt: skip
    return revenue, found, ends


def held(ends: pl.DataFrame) -> str:
    """Share of outcomes inside the interval and share that is nothing, by tenth of the expected value (the highest
    first) and by purchase days; and the mean width over the mean revenue.
    """
    told = ends.with_columns(
        inside=pl.col("revenue").is_between("low", "high"), nothing=pl.col("revenue") <= 0,
        tenth=(pl.col("score").rank("ordinal", descending=True) - 1) * 10 // ends.height + 1,
        history=pl.col("days").cut([1, 4, 14], labels=["once", "2 to 4", "5 to 14", "15 or more"]).cast(pl.String),
    )  # fmt: skip
    parts = []
    for by in ("tenth", "history"):
        each = (
            told.group_by(by)
            .agg(pl.col("inside", "nothing").mean(), pl.col("score").mean())
            .sort("score", descending=True)
        )
        parts.append(
            f"by {by}: "
            + ", ".join(f"{row[by]} {row['inside']:.2f} ({row['nothing']:.2f})" for row in each.iter_rows(named=True))
        )
    width = (told["high"] - told["low"]).mean() / told["revenue"].mean()  # type: ignore[operator]
    return f"Inside the 80 % interval (bought nothing) {'; '.join(parts)}. Width over revenue {width:.2f}, inside {told['inside'].mean():.3f}."  # noqa: E501


def trees(days: pl.LazyFrame, frame: pl.DataFrame, cut: date) -> dict[str, Array]:
    """The untuned tree models of the public comparison, on cuts 90 days apart."""
    first = frames.first_purchase_on(days)
    past = pl.concat(
        frames.examples(days, at, HORIZON, ACTIVE).collect() for at in frames.cuts(first, cut, HORIZON, 120)
    )
    features = (*frames.FEATURES,)
    learn, judge = (part.select(pl.col(features).cast(pl.Float32)).to_numpy() for part in (past, frame))
    label = past["revenue"].to_numpy()
    found = {"mean of the training rows": np.full(frame.height, label.mean())}
    for name, objective in (
        ("trees, tweedie", {"objective": "reg:tweedie", "tweedie_variance_power": 1.5}),
        ("trees, absolute error", {"objective": "reg:absoluteerror"}),
    ):
        booster = xgboost.train(TREES | objective, xgboost.DMatrix(learn, label=label), ROUNDS)
        found[name] = booster.predict(xgboost.DMatrix(judge)).astype(np.float64)
    buyers = label > 0
    happens = xgboost.train(TREES | {"objective": "binary:logistic"}, xgboost.DMatrix(learn, label=buyers), ROUNDS)
    size = xgboost.train(
        TREES | {"objective": "reg:gamma"}, xgboost.DMatrix(learn[buyers], label=label[buyers]), ROUNDS
    )
    both = [model.predict(xgboost.DMatrix(judge)).astype(np.float64) for model in (happens, size)]
    return found | {"trees, two stages": both[0] * both[1]}


def value_rows(revenue: Array, found: dict[str, Array]) -> list[tuple[object, ...]]:
    """One row a method; `dominated by`: who is no worse in error, order and total, and better in one of them."""
    measures = {name: clv.amount_metrics(revenue, amount) for name, amount in found.items()}

    def costs(name: str) -> Array:
        m = measures[name]
        return np.array([m["mae"], -np.nan_to_num(m["spearman"]), abs(m["total_error"])])

    def beats(one: str, other: str) -> bool:
        return bool(np.all(costs(one) <= costs(other)) and np.any(costs(one) < costs(other)))

    rows = []
    for name, m in measures.items():
        over = [other for other in measures if beats(other, name)]
        decile = clv.decile_table(revenue, found[name])["decile_error"]
        rows.append((name, f"{m['mae']:.1f}", f"{np.nan_to_num(m['spearman']):.3f}", f"{m['gini']:.3f}", f"{m['total_error']:+.1%}",  # noqa: E501
                     f"{decile:.2f}", "clv" if "clv" in over else ", ".join(over) or "nobody"))  # fmt: skip
    return rows


def table(header: str, rows: list[tuple[object, ...]]) -> str:
    columns = header.split("|")
    lines = [columns, ["---"] * len(columns), *([str(v) for v in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retail")
    parser.add_argument("--cuts", type=date.fromisoformat, nargs="+", default=list(CUTS))
    options = parser.parse_args()
    days = log(options.data)
    print(f"{conditions('polars', 'xgboost', 'scipy', 'scikit-learn')}\n")
    parts, churn_rows, value_tables = [], [], []
    for cut in options.cuts:
        cuts = frames.cuts(frames.first_purchase_on(days), cut, HORIZON, 180, 13, 30)
        made = measured(lambda cut=cut, cuts=cuts: starts.examples(days, cut, cuts, HORIZON, ACTIVE))
        parts.append(judged_churn(days, cut, made.result))
        churn_rows.append(churn_row(str(cut), *parts[-1]))
        revenue, found, ends = amounts(days, cut, made.result)
        clock = "season time" if made.result.spending.clock.is_seasonal else "calendar time"
        value_tables.append(
            f"Value at {cut} ({len(cuts)} training cuts, {clock}, examples {made.cpu:.0f} s of CPU). {held(ends)}\n\n"
            + table("method|MAE|Spearman|normalized Gini|total|decile error|dominated by", value_rows(revenue, found))
        )
    print(table("churn at|customers|churned|AUC|BG/NBD|difference [95 %, paired]|ECE|Brier|lift@10 %", churn_rows))
    print(f"\nPooled over the cuts: {pooled_gain(parts)}.\n")
    print("\n\n".join(value_tables))


if __name__ == "__main__":
    main()
