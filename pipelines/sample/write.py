"""Writes the landing zone and the truth: a registry of feeds, each a sequence of files made month by month (or
half-month) and soiled.

Text files hold timestamps as ISO 8601 with milliseconds and a Z, dates as YYYY-MM-DD, money with two decimals (numbers
in JSON). Parquet files are typed: Decimal, Date, Datetime("us", "UTC"). Events stand in the file of the day their
visit is anchored to, so that a visit over midnight may reach a few minutes beyond the file's last day.
"""

from __future__ import annotations

import gzip
import io
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path

import numpy as np
import polars as pl

from customer360.pipelines.sample import (
    abroad,
    assortment,
    behavior,
    business,
    changes,
    collected,
    engagement,
    experiments,
    external,
    impressions,
    location,
    loyalty,
    market,
    payments,
    service,
    supply,
    touchpoints,
    traffic,
    truth,
    voice,
)
from customer360.pipelines.sample.base import MANIFEST, Base, write_base
from customer360.pipelines.sample.dirt import ROW_KINDS, STANDARD, Dirt, Soiler, Spoils, damage_frame, damage_lines
from customer360.pipelines.sample.orders import orders_by_month
from customer360.pipelines.sample.preferences import preferences
from customer360.pipelines.sample.records import customer_rows
from customer360.pipelines.sample.sales import item_rows, transaction_rows
from customer360.pipelines.sample.stores import inventory
from customer360.pipelines.sample.world import World, build_world
from customer360.platform import telemetry
from customer360.platform.errors import ConfigError

END_ON = date(2026, 6, 30)
LEAST_CUSTOMERS, LEAST_DAYS = 20, 28
UNFINISHED = ".unfinished"  # holds a sample below its folder until it is whole
SETTLED_DAYS = 6  # receipts younger than this at the end have no second version
Progress = Callable[[str, int, int], None]
Batches = Callable[[World], Iterator[tuple[str, pl.DataFrame]]]


@dataclass(frozen=True)
class Feed:
    """One table as one system delivers it: folder below landing/, form ("csv", "jsonl.gz", "parquet"), its files, what
    goes wrong in it."""

    folder: str
    form: str
    batches: Batches
    spoils: Spoils | None = None
    cut: str = "whole"  # one file, a file a month, or a file for each of `World.windows`

    def files(self, world: World) -> int:
        """How many files the feed has."""
        return {"whole": 1, "month": len(world.months()), "window": len(world.windows())}[self.cut]


@dataclass(frozen=True)
class SampleSummary:
    """What was written: rows by feed ("pos/transactions"; "truth/records"), files and bytes below `out`, and the
    seconds it took."""

    out: Path
    customers: int
    start_on: date
    end_on: date
    seed: int
    rows: dict[str, int]
    files: int
    size_bytes: int
    seconds: float


def _customers(system: str) -> Batches:
    def batches(world: World) -> Iterator[tuple[str, pl.DataFrame]]:
        held = world.accounts.filter(source_system=system)
        yield (
            "customers",
            customer_rows(world.streams, system, world.people, held, world.activity(system), world.start_on),
        )

    return batches


def _single(name: str, make: Callable[[World], pl.DataFrame]) -> Batches:
    def batches(world: World) -> Iterator[tuple[str, pl.DataFrame]]:
        yield name, make(world)

    return batches


def _receipts(world: World, month: str, online: bool) -> pl.DataFrame:
    rows = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
    return rows.filter(
        (pl.col("online") == online) & (pl.col("at").cast(pl.Datetime("us")).dt.strftime("%Y-%m") == month)
    )


def _transactions(online: bool) -> Batches:
    def batches(world: World) -> Iterator[tuple[str, pl.DataFrame]]:
        for at, month in enumerate(world.months()):
            rng = world.streams.stream("transactions", int(online), at)
            ids = world.accounts["customer_id"], world.store_ids, world.devices.visitor_ids
            rows = transaction_rows(rng, _receipts(world, month, online), *ids)
            yield month, rows if online else rows.drop("VISITOR_ID")

    return batches


def _items(online: bool) -> Batches:
    def batches(world: World) -> Iterator[tuple[str, pl.DataFrame]]:
        for at, month in enumerate(world.months()):
            rng = world.streams.stream("items", int(online), at)
            receipts = _receipts(world, month, online).select("receipt")
            lines = world.sales.lines.join(receipts, on="receipt", how="semi", maintain_order="left")
            yield month, item_rows(rng, lines, world.products)

    return batches


def _trail(world: World, at: int) -> tuple[behavior.Trail, pl.DataFrame]:
    """The trail of the visits of window number `at`, and what the tables say about them; the same each time it is
    asked for."""
    first, last = ((day - world.start_on).days for day in world.windows()[at])
    days = world.visits["day"].to_numpy()
    low, high = int(np.searchsorted(days, first)), int(np.searchsorted(days, last, side="right"))
    visits = world.visits[low:high]
    rng = world.streams.stream("trail", at)
    path = behavior.trail(visits, world.sales, world.first_receipt, world.tastes, world.shelf, rng)
    said = behavior.visit_rows(
        visits, world.sales, world.first_receipt, low, world.accounts["customer_id"], world.devices.visitor_ids,
        world.people["place"].to_numpy(), world.streams.stream("visits", at),
    )  # fmt: skip
    return path, said


def _events(world: World) -> Iterator[tuple[str, pl.DataFrame]]:
    for at, (first, last) in enumerate(world.windows()):
        rng = world.streams.stream("events", at)
        yield f"{first}-to-{last}", behavior.event_rows(*_trail(world, at), world.products, rng)


def _sessions(world: World) -> Iterator[tuple[str, pl.DataFrame]]:
    for month in world.months():
        parts = [at for at, (first, _) in enumerate(world.windows()) if f"{first:%Y-%m}" == month]
        yield month, pl.concat([behavior.session_rows(*_trail(world, at)) for at in parts])


def _members(world: World) -> pl.DataFrame:
    return preferences(world.streams, world.accounts.filter(source_system="CRM"), world.tastes, world.start_on)


def _stock(world: World) -> pl.DataFrame:
    return inventory(world.streams, world.products["PRODUCT_ID"], world.stores["STORE_ID"], world.end_on)


_WRONG_PEOPLE = Spoils(
    "CUSTOMER_ID", ("broken", "bad_type", "invalid_bytes"), "DATE_OF_BIRTH", "not-a-date", text="FIRST_NAME"
)
_WRONG_SALES = Spoils("TRANSACTION_ID", ROW_KINDS, typed="TOTAL_AMOUNT", listed="CHANNEL", text="RECEIPT_NUMBER")
_PLAIN = tuple(kind for kind in ROW_KINDS if kind != "superseded")
_WRONG_ITEMS = Spoils("ITEM_ID", _PLAIN, typed="UNIT_PRICE", listed="ITEM_STATUS", text="PRODUCT_NAME")
_WRONG_TYPED_ITEMS = Spoils("ITEM_ID", ("duplicate", "late", "bad_enum", "missing_key"), listed="ITEM_STATUS")
_WRONG_MESSAGES = Spoils(
    "ENGAGEMENT_ID", _PLAIN, "ENGAGEMENT_DATE", "not-a-date", listed="ENGAGEMENT_ACTION", text="MESSAGE_SUBJECT"
)
_WRONG_CONTACTS = Spoils(
    "INTERACTION_ID", _PLAIN, typed="RESOLUTION_TIME", listed="INTERACTION_TYPE", text="INTERACTION_SUBJECT"
)
_WRONG_PROFILES = Spoils("PROFILE_ID", ("duplicate", "broken", "bad_enum", "missing_key"), listed="DATA_SOURCE")
_WRONG_EVENTS = Spoils("EVENT_ID", _PLAIN, "EVENT_DATE", "not-a-date", listed="EVENT_TYPE", text="PAGE_TITLE")

FEEDS: tuple[Feed, ...] = (
    Feed("pos/customers", "csv", _customers("POS"), _WRONG_PEOPLE),
    Feed("shop/customers", "jsonl.gz", _customers("SHOP"), _WRONG_PEOPLE),
    Feed("crm/customers", "parquet", _customers("CRM")),
    Feed("crm/changes", "jsonl.gz", _single("changes", changes.change_rows)),
    Feed("b2b/customers", "csv", _single("customers", business.business_rows)),
    Feed("crm/preferences", "csv", _single("preferences", _members)),
    Feed("erp/products", "parquet", _single("products", lambda world: world.products)),
    Feed("erp/stores", "csv", _single("stores", abroad.store_rows)),
    Feed("erp/inventory", "csv", _single("inventory", _stock)),
    Feed("geo/areas", "csv", _single("areas", location.area_rows)),
    Feed("stores/visits", "jsonl.gz", _single("visits", location.visit_rows)),
    Feed("supply/vendors", "csv", _single("vendors", supply.vendor_rows)),
    Feed("supply/purchase_orders", "csv", _single("purchase_orders", supply.order_rows)),
    Feed("supply/deliveries", "csv", _single("deliveries", supply.delivery_rows)),
    Feed("supply/stock_days", "parquet", _single("stock_days", supply.stock_rows)),
    Feed("erp/product_codes", "csv", _single("codes", assortment.code_rows)),
    Feed("erp/prices", "csv", _single("prices", assortment.price_rows)),
    Feed("erp/stock_levels", "parquet", _single("levels", assortment.stock_rows)),
    Feed("pos/transactions", "csv", _transactions(online=False), _WRONG_SALES, "month"),
    Feed("shop/transactions", "jsonl.gz", _transactions(online=True), _WRONG_SALES, "month"),
    Feed("pos/transaction_items", "csv", _items(online=False), _WRONG_ITEMS, "month"),
    Feed("shop/transaction_items", "parquet", _items(online=True), _WRONG_TYPED_ITEMS, "month"),
    Feed("pos/collections", "csv", _single("collections", collected.collection_rows)),
    Feed("pos/collection_items", "csv", _single("items", collected.collection_item_rows)),
    Feed("abroad/transactions", "csv", _single("transactions", abroad.transactions_abroad)),
    Feed("abroad/transaction_items", "csv", _single("items", abroad.items_abroad)),
    Feed("pos/payments", "csv", lambda world: iter(payments.payments_by_month(world, online=False)), cut="month"),
    Feed("shop/payments", "jsonl.gz", lambda world: iter(payments.payments_by_month(world, online=True)), cut="month"),
    Feed("shop/orders", "parquet", lambda world: iter(orders_by_month(world)), cut="month"),
    Feed("shop/exposures", "jsonl.gz", _single("exposures", experiments.exposure_rows)),
    Feed("shop/impressions", "parquet", _single("impressions", impressions.impression_rows)),
    Feed("crm/campaigns", "csv", _single("campaigns", engagement.campaign_rows)),
    Feed("crm/campaign_aliases", "csv", _single("aliases", engagement.alias_rows)),
    Feed("crm/campaign_audiences", "parquet", _single("audiences", engagement.audience_rows)),
    Feed(
        "crm/engagement", "jsonl.gz", lambda world: iter(engagement.messages_by_month(world)), _WRONG_MESSAGES, "month"
    ),
    Feed("support/agents", "csv", _single("agents", service.agent_rows)),
    Feed("support/tickets", "parquet", _single("tickets", service.ticket_rows)),
    Feed("support/interactions", "csv", _single("interactions", service.interaction_rows), _WRONG_CONTACTS),
    Feed("crm/loyalty_ledger", "parquet", _single("ledger", loyalty.ledger_rows)),
    Feed("crm/loyalty_tiers", "csv", _single("tiers", loyalty.tier_rows)),
    Feed("stores/touchpoints", "jsonl.gz", _single("touchpoints", touchpoints.touchpoint_rows)),
    Feed("voice/reviews", "jsonl.gz", _single("reviews", voice.review_rows)),
    Feed("voice/posts", "jsonl.gz", _single("posts", voice.post_rows)),
    Feed("voice/surveys", "csv", _single("surveys", voice.survey_rows)),
    Feed("external/profiles", "jsonl.gz", _single("profiles", external.profile_rows), _WRONG_PROFILES),
    Feed("external/sentiment", "csv", _single("sentiment", external.sentiment_rows)),
    Feed("market/exchange_rates", "csv", _single("rates", abroad.rate_rows)),
    Feed("market/weather", "csv", _single("weather", market.weather_rows)),
    Feed("market/indicators", "csv", _single("indicators", market.indicator_rows)),
    Feed("market/competitor_prices", "csv", _single("prices", market.competitor_rows)),
    Feed("web/sessions", "parquet", _sessions, cut="month"),
    Feed("web/devices", "parquet", _single("devices", traffic.observation_rows)),
    Feed("web/machines", "jsonl.gz", _single("machines", traffic.machine_rows)),
    Feed("web/events", "jsonl.gz", _events, _WRONG_EVENTS, "window"),
)


def text(frame: pl.DataFrame, form: str) -> pl.DataFrame:
    """Timestamps as text; in JSON money as numbers."""
    out = frame.with_columns(pl.col(pl.Datetime("us", "UTC")).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    decimals = [name for name, kind in out.schema.items() if isinstance(kind, pl.Decimal)]
    return out.with_columns(pl.col(decimals).cast(pl.Float64)) if form == "jsonl.gz" and decimals else out


def encode(frame: pl.DataFrame, damages: list[tuple[int, str]], spoils: Spoils | None, form: str) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    if form == "parquet":
        (damage_frame(frame, damages, spoils) if spoils else frame).write_parquet(
            out, compression="zstd", compression_level=1
        )
        return out.getvalue()
    rows = text(frame, form)
    if form == "csv":
        rows.write_csv(out, include_header=False)
    else:
        rows.write_ndjson(out)
    body = out.getvalue()
    if damages and spoils:
        lines = body.split(b"\n")
        damage_lines(lines, frame.columns, damages, spoils, form.removesuffix(".gz"))
        body = b"\n".join(lines)
    if form == "csv":
        return ",".join(frame.columns).encode() + b"\n" + body
    return gzip.compress(body, compresslevel=1, mtime=0)


def _reshaped(
    frame: pl.DataFrame, feed: Feed, month: int, months: int, dirt: Dirt, rng: np.random.Generator
) -> tuple[pl.DataFrame, str | None, str | None]:
    """A file whose columns differ from the others': shop receipts gain GIFT_WRAP in the last month, the till's items
    of one month lack WEIGHT."""
    if feed.folder == "shop/transactions" and dirt.new_column and month == months - 1:
        return frame.with_columns(GIFT_WRAP=rng.random(len(frame)) < 0.2), "new_column", "GIFT_WRAP"
    if feed.folder == "pos/transaction_items" and dirt.missing_column and month == months // 2:
        return frame.drop("WEIGHT"), "missing_column", "WEIGHT"
    return frame, None, None


def _write_feed(
    feed: Feed, world: World, landing: Path, dirt: Dirt, log: truth.DirtLog, progress: Progress | None
) -> int:
    """Write the files of a feed; returns the rows in them (unreadable ones included)."""
    folder = landing / feed.folder
    folder.mkdir(parents=True)
    end = datetime.combine(world.end_on, clock(), UTC) + timedelta(days=1 - SETTLED_DAYS)
    rng = world.streams.stream(f"dirt.{feed.folder}")
    soiler = Soiler(dirt, feed.spoils, rng, end, log) if feed.spoils else None
    total = feed.files(world)
    rows = 0
    for at, (stem, frame) in enumerate(feed.batches(world)):
        file = f"{feed.folder}/{stem}.{feed.form}"
        damages: list[tuple[int, str]] = []
        if soiler:
            frame, damages = soiler.soil(frame, file, last=at == total - 1)
        frame, kind, column = _reshaped(frame, feed, at, total, dirt, rng)
        if kind:
            log += [(file, kind, column, None)] * len(frame)
        (landing / file).write_bytes(encode(frame, damages, feed.spoils, feed.form))
        rows += len(frame)
        if progress:
            progress(feed.folder, at + 1, total)
    return rows


def _write_truth(world: World, folder: Path, log: truth.DirtLog) -> dict[str, int]:
    """Write the truth tables; returns the rows of each as truth/NAME."""
    folder.mkdir(parents=True)
    tables = {name: make(world) for name, make in truth.TRUTHS.items()} | {"dirt": truth.dirt(log)}
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    return {f"truth/{name}": len(table) for name, table in tables.items()}


def write_sample(
    out: Path,
    *,
    customers: int,
    days: int,
    seed: int,
    end_on: date = END_ON,
    dirt: Dirt = STANDARD,
    progress: Progress | None = None,
) -> SampleSummary:
    """Write the synthetic retailer of `customers` people and `days` days (the last is `end_on`) to `out`/landing and
    `out`/truth.

    The same arguments give the same files, byte for byte. progress is called with (feed, files done, files in all).
    What breaks off leaves nothing that looks like a sample.

    Raises:
        ConfigError: fewer people or days than a retailer needs, or `out` already holds a landing zone or truth, which
            stay as they are.
    """
    if customers < LEAST_CUSTOMERS or days < LEAST_DAYS:
        raise ConfigError(
            f"a sample needs at least {LEAST_CUSTOMERS} customers and {LEAST_DAYS} days, got {customers} and {days}"
        )
    taken = [str(out / name) for name in ("landing", "truth") if (out / name).exists()]
    if taken:
        raise ConfigError(f"already there: {', '.join(taken)}; choose another folder or remove them")
    began, unfinished = time.perf_counter(), out / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # of a sample that broke off
    with telemetry.heartbeat("the synthetic retailer: people, visits, sales"):
        world = build_world(customers=customers, days=days, seed=seed, end_on=end_on)
    log: truth.DirtLog = []
    rows = {}
    for feed in FEEDS:
        with telemetry.heartbeat(feed.folder):
            rows[feed.folder] = _write_feed(feed, world, unfinished / "landing", dirt, log, progress)
    with telemetry.heartbeat("the truth beside the files"):
        rows |= _write_truth(world, unfinished / "truth", log)
    for name in ("truth", "landing"):
        (unfinished / name).rename(out / name)
    unfinished.rmdir()
    write_base(out, Base(customers=customers, days=days, seed=seed, end_on=end_on, block=customers), {})
    files = [path for name in ("landing", "truth") for path in (out / name).rglob("*") if path.is_file()]
    files.append(out / MANIFEST)
    return SampleSummary(
        out=out, customers=customers, start_on=world.start_on, end_on=end_on, seed=seed, rows=rows, files=len(files),
        size_bytes=sum(path.stat().st_size for path in files), seconds=time.perf_counter() - began,
    )  # fmt: skip
