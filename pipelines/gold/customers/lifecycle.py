"""When a person was last seen; and what it is judged to be: its stage between first purchase and lapse, its bands of
spending and engagement."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table, Timestamp


class Lifecycle(Table, serves="OPERATION"):
    """Activity, and the segment of the master data."""

    session_count_30d = Integer(description="Visits of the 30 days before as_of")
    last_seen_on = Date(nullable=True, description="Latest day with a purchase, a return or a visit")
    customer_segment = String(
        nullable=True,
        description="PREMIUM, STANDARD or BASIC, as the master data says; what is derived is value_segment",
    )
    furthest_stage = String(nullable=True, description="Furthest journey stage of any visit")
    facts_until_at = Timestamp(nullable=True, description="Latest purchase, return or visit that the row knows")
    lifecycle_until_at = Timestamp(nullable=True, description="As facts_until_at")


class Standing(Table, serves="PROFILING"):
    """What a person is judged to be by rules; null of who refuses to be profiled."""

    value_segment = String(
        nullable=True,
        description="Band of net spending and orders since the first (rule file: value_segments). The lowest is called"
        " NEW in the specification, whenever the person came: who is new tells lifecycle_stage",
    )
    lifetime_value_rule = Float(
        nullable=True,
        description="The specification's formula: net spending so far x recency factor x frequency factor, in the"
        " reporting currency. It forecasts nothing; what is expected of a horizon is clv_amount",
    )
    lifecycle_stage = OneOf(
        "PROSPECT",
        "NEW",
        "ACTIVE",
        "LAPSING",
        "LAPSED",
        nullable=True,
        description="By the days since the first and the last purchase (rule file: new_days, active_days,"
        " lapsing_days); PROSPECT never bought",
    )
    engagement_level = OneOf(
        "NONE",
        "LOW",
        "MEDIUM",
        "HIGH",
        nullable=True,
        description="By session_count_30d: none, 1, more, the rule file's engaged_sessions_30d",
    )
    is_top_engaged = Boolean(nullable=True, description="Among the top share of recent visitors by mean engagement")
    standing_until_at = Timestamp(nullable=True, description="As facts_until_at")


def lifecycle(
    profile: pl.LazyFrame,
    people: pl.LazyFrame,
    days: pl.LazyFrame,
    visits: pl.LazyFrame,
    params: EnrichmentRules,
    as_of: date,
) -> pl.LazyFrame:
    """Adds Lifecycle and Standing to a profile with Value; ``visits``: gold.visit_profiles."""
    past = days.filter(pl.col("person_id").is_not_null(), pl.col("on") < as_of)
    seen = past.group_by("person_id").agg(
        session_count_30d=pl.col("session_count").filter(pl.col("on") >= as_of - timedelta(days=30)).sum(),
        last_seen_on=pl.col("on").max(),
        facts_until_at=pl.col("last_at").max(),
    )
    joined = (
        profile.join(people.select("person_id", "customer_segment"), on="person_id", how="left")
        .join(seen, on="person_id", how="left")
        .join(visits.select("person_id", "furthest_stage", "is_top_engaged"), on="person_id", how="left")
    )
    return joined.with_columns(
        pl.col("session_count_30d").fill_null(0),
        pl.col("is_top_engaged").fill_null(False),
        lifecycle_until_at=pl.col("facts_until_at"),
        standing_until_at=pl.col("facts_until_at"),
    ).with_columns(lifecycle_stage=_stage(params, as_of), engagement_level=_engagement(params))


def _stage(params: EnrichmentRules, as_of: date) -> pl.Expr:
    recency = pl.col("recency_days")
    tenure = (pl.lit(as_of) - pl.col("first_purchase_on")).dt.total_days()
    return (
        pl.when(recency.is_null()).then(pl.lit("PROSPECT"))
        .when(tenure <= params.new_days).then(pl.lit("NEW"))
        .when(recency <= params.active_days).then(pl.lit("ACTIVE"))
        .when(recency <= params.lapsing_days).then(pl.lit("LAPSING"))
        .otherwise(pl.lit("LAPSED"))
    )  # fmt: skip


def _engagement(params: EnrichmentRules) -> pl.Expr:
    sessions = pl.col("session_count_30d")
    return (
        pl.when(sessions >= params.engaged_sessions_30d).then(pl.lit("HIGH"))
        .when(sessions >= 2).then(pl.lit("MEDIUM"))
        .when(sessions >= 1).then(pl.lit("LOW"))
        .otherwise(pl.lit("NONE"))
    )  # fmt: skip
