"""What a changed identity costs the facts: `python tests/bench/identity_changes.py [--people 3000 --days 365]`.

A synthetic retailer is landed and built in this process. Then some accounts of the shop are delivered again with the
name and contacts of another customer, so that they move to another person; no fact is new. The same change runs on two
copies of the lake, once building the facts anew from bronze and once letting them follow their person; both must hold
the same rows. Printed are CPU seconds of the whole run and of the units of the fact tables, and buckets, rows and
bytes.

`append` is what a table of moves would save or cost: seconds and bytes to write the moved rows alone, in files beside
the buckets; `read` and `read -moves` are seconds to read all of `silver.events` as `silver.subject_days` does, plain
and with an anti-join on the places of 1 % of its rows.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import polars as pl
from conditions import conditions

from customer360.pipelines.sample import write_sample
from customer360.pipelines.silver.journey import _events
from customer360.platform import graph, settings, tables
from customer360.platform import run as runs
from customer360.platform.lake import BUCKET, Lake, bucket_numbers
from customer360.platform.run import RunRequest, executor, lake_of
from customer360.platform.run.following import MoveUnit
from customer360.platform.run.units import GatherUnit
from customer360.platform.settings import Settings
from customer360.serve import jobs
from customer360.serve.compose import compose

OWN = ("FIRST_NAME", "LAST_NAME", "EMAIL_ADDRESS", "PHONE_NUMBER", "DATE_OF_BIRTH", "GENDER", "ADDRESS_LINE_1", "CITY",
       "STATE_CODE", "ZIP_CODE")  # fmt: skip
CUSTOMERS = "landing/shop/customers"


def fact_tables() -> list[str]:
    """Tables whose rows follow their person."""
    return sorted(name for name, node in graph.NODES.items() if node.follows)


def configured(root: Path, buckets: int) -> Settings:
    own = {"LANDING": root / "landing", "LAKE__ROOT": root / "lake", "LAKE__BUCKETS": buckets, "STATE": root / "state",
           "EXECUTION__EXECUTOR": "local"}  # fmt: skip
    return settings.load(None, {f"CUSTOMER360__{key}": str(value) for key, value in own.items()})


def deliver(root: Path, accounts: int, number: int) -> None:
    """A file of the shop in which ``accounts`` customers carry the name and contacts of others."""
    lines = gzip.decompress((root / CUSTOMERS / "customers.jsonl.gz").read_bytes()).splitlines()
    told = [x for x in lines if x[:1] + x[-1:] == b"{}" and all(b'"%b"' % c.encode() in x for c in OWN)]
    whole = [json.loads(line) for line in told if line.isascii()]
    step = len(whole) // (2 * accounts + 1)
    changed = []
    for place in range(accounts):
        mine, other = whole[number + 2 * place * step], whole[number + (2 * place + 1) * step]
        seen = f"2026-06-30T2{number}:00:00.000Z"
        changed.append(mine | {c: other.get(c) for c in OWN} | {"LAST_UPDATED_DATE": seen})
    text = "".join(json.dumps(row) + "\n" for row in changed)
    (root / CUSTOMERS / f"changed-{number}.jsonl.gz").write_bytes(gzip.compress(text.encode()))


class Timed:
    """Seconds of units by node, while it stands in for ``run_unit``."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.plain = executor.run_unit

    def __call__(self, unit: Any, retry: Any) -> Any:
        start = process_time()
        result = self.plain(unit, retry)
        node = getattr(unit, "node", None)
        name = node.name if node else tables.spec(unit.table).name if hasattr(unit, "table") else "landing"
        is_write = isinstance(unit, (GatherUnit, MoveUnit)) and name in fact_tables()
        self.seconds["writing" if is_write else name] += process_time() - start
        return result


def timed(site: Settings, *, follow: bool) -> tuple[float, Counter[str]]:
    """Seconds of one run, and of its units by node."""
    clock, standing = Timed(), runs.standing_facts
    executor.run_unit = clock
    if not follow:
        runs.standing_facts = lambda job, limit: None
    try:
        start = process_time()
        jobs.run_pipeline(site, RunRequest())
        return process_time() - start, clock.seconds
    finally:
        executor.run_unit, runs.standing_facts = clock.plain, standing


def held(lake: Lake) -> dict[str, pl.DataFrame]:
    """Key and owner of every fact row."""
    own = ("subject_id", pl.col("person_id").fill_null(""))
    return {n: lake.scan(n).select(*tables.by_name(n).primary_key(), *own).collect() for n in fact_tables()}


def differing(before: dict[str, pl.DataFrame], after: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Rows by table that belong to somebody else than before."""
    return {name: frame.join(before[name], on=frame.columns, how="anti") for name, frame in after.items()}


def appended(lake: Lake, moved: dict[str, pl.DataFrame], out: Path) -> tuple[float, int]:
    """Seconds and bytes to write the moved rows, whole, as a file for each bucket that they go to."""
    rows = {
        n: lake.scan(n).join(keys.lazy(), on=tables.by_name(n).primary_key(), how="semi").collect()
        for n, keys in moved.items()
    }
    start = process_time()
    for name, frame in rows.items():
        parts = frame.with_columns(bucket_numbers(frame["subject_id"], lake.buckets).alias(BUCKET))
        for (bucket,), part in parts.partition_by(BUCKET, as_dict=True).items():
            part.write_parquet(out / f"{name}-{bucket}.parquet", compression="zstd", compression_level=1)
    seconds, size = process_time() - start, sum(f.stat().st_size for f in out.glob("*.parquet"))
    return seconds, size


def reading(lake: Lake) -> tuple[float, float]:
    """Least seconds of three to fold all events to days, plain and without the places of 1 % of the rows."""
    files = lake.files("silver.events")
    gone = [pl.DataFrame({"place": pl.int_range(0, f.rows, 100, eager=True, dtype=pl.UInt32)}).lazy() for f in files]

    def plain() -> None:
        for f in files:
            _events(lake.scan("silver.events", [f])).collect()

    def without() -> None:
        for f, places in zip(files, gone, strict=True):
            rows = lake.scan("silver.events", [f]).with_row_index("place")
            _events(rows.join(places, on="place", how="anti")).collect()

    return least(plain), least(without)


def least(work: Callable[[], None]) -> float:
    found = []
    for _ in range(3):
        start = process_time()
        work()
        found.append(process_time() - start)
    return min(found)


def change(root: Path, accounts: int, number: int, buckets: int) -> list[dict[str, Any]]:
    """Deliver one change and run it both ways; the lake that followed is the one that goes on."""
    deliver(root, accounts, number)
    other = root.with_name("anew")
    shutil.copytree(root, other)
    lake = lake_of(configured(root, buckets))
    before, files = held(lake), {n: {f.path for f in lake.files(n)} for n in tables.TABLES if lake.exists(n)}
    anew, anew_units = timed(configured(other, buckets), follow=False)
    seconds, units = timed(configured(root, buckets), follow=True)
    names, after = fact_tables(), held(lake)
    for name, rows in differing(held(lake_of(configured(other, buckets))), after).items():
        assert rows.is_empty(), f"{name}: {rows.height} rows differ from a rebuild"
    shutil.rmtree(other)
    moved = differing(before, after)
    fresh = [f for n in names for f in lake.files(n) if f.path not in files[n]]
    with tempfile.TemporaryDirectory() as out:
        append_seconds, append_bytes = appended(lake, moved, Path(out))
    common = {"accounts": accounts, "rows moved": sum(m.height for m in moved.values())}
    whole = {"MB": sum(f.size for f in fresh) / 1e6, "buckets": len(fresh)}
    rows = []
    for way, took, by_node in (("anew", anew, anew_units), ("follow", seconds, units)):
        facts = {"facts": sum(by_node[n] for n in names), "of it writing": by_node["writing"]}
        facts["facts"] += facts["of it writing"]
        rows.append(common | {"way": way, "run": took} | facts | whole)
    alone = {"facts": None, "of it writing": append_seconds, "MB": append_bytes / 1e6, "buckets": None}
    return [*rows, common | {"way": "append", "run": None} | alone]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=3000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--buckets", type=int, default=16)
    parser.add_argument("--accounts", type=int, nargs="*", default=[1, 5, 20, 100])
    options = parser.parse_args()
    compose()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "site"
        write_sample(root, customers=options.people, days=options.days, seed=11)
        site = configured(root, options.buckets)
        first, _ = timed(site, follow=True)
        before = conditions("polars", "deltalake")
        rows = [row for n, k in enumerate(options.accounts, 1) for row in change(root, k, n, options.buckets)]
        plain, without = reading(lake_of(site))
        names = fact_tables()
        total = [f for n in names for f in lake_of(site).files(n)]
    print(
        f"first run {first:.1f} s; facts: {sum(f.rows for f in total):,} rows, {len(total)} buckets, {sum(f.size for f in total) / 1e6:.1f} MB"  # noqa: E501
    )
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, tbl_hide_dataframe_shape=True, float_precision=2):
        print(pl.DataFrame(rows))
    print(f"read {plain:.2f} s, read -moves {without:.2f} s")
    threads = os.environ.get("POLARS_MAX_THREADS", "all")
    print(
        f"{before}; {options.people:,} people, {options.days} days, {options.buckets} buckets, in process, {threads} threads"  # noqa: E501
    )


if __name__ == "__main__":
    main()
