"""What a changed identity costs the facts: `python tests/bench/identity_changes.py [--people 3000 --days 365]`.

A synthetic retailer is landed and built in this process. Then some accounts of the shop are delivered again with the
name and contacts of another customer, so that they move to another person; no fact is new. Printed by number of moved accounts:
seconds of the run, of the nodes that store facts by subject and of the rest; buckets and bytes that were committed,
and what moving the rows alone would have had to write (`rows moved`, and their share of the bytes).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
from pathlib import Path
from time import perf_counter

import polars as pl
from conditions import conditions

from customer360.pipelines.sample import write_sample
from customer360.platform import graph, settings, tables
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve import jobs
from customer360.serve.compose import compose

OWN = ("FIRST_NAME", "LAST_NAME", "EMAIL_ADDRESS", "PHONE_NUMBER", "DATE_OF_BIRTH", "GENDER", "ADDRESS_LINE_1", "CITY",
       "STATE_CODE", "ZIP_CODE")  # fmt: skip
LINKS = "silver.identity_links"


def moved_facts() -> list[str]:
    """Nodes whose rows get their subject from the links, directly or from a table that does."""
    found = [n for n, node in graph.NODES.items() if LINKS in node.inputs and node.records]
    return sorted([*found, "silver.transaction_items"])


def site(root: Path, people: int, days: int, buckets: int) -> Settings:
    """Settings of a lake below ``root`` over a landing folder of the synthetic retailer."""
    compose()
    write_sample(root, customers=people, days=days, seed=11)
    own = {"LANDING": root / "landing", "LAKE__ROOT": root / "lake", "LAKE__BUCKETS": buckets, "STATE": root / "state",
           "EXECUTION__EXECUTOR": "local"}  # fmt: skip
    return settings.load(None, {f"CUSTOMER360__{key}": str(value) for key, value in own.items()})


def deliver(root: Path, accounts: int, number: int) -> None:
    """A file of the shop in which ``accounts`` customers carry the name and contacts of others."""
    lines = gzip.decompress((root / "landing/shop/customers/customers.jsonl.gz").read_bytes()).splitlines()
    rows = pl.DataFrame({"line": lines}).filter(pl.col("line").bin.starts_with(b"{") & pl.col("line").bin.ends_with(b"}"))
    told = [line for line in rows["line"] if all(f'"{c}"'.encode() in line for c in ("CUSTOMER_ID", *OWN))]
    whole = [json.loads(line) for line in told if line.isascii()]
    step = len(whole) // (2 * accounts + 1)
    changed = []
    for place in range(accounts):
        mine, other = whole[number + 2 * place * step], whole[number + (2 * place + 1) * step]
        changed.append(mine | {c: other.get(c) for c in OWN} | {"LAST_UPDATED_DATE": f"2026-06-30T2{number}:00:00.000Z"})
    text = "".join(json.dumps(row) + "\n" for row in changed)
    (root / f"landing/shop/customers/changed-{number}.jsonl.gz").write_bytes(gzip.compress(text.encode()))


def state(lake: Lake) -> dict[str, dict[str, int]]:
    """Bytes by file of each bucketed silver or gold table."""
    names = [n for n, t in tables.TABLES.items() if tables.spec(t).bucketed and lake.exists(n)]
    return {name: {f.path: f.size for f in lake.files(name)} for name in names}


def subjects(lake: Lake) -> dict[str, pl.DataFrame]:
    """Key and subject of every fact row."""
    found = {}
    for name in moved_facts():
        table = tables.by_name(name)
        frame = lake.scan(name).select(*table.primary_key(), "subject_id", pl.col("person_id").fill_null(""))
        found[name] = frame.collect()
    return found


def moved_rows(before: dict[str, pl.DataFrame], after: dict[str, pl.DataFrame]) -> dict[str, int]:
    """Rows by table that stand under another subject or person than before."""
    return {name: frame.join(before[name], on=frame.columns, how="anti").height for name, frame in after.items()}


def timed(configured: Settings) -> tuple[Run, float]:
    start = perf_counter()
    record = jobs.run_pipeline(configured)
    return record, perf_counter() - start


def change(root: Path, configured: Settings, accounts: int, number: int) -> dict[str, object]:
    """Deliver, run and account for one change."""
    lake = lake_of(configured)
    deliver(root, accounts, number)
    files, held = state(lake), subjects(lake)
    record, seconds = timed(configured)
    now, moved = state(lake), moved_rows(held, subjects(lake))
    names = moved_facts()
    fresh = {n: [size for path, size in now[n].items() if path not in files[n]] for n in now}
    per_row = {n: sum(now[n].values()) / max(held[n].height, 1) for n in names}
    took = {run.node: run.seconds for run in record.nodes if run.state == "built"}
    others = [n for n in fresh if n not in names]
    for run in record.nodes:
        if run.state == "built":
            print(f"    {run.node:<34} {run.seconds:6.2f} s  {run.rows:>9,} rows  {len(fresh.get(run.node, [])):>3} buckets")
    return {
        "accounts": accounts,
        "run s": seconds,
        "identity s": took.get("silver.identities", 0.0),
        "facts s": sum(took.get(n, 0.0) for n in names),
        "rest s": seconds - sum(took.get(n, 0.0) for n in [*names, "silver.identities"]),
        "rows moved": sum(moved.values()),
        "of rows": sum(frame.height for frame in held.values()),
        "fact buckets": f"{sum(len(fresh[n]) for n in names)} of {sum(len(now[n]) for n in names)}",
        "fact MB": sum(sum(fresh[n]) for n in names) / 1e6,
        "moved MB": sum(moved[n] * per_row[n] for n in names) / 1e6,
        "other MB": sum(sum(fresh[n]) for n in others) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--buckets", type=int, default=16)
    parser.add_argument("--accounts", type=int, nargs="*", default=[1, 5, 20])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        configured = site(root, options.people, options.days, options.buckets)
        _, first = timed(configured)
        before = conditions("polars", "deltalake")
        rows = [change(root, configured, n, number) for number, n in enumerate(options.accounts, 1)]
    print(f"first run {first:.1f} s")
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, tbl_hide_dataframe_shape=True, float_precision=2):
        print(pl.DataFrame(rows))
    threads = os.environ.get("POLARS_MAX_THREADS", "all")
    print(f"{before}; {options.people:,} people, {options.days} days, {options.buckets} buckets, in process, {threads} threads")


if __name__ == "__main__":
    main()
