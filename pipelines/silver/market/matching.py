"""Which of our products a competitor's product is, and how surely.

A barcode settles it. Without one the words of the two texts are compared (TF-IDF, cosine) and brand, size, pack and
colour may contradict. Products with a barcode are compared by their texts too: how often that finds the product that
the barcode names, or one whose barcode is another, is the measured precision of matches by text, and sets the likeness
from which on they count.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from customer360.pipelines.inference.intervals import wilson
from customer360.pipelines.rules import EnrichmentRules, MarketRules
from customer360.pipelines.texts.classification import least_score, weighed
from customer360.pipelines.texts.products import brand_key, measures, plain, tokens
from customer360.platform.graph import builds
from customer360.platform.tables import Float, Integer, OneOf, String, Table

CANDIDATES = 8  # most alike of ours that are looked at closely
BLOCK = 200  # products of competitors compared at once: their likenesses to all of ours are held
LEAST_LEAD = 0.03  # two of ours that are nearly as alike: nobody can tell which
SIZE_TOLERANCE = 0.03
OTHER_BRAND, OTHER_COLOR, OTHER_KIND = 0.5, 0.6, 0.7  # factors of what contradicts; another size is another product
LEAST_LABELLED = 30  # products with a barcode of ours that precision is measured on

KEY = ["competitor", "competitor_product_id"]


class CompetitorProducts(Table, table="silver.competitor_products", sort_by=("competitor", "competitor_product_id")):
    """One row per product of a competitor: which of ours it is, by what, and how surely."""

    competitor = String(primary_key=True)
    competitor_product_id = String(primary_key=True)
    product_name = String(nullable=True, description="As last seen")
    brand = String(nullable=True)
    gtin = String(nullable=True, description="GTIN-14")
    size_value = Float(nullable=True)
    size_unit = String(nullable=True)
    pack_count = Integer(nullable=True)
    product_id = String(nullable=True, description="Ours; null: none is sure enough")
    match_method = OneOf("GTIN", "TEXT", nullable=True)
    match_confidence = Float(nullable=True, min=0, max=1, description="Of a barcode 1; of texts the share of matches"
                             " so alike that barcodes confirm, else the likeness itself")  # fmt: skip
    status = OneOf("MATCHED", "AMBIGUOUS", "UNMATCHED", description="AMBIGUOUS: several of ours fit as well")
    best_product_id = String(nullable=True, description="The most alike of ours, sure or not")
    likeness = Float(nullable=True, min=0, max=1, description="Of the texts, after what contradicts")
    precision = Float(nullable=True, description="Of matches by text, share that barcodes confirm; null: too few")
    precision_low = Float(nullable=True, description="95 % interval")
    precision_high = Float(nullable=True)
    labelled_count = Integer(description="Matches by text that a barcode could judge")


OURS = ("product_id", "product_name", "is_product")
ATTRIBUTES = ("product_id", "brand", "gtin", "size_value", "size_unit", "pack_count", "color")


@builds(
    CompetitorProducts,
    rules="enrichment",
    reads={
        "silver.products": OURS,
        "silver.product_attributes": ATTRIBUTES,
        "silver.product_codes": ("product_id", "gtin"),
        "silver.competitor_prices": (*KEY, "data_source", "observed_at", "product_name", "brand", "gtin", "color"),
    },
)
def competitor_products(
    silver_competitor_prices: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_product_attributes: pl.LazyFrame,
    silver_product_codes: pl.LazyFrame,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Texts are those of the latest look. A product of ours may have several barcodes; one that several of ours have
    says nothing."""
    theirs = _theirs(silver_competitor_prices).collect()
    ours = _described(
        silver_products.filter("is_product").select("product_id", "product_name")
        .join(silver_product_attributes.select(ATTRIBUTES), on="product_id", how="left")
    ).sort("product_id").collect()  # fmt: skip
    codes = silver_product_codes.select("product_id", "gtin").collect().join(ours, on="product_id", how="semi")
    bars = pl.concat([ours.select("product_id", "gtin"), codes]).drop_nulls().unique()
    single = bars.filter(pl.col("gtin").is_unique()).select("gtin", coded="product_id")
    likely = _likeliest(theirs, ours)
    of_best = bars.group_by(best_product_id="product_id").agg(best_gtins="gtin")
    found = (
        theirs.join(single, on="gtin", how="left", maintain_order="left").with_columns(likely)
        .join(of_best, on="best_product_id", how="left", maintain_order="left")
        .with_columns(is_denied=(pl.col("gtin").is_not_null() & ~pl.col("gtin").is_in("best_gtins")).fill_null(False))
    )  # fmt: skip
    trust = _Trust.of(found, params.market)
    return _judged(found, trust).lazy()


def _theirs(prices: pl.LazyFrame) -> pl.LazyFrame:
    newest = prices.sort("observed_at", "data_source").group_by(KEY).agg(
        *(pl.col(c).drop_nulls().last() for c in ("product_name", "brand", "gtin")),
        color=pl.col("color").filter(pl.col("product_name").is_not_null()).last(),
    )  # fmt: skip
    named = newest.with_columns(**measures(pl.col("product_name")))
    return _described(named).sort(KEY)


def _described(products: pl.LazyFrame) -> pl.LazyFrame:
    """Products with what texts are compared by; a brand that the name has too counts once."""
    key = brand_key(pl.col("brand"))
    squeezed = plain(pl.col("product_name")).str.replace_all(r"[^\p{L}\p{N}]+", "")
    other = pl.when(squeezed.str.contains(key, literal=True).fill_null(value=False)).then(None).otherwise("brand")
    text = pl.concat_str("product_name", other, separator=" ", ignore_nulls=True)
    return products.with_columns(words=tokens(text).fill_null([]), brand_key=key)


def _likeliest(theirs: pl.DataFrame, ours: pl.DataFrame) -> pl.DataFrame:
    """best_product_id, likeness, lead (over the next of ours) of each of theirs, in their order."""
    if theirs.is_empty() or ours.is_empty():
        nothing = pl.DataFrame(schema={"best_product_id": pl.String, "likeness": pl.Float64, "lead": pl.Float64})
        return nothing.clear(theirs.height)
    known, every = weighed(ours["words"], theirs["words"], pairs=False)
    words = csr_array(known.T)
    pairs = pl.concat([_nearest(every[at : at + BLOCK], words, at) for at in range(0, theirs.height, BLOCK)])
    sides = ("brand_key", "size_value", "size_unit", "pack_count", "color")
    compared = pl.concat(
        [pairs, theirs.select(sides)[pairs["theirs"]], ours.select("product_id", *(pl.col(c).alias(f"our_{c}") for c in sides))[pairs["ours"]]],  # noqa: E501
        how="horizontal",
    )  # fmt: skip
    judged = compared.with_columns(likeness=(pl.col("cosine") * _agreement()).clip(0, 1))
    best = (
        judged.sort("theirs", "likeness", "product_id", descending=[False, True, False])
        .group_by("theirs", maintain_order=True)
        .agg(
            best_product_id=pl.col("product_id").first(), likeness=pl.col("likeness").first(),
            lead=pl.col("likeness").first() - pl.col("likeness").get(1, null_on_oob=True).fill_null(0.0),
        )
    )  # fmt: skip
    rows = pl.DataFrame({"theirs": np.arange(theirs.height, dtype=np.int64)})
    return rows.join(best, on="theirs", how="left", maintain_order="left").drop("theirs")


def _nearest(block: csr_array, words: csr_array, first: int) -> pl.DataFrame:
    """theirs, ours (rows), cosine of the most alike pairs of a block, of equals the earlier of ours. ``words`` has a
    row a word: an inverted index of our products. Pairs without a common word are never looked at, and of the others a
    row's most alike are told by a selection, as sorting all of them takes most of the time."""
    like = block @ words
    kept = []
    for start, end in itertools.pairwise(like.indptr.tolist()):
        cosine = like.data[start:end]
        if len(cosine) > CANDIDATES:
            least = np.partition(cosine, -CANDIDATES)[-CANDIDATES]
            kept.append(start + np.flatnonzero(cosine >= least))
        else:
            kept.append(np.arange(start, end))
    place = np.concatenate(kept)
    row = np.repeat(np.arange(first, first + block.shape[0]), [len(at) for at in kept])
    pairs = pl.DataFrame(
        {"theirs": row.astype(np.int64), "ours": like.indices[place].astype(np.int64), "cosine": like.data[place]}
    )
    ranked = pairs.sort("theirs", "cosine", "ours", descending=[False, True, False])
    return ranked.group_by("theirs", maintain_order=True).head(CANDIDATES)


def _agreement() -> pl.Expr:
    """What is left of a likeness after brand, colour, size and pack; what one side does not say contradicts nothing."""
    own, their = (
        pl.col(c) * pl.col(p).fill_null(1)
        for c, p in (("our_size_value", "our_pack_count"), ("size_value", "pack_count"))
    )
    same_unit = pl.col("size_unit") == pl.col("our_size_unit")
    other_size = same_unit & ((own / their).log().abs() > SIZE_TOLERANCE)
    other_pack = pl.col("pack_count") != pl.col("our_pack_count")
    factors = [
        (pl.col("brand_key") != pl.col("our_brand_key"), OTHER_BRAND),
        (pl.col("color") != pl.col("our_color"), OTHER_COLOR),
        (~same_unit, OTHER_KIND),
        ((other_size | (other_pack & ~same_unit.fill_null(False))), 0.0),
    ]
    product = pl.lit(1.0)
    for contradicts, factor in factors:
        product = product * pl.when(contradicts.fill_null(False)).then(factor).otherwise(1.0)
    return product


@dataclass(frozen=True)
class _Trust:
    """From which likeness on a match by text counts, and what barcodes say of such matches."""

    floor: float
    likeness: NDArray[np.float64]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, found: pl.DataFrame, rules: MarketRules) -> _Trust:
        is_labelled = pl.col("coded").is_not_null() | pl.col("is_denied")
        labelled = found.filter(is_labelled, pl.col("likeness").is_not_null(), pl.col("lead") >= LEAST_LEAD)
        likeness = labelled["likeness"].to_numpy()
        right = (labelled["coded"] == labelled["best_product_id"]).fill_null(False).to_numpy()
        if len(likeness) < LEAST_LABELLED:
            return cls(rules.match_score_from, likeness, right)
        return cls(least_score(likeness, right, rules.match_precision), likeness, right)

    def confidence(self, likeness: pl.Series) -> pl.Series:
        """Share of at least so alike matches that barcodes confirm (Jeffreys); the likeness itself where too few can
        tell."""
        if len(self.likeness) < LEAST_LABELLED:
            return likeness
        order = np.argsort(-self.likeness, kind="stable")
        hits = np.concatenate([[0], np.cumsum(self.right[order])])
        count = np.searchsorted(-self.likeness[order], -likeness.fill_null(0.0).to_numpy(), side="right")
        return pl.Series((hits[count] + 0.5) / (count + 1))


def _judged(found: pl.DataFrame, trust: _Trust) -> pl.DataFrame:
    counted = trust.likeness >= trust.floor
    hits, trials = int(trust.right[counted].sum()), int(counted.sum())
    low, high = wilson(hits, trials)
    is_coded = pl.col("coded").is_not_null()
    alike = (pl.col("likeness") >= trust.floor).fill_null(False) & ~pl.col("is_denied")
    is_sure = alike & (pl.col("lead") >= LEAST_LEAD)
    measured = pl.lit(trials >= LEAST_LABELLED)
    return found.with_columns(trusted=trust.confidence(found["likeness"])).select(
        *KEY, "product_name", "brand", "gtin", "size_value", "size_unit", "pack_count", "best_product_id", "likeness",
        product_id=pl.when(is_coded).then("coded").when(is_sure).then("best_product_id"),
        match_method=pl.when(is_coded).then(pl.lit("GTIN")).when(is_sure).then(pl.lit("TEXT")),
        match_confidence=pl.when(is_coded).then(1.0).when(is_sure).then("trusted"),
        status=pl.when(is_coded | is_sure).then(pl.lit("MATCHED")).when(alike).then(pl.lit("AMBIGUOUS"))
        .otherwise(pl.lit("UNMATCHED")),
        precision=pl.when(measured).then(hits / max(trials, 1)),
        precision_low=pl.when(measured).then(pl.lit(low)),
        precision_high=pl.when(measured).then(pl.lit(high)),
        labelled_count=pl.lit(trials, pl.Int64),
    )  # fmt: skip
