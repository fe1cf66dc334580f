"""The category of every product: as the catalogue states it, else read from the product's texts."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.inference.verdicts import NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.texts.classification import classified
from customer360.pipelines.texts.products import plain
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Float, Integer, OneOf, String, Table


class ProductCategories(Table, table="silver.product_categories", sort_by=("product_id",)):
    """One row per product: its top category, and what its texts say.

    A category is read from the texts of a product without one, by what the categorized products of the same catalogue
    are called; where the texts do not say surely enough it is unknown. Texts of categorized products are read by a
    model that has not seen them, so a surely different reading is a product that may lie in the wrong place.
    """

    product_id = String(primary_key=True)
    category = String(nullable=True, description="Stated, else read from the texts; null: unknown")
    status = OneOf("STATED", "CLASSIFIED", "UNKNOWN", NOT_ENOUGH_EVIDENCE, description="NOT_ENOUGH_EVIDENCE: no"
                   " category is stated, and too few products have one to learn from")  # fmt: skip
    text_category = String(nullable=True, description="The likeliest by the texts, sure or not")
    text_confidence = Float(nullable=True, min=0, max=1, description="Share that was right at such a score")
    is_disputed = Boolean(description="The texts surely say another category than the catalogue")
    precision = Float(nullable=True, description="Share of sure readings that were right, of texts not learnt from")
    precision_low = Float(nullable=True, description="95 % interval; at least the rule file's category_precision")
    precision_high = Float(nullable=True)
    sure_count = Integer(description="Sure readings that precision was measured on")
    learnt_count = Integer(description="Different texts with a category")


@builds(
    ProductCategories,
    rules="standardization",
    reads={"silver.products": ("product_id", "product_name", "category", "subcategory", "brand", "description", "is_product")},  # noqa: E501
)  # fmt: skip
def product_categories(
    silver_products: pl.LazyFrame,
    silver_product_attributes: pl.LazyFrame,
    silver_categories: pl.LazyFrame,
    params: StandardizationRules,
) -> pl.LazyFrame:
    """Of goods; codes that are none (postage, fees) have no row. Products that the rule file spares get no category."""
    tops = silver_categories.filter(level=1).select(top=plain(pl.col("name")), stated="name")
    levels = silver_product_attributes.select("product_id", top=plain(pl.col("category_levels").list.first()))
    goods = (
        silver_products.filter("is_product")
        .join(levels, on="product_id", how="left")
        .join(tops, on="top", how="left")
        .select(
            "stated", id="product_id",
            text=pl.concat_str("product_name", "subcategory", "brand", "description", separator=" ", ignore_nulls=True),
        )
        .sort("id")
        .collect()
    )  # fmt: skip
    found = classified(goods.select("id", "text", text_class="stated"), params.category_precision)
    read = goods.lazy().join(found.read.lazy(), on="id", how="left")
    sure, text = pl.col("is_sure").fill_null(False), pl.col("text_class")
    fills = sure & ~params.repairs.category_from_text.leaves(pl.col("id"))
    is_stated = pl.col("stated").is_not_null()
    nothing = pl.lit("UNKNOWN" if found.read.height else NOT_ENOUGH_EVIDENCE)
    return read.select(
        product_id="id",
        category=pl.when(is_stated).then("stated").when(fills).then(text),
        status=pl.when(is_stated).then(pl.lit("STATED")).when(fills).then(pl.lit("CLASSIFIED")).otherwise(nothing),
        text_category="text_class",
        text_confidence="confidence",
        is_disputed=(is_stated & sure & (text != pl.col("stated"))).fill_null(False),
        precision=pl.lit(found.precision, pl.Float64),
        precision_low=pl.lit(found.low, pl.Float64),
        precision_high=pl.lit(found.high, pl.Float64),
        sure_count=pl.lit(found.sure_count, pl.Int64),
        learnt_count=pl.lit(found.learnt_count, pl.Int64),
    )
