"""Days of the retailer, one after another, at a stated share of the specification's volume of a day.

A day stands on a sample that was written before, or on people alone, who are settled in blocks: a block's people and
its day depend on the seed, the number of the block and the date alone, so that blocks are made side by side and held
one at a time, and a day can be written without the days before it. Goods that come back were bought a week before.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from customer360.pipelines.sample import behavior, engagement, external, service, truth, visits
from customer360.pipelines.sample.base import Base, read_base, write_base
from customer360.pipelines.sample.dirt import STANDARD, Dirt, Soiler, Spoils
from customer360.pipelines.sample.openings import moved
from customer360.pipelines.sample.orders import order_rows
from customer360.pipelines.sample.records import NEVER
from customer360.pipelines.sample.sales import PURCHASE, item_rows, sales, transaction_rows
from customer360.pipelines.sample.streams import Streams
from customer360.pipelines.sample.visits import DAY_US, midnight_us
from customer360.pipelines.sample.world import Town, World, first_receipts
from customer360.pipelines.sample.write import FEEDS, LEAST_CUSTOMERS, UNFINISHED, SampleSummary, encode, text
from customer360.platform.errors import ConfigError

BLOCK = 25_000  # people settled at a time
SLICE = 400_000  # rows made at a time, about; a block's day is as many slices as that takes
ROWS_A_DAY = 85_000_000
BASE_DAYS = 540
# The specification's volume of a day. Lines, sessions and service contacts follow from the others.
TRANSACTIONS, EVENTS, MESSAGES, EXTERNAL = 5_000_000, 50_000_000, 10_000_000, 1_000_000
ONLINE_FACTOR = 0.45  # else purchases online alone would make all of the day's events
LINES_BEYOND_FIRST = 2.16  # so that receipts have three lines in the mean; products stand once in a basket
# Means of `behavior.trail`, by which the number of visits is set.
EVENTS_A_PURCHASE, EVENTS_A_VISIT = 17.9, 6.5
MESSAGES_A_MEMBER = 1.2  # of a campaign that reaches everybody who agreed
QUESTIONS = 0.12  # orders that somebody asks about; most tickets have a cause that takes days
SENTIMENT_SHARE = 0.7  # of what third parties deliver; the others are profiles
RETURNED_AFTER = 7


# ---- what happens on a day -----------------------------------------------------------------------------------------


def _on(town: Town, days: int) -> Town:
    """The same people where day numbers count from a day so many days after the start of the story."""
    life = town.lives.with_columns(
        begin=pl.col("begin") - days, gone=pl.when(pl.col("gone") < NEVER).then(pl.col("gone") - days).otherwise("gone")
    )
    return replace(
        town,
        people=town.people.with_columns(pl.col("joined", "moved") - days),
        lives=life,
        accounts=town.accounts.with_columns(pl.col("registered") - days),
        shelf=replace(town.shelf, launch=town.shelf.launch - days),
        devices=replace(town.devices, reset=np.where(town.devices.reset < NEVER, town.devices.reset - days, NEVER)),
    )


def _drawn(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers drawn by weight: Int64 [count]."""
    cumulative = np.cumsum(weights)
    return np.minimum(np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right"), len(weights) - 1)


def slices(base: Base, people: int, rate: float) -> int:
    """How many slices the day of so many people has."""
    return max(1, round(rate * ROWS_A_DAY * people / base.customers / SLICE))


def day_world(base: Base, settled: Town, block: int, part: int, day: date, rate: float) -> World:
    """What the people of a block do on a day, as one slice of it, with the returns that follow, whose dates are
    later."""
    since = (day - base.start_on).days
    town, streams = _on(settled, since), Streams(base.seed, (block, part, day.toordinal()))
    people_ = len(town.people)
    volume = rate * people_ / base.customers / slices(base, people_, rate)
    rng, life, place = streams.stream("visitors"), town.lives, town.people["place"].to_numpy()
    here = (life["begin"].to_numpy() <= 0) & (life["gone"].to_numpy() > 0)
    buyers = _drawn(life["buy_rate"].to_numpy() * here, rng.poisson(volume * TRANSACTIONS), rng)
    bought = visits.bought(rng, buyers, np.zeros(len(buyers), dtype=np.int64), town.accounts, place, day, ONLINE_FACTOR)
    looking = max(volume * EVENTS - EVENTS_A_PURCHASE * int(bought["online"].sum()), 0) / EVENTS_A_VISIT
    eager = life["browse_rate"].to_numpy() * visits.eagerness(town.accounts, len(life)) * here
    people = _drawn(eager, rng.poisson(looking), rng)
    today, at = np.zeros(len(people), dtype=np.int64), midnight_us(day) + visits.clock(people, place, rng)
    seen = visits.browsed(rng, people, today, at, town.accounts, len(life), bought, town.devices).sort("at", "person")
    sold = sales(
        streams, town.tastes, town.shelf, bought, seen, town.people, life["gone"].to_numpy(), town.member_from,
        town.home_store, NEVER, len(town.stores), LINES_BEYOND_FIRST,
    )  # fmt: skip
    opened = (town.openings["OPENED_DATE"][0] - day).days
    sold = moved(streams, sold, town.people, town.stores, town.openings, opened)
    agreed = len(town.accounts.filter(source_system="CRM")) * engagement.CAMPAIGNS * MESSAGES_A_MEMBER
    return World(
        **vars(town), streams=streams, start_on=day, end_on=day, visits=seen, sales=sold,
        first_receipt=first_receipts(sold, len(bought)), label=f"{day:%Y%m%d}{block:03}{part:03}",
        day_label=f"{day:%Y%m%d}",
        reach=min(1.0, volume * MESSAGES / max(agreed, 1)), since=since, questions=QUESTIONS,
    )  # fmt: skip


@dataclass(frozen=True)
class Day:
    """A slice of a day, and those of the day a week before whose goods come back in it. `volume`: its share of the
    specification's day."""

    world: World
    before: tuple[World, ...]
    volume: float

    @cached_property
    def trail(self) -> tuple[behavior.Trail, pl.DataFrame]:
        """What visitors do, and what the tables say about their visits."""
        world = self.world
        path = behavior.trail(
            world.visits, world.sales, world.first_receipt, world.tastes, world.shelf, world.streams.stream("trail")
        )
        said = behavior.visit_rows(
            world.visits, world.sales, world.first_receipt, 0, world.accounts["customer_id"],
            world.devices.visitor_ids, world.people["place"].to_numpy(), world.streams.stream("visits"), world.label,
        )  # fmt: skip
        return path, said

    @cached_property
    def audience(self) -> pl.DataFrame:
        """Who is in the campaigns that send today."""
        return engagement.audience(self.world)


def _receipts(world: World, online: bool, *, returned: bool) -> pl.DataFrame:
    rows = world.sales.receipts.with_row_index("receipt").cast({"receipt": pl.Int64})
    rows = rows.filter((pl.col("online") == online) & ((pl.col("kind") > PURCHASE) == returned))
    if not returned:
        return rows
    return rows.with_columns(
        at=pl.col("at") + (RETURNED_AFTER - pl.col("day")) * DAY_US, day=pl.lit(RETURNED_AFTER, pl.Int64)
    )


def _parts(day: Day, online: bool) -> Iterator[tuple[World, pl.DataFrame, str]]:
    """Receipts that a day delivers, with the world whose ids they bear and the name of their stream."""
    yield day.world, _receipts(day.world, online, returned=False), "sold"
    for earlier in day.before:
        yield earlier, _receipts(earlier, online, returned=True), f"returned.{earlier.label}"


def _transactions(online: bool) -> Callable[[Day], pl.DataFrame]:
    def rows(day: Day) -> pl.DataFrame:
        made = []
        for world, receipts, name in _parts(day, online):
            ids = world.accounts["customer_id"], world.store_ids, world.devices.visitor_ids
            rng = day.world.streams.stream(f"transactions.{name}", int(online))
            made.append(transaction_rows(rng, receipts, *ids, world.label, world.since))
        both = pl.concat(made)
        return both if online else both.drop("VISITOR_ID")

    return rows


def _items(online: bool) -> Callable[[Day], pl.DataFrame]:
    def rows(day: Day) -> pl.DataFrame:
        made = []
        for world, receipts, name in _parts(day, online):
            lines = world.sales.lines.join(receipts.select("receipt"), on="receipt", how="semi", maintain_order="left")
            rng = day.world.streams.stream(f"items.{name}", int(online))
            made.append(item_rows(rng, lines, world.products, world.label))
        return pl.concat(made)

    return rows


def _events(day: Day) -> pl.DataFrame:
    return behavior.event_rows(*day.trail, day.world.products, day.world.streams.stream("events"))


def _sentiment(day: Day) -> pl.DataFrame:
    return external.sentiment_of_the_day(day.world, round(day.volume * EXTERNAL * SENTIMENT_SHARE))


def _profiles(day: Day) -> pl.DataFrame:
    wanted = day.volume * EXTERNAL * (1 - SENTIMENT_SHARE)
    most = max(len(external.profile_rows(replace(day.world, reach=1.0))), 1) if wanted else 1
    return external.profile_rows(replace(day.world, reach=min(1.0, wanted / most)))


ROWS: dict[str, Callable[[Day], pl.DataFrame]] = {
    "pos/transactions": _transactions(online=False),
    "shop/transactions": _transactions(online=True),
    "pos/transaction_items": _items(online=False),
    "shop/transaction_items": _items(online=True),
    "shop/orders": lambda day: order_rows(day.world),
    "crm/campaign_audiences": lambda day: engagement.audience_rows(day.world, day.audience),
    "crm/engagement": lambda day: engagement.engagement_rows(day.world, day.audience),
    "support/tickets": lambda day: service.ticket_rows(day.world),
    "support/interactions": lambda day: service.interaction_rows(day.world),
    "external/profiles": _profiles,
    "external/sentiment": _sentiment,
    "web/sessions": lambda day: behavior.session_rows(*day.trail),
    "web/events": _events,
}
ONCE = {"crm/campaigns": lambda day: engagement.campaign_rows(day.world)}  # by the first slice alone


# ---- files ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Task:
    """A slice of a block's day to write below `out`."""

    base: Base
    block: int
    part: int
    day: date
    rate: float
    rate_before: float | None  # of the day whose goods come back, None where it was not written
    out: Path
    dirt: Dirt
    settles: bool  # write the accounts of the block, too

    def write(self) -> dict[str, int]:
        """Rows by feed."""
        town = self.base.town(self.block)
        world = day_world(self.base, town, self.block, self.part, self.day, self.rate)
        many = slices(self.base, len(town.people), self.rate)
        day = Day(world, self._before(town, many), self.rate * len(town.people) / self.base.customers / many)
        made, log = dict[str, int](), truth.DirtLog()
        feeds = ROWS | ONCE if self.block == self.part == 0 else ROWS
        for folder, rows in feeds.items():
            made[folder] = self._file(folder, rows(day), log)
        if self.settles and self.part == 0:
            made |= self._accounts(town)
        self._kept("truth/dirt", self._stem, truth.dirt(log))
        return made

    @property
    def _stem(self) -> str:
        return f"{self.day}-{self.block:03}-{self.part:03}"

    def _before(self, town: Town, many: int) -> tuple[World, ...]:
        """The slices of the day a week before whose goods come back in this one."""
        if self.rate_before is None:
            return ()
        earlier = self.day - timedelta(days=RETURNED_AFTER)
        parts = range(self.part, slices(self.base, len(town.people), self.rate_before), many)
        return tuple(day_world(self.base, town, self.block, part, earlier, self.rate_before) for part in parts)

    def _file(self, folder: str, frame: pl.DataFrame, log: truth.DirtLog) -> int:
        form, spoils = next((feed.form, feed.spoils) for feed in FEEDS if feed.folder == folder)
        file, damages = f"{folder}/{self._stem}.{form}", list[tuple[int, str]]()
        if spoils:
            frame, damages = self._soiled(folder, frame, file, spoils, log)
        self._put(file, _packed(frame, damages, spoils, form))
        return len(frame)

    def _put(self, file: str, body: bytes) -> None:
        place = self.out / "landing" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)

    def _soiled(
        self, folder: str, frame: pl.DataFrame, file: str, spoils: Spoils, log: truth.DirtLog
    ) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
        rng = Streams(self.base.seed, (self.block, self.part, self.day.toordinal())).stream(f"dirt.{folder}")
        start = datetime.combine(self.day, clock(), UTC)
        return Soiler(self.dirt, spoils, rng, start, log).soil(frame, file, last=True)

    def _accounts(self, town: Town) -> dict[str, int]:
        """What the systems know of the people of the block on the eve of the first day."""
        world = _eve(self.base, town, self.block)
        rows = {}
        for feed in FEEDS:
            if feed.folder in ("pos/customers", "shop/customers", "crm/customers", "crm/preferences") or (
                self.block == 0 and feed.folder.startswith("erp/")
            ):
                rows[feed.folder] = 0
                for stem, frame in feed.batches(world):
                    self._put(f"{feed.folder}/{stem}-{self.block:03}.{feed.form}", encode(frame, [], None, feed.form))
                    rows[feed.folder] += len(frame)
        self._kept("truth/records", f"{self.block:03}", truth.records(world))
        return rows

    def _kept(self, folder: str, stem: str, frame: pl.DataFrame) -> None:
        place = self.out / folder
        place.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(place / f"{stem}.parquet")


def _eve(base: Base, town: Town, block: int) -> World:
    """The story up to the last day of the base, in which nothing was recorded."""
    nobody = np.array([], dtype=np.int64)
    empty = visits.bought(
        np.random.default_rng(0), nobody, nobody, town.accounts, town.people["place"].to_numpy(), base.end_on
    )
    seen = visits.browsed(
        np.random.default_rng(0), nobody, nobody, nobody, town.accounts, len(town.people), empty, town.devices
    )
    streams = Streams(base.seed, (block,) if len(base.blocks) > 1 else ())
    sold = sales(
        streams, town.tastes, town.shelf, empty, seen, town.people, town.lives["gone"].to_numpy(), town.member_from,
        town.home_store, base.days, len(town.stores),
    )  # fmt: skip
    return World(
        **vars(town), streams=streams, start_on=base.start_on, end_on=base.end_on, visits=seen, sales=sold,
        first_receipt=nobody,
    )  # fmt: skip


def _packed(frame: pl.DataFrame, damages: list[tuple[int, str]], spoils: Spoils | None, form: str) -> bytes:
    """As `encode`; of compressed lines the damaged ones come last, so that the others need not be split and are packed
    as they are written, at a third of the cost."""
    if form != "jsonl.gz":
        return encode(frame, damages, spoils, form)
    rows = sorted(at for at, _ in damages)
    place = {at: n for n, at in enumerate(rows)}
    sound = np.ones(len(frame), dtype=bool)
    sound[rows] = False
    out = io.BytesIO()
    text(frame.filter(pl.Series(sound)), form).write_ndjson(out, compression="gzip", compression_level=1)
    spoilt = encode(frame[rows], [(place[at], kind) for at, kind in damages], spoils, form) if rows else b""
    return out.getvalue() + spoilt


def _write(task: Task) -> dict[str, int]:
    return task.write()


def write_day(
    out: Path,
    day: date,
    *,
    rate: float,
    customers: int | None = None,
    seed: int = 7,
    dirt: Dirt = STANDARD,
    processes: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> SampleSummary:
    """Write a day to `out`/landing, beside what is there; a folder without a sample gets `customers` people first, who
    have accounts and no history. `rate`: 1 is the specification's day (5M transactions, 15M lines, 50M events, 10M
    messages, 1M external rows), any fraction; however many people there are.

    The same arguments give the same files, byte for byte, in any number of processes. What breaks off leaves nothing.

    Raises:
        ConfigError: a day inside the story or written before, another number of people than the sample has, or a
            folder that holds something else.
    """
    began = time.perf_counter()
    found = read_base(out)
    base, rates = found or (_new_base(customers, seed, day), {})
    _check(base, rates, day, customers if found else None, rate)
    eve = rates.get(str(day - timedelta(days=RETURNED_AFTER)))
    unfinished = out / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    tasks = [
        Task(
            base=base, block=block, part=part, day=day, rate=rate, rate_before=eve, out=unfinished, dirt=dirt,
            settles=not found,
        )
        for block in base.blocks
        for part in range(slices(base, min(base.block, base.customers - block * base.block), rate))
    ]  # fmt: skip
    rows: dict[str, int] = {}
    for done, made in enumerate(_all(tasks, processes or os.cpu_count() or 1), 1):
        for folder, count in made.items():
            rows[folder] = rows.get(folder, 0) + count
        if progress:
            progress(str(day), done, len(tasks))
    files = [path for path in sorted(unfinished.rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    for path in files:
        place = out / path.relative_to(unfinished)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(unfinished)
    write_base(out, base, rates | {str(day): rate})
    return SampleSummary(
        out=out, customers=base.customers, start_on=day, end_on=day, seed=base.seed, rows=rows, files=len(files),
        size_bytes=size, seconds=time.perf_counter() - began,
    )  # fmt: skip


def _new_base(customers: int | None, seed: int, day: date) -> Base:
    people = customers or 20_000
    if people < LEAST_CUSTOMERS:
        raise ConfigError(f"a sample needs at least {LEAST_CUSTOMERS} customers, got {people}")
    return Base(customers=people, days=BASE_DAYS, seed=seed, end_on=day - timedelta(days=1), block=min(BLOCK, people))


def _check(base: Base, rates: dict[str, float], day: date, customers: int | None, rate: float) -> None:
    if not rate > 0:
        raise ConfigError(f"a day's rate is a share of the specification's day above 0, got {rate}")
    if day <= base.end_on:
        raise ConfigError(f"the sample's story ends on {base.end_on}; a further day lies after it, got {day}")
    if str(day) in rates:
        raise ConfigError(f"{day} was written already, at a rate of {rates[str(day)]}")
    if customers not in (None, base.customers):
        raise ConfigError(f"the sample has {base.customers} customers; leave --customers out, or choose another folder")


def _all(tasks: list[Task], processes: int) -> Iterator[dict[str, int]]:
    if len(tasks) == 1 or processes == 1:
        yield from map(_write, tasks)
        return
    # Each process formats and packs with one thread: two threads in each of two would be four on two cores.
    threads = os.environ.get("POLARS_MAX_THREADS")
    os.environ["POLARS_MAX_THREADS"] = "1"
    try:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from pool.map(_write, tasks)
    finally:
        os.environ.pop("POLARS_MAX_THREADS")
        if threads is not None:
            os.environ["POLARS_MAX_THREADS"] = threads
