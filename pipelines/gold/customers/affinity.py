"""Which categories and brands a person is drawn to."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.platform.tables import Float, List, String, Struct, Table, Timestamp

KIND_WEIGHTS = {"purchase": 5.0, "cart_add": 3.0, "wishlist": 2.0, "view": 1.0}
HALF_LIFE_DAYS = 90.0
WINDOW_DAYS = 365
PARTS = 2**40  # of a weight, as which weights are added up: whole numbers come out the same in any order
TOP_CATEGORIES = TOP_BRANDS = 3


class Affinity(Table, serves="PERSONALIZATION"):
    """Favourite categories and brands of the last year; a share of 1 is all of a person's interest."""

    top_categories = List(String(), description="Names of category_affinities, the largest share first")
    category_affinities = List(Struct({"name": String(), "share": Float()}), description="Categories and their shares")
    top_brands = List(String(), description="Names of brand_affinities, the largest share first")
    brand_affinities = List(Struct({"name": String(), "share": Float()}), description="Brands and their shares")
    affinity_until_at = Timestamp(nullable=True, description="Day of the latest interaction")


def affinity(profile: pl.LazyFrame, interactions: pl.LazyFrame, products: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Adds Affinity: interactions weighted by kind, halved every ``HALF_LIFE_DAYS``, as shares of the person's sum."""
    recent = interactions.filter(pl.col("on") < as_of, pl.col("on") >= as_of - timedelta(days=WINDOW_DAYS))
    age = (pl.lit(as_of) - pl.col("on")).dt.total_days()
    weight = (
        pl.col("count")
        * pl.col("kind").replace_strict(KIND_WEIGHTS, default=0.0)
        * pl.lit(0.5).pow(age / HALF_LIFE_DAYS)
    )
    brands = products.select("product_id", "brand")
    parts = (weight * PARTS).round().cast(pl.Int128)  # so that an account of all who have none does not overflow
    told = recent.select("person_id", "product_id", "category", "on", parts=parts)
    # Made once: a plan that used it three times would make it three times.
    weighted = told.join(brands, on="product_id", how="left").collect().lazy()
    fresh = weighted.group_by("person_id").agg(affinity_until_at=pl.col("on").max().cast(pl.Datetime("us", "UTC")))
    joined = (
        profile.join(fresh, on="person_id", how="left")
        .join(_shares(weighted, "category", TOP_CATEGORIES), on="person_id", how="left")
        .join(_shares(weighted, "brand", TOP_BRANDS), on="person_id", how="left")
    )
    lists = ("category_affinities", "brand_affinities")
    return joined.with_columns(pl.col(lists).fill_null([])).with_columns(
        top_categories=pl.col("category_affinities").list.eval(pl.element().struct.field("name")),
        top_brands=pl.col("brand_affinities").list.eval(pl.element().struct.field("name")),
    )


def _shares(weighted: pl.LazyFrame, column: str, top: int) -> pl.LazyFrame:
    summed = weighted.filter(pl.col(column).is_not_null()).group_by("person_id", name=column).agg(pl.col("parts").sum())
    # Rounded before ranking: of shares that are told as equal, the name comes first.
    share = (pl.col("parts") / pl.col("parts").sum().over("person_id")).round(6)
    ranked = summed.with_columns(share=share).sort("person_id", "share", "name", descending=[False, True, False])
    return ranked.group_by("person_id", maintain_order=True).agg(
        pl.struct("name", "share").head(top).alias(f"{column}_affinities")
    )
