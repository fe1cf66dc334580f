"""Whether context counts: `python tests/bench/context.py [--customers 6000] [--seed 11] [--days 60]`.

The synthetic retailer's log of lists has planted effects of five contexts, and none of the day of the week. The model
`ranking` is fitted on the lists before the last ``--days`` and judged on those after, with all contexts and with each
left out in turn: NDCG@10 with clicks by the inverse of how much their place is looked at, as a mean of subjects, the
difference by a paired bootstrap over subjects. "Other first product" is the share of judged lists that begin with
another product without the context. Then the CPU of a learned order of 200 candidates within a request.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import date, timedelta
from time import process_time, thread_time

import numpy as np
import polars as pl
from conditions import conditions

from customer360.models import ranking
from customer360.models.base import NoProgress, Snapshot
from customer360.models.lifecycle.evaluation import compare_means
from customer360.models.ranking.features import CONTEXTS, examples, products_at
from customer360.pipelines.sample.impressions import impression_rows
from customer360.pipelines.sample.world import World, build_world
from customer360.pipelines.silver.impressions import impressions
from customer360.serve.publication.rankers import Published
from customer360.serve.realtime.ranking.asking import Asked, Context
from customer360.serve.realtime.ranking.catalogue import Catalogue
from customer360.serve.realtime.ranking.learned import Learned, affinity_of
from customer360.serve.realtime.ranking.retrieve import Slate
from customer360.serve.realtime.session import Session

END = date(2026, 6, 30)
CANDIDATES, REPEATS = 200, 3000


def tables(world: World) -> dict[str, pl.LazyFrame]:
    """What the model reads, as silver and gold have it; a person is an account of the shop."""
    raw = impression_rows(world).with_columns(
        STORE_ID=pl.lit(None, pl.String), _source_system=pl.lit("SHOP")
    )  # fmt: skip
    accounts = pl.LazyFrame({"CUSTOMER_ID": world.accounts["customer_id"]}).select(
        identifier=pl.format("SHOP/{}", "CUSTOMER_ID"), kind=pl.lit("account"), person_id="CUSTOMER_ID",
        valid_from=pl.lit(None, pl.Datetime("us", "UTC")), valid_to=pl.lit(None, pl.Datetime("us", "UTC")),
    )  # fmt: skip
    receipts = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64}).filter(pl.col("account") >= 0)
    lines = world.sales.lines.join(receipts.select("receipt", "account", "day"), on="receipt")
    bought = lines.select(
        person_id=world.accounts["customer_id"].gather(lines["account"]),
        product_id=world.products["PRODUCT_ID"].gather(lines["product"]),
        on=pl.lit(world.start_on) + pl.duration(days="day"),
        kind=pl.lit("purchase"),
    )
    products = world.products.select(
        product_id="PRODUCT_ID",
        category="CATEGORY",
        launched_on="LAUNCH_DATE",
        price="PRICE",
        cost="COST",
        currency="CURRENCY_CODE",
    )
    shown = impressions(raw.lazy(), accounts).collect()
    return {"silver.impressions": shown.lazy(), "gold.interactions": bought.lazy(), "silver.products": products.lazy()}


def first_products(fitted: ranking.RankingFitted, judged: ranking.Examples) -> np.ndarray:
    """The row that each list begins with."""
    utility = fitted.weights.utility(judged)
    order = np.lexsort((-utility, judged.group))
    return np.asarray(order[np.flatnonzero(np.diff(judged.group, prepend=-1))])


def cpu_of_an_order(fitted: ranking.RankingFitted, snapshot: Snapshot) -> float:
    """Microseconds of CPU, median of `REPEATS`."""
    known = products_at(snapshot)
    rows = [
        (p, {"category": c, "is_sellable": True, "is_in_stock": None})
        for p, c in known.select("product_id", "category").iter_rows()
    ]
    catalogue = Catalogue.of(rows, snapshot.as_of)
    learned, products = Learned.of(Published("1", fitted, known), catalogue), [p for p, _ in rows[:CANDIDATES]]
    places = catalogue.places(products)
    values = {"activity": np.random.default_rng(0).random(CANDIDATES)}
    slate = Slate(tuple(products), tuple(catalogue.category[places]), {}, {}, values, places=places)
    context = Context(region="WEST", device="mobile", hour=9)
    asked = Asked("home", END, 10, context=context, session=Session(viewed=tuple(products[:7])))
    fused, mine, spent = np.linspace(1, 0.1, CANDIDATES), products[20:60], []
    for _ in range(REPEATS):
        began = thread_time()
        learned.values(slate, places, fused, asked, affinity_of(mine, catalogue, places))
        spent.append(thread_time() - began)
    return float(np.median(spent)) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--customers", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--days", type=int, default=60)
    given = parser.parse_args()
    print(conditions("numpy", "polars", "scipy"))
    world = build_world(customers=given.customers, days=365, seed=given.seed, end_on=END)
    snapshot = Snapshot(tables(world), END + timedelta(days=1 - given.days))
    params = ranking.RankingParams(horizon_days=given.days)
    began = process_time()
    whole = ranking.fit(snapshot, params, NoProgress())
    print(f"{whole.list_count:,} lists, fitted in {process_time() - began:.2f} s of CPU")
    full = ranking.evaluate(whole, snapshot)
    print(", ".join(f"{name} {value:.4f}" for name, value in full.metrics.items()))
    judged = examples(snapshot, snapshot.as_of, END + timedelta(days=1), params.most_lists)
    begins = first_products(whole, judged)
    print("| left out | NDCG@10 lost [95 %] | other first product |\n|---|---|---|")
    for context in CONTEXTS:
        kept = tuple(name for name in params.contexts if name != context)
        fitted = ranking.fit(snapshot, params.model_copy(update={"contexts": kept}), NoProgress())
        rows = ranking.evaluate(fitted, snapshot).rows
        assert full.rows is not None and rows is not None
        both = full.rows.join(rows, on="person_id", suffix="_without")
        lost = compare_means(both["ndcg"], both["ndcg_without"], 0)
        moved = float((first_products(fitted, judged) != begins).mean())
        print(f"| {context} | {lost.difference:+.4f} [{lost.low:+.4f}, {lost.high:+.4f}] | {moved:.2f} |")
    used = replace(whole, placements=("home",))
    print(f"a learned order of {CANDIDATES} candidates: {cpu_of_an_order(used, snapshot):.0f} us of CPU")


if __name__ == "__main__":
    main()
