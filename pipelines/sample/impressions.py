"""What the shop showed on its start page, in which order, and what became of it: the log a ranker learns from.

In the last `LOG_DAYS` a share of the visits meets a list of `SHOWN` products, ordered by the shop's own guess of taste.
Whether a product is clicked depends on that taste, on where it stands, and on the moment, by effects that are planted
(`effects`, kept as a truth). The day of the week is the null context: it changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from customer360.pipelines.sample.catalog import CATEGORIES
from customer360.pipelines.sample.streams import Streams
from customer360.pipelines.sample.visits import AGENTS, DAY_US
from customer360.pipelines.sample.world import World

LOG_DAYS, LIST_SHARE = 180, 0.5
SHOWN, DRAWN = 8, 20  # products of a list; drawn for it, as some are drawn twice
MOST_SEEN = 8  # products that a visitor has seen in the session by then
BASE, POSITION, TASTE = -2.2, 0.7, 0.35  # logits: of a click at all; lost by log(position); won by log of the taste
GUESS_NOISE = 1.2  # of the shop's order
LOCATION, TIME, DEVICE, ACTIVITY, SESSION = 0.9, 0.9, 0.7, 1.6, 0.7  # logits, see `effects`
BOUGHT_SHARE = 0.12  # of clicks
DEVICES = {"MOBILE": -1.0, "TABLET": 0.0, "DESKTOP": 1.0}  # times `DEVICE` and the price in standard deviations
EARLY = 2  # products seen until a session is no longer early


@dataclass(frozen=True)
class Effects:
    """Logits by context. region [regions, categories]; hour [24, categories], of the day in UTC; device [agents],
    times the standardised log price; session [early, late], times the standardised log of sales."""

    regions: tuple[str, ...]
    region: np.ndarray
    hour: np.ndarray
    device: np.ndarray
    session: np.ndarray


@lru_cache(maxsize=4)
def _effects(streams: Streams, regions: tuple[str, ...]) -> Effects:
    rng, count = streams.stream("impression_effects"), len(CATEGORIES)
    phase = rng.permutation(count) / count
    hours = np.arange(24)[:, None] / 24
    return Effects(
        regions,
        LOCATION * rng.choice([-1.0, 1.0], (len(regions), count)),
        TIME * np.cos(2 * np.pi * (hours - phase[None, :])),
        DEVICE * np.array([DEVICES[agent[0]] for agent in AGENTS]),
        SESSION * np.array([1.0, -1.0]),
    )


def effects(world: World) -> Effects:
    """What is planted in this world."""
    return _effects(world.streams, tuple(world.stores["REGION"].unique().sort()))


def impression_rows(world: World) -> pl.DataFrame:
    """IMPRESSIONS, one row per product of a list that was shown, in order of time and position."""
    rng, planted = world.streams.stream("impressions"), effects(world)
    recent = world.visits.filter(pl.col("day") >= world.days - LOG_DAYS)
    met = recent.filter(pl.Series(rng.random(len(recent)) < LIST_SHARE)).sort("at", "person")
    drawn, seen = _drawn(world, met, rng), _seen(world, met, rng)
    guess = np.log(world.tastes.category[met["person"].to_numpy()[:, None], world.shelf.category[drawn]] + 0.02)
    score = np.where(_is_first(drawn), guess + rng.normal(0, GUESS_NOISE, drawn.shape), -np.inf)
    order = np.argsort(-score, axis=1, kind="stable")[:, :SHOWN]
    shown, score = np.take_along_axis(drawn, order, 1), np.take_along_axis(score, order, 1)
    logit = BASE - POSITION * np.log(np.arange(1, SHOWN + 1)) + TASTE * np.take_along_axis(guess, order, 1)
    logit = logit + _by_context(world, planted, met, shown, seen)
    clicked = rng.random(shown.shape) < 1 / (1 + np.exp(-logit))
    bought = clicked & (rng.random(shown.shape) < BOUGHT_SHARE)
    wait = rng.integers(2, 90, shown.shape) * 1_000_000
    return _rows(world, planted, met, shown, score, seen, np.where(clicked, wait, -1), bought)


def _drawn(world: World, met: pl.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Products that may be shown: half by taste, half by chance of the shelf. Int64 [lists, DRAWN]."""
    person, day = (np.repeat(met[c].to_numpy(), DRAWN) for c in ("person", "day"))
    month = np.repeat(met.select(pl.col("at").cast(pl.Datetime("us")).dt.month()).to_series().to_numpy() - 1, DRAWN)
    any_category = rng.integers(0, len(CATEGORIES), len(person))
    category = np.where(rng.random(len(person)) < 0.5, any_category, -1)
    found = world.tastes.draw(world.shelf, person, month.astype(np.int64), day, rng, category)
    return found.reshape(len(met), DRAWN)


def _seen(world: World, met: pl.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Products that the visitor looked at before, the newest first; -1 beyond the last: Int64 [lists, MOST_SEEN]. Who
    looks around mostly looks at one category."""
    shape = (len(met), MOST_SEEN)
    person, day = (np.repeat(met[c].to_numpy(), MOST_SEEN) for c in ("person", "day"))
    about = np.repeat(rng.integers(0, len(CATEGORIES), len(met)), MOST_SEEN)
    category = np.where(rng.random(len(person)) < 0.8, about, -1)
    found = world.tastes.draw(world.shelf, person, np.zeros(len(person), dtype=np.int64), day, rng, category)
    depth = np.minimum(rng.geometric(0.25, len(met)) - 1, MOST_SEEN)
    seen = np.where(np.arange(MOST_SEEN)[None, :] < depth[:, None], found.reshape(shape), -1)
    return np.where(_is_first(seen), seen, -1)


def _is_first(products: np.ndarray) -> np.ndarray:
    """Where a product stands in its row for the first time."""
    order = np.argsort(products, axis=1, kind="stable")
    ranked = np.take_along_axis(products, order, 1)
    first = np.ones(products.shape, dtype=bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    found = np.empty_like(first)
    np.put_along_axis(found, order, first, 1)
    return found


def _by_context(world: World, planted: Effects, met: pl.DataFrame, shown: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What the moment adds to each product's logit: Float64 [lists, SHOWN]."""
    category, hour = world.shelf.category[shown], _hours(met)
    region = _regions(world, planted, met)
    same = (world.shelf.category[seen][:, None, :] == category[:, :, None]) & (seen >= 0)[:, None, :]
    depth = (seen >= 0).sum(axis=1)
    sales = np.log1p(np.bincount(world.sales.lines["product"].to_numpy(), minlength=len(world.products)))
    return np.asarray(
        planted.region[region[:, None], category]
        + planted.hour[hour[:, None], category]
        + planted.device[met["agent"].to_numpy()][:, None] * _standard(np.log(world.shelf.cents))[shown]
        + ACTIVITY * same.sum(axis=2) / np.maximum(depth, 1)[:, None]
        + planted.session[(depth > EARLY).astype(int)][:, None] * _standard(sales)[shown]
    )


def _standard(values: np.ndarray) -> np.ndarray:
    spread = float(values.std()) or 1.0
    return np.asarray((values - values.mean()) / spread)


def _hours(met: pl.DataFrame) -> np.ndarray:
    return (met["at"].to_numpy() % DAY_US) // (DAY_US // 24)


def _regions(world: World, planted: Effects, met: pl.DataFrame) -> np.ndarray:
    """The region of the store nearest to each visitor, as a number."""
    of_store = world.stores["REGION"].replace_strict({r: i for i, r in enumerate(planted.regions)}).to_numpy()
    return np.asarray(of_store[world.home_store[world.people["place"].to_numpy()[met["person"].to_numpy()]]])


def _rows(
    world: World, planted: Effects, met: pl.DataFrame, shown: np.ndarray, score: np.ndarray, seen: np.ndarray,
    wait: np.ndarray, bought: np.ndarray,
) -> pl.DataFrame:  # fmt: skip
    count, products, account = len(met), world.products["PRODUCT_ID"], met["account"].to_numpy()
    names = products.to_list()
    looked = pl.Series("seen", ["|".join(names[p] for p in row if p >= 0) for row in seen.tolist()], dtype=pl.String)
    lists = pl.DataFrame(
        {
            "list": pl.select(
                pl.format("IL{}{}", pl.lit(world.label), pl.int_range(count).cast(pl.String).str.zfill(8))
            ).to_series(),
            "CUSTOMER_ID": world.accounts["customer_id"].gather(np.maximum(account, 0)),
            "VISITOR_ID": world.devices.visitor_ids.gather(met["visitor"]),
            "at": met["at"],
            "REGION": pl.Series(planted.regions, dtype=pl.String).gather(_regions(world, planted, met)),
            "DEVICE": pl.Series([agent[0] for agent in AGENTS]).gather(met["agent"]),
            "SEEN_PRODUCT_IDS": looked,
        }
    ).with_columns(CUSTOMER_ID=pl.when(pl.Series(account >= 0)).then("CUSTOMER_ID"))
    rows = lists[np.repeat(np.arange(count), SHOWN)].with_columns(
        product=products.gather(shown.ravel()),
        POSITION=pl.Series(np.tile(np.arange(1, SHOWN + 1), count)),
        SCORE=pl.Series(np.exp(score.ravel()).round(4)),
        wait=pl.Series(wait.ravel()),
        bought=pl.Series(bought.ravel()),
    )
    clicked_at = pl.when(pl.col("wait") >= 0).then((pl.col("at") + pl.col("wait")).cast(pl.Datetime("us", "UTC")))
    return rows.select(
        IMPRESSION_ID=pl.format("{}-{}", "list", "POSITION"),
        LIST_ID="list",
        CUSTOMER_ID="CUSTOMER_ID",
        VISITOR_ID="VISITOR_ID",
        SHOWN_AT=pl.col("at").cast(pl.Datetime("us", "UTC")),
        PLACEMENT=pl.lit("home"),
        PRODUCT_ID="product",
        POSITION="POSITION",
        SCORE="SCORE",
        REGION="REGION",
        DEVICE="DEVICE",
        SEEN_PRODUCT_IDS="SEEN_PRODUCT_IDS",
        CLICKED_AT=clicked_at,
        BOUGHT_AT=pl.when("bought").then(clicked_at + pl.duration(minutes=5)),
    )


def effect_truth(world: World) -> pl.DataFrame:
    """One row per planted effect on what is clicked: context, value, what (category or property of the product), logit
    (of a property: a standard deviation). `weekday` has one row, of nought: the null context."""
    planted = effects(world)
    rows = [("location", r, c, float(planted.region[i, j])) for i, r in enumerate(planted.regions)
            for j, c in enumerate(CATEGORIES)]  # fmt: skip
    rows += [("time", f"{h:02}", c, float(planted.hour[h, j])) for h in range(24) for j, c in enumerate(CATEGORIES)]
    rows += [("device", name.lower(), "log price", DEVICE * by) for name, by in DEVICES.items()]
    rows += [("activity", "share seen in the category", "category", ACTIVITY)]
    rows += [("session", v, "log sales", float(planted.session[i])) for i, v in enumerate(("early", "late"))]
    rows += [("weekday", "any", "any", 0.0)]
    return pl.DataFrame(rows, schema=["context", "value", "what", "logit"], orient="row")
