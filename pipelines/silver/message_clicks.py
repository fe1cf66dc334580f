"""Clicks on messages: which message each was on, of those that a campaign sent to one account."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.campaigns import NAMES, TOUCHES, UNNAMED, clicks_of
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import String, Table, Timestamp, personal

ACTIVITY: Activity = "validation"


class MessageClicks(
    Table, table="silver.message_clicks", per="subject_id",
    sort_by=("occurred_at", "campaign_id", "channel", "source_system", "customer_id", "message"),
):  # fmt: skip
    """One row per message, account and moment at which a person clicked on it; later clicks count, too.

    Messages are those of gold.message_outcomes, and so are their campaigns.
    """

    subject_id = String(primary_key=True)
    source_system = String(primary_key=True)
    customer_id = String(primary_key=True, metadata=personal("account"))
    campaign_id = String(primary_key=True, description=f"As in gold.message_outcomes; {UNNAMED}: the message has none")
    channel = String(primary_key=True, description="As the platform names it: EMAIL, SMS, …")
    message = String(primary_key=True, description="As in gold.message_outcomes")
    occurred_at = Timestamp(primary_key=True)
    person_id = String(nullable=True)


@builds(MessageClicks, reads={"silver.touches": TOUCHES, "silver.campaign_synonyms": NAMES})
def message_clicks(silver_touches: pl.LazyFrame, silver_campaign_synonyms: pl.LazyFrame) -> pl.LazyFrame:
    """Clicks that no program made; which message one is on is told by what was sent before it alone."""
    clicks = clicks_of(silver_touches, silver_campaign_synonyms)
    return clicks.with_columns(pl.col("campaign_id").fill_null(UNNAMED)).select(list(MessageClicks.columns()))
