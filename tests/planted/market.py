"""Truths about the market: matches, sources of prices, indices, reactions, drivers of demand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.demand_drivers import demand_drivers
from customer360.pipelines.gold.market.comparisons import price_index
from customer360.pipelines.gold.market.reactions import price_reactions
from customer360.pipelines.gold.market.reliability import price_sources
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.market.matching import competitor_products

AS_OF = date(2026, 6, 1)
RULES = EnrichmentRules()
GOODS = 150
CODES = pl.LazyFrame(schema={"product_id": pl.String, "gtin": pl.String})


def _word(rng: np.random.Generator) -> str:
    return "".join(chr(97 + int(c)) for c in rng.integers(0, 26, 6))


def _matching(seed: int, known: bool) -> tuple[pl.DataFrame, dict[str, str]]:
    """150 products of ours, half of them with a barcode; 120 of a competitor that are ours under another text (where
    ``known``), and 120 that are nobody's but share words and brands."""
    rng = np.random.default_rng(seed)
    nouns, brands = [_word(rng) for _ in range(30)], [_word(rng).capitalize() for _ in range(10)]
    ours = [(str(rng.choice(brands)), [str(w) for w in rng.choice(nouns, 3, replace=False)]) for _ in range(GOODS)]
    codes = [f"{10**12 + 97 * n:014d}" for n in range(GOODS)]
    theirs, truth = [], {}
    for n in range(240):
        if known and n < 120:
            brand, words = ours[n]
            said = [*words, _word(rng)] if rng.random() < 0.3 else words
            code = codes[n] if n % 2 else None
            truth[f"X{n}"] = f"G{n}"
        else:
            brand, said, code = str(rng.choice(brands)), [*rng.choice(nouns, 2, replace=False), _word(rng)], None
        text = " ".join(rng.permutation([brand.upper(), *said]))
        theirs.append((f"X{n}", text, brand, code))
    looks = pl.DataFrame(theirs, schema=["competitor_product_id", "product_name", "brand", "gtin"], orient="row")
    seen_at = datetime(2026, 5, 1, tzinfo=UTC)
    looks = looks.with_columns(
        competitor=pl.lit("Rival"),
        data_source=pl.lit("s"),
        observed_at=seen_at,
        gtin=pl.col("gtin").cast(pl.String),
        color=pl.lit(None, pl.String),
    )
    ids = [f"G{n}" for n in range(GOODS)]
    goods = pl.DataFrame({"product_id": ids, "product_name": [" ".join(w) for _, w in ours], "is_product": True})
    said = pl.DataFrame({"product_id": ids, "brand": [b for b, _ in ours], "gtin": codes}).with_columns(
        pl.lit(None, kind).alias(c)
        for c, kind in (
            ("size_value", pl.Float64),
            ("pack_count", pl.Int64),
            ("size_unit", pl.String),
            ("color", pl.String),
        )
    )
    return competitor_products(looks.lazy(), goods.lazy(), said.lazy(), CODES, RULES).collect(), truth


def _match_precision(seed: int) -> planted.Found:
    """What the barcodes say of matches by text holds for those without a barcode."""
    table, truth = _matching(seed, known=True)
    by_text = table.filter(match_method="TEXT")
    right = [
        truth.get(number) == ours for number, ours in by_text.select("competitor_product_id", "product_id").iter_rows()
    ]
    low, high, mean = table.select("precision_low", "precision_high", "precision").row(0)
    return planted.Found(mean, low, high, planted=float(np.mean(right)))


def _no_matches(seed: int) -> tuple[int, int]:
    table, _ = _matching(seed, known=False)
    return int((table["status"] == "MATCHED").sum()), table.height


def _looks(seed: int) -> pl.DataFrame:
    """Forty products whose price changes now and then; one source is wrong for a tenth of
    its looks, two others are right."""
    rng = np.random.default_rng(seed)
    step = np.where(rng.random((40, 30)) < 0.3, rng.normal(0, 0.2, (40, 30)), 0.0)
    price = np.round(20 * np.exp(np.cumsum(step, axis=1)), 2)
    chance = rng.random((40, 30))
    told = np.where(chance < 0.1, np.round(price * rng.uniform(1.1, 1.5, price.shape), 2), price)
    rows = []
    for source, seen in (("right", price), ("right too", price), ("wrong", told)):
        item, week = np.indices(seen.shape)
        rows.append(
            pl.DataFrame(
                {"competitor": "Rival", "competitor_product_id": [f"X{n}" for n in item.ravel()], "data_source": source,
                 "on": [AS_OF - timedelta(days=7 * int(30 - w)) for w in week.ravel()], "currency": "EUR",
                 "price": seen.ravel()}
            )
        )  # fmt: skip
    return pl.concat(rows)


def _confirmed(seed: int) -> planted.Found:
    """Nine looks of ten of the second source are what the others saw."""
    row = price_sources(_looks(seed).lazy(), AS_OF, RULES).collect().filter(data_source="wrong").row(0, named=True)
    return planted.Found(row["reliability"], row["reliability_low"], row["reliability_high"])


def _ratios(seed: int, level: float) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    log = np.log(level) + rng.normal(0, 0.1, (25, 3))
    item, rival = np.indices(log.shape)
    return pl.DataFrame(
        {"product_id": [f"G{n}" for n in item.ravel()], "competitor": [f"R{n}" for n in rival.ravel()],
         "category": "Tea", "price_ratio": np.exp(log).ravel()}
    )  # fmt: skip


def _level(seed: int) -> planted.Found:
    table = price_index(_ratios(seed, 1.06).lazy(), AS_OF, RULES).collect()
    row = table.filter(category="Tea", competitor="R0").row(0, named=True)
    return planted.Found(row["price_index"], row["price_index_low"], row["price_index_high"])


def _same_level(seed: int) -> tuple[int, int]:
    table = price_index(_ratios(seed, 1.0).lazy(), AS_OF, RULES).collect().filter(category="Tea", competitor="R0")
    return int(table["status"].is_in(["CHEAPER", "DEARER"]).sum()), table.height


def _reactions(seed: int, elasticity: float) -> pl.DataFrame:
    """Eighty products, of which forty meet one change of a competitor's price; demand goes up and down with chance, for
    the category and for the product."""
    rng = np.random.default_rng(seed)
    start, days = AS_OF - timedelta(days=200), 200
    day, change = rng.integers(40, 160, 40), rng.choice([-0.25, -0.15, -0.1, 0.1, 0.15, 0.25], 40)
    season = np.exp(0.3 * np.sin(np.arange(days) / 20))
    rate = np.outer(rng.lognormal(-1.0, 0.5, 80), season)
    rate[:40] *= np.where(np.arange(days) >= day[:, None], np.exp(elasticity * change)[:, None], 1.0)
    drift = np.repeat(rng.gamma(10, 0.1, (80, 8)), 25, axis=1)
    units = rng.poisson(rate * drift)
    item, at = np.nonzero(units)
    lines = pl.DataFrame(
        {"product_id": [f"G{n}" for n in item], "occurred_on": [start + timedelta(days=int(d)) for d in at],
         "quantity": units[item, at], "is_sale": True, "is_product": True}
    )  # fmt: skip
    prices = pl.DataFrame(
        {"competitor": "Rival", "competitor_product_id": [f"X{n}" for n in range(40)], "data_source": "s",
         "on": [start + timedelta(days=int(d)) for d in day], "price": 20 * np.exp(change), "previous_price": 20.0}
    )  # fmt: skip
    matched = pl.DataFrame(
        {"competitor": "Rival", "competitor_product_id": [f"X{n}" for n in range(40)],
         "product_id": [f"G{n}" for n in range(40)], "status": "MATCHED"}
    )  # fmt: skip
    kinds = pl.DataFrame({"product_id": [f"G{n}" for n in range(80)], "category": "Tea"})
    sources = pl.LazyFrame({"data_source": ["s"], "weight": [0.9]})
    return price_reactions(prices.lazy(), matched.lazy(), lines.lazy(), kinds.lazy(), sources, AS_OF, RULES).collect()


def _reaction(seed: int) -> planted.Found:
    row = _reactions(seed, 1.2).filter(category="Tea").row(0, named=True)
    return planted.Found(row["elasticity"], row["elasticity_low"], row["elasticity_high"])


def _no_reaction(seed: int) -> tuple[int, int]:
    table = _reactions(seed, 0.0).filter(category="Tea")
    return int((table["status"] == "REACTION").sum()), table.height


WARM, DEAR, REDUCED, MOOD = 0.03, -1.5, 0.8, 0.02


def _drivers(seed: int, pull: float) -> pl.DataFrame:
    """540 days of one category whose units move with temperature, price, discounts and a released series, beside week,
    season and a demand that stays up or down for days."""
    rng = np.random.default_rng(seed)
    count = 540
    on = [AS_OF - timedelta(days=count - n) for n in range(count)]
    noise = np.zeros((2, count))
    for n in range(1, count):
        noise[:, n] = 0.6 * noise[:, n - 1] + rng.normal(0, 1, 2)
    season = np.cos(2 * np.pi * np.arange(count) / 365.25)
    heat = 12 + 9 * season + 2.5 * noise[0]
    level = np.where(np.arange(count) // 60 % 2, 0.1, -0.1) + rng.normal(0, 0.03, count)
    promo = np.where(rng.random(count // 20 + 1).repeat(20)[:count] < 0.4, 0.5, 0.05)
    month = np.arange(count) // 30
    mood = np.cumsum(rng.normal(0, 2, month.max() + 1))
    known = mood[month]
    week = np.array([0.1, 0, 0, 0, 0.1, 0.4, 0.2])[np.arange(count) % 7]
    effect = WARM * heat + DEAR * level + REDUCED * promo + MOOD * known
    units = rng.poisson(np.exp(3.2 + pull * effect + 0.3 * season + week + 0.1 * noise[1] - 0.4 * pull))
    many = np.maximum(units, 0)
    reduced = np.round(many * promo)
    at = np.repeat(np.arange(count), many)
    order = np.arange(len(at)) - np.repeat(np.cumsum(many) - many, many)
    lines = pl.DataFrame(
        {"occurred_on": pl.Series(on).gather(at), "is_sale": True, "is_product": True, "quantity": 1,
         "unit_price": np.exp(2 + level[at]), "product_id": "G", "discount_amount": (order < reduced[at]) * 1.0,
         "currency": "EUR"}
    )  # fmt: skip
    weather = pl.LazyFrame(
        {"station_id": "W", "on": on, "area_code": "A", "country_code": "USA", "temperature_mean": heat,
         "precipitation_mm": rng.gamma(0.5, 6, count)}
    )  # fmt: skip
    released = [datetime.combine(on[30 * m], datetime.min.time(), UTC) - timedelta(days=1) for m in range(len(mood))]
    economy = pl.LazyFrame(
        {"series_id": "MOOD", "period": [r.date() for r in released], "released_at": released, "value": mood,
         "unit": "index"}
    )  # fmt: skip
    kinds = pl.LazyFrame({"product_id": ["G"], "category": ["Tea"]})
    stores = pl.LazyFrame({"store_id": ["S"], "state_code": ["A"], "country_code": ["USA"]})
    return demand_drivers(lines.lazy(), kinds, stores, weather, economy, AS_OF, RULES).collect()


def _driver(name: str) -> Callable[[int], planted.Found]:
    def find(seed: int) -> planted.Found:
        row = _drivers(seed, 1.0).filter(driver=name).row(0, named=True)
        return planted.Found(row["coefficient"], row["coefficient_low"], row["coefficient_high"])

    return find


def _no_drivers(seed: int) -> tuple[int, int]:
    table = _drivers(seed, 0.0)
    return int((table["status"] == "EFFECT").any()), 1


TRUTHS = [
    planted.Truth("silver.competitor_products", "precision of matches by text", 0.98, _match_precision, _no_matches,
                  confidence=0.9),
    planted.Truth("gold.price_sources", "share of a source's prices that another confirms", 0.9, _confirmed,
                  confidence=0.95),
    planted.Truth("gold.price_index", "our price level against a competitor's", 106.0, _level, _same_level,
                  confidence=0.95),
    planted.Truth("gold.price_reactions", "percent more units for a percent on a competitor's price", 1.2, _reaction,
                  _no_reaction, confidence=0.95),
    planted.Truth("gold.demand_drivers", "effect of a degree", WARM, _driver("TEMPERATURE"), _no_drivers,
                  confidence=0.95),
    planted.Truth("gold.demand_drivers", "effect of the price level", DEAR, _driver("PRICE"), confidence=0.95),
    planted.Truth("gold.demand_drivers", "effect of promotions", REDUCED, _driver("PROMOTION"), confidence=0.95),
    planted.Truth("gold.demand_drivers", "effect of an economic series", MOOD, _driver("MOOD"), confidence=0.95),
]  # fmt: skip
