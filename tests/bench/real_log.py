"""The public log Online Retail II through the whole platform: `python tests/bench/real_log.py [--data DIR]`.

Runs `configs/online_retail.yaml` into a temporary lake, twice, and judges churn and recommendations, fitted on what was
known at a cut, on the 90 days after it. Prints one Markdown block. DIR holds the log's CSV files (see the
configuration).
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import polars as pl
from conditions import conditions, measured

from customer360.models.base import MODELS, Evaluation
from customer360.models.lifecycle import train
from customer360.platform import settings as configuration
from customer360.platform.lake import Lake
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.settings import Settings
from customer360.serve import jobs
from customer360.serve.cli import report
from customer360.serve.compose import compose

ROOT = Path(__file__).resolve().parents[2]
CUT = date(2011, 6, 13)
PROTOCOL_POPULATION = (
    4320  # persons with a priced goods line in the year before the cut, counted from the files themselves
)
HORIZON = timedelta(days=90)


def configured(data: Path, scratch: Path, executor: str) -> Settings:
    changes = {
        "LANDING": data.resolve(),
        "STATE": scratch / "state",
        "LAKE__ROOT": scratch / "lake",
        "EXECUTION__EXECUTOR": executor,
    }
    return configuration.load(
        ROOT / "configs/online_retail.yaml", {f"CUSTOMER360__{key}": str(value) for key, value in changes.items()}
    )


def table(header: str, rows: list[tuple[object, ...]]) -> str:
    """A Markdown table; ``header`` names the columns, parted by ``|``."""
    columns = header.split("|")
    lines = [columns, ["---"] * len(columns), *([str(v) for v in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def money(amount: Any) -> str:
    return f"{float(amount):,.2f}"


def figures(lake: Lake) -> list[tuple[object, ...]]:
    """What the log holds, from silver."""
    sales = lake.scan("silver.transactions").select(
        headers=pl.len(), sold=pl.col("is_sale").sum(), returned=pl.col("is_return").sum(),
        gross=pl.col("gross_amount").sum(), given_back=pl.col("return_amount").sum(), net=pl.col("net_amount").sum(),
        guests=(pl.col("is_sale") & pl.col("person_id").is_null()).sum(),
        guest_gross=pl.col("gross_amount").filter(pl.col("person_id").is_null()).sum(),
    ).collect().row(0, named=True)  # fmt: skip
    lines = lake.scan("silver.transaction_items").select(
        lines=pl.len(), gross=pl.col("gross_amount").sum(), no_product=(~pl.col("is_product")).sum(), no_product_gross=pl.col("gross_amount").filter(~pl.col("is_product")).sum(),  # noqa: E501
    ).collect().row(0, named=True)  # fmt: skip
    days = (
        lake.scan("silver.subject_days")
        .select(gross=pl.col("gross_amount").sum(), net=pl.col("net_amount").sum())
        .collect()
        .row(0, named=True)
    )
    if (days["gross"], days["net"]) != (sales["gross"], sales["net"]):
        raise SystemExit(f"subject days do not conserve amounts: {days} of {sales}")
    people = (
        lake.scan("silver.transactions")
        .select(pl.col("person_id").n_unique() - pl.col("person_id").is_null().any())
        .collect()
        .item()
    )
    return [
        ("invoices", f"{sales['headers']:,}, of which {sales['sold']:,} sales and {sales['returned']:,} returns"),
        ("gross, returns, net", f"{money(sales['gross'])} - {money(sales['given_back'])} = {money(sales['net'])} GBP"),
        (
            "lines",
            f"{lines['lines']:,}, of which {lines['no_product']:,} are no product ({money(lines['no_product_gross'])} GBP gross)",  # noqa: E501
        ),
        ("gross of the lines, equal ones of an invoice folded", f"{money(lines['gross'])} GBP"),
        ("persons", f"{people:,}"),
        ("sales to guests", f"{sales['guests']:,} ({money(sales['guest_gross'])} GBP gross)"),
    ]


def protocol_population(lake: Lake, cut: date) -> int:
    """Persons with a priced line of goods in the year before the cut, as the frozen protocol counts them."""
    goods = lake.scan("silver.transaction_items").filter(
        "is_sale", "is_product", pl.col("person_id").is_not_null(), pl.col("quantity") > 0, pl.col("unit_price") > 0,
        pl.col("occurred_on").is_between(cut - timedelta(days=365), cut, closed="left"),
    )  # fmt: skip
    return goods.select(pl.col("person_id").n_unique()).collect().item()


def judged(lake: Lake, settings: Settings, name: str, cut: date) -> tuple[dict[str, float], Evaluation]:
    model = MODELS[name]
    start = perf_counter()
    evaluation = train.backtest(lake, model, train.params_of(settings, model), cut)
    return {"seconds": perf_counter() - start}, evaluation


def churn_rows(found: Evaluation) -> list[tuple[object, ...]]:
    m = found.metrics
    own = (
        f"{m['auc']:.3f}",
        f"PR-AUC {m['pr_auc']:.3f}, lift@10 % {m['lift_10']:.2f} of {m['lift_10_ceiling']:.2f}, Brier {m['brier']:.3f}, ECE {m['ece']:.3f}",  # noqa: E501
        "",
    )
    rules = {"recency": "recency rule", "bgnbd": "BG/NBD expected purchases"}
    return [
        ("churn model", *own),
        *(
            (label, f"{m[f'{rule}_auc']:.3f}", f"{m[f'auc_over_{rule}']:+.4f} [{m[f'auc_over_{rule}_low']:+.4f}, {m[f'auc_over_{rule}_high']:+.4f}]",  # noqa: E501
             found.verdicts[f"auc_over_{rule}"])
            for rule, label in rules.items()
        ),
    ]  # fmt: skip


def recommendation_rows(found: Evaluation) -> list[tuple[object, ...]]:
    m, rows = found.metrics, []
    rivals = {"new": ("popularity",), "all": ("popularity", "own_frequency")}
    for mode, names in rivals.items():
        rows.append((f"{mode}: item to item", f"{m[f'{mode}_recall_20']:.3f}", f"{m[f'{mode}_ndcg_10']:.3f}",
                     f"coverage {m[f'{mode}_coverage_20']:.2f}, {m[f'{mode}_person_count']:,.0f} persons", ""))  # fmt: skip  # noqa: E501
        for name in names:
            over = f"{mode}_over_{name}"
            gain = f"{m[f'{over}_gain']:+.4f} [{m[f'{over}_gain_low']:+.4f}, {m[f'{over}_gain_high']:+.4f}]"
            rows.append(
                (
                    f"{mode}: {name.replace('_', ' ')}",
                    f"{m[f'{mode}_{name}_recall_20']:.3f}",
                    f"{m[f'{mode}_{name}_ndcg_10']:.3f}",
                    gain,
                    found.verdicts[over],
                )
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retail")
    parser.add_argument("--executor", choices=["ray", "local"], default="ray")
    options = parser.parse_args()
    before = conditions("polars", "ray", "deltalake", "splink", "xgboost")
    compose()
    with tempfile.TemporaryDirectory() as folder:
        settings = configured(options.data, Path(folder), options.executor)
        first = measured(lambda: jobs.run_pipeline(settings, RunRequest(as_of=CUT, command="bench")))
        second = measured(lambda: jobs.run_pipeline(settings, RunRequest(as_of=CUT, command="bench")))
        lake = lake_of(settings)
        states = sorted({node.state for node in second.result.nodes})
        if states != ["current"]:
            raise SystemExit(f"the second run did not skip everything: {states}")
        churn_cost, churn = judged(lake, settings, "churn", CUT)
        list_cost, lists = judged(lake, settings, "item_to_item", CUT)
        protocol = protocol_population(lake, CUT)
        print(f"### Online Retail II, as of {CUT}, executor {options.executor}\n\n{before}\n")
        print(
            f"First run: {first.seconds:.1f} s from raw files to gold with the start of Ray ({len(first.result.nodes)} nodes, peak {first.peak:.2f} GiB). "  # noqa: E501
            f"Second run: all {len(second.result.nodes)} nodes current, {second.seconds:.1f} s. "
            f"Backtests: churn {churn_cost['seconds']:.1f} s, recommendations {list_cost['seconds']:.1f} s.\n"
        )
        print(
            table(
                "scope|received|=|holds",
                [
                    (b.scope, f"{b.received:,}", b.text.partition(" = ")[2], b.holds)
                    for _, b in report.balances(lake, settings)
                    if b.received
                ],
            )
        )
        print("\n" + table("what|figure", figures(lake)))
        same = "equal to" if protocol == PROTOCOL_POPULATION else f"not the {PROTOCOL_POPULATION:,} of"
        print(
            f"\nPersons with a priced goods line in the year before: {protocol:,}, {same} the frozen protocol; judged by the model: {churn.metrics['row_count']:,.0f} "  # noqa: E501
            f"(an order is a completed sale, whatever its lines), churn rate {churn.metrics['base_rate']:.1%}, window {CUT} to {CUT + HORIZON}.\n"  # noqa: E501
        )
        print(table(f"churn, {HORIZON.days} days|AUC|model minus rule [95 %, paired]|the model is", churn_rows(churn)))
        print(
            "\n"
            + table(
                "recommendations|Recall@20|NDCG@10|model minus rule, Recall [95 %, paired]|the model is",
                recommendation_rows(lists),
            )
        )


if __name__ == "__main__":
    main()
