"""Which products replace each other, and which belong together.

Shoppers who buy one product of a category at a time and another the next time switch. Popular products are switched to
more often, so pairs are compared with quasi-independence: in a table of switches from a to b without its diagonal, each
cell is a product of what leaves a and what goes to b (Goodman, 1968; the brand-switching tables of marketing). People
of like taste switch between what they like, too; a substitute is therefore not bought together with the other.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import gammainc

from customer360.pipelines.inference.intervals import adjusted, garwood
from customer360.pipelines.rules import AssortmentRules, EnrichmentRules
from customer360.pipelines.texts.products import plain
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

ROUNDS = 200  # of the iteration that fits quasi-independence; a few dozen suffice

Array = NDArray[np.float64]


class ProductRelations(
    Table, table="gold.product_relations", partition_by=("as_of",), sort_by=("product_id", "relation", "rank")
):
    """One row per product, other product and as_of date: substitute or complement, as far as that is significant.

    SUBSTITUTE: more people went from one to the other than the popularity of both explains, and they are not bought
    together more than chance explains. COMPLEMENT: the other way round, of gold.product_affinity. UNCLEAR: both. Pairs
    without a row: nothing is known.
    """

    product_id = String(primary_key=True)
    other_product_id = String(primary_key=True, description="The other of the pair")
    as_of = Date(primary_key=True)
    relation = OneOf(
        "SUBSTITUTE", "COMPLEMENT", "UNCLEAR", description="By whether people switch between them, or buy both"
    )
    rank = Integer(min=1, description="Within the relation; 1: furthest above chance")
    switch_count = Integer(nullable=True, description="People who went from one to the other, either way; null: fewer"
                           " than least_switches, or the two share no category")  # fmt: skip
    expected_switch_count = Float(nullable=True, description="By the popularity of both")
    switch_lift = Float(nullable=True, description="switch_count / expected_switch_count")
    switch_lift_low = Float(nullable=True, description="95 % interval of the count (Garwood), the expectation given")
    switch_lift_high = Float(nullable=True)
    switch_q_value = Float(nullable=True, description="Adjusted for all pairs that could have been switched between")
    both_count = Integer(nullable=True, description="Baskets with both, where significant")
    basket_q_value = Float(nullable=True, description="Of being bought together, as gold.product_affinity has it")


@builds(
    ProductRelations,
    rules="enrichment",
    reads={
        "silver.transaction_items": ("transaction_id", "source_system", "subject_id", "person_id", "occurred_at", "occurred_on", "is_sale", "is_product", "quantity", "product_id"),  # noqa: E501
        "silver.product_attributes": ("product_id", "category_levels"),
        "silver.product_categories": ("product_id", "category"),
        "gold.product_affinity": ("product_id", "other_product_id", "both_count", "expected_count", "q_value", "is_significant"),  # noqa: E501
    },
)  # fmt: skip
def product_relations(
    silver_transaction_items: pl.LazyFrame,
    silver_product_attributes: pl.LazyFrame,
    silver_product_categories: pl.LazyFrame,
    gold_product_affinity: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Switches of known persons in completed sales of the window before ``as_of``."""
    rules = params.assortment
    window = pl.col("occurred_on").is_between(as_of - timedelta(days=rules.window_days), as_of, closed="left")
    lines = silver_transaction_items.filter(
        window, "is_sale", "is_product", pl.col("quantity") > 0, pl.col("person_id").is_not_null()
    ).join(_shelves(silver_product_attributes, silver_product_categories), on="product_id")
    switched = _tested(_switches(lines).collect(), rules)
    found = switched.filter(pl.col("switch_q_value") <= rules.false_discovery_rate)
    turned = found.select(
        product_id="other_product_id", other_product_id="product_id", **{c: pl.col(c) for c in found.columns[2:]}
    )
    key = ["product_id", "other_product_id"]
    together = gold_product_affinity.filter("is_significant").select(
        *key, "both_count", basket_q_value="q_value", above=pl.col("both_count") - pl.col("expected_count")
    )
    both = pl.concat([found, turned.select(found.columns)]).lazy().join(together, on=key, how="full", coalesce=True)
    is_switched, is_together = pl.col("switch_count").is_not_null(), pl.col("both_count").is_not_null()
    strength = pl.coalesce(pl.col("switch_count") - pl.col("expected_switch_count"), "above").round(6)
    return (
        both.with_columns(
            relation=pl.when(is_switched & is_together).then(pl.lit("UNCLEAR"))
            .when(is_switched).then(pl.lit("SUBSTITUTE")).otherwise(pl.lit("COMPLEMENT")),
            strength=strength, as_of=pl.lit(as_of),
        )
        .sort("product_id", "relation", "strength", "other_product_id", descending=[False, False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("product_id", "relation"))
        .filter(pl.col("rank") <= rules.partners)
        .drop("strength", "above")
    )  # fmt: skip


def _shelves(attributes: pl.LazyFrame, categories: pl.LazyFrame) -> pl.LazyFrame:
    """product_id, shelf: the plain path of the category, else the category that the texts say."""
    path = attributes.select("product_id", path=plain(pl.col("category_levels").list.join(" > ")))
    stated = pl.when(pl.col("path") != "").then("path")
    placed = categories.select("product_id", "category").join(path, on="product_id", how="left")
    shelf = pl.coalesce(stated, plain(pl.col("category")))
    return placed.select("product_id", shelf=shelf).filter(pl.col("shelf").is_not_null())


def _switches(lines: pl.LazyFrame) -> pl.LazyFrame:
    """shelf, one, other: of each person and pair of products the first switch. Only purchases of a single product of
    the shelf are choices between its products."""
    order = ["source_system", "transaction_id"]
    chosen = (
        lines.group_by("person_id", "shelf", "occurred_at", *order)
        .agg(product=pl.col("product_id").min(), count=pl.col("product_id").n_unique())
        .filter(pl.col("count") == 1).sort("person_id", "shelf", "occurred_at", *order)
    )  # fmt: skip
    steps = chosen.with_columns(other=pl.col("product").shift(-1).over("person_id", "shelf"))
    switches = steps.filter(pl.col("product") != pl.col("other"))
    pair = {"low": pl.min_horizontal("product", "other"), "high": pl.max_horizontal("product", "other")}
    once = switches.with_columns(**pair).unique(["person_id", "low", "high"], keep="first", maintain_order=True)
    return once.select("shelf", "other", one="product")


def _tested(switches: pl.DataFrame, rules: AssortmentRules) -> pl.DataFrame:
    """product_id < other_product_id of one shelf with counts, expectation, interval and adjusted p-value."""
    schema = {"product_id": pl.String, "other_product_id": pl.String, "switch_count": pl.Int64,
              "expected_switch_count": pl.Float64, "p_value": pl.Float64}  # fmt: skip
    found, possible = [pl.DataFrame(schema=schema)], 0
    for _, rows in switches.group_by("shelf", maintain_order=True):
        pairs, tests = _shelf(rows, rules)
        found.append(pairs.cast(schema))  # type: ignore[arg-type]
        possible += tests
    every = pl.concat(found)
    counts, expected = every["switch_count"].to_numpy(), every["expected_switch_count"].to_numpy()
    low, high = garwood(counts)
    q_value = adjusted(every["p_value"].to_numpy(), max(possible, 1))
    return every.drop("p_value").with_columns(
        switch_lift=pl.Series(counts / expected), switch_lift_low=pl.Series(low / expected),
        switch_lift_high=pl.Series(high / expected), switch_q_value=pl.Series(q_value),
    )  # fmt: skip


def _shelf(rows: pl.DataFrame, rules: AssortmentRules) -> tuple[pl.DataFrame, int]:
    """Pairs of one shelf with at least ``least_switches``, and how many pairs could have so many."""
    names = pl.concat([rows["one"], rows["other"]]).unique().sort()
    code = {name: at for at, name in enumerate(names)}
    one, other = (rows[c].replace_strict(code, return_dtype=pl.Int64).to_numpy() for c in ("one", "other"))
    out, into = (np.bincount(c, minlength=len(names)).astype(float) for c in (one, other))
    leave, enter = _quasi_independent(out, into)
    low, high = np.minimum(one, other), np.maximum(one, other)
    pairs, counts = np.unique(low * len(names) + high, return_counts=True)
    a, b = pairs // len(names), pairs % len(names)
    expected = np.maximum(leave[a] * enter[b] + leave[b] * enter[a], np.finfo(float).tiny)
    table = pl.DataFrame(
        {"product_id": names.gather(a), "other_product_id": names.gather(b), "switch_count": counts,
         "expected_switch_count": expected, "p_value": gammainc(counts, expected)}
    )  # fmt: skip
    able = int((out + into >= rules.least_switches).sum())
    return table.filter(pl.col("switch_count") >= rules.least_switches), able * (able - 1) // 2


def _quasi_independent(out: Array, into: Array) -> tuple[Array, Array]:
    """Factors of what leaves and what enters each product, whose products off the diagonal have the given sums."""
    leave, enter = out / max(out.sum(), 1.0) ** 0.5, into / max(into.sum(), 1.0) ** 0.5
    for _ in range(ROUNDS):
        before = leave
        leave = out / np.maximum(enter.sum() - enter, 1e-12)
        enter = into / np.maximum(leave.sum() - leave, 1e-12)
        if np.allclose(before, leave, rtol=1e-9, atol=0):
            break
    return leave, enter
