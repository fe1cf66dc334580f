"""What is bought together: pairs of products and of categories that share more baskets than chance explains.

Large baskets hold every pair more often, popular products meet more often; neither is affinity. So a pair's baskets are
compared with what products of that popularity give when they are spread at random over baskets of the same sizes:
within a stratum of N baskets of about s items, items of inclusion rates a and b meet in N a b (1 - (1-a)(1-b) / d)
baskets, d the sum of rate x (1 - rate) over all items (Hájek's joint inclusion probability). The p-value is the
Poisson tail of the sum over strata, which bounds that of the spreading from above. False discoveries are held by
Benjamini and Hochberg over all pairs that could have met, the pairs that never did included.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, triu
from scipy.special import gammainc

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.intervals import adjusted
from customer360.pipelines.rules import BasketRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, String, Table

STRATA_PER_OCTAVE = 4  # baskets of one stratum differ in size by a fifth at most
BLOCK_PAIRS = 200_000  # pairs worked on at once: 2 x 30 strata x 8 bytes each
SOLD = ("transaction_id", "source_system", "occurred_on", "is_sale", "is_product", "quantity")

Array = NDArray[np.float64]


class Pair(Table):
    """What is known of two things in one basket; rates of the baskets of the window."""

    rank = Integer(min=1, description="1: most baskets above chance, significant pairs first")
    both_count = Integer(description="Baskets with both")
    own_count = Integer(description="Baskets with the first")
    other_count = Integer(description="Baskets with the other")
    basket_count = Integer(description="All baskets of the window that are not too large")
    support = Float(description="Share of baskets with both")
    confidence = Float(description="Of the baskets with the first, share with the other too")
    lift = Float(description="Confidence over the other's share of all baskets")
    expected_count = Float(description="Baskets with both if popularity and basket sizes alone decided")
    p_value = Float(min=0, max=1, description="Chance of at least both_count baskets then; an upper bound")
    q_value = Float(min=0, max=1, description="p_value adjusted for all pairs (Benjamini-Hochberg)")
    is_significant = Boolean(description="q_value at most the rule file's false_discovery_rate")


class ProductAffinity(Pair, table="gold.product_affinity", partition_by=("as_of",), sort_by=("product_id", "rank")):
    """One row per product, other product and as_of date: how far they are bought together."""

    product_id = String(primary_key=True)
    other_product_id = String(primary_key=True, description="Bought together with product_id")
    as_of = Date(primary_key=True)


@builds(
    ProductAffinity,
    rules="enrichment",
    reads={"silver.transaction_items": (*SOLD, "product_id")},
    past={"silver.transaction_items": "occurred_on"},
)
def product_affinity(silver_transaction_items: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Pairs of goods in completed sales of the window before ``as_of``."""
    return _pairs(silver_transaction_items, "product_id", as_of, params.baskets)


class CategoryAffinity(Pair, table="gold.category_affinity", partition_by=("as_of",), sort_by=("category", "rank")):
    """One row per category, other category and as_of date: how far they are bought together."""

    category = String(primary_key=True, description="The first of the two")
    other_category = String(primary_key=True, description="The other")
    as_of = Date(primary_key=True)


@builds(
    CategoryAffinity,
    rules="enrichment",
    reads={"silver.transaction_items": (*SOLD, "category")},
    past={"silver.transaction_items": "occurred_on"},
)
def category_affinity(silver_transaction_items: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """Pairs of categories in completed sales of the window before ``as_of``."""
    return _pairs(silver_transaction_items, "category", as_of, params.baskets)


def _pairs(items: pl.LazyFrame, thing: str, as_of: date, rules: BasketRules) -> pl.LazyFrame:
    window = pl.col("occurred_on").is_between(as_of - timedelta(days=rules.window_days), as_of, closed="left")
    lines = (
        items.filter(window, "is_sale", "is_product", pl.col("quantity") > 0, pl.col(thing).is_not_null())
        .select("source_system", "transaction_id", item=thing)
        .unique()
        .collect()
    )
    found = associations(lines, rules)
    return found.lazy().rename({"item": thing, "other": f"other_{thing}"}).with_columns(as_of=pl.lit(as_of))


def associations(lines: pl.DataFrame, rules: BasketRules) -> pl.DataFrame:
    """Pairs that meet in at least ``rules.least_baskets`` baskets and more often than by chance, in both directions.

    ``lines``: source_system, transaction_id, item; unique. Returns item, other and the columns of ``Pair``, of each
    item its ``rules.partners`` best.
    """
    baskets = _Baskets.of(lines, rules)
    counts = triu(baskets.held.T @ baskets.held, k=1, format="coo")
    one, other, both = counts.row, counts.col, counts.data.astype(np.int64)
    expected = baskets.expected(one, other)
    p_value = gammainc(both, expected)
    possible = len(baskets.items) * (len(baskets.items) - 1) // 2
    pairs = pl.DataFrame(
        {"one": one, "two": other, "both_count": both, "expected_count": expected, "p_value": p_value,
         "q_value": adjusted(p_value, possible)}
    )  # fmt: skip
    kept = pairs.filter(pl.col("both_count") >= rules.least_baskets, pl.col("both_count") > pl.col("expected_count"))
    return _described(kept, baskets, rules)


@dataclass(frozen=True)
class _Baskets:
    """Baskets by item. ``held`` (baskets, items) is 1 where a basket holds an item that can form a pair at all;
    ``rates`` and ``spreads`` (items, strata) are such that the expected count of a pair is the difference of their
    products."""

    items: pl.Series
    item_counts: NDArray[np.int64]
    basket_count: int
    held: csr_array
    rates: Array
    spreads: Array

    @classmethod
    def of(cls, lines: pl.DataFrame, rules: BasketRules) -> _Baskets:
        key = ["source_system", "transaction_id"]
        sized = lines.with_columns(size=pl.len().over(key)).filter(pl.col("size") <= rules.largest)
        sized = sized.with_columns(basket=pl.struct(key).rank("dense").cast(pl.Int64) - 1)
        known = sized.group_by("item").len().filter(pl.col("len") >= rules.least_baskets).sort("item")
        coded = sized.join(known.with_row_index("code"), on="item", how="inner")
        shape = (sized["basket"].n_unique(), known.height)
        place = (coded["basket"].to_numpy(), coded["code"].to_numpy())
        held = csr_array((np.ones(coded.height, dtype=np.int32), place), shape=shape)
        return cls(known["item"], known["len"].to_numpy().astype(np.int64), shape[0], held, *_strata(sized, known))

    def expected(self, one: NDArray[np.int32], other: NDArray[np.int32]) -> Array:
        """Baskets that pairs of item codes share by chance."""
        found = np.empty(len(one))
        for start in range(0, len(one), BLOCK_PAIRS):
            a, b = one[start : start + BLOCK_PAIRS], other[start : start + BLOCK_PAIRS]
            met = np.einsum("ij,ij->i", self.rates[a], self.rates[b])
            found[start : start + BLOCK_PAIRS] = met - np.einsum("ij,ij->i", self.spreads[a], self.spreads[b])
        return np.maximum(found, np.finfo(float).tiny)


def _strata(sized: pl.DataFrame, known: pl.DataFrame) -> tuple[Array, Array]:
    """``rates`` and ``spreads`` of ``_Baskets``; baskets of one item hold no pair and are left out."""
    stratum = (pl.col("size").cast(pl.Float64).log(2) * STRATA_PER_OCTAVE).round().cast(pl.Int64)
    paired = sized.filter(pl.col("size") > 1).with_columns(stratum=stratum)
    totals = paired.group_by("stratum").agg(baskets=pl.col("basket").n_unique()).sort("stratum")
    rates = (
        paired.group_by("item", "stratum").len()
        .join(totals, on="stratum").with_columns(rate=pl.col("len") / pl.col("baskets"))
    )  # fmt: skip
    variance = pl.col("rate") * (1 - pl.col("rate"))
    spread = rates.group_by("stratum").agg(spread=sums.total(variance))
    cells = (
        rates.join(known.with_row_index("code").select("item", "code"), on="item")
        .join(spread, on="stratum")
        .join(totals.with_row_index("column").select("stratum", "column"), on="stratum")
    )
    weight = pl.col("baskets").cast(pl.Float64).sqrt()
    even = pl.when(pl.col("spread") > 0).then(variance * weight / pl.col("spread").sqrt()).otherwise(0.0)
    values = cells.select("code", "column", met=pl.col("rate") * weight, spread=even)
    both = np.zeros((2, known.height, totals.height))
    for at, name in enumerate(("met", "spread")):
        both[at, values["code"].to_numpy(), values["column"].to_numpy()] = values[name].to_numpy()
    return both[0], both[1]


def _described(pairs: pl.DataFrame, baskets: _Baskets, rules: BasketRules) -> pl.DataFrame:
    """Both directions of each pair, ranked by baskets above chance."""
    turned = pairs.rename({"one": "two", "two": "one"}).select(pairs.columns)
    count = pl.Series("count", baskets.item_counts)
    both, own, other = pl.col("both_count"), pl.col("own_count"), pl.col("other_count")
    total = pl.lit(baskets.basket_count, pl.Int64)
    described = pl.concat([pairs, turned]).select(
        pl.lit(baskets.items).gather(pl.col("one")).alias("item"),
        pl.lit(baskets.items).gather(pl.col("two")).alias("other"),
        own_count=pl.lit(count).gather(pl.col("one")),
        other_count=pl.lit(count).gather(pl.col("two")),
        both_count="both_count", expected_count="expected_count", p_value="p_value", q_value="q_value",
    )  # fmt: skip
    above = (both - pl.col("expected_count")).round(6)  # rounded: equal pairs are ordered by name
    order = ["item", "is_significant", "above", "other"]
    return (
        described.with_columns(
            basket_count=total,
            support=both / total,
            confidence=both / own,
            lift=both * total / (own.cast(pl.Float64) * other),
            is_significant=pl.col("q_value") <= rules.false_discovery_rate,
            above=above,
        )
        .sort(order, descending=[False, True, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("item"))
        .filter(pl.col("rank") <= rules.partners)
        .drop("above")
    )
