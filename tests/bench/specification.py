"""The specification's two functions (V-T, V-B) as builds: `python tests/bench/specification.py [--rows 1000000]`.

`silver.transaction_facts` and `silver.session_facts` through the driver, in process and on Ray (warm), over a lake of
16 buckets, against the same pure functions called once on whole frames in one Polars process (read Parquet, build,
cast to the contract, sort, write Parquet). Sums over every number and flag must agree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from conditions import conditions, measured

from customer360.models.identity.producer import People
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.behavior import SessionFacts, Sessions
from customer360.pipelines.silver.history import TransactionFacts
from customer360.pipelines.silver.sales import TransactionItems, Transactions
from customer360.platform import graph, tables
from customer360.platform.lake import BUCKET, Lake, bucket_numbers
from customer360.platform.run import RunRequest, run
from customer360.platform.run.executor import RayExecutor, start_ray
from customer360.platform.run.units import conform_to_storage, storage_order
from customer360.platform.settings import ExecutionSettings, LakeSettings, Settings
from customer360.platform.tables import Table
from customer360.serve.compose import compose

FIRST_SECOND, DAYS = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()), 365
ROWS_A_SUBJECT, LINES_A_TRANSACTION, CPUS = 10, 2, 2
CATEGORIES, STORES = tuple(f"Category {n}" for n in range(12)), tuple(f"ST{n:03d}" for n in range(40))
HOSTS = (None, "www.google.com", "mail.google.com", "m.facebook.com", "deals.example.org")
RULES = {"enrichment": EnrichmentRules()}
BUILT: dict[str, type[Table]] = {"V-T": TransactionFacts, "V-B": SessionFacts}


# ---- inputs ---------------------------------------------------------------------------------------------------


def subjects(rows: int, rng: np.random.Generator) -> pl.DataFrame:
    """``rows`` moments of subjects, few of them busy; a tenth of the subjects are visitors without a person."""
    number = (rng.random(rows) ** 1.5 * (rows // ROWS_A_SUBJECT)).astype(np.int64)
    at = pl.Series((rng.integers(0, DAYS * 86_400, rows) + FIRST_SECOND) * 1_000_000).cast(pl.Datetime("us", "UTC"))
    text = pl.col("number").cast(pl.String)
    person = pl.when(pl.col("number") % 10 > 0).then("P" + text)
    return pl.DataFrame({"number": number, "at": at, "row": np.arange(rows)}).with_columns(
        person_id=person, subject_id=pl.coalesce(person, "v:V" + text), on=pl.col("at").dt.date()
    )


def inputs(rows: int) -> dict[type[Table], pl.DataFrame]:
    """Every input of the two builds in its contract; columns that they do not read are empty or constant."""
    rng = np.random.default_rng(0)

    def pick(values: tuple[str | None, ...], count: int = rows) -> pl.Series:
        return pl.Series(values, dtype=pl.String).gather(rng.integers(0, len(values), count))

    sales, visits = subjects(rows, rng), subjects(rows, rng)
    sale, amount = pl.Series(rng.random(rows) < 0.9), pl.Series(rng.integers(100, 80_000, rows) / 100)
    channel = pick(("POS", "ECOMMERCE", "MOBILE"))
    transactions = sales.with_columns(
        transaction_id="T" + pl.col("row").cast(pl.String), occurred_at="at", occurred_on="on", is_sale=sale, is_return=~sale,  # noqa: E501
        channel=channel, channel_group=channel, store_id=pl.when(channel == "POS").then(pick(STORES)),
        total_amount=amount, gross_amount=pl.when(sale).then(amount).otherwise(0), net_amount=pl.when(sale).then(amount).otherwise(-amount),  # noqa: E501
    )  # fmt: skip
    lines = transactions.select(
        "transaction_id", "subject_id", "person_id", "is_sale", "is_return", "occurred_at", "occurred_on"
    )
    items = pl.concat(
        [lines.with_columns(item_id=pl.lit(str(n)), category=pick(CATEGORIES)) for n in range(LINES_A_TRANSACTION)]
    )
    people = sales.select("person_id").drop_nulls().unique(maintain_order=True)
    counts = {c: pl.Series(rng.poisson(1, rows)) for c in Sessions.columns() if c.endswith("_count")}
    sessions = visits.with_columns(
        session_id="S" + pl.col("row").cast(pl.String), started_at="at", ended_at="at", started_on="on",
        duration_seconds=pl.Series(rng.exponential(400, rows).astype(np.int64)), device_type=pick(("MOBILE", "DESKTOP", "TABLET", None)),  # noqa: E501
        landing_referrer_host=pick(HOSTS), **counts,
    ).with_columns(event_count=pl.col("event_count") + pl.col("page_view_count") + 1)  # fmt: skip
    made = {
        Transactions: transactions, TransactionItems: items, Sessions: sessions,
        People: people.with_columns(preferred_store_id=pick(STORES, people.height)),
    }  # fmt: skip
    return {table: _conformed(table, frame) for table, frame in made.items()}


def _conformed(table: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    """The contract's columns; text that must be there is one constant, flags are true, the rest is null."""
    required = {pl.String: pl.lit("x"), pl.Boolean: pl.lit(True)}
    missing = {
        name: (required.get(kind.base_type(), pl.lit(0)) if not table.columns()[name].nullable else pl.lit(None)).cast(
            kind
        )
        for name, kind in tables.schema(table).items()
        if name not in frame.columns and not isinstance(kind, pl.List)
    }
    lists = {
        n: pl.lit(None, k) for n, k in tables.schema(table).items() if n not in frame.columns and isinstance(k, pl.List)
    }
    return tables.conform(
        table, frame.with_columns(**missing, **lists).select(list(tables.schema(table))).lazy()
    ).collect()


def prepare(root: Path, rows: int) -> dict[str, int]:
    """Write every input twice: as the lake stores it, and as one Parquet file in order of arrival."""
    compose()
    lake, counts = Lake(str(root / "lake")), {}
    (root / "flat").mkdir()
    for table, frame in inputs(rows).items():
        name = tables.spec(table).name
        counts[name] = frame.height
        lake.ensure(table)
        numbers = bucket_numbers(frame["person_id" if table is People else "subject_id"], lake.buckets)
        parts = frame.with_columns(numbers.alias("part__")).partition_by("part__", as_dict=True, include_key=False)
        adds = [
            lake.write_file(name, part.sort(storage_order(table), nulls_last=True), {BUCKET: str(key[0])})
            for key, part in sorted(parts.items())
        ]
        lake.commit(name, adds, app="bench", app_version=1)
        frame.write_parquet(root / "flat" / f"{name}.parquet", compression="zstd", compression_level=1)
    return counts


# ---- the two sides --------------------------------------------------------------------------------------------


def plain(root: Path, task: str) -> pl.DataFrame:
    """The build's function on whole frames in this process."""
    node = graph.NODES[tables.spec(BUILT[task]).name]
    frames = [pl.scan_parquet(root / "flat" / f"{name}.parquet") for name in node.inputs]
    found = conform_to_storage(node.table, node.function(*frames, params=RULES["enrichment"]), {})
    found.write_parquet(root / f"{task}.parquet", compression="zstd", compression_level=1)
    return found


def driven(root: Path, task: str, executor: str) -> pl.DataFrame:
    """The build by the real driver, all buckets."""
    lake, name = Lake(str(root / "lake")), tables.spec(BUILT[task]).name
    request = RunRequest(start=name, end=name, refresh=(name,), as_of=date(2026, 1, 1), command="bench")
    run(configured(lake, root, executor), request, rules=RULES)
    return lake.scan(name).collect()


def configured(lake: Lake, root: Path, executor: str) -> Settings:
    execution = ExecutionSettings.model_validate({"executor": executor, "cpus": CPUS})
    return Settings(
        name="bench",
        state=str(root / "state"),
        lake=LakeSettings(root=lake.root, buckets=lake.buckets),
        execution=execution,
    )


@dataclass(frozen=True)
class Nothing:
    """A unit without work, to start Ray's workers."""

    def run(self) -> None: ...


def once(root: Path, task: str, how: str) -> tuple[float, float, dict[str, float]]:
    """Measure one variant: seconds, peak GiB, sums. Ray is started and warmed before the clock runs."""
    compose()
    if how == "ray" and "ray" not in sys.modules:
        execution = configured(Lake(str(root / "lake")), root, how).execution
        start_ray(execution, root / "state")
        list(RayExecutor(execution, root / "state").map([Nothing() for _ in range(8)]))
    found = measured(lambda: plain(root, task) if how == "polars" else driven(root, task, how))
    return found.seconds, found.peak, sums(found.result)


def sums(frame: pl.DataFrame) -> dict[str, float]:
    """Rows, the sum of every number and flag, and the rows of every word of a class."""
    numbers = [c for c, t in frame.schema.items() if t.is_numeric() or t == pl.Boolean]
    totals = frame.select(pl.col(c).cast(pl.Float64).sum() for c in numbers).row(0, named=True)
    classes = [c for c, t in frame.schema.items() if t == pl.String and not c.endswith("_id") and c != "source_system"]
    words = {f"{c}={w}": n for c in classes for w, n in frame[c].value_counts().iter_rows()}
    return {"rows": frame.height} | totals | dict(sorted(words.items()))


# ---- report ---------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    variants = [(task, how) for task in BUILT for how in ("polars", "local", "ray")]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)

        def process() -> ProcessPoolExecutor:
            return stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))

        counts = process().submit(prepare, root, options.rows).result()
        print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
        before = conditions("polars", "ray", "deltalake")
        pools = {variant: process() for variant in variants}
        runs = [(v, *pools[v].submit(once, root, *v).result()) for _ in range(options.repeats) for v in variants]
    report(runs, before)


def report(runs: list[tuple[tuple[str, str], float, float, dict[str, float]]], before: str) -> None:
    """Least seconds against plain Polars, highest memory, and whether all sums agree."""
    best = {v: min(s for w, s, _, _ in runs if w == v) for v, *_ in runs}
    for task, how in best:
        peak = max(p for v, _, p, _ in runs if v == (task, how))
        rows = next(found["rows"] for v, _, _, found in runs if v == (task, how))
        ratio = best[task, how] / best[task, "polars"]
        print(f"{task} {how:<6} {rows:>10,} rows {best[task, how]:7.2f} s {ratio:6.2f} of Polars {peak:6.2f} GiB")
    for (task, how), _, _, found in runs:
        wanted = next(f for v, _, _, f in runs if v == (task, "polars"))
        wrong = {
            k for k in wanted | found if abs(found.get(k, 0) - wanted.get(k, 0)) > 1e-9 * abs(wanted.get(k, 0)) + 1e-6
        }
        if wrong:
            raise SystemExit(f"{task} {how}: sums differ in {sorted(wrong)}")
    print(f"sums agree in every variant; {before}; least seconds of the repeats, each variant in a process of its own")


if __name__ == "__main__":
    import specification  # under its own name: workers and child processes load functions from there

    specification.main()
