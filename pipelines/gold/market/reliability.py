"""How far the sources of competitors' prices can be trusted: what another source saw at nearly the same time."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.inference.verdicts import MEASURED, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import EnrichmentRules, MarketRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table

KEY = ["competitor", "competitor_product_id", "currency"]
Z = 1.96  # of 95 % intervals
COUNTED = ("confirmed", "stale", "contradicted", "unchecked")


class PriceSources(Table, table="gold.price_sources", partition_by=("as_of",), sort_by=("data_source",)):
    """One row per source of competitors' prices and as_of date: how often others saw the same.

    A price is confirmed where another source sees the same within `compare_days`, stale where it is what the other saw
    before and this source then sees the other's, and contradicted where it is neither. Where the other is the late one,
    or alone with a price that it takes back, it says nothing. A price counts once, however many others looked: as most
    of them say, as confirmed where as many confirm it as not.
    """

    data_source = String(primary_key=True, description="As delivered")
    as_of = Date(primary_key=True)
    price_count = Integer(description="Prices seen before as_of")
    confirmed_count = Integer(description="Another source saw the same")
    stale_count = Integer(description="It was what the other source had seen before")
    contradicted_count = Integer(description="Another source saw another price")
    unchecked_count = Integer(description="No other source looked, or the other was stale")
    reliability = Float(nullable=True, description="confirmed / (confirmed + stale + contradicted)")
    reliability_low = Float(nullable=True, description="95 % interval (Wilson)")
    reliability_high = Float(nullable=True)
    weight = Float(description="Order of trust: reliability_low, 0 where nothing was checked")
    last_seen_on = Date(description="Day of the latest price before as_of")
    is_fresh = Boolean(description="Seen within fresh_days before as_of")
    status = OneOf(MEASURED, NOT_ENOUGH_EVIDENCE, description="At least least_checks checked")


@builds(PriceSources, rules="enrichment")
def price_sources(silver_competitor_prices: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Prices are compared in their own currency."""
    rules = params.market
    seen = silver_competitor_prices.filter(pl.col("on") < as_of).select(
        "competitor", "competitor_product_id", "data_source", "on", pl.col("currency").fill_null(""),
        price=pl.col("price").cast(pl.Float64),
    )  # fmt: skip
    said = _with_former(seen.unique([*KEY, "data_source", "on"], keep="last", maintain_order=True)).collect()
    names = said["data_source"].unique().sort()
    judged = [_judged(said, one, other, rules) for one in names for other in names if one != other]
    series = [*KEY, "data_source", "on"]
    own = said.lazy().group_by("data_source").agg(price_count=pl.len().cast(pl.Int64), last_seen_on=pl.col("on").max())
    none = said.lazy().select(series).clear().with_columns(pl.lit(None, pl.Boolean).alias(c) for c in COUNTED[:3])
    votes = pl.concat([none, *judged]).group_by(series).agg(pl.col(COUNTED[:3]).sum())
    yes, late, no = (pl.col(c) for c in COUNTED[:3])
    is_confirmed, is_late = (yes > 0) & (yes >= late + no), late >= no
    known = yes + late + no > 0
    counted = votes.group_by("data_source").agg(
        confirmed=is_confirmed.sum().cast(pl.Int64),
        stale=(known & ~is_confirmed & is_late).sum().cast(pl.Int64),
        contradicted=(known & ~is_confirmed & ~is_late).sum().cast(pl.Int64),
    )
    return _rated(own.join(counted, on="data_source", how="left"), as_of, rules)


def _with_former(seen: pl.LazyFrame) -> pl.LazyFrame:
    """With ``former`` and ``later``: the prices that the same source saw before the last change and after the next."""
    series = [*KEY, "data_source"]
    ordered = seen.sort(*series, "on")
    before, after = (pl.col("price").shift(n).over(series) for n in (1, -1))
    former = pl.when(pl.col("price") != before).then(before)
    later = pl.when(pl.col("price") != after).then(after)
    return ordered.with_columns(former=former, later=later).with_columns(
        pl.col("former").forward_fill().over(series), pl.col("later").backward_fill().over(series)
    )


def _judged(said: pl.DataFrame, one: str, other: str, rules: MarketRules) -> pl.LazyFrame:
    """Prices of a source, and whether the other source confirms it, finds it stale, contradicts it; the other's look
    nearest in time counts. What either saw before and after tells who of two that disagree was late, or alone."""
    mine = said.filter(data_source=one).sort("on")
    theirs = said.filter(data_source=other).sort("on").select(
        *KEY, "on", seen="price", seen_former="former", seen_later="later"
    )  # fmt: skip
    both = mine.join_asof(
        theirs, on="on", by=KEY, strategy="nearest", tolerance=f"{rules.compare_days}d", check_sortedness=False
    )
    agrees = _same("price", "seen", rules)
    stale = _same("price", "seen_former", rules) & _same("later", "seen", rules)  # this one follows
    other_stale = _same("seen", "former", rules) & _same("seen_later", "price", rules)
    other_alone = _same("seen_former", "price", rules) & _same("seen_later", "price", rules)  # it comes back
    says_nothing = ~agrees & ~stale & (other_stale | other_alone)
    known = pl.col("seen").is_not_null()
    return both.lazy().select(
        *KEY,
        "data_source",
        "on",
        confirmed=known & agrees,
        stale=known & ~agrees & stale,
        contradicted=known & ~agrees & ~stale & ~says_nothing,
    )


def _same(one: str, other: str, rules: MarketRules) -> pl.Expr:
    return ((pl.col(one) / pl.col(other)).log().abs() <= rules.price_tolerance).fill_null(False)


def _rated(counted: pl.LazyFrame, as_of: date, rules: MarketRules) -> pl.LazyFrame:
    checked = pl.sum_horizontal(COUNTED[:3])
    share = pl.col("confirmed") / checked
    middle = (share + Z**2 / (2 * checked)) / (1 + Z**2 / checked)
    half = Z * (share * (1 - share) / checked + Z**2 / (4 * checked**2)).sqrt() / (1 + Z**2 / checked)
    enough = checked >= rules.least_checks
    return (
        counted.with_columns(pl.col(COUNTED[:3]).fill_null(0))
        .with_columns(
            as_of=pl.lit(as_of),
            unchecked_count=(pl.col("price_count") - checked).clip(0),
            reliability=pl.when(enough).then(share),
            reliability_low=pl.when(enough).then((middle - half).clip(0, 1)),
            reliability_high=pl.when(enough).then((middle + half).clip(0, 1)),
            weight=pl.when(checked > 0).then((middle - half).clip(0, 1)).otherwise(0.0),
            is_fresh=(pl.lit(as_of) - pl.col("last_seen_on")).dt.total_days() <= rules.fresh_days,
            status=pl.when(enough).then(pl.lit(MEASURED)).otherwise(pl.lit(NOT_ENOUGH_EVIDENCE)),
        )
        .rename({c: f"{c}_count" for c in COUNTED[:3]})
        .select(list(PriceSources.columns()))
    )
