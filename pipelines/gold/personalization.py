"""What personalization reads of a person: tastes, price level, habits and last items, where the person allows it."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.inference import sums
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, List, OneOf, String, Struct, Table, Timestamp

WINDOW_DAYS = 365
CART_DAYS = 30  # a product in the cart for longer was left behind for good
LAST_ITEMS = 10
CHEAP, DEAR = 0.8, 1.25  # mean price of what a person buys, as a multiple of the category's median

CONSENT = ("may_personalize", "may_email", "may_sms", "may_call", "may_push")
FROM_PROFILE = (
    "lifecycle_stage", "value_segment", "rfm_segment", "engagement_level", "churn_probability", "clv_amount",
    "category_affinities", "brand_affinities", "preferred_channel", "preferred_day_part", "preferred_weekday",
    "main_device_type", "responsive_channel", "recency_days",
)  # fmt: skip
FROM_FEATURES = ("mean_gap_days", "discount_rate", "days_since_seen", "session_count_30d", "cart_add_count_30d")


def _shares() -> List:
    return List(Struct({"name": String(), "share": Float()}), nullable=True, description="As in gold.customer_360")


class PersonalizationFeatures(
    Table,
    table="gold.personalization_features",
    per="person_id",
    partition_by=("as_of",),
    sort_by=("person_id",),
    serves="PERSONALIZATION",
    kept=("person_id", "as_of", *CONSENT),
):
    """One row per person and as_of date: what may shape what the person is shown; null where personalization is
    refused.
    """

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    may_personalize = Boolean(description="False: every column but the consents is null")
    may_email = Boolean(description="Whether marketing may use it, as in gold.customer_360; so the next three")
    may_sms = Boolean(description="Likewise")
    may_call = Boolean(description="Likewise")
    may_push = Boolean(description="Likewise")
    lifecycle_stage = String(nullable=True, description="Of gold.customer_360")
    value_segment = String(nullable=True, description="Of gold.customer_360")
    rfm_segment = String(nullable=True, description="Of gold.customer_360")
    engagement_level = String(nullable=True, description="Of gold.customer_360")
    churn_probability = Float(nullable=True, description="Of gold.customer_360; null: not scored")
    clv_amount = Float(nullable=True, description="In the reporting currency")
    category_affinities = _shares()
    brand_affinities = _shares()
    category_recency = List(
        Struct({"name": String(), "days": Integer()}),
        nullable=True,
        description="Days since the last interaction, by category, the latest first",
    )
    price_level = Float(nullable=True, description="Mean price of bought pieces over their category's median; 1: usual")
    price_band = OneOf("LOW", "MID", "HIGH", nullable=True, description="price_level in three bands")
    discount_rate = Float(nullable=True, description="Of gold.customer_features: discounts / gross_amount")
    repeat_rate = Float(nullable=True, description="Share of purchases of a product that was bought on an earlier day")
    preferred_channel = String(nullable=True, description="Of gold.customer_360: of most orders")
    preferred_day_part = String(nullable=True, description="Of gold.customer_360")
    preferred_weekday = String(nullable=True, description="Of gold.customer_360")
    main_device_type = String(nullable=True, description="Of gold.customer_360")
    responsive_channel = String(nullable=True, description="Of gold.customer_360: whose messages are opened most often")
    recency_days = Integer(nullable=True, description="Days since the last purchase")
    days_since_seen = Float(nullable=True, description="Days since the latest activity of any kind")
    mean_gap_days = Float(nullable=True, description="Between one purchase day and the next; null below two")
    session_count_30d = Float(nullable=True, description="Visits of the last 30 days")
    cart_add_count_30d = Float(
        nullable=True, description="Times that something was put into a basket in the last 30 days"
    )
    last_viewed_products = List(String(), nullable=True, description=f"Up to {LAST_ITEMS}, the latest first")
    last_bought_products = List(String(), nullable=True, description=f"Up to {LAST_ITEMS}, the latest first")
    open_cart_products = List(
        String(),
        nullable=True,
        description=f"Put in the cart within {CART_DAYS} days, neither taken out nor bought since",
    )
    personalization_until_at = Timestamp(nullable=True, description="Latest fact: of the profile or an interaction")


@builds(
    PersonalizationFeatures,
    reads={
        "gold.customer_360": ("person_id", *CONSENT, *FROM_PROFILE, "facts_until_at", "affinity_until_at"),
        "gold.customer_features": ("person_id", *FROM_FEATURES),
        "silver.products": ("product_id", "category", "price", "currency"),
        "silver.events": (
            "subject_id", "person_id", "product_id", "event_type", "occurred_at", "occurred_on", "set_apart",
        ),
    },
)  # fmt: skip
def personalization_features(
    gold_customer_360: pl.LazyFrame,
    gold_customer_features: pl.LazyFrame,
    gold_interactions: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_events: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """Everybody of the customer view; of who refused personalization only the consents."""
    past = gold_interactions.filter(pl.col("on") < as_of)
    recent = past.filter(pl.col("on") >= as_of - timedelta(days=WINDOW_DAYS))
    profile = gold_customer_360.select("person_id", *CONSENT, *FROM_PROFILE, "facts_until_at", "affinity_until_at")
    features = gold_customer_features.select("person_id", *FROM_FEATURES)
    joined = profile.join(features, on="person_id", how="left")
    items = _last_items(recent, _taken_out(silver_events, as_of), as_of)
    for part in (_recency(recent, as_of), _prices(recent, silver_products), _repeats(past), items):
        joined = joined.join(part, on="person_id", how="left")
    lists = ("category_recency", "last_viewed_products", "last_bought_products", "open_cart_products")
    complete = joined.with_columns(
        pl.col(lists).fill_null([]),
        price_band=pl.when(pl.col("price_level") < CHEAP).then(pl.lit("LOW"))
        .when(pl.col("price_level") > DEAR).then(pl.lit("HIGH"))
        .when(pl.col("price_level").is_not_null()).then(pl.lit("MID")),
        personalization_until_at=pl.max_horizontal("facts_until_at", "affinity_until_at"),
    )  # fmt: skip
    shown = [c for c in PersonalizationFeatures.columns() if c not in ("person_id", "as_of", *CONSENT)]
    return complete.select(
        "person_id",
        *CONSENT,
        pl.lit(as_of).alias("as_of"),
        *(pl.when("may_personalize").then(pl.col(c)).alias(c) for c in shown),
    )


def _recency(recent: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    days = (pl.lit(as_of) - pl.col("on").max()).dt.total_days()
    by_category = recent.filter(pl.col("category").is_not_null()).group_by("person_id", name="category").agg(days=days)
    return (
        by_category.sort("person_id", "days", "name")
        .group_by("person_id", maintain_order=True)
        .agg(category_recency=pl.struct("name", "days"))
    )


def _prices(recent: pl.LazyFrame, products: pl.LazyFrame) -> pl.LazyFrame:
    """List prices, not what was paid: an offer does not make a person a buyer of cheap things. A price is compared with
    those of its currency.
    """
    priced = products.select(
        "product_id", "category", pl.col("currency").fill_null(""), price=pl.col("price").cast(pl.Float64)
    ).filter(pl.col("price") > 0)
    like = ["category", "currency"]
    medians = priced.group_by(like).agg(median=pl.col("price").median())
    level = priced.join(medians, on=like).select("product_id", ratio=pl.col("price") / pl.col("median"))
    bought = recent.filter(pl.col("kind") == "purchase").join(level, on="product_id")
    return bought.group_by("person_id").agg(
        price_level=(sums.total(pl.col("ratio") * pl.col("quantity")) / pl.col("quantity").sum()).round(6)
    )


def _repeats(past: pl.LazyFrame) -> pl.LazyFrame:
    days = past.filter(pl.col("kind") == "purchase").select("person_id", "product_id", "on").unique()
    first = pl.col("on") == pl.col("on").min().over("person_id", "product_id")
    return days.with_columns(first=first).group_by("person_id").agg(repeat_rate=1 - pl.col("first").mean())


def _taken_out(events: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """``person_id``, ``product_id`` of what was taken out of the cart after it was last put in."""
    since = as_of - timedelta(days=CART_DAYS)
    carts = events.filter(
        pl.col("event_type").is_in(["CART_ADD", "CART_REMOVE"]), pl.col("person_id").is_not_null(),
        pl.col("product_id").is_not_null(), pl.col("set_apart").is_null(),
        pl.col("occurred_on").is_between(since, as_of, closed="left"),
    )  # fmt: skip
    last = {
        kind: pl.col("occurred_at").filter(pl.col("event_type") == kind).max() for kind in ("CART_ADD", "CART_REMOVE")
    }
    out = (pl.col("CART_REMOVE") > pl.col("CART_ADD")).fill_null(pl.col("CART_ADD").is_null())
    return carts.group_by("person_id", "product_id").agg(**last).filter(out).select("person_id", "product_id")


def _last_items(recent: pl.LazyFrame, taken_out: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    by_kind = recent.group_by("person_id", "product_id").agg(
        pl.col("on").filter(pl.col("kind") == kind).max().alias(kind) for kind in ("view", "purchase", "cart_add")
    ).join(taken_out.with_columns(is_out=True), on=["person_id", "product_id"], how="left")  # fmt: skip
    open_cart = (
        (pl.col("cart_add") >= as_of - timedelta(days=CART_DAYS))
        & (pl.col("purchase").is_null() | (pl.col("purchase") < pl.col("cart_add")))
        & pl.col("is_out").is_null()
    )

    def latest(kind: str, those: pl.Expr) -> pl.Expr:
        chosen = pl.col("product_id").filter(those)
        order = pl.col(kind).filter(those)
        return chosen.sort_by(order, descending=True, maintain_order=True).head(LAST_ITEMS)

    return (
        by_kind.sort("person_id", "product_id")
        .group_by("person_id", maintain_order=True)
        .agg(
            last_viewed_products=latest("view", pl.col("view").is_not_null()),
            last_bought_products=latest("purchase", pl.col("purchase").is_not_null()),
            open_cart_products=latest("cart_add", open_cart),
        )
    )
