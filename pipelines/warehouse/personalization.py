"""Schema PERSONALIZATION: what was recommended to whom, by what, and what they did about it.

The lake holds no record of what was shown to anybody. So there are no impressions here: ``OFFERED`` means that the
product stood in the list that was computed for the person, and the responses are what the person did with it within
``RESPONSE_DAYS`` from ``as_of``, wherever it found it. These are rates of agreement, not of persuasion.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from customer360.pipelines.warehouse.keys import customer_key, date_key
from customer360.platform.stars import loads, references
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, OneOf, String, Table

RESPONSE_DAYS = 14
RESPONSES = {"view": "VIEWED", "wishlist": "WISHLISTED", "cart_add": "CARTED", "purchase": "PURCHASED"}
USUAL_SHARE = 0.1  # a day with fewer rows than this share of the median day is no sign that the data go so far


def recommendation_key() -> pl.Expr:
    return pl.concat_str("model", "version", "mode", pl.col("as_of").cast(pl.String), separator="/")


class Recommended(
    Table,
    table="personalization.recommendations",
    per="person_id",
    sort_by=("as_of", "recommendation_key", "person_id"),
):
    """One row per person, list and rank: a recommended product, as gold.recommendations has it."""

    person_id = String(primary_key=True, metadata=references("customer.dim_customers"))
    recommendation_key = String(primary_key=True, metadata=references("personalization.dim_recommendations"))
    rank = Integer(primary_key=True)
    product_id = String(metadata=references("personalization.dim_content"))
    model = String()
    version = String()
    mode = String()
    as_of = Date()
    score = Float()


@loads(Recommended, mirrors=("gold.recommendations",))
def recommendations(gold_recommendations: pl.LazyFrame) -> pl.LazyFrame:
    return gold_recommendations.with_columns(recommendation_key=recommendation_key())


class DimRecommendations(Table, table="personalization.dim_recommendations", sort_by=("as_of", "algorithm")):
    """One row per algorithm, version, placement and as_of date: one set of lists."""

    recommendation_key = String(primary_key=True, description="model/version/mode/as_of")
    algorithm = String(nullable=True, description="Model")
    version = String(nullable=True)
    placement = String(
        nullable=True,
        description="The list that it stood in (new: never bought before; all). Where a list was shown is not recorded",
    )
    as_of = Date(nullable=True)
    customer_count = Integer()
    offer_count = Integer()
    response_days = Integer()
    is_response_complete = Boolean(
        description="The data go to the end of the response days; before that, rates are too low"
    )


@loads(DimRecommendations)
def dim_recommendations(gold_recommendations: pl.LazyFrame, gold_interactions: pl.LazyFrame) -> pl.LazyFrame:
    days = gold_interactions.group_by("on").len()
    until = days.filter(pl.col("len") >= USUAL_SHARE * pl.col("len").median()).select(until=pl.col("on").max())
    last_day = pl.col("as_of") + timedelta(days=RESPONSE_DAYS - 1)
    lists = gold_recommendations.group_by(
        "version", "as_of", recommendation_key=recommendation_key(), algorithm="model", placement="mode"
    ).agg(
        customer_count=pl.col("person_id").n_unique().cast(pl.Int64),
        offer_count=pl.len().cast(pl.Int64),
    )
    return (
        lists.join(until, how="cross")
        .with_columns(
            response_days=pl.lit(RESPONSE_DAYS, pl.Int64),
            is_response_complete=(last_day <= pl.col("until")).fill_null(False),
        )
        .select(list(DimRecommendations.columns()))
    )


class DimContent(Table, table="personalization.dim_content", sort_by=("content_key",)):
    """One row per product that can be recommended: what a page about it says; inferred where no catalogue has it."""

    content_key = String(primary_key=True, description="product_id")
    title = String(nullable=True)
    description = String(nullable=True)
    attributes = String(nullable=True)
    category = String(nullable=True)
    subcategory = String(nullable=True)
    brand = String(nullable=True)
    price = Money(nullable=True)
    currency = String(nullable=True)
    launched_on = Date(nullable=True)
    is_inferred = Boolean()


@loads(DimContent, mirrors=("silver.products",), where="NOT is_inferred")
def dim_content(silver_products: pl.LazyFrame, gold_recommendations: pl.LazyFrame) -> pl.LazyFrame:
    catalogue = silver_products.with_columns(content_key="product_id", title="product_name", is_inferred=pl.lit(False))
    named = gold_recommendations.select(content_key="product_id").unique()
    missing = named.join(catalogue, on="content_key", how="anti").with_columns(is_inferred=pl.lit(True))
    return pl.concat([catalogue, missing], how="diagonal").select(list(DimContent.columns()))


class FactPersonalizationEvents(
    Table,
    table="personalization.fact_personalization_events",
    per="person_id",
    sort_by=("date_key", "recommendation_key"),
):
    """One row per offered product and day and kind of event: the offer itself, then what the person did with the
    product.

    No impressions: see the module. Responses count within 14 days from as_of, the first day that the list did not know.
    """

    recommendation_key = String(primary_key=True, metadata=references("personalization.dim_recommendations"))
    customer_key = String(primary_key=True, metadata=references("customer.dim_customers"))
    content_key = String(primary_key=True, metadata=references("personalization.dim_content"))
    event_type = OneOf("OFFERED", *RESPONSES.values(), primary_key=True)
    date_key = Integer(primary_key=True, metadata=references("customer.dim_dates"), description="as_of for offers")
    position = Integer(description="Rank in the list")
    is_first = Boolean(description="First day of this kind for this offer; sums to offers with a response")
    event_count = Integer(description="Lines or events of the day; 1 for an offer")
    quantity = Integer(description="Pieces bought; 0 for other kinds")


@loads(FactPersonalizationEvents, mirrors=("gold.recommendations",), where="event_type = 'OFFERED'")
def fact_personalization_events(gold_recommendations: pl.LazyFrame, gold_interactions: pl.LazyFrame) -> pl.LazyFrame:
    offers = gold_recommendations.select(
        "person_id", "product_id", "as_of", recommendation_key=recommendation_key(), position="rank"
    )
    offered = offers.with_columns(
        event_type=pl.lit("OFFERED"), on="as_of", event_count=pl.lit(1, pl.Int64), quantity=pl.lit(0, pl.Int64)
    )
    since = pl.col("on") - pl.col("as_of")
    done = gold_interactions.select(
        "person_id", "product_id", "on", "quantity",
        event_type=pl.col("kind").replace_strict(RESPONSES, return_dtype=pl.String), event_count="count",
    )  # fmt: skip
    responses = offers.join(done, on=["person_id", "product_id"]).filter(
        since.is_between(timedelta(0), timedelta(days=RESPONSE_DAYS), closed="left")
    )
    offer = ("recommendation_key", "person_id", "product_id", "event_type")
    return (
        pl.concat([offered, responses], how="diagonal")
        .with_columns(
            customer_key=customer_key(),
            content_key="product_id",
            date_key=date_key("on"),
            is_first=pl.col("on") == pl.col("on").min().over(offer),
        )
        .select(list(FactPersonalizationEvents.columns()))
    )
