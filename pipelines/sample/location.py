"""Areas by postal code with their population, and visits to stores with a planted share that buys.

The wireless network of a store notices who holds a till account and agreed to be located; a counter at the door counts
everybody. A visit with a purchase begins before the receipt; others are at times without one. People who live far from
any store are customers more seldom, so areas without a store have more people per customer.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.sales import COMPLETED, PURCHASE
from customer360.pipelines.sample.stores import distances_km, places
from customer360.pipelines.sample.streams import spread
from customer360.pipelines.sample.world import World

ZIPS = 30  # postal codes of a place, see `people`
SCATTER = 0.09  # degrees that they lie off its middle
PEOPLE, FAR_KM, MOST = 10_000 * 10, 40.0, 8.0  # people of a place of weight one; distance at which reach has halved
NOTICED_SHARE, CONVERSION = 0.35, 0.45  # purchases whose visit was noticed; noticed visits that buy
CONSENTS, CONSENT_SHARES = (True, None, False), (0.84, 0.1, 0.06)
PASSING = 3.2  # people at the door for one purchase
MINUTE_US = 60_000_000


def area_rows(world: World) -> pl.DataFrame:
    """AREA_CENTROIDS, one row per postal code of a place."""
    rng, where = world.streams.stream("location.areas"), places()
    place, number = spread(np.full(len(where), ZIPS))
    here, far = where.select("latitude", "longitude").to_numpy(), distances_km(world.stores).min(axis=1)
    size = where["weight"].to_numpy() * PEOPLE * 100 / ZIPS * np.minimum(1 + far / FAR_KM, MOST)
    return pl.DataFrame(
        {
            "COUNTRY_CODE": ["USA"] * len(place),
            "POSTAL_CODE": (where["zip"].gather(place) + number).cast(pl.String).str.zfill(5),
            "PLACE_NAME": where["city"].gather(place),
            "STATE_CODE": where["state_code"].gather(place),
            "LATITUDE": (here[place, 0] + rng.normal(0, SCATTER, len(place))).round(4),
            "LONGITUDE": (here[place, 1] + rng.normal(0, SCATTER, len(place))).round(4),
            "POPULATION": (size[place] * rng.uniform(0.5, 1.5, len(place))).astype(np.int64),
        }
    )


def visit_rows(world: World) -> pl.DataFrame:
    """STORE_VISITS, one row per noticed visit and per store and day of the counters."""
    rows = pl.concat([_noticed(world), _counted(world)]).sort("ENTERED_AT", "STORE_ID", "VISIT_SOURCE")
    moment = pl.Datetime("us", "UTC")
    ids = pl.format("SV{}{}", pl.lit(world.label), pl.int_range(1, pl.len() + 1).cast(pl.String).str.zfill(8))
    return rows.select(VISIT_ID=ids, **{c: pl.col(c) for c in rows.columns}).with_columns(
        pl.col("ENTERED_AT", "LEFT_AT").cast(moment)
    )


def _noticed(world: World) -> pl.DataFrame:
    rng = world.streams.stream("location.visits")
    tills = world.sales.receipts.filter(
        ~pl.col("online"), pl.col("kind") == PURCHASE, pl.col("status") == COMPLETED, pl.col("account") >= 0
    )
    seen = tills.filter(pl.Series(rng.random(len(tills)) < NOTICED_SHARE))
    others = seen.sample(n=round(len(seen) * (1 - CONVERSION) / CONVERSION), with_replacement=True,
                         seed=int(rng.integers(2**31)))  # fmt: skip
    # Looking only: the same hour of another day, well apart from the purchase.
    shift = rng.integers(2, 6, len(others)) * rng.choice([-1, 1], len(others))
    first = rng.integers(5, 40, len(seen)) * MINUTE_US
    stay = rng.integers(3, 35, len(others)) * MINUTE_US
    at, idle = seen["at"].to_numpy(), others["at"].to_numpy() + shift * 24 * 60 * MINUTE_US
    inside = (others["day"].to_numpy() + shift >= 0) & (others["day"].to_numpy() + shift < world.days)
    both = pl.concat([seen, others])
    consent = rng.choice(len(CONSENTS), len(both), p=CONSENT_SHARES)
    return pl.DataFrame(
        {
            "STORE_ID": world.store_ids.gather(both["store"]),
            "CUSTOMER_ID": world.accounts["customer_id"].gather(both["account"]),
            "VISITOR_ID": pl.Series([f"{n:012x}" for n in rng.integers(0, 2**48, len(both))], dtype=pl.String),
            "ENTERED_AT": np.concatenate([at - first, idle]),
            "LEFT_AT": np.concatenate([at + 3 * MINUTE_US, idle + stay]),
            "VISIT_SOURCE": pl.Series(["WIFI", "APP"]).gather(rng.integers(0, 2, len(both))),
            "PERSON_COUNT": pl.Series([None] * len(both), dtype=pl.Int64),
            "LOCATION_CONSENT": pl.Series(CONSENTS, dtype=pl.Boolean).gather(consent),
        }
    ).filter(pl.Series(np.concatenate([np.ones(len(seen), dtype=bool), inside])))


def _counted(world: World) -> pl.DataFrame:
    rng = world.streams.stream("location.counters")
    sold = world.sales.receipts.filter(~pl.col("online"), pl.col("kind") == PURCHASE)
    days = sold.group_by("store", "day").len().sort("store", "day")
    people = days["len"].to_numpy() + rng.poisson(days["len"].to_numpy() * (PASSING - 1))
    closed = pl.lit(world.start_on).cast(pl.Datetime("us")) + pl.duration(days="day", hours=21)
    nobody = pl.lit(None, pl.String)
    return days.with_columns(people=people).select(
        STORE_ID=world.store_ids.gather(days["store"]),
        CUSTOMER_ID=nobody,
        VISITOR_ID=nobody,
        ENTERED_AT=closed.dt.timestamp("us"),
        LEFT_AT=pl.lit(None, pl.Int64),
        VISIT_SOURCE=pl.lit("COUNTER"),
        PERSON_COUNT="people",
        LOCATION_CONSENT=pl.lit(None, pl.Boolean),
    )
