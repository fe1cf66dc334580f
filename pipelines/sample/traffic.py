"""What reaches a shop besides people: crawlers that say so, scrapers that do not, broken clocks; and what devices say
of themselves and where they are, which tells whose they may be.

Networks: a household has one of its own, most phones are on a carrier's part of the time, and now and then somebody
browses where many do (an office, a café).
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from customer360.pipelines.sample.behavior import SITE, uuids
from customer360.pipelines.sample.sales import words
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.visits import AGENTS, DAY_US, midnight_us
from customer360.pipelines.sample.world import World

CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "python-requests/2.32.3",
)
CRAWLS_PER_DAY, CRAWLED_PAGES = 0.4, 20  # crawls a day for each thousand people, one at least; pages of one
SCRAPES, SCRAPED_PAGES, SCRAPE_GAP_MS = 12, 70, 250  # visits of scrapers in the story, with a browser's agent
FORGOTTEN = 60  # views with a clock that counted the years
SEEN_SHARE = 0.8  # visits that observe the device
CELLULAR_SHARE, PUBLIC_SHARE = 0.3, 0.06  # of observations; cellular of phones alone
CARRIERS, PUBLIC_PLACES = 12, 40  # networks of carriers and of places; more of both in a larger town
SCREENS = {"MOBILE": (393, 852), "TABLET": (820, 1180), "DESKTOP": (1920, 1080)}
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")


def machine_rows(world: World) -> pl.DataFrame:
    """CUSTOMER_BEHAVIORAL_EVENTS of machines, in order of time, without a SESSION_ID or a customer."""
    rng = world.streams.stream("traffic.machines")
    crawls = max(int(world.days * CRAWLS_PER_DAY * len(world.people) / 1000), 12)
    count = np.concatenate([np.full(crawls, CRAWLED_PAGES), np.full(SCRAPES, SCRAPED_PAGES), np.ones(FORGOTTEN, int)])
    kind = np.repeat([0, 1, 2], [crawls, SCRAPES, FORGOTTEN])
    start = midnight_us(world.start_on) + rng.integers(0, world.days * DAY_US - 3_600_000_000, len(count))
    agent = np.where(kind == 0, rng.integers(0, len(CRAWLERS), len(count)), len(CRAWLERS) + 3)
    who = np.where(kind == 0, agent, len(CRAWLERS) + np.arange(len(count)))
    visit, step = spread(count)
    gap_us = np.where(kind == 0, 2_000_000, SCRAPE_GAP_MS * 1000)[visit]
    goods = world.products.select("PRODUCT_ID", "CATEGORY")[rng.integers(0, len(world.products), len(visit))]
    frame = goods.with_columns(
        at=pl.Series(start[visit] + step * gap_us), agent=pl.Series(agent[visit]), who=pl.Series(who[visit]),
        kind=pl.Series(kind[visit]),
    ).sort("at", "who", maintain_order=True)  # fmt: skip
    agents = (*CRAWLERS, *(a[3] for a in AGENTS))
    return frame.select(
        EVENT_ID=uuids(len(frame), rng, np.arange(len(frame))),
        EVENT_TYPE=pl.lit("PRODUCT_VIEW"),
        EVENT_DATE=pl.col("at").cast(pl.Datetime("us", "UTC")),
        PAGE_URL=pl.format(SITE + "/p/{}", "PRODUCT_ID"),
        PRODUCT_ID="PRODUCT_ID",
        CATEGORY_VIEWED="CATEGORY",
        TIME_ON_PAGE=pl.when(pl.col("kind") == 2).then(pl.lit(63_000_000)).otherwise(pl.lit(0)),
        LOCATION_COUNTRY=pl.lit("USA"),
        VISITOR_ID=pl.format("M{}", pl.col("who").cast(pl.String).str.zfill(9)),
        USER_AGENT=words(frame["agent"], agents),
    )


def observation_rows(world: World) -> pl.DataFrame:
    """DEVICES, one row per visit that observes its device, in order of time."""
    rng = world.streams.stream("traffic.devices")
    seen = world.visits.filter(pl.Series(rng.random(len(world.visits)) < SEEN_SHARE))
    count, person = len(seen), seen["person"].to_numpy()
    kind = np.array([a[0] for a in AGENTS])[seen["agent"].to_numpy()]
    home = world.people["household"].to_numpy()[person]
    draw = rng.random(count)
    cellular = (kind == "MOBILE") & (draw < CELLULAR_SHARE)
    public = ~cellular & (draw > 1 - PUBLIC_SHARE)
    scale = 1 + len(world.people) // 1000
    network = np.where(cellular, rng.integers(0, CARRIERS * scale, count),
                       np.where(public, rng.integers(0, PUBLIC_PLACES * scale, count), home))  # fmt: skip
    letter = np.where(cellular, "C", np.where(public, "P", "H"))
    account = seen["account"].to_numpy()
    zone = world.people["place"].to_numpy()[person] % len(ZONES)
    frame = pl.DataFrame(
        {
            "VISITOR_ID": world.devices.visitor_ids.gather(seen["visitor"]),
            "CUSTOMER_ID": world.accounts["customer_id"].gather(np.maximum(account, 0)),
            "OBSERVED_AT": seen["at"].cast(pl.Datetime("us", "UTC")),
            "USER_AGENT": words(seen["agent"], tuple(a[3] for a in AGENTS)),
            "DEVICE_TYPE": pl.Series(kind),
            "SCREEN_WIDTH": pl.Series([SCREENS[k][0] for k in kind], dtype=pl.Int64),
            "SCREEN_HEIGHT": pl.Series([SCREENS[k][1] for k in kind], dtype=pl.Int64),
            "LANGUAGE": words(
                pl.Series((rng.random(len(world.people)) < 0.12).astype(np.int64)[person]), ("en-US", "es-US")
            ),
            "TIME_ZONE": words(pl.Series(zone), ZONES),
            "CONNECTION_TYPE": pl.Series(np.where(cellular, "cellular", "wifi")),
        }
    ).with_columns(
        CUSTOMER_ID=pl.when(pl.Series(account >= 0)).then("CUSTOMER_ID"),
        NETWORK_ID=_digests(pl.Series(letter + network.astype(str)), world),
    )
    ordered = frame.sort("OBSERVED_AT", "VISITOR_ID", maintain_order=True)
    number = pl.format("OB{}{}", pl.lit(world.label), (pl.int_range(pl.len()) + 1).cast(pl.String).str.zfill(9))
    return ordered.select(OBSERVATION_ID=number, **{c: pl.col(c) for c in ordered.columns})


def _digests(names: pl.Series, world: World) -> pl.Series:
    """What a source would deliver instead of the addresses of networks."""
    key = f"{world.streams.seed}{world.label}".encode()
    told = {name: hashlib.blake2b(name.encode(), key=key, digest_size=8).hexdigest() for name in names.unique()}
    return names.replace_strict(told, return_dtype=pl.String)
