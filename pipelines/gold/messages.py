"""Messages one by one: how far each got, what came of it, and how many others its reader had got just before.

What tables of campaigns, channels and hours count, each over all messages: they are made subject by subject here, so
that a batch costs those whom it concerns.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from customer360.pipelines.campaigns import (
    MESSAGE,
    NAMES,
    TOUCHES,
    UNNAMED,
    messages_of,
    midnight,
    revenue_before,
)
from customer360.pipelines.money import TOTAL
from customer360.pipelines.rules import EngagementRules, EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Integer, String, Table, Timestamp, Total, personal


class MessageOutcomes(
    Table, table="gold.message_outcomes", per="subject_id", partition_by=("as_of",),
    sort_by=("subject_id", "sent_at", "campaign_id", "channel", "source_system", "customer_id", "message"),
    serves="OPERATION",  # that it was sent and read; what is concluded of a person serves its own table's purpose
):  # fmt: skip
    """One row per message, account and as_of date: how far it got and what followed, as known before the date.

    A message is told by the platform's id, else each day on which a campaign was sent to the account is one. A stage
    that a later one needs was passed. silver.messages counts a campaign once, however often it was sent.
    """

    subject_id = String(primary_key=True)
    source_system = String(primary_key=True)
    customer_id = String(primary_key=True, metadata=personal("account"))
    campaign_id = String(
        primary_key=True,
        description=f"As listed; a name that means no listed one stands as it is; {UNNAMED}: the message has none",
    )
    channel = String(primary_key=True, description="As the platform names it: EMAIL, SMS, …")
    message = String(
        primary_key=True, description="The platform's id, else the campaign, and from its second sending on `#` and"
        " which one it is",
    )  # fmt: skip
    as_of = Date(primary_key=True)
    person_id = String(nullable=True)
    first_at = Timestamp(description="First event of any kind")
    sent_at = Timestamp(nullable=True, description="Null where the platform reports no sending")
    opened_at = Timestamp(nullable=True, description="First opening by a person that is reported")
    clicked_at = Timestamp(nullable=True, description="First click by a person; a later one does not move it")
    last_clicked_at = Timestamp(nullable=True, description="Last click by a person")
    says_delivered = Boolean(description="Its delivery is reported")
    has_arrived = Boolean(description="Its delivery is reported, or what needs one")
    is_bounced = Boolean(description="Failed, and never arrived")
    is_unsubscribed = Boolean(description="Somebody unsubscribed by it")
    is_machine_opened = Boolean(description="Fetched by a program, whether a person opened it too or not")
    minutes_to_open = Integer(nullable=True, description="From sending; as the platform says, else as it is seen")
    minutes_to_click = Integer(nullable=True, description="As minutes_to_open")
    is_answered = Boolean(description="Opened or clicked by a person within the rule's days of sending")
    earlier_count = Integer(
        nullable=True,
        description="Messages of any campaign and channel that reached the subject in the rule's days before it; null"
        " where it was not sent, or bounced",
    )
    conversion_count = Integer(description="Purchases credited to it: it was the subject's latest click before them,"
                               " within the rule's days")  # fmt: skip
    unconverted_count = Integer(description="Of these, in a currency without a rate: in no amount")
    revenue_amount = Total(
        description="Of these purchases, less what was given back of them before as_of; in the reporting currency"
    )


@builds(
    MessageOutcomes,
    rules="enrichment",
    reads={
        "silver.touches": TOUCHES,
        "silver.transactions": ("subject_id", "occurred_at", "is_sale", "gross_amount", "return_amount", "returned_at",
                                "is_unconverted"),
        "silver.message_clicks": (*MESSAGE, "subject_id", "occurred_at"),
        "silver.campaign_synonyms": NAMES,
    },
)  # fmt: skip
def message_outcomes(
    silver_touches: pl.LazyFrame,
    silver_message_clicks: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_campaign_synonyms: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Messages of which anything is known before ``as_of``."""
    rules = params.engagement
    known = messages_of(silver_touches, silver_campaign_synonyms, as_of).collect()
    in_time = (pl.col("responded_at") - pl.col("sent_at")) <= timedelta(days=rules.response_days)
    return (
        with_earlier(known, timedelta(days=rules.frequency_days))
        .lazy()
        .with_columns(pl.col("campaign_id").fill_null(UNNAMED))
        .join(credited(silver_message_clicks, silver_transactions, as_of, rules), on=list(MESSAGE), how="left")
        .with_columns(
            pl.col("conversion_count", "unconverted_count").fill_null(0),
            pl.col("revenue_amount").fill_null(0).cast(TOTAL),
            is_answered=in_time.fill_null(False),
            as_of=pl.lit(as_of),
        )
        .select(list(MessageOutcomes.columns()))
    )


def with_earlier(known: pl.DataFrame, days: timedelta) -> pl.DataFrame:
    """Messages with ``earlier_count``; bounced ones reached nobody and count for none."""
    reached = pl.col("sent_at").is_not_null() & ~pl.col("is_bounced")
    sent = known.filter(reached).sort("subject_id", "sent_at")
    at, who = sent["sent_at"].to_physical().to_numpy(), sent["subject_id"].rle_id().to_numpy().astype(np.int64)
    moments = np.unique(at)
    # Subject and moment in one number, ordered as both: what lies between two of them is counted by looking up.
    place, since = (who * len(moments) + np.searchsorted(moments, t) for t in (at, at - days // timedelta.resolution))
    earlier = np.searchsorted(place, place) - np.searchsorted(place, since)
    counted = sent.with_columns(earlier_count=pl.Series(earlier, dtype=pl.Int64))
    return pl.concat([counted, known.filter(~reached).with_columns(earlier_count=pl.lit(None, pl.Int64))])


def credited(clicks: pl.LazyFrame, sales: pl.LazyFrame, as_of: date, rules: EngagementRules) -> pl.LazyFrame:
    """By `MESSAGE`: purchases within the rule's days of a click on it, where that is the subject's latest before; of
    messages of campaigns alone."""
    bought = (
        sales.filter("is_sale", pl.col("occurred_at") < midnight(as_of))
        .select(
            "subject_id",
            at="occurred_at",
            unconverted=pl.col("is_unconverted").fill_null(False),
            revenue=revenue_before(as_of),
        )
        .sort("at")
    )
    named = clicks.filter(pl.col("campaign_id") != UNNAMED, pl.col("occurred_at") < midnight(as_of))
    owners = named.select("subject_id", *MESSAGE, at="occurred_at").sort("at", *MESSAGE)
    latest = bought.join_asof(
        owners, on="at", by="subject_id", strategy="backward", tolerance=timedelta(days=rules.conversion_days),
        check_sortedness=False,
    ).filter(pl.col("message").is_not_null())  # fmt: skip
    return latest.group_by(MESSAGE).agg(
        conversion_count=pl.len().cast(pl.Int64),
        unconverted_count=pl.col("unconverted").sum().cast(pl.Int64),
        revenue_amount=pl.col("revenue").sum(),
    )
