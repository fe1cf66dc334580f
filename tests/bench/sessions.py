"""The next item of a session: the hybrid against plain sequential rules and V-SKNN, on clicks with planted order and
on invoices.

`python tests/bench/sessions.py [--data DIR] [--only clicks|invoices] [--sessions 25000]`. Clicks: sessions over two
weeks, Zipf items, half of the steps follow a planted successor, a quarter repeat the item. Invoices: Online Retail II,
an invoice is a session and its lines, in the order of the file, are the steps; judged are invoices of the 30 days
after 2011-06-13. The newest sessions are cut after a random step; repeats are collapsed, the current item is never
listed, the next item is wanted. Prints one Markdown block: HR@20 and MRR@20 with paired intervals, seconds and the
peak memory of the process.
"""

from __future__ import annotations

import argparse
import math
import resource
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from time import process_time

import numpy as np
import polars as pl
from conditions import conditions

from customer360.models.files import recommend
from customer360.models.files.interactions import Interactions
from customer360.models.lifecycle import evaluation

ROOT = Path(__file__).resolve().parents[2]
K = 20
FIRST_DAY = datetime(2011, 1, 1)
LAST_DAY = datetime(2011, 9, 11)
Paths = dict[object, list[object]]


def clicks(sessions: int = 25_000, items: int = 9_000, seed: int = 0) -> pl.DataFrame:
    """Rows `session`, `item`, `at`."""
    rng, rows = np.random.default_rng(seed), []
    successors = rng.integers(0, items, size=(items, 4))
    share = 1 / np.arange(1, items + 1) ** 0.8
    total = np.cumsum(share / share.sum())
    begins = np.sort(rng.uniform(0, 14 * 86_400, sessions))
    for session, at in enumerate(begins):
        item = int(np.searchsorted(total, rng.random()))
        for _ in range(min(1 + rng.geometric(0.33), 60)):
            rows.append((session, item, at))
            at += rng.exponential(60)
            draw = rng.random()
            if draw >= 0.75:
                item = int(np.searchsorted(total, rng.random()))
            elif draw >= 0.25:
                item = int(successors[item, min(rng.geometric(0.5) - 1, 3)])
    frame = pl.DataFrame(rows, schema=["session", "item", "second"], orient="row")
    return frame.select(
        "session", "item", at=pl.lit(datetime(2014, 4, 1)) + pl.duration(microseconds=pl.col("second") * 1e6)
    )


def invoices(data: Path) -> pl.DataFrame:
    """Sold goods of Online Retail II since `FIRST_DAY`, an invoice as a session."""
    rows = pl.concat(pl.read_csv(file, infer_schema=False) for file in sorted(data.glob("*.csv.gz")))
    goods = rows.filter(~pl.col("Invoice").str.starts_with("C"), pl.col("StockCode").str.contains(r"^\d{5}"))
    at = pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")
    found = goods.select(session="Invoice", item=pl.col("StockCode").str.to_uppercase(), at=at)
    return found.filter(pl.col("at").is_between(FIRST_DAY, LAST_DAY, closed="left"))


def cut(rows: pl.DataFrame, start: datetime, stop: datetime, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is known, and the wanted next item (`session`, `next`) of the sessions that begin from `start` on."""
    rng = np.random.default_rng(seed)
    ordered = (
        rows.with_row_index("place")
        .sort("session", "at", "place")
        .filter(
            (pl.col("item") != pl.col("item").shift(1)).fill_null(True)
            | (pl.col("session") != pl.col("session").shift(1)).fill_null(True)
        )
    )
    first = pl.col("at").min().over("session")
    ordered = ordered.with_columns(
        step=pl.int_range(pl.len()).over("session"), steps=pl.len().over("session"), first=first
    )
    ordered = ordered.filter(pl.col("first") < stop)
    judged = (
        ordered.filter(pl.col("first") >= start, pl.col("steps") >= 2)
        .group_by("session", maintain_order=True)
        .agg(pl.first("steps"))
    )
    known = judged.with_columns(
        known=pl.Series(1 + (rng.random(judged.height) * (judged["steps"].to_numpy() - 1)).astype(int))
    )
    joined = ordered.join(known.select("session", "known"), on="session", how="left")
    old = joined.filter((pl.col("first") < start) | (pl.col("step") < pl.col("known")))
    wanted = joined.filter(pl.col("step") == pl.col("known")).select("session", next="item")
    return old.sort("at", "place").select("session", "item", "at"), wanted


def rules(paths: Paths) -> dict[object, dict[object, float]]:
    """Sequential rules: one over the distance, at most ten steps apart."""
    found: dict[object, dict[object, float]] = defaultdict(lambda: defaultdict(float))
    for path in paths.values():
        for place, item in enumerate(path):
            for back in range(1, min(10, place) + 1):
                if path[place - back] != item:
                    found[path[place - back]][item] += 1.0 / back
    return found


def of_rules(paths: Paths, asked: list[object]) -> pl.DataFrame:
    """Lists by the rules of the current item; a session's own pairs stay in: it has none after its current item."""
    table = rules(paths)
    return _lists({session: table[paths[session][-1]] for session in asked}, paths)


def of_neighbours(paths: Paths, asked: list[object]) -> pl.DataFrame:
    """V-SKNN: the 100 nearest of the newest 1,000 sessions that share an item, linear decay, rare items weigh more."""
    holders: dict[object, list[object]] = defaultdict(list)
    for session, path in paths.items():  # in order of their last event
        for item in set(path):
            holders[item].append(session)
    order = {session: place for place, session in enumerate(paths)}
    found = {}
    for session in asked:
        path = paths[session]
        weight = {item: (place + 1) / len(path) for place, item in enumerate(path)}
        others = {other for item in weight for other in holders[item][-1000:]} - {session}
        near = {
            other: sum(weight[item] for item in weight.keys() & set(paths[other]))
            for other in sorted(others, key=order.__getitem__)[-1000:]
        }
        score: dict[object, float] = defaultdict(float)
        for other in sorted(near, key=lambda o: (-near[o], -order[o]))[:100]:
            latest = max(place for place, item in enumerate(path) if item in set(paths[other]))
            decay = max(1.0 - 0.1 * (len(path) - 1 - latest), 0.0)
            for item in set(paths[other]):
                score[item] += near[other] * decay * math.log(len(paths) / len(holders[item]))
        found[session] = score
    return _lists(found, paths)


def _lists(scores: dict[object, dict[object, float]], paths: Paths) -> pl.DataFrame:
    rows = []
    for session, score in scores.items():
        best = sorted((item for item in score if item != paths[session][-1]), key=lambda i: (-score[i], i))[:K]
        rows += [(session, item, rank) for rank, item in enumerate(best, start=1)]
    return pl.DataFrame(rows, schema=["session", "item", "rank"], orient="row")


def quality(lists: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """`hit` and `reciprocal` of every judged session."""
    joined = wanted.join(
        lists, left_on=["session", "next"], right_on=["session", "item"], how="left", maintain_order="left"
    )
    return joined.select(
        hit=pl.col("rank").is_not_null().cast(pl.Float64), reciprocal=(1.0 / pl.col("rank")).fill_null(0.0)
    )


def judged(name: str, rows: pl.DataFrame, start: datetime, stop: datetime) -> list[str]:
    """Markdown lines of one data set."""
    known, wanted = cut(rows, start, stop)
    began = process_time()
    asked_at = known["at"].max() + timedelta(seconds=1)  # type: ignore[operator]
    ours = recommend.recommend_sessions(Interactions(known, wanted["session"].unique(), {}), asked_at, K, print)
    seconds = process_time() - began
    newest = (
        known.group_by("session", maintain_order=True)
        .agg("item", last=pl.col("at").max())
        .sort("last", maintain_order=True)
    )
    paths: Paths = dict(newest.select("session", "item").iter_rows())
    asked = wanted["session"].to_list()
    figures = {"hybrid": quality(ours, wanted)}
    figures |= {
        "sequential rules": quality(of_rules(paths, asked), wanted),
        "V-SKNN": quality(of_neighbours(paths, asked), wanted),
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    out = [
        f"\n**{name}**: {known.height:,} events of {len(paths):,} sessions, {wanted.height:,} judged, lists for {ours['session'].n_unique():,}; "  # noqa: E501
        f"{seconds:.0f} s of CPU, peak {peak:.1f} GB with both baselines.\n",
        "| method | HR@20 | MRR@20 | hybrid minus it, HR [95 %] | MRR [95 %] |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for method, found in figures.items():
        gains = [
            evaluation.compare_means(figures["hybrid"][column], found[column], seed=0)
            for column in ("hit", "reciprocal")
        ]
        out.append(
            f"| {method} | {found['hit'].mean():.3f} | {found['reciprocal'].mean():.3f} | {' | '.join(map(str, gains)) if method != 'hybrid' else '|'} |"  # noqa: E501
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "retail")
    parser.add_argument("--only", choices=["clicks", "invoices"])
    parser.add_argument("--sessions", type=int, default=25_000)
    options = parser.parse_args()
    lines = [conditions("numpy", "scipy", "xgboost", "polars")]
    if options.only != "invoices":
        rows = clicks(options.sessions)
        lines += judged("planted clicks", rows, rows["at"].max() - timedelta(days=2), datetime(2030, 1, 1))  # type: ignore[operator]
    if options.only != "clicks":
        lines += judged("invoices", invoices(options.data), datetime(2011, 6, 13), datetime(2011, 7, 13))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
