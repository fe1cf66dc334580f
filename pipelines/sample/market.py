"""The market round the retailer: weather that moves with the sales of garden goods, an economy with revisions, and
three competitors who sell some of the same products at price levels of their own."""

from __future__ import annotations

import numpy as np
import polars as pl

from customer360.pipelines.sample.assortment import barcodes, is_coded
from customer360.pipelines.sample.catalog import CATEGORIES
from customer360.pipelines.sample.stores import places
from customer360.pipelines.sample.world import World

COMPETITORS = {"Marlow": 0.94, "Brightside": 1.02, "Trovato": 1.08}  # price level against ours
WATCHED, CARRIED_SHARE, OWN_GOODS = 200, 0.6, 40  # products looked for; of them sold by each; others that each has
LOOKED_DAYS = 14
CRAWLER, PORTAL = "crawler", "portal"
PORTAL_SHARE, STALE_SHARE, WRONG_SHARE = 0.5, 0.35, 0.08  # of the portal's prices: old ones, wrong ones
WEATHER_PULL = 1.5  # degrees more on a day that garden goods sell a standard deviation better
SERIES = {  # name, unit, first value, step a month, days until it is released
    "CPI": ("Consumer prices, all items", "index", 312.0, 0.7, 12),
    "UNEMPLOYMENT": ("Unemployment rate", "percent", 4.1, 0.08, 5),
    "SENTIMENT": ("Consumer sentiment", "index", 72.0, 2.5, 1),
}
_OTHER_GOODS = "gift card,repair kit,travel pillow,umbrella,wallet,notebook,keychain,lunch box,water bottle,tote bag"


def weather_rows(world: World) -> pl.DataFrame:
    """WEATHER, one row per state with a store and day."""
    rng, days = world.streams.stream("market.weather"), world.days
    here = places().select("state_code", "latitude").unique("state_code", keep="first", maintain_order=True)
    states = world.stores["STATE_CODE"].unique().sort()
    latitude = dict(here.rows())
    north = np.array([latitude[state] for state in states])
    on = pl.date_range(world.start_on, world.end_on, eager=True)
    year = 2 * np.pi * (on.dt.ordinal_day().to_numpy() - 200) / 365.25
    shared = _autocorrelated(rng, days, 0.7, 2.5) + WEATHER_PULL * _garden(world)
    local = rng.normal(0, 1.5, (len(states), days))
    mean = (32 - 0.45 * north)[:, None] + (0.25 * north)[:, None] * np.cos(year) + shared + local
    spread = rng.uniform(3, 8, mean.shape)
    rain = np.where(rng.random(mean.shape) < 0.3, rng.gamma(0.8, 8, mean.shape), 0.0)
    state = pl.Series(np.repeat(np.arange(len(states)), days))
    return pl.DataFrame(
        {
            "STATION_ID": ("W-" + states).gather(state),
            "WEATHER_DATE": on.gather(np.tile(np.arange(days), len(states))),
            "AREA_CODE": states.gather(state),
            "COUNTRY_CODE": "USA",
            "TEMPERATURE_MEAN": mean.ravel().round(1),
            "TEMPERATURE_MIN": (mean - spread).ravel().round(1),
            "TEMPERATURE_MAX": (mean + spread).ravel().round(1),
            "TEMPERATURE_UNIT": "C",
            "PRECIPITATION": rain.ravel().round(1),
            "PRECIPITATION_UNIT": "MM",
        }
    )


def _garden(world: World) -> np.ndarray:
    """How much better garden goods sell on a day than in the weeks round it, in standard deviations: Float64 [days]."""
    goods = np.flatnonzero(world.shelf.category == CATEGORIES.index("Garden"))
    heads = world.sales.receipts["day"].to_numpy()
    lines = world.sales.lines.filter(pl.col("product").is_in(goods), pl.col("quantity") > 0)
    day = heads[lines["receipt"].to_numpy()]
    level = np.log1p(np.bincount(day[(day >= 0) & (day < world.days)], minlength=world.days))
    window = np.ones(min(29, world.days))
    usual = np.convolve(level, window, "same") / np.convolve(np.ones(world.days), window, "same")
    rest = level - usual
    found: np.ndarray = rest / max(float(rest.std()), 1e-9)
    return found


def _autocorrelated(rng: np.random.Generator, count: int, keep: float, scale: float) -> np.ndarray:
    steps, found = rng.normal(0, scale * np.sqrt(1 - keep**2), count), np.zeros(count)
    for at in range(count):
        found[at] = steps[at] + (keep * found[at - 1] if at else 0.0)
    return found


def indicator_rows(world: World) -> pl.DataFrame:
    """ECONOMIC_INDICATORS: each month's value once it is released, and a revision a month later."""
    rng = world.streams.stream("market.indicators")
    first = pl.select(pl.lit(world.start_on).dt.month_start().dt.offset_by("-2mo")).item()
    months = pl.date_range(first, world.end_on, "1mo", eager=True)
    released = []
    for series, (name, unit, start, step, lag) in SERIES.items():
        value = start + np.cumsum(rng.normal(0.3 * step, step, len(months)))
        revised = value + rng.normal(0, step / 4, len(months))
        for figures, later in ((value, "0mo"), (revised, "1mo")):
            released.append(
                pl.DataFrame({"PERIOD": months, "VALUE": figures.round(2)}).with_columns(
                    SERIES_ID=pl.lit(series),
                    SERIES_NAME=pl.lit(name),
                    UNIT=pl.lit(unit),
                    FREQUENCY=pl.lit("MONTHLY"),
                    COUNTRY_CODE=pl.lit("USA"),
                    RELEASED_AT=pl.col("PERIOD")
                    .dt.offset_by("1mo")
                    .dt.offset_by(later)
                    .dt.offset_by(f"{lag}d")
                    .cast(pl.Datetime("us", "UTC"))
                    + pl.duration(hours=13),
                )
            )
    rows = pl.concat(released).filter(pl.col("RELEASED_AT").dt.date() <= world.end_on)
    return rows.sort("RELEASED_AT", "SERIES_ID", "PERIOD")


def _assortments(world: World) -> pl.DataFrame:
    """One row per competitor and product of theirs: competitor, number, product (ours, -1: none), name, brand, gtin,
    cents at their usual level."""
    rng, goods = world.streams.stream("market.assortments"), world.products
    codes, coded = barcodes(len(goods)), is_coded(world)
    watched = rng.permutation(len(goods))[:WATCHED]
    named = goods.select("PRODUCT_NAME", "BRAND", "PRICE")
    found = []
    for competitor, level in COMPETITORS.items():
        carried = watched[rng.random(len(watched)) < CARRIED_SHARE]
        told = rng.random(len(carried)) < 0.6  # their barcode is known
        for product, is_told in zip(carried.tolist(), told.tolist(), strict=True):
            name, brand, price = named.row(product)
            way = int(rng.integers(0, 3))
            text = (f"{brand} {name}", f"{name} by {brand}", f"{name.upper()} - {brand.upper()}")[way]
            spelt = (brand, brand.upper(), brand.replace(" ", "-"))[way]
            gtin = str(codes[product]) if is_told and coded[product] else None
            cents = int(float(price) * 100 * level * np.exp(rng.normal(0, 0.04)))
            found.append((competitor, product, text, spelt, gtin, cents))
        for noun in rng.choice(_OTHER_GOODS.split(","), OWN_GOODS).tolist():
            found.append((competitor, -1, f"{competitor} {noun}", competitor, None, int(rng.integers(300, 9000))))
    schema = ["competitor", "product", "name", "brand", "gtin", "cents"]
    rows = pl.DataFrame(found, schema=schema, orient="row")
    number = pl.format("{}-{}", pl.col("competitor").str.slice(0, 2).str.to_uppercase(), pl.int_range(pl.len()) + 100)
    return rows.with_columns(number=number)


def competitor_rows(world: World) -> pl.DataFrame:
    """COMPETITOR_PRICES: what a crawler sees every fortnight, and a portal that is often late and now and then
    wrong."""
    rng, goods = world.streams.stream("market.prices"), _assortments(world)
    looks = np.arange(0, world.days, LOOKED_DAYS)
    step = np.where(rng.random((len(goods), len(looks))) < 0.08, rng.normal(0, 0.1, (len(goods), len(looks))), 0.0)
    step[:, 0] = 0.0
    cents = np.round(goods["cents"].to_numpy()[:, None] * np.exp(np.cumsum(step, axis=1)))
    late = np.maximum(np.arange(len(looks)) - 4, 0)
    chance = rng.random(cents.shape)
    told = np.where(chance < STALE_SHARE, cents[:, late], cents)
    told = np.where(chance > 1 - WRONG_SHARE, np.round(told * rng.uniform(0.6, 1.5, cents.shape)), told)
    seen = {CRAWLER: (cents, np.full(cents.shape, True)), PORTAL: (told, rng.random(cents.shape) < PORTAL_SHARE)}
    hours = {CRAWLER: 2, PORTAL: 9}
    moment = pl.lit(world.start_on).cast(pl.Datetime("us", "UTC"))
    rows = []
    for source, (price, is_seen) in seen.items():
        item, at = np.nonzero(is_seen)
        rows.append(
            goods[item].select(
                COMPETITOR="competitor",
                COMPETITOR_PRODUCT_ID="number",
                DATA_SOURCE=pl.lit(source),
                OBSERVED_AT=moment + pl.duration(days=pl.lit(pl.Series(looks[at])), hours=hours[source]),
                PRODUCT_NAME="name",
                BRAND="brand",
                GTIN="gtin",
                PRICE=(pl.Series(price[item, at]) / 100).cast(pl.Decimal(10, 2)),
                CURRENCY_CODE=pl.lit("USD"),
                IS_AVAILABLE=pl.lit(True),
            )
        )
    return pl.concat(rows).sort("OBSERVED_AT", "COMPETITOR_PRODUCT_ID")


def market_truth(world: World) -> pl.DataFrame:
    """One row per product of a competitor: competitor, competitor_product_id, product_id (ours that it is; null:
    none)."""
    goods = _assortments(world)
    ours = pl.when(pl.col("product") >= 0).then(pl.col("product"))
    return goods.select(
        "competitor",
        competitor_product_id="number",
        product_id=pl.lit(world.products["PRODUCT_ID"]).gather(ours),
    )
