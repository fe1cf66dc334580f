"""How many more of our goods are sold after a competitor changes a price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.pipelines.inference.intervals import adjusted, t_interval
from customer360.pipelines.inference.verdicts import NO_EFFECT_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import EnrichmentRules, MarketRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table, schema

ALL = "(all)"
LEAST_BASELINE = 20  # units of the rest of the category, before and after together
STEPS = 50

Array = NDArray[np.float64]


class PriceReactions(Table, table="gold.price_reactions", partition_by=("as_of",), sort_by=("category",)):
    """One row per category and as_of date: how our units move after competitors' price changes.

    Units of a product in `reaction_days` after a change are compared with those before, against the rest of its
    category in the same days: of both together the share after is a logistic function of the change of the logarithm
    of the price (a Poisson model that is conditional on the sum). The coefficient is a cross-price elasticity: percent
    more units of ours for a percent on theirs. Errors are robust, by product. Changes that competitors make because of
    what we sell, or with what we do ourselves, are in it too: it is an association in time, no experiment.
    """

    category = String(primary_key=True, description=f"{ALL}: all products")
    as_of = Date(primary_key=True)
    event_count = Integer(description="Price changes whose days after had ended, of which none lies in another's days")
    product_count = Integer(description="Products of ours that these changes are of")
    units_before = Integer(description="Sold in the days before the changes")
    units_after = Integer(description="In the days after them")
    elasticity = Float(nullable=True, description="Percent more units of ours for a percent on theirs")
    elasticity_low = Float(nullable=True, description="95 % interval")
    elasticity_high = Float(nullable=True)
    p_value = Float(nullable=True, min=0, max=1, description="Chance of so much if there were none")
    q_value = Float(nullable=True, min=0, max=1, description="Adjusted for all categories (Benjamini-Hochberg)")
    status = OneOf("REACTION", NO_EFFECT_SHOWN, NOT_ENOUGH_EVIDENCE, description="REACTION: q_value at most the rule"
                   " file's false_discovery_rate")  # fmt: skip


@builds(
    PriceReactions,
    rules="enrichment",
    reads={
        "silver.competitor_prices": ("competitor", "competitor_product_id", "data_source", "on", "price", "previous_price"),  # noqa: E501
        "silver.competitor_products": ("competitor", "competitor_product_id", "product_id", "status"),
        "silver.transaction_items": ("occurred_on", "is_sale", "is_product", "quantity", "product_id"),
        "silver.product_categories": ("product_id", "category"),
    },
)  # fmt: skip
def price_reactions(
    silver_competitor_prices: pl.LazyFrame,
    silver_competitor_products: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_product_categories: pl.LazyFrame,
    gold_price_sources: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Changes that the most trusted source of each competitor saw."""
    rules = params.market
    groups = silver_product_categories.select("product_id", "category").filter(pl.col("category").is_not_null())
    matched = silver_competitor_products.filter(status="MATCHED").drop("status")
    priced = silver_competitor_prices.join(matched, on=["competitor", "competitor_product_id"])
    events = _events(priced, gold_price_sources, as_of, rules).join(groups, on="product_id")
    past = (pl.col("occurred_on") < as_of) & pl.col("product_id").is_not_null()
    sold = silver_transaction_items.filter(
        "is_sale", "is_product", pl.col("quantity") > 0, past
    ).group_by("product_id", on="occurred_on").agg(units=pl.col("quantity").sum())  # fmt: skip
    counted = _around(events.collect(), sold.join(groups, on="product_id").collect(), rules)
    return _estimated(counted, as_of, rules)


def _events(prices: pl.LazyFrame, sources: pl.LazyFrame, as_of: date, rules: MarketRules) -> pl.LazyFrame:
    """product_id, on, change (of the logarithm). A product's changes that lie in the days of an earlier one are left
    out; of several on one day the largest counts."""
    trusted = (
        prices.filter(pl.col("on") < as_of).select("competitor", "data_source").unique()
        .join(sources.select("data_source", "weight"), on="data_source", how="left")
        .sort("weight", "data_source", descending=[True, False], nulls_last=True)
        .unique("competitor", keep="first", maintain_order=True)
    )  # fmt: skip
    change = (pl.col("price").cast(pl.Float64) / pl.col("previous_price").cast(pl.Float64)).log()
    changes = (
        prices.join(trusted.select("competitor", "data_source"), on=["competitor", "data_source"])
        .filter(pl.col("previous_price") > 0)
        .select("product_id", "on", change=change)
        .filter(
            pl.col("change").abs() >= rules.change_from, pl.col("on") + timedelta(days=rules.reaction_days) <= as_of
        )
        .sort(pl.col("product_id"), pl.col("on"), pl.col("change").abs(), pl.col("change"), descending=[False, False, True, True])  # noqa: E501
        .unique(["product_id", "on"], keep="first", maintain_order=True)
        .collect()
    )  # fmt: skip
    kept: list[bool] = []
    last: dict[str, date] = {}
    for product, on in changes.select("product_id", "on").iter_rows():
        fits = product not in last or (on - last[product]).days >= 2 * rules.reaction_days
        kept.append(fits)
        if fits:
            last[product] = on
    return changes.filter(pl.Series(kept, dtype=pl.Boolean)).lazy()


def _around(events: pl.DataFrame, sold: pl.DataFrame, rules: MarketRules) -> pl.DataFrame:
    """Events with the units of the product, and of the rest of its category, before and after; those with nothing of
    either, or before the first sale of the data, tell nothing."""
    if sold.is_empty() or events.is_empty():
        return events.clear().with_columns(before=0, after=0, rest_before=0, rest_after=0)
    days = timedelta(days=rules.reaction_days)
    products = _running(sold, "product_id")
    groups = _running(sold, "category")
    rows = events.filter(pl.col("on") - days >= sold["on"].min())
    for name, totals, key in (("own", products, "product_id"), ("all", groups, "category")):
        for edge, shift in (("start", -days), ("middle", timedelta()), ("end", days)):
            rows = (
                rows.with_columns(at=pl.col("on") + shift - timedelta(days=1)).sort("at")
                .join_asof(totals, left_on="at", right_on="on", by=key, strategy="backward", check_sortedness=False)
                .rename({"total": f"{name}_{edge}"}).drop("on_right", strict=False)
                .with_columns(pl.col(f"{name}_{edge}").fill_null(0))
            )  # fmt: skip
    before, after = pl.col("own_middle") - pl.col("own_start"), pl.col("own_end") - pl.col("own_middle")
    rest = {
        "rest_before": pl.col("all_middle") - pl.col("all_start") - before,
        "rest_after": pl.col("all_end") - pl.col("all_middle") - after,
    }
    found = rows.select("product_id", "category", "on", "change", before=before, after=after, **rest)
    enough = (pl.col("rest_before") + pl.col("rest_after") >= LEAST_BASELINE) & (pl.min_horizontal(*rest) > 0)
    return found.filter(pl.col("before") + pl.col("after") > 0, enough).sort("product_id", "on")


def _running(sold: pl.DataFrame, key: str) -> pl.DataFrame:
    """Units of a product or category up to the end of each day that it was sold on."""
    daily = sold.group_by(key, "on").agg(pl.col("units").sum()).sort(key, "on")
    return daily.select(key, "on", total=pl.col("units").cum_sum().over(key)).sort("on")


@dataclass(frozen=True)
class _Fit:
    elasticity: float
    error: float
    products: int


def _fitted(events: pl.DataFrame) -> _Fit | None:
    """Logistic regression of the share after on a constant and the change, with the rest of the category as offset;
    None where it cannot be told."""
    after, total = (np.asarray(events[c], dtype=float) for c in ("after", "total"))
    offset = np.log(events["rest_after"].to_numpy() / events["rest_before"].to_numpy())
    design = np.column_stack([np.ones(events.height), events["change"].to_numpy()])
    beta = np.zeros(2)
    for _ in range(STEPS):
        share = 1 / (1 + np.exp(-np.clip(offset + design @ beta, -30, 30)))
        information = design.T @ ((total * share * (1 - share))[:, None] * design)
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (after - total * share))
        beta += np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-9:
            break
    else:
        return None
    scores = pl.DataFrame(design * (after - total * share)[:, None], schema=["one", "change"])
    sums = scores.with_columns(events["product_id"]).group_by("product_id").agg(pl.col("one", "change").sum())
    clusters = sums.select("one", "change").to_numpy()
    inverse, count = np.linalg.inv(information), len(clusters)
    spread = inverse @ (clusters.T @ clusters) @ inverse * count / (count - 1)
    return _Fit(float(beta[1]), float(np.sqrt(spread[1, 1])), count)


def _estimated(counted: pl.DataFrame, as_of: date, rules: MarketRules) -> pl.LazyFrame:
    every = counted.with_columns(total=pl.col("before") + pl.col("after"))
    parts = {name: rows for (name,), rows in every.group_by("category", maintain_order=True)}
    found, columns = [], [c for c in PriceReactions.columns() if c not in ("as_of", "q_value", "status")]
    for name, rows in {**parts, ALL: every}.items():
        products = rows["product_id"].n_unique()
        enough = rows.height >= rules.least_events and products >= rules.least_products
        fit = _fitted(rows) if enough else None
        said: tuple[float | None, ...] = (None,) * 4
        if fit is not None:
            low, high, p = t_interval(np.array([fit.elasticity]), np.array([fit.error]), fit.products - 1)
            said = fit.elasticity, float(low[0]), float(high[0]), float(p[0])
        found.append((name, rows.height, products, rows["before"].sum(), rows["after"].sum(), *said))
    types = schema(PriceReactions)
    table = pl.DataFrame(found, schema={c: types[c] for c in columns}, orient="row")
    known = table["p_value"].is_not_null() & (table["category"] != ALL)
    q_values = adjusted(table.filter(known)["p_value"].to_numpy(), max(int(known.sum()), 1))
    q = table.filter(known).select("category", q_value=pl.Series(q_values, dtype=pl.Float64))
    joined = table.join(q, on="category", how="left").with_columns(q_value=pl.coalesce("q_value", "p_value"))
    is_found = pl.col("q_value") <= rules.false_discovery_rate
    status = (
        pl.when(pl.col("p_value").is_null()).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(is_found).then(pl.lit("REACTION")).otherwise(pl.lit(NO_EFFECT_SHOWN))
    )  # fmt: skip
    return joined.lazy().with_columns(as_of=pl.lit(as_of), status=status)
