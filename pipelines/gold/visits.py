"""What a person's visits say at a date: the date-relative half of the specification's behavioural logic."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.vocabulary import JOURNEY_STAGES
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, List, String, Table, Timestamp


class EngagementBounds(Table, table="gold.engagement_bounds", partition_by=("as_of",)):
    """One row per as_of date: from which mean engagement on a person belongs to the top share of recent visitors."""

    as_of = Date(primary_key=True)
    visitor_count = Integer(description="People with a visit in the window")
    top_score = Float(nullable=True, description="Null without visitors")


@builds(
    EngagementBounds,
    rules="enrichment",
    reads={"silver.session_facts": ("person_id", "started_on", "engagement_score")},
    past={"silver.session_facts": "started_on"},
)
def engagement_bounds(silver_session_facts: pl.LazyFrame, as_of: date, params: EnrichmentRules) -> pl.LazyFrame:
    """A quantile over everybody, in a table of its own: the profiles are built person by person and could not see it.

    It finds engaged people where the fixed threshold finds buyers only (docs/specification.md#fault-32).
    """
    rules = params.standing
    scores = (
        silver_session_facts.filter(_known_before(as_of), pl.col("started_on") >= as_of - timedelta(rules.top_engagement_days))  # noqa: E501
        .group_by("person_id")
        .agg(sums.mean(pl.col("engagement_score")))
    )  # fmt: skip
    return scores.select(
        as_of=pl.lit(as_of),
        visitor_count=pl.len().cast(pl.Int64),
        top_score=pl.col("engagement_score").quantile(1 - rules.top_engagement_share, "higher"),
    )


class VisitProfiles(
    Table,
    table="gold.visit_profiles",
    per="person_id",
    partition_by=("as_of",),
    sort_by=("person_id",),
    serves="OPERATION",
):
    """One row per person with a visit before as_of: totals, habits and flags at that date."""

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    session_count = Integer(description="Visits ever")
    page_view_count = Integer(description="Pages of all visits")
    seconds_on_site = Integer(description="Of all visits")
    conversion_count = Integer(description="Purchases in visits")
    mean_engagement_score = Float(description="Mean of the visits' engagement_score")
    recent_engagement_score = Float(nullable=True, description="Mean of the window of engagement_bounds")
    first_session_at = Timestamp(description="Start of the first visit")
    last_session_at = Timestamp(description="Start of the last one")
    recency_days = Integer(description="Since the last visit")
    device_count = Integer(description="Different device types")
    intent_count = Integer(description="Different intents")
    usual_device_type = String(description="Of most visits; the first by name of equals")
    usual_channel_type = String(description="Of most visits; the first by name of equals")
    journey_stages = List(String(), description="Different stages of all visits, in order of their first")
    channel_types = List(String(), description="Different channels, in order of their first")
    furthest_stage = String(description="Furthest journey stage of any visit")
    is_active_user = Boolean(description="Last visit at most active_user_days ago (rule file)")
    is_frequent_user = Boolean(description="More visits than frequent_sessions_above (rule file)")
    is_converter_user = Boolean(description="Bought in a visit")
    is_mobile_user = Boolean(description="The last visit was on a mobile")
    is_top_engaged = Boolean(description="Among the top share of recent visitors by mean engagement")


@builds(
    VisitProfiles,
    rules="enrichment",
    reads={
        "silver.session_facts": (
            "person_id", "session_id", "started_at", "started_on", "page_view_count", "duration_seconds",
            "conversion_count", "engagement_score", "device_type", "intent", "channel_type", "journey_stage",
            "is_mobile",
        ),
        "gold.engagement_bounds": ("top_score",),
    },
)  # fmt: skip
def visit_profiles(
    silver_session_facts: pl.LazyFrame, gold_engagement_bounds: pl.LazyFrame, as_of: date, params: EnrichmentRules
) -> pl.LazyFrame:
    """Visits of known people strictly before ``as_of``, folded to the person; anonymous visitors have no row."""
    rules = params.standing
    past = silver_session_facts.filter(_known_before(as_of)).sort("person_id", "started_at", "session_id")
    recent = pl.col("started_on") >= as_of - timedelta(rules.top_engagement_days)
    folded = past.group_by("person_id", maintain_order=True).agg(
        session_count=pl.len().cast(pl.Int64),
        page_view_count=pl.col("page_view_count").sum(),
        seconds_on_site=pl.col("duration_seconds").sum(),
        conversion_count=pl.col("conversion_count").sum(),
        mean_engagement_score=sums.mean(pl.col("engagement_score")),
        recent_engagement_score=sums.mean(pl.col("engagement_score").filter(recent)),
        first_session_at=pl.col("started_at").min(),
        last_session_at=pl.col("started_at").max(),
        recency_days=(pl.lit(as_of) - pl.col("started_on").max()).dt.total_days(),
        device_count=pl.col("device_type").n_unique().cast(pl.Int64),
        intent_count=pl.col("intent").n_unique().cast(pl.Int64),
        usual_device_type=pl.col("device_type").mode().sort().first(),
        usual_channel_type=pl.col("channel_type").mode().sort().first(),
        journey_stages=pl.col("journey_stage").unique(maintain_order=True),
        channel_types=pl.col("channel_type").unique(maintain_order=True),
        furthest=pl.col("journey_stage").replace_strict(STAGE_RANKS, return_dtype=pl.Int64).max(),
        is_mobile_user=pl.col("is_mobile").last(),
    )
    bounded = folded.join(gold_engagement_bounds.select("top_score"), how="cross")
    return bounded.with_columns(
        as_of=pl.lit(as_of),
        furthest_stage=pl.col("furthest").replace_strict({r: s for s, r in STAGE_RANKS.items()}, return_dtype=pl.String),  # noqa: E501
        is_active_user=pl.col("recency_days") <= rules.active_user_days,
        is_frequent_user=pl.col("session_count") > rules.frequent_sessions_above,
        is_converter_user=pl.col("conversion_count") > 0,
        is_top_engaged=(pl.col("recent_engagement_score") >= pl.col("top_score")).fill_null(False),
    ).select(list(VisitProfiles.columns()))  # fmt: skip


STAGE_RANKS = {stage: rank for rank, stage in enumerate(JOURNEY_STAGES)}


def _known_before(as_of: date) -> pl.Expr:
    return pl.col("person_id").is_not_null() & (pl.col("started_on") < as_of)
