"""Visits that no human makes, set apart: these and silver.sessions are together the visits of silver.events."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.sessions import (
    ODD_SESSIONS,
    PAGE_EVENTS,
    VISIT,
    automated,
    with_sessions,
)
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Integer, OneOf, String, Table, Timestamp

ACTIVITY: Activity = "standardization"


class SetApartSessions(
    Table, table="silver.set_apart_sessions", per="subject_id", sort_by=("started_at", "session_id")
):
    """One row per visit with more pages or events in a minute than a human makes."""

    session_id = String(primary_key=True)
    subject_id = String(primary_key=True)
    person_id = String(nullable=True)
    started_at = Timestamp()
    ended_at = Timestamp()
    event_count = Integer()
    page_view_count = Integer()
    reason = OneOf(
        *ODD_SESSIONS, description="By the rule file's traffic.most_pages_per_minute and most_events_per_minute"
    )


@builds(SetApartSessions, rules="standardization")
def set_apart_sessions(silver_events: pl.LazyFrame, params: StandardizationRules) -> pl.LazyFrame:
    """The visits that silver.sessions leaves out."""
    keyed = with_sessions(silver_events, params.traffic)
    odd = automated(keyed, params.traffic)
    return (
        keyed.join(odd, on=VISIT)
        .group_by(VISIT)
        .agg(
            person_id=pl.col("person_id").first(),
            started_at=pl.col("occurred_at").min(),
            ended_at=pl.col("occurred_at").max(),
            event_count=pl.len().cast(pl.Int64),
            page_view_count=pl.col("event_type").is_in(PAGE_EVENTS).sum().cast(pl.Int64),
            reason=pl.col("reason").first(),
        )
    )
