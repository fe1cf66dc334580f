"""Truths about stores and areas."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.expansion import cannibalization, white_space
from customer360.pipelines.gold.locations import trade_areas
from customer360.pipelines.gold.store_performance import store_months, visit_conversion
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.sample.abroad import store_rows
from customer360.pipelines.sample.location import area_rows
from customer360.pipelines.sample.openings import TAKEN
from customer360.pipelines.sample.sales import COMPLETED, PURCHASE
from customer360.pipelines.sample.world import World, build_world
from customer360.pipelines.silver.location import StoreVisits
from customer360.platform import tables

# What a receipt says of which nothing was given back.
KEPT = {
    "returned_on": pl.lit(None, pl.Date), "return_amount": pl.lit(Decimal("0.00")), "is_unconverted": pl.lit(False),
    "exchanged_amount": pl.lit(Decimal("0.00")), "currency": pl.lit("EUR"), "exchange_rate": pl.lit(1.0),
}  # fmt: skip
RULES, AS_OF = EnrichmentRules(), date(2026, 7, 1)
CONVERSION, LOST, DECAY, ORDER = 0.4, 0.3, 1.5, 30.0
KM = 1 / 111.2  # degrees of latitude


def _visits(rng: np.random.Generator, share: float, visits: int = 150) -> tuple[pl.LazyFrame, pl.LazyFrame, float]:
    """Visits on days of their own; a share ends in a purchase after some minutes, and as many people buy unnoticed."""
    buys = rng.random(visits) < share
    at = [datetime(2026, 3, 1, 12) + timedelta(days=int(n)) for n in rng.integers(0, 90, visits)]
    people = [f"P{n}" for n in range(visits)]
    seen = pl.DataFrame(
        {"visit_id": people, "source_system": "W", "person_id": people, "store_id": "S", "entered_at": at}
    ).with_columns(left_at=pl.lit(None, pl.Datetime("us", "UTC")))
    wait = [timedelta(minutes=float(n)) for n in rng.uniform(1, 60, visits)]
    sold = [(p, a + w) for p, a, w, b in zip(people, at, wait, buys, strict=True) if b]
    sold += [(f"Q{n}", a) for n, a in enumerate(at[: visits // 2])]
    sold += [(p, a + timedelta(days=3)) for p, a, b in zip(people, at, buys, strict=True) if not b]  # another day
    utc = pl.Datetime("us", "UTC")
    sales = pl.DataFrame(sold, schema=["person_id", "occurred_at"], orient="row").with_columns(
        pl.col("occurred_at").cast(utc), store_id=pl.lit("S"), channel_group=pl.lit("IN_STORE"), is_sale=True
    )
    seen = seen.with_columns(pl.col("entered_at").cast(utc), entered_on=pl.col("entered_at").dt.date())
    return seen.lazy(), sales.lazy(), float(buys.mean())


def _conversion(seed: int) -> planted.Found:
    """A share of 150 visits ends in a purchase; the interval of the table is about the chance behind it."""
    seen, sales, _ = _visits(np.random.default_rng(seed), CONVERSION)
    row = visit_conversion(seen, sales, AS_OF, RULES).collect().row(0, named=True)
    return planted.Found(row["conversion_rate"], row["conversion_low"], row["conversion_high"])


def _of_regulars(seed: int) -> planted.Found:
    """Sixty people come ten times each, and each has a chance of its own: what is told of them holds for others."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(2 * CONVERSION, 2 * (1 - CONVERSION), 60)
    rows = [(f"P{n}", datetime(2026, 3, 1, 12) + timedelta(days=9 * k + n % 9)) for n in range(60) for k in range(10)]
    buys = rng.random(len(rows)) < np.repeat(chance, 10)
    utc = pl.Datetime("us", "UTC")
    seen = pl.DataFrame(rows, schema=["person_id", "entered_at"], orient="row").with_columns(
        pl.col("entered_at").dt.replace_time_zone("UTC"), visit_id=pl.int_range(pl.len()).cast(pl.String),
        source_system=pl.lit("W"), store_id=pl.lit("S"), left_at=pl.lit(None, utc),
    ).with_columns(entered_on=pl.col("entered_at").dt.date())  # fmt: skip
    sold = seen.filter(pl.Series(buys)).select(
        "person_id", "store_id", occurred_at=pl.col("entered_at") + timedelta(minutes=20), is_sale=True,
        channel_group=pl.lit("IN_STORE"),
    )  # fmt: skip
    row = visit_conversion(seen.lazy(), sold.lazy(), AS_OF, RULES).collect().row(0, named=True)
    return planted.Found(row["conversion_rate"], row["conversion_low"], row["conversion_high"])


def _order(seed: int) -> planted.Found:
    """Sixty people buy ten times in a month, each at a level of its own."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.gamma(2, ORDER / 2, 60), 10)
    amounts = np.maximum(level * rng.lognormal(-0.045, 0.3, 600), 0.01).round(2)
    sold = pl.DataFrame({"person_id": [f"P{n // 10}" for n in range(600)], "net_amount": amounts}).with_columns(
        pl.col("net_amount").cast(pl.Decimal(12, 2)), transaction_id=pl.int_range(600).cast(pl.String),
        source_system=pl.lit("POS"), store_id=pl.lit("S"), channel_group=pl.lit("IN_STORE"), is_sale=True,
        occurred_on=pl.lit(date(2026, 5, 3)), **KEPT,
    )  # fmt: skip
    visits = pl.LazyFrame(schema=tables.schema(StoreVisits))
    money = pl.LazyFrame({"currency": ["EUR"]})
    row = store_months(sold.lazy(), visits, money, AS_OF, RULES).collect().row(0, named=True)
    return planted.Found(row["net_per_order"], row["net_per_order_low"], row["net_per_order_high"])


def _matched(seed: int) -> planted.Found:
    """How many visits were matched with a purchase of their own, others at the same time aside."""
    rng = np.random.default_rng(seed)
    seen, sales, share = _visits(rng, CONVERSION)
    rate = visit_conversion(seen, sales, AS_OF, RULES).collect()["conversion_rate"].item()
    return planted.Found(rate, rate, rate, planted=share)


def _world(
    rng: np.random.Generator, lost: float, near: int = 25, far: int = 60, orders: tuple[float, float] = (24, 24)
) -> dict[str, pl.LazyFrame]:
    """Areas round an old store that a new one opens beside, and areas round a store far away; each area has a level of
    its own (``orders`` of a near and a far one, on average) that drifts, a season moves all, and of the near ones a
    share of the orders is lost from the opening on."""
    opened, count = date(2026, 1, 1), near + far
    is_near = np.arange(count) < near
    latitude = np.where(is_near, 40.0, 44.0) + rng.uniform(-10, 10, count) * KM
    level = rng.gamma(3, np.where(is_near, *orders) / 3, count)
    after = level * 1.3 * rng.lognormal(0, 0.15, count) * np.where(is_near, 1 - lost, 1.0)
    counts = np.stack([rng.poisson(level), rng.poisson(after)])
    side, area = np.nonzero(np.ones_like(counts))
    owner = np.repeat(np.arange(counts.size), counts.ravel())
    days = rng.integers(0, 181, len(owner)) - 181 * (side[owner] == 0)
    amount = rng.lognormal(3, 0.6, len(owner))
    sales = pl.DataFrame(
        {
            "person_id": pl.Series([f"P{a}" for a in area])[owner],
            "store_id": pl.Series(["OLD", "FAR"])[(~is_near[area[owner]]).astype(int)],
            "occurred_on": pl.Series([opened + timedelta(days=int(d)) for d in days]),
            "net_amount": pl.Series(amount).round(2).cast(pl.Decimal(12, 2)),
            "channel_group": pl.repeat("IN_STORE", len(owner), eager=True),
            "is_sale": pl.repeat(True, len(owner), eager=True),
        }
    )
    people = pl.DataFrame(
        {"person_id": [f"P{n}" for n in range(count)], "area_id": [f"A{n}" for n in range(count)],
         "coarse_cell": ["c"] * count, "latitude": latitude, "longitude": [-80.0] * count}
    )  # fmt: skip
    stores = pl.DataFrame(
        {"store_id": ["OLD", "NEW", "FAR"], "latitude": [40.0, 40.03, 44.0], "longitude": [-80.0] * 3,
         "opened_on": [date(2010, 1, 1), opened, None], "closed_on": pl.Series([None] * 3, dtype=pl.Date)}
    )  # fmt: skip
    return {"sales": sales.lazy(), "people": people.lazy(), "stores": stores.lazy()}


def _change(seed: int, lost: float, **more) -> dict[str, dict]:  # type: ignore[no-untyped-def]
    world = _world(np.random.default_rng(seed), lost, **more)
    table = cannibalization(world["sales"], world["people"], world["stores"], AS_OF, RULES).collect()
    return {row["metric"]: row for row in table.iter_rows(named=True)}


def _lost(metric: str):  # type: ignore[no-untyped-def]
    def find(seed: int) -> planted.Found:
        row = _change(seed, LOST)[metric]
        return planted.Found(row["change_rate"], row["change_low"], row["change_high"])

    return find


def _nothing_lost(seed: int) -> tuple[int, int]:
    """Areas as dense on either side; and many postal codes of an order or two against some busy ones."""
    sparse = (
        {"near": 25, "far": 200, "orders": (24, 1.5)} if seed % 2 else {"near": 150, "far": 40, "orders": (1.5, 24)}
    )
    rows = {**_change(seed, 0.0), **{f"SPARSE {m}": row for m, row in _change(seed, 0.0, **sparse).items()}}
    return sum(row["status"] == "EFFECT" for row in rows.values()), len(rows)


@lru_cache(maxsize=1)
def _openings(seed: int) -> dict[str, dict]:  # type: ignore[type-arg]
    """By store that opens in the synthetic retailer's story: what the table says of orders."""
    world = build_world(customers=8_000, days=400, seed=seed, end_on=AS_OF - timedelta(days=1))
    lives_at = world.people.select(person_id="entity_id", POSTAL_CODE="zip").join(area_rows(world), on="POSTAL_CODE")
    homes = lives_at.select("person_id", area_id="POSTAL_CODE", coarse_cell=pl.lit("c"), latitude="LATITUDE",
                            longitude="LONGITUDE")  # fmt: skip
    stores = store_rows(world).select(
        store_id="STORE_ID", latitude="LATITUDE", longitude="LONGITUDE", opened_on="OPENED_DATE",
        closed_on=pl.lit(None, pl.Date),
    )  # fmt: skip
    table = cannibalization(_till_sales(world).lazy(), homes.lazy(), stores.lazy(), AS_OF, RULES).collect()
    return {row["store_id"]: row for row in table.filter(pl.col("metric") == "ORDERS").iter_rows(named=True)}


def _till_sales(world: World) -> pl.DataFrame:
    """Purchases of known people in stores, in the columns of silver."""
    rows = world.sales.receipts.filter(
        ~pl.col("online"), pl.col("kind") == PURCHASE, pl.col("status") == COMPLETED, pl.col("account") >= 0
    )
    return rows.select(
        person_id=world.people["entity_id"].gather(rows["person"]),
        store_id=world.store_ids.gather(rows["store"]),
        occurred_on=pl.lit(world.start_on) + pl.duration(days="day"),
        net_amount=(pl.col("total") / 100).cast(pl.Decimal(12, 2)),
        channel_group=pl.lit("IN_STORE"),
        is_sale=pl.lit(value=True),
    )


def _taken(seed: int) -> planted.Found:
    """The store that takes from those around it, which is the first to be numbered."""
    row = min(_openings(seed).items())[1]
    return planted.Found(row["change_rate"], row["change_low"], row["change_high"])


def _nothing_taken(seed: int) -> tuple[int, int]:
    """The other one opens at the same time, and nobody goes there who is known."""
    return int(max(_openings(seed).items())[1]["status"] == "EFFECT"), 1


def _towns(rng: np.random.Generator, decay: float, pull: float) -> tuple[tuple[pl.LazyFrame, ...], str]:
    """Thirty towns of ten areas along a line, stores in two of three; customers by Huff's model, of stores within 250
    km; the largest town has none."""
    towns, size = 30, 10
    has = np.arange(towns) % 3 != 0
    people = rng.uniform(2_000, 5_000, (towns, size))
    empty = int(rng.choice(np.flatnonzero(~has)[1:-1]))
    people[empty] *= 3
    latitude = 30 + 60 * KM * np.arange(towns)[:, None] + rng.uniform(-8, 8, (towns, size)) * KM
    shops = 30 + 60 * KM * np.flatnonzero(has)
    km = np.abs(latitude.ravel()[:, None] - shops) / KM
    pulls = np.where(km <= 250, pull * (1 + km) ** -decay, 0.0)
    chance = pulls / (1 + pulls.sum(axis=1, keepdims=True))
    bought = rng.poisson(chance * people.ravel()[:, None])
    area, store = np.nonzero(bought)
    owner = np.repeat(np.arange(len(area)), bought[area, store])
    ids = pl.Series([f"USA/{n:05d}" for n in range(towns * size)])
    count = len(owner)
    stores = pl.DataFrame(
        {"store_id": [f"S{n}" for n in range(len(shops))], "latitude": shops, "longitude": [-90.0] * len(shops),
         "opened_on": pl.Series([None] * len(shops), dtype=pl.Date),
         "closed_on": pl.Series([None] * len(shops), dtype=pl.Date)}
    )  # fmt: skip
    sales = pl.DataFrame(
        {"person_id": pl.int_range(count, eager=True).cast(pl.String), "store_id": stores["store_id"][store[owner]]}
    ).with_columns(
        occurred_on=pl.lit(date(2026, 5, 1)), net_amount=pl.lit(Decimal("10.00")), channel_group=pl.lit("IN_STORE"),
        is_sale=True,
    )  # fmt: skip
    homes = pl.DataFrame({"person_id": sales["person_id"], "area_id": ids[area[owner]]})
    areas = pl.DataFrame(
        {"area_id": ids, "coarse_cell": [f"T{n // size}" for n in range(towns * size)], "latitude": latitude.ravel(),
         "longitude": [-90.0] * (towns * size), "population": people.ravel().astype(np.int64)}
    )  # fmt: skip
    return tuple(frame.lazy() for frame in (sales, homes, areas, stores)), f"T{empty}"


def _decay(seed: int) -> planted.Found:
    frames, _ = _towns(np.random.default_rng(seed), DECAY, 0.05)
    row = white_space(*frames, AS_OF, RULES).collect().row(0, named=True)
    return planted.Found(row["distance_decay"], row["distance_decay_low"], row["distance_decay_high"])


def _no_decay(seed: int) -> tuple[int, int]:
    """Where distance makes no difference, the interval of the decay holds 0."""
    frames, _ = _towns(np.random.default_rng(seed), 0.0, 0.001)
    row = white_space(*frames, AS_OF, RULES).collect().row(0, named=True)
    return int(not row["distance_decay_low"] <= 0 <= row["distance_decay_high"]), 1


def _best_place(seed: int) -> planted.Found:
    """The largest town without a store comes first."""
    frames, town = _towns(np.random.default_rng(seed), DECAY, 0.05)
    table = white_space(*frames, AS_OF, RULES).collect()
    rank = float(table.filter(pl.col("coarse_cell") == town)["rank"].item())
    return planted.Found(rank, rank, rank)


def _held(seed: int) -> planted.Found:
    """Ten areas of 30 customers each; the largest ones that hold four fifths of the sales are counted."""
    rng = np.random.default_rng(seed)
    worth = np.round(rng.exponential(1, 10) + 0.05, 2)
    rows = [(f"P{a}-{n}", f"A{a}", Decimal(str(worth[a]))) for a in range(10) for n in range(30)]
    sales = pl.DataFrame(rows, schema=["person_id", "area_id", "net_amount"], orient="row").with_columns(
        store_id=pl.lit("S"), occurred_on=pl.lit(date(2026, 5, 1)), channel_group=pl.lit("IN_STORE"), is_sale=True,
        **KEPT,
    )  # fmt: skip
    where = {"cell": pl.lit("c"), "coarse_cell": pl.lit("C"), "latitude": 40.0, "longitude": -80.0}
    homes = sales.select("person_id", "area_id", **where)
    stores = pl.LazyFrame({"store_id": ["S"], "latitude": [40.1], "longitude": [-80.0]})
    table = trade_areas(
        sales.drop("area_id").lazy(), homes.lazy(), stores, pl.LazyFrame({"currency": ["EUR"]}), AS_OF, RULES
    ).collect()
    largest = np.sort(worth)[::-1].cumsum() / worth.sum()
    needed = float(np.searchsorted(largest, 0.8 - 1e-12) + 1)
    found = float(table["is_primary"].sum())
    return planted.Found(found, found, found, planted=needed)


SURE = 0.95
TRUTHS = [
    planted.Truth(
        "gold.visit_conversion", "chance that a visit ends in a purchase", CONVERSION, _conversion, confidence=SURE
    ),
    planted.Truth(
        "gold.visit_conversion", "chance that a visit of regulars ends in a purchase", CONVERSION,
        _of_regulars, confidence=SURE,
    ),
    planted.Truth("gold.visit_conversion", "visits matched with their own purchase", CONVERSION, _matched),
    planted.Truth("gold.store_months", "mean order of regulars", ORDER, _order, confidence=SURE),
    planted.Truth(
        "gold.cannibalization", "orders lost by old stores round a new one", -LOST, _lost("ORDERS"), _nothing_lost, SURE
    ),
    planted.Truth(
        "gold.cannibalization", "sales lost by old stores round a new one", -LOST, _lost("SALES"), confidence=SURE
    ),
    planted.Truth(
        "gold.cannibalization", "orders taken by a new store of the synthetic retailer", -TAKEN[0], _taken,
        _nothing_taken, SURE,
    ),
    planted.Truth("gold.white_space", "decay of custom with distance", DECAY, _decay, _no_decay, confidence=SURE),
    planted.Truth("gold.white_space", "rank of the largest town without a store", 1.0, _best_place),
    planted.Truth("gold.trade_areas", "areas that hold four fifths of a store's sales", 5.0, _held),
]  # fmt: skip
