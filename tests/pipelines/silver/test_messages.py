"""What one message is: to the profile a campaign, to the tables of campaigns a sending."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from customer360.pipelines.campaigns import messages_of
from customer360.pipelines.gold.customers.engagement import Engagement, engagement
from customer360.pipelines.silver.campaign_names import CampaignNames
from customer360.pipelines.silver.engagement import Messages, Touches, messages
from customer360.platform import tables

AT, AS_OF = datetime(2026, 5, 4, 10, tzinfo=UTC), date(2026, 7, 1)


def test_two_sendings_of_a_campaign_are_one_message_of_the_profile_and_two_of_its_campaign() -> None:
    schema = tables.schema(Touches)
    sent: list[dict[str, Any]] = [
        {"engagement_id": str(week), "source_system": "CRM", "customer_id": "c1", "subject_id": "p1", "person_id": "p1",
         "campaign_id": "NEWS", "channel": "EMAIL", "action": "SENT", "occurred_at": AT + timedelta(weeks=week)}
        for week in range(2)
    ]  # fmt: skip
    touches = pl.LazyFrame([dict.fromkeys(schema) | row for row in sent], schema=schema, orient="row")
    folded = messages(touches)
    (row,) = folded.collect().to_dicts()
    assert row["sent_count"] == 2
    profile = engagement(pl.LazyFrame({"person_id": ["p1"]}), folded, AS_OF).collect()
    assert profile["message_count"].item() == 1
    names = pl.LazyFrame(schema=tables.schema(CampaignNames))
    assert messages_of(touches, names, AS_OF).collect().height == 2
    told = (Messages.__doc__ or "", Engagement.columns()["message_count"].description or "")
    assert all("gold.campaign_performance" in text for text in told), "both say that the other counts otherwise"
