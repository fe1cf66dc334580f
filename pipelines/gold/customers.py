"""The customer view: features, RFM bounds, and one dated profile a person."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.gold.features import FEATURES, features
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import (
    Boolean,
    Date,
    Float,
    Integer,
    List,
    Money,
    OneOf,
    String,
    Struct,
    Table,
    Timestamp,
    personal,
)

RFM_GROUPS = 5
TOP_CATEGORIES = 3


class CustomerFeatures(
    Table, table="gold.customer_features", per="person_id", partition_by=("as_of",), sort_by=("person_id",)
):
    """One row per person and as_of date: what models read, from days strictly before as_of."""

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    vars().update({name: Float(nullable=True) for name in FEATURES})  # declared once, where they are computed


@builds(CustomerFeatures)
def customer_features(silver_subject_days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Point-in-time features of every person seen before ``as_of``."""
    return features(silver_subject_days, as_of).with_columns(as_of=pl.lit(as_of))


class RfmBounds(Table, table="gold.rfm_bounds", partition_by=("as_of",)):
    """One row per as_of date: the inner fifths of recency, frequency and spending over all buyers of the last year."""

    as_of = Date(primary_key=True)
    recency_days = List(Float())
    order_count = List(Float())
    gross_amount = List(Float())


@builds(RfmBounds)
def rfm_bounds(gold_customer_features: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """A global quantile is a table of its own, so that profiles can be built person by person."""
    buyers = gold_customer_features.filter(pl.col("recency_days") <= 365)
    steps = [i / RFM_GROUPS for i in range(1, RFM_GROUPS)]

    def fifths(column: str) -> pl.Expr:
        return pl.concat_list(pl.col(column).quantile(q).fill_null(0.0) for q in steps)

    return buyers.select(
        as_of=pl.lit(as_of),
        recency_days=fifths("recency_days"),
        order_count=fifths("order_count_365d"),
        gross_amount=fifths("gross_amount_365d"),
    )


class Customer360(Table, table="gold.customer_360", per="person_id", partition_by=("as_of",), sort_by=("person_id",)):
    """One row per person and as_of date: who it is, what it is worth, how it behaves, what is expected of it."""

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    # identity
    first_name = String(nullable=True, metadata=personal("name"))
    last_name = String(nullable=True, metadata=personal("name"))
    email_address = String(nullable=True, metadata=personal("email"))
    phone_number = String(nullable=True, metadata=personal("phone"))
    city = String(nullable=True, metadata=personal("address"))
    state_code = String(nullable=True)
    country_code = String(nullable=True)
    record_count = Integer(description="Accounts that were resolved to this person")
    source_systems = List(String())
    customer_segment = String(
        nullable=True, description="PREMIUM, STANDARD or BASIC, as the master data says (fault 20)"
    )
    loyalty_tier = String(nullable=True)
    loyalty_points = Integer(nullable=True)
    registered_on = Date(nullable=True)
    # consent
    may_personalize = Boolean()
    may_email = Boolean()
    may_sms = Boolean()
    # value
    first_purchase_on = Date(nullable=True)
    last_purchase_on = Date(nullable=True)
    recency_days = Integer(nullable=True)
    order_count = Integer()
    order_count_365d = Integer()
    gross_amount = Money()
    return_amount = Money()
    net_amount = Money()
    gross_amount_365d = Money()
    mean_order_amount = Float(nullable=True)
    value_segment = String(description="Band of net spending and orders (rule file: value_segments)")
    lifetime_value_rule = Float(description="The specification's formula: spending x recency factor x frequency factor")
    rfm_recency = Integer(
        nullable=True, description="5: most recent fifth of last year's buyers; null: no purchase in a year"
    )
    rfm_frequency = Integer(nullable=True)
    rfm_monetary = Integer(nullable=True)
    rfm_segment = String(nullable=True)
    lifecycle_stage = OneOf("PROSPECT", "NEW", "ACTIVE", "LAPSING", "LAPSED")
    # behaviour
    session_count_30d = Integer()
    last_seen_on = Date(nullable=True)
    engagement_level = OneOf("NONE", "LOW", "MEDIUM", "HIGH")
    top_categories = List(String())
    preferred_channel = String(nullable=True)
    store_order_share = Float(nullable=True)
    online_order_share = Float(nullable=True)
    mobile_order_share = Float(nullable=True)
    # scores, where a champion model has scored
    churn_probability = Float(nullable=True)
    churn_reasons = List(
        Struct({"feature": String(), "value": Float(nullable=True), "contribution": Float()}), nullable=True
    )
    churn_model_version = String(nullable=True)
    # freshness
    facts_until_at = Timestamp(nullable=True, description="Latest fact that the row knows")


@builds(Customer360, rules="enrichment")
def customer_360(
    silver_people: pl.LazyFrame,
    silver_subject_days: pl.LazyFrame,
    silver_preferences: pl.LazyFrame,
    gold_interactions: pl.LazyFrame,
    gold_rfm_bounds: pl.LazyFrame,
    gold_predictions: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Every resolved person with its history strictly before ``as_of``; people without activity are prospects."""
    known = ["person_id", "first_name", "last_name", "email_address", "phone_number", "city", "state_code", "country_code",
             "record_count", "source_systems", "customer_segment", "loyalty_tier", "loyalty_points", "registered_on"]  # fmt: skip
    profile = (
        silver_people.select(known)
        .join(_history(silver_subject_days, as_of), on="person_id", how="left")
        .join(_consents(silver_preferences, params), on="person_id", how="left")
        .join(_top_categories(gold_interactions, as_of), on="person_id", how="left")
        .join(_scores(gold_predictions), on="person_id", how="left")
        .join(gold_rfm_bounds.drop("as_of").rename(lambda c: f"bounds_{c}"), how="cross")
    )
    counted = profile.with_columns(
        pl.col("order_count", "order_count_365d", "session_count_30d").fill_null(0),
        pl.col("gross_amount", "return_amount", "net_amount", "gross_amount_365d").fill_null(0),
        pl.col("may_personalize", "may_email", "may_sms").fill_null(params.consent_default),
        pl.col("top_categories").fill_null([]),
    )
    return (
        counted.with_columns(as_of=pl.lit(as_of), **_value(params), **_rfm(), **_stage(params, as_of))
        .with_columns(rfm_segment=_rfm_segment())
        .select(list(Customer360.columns()))
    )


def _history(days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    past = days.filter(pl.col("person_id").is_not_null(), pl.col("on") < as_of)
    bought, last_year = pl.col("order_count") > 0, pl.col("on") >= as_of - timedelta(days=365)
    last_month = pl.col("on") >= as_of - timedelta(days=30)
    channels = ("store_order_count", "online_order_count", "mobile_order_count")
    history = past.group_by("person_id").agg(
        first_purchase_on=pl.col("on").filter(bought).min(),
        last_purchase_on=pl.col("on").filter(bought).max(),
        order_count=pl.col("order_count").sum(),
        order_count_365d=pl.col("order_count").filter(last_year).sum(),
        gross_amount=pl.col("gross_amount").sum(),
        return_amount=pl.col("return_amount").sum(),
        net_amount=pl.col("net_amount").sum(),
        gross_amount_365d=pl.col("gross_amount").filter(last_year).sum(),
        session_count_30d=pl.col("session_count").filter(last_month).sum(),
        last_seen_on=pl.col("on").max(),
        facts_until_at=pl.col("last_at").max(),
        **{c: pl.col(c).sum() for c in channels},
    )
    shares = {
        f"{c.removesuffix('_order_count')}_order_share": pl.when(pl.col("order_count") > 0).then(
            pl.col(c) / pl.col("order_count")
        )
        for c in channels
    }
    store, online, mobile = (pl.col(c) for c in channels)
    preferred = (
        pl.when(pl.col("order_count") == 0).then(None)
        .when((store >= online) & (store >= mobile)).then(pl.lit("IN_STORE"))
        .when(online >= mobile).then(pl.lit("ONLINE"))
        .otherwise(pl.lit("MOBILE"))
    )  # fmt: skip
    return history.with_columns(
        recency_days=(pl.lit(as_of) - pl.col("last_purchase_on")).dt.total_days(),
        mean_order_amount=pl.when(pl.col("order_count") > 0).then(
            pl.col("gross_amount").cast(pl.Float64) / pl.col("order_count")
        ),
        preferred_channel=preferred,
        **shares,
    ).drop(channels)


def _consents(preferences: pl.LazyFrame, params: EnrichmentRules) -> pl.LazyFrame:
    """The strictest answer of all accounts of a person: one refusal refuses."""
    answers = preferences.filter(
        pl.col("person_id").is_not_null(), pl.col("is_active"), pl.col("preference_type") == "COMMUNICATION"
    )

    def allowed(purpose: str) -> pl.Expr:
        said = pl.col("is_allowed").filter(pl.col("purpose") == purpose)
        return said.all() & ((said.len() > 0) | params.consent_default)

    return answers.group_by("person_id").agg(
        may_personalize=allowed("PERSONALIZATION"), may_email=allowed("EMAIL"), may_sms=allowed("SMS")
    )


def _top_categories(interactions: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Categories by purchases, then views, of the last year."""
    recent = interactions.filter(
        pl.col("category").is_not_null(), pl.col("on") < as_of, pl.col("on") >= as_of - timedelta(days=365)
    )
    counted = recent.group_by("person_id", "category").agg(
        bought=pl.col("count").filter(pl.col("kind") == "purchase").sum(),
        viewed=pl.col("count").filter(pl.col("kind") == "view").sum(),
    )
    ranked = counted.sort("person_id", "bought", "viewed", "category", descending=[False, True, True, False])
    return ranked.group_by("person_id", maintain_order=True).agg(top_categories=pl.col("category").head(TOP_CATEGORIES))


def _scores(predictions: pl.LazyFrame) -> pl.LazyFrame:
    return predictions.filter(pl.col("model") == "churn").select(
        "person_id", churn_probability="score", churn_reasons="reasons", churn_model_version="version"
    )


def _value(params: EnrichmentRules) -> dict[str, pl.Expr]:
    """Value segment by the rule file's bands, and the specification's lifetime value (lines 757-1078), on net spending."""
    spent, orders, recency = pl.col("net_amount").cast(pl.Float64), pl.col("order_count"), pl.col("recency_days")
    segment = pl.coalesce(
        *(
            pl.when((spent > b.spent_above) & (orders > b.orders_above)).then(pl.lit(b.name))
            for b in params.value_segments
        ),
        pl.lit(params.lowest_value_segment),
    )
    recency_factor = (
        pl.when(recency <= 30).then(1.2).when(recency <= 90).then(1.0).when(recency <= 180).then(0.8).otherwise(0.5)
    )
    frequency_factor = (
        pl.when(orders > 50).then(1.5).when(orders > 20).then(1.2).when(orders > 5).then(1.0).otherwise(0.7)
    )
    return {"value_segment": segment, "lifetime_value_rule": (spent * recency_factor * frequency_factor).round(2)}


def _rfm() -> dict[str, pl.Expr]:
    """Fifths against the bounds of all buyers; 5 is best."""
    bought = pl.col("order_count_365d") > 0

    def above(value: pl.Expr, bounds: str) -> pl.Expr:
        passed = [(value > pl.col(bounds).list.get(i)).cast(pl.Int64) for i in range(RFM_GROUPS - 1)]
        return pl.sum_horizontal(passed)

    recency = RFM_GROUPS - above(pl.col("recency_days").cast(pl.Float64), "bounds_recency_days")
    return {
        "rfm_recency": pl.when(bought).then(recency),
        "rfm_frequency": pl.when(bought).then(
            1 + above(pl.col("order_count_365d").cast(pl.Float64), "bounds_order_count")
        ),
        "rfm_monetary": pl.when(bought).then(
            1 + above(pl.col("gross_amount_365d").cast(pl.Float64), "bounds_gross_amount")
        ),
    }


def _rfm_segment() -> pl.Expr:
    recency, frequency = pl.col("rfm_recency"), (pl.col("rfm_frequency") + pl.col("rfm_monetary")) / 2
    return (
        pl.when(recency.is_null()).then(None)
        .when((recency >= 4) & (frequency >= 4)).then(pl.lit("CHAMPION"))
        .when((recency >= 3) & (frequency >= 3)).then(pl.lit("LOYAL"))
        .when(recency >= 4).then(pl.lit("PROMISING"))
        .when((recency <= 2) & (frequency >= 3.5)).then(pl.lit("AT_RISK"))
        .when(recency <= 2).then(pl.lit("HIBERNATING"))
        .otherwise(pl.lit("NEEDS_ATTENTION"))
    )  # fmt: skip


def _stage(params: EnrichmentRules, as_of: date) -> dict[str, pl.Expr]:
    recency, sessions = pl.col("recency_days"), pl.col("session_count_30d")
    tenure = (pl.lit(as_of) - pl.col("first_purchase_on")).dt.total_days()
    stage = (
        pl.when(recency.is_null()).then(pl.lit("PROSPECT"))
        .when(tenure <= params.new_days).then(pl.lit("NEW"))
        .when(recency <= params.active_days).then(pl.lit("ACTIVE"))
        .when(recency <= params.lapsing_days).then(pl.lit("LAPSING"))
        .otherwise(pl.lit("LAPSED"))
    )  # fmt: skip
    engagement = (
        pl.when(sessions >= params.engaged_sessions_30d).then(pl.lit("HIGH"))
        .when(sessions >= 2).then(pl.lit("MEDIUM"))
        .when(sessions >= 1).then(pl.lit("LOW"))
        .otherwise(pl.lit("NONE"))
    )  # fmt: skip
    return {"lifecycle_stage": stage, "engagement_level": engagement}
