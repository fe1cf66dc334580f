"""Recommendations on the public retail log: the hybrid against each method alone and the two towers, two windows, both
modes.

`python tests/bench/recommend.py [--cuts 2011-06-13,2011-03-15] [--modes new,all] [--data DIR]`. Goods only (codes that
begin with five digits, upper-cased), sales only, one event per user, item and day. Everything is learned before the
cut; users with five items before it who come back within 90 days judge. The full catalogue is ranked. Prints one
Markdown block.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import polars as pl
from conditions import conditions

from customer360.models import base, two_tower
from customer360.models.lifecycle import evaluation
from customer360.models.recommenders import choice
from customer360.models.recommenders.candidates import Mode, best_of_blend
from customer360.models.recommenders.lists import ranked
from customer360.models.recommenders.log import Ints, Log

ROOT = Path(__file__).resolve().parents[2]
HORIZON = 90
LAST_DAY = date(2011, 9, 10)
NEW_ITEM_DAYS = 28


def events(data: Path) -> pl.DataFrame:
    """Sales of goods to known customers: `user`, `item`, `day`, `kept`, `item_text`."""
    rows = pl.concat(pl.read_csv(file, infer_schema=False) for file in sorted(data.glob("*.csv.gz")))
    goods = rows.filter(
        ~pl.col("Invoice").str.starts_with("C"), pl.col("Quantity").cast(pl.Float64) > 0,
        pl.col("Price").cast(pl.Float64) > 0, pl.col("StockCode").str.contains(r"^\d{5}"),
        pl.col("Customer ID").str.len_chars() > 0,
    )  # fmt: skip
    at = pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S")
    return goods.select(
        user="Customer ID",
        item=pl.col("StockCode").str.to_uppercase(),
        day=at.dt.epoch("us") / 86_400e6,
        kept=pl.lit(True),
        item_text="Description",
    )


def outcome(rows: pl.DataFrame, cut: float, mode: Mode) -> pl.DataFrame:
    """What judged users buy in the window: `person_id`, `product_id`; in mode `new` what they had not bought before."""
    pair = ["user", "item"]
    before = rows.filter(pl.col("day") < cut).select(pair).unique()
    after = rows.filter(pl.col("day").is_between(cut, cut + HORIZON, closed="left")).select(pair).unique()
    known = before.group_by("user").len().filter(pl.col("len") >= 5)
    truth = after.join(known, on="user", how="semi")
    if mode == "new":
        truth = truth.join(before, on=pair, how="anti")
    return truth.select(person_id="user", product_id="item")


def table(log: Log, user: Ints, item: Ints, rank: Ints) -> pl.DataFrame:
    return pl.DataFrame({"person_id": log.users.gather(user), "product_id": log.items.gather(item), "rank": rank})


def single(fitted: choice.Hybrid, name: str, users: Ints) -> pl.DataFrame:
    found, _ = best_of_blend(fitted.log, {name: fitted.scorers[name]}, {name: 1.0}, users, fitted.mode, 20)
    rows, rank = ranked(found, found.parts[:, 0], 20)
    return table(fitted.log, users[found.user[rows]], found.item[rows], rank)


Towers = Callable[[pl.Series, Mode], pl.DataFrame]


def tables(rows: pl.DataFrame, cut: date) -> dict[str, pl.DataFrame]:
    """The lake tables that the two towers read; words of products as they stood at the cut."""
    interactions = rows.select(
        person_id="user", product_id="item", on=pl.from_epoch(pl.col("day").floor().cast(pl.Int32), "d"),
        kind=pl.lit("purchase"),
    )  # fmt: skip
    names = rows.filter(pl.col("day") < (cut - date(1970, 1, 1)).days).group_by("item").agg(pl.col("item_text").last())
    blank = dict.fromkeys(("category", "subcategory", "brand"), pl.lit(None, pl.String))
    products = names.select(
        product_id="item", product_name="item_text", launched_on=pl.lit(date(2009, 1, 1)), is_product=True, **blank
    )
    return {"gold.interactions": interactions, "silver.products": products}


def towers(rows: pl.DataFrame, cut: date) -> Towers:
    """Lists of the two towers for persons and a mode, with the parameters that they come with."""
    found = {name: table.lazy() for name, table in tables(rows, cut).items()}
    fitted = two_tower.fit(base.Snapshot(found, cut), two_tower.TwoTowerParams(), base.NoProgress())
    return lambda persons, mode: two_tower.recommend(fitted, found["gold.interactions"], persons, cut, mode, 20)


def judged(rows: pl.DataFrame, cut: date, mode: Mode, of_towers: Towers | None, effort: str) -> list[str]:
    """Markdown lines of one window and mode, the hybrid first."""
    today = float((cut - date(1970, 1, 1)).days)
    log, truth, start, used = Log.of(rows, today), outcome(rows, today, mode), perf_counter(), process_time()
    fitted = choice.fit(log, mode, print, effort=choice.EFFORTS[effort])
    persons = truth["person_id"].unique().sort()
    users = log.users.search_sorted(persons).to_numpy().astype(np.int64)
    user, item, rank, _ = fitted.lists(users, 20)
    seconds, cpu = perf_counter() - start, process_time() - used
    lists = {f"**hybrid ({fitted.name})**": table(log, user, item, rank)}
    lists |= {name: single(fitted, name, users) for name in fitted.scorers}
    if of_towers is not None:
        lists["two towers"] = of_towers(persons, mode)
    young = log.items.filter(pl.Series(_first_sale(log) >= today - NEW_ITEM_DAYS))
    unseen = truth.filter(~pl.col("product_id").is_in(log.items.implode())).height / truth.height
    scored = {name: evaluation.ranking_by_person(found, truth) for name, found in lists.items()}
    ours = next(iter(scored.values()))["recall"]
    out = [
        f"\n**{cut}, mode {mode}**: {len(persons):,} users, {truth.height / len(persons):.1f} relevant items each, {unseen:.1%} of them "  # noqa: E501
        f"unseen before the cut; fit and lists {seconds:.0f} s ({cpu:.0f} s of CPU).\n",
        "| method | Recall@20 | NDCG@10 | coverage | Gini | items younger than 28 d | hybrid minus it, Recall [95 %, paired] |",  # noqa: E501
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, by_person in sorted(scored.items(), key=lambda pair: -pair[1]["recall"].to_numpy().mean()):
        found = lists[name]
        gain = evaluation.compare_means(ours, by_person["recall"], seed=0)
        out.append(
            f"| {name} | {by_person['recall'].to_numpy().mean():.4f} | {by_person['ndcg'].to_numpy().mean():.4f} "
            f"| {evaluation.coverage(found, len(log.items)):.2f} | {evaluation.gini(found, len(log.items)):.2f} "
            f"| {found['product_id'].is_in(young.implode()).mean():.3f} | {gain} |"
        )
    if of_towers is not None:
        ease = evaluation.compare_means(scored["two towers"]["recall"], scored["ease"]["recall"], seed=0)
        out.append(f"\nTwo towers minus EASE, Recall@20: {ease}.")
    return out


def _first_sale(log: Log) -> np.ndarray:
    first = np.full(len(log.items), np.inf)
    np.minimum.at(first, log.item, log.day)
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retail")
    parser.add_argument("--cuts", default="2011-06-13,2011-03-15")
    parser.add_argument("--modes", default="new,all")
    parser.add_argument("--no-towers", action="store_true")
    parser.add_argument("--effort", choices=list(choice.EFFORTS), default="default")
    options = parser.parse_args()
    rows, lines = events(options.data), [conditions("numpy", "scipy", "xgboost", "torch")]
    for cut in map(date.fromisoformat, options.cuts.split(",")):
        if cut + timedelta(days=HORIZON) > LAST_DAY + timedelta(days=1):
            raise SystemExit(f"the window after {cut} does not end within the log")
        of_towers = None if options.no_towers else towers(rows, cut)
        for mode in options.modes.split(","):
            lines += judged(rows, cut, mode, of_towers, options.effort)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
