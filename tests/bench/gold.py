"""Gold per person against one-process engines: `python tests/bench/gold.py [--people 200000 --days 365]`.

Ours is `platform.run.run` itself, on Ray (warm) and in process, over a lake of silver facts (16 buckets, sorted by
subject): (a) `gold.customer_features` where `silver.subject_days` stands, (b) both rebuilt from the facts. The rivals
are Polars (streaming) and DuckDB in one process over the same rows as Parquet files a month, as a landing would leave
them; they aggregate straight to the person, 28 columns, and write one Parquet file. Sums of every variant must agree.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
from conditions import Measured, conditions, measured

from customer360.pipelines.features import features
from customer360.pipelines.gold.customers import CustomerFeatures
from customer360.pipelines.gold.denials import Denials
from customer360.pipelines.silver.behavior import Events, Sessions
from customer360.pipelines.silver.journey import SubjectDays
from customer360.pipelines.silver.sales import TransactionItems, Transactions
from customer360.pipelines.silver.traffic import SetApartSessions
from customer360.platform import tables
from customer360.platform.lake import BUCKET, Lake, bucket_numbers
from customer360.platform.run import RunRequest, run
from customer360.platform.run.executor import RayExecutor, start_ray
from customer360.platform.run.units import storage_order
from customer360.platform.settings import ExecutionSettings, LakeSettings, Settings
from customer360.platform.tables import Table
from customer360.serve.compose import compose

START = date(2024, 7, 1)
FIRST_MICROSECOND = int(datetime(2024, 7, 1, tzinfo=UTC).timestamp()) * 1_000_000
TRANSACTIONS, LINES, EVENTS, SESSIONS = 10, 15, 50, 10  # a person and year
CHECKED = (
    "order_count",
    "gross_amount",
    "net_amount",
    "unit_count",
    "session_count_90d",
    "view_count_30d",
    "cart_add_count_90d",
    "season_order_count",
)
EVENT_TYPES = ("PAGE_VIEW", "PRODUCT_VIEW", "PRODUCT_VIEW", "SEARCH", "CART_ADD", "WISHLIST_ADD", "CLICK")
FACTS: tuple[type[Table], ...] = (Transactions, TransactionItems, Events, Sessions)


# ---- silver, generated ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    people: int
    days: int

    @property
    def as_of(self) -> date:
        return START + timedelta(days=self.days)


def moments(table: type[Table], size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Subject numbers and microseconds of a table's rows: events belong to visits, half of the receipts too, lines to
    receipts.
    """
    rng = np.random.default_rng(0)

    def drawn(per_person: int) -> tuple[np.ndarray, np.ndarray]:
        rows = size.people * per_person * size.days // 365
        subject = (rng.random(rows) ** 1.5 * size.people).astype(np.int64)  # some are active, many are not
        return subject, rng.integers(0, size.days * 86_400 - 1800, rows) * 1_000_000 + FIRST_MICROSECOND

    subject, at = drawn(SESSIONS)
    if table is Sessions:
        return subject, at
    if table is Events:
        each = EVENTS // SESSIONS
        return np.repeat(subject, each), np.repeat(at, each) + rng.integers(0, 1800, len(at) * each) * 1_000_000
    others, later = drawn(TRANSACTIONS - SESSIONS // 2)
    subject, at = np.concatenate([subject[::2], others]), np.concatenate([at[::2], later])
    receipt = np.arange(len(at) if table is Transactions else len(at) * LINES // TRANSACTIONS) * len(at)
    receipt //= len(receipt)
    return subject[receipt], at[receipt]


def facts(table: type[Table], size: Size, seed: int) -> pl.DataFrame:
    """Random rows of one silver table in its contract; a tenth of the subjects are visitors without a person."""
    rng = np.random.default_rng(seed)
    subject, moment = moments(table, size)
    at, number, known = (
        pl.Series(moment).cast(pl.Datetime("us", "UTC")),
        pl.Series(subject).cast(pl.String).str.zfill(7),
        pl.Series(subject % 10 > 0),
    )
    frame = pl.DataFrame({"at": at, "n": number, "known": known, "row": np.arange(len(at))}).with_columns(
        subject_id=pl.when("known").then("P" + pl.col("n")).otherwise("v:V" + pl.col("n")),
        person_id=pl.when("known").then("P" + pl.col("n")),
    )
    made = frame.with_columns(**_columns(table, rng, len(at)))
    missing = [pl.lit(None, t).alias(c) for c, t in tables.schema(table).items() if c not in made.columns]
    return tables.conform(table, made.with_columns(missing).select(list(tables.schema(table))).lazy()).collect()


def _columns(table: type[Table], rng: np.random.Generator, rows: int) -> dict[str, pl.Expr | pl.Series]:
    """The columns that aggregation reads, and what the keys and the sort order need."""

    def pick(values: tuple[str, ...]) -> pl.Series:
        return pl.Series(values).gather(rng.integers(0, len(values), rows))

    happened = {"occurred_at": pl.col("at"), "occurred_on": pl.col("at").dt.date()}
    identity = {"source_system": pl.lit("SHOP")}
    is_sale, amount = pl.Series(rng.random(rows) < 0.94), pl.Series(rng.integers(100, 20_000, rows)) / 100
    if table is Events:
        seconds = pl.Series(rng.integers(0, 300, rows))
        return (
            happened
            | identity
            | {
                "event_id": "E" + pl.col("row").cast(pl.String),
                "event_type": pick(EVENT_TYPES),
                "seconds_on_page": seconds,
            }
        )
    if table is Sessions:
        counts = dict.fromkeys((c for c in Sessions.columns() if c.endswith("_count")), pl.lit(1, pl.Int64))
        length = pl.Series(rng.integers(1, 1800, rows))
        return counts | {
            "session_id": "S" + pl.col("row").cast(pl.String), "started_at": pl.col("at"), "started_on": pl.col("at").dt.date(),  # noqa: E501
            "ended_at": pl.col("at"), "duration_seconds": length,
        }  # fmt: skip
    money = {
        "is_sale": is_sale, "is_return": ~is_sale, "transaction_id": "T" + pl.col("row").cast(pl.String),
        "gross_amount": pl.when(is_sale).then(amount).otherwise(0), "return_amount": pl.when(is_sale).then(0).otherwise(amount),  # noqa: E501
        "discount_amount": amount * 0.1,
    }  # fmt: skip
    if table is TransactionItems:
        return happened | identity | money | {
            "item_id": pl.lit("1"), "is_orphan": pl.lit(False), "is_product": pl.Series(rng.random(rows) < 0.97),
            "quantity": pl.Series(rng.integers(1, 6, rows)), "total_price": amount,
        }  # fmt: skip
    group = {"channel": pl.lit("POS"), "channel_group": pick(("IN_STORE", "ONLINE", "MOBILE"))}
    kind = {"transaction_type": pl.lit("PURCHASE"), "transaction_status": pl.lit("COMPLETED"), "total_amount": amount}
    return happened | identity | money | group | kind | {"net_amount": pl.when(is_sale).then(amount).otherwise(-amount)}


def write_silver(lake: Lake, flat: Path, size: Size) -> dict[str, int]:
    """Every fact table twice: as the lake stores it, and as Parquet files a month in order of time. Returns rows."""
    rows = {}
    for seed, table in enumerate(FACTS):
        name, frame = tables.spec(table).name, facts(table, size, seed)
        rows[name] = frame.height
        lake.ensure(table)
        numbers = bucket_numbers(frame["subject_id"], lake.buckets)
        parts = frame.with_columns(numbers.alias("part__")).partition_by("part__", as_dict=True, include_key=False)
        adds = [
            lake.write_file(name, part.sort(storage_order(table), nulls_last=True), {BUCKET: str(key[0])})
            for key, part in sorted(parts.items())
        ]
        lake.commit(name, adds, app="bench", app_version=1)
        folder = flat / name.rpartition(".")[2]
        folder.mkdir(parents=True)
        at = "started_at" if table is Sessions else "occurred_at"
        for (month,), part in (
            frame.sort(at)
            .with_columns(m=pl.col(at).dt.truncate("1mo"))
            .partition_by("m", as_dict=True, include_key=False)
            .items()
        ):
            part.write_parquet(folder / f"{month:%Y-%m}.parquet", compression="zstd", compression_level=1)
    return rows


# ---- the rivals -----------------------------------------------------------------------------------------------


def polars_streaming(flat: Path, out: Path, as_of: date) -> pl.DataFrame:
    """Persons straight from the facts: 28 columns with the windows of ours, no days in between."""

    def within(value: pl.Expr, on: str, days: int) -> pl.Expr:
        return value.filter(pl.col(on) >= as_of - timedelta(days=days)).sum()

    on, sale, season = "occurred_on", pl.col("is_sale"), as_of - timedelta(days=365)
    gross, kind = pl.col("gross_amount").cast(pl.Float64), pl.col("event_type")
    in_season = pl.col(on).is_between(season, season + timedelta(days=90), closed="left")

    def known(name: str, day: str = on) -> pl.LazyFrame:
        return pl.scan_parquet(flat / name / "*.parquet").filter(pl.col("person_id").is_not_null(), pl.col(day) < as_of)

    orders = known("transactions").group_by("person_id").agg(
        pl.col(on).filter(sale).min().alias("first_on"), pl.col(on).filter(sale).max().alias("last_on"),
        sale.sum().alias("order_count"), pl.col("is_return").sum().alias("return_count"),
        gross.sum().alias("gross_amount"), pl.col("net_amount").cast(pl.Float64).sum().alias("net_amount"),
        pl.col("discount_amount").cast(pl.Float64).filter(sale).sum().alias("discount_amount"),
        *((sale & (pl.col("channel_group") == c)).sum().alias(c) for c in ("IN_STORE", "ONLINE", "MOBILE")),
        *(within(sale, on, w).alias(f"order_count_{w}d") for w in (30, 90, 180, 365)),
        *(within(gross, on, w).alias(f"gross_amount_{w}d") for w in (30, 90, 180, 365)),
        (sale & in_season).sum().alias("season_order_count"),
        pl.col(on).filter(sale).n_unique().alias("purchase_day_count"),
    )  # fmt: skip
    lines = known("transaction_items").filter("is_sale", "is_product").group_by("person_id").agg(
        pl.len().alias("item_count"), pl.col("quantity").sum().alias("unit_count")
    )  # fmt: skip
    events = known("events").group_by("person_id").agg(
        pl.col(on).max().alias("seen_on"), *(within(kind == k, on, 30).alias(n) for k, n in (("PRODUCT_VIEW", "view_count_30d"), ("SEARCH", "search_count_30d"))),  # noqa: E501
        *(within(kind == "CART_ADD", on, w).alias(f"cart_add_count_{w}d") for w in (30, 90)),
    )  # fmt: skip
    visits = known("sessions", "started_on").group_by("person_id").agg(
        *(within(pl.lit(1), "started_on", w).alias(f"session_count_{w}d") for w in (30, 90))
    )  # fmt: skip
    joined = orders
    for part in (lines, events, visits):
        joined = joined.join(part, on="person_id", how="full", coalesce=True)
    found = joined.collect(engine="streaming")
    found.write_parquet(out / "polars.parquet", compression="zstd", compression_level=1)
    return found


def duck(flat: Path, out: Path, as_of: date) -> pl.DataFrame:
    """The same statement in SQL."""
    windows = (30, 90, 180, 365)

    def since(value: str, on: str, days: int) -> str:
        return f"coalesce(sum({value}) FILTER ({on} >= DATE '{as_of}' - {days}), 0)"

    ordered = ", ".join(
        f"{since('is_sale::INT', 'occurred_on', w)} order_count_{w}d, {since('gross_amount::DOUBLE', 'occurred_on', w)} gross_amount_{w}d"  # noqa: E501
        for w in windows
    )
    carts = ", ".join(
        f"{since('1', is_recent, w)} cart_add_count_{w}d"
        for w, is_recent in ((w, "event_type = 'CART_ADD' AND occurred_on") for w in (30, 90))
    )
    views = ", ".join(
        f"{since('1', f'''event_type = '{k}' AND occurred_on''', 30)} {n}"
        for k, n in (("PRODUCT_VIEW", "view_count_30d"), ("SEARCH", "search_count_30d"))
    )
    channels = ", ".join(
        f"count(*) FILTER (is_sale AND channel_group = '{c}') {c}" for c in ("IN_STORE", "ONLINE", "MOBILE")
    )
    visits = ", ".join(f"{since('1', 'started_on', w)} session_count_{w}d" for w in (30, 90))
    season = f"occurred_on >= DATE '{as_of}' - 365 AND occurred_on < DATE '{as_of}' - 275"

    def part(table: str, what: str, on: str = "occurred_on", more: str = "") -> str:
        return f"(SELECT person_id, {what} FROM '{flat / table}/*.parquet' WHERE person_id IS NOT NULL AND {on} < DATE '{as_of}' {more} GROUP BY person_id)"  # noqa: E501

    orders = part("transactions", f"""min(occurred_on) FILTER (is_sale) first_on, max(occurred_on) FILTER (is_sale) last_on, count(*) FILTER (is_sale) order_count,
        count(*) FILTER (is_return) return_count, sum(gross_amount::DOUBLE) gross_amount, sum(net_amount::DOUBLE) net_amount,
        sum(discount_amount::DOUBLE) FILTER (is_sale) discount_amount, {channels}, {ordered},
        count(*) FILTER (is_sale AND {season}) season_order_count, count(DISTINCT occurred_on) FILTER (is_sale) purchase_day_count""")  # fmt: skip  # noqa: E501
    lines = part(
        "transaction_items", "count(*) item_count, sum(quantity) unit_count", more="AND is_sale AND is_product"
    )
    file = out / "duckdb.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {os.cpu_count()}; SET enable_progress_bar = false")
        connection.execute(f"""COPY (SELECT * FROM {orders} FULL JOIN {lines} USING (person_id)
            FULL JOIN {part('events', f'max(occurred_on) seen_on, {views}, {carts}')} USING (person_id)
            FULL JOIN {part('sessions', visits, 'started_on')} USING (person_id)) TO '{file}' (COMPRESSION zstd)""")  # fmt: skip  # noqa: E501
    return pl.read_parquet(file)


def polars_days(flat: Path, out: Path, as_of: date) -> pl.DataFrame:
    """Only ``gold.customer_features`` by our own build function, streaming, from subject days as one unsorted file."""
    found = features(pl.scan_parquet(flat / "subject_days.parquet"), as_of).collect(engine="streaming")
    found.write_parquet(out / "features.parquet", compression="zstd", compression_level=1)
    return found


# ---- ours -----------------------------------------------------------------------------------------------------


def build(lake: Lake, state: Path, executor: str, as_of: date, rebuilt: tuple[type[Table], ...]) -> pl.DataFrame:
    """Run the real driver for some tables, none of whose files stand."""
    names = tuple(tables.spec(table).name for table in rebuilt)
    request = RunRequest(start=names[0], end=names[-1], refresh=names, as_of=as_of, command="bench")
    run(configured(lake, state, executor), request, rules={})
    return lake.scan(names[-1]).collect()


def configured(lake: Lake, state: Path, executor: str) -> Settings:
    execution = ExecutionSettings.model_validate(
        {"executor": executor, "cpus": os.cpu_count(), "exchange_megabytes": 64}
    )
    return Settings(
        name="bench", state=str(state), lake=LakeSettings(root=lake.root, buckets=lake.buckets), execution=execution
    )


def emptied(lake: Lake, rebuilt: tuple[type[Table], ...]) -> None:
    """Take the tables' files out of the lake's current state, so that a build has everything to do."""
    for table in rebuilt:
        lake.ensure(table)
        if lake.files(name := tables.spec(table).name):
            lake.replace(name, [], scope={}, app="bench", app_version=1)


# ---- variants, each in a process of its own -------------------------------------------------------------------

DAYS_AND_FEATURES, FEATURES_ALONE = (SubjectDays, CustomerFeatures), (CustomerFeatures,)
VARIANTS = {
    "b  facts to gold: Polars streaming": (polars_streaming, ()),
    "b  facts to gold: DuckDB": (duck, ()),
    "b  facts to gold: ours, in process": ("local", DAYS_AND_FEATURES),
    "b  facts to gold: ours, Ray (warm)": ("ray", DAYS_AND_FEATURES),
    "a  days to gold: Polars streaming": (polars_days, ()),
    "a  days to gold: ours, in process": ("local", FEATURES_ALONE),
    "a  days to gold: ours, Ray (warm)": ("ray", FEATURES_ALONE),
}


def prepare(root: Path, size: Size) -> dict[str, int]:
    """Write both forms of the facts, then the subject days: by the driver, and as one file in order of time."""
    compose()
    lake, flat = Lake(str(root / "lake")), root / "flat"
    rows = write_silver(lake, flat, size)
    lake.ensure(Denials)  # nobody denies anything
    lake.ensure(SetApartSessions)  # all visits are those of people
    build(lake, root / "state", "local", size.as_of, DAYS_AND_FEATURES)
    days = lake.scan("silver.subject_days").sort("on", "subject_id").collect()
    days.write_parquet(flat / "subject_days.parquet", compression="zstd", compression_level=1)
    return rows | {"silver.subject_days": days.height}


def once(root: Path, size: Size, name: str) -> tuple[float, float, float, dict[str, float]]:
    """Measure one variant: seconds, CPU seconds, peak GiB, sums. A process that needs Ray starts and warms it before
    the clock runs.
    """
    how, rebuilt = VARIANTS[name]
    lake, out = Lake(str(root / "lake")), root / "out"
    if callable(how):
        out.mkdir(exist_ok=True)
        found: Measured = measured(lambda: how(root / "flat", out, size.as_of))
    else:
        compose()
        emptied(lake, rebuilt)
        if how == "ray":
            warm_ray(root, lake)
        found = measured(lambda: build(lake, root / "state", how, size.as_of, rebuilt))
    return found.seconds, found.cpu, found.peak, checked(found.result)


def warm_ray(root: Path, lake: Lake) -> None:
    """Start Ray once a process, and let each worker import the project."""
    execution = configured(lake, root / "state", "ray").execution
    if "ray" in sys.modules:
        return
    start_ray(execution, root / "state")
    executor = RayExecutor(execution, root / "state")
    list(executor.map([Nothing() for _ in range(8)]))


@dataclass(frozen=True)
class Nothing:
    """A unit without work."""

    def run(self) -> None: ...


def checked(frame: pl.DataFrame) -> dict[str, float]:
    sums = frame.select(pl.col(c).cast(pl.Float64).sum() for c in CHECKED).row(0, named=True)
    return {name: round(value, 1) for name, value in sums.items()} | {"rows": frame.height}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    size = Size(options.people, options.days)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)

        def process() -> ProcessPoolExecutor:
            return stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))

        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as generator:
            rows = generator.submit(prepare, root, size).result()
        print(", ".join(f"{count:,} {name}" for name, count in rows.items()))
        before = conditions("polars", "duckdb", "ray", "deltalake")
        processes = {name: process() for name in VARIANTS}
        runs = [
            (name, *processes[name].submit(once, root, size, name).result())
            for _ in range(options.repeats)
            for name in VARIANTS
        ]
    report(runs, before)


def report(runs: list[tuple[str, float, float, float, dict[str, float]]], before: str) -> None:
    """Least seconds a variant against Polars of the same task, highest memory, and whether all sums agree."""
    rows = [(*figures, sums["rows"]) for *figures, sums in runs]
    frame = pl.DataFrame(rows, schema=["variant", "seconds", "cpu s", "peak GiB", "people"], orient="row")
    best = frame.group_by("variant", maintain_order=True).agg(
        pl.col("seconds", "cpu s").min(), pl.col("peak GiB").max(), pl.col("people").last()
    )
    base = best.group_by(pl.col("variant").str.head(1), maintain_order=True).agg(base=pl.col("seconds").first())
    shown = best.with_columns(task=pl.col("variant").str.head(1)).join(
        base, left_on="task", right_on="variant", maintain_order="left"
    )
    with pl.Config(
        tbl_rows=-1,
        fmt_str_lengths=60,
        tbl_width_chars=160,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        float_precision=2,
    ):
        print(
            shown.select(
                "variant",
                "seconds",
                (pl.col("seconds") / pl.col("base")).alias("of Polars"),
                "cpu s",
                "peak GiB",
                "people",
            )
        )
    expected = runs[0][-1]
    different = {
        name: sums
        for name, *_, sums in runs
        if any(abs(sums[c] - v) > 1e-9 * abs(v) + 0.2 for c, v in expected.items())
    }
    if different:
        raise SystemExit(f"sums differ: {runs[0][0]}: {expected}; {different}")
    print(f"sums agree in every variant: {expected}")
    print(f"{before}; least seconds of the repeats, each variant in a process of its own, files in the page cache")


if __name__ == "__main__":
    import gold  # under its own name: workers and child processes load functions from there

    gold.main()
