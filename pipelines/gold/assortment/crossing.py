"""Which category to offer to whom: what buyers of a product or category come to buy that others do not.

People who had not bought a category yet are followed: of those who had bought the first product or category, how many
buy it within the last `outcome_days` of the window, against those who had not. Who buys much comes to buy everything,
so people are compared with people who bought as many lines in those days: the ratio of the risks is that of Mantel and
Haenszel over such strata, its interval that of Greenland and Robins (1985).
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr

from customer360.pipelines.inference.intervals import Z, adjusted
from customer360.pipelines.inference.verdicts import NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import AssortmentRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

MOST_LINES = 12  # strata by lines: 1, 2 … and as many or more
LEAST_OUTCOMES = 10  # people who came to buy it, of both kinds together

BLOCK = 5_000  # products or categories looked at together: memory is that of so many times all categories

Array = NDArray[np.float64]


class CrossSell(Table, table="gold.cross_sell", partition_by=("as_of",), sort_by=("basis_kind", "basis", "rank")):
    """One row per category or product bought, category to offer and as_of date: whether the one leads to the other.

    A product has rows where there is enough evidence alone.
    """

    basis_kind = OneOf("CATEGORY", "PRODUCT", primary_key=True, description="What the basis is")
    basis = String(primary_key=True, description="Category or product_id that people had bought")
    category = String(primary_key=True, description="That they had not bought, and may be offered")
    as_of = Date(primary_key=True)
    rank = Integer(min=1, description="Of the basis: opportunities first, by lift_low")
    buyer_count = Integer(description="People with the basis and without the category before the last days")
    bought_count = Integer(description="Of these, who bought the category in the last days")
    other_count = Integer(description="People without both")
    other_bought_count = Integer(description="Of these, who bought the category in the last days")
    support = Float(nullable=True, description="bought_count / buyer_count")
    lift = Float(nullable=True, description="Times as likely, among people who buy as much")
    lift_low = Float(nullable=True, description="95 % interval")
    lift_high = Float(nullable=True)
    q_value = Float(nullable=True, min=0, max=1, description="Adjusted for all pairs of the kind")
    candidate_count = Integer(description="People with the basis and without the category in the whole window")
    status = OneOf("OPPORTUNITY", "UNLIKELY", NO_DIFFERENCE_SHOWN, NOT_ENOUGH_EVIDENCE, description="By q_value;"
                   " OPPORTUNITY: more likely, UNLIKELY: less")  # fmt: skip


@builds(
    CrossSell,
    rules="enrichment",
    reads={"silver.transaction_items": ("person_id", "occurred_on", "is_sale", "is_product", "quantity", "product_id"), "silver.product_categories": ("product_id", "category")},  # noqa: E501
)  # fmt: skip
def cross_sell(
    silver_transaction_items: pl.LazyFrame,
    silver_product_categories: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Known persons who bought goods both before and in the last days; categories are those of
    silver.product_categories."""
    rules = params.assortment
    window = pl.col("occurred_on").is_between(as_of - timedelta(days=rules.window_days), as_of, closed="left")
    named = silver_product_categories.select("product_id", "category").filter(pl.col("category").is_not_null())
    sold = silver_transaction_items.filter(
        window, "is_sale", "is_product", pl.col("quantity") > 0, pl.col("person_id").is_not_null()
    ).select("person_id", "product_id", "occurred_on")
    lines = sold.join(named, on="product_id").select(
        "person_id", "category", "product_id", late=pl.col("occurred_on") >= as_of - timedelta(days=rules.outcome_days)
    ).collect()  # fmt: skip
    groups = lines["category"].unique().sort()
    kinds = {"CATEGORY": ("category", groups), "PRODUCT": ("product_id", lines["product_id"].unique().sort())}
    tables = [
        _tested(lines, basis, names, groups, rules).with_columns(basis_kind=pl.lit(kind))
        for kind, (basis, names) in kinds.items()
    ]
    rows = pl.concat(tables).lazy().filter(
        (pl.col("basis_kind") == "CATEGORY") | (pl.col("status") != NOT_ENOUGH_EVIDENCE)
    )  # fmt: skip
    order = ["basis_kind", "basis", "place", "lift_low", "category"]
    return (
        rows.with_columns(as_of=pl.lit(as_of), place=pl.col("status") == "OPPORTUNITY")
        .sort(order, descending=[False, False, True, True, False], nulls_last=True)
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("basis_kind", "basis"))
        .drop("place")
    )


def _tested(
    lines: pl.DataFrame, basis: str, names: pl.Series, groups: pl.Series, rules: AssortmentRules
) -> pl.DataFrame:
    """One row per basis and category, a category with itself left out."""
    people = lines.filter("late")["person_id"].unique().sort()
    early = lines.filter(~pl.col("late")).join(people.to_frame(), on="person_id", how="semi")
    late = lines.filter("late")
    had = _held(early, "person_id", people, basis, names)
    owned, bought = (_held(part, "person_id", people, "category", groups) for part in (early, late))
    size = late.group_by("person_id").len().sort("person_id")["len"].to_numpy()
    stratum = np.minimum(size, MOST_LINES)
    was_there = owned.sum(axis=1) > 0
    strata = [np.flatnonzero((stratum == value) & was_there) for value in np.unique(stratum[was_there])]
    every = lines["person_id"].unique().sort()
    ever = _held(lines, "person_id", every, "category", groups)
    holds = _held(lines, "person_id", every, basis, names).tocsc()
    found = []
    for at in range(0, max(len(names), 1), BLOCK):
        some = names.slice(at, BLOCK)
        block, sums = had[:, at : at + BLOCK], np.zeros((7, len(some), len(groups)))
        for chosen in strata:
            sums += _stratum(block[chosen], 1 - owned[chosen].toarray(), bought[chosen].toarray())
        held = holds[:, at : at + BLOCK]
        free = held.sum(axis=0)[:, None] - (held.T @ ever).toarray()
        rows = _ratios(sums, rules).with_columns(
            basis=some.gather(np.repeat(np.arange(len(some)), len(groups))),
            category=groups.gather(np.tile(np.arange(len(groups)), len(some))),
            candidate_count=pl.Series(np.asarray(free).ravel()).cast(pl.Int64),
        )
        found.append(rows if basis == "category" else rows.filter(pl.col("p_value").is_not_null()))
    table = pl.concat(found)
    own = dict(lines.select(basis, "category").unique(basis, keep="first").rows()) if basis != "category" else {}
    of = pl.col("basis").replace_strict(own, default=None, return_dtype=pl.String) if own else pl.col("basis")
    return _stated(table.filter(pl.col("category") != of), rules)


def _held(lines: pl.DataFrame, row: str, rows: pl.Series, column: str, columns: pl.Series) -> csr_array:
    """1 where a person of ``rows`` has a line of a thing of ``columns``: Float64 [rows, columns]."""
    pairs = lines.select(row, column).unique()
    place = [
        pairs[c].replace_strict(names, pl.arange(len(names), eager=True), return_dtype=pl.Int64).to_numpy()
        for c, names in ((row, rows), (column, columns))
    ]
    return csr_array((np.ones(pairs.height), place), shape=(len(rows), len(columns)))


def _stratum(had: csr_array, free: Array, bought: Array) -> Array:
    """What one stratum adds: buyers, those of them who bought, others, those of them, and the terms of the ratio's
    numerator, denominator and variance. People who owned the category count in none."""
    outcome = free * bought
    a, n1 = had.T @ outcome, had.T @ free
    m, n = outcome.sum(axis=0)[None, :], free.sum(axis=0)[None, :]
    b, n0 = m - a, n - n1
    total = np.maximum(n, 1.0)
    variance = (m * n1 * n0 - a * b * n) / total**2
    return np.stack([n1, a, n0, b, a * n0 / total, b * n1 / total, variance])


def _ratios(sums: Array, rules: AssortmentRules) -> pl.DataFrame:
    n1, a, n0, b, r, s, v = sums.reshape(7, -1)
    enough = (n1 >= rules.least_buyers) & (n0 >= rules.least_buyers) & (a + b >= LEAST_OUTCOMES) & (r > 0) & (s > 0)
    r, s = np.where(enough, r, 1.0), np.where(enough, s, 1.0)
    log, error = np.log(r / s), np.sqrt(np.maximum(v, 0) / (r * s))
    error = np.where(enough, error, 1.0)
    figures = {
        "lift": np.exp(log), "lift_low": np.exp(log - Z * error), "lift_high": np.exp(log + Z * error),
        "p_value": 2 * ndtr(-np.abs(log) / np.maximum(error, np.finfo(float).tiny)),
    }  # fmt: skip
    counts = {"buyer_count": n1, "bought_count": a, "other_count": n0, "other_bought_count": b}
    table = pl.DataFrame({c: pl.Series(v).round().cast(pl.Int64) for c, v in counts.items()} | figures)
    known = pl.Series(enough)
    return table.with_columns(
        support=pl.when(pl.col("buyer_count") > 0).then(pl.col("bought_count") / pl.col("buyer_count")),
        **{c: pl.when(known).then(c) for c in figures},
    )


def _stated(table: pl.DataFrame, rules: AssortmentRules) -> pl.DataFrame:
    known = table["p_value"].is_not_null()
    q = np.full(table.height, np.nan)
    q[known.to_numpy()] = adjusted(table.filter(known)["p_value"].to_numpy(), max(int(known.sum()), 1))
    is_found = pl.col("q_value") <= rules.false_discovery_rate
    status = (
        pl.when(pl.col("q_value").is_null()).then(pl.lit(NOT_ENOUGH_EVIDENCE))
        .when(is_found & (pl.col("lift") > 1)).then(pl.lit("OPPORTUNITY")).when(is_found).then(pl.lit("UNLIKELY"))
        .otherwise(pl.lit(NO_DIFFERENCE_SHOWN))
    )  # fmt: skip
    return table.with_columns(q_value=pl.Series(q).fill_nan(None)).with_columns(status=status).drop("p_value")
