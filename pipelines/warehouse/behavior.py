"""Schema BEHAVIOR: visits, touchpoints and journeys, by the customers and days of schema CUSTOMER."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.gold.visits import VisitProfiles
from customer360.pipelines.warehouse.keys import customer_key, date_key, session_key, time_key
from customer360.pipelines.warehouse.touchpoints import KINDS, SOURCES, contacts
from customer360.platform.stars import loads, references
from customer360.platform.tables import Boolean, Float, Integer, OneOf, String, Table, Timestamp

DAY_PARTS = {"NIGHT": range(6), "MORNING": range(6, 12), "AFTERNOON": range(12, 18), "EVENING": range(18, 24)}


class DimTimes(Table, table="behavior.dim_times", sort_by=("time_key",)):
    """One row per hour of the day, UTC; days are in customer.dim_dates."""

    time_key = Integer(primary_key=True, description="The hour, 0 to 23")
    hour = Integer(nullable=True)
    day_part = String(nullable=True, description="Of the hour of UTC, not of a customer's own time")
    is_business_hour = Boolean(nullable=True, description="9 to 17 of UTC")


@loads(DimTimes)
def dim_times() -> pl.LazyFrame:
    hours = [(hour, hour, part, 9 <= hour < 17) for part, span in DAY_PARTS.items() for hour in span]
    return pl.LazyFrame(hours, schema=list(DimTimes.columns()), orient="row")


class DimTouchpoints(Table, table="behavior.dim_touchpoints", sort_by=("touchpoint_key",)):
    """One row per way in which customers and retailer meet: kind, channel and action, with how much it is used."""

    touchpoint_key = String(primary_key=True, description="kind/channel/action")
    kind = OneOf(*KINDS, nullable=True)
    channel = String(nullable=True)
    action = String(nullable=True)
    is_by_customer = Boolean(nullable=True, description="False: a message's event that is no response of the customer")
    interaction_count = Integer()
    known_customer_count = Integer(description="Different people; guests are not among them")


@loads(DimTouchpoints)
def dim_touchpoints(
    silver_session_facts: pl.LazyFrame,
    silver_touches: pl.LazyFrame,
    silver_service_contacts: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
) -> pl.LazyFrame:
    every = contacts(silver_session_facts, silver_touches, silver_service_contacts, silver_transactions)
    return every.group_by("touchpoint_key", "kind", "channel", "action").agg(
        is_by_customer=pl.col("is_response").fill_null(True).any(),
        interaction_count=pl.len().cast(pl.Int64),
        known_customer_count=pl.col("person_id").drop_nulls().n_unique().cast(pl.Int64),
    )


class DimSessions(Table, table="behavior.dim_sessions", per="subject_id", sort_by=("started_at", "session_key")):
    """One row per visit: what kind of visit it was."""

    session_key = String(primary_key=True, description="session_id@subject_id")
    session_id = String()
    started_at = Timestamp(nullable=True)
    ended_at = Timestamp(nullable=True)
    session_class = String(nullable=True)
    intent = String(nullable=True)
    journey_stage = String(nullable=True)
    device_type = String(nullable=True)
    channel_type = String(nullable=True)
    session_number = Integer(nullable=True, description="1 for the subject's first visit")
    is_mobile = Boolean(nullable=True)
    is_returning = Boolean(nullable=True)
    is_high_engagement = Boolean(nullable=True)
    is_converter = Boolean(nullable=True)
    landing_referrer_host = String(nullable=True)
    traffic_source = String(nullable=True)
    campaign_id = String(nullable=True)


VISIT = ("subject_id", "session_id")


@loads(DimSessions, mirrors=("silver.session_facts",))
def dim_sessions(silver_session_facts: pl.LazyFrame, silver_sessions: pl.LazyFrame) -> pl.LazyFrame:
    details = silver_sessions.select(*VISIT, "ended_at", "landing_referrer_host", "traffic_source", "campaign_id")
    joined = silver_session_facts.join(details, on=VISIT, how="left")
    return joined.with_columns(session_key=session_key()).select(list(DimSessions.columns()))


class FactEngagements(Table, table="behavior.fact_engagements", per="subject_id", sort_by=("date_key", "customer_key")):
    """One row per visit: how long, how far, how engaged."""

    session_key = String(primary_key=True, metadata=references("behavior.dim_sessions"))
    customer_key = String(metadata=references("customer.dim_customers"))
    date_key = Integer(metadata=references("customer.dim_dates"))
    time_key = Integer(metadata=references("behavior.dim_times"))
    touchpoint_key = String(metadata=references("behavior.dim_touchpoints"))
    duration_seconds = Integer()
    event_count = Integer(nullable=True)
    page_view_count = Integer()
    interaction_count = Integer()
    product_view_count = Integer(nullable=True)
    search_count = Integer(nullable=True)
    wishlist_add_count = Integer(nullable=True)
    cart_add_count = Integer(nullable=True)
    checkout_count = Integer(nullable=True)
    conversion_count = Integer(description="Purchases")
    engagement_score = Float()
    bounce_rate = Float()
    pages_per_minute = Float()


@loads(FactEngagements, mirrors=("silver.session_facts",))
def fact_engagements(silver_session_facts: pl.LazyFrame, silver_sessions: pl.LazyFrame) -> pl.LazyFrame:
    counts = (
        "event_count",
        "product_view_count",
        "search_count",
        "wishlist_add_count",
        "cart_add_count",
        "checkout_count",
    )
    joined = silver_session_facts.join(silver_sessions.select(*VISIT, *counts), on=VISIT, how="left")
    return joined.with_columns(
        session_key=session_key(),
        customer_key=customer_key(),
        date_key=date_key("started_on"),
        time_key=time_key("started_at"),
        touchpoint_key=pl.concat_str(pl.lit("VISIT/"), "channel_type", pl.lit("/VISITED")),
    ).select(list(FactEngagements.columns()))


class FactJourneys(Table, table="behavior.fact_journeys", per="subject_id", sort_by=("date_key", "journey_id")):
    """One row per step of a journey: the contacts of one subject in order, from one purchase to the next."""

    interaction_id = String(primary_key=True, description="As in customer.fact_interactions")
    kind = OneOf(*KINDS, primary_key=True)
    journey_id = String(description="kind:interaction_id of its first step")
    customer_key = String(metadata=references("customer.dim_customers"))
    date_key = Integer(metadata=references("customer.dim_dates"))
    time_key = Integer(metadata=references("behavior.dim_times"))
    touchpoint_key = String(metadata=references("behavior.dim_touchpoints"))
    occurred_at = Timestamp()
    journey_number = Integer(description="1 for the subject's first")
    step_number = Integer(description="1 for the journey's first")
    step_count = Integer(description="Of the whole journey")
    minutes_since_previous = Integer(nullable=True, description="Since the step before in the journey")
    minutes_from_start = Integer()
    is_conversion = Boolean(description="A completed purchase: it ends the journey")
    has_converted = Boolean(description="The journey ended with a purchase; else it is still open")


@loads(FactJourneys, mirrors=SOURCES)
def fact_journeys(
    silver_session_facts: pl.LazyFrame,
    silver_touches: pl.LazyFrame,
    silver_service_contacts: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
) -> pl.LazyFrame:
    """A journey belongs to a subject, so that what visitors do before anybody knows them counts too."""
    at, journey = pl.col("occurred_at"), ("subject_id", "journey_number")
    every = contacts(silver_session_facts, silver_touches, silver_service_contacts, silver_transactions)
    ordered = every.sort("subject_id", "occurred_at", "kind", "interaction_id")
    bought = pl.col("is_purchase").cast(pl.Int64)
    numbered = ordered.with_columns(journey_number=(bought.cum_sum() - bought).over("subject_id") + 1)
    return numbered.with_columns(
        journey_id=pl.concat_str("kind", "interaction_id", separator=":").first().over(journey),
        step_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(journey),
        step_count=pl.len().over(journey).cast(pl.Int64),
        minutes_since_previous=(at - at.shift().over(journey)).dt.total_minutes(),
        minutes_from_start=(at - at.first().over(journey)).dt.total_minutes(),
        is_conversion="is_purchase",
        has_converted=pl.col("is_purchase").any().over(journey),
    ).select(list(FactJourneys.columns()))


class CustomerBehavior(Table, table="behavior.customer_behavior", per="person_id", sort_by=("as_of", "person_id")):
    """One row per person with a visit before as_of: every column of gold.visit_profiles."""

    person_id = String(primary_key=True, metadata=references("customer.dim_customers"))
    vars().update({n: c for n, c in VisitProfiles.columns().items() if n != "person_id"})


@loads(CustomerBehavior, mirrors=("gold.visit_profiles",))
def customer_behavior(gold_visit_profiles: pl.LazyFrame) -> pl.LazyFrame:
    return gold_visit_profiles
