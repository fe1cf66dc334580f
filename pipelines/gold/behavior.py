"""What people did with products, folded to days: the input of recommendation and affinity."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.sessions import of_humans
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Integer, OneOf, String, Table

KINDS = {"PRODUCT_VIEW": "view", "CART_ADD": "cart_add", "WISHLIST_ADD": "wishlist"}


class Interactions(
    Table,
    table="gold.interactions",
    per="person_id",
    sort_by=("person_id", "on", "product_id", "kind"),
    serves="PERSONALIZATION",
):
    """One row per person, product, day and kind of interaction."""

    person_id = String(primary_key=True)
    product_id = String(primary_key=True)
    on = Date(primary_key=True, description="Day of it, UTC")
    kind = OneOf(
        "purchase", "view", "cart_add", "wishlist", primary_key=True, description="What the person did with the product"
    )
    category = String(nullable=True, description="Of silver.products")
    count = Integer(description="Lines or events")
    quantity = Integer(description="Pieces bought; 0 for other kinds")


@builds(
    Interactions,
    reads={"silver.set_apart_sessions": ("subject_id", "person_id", "session_id", "started_at", "ended_at")},
)
def interactions(
    silver_transaction_items: pl.LazyFrame,
    silver_events: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_set_apart_sessions: pl.LazyFrame,
) -> pl.LazyFrame:
    """Purchases of products from completed sales, and views, cart and wishlist additions from events of humans."""
    bought = silver_transaction_items.filter(
        pl.col("person_id").is_not_null(), pl.col("is_sale"), pl.col("is_product"), pl.col("quantity") > 0
    ).select("person_id", "product_id", on="occurred_on", kind=pl.lit("purchase"), quantity="quantity")
    human = of_humans(silver_events, silver_set_apart_sessions)
    seen = human.filter(
        *(pl.col(c).is_not_null() for c in ("person_id", "product_id")),
        pl.col("event_type").is_in(list(KINDS)),
    ).select(
        "person_id",
        "product_id",
        on="occurred_on",
        kind=pl.col("event_type").replace_strict(KINDS),
        quantity=pl.lit(0, pl.Int64),
    )
    folded = (
        pl.concat([bought, seen])
        .group_by("person_id", "product_id", "on", "kind")
        .agg(count=pl.len().cast(pl.Int64), quantity=pl.col("quantity").sum())
    )
    return folded.join(silver_products.select("product_id", "category"), on="product_id", how="left")
