"""Campaigns, and what marketing automation sent to customers and heard back."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import (
    Boolean,
    Country,
    Currency,
    Date,
    Float,
    Identifier,
    Integer,
    Money,
    OneOf,
    String,
    Table,
    Timestamp,
    personal,
)


class EngagementEvents(Table, table="bronze.engagement_events", key=("ENGAGEMENT_ID",), past=("ENGAGEMENT_DATE",)):
    """One row per delivered version of a message event: sent, delivered, opened, clicked or unsubscribed."""

    ENGAGEMENT_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=False, metadata=personal("account"))
    ENGAGEMENT_TYPE = OneOf("EMAIL", "SMS", "PUSH", "SOCIAL", "IN_APP", "ADS")
    ENGAGEMENT_DATE = Timestamp()
    CAMPAIGN_ID = Identifier(nullable=True, description="Null: a message outside campaigns")
    CAMPAIGN_NAME = String(nullable=True, max_length=500)
    MESSAGE_SUBJECT = String(nullable=True, max_length=1000, metadata=personal("text"))
    MESSAGE_CONTENT = String(nullable=True, metadata=personal("text"))
    ENGAGEMENT_ACTION = OneOf("SENT", "DELIVERED", "OPENED", "CLICKED", "UNSUBSCRIBED")
    ENGAGEMENT_STATUS = OneOf("SUCCESS", "FAILED", "BOUNCED", nullable=True)
    DEVICE_TYPE = OneOf(*v.DEVICE_TYPES, nullable=True)
    LOCATION_COUNTRY = Country(nullable=True)
    TIME_TO_OPEN = Integer(nullable=True, min=0, description="Minutes from sending")
    TIME_TO_CLICK = Integer(nullable=True, min=0, description="Minutes from sending")
    CONVERSION_RESULT = String(nullable=True, max_length=255)
    MESSAGE_ID = Identifier(
        nullable=True, description="The platform's id of the message that the event is of; null: one a campaign"
    )
    USER_AGENT = String(nullable=True, metadata=personal("agent"), description="Of what fetched or followed a link")
    IS_MACHINE = Boolean(
        nullable=True,
        description="As the platform says: the work of a program (privacy proxy, prefetch, security scanner)",
    )

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("ENGAGEMENT_DATE")


class MarketingCampaigns(Table, table="bronze.marketing_campaigns", key=("CAMPAIGN_ID",), erasure="none"):
    """One row per delivered version of a campaign (columns of the ER diagram)."""

    CAMPAIGN_ID = Identifier(nullable=False)
    CAMPAIGN_NAME = String(nullable=True, max_length=500)
    CAMPAIGN_TYPE = String(nullable=True, max_length=255)
    START_DATE = Date(nullable=True)
    END_DATE = Date(nullable=True)
    BUDGET = Money(nullable=True, min=0)
    SPENT_AMOUNT = Money(nullable=True, min=0)
    CONTROL_SHARE = Float(
        nullable=True, min=0, max=1, description="Share of the chosen customers that was to be held back"
    )
    CURRENCY_CODE = Currency(nullable=True, description="Of budget and spending; null: the reporting currency")
    TARGET_AUDIENCE = String(nullable=True, max_length=500)
    CAMPAIGN_STATUS = String(nullable=True, max_length=100)
    CREATED_BY = String(nullable=True, max_length=255)

    @dy.rule()
    def ends_after_it_starts(cls) -> pl.Expr:
        return pl.col("END_DATE") >= pl.col("START_DATE")


class CampaignAudiences(Table, table="bronze.campaign_audiences", key=("CUSTOMER_ID", "CAMPAIGN_ID")):
    """One row per delivered version of a customer's place in a campaign (no effect shows
    without a control group).
    """

    CUSTOMER_ID = Identifier(nullable=False, metadata=personal("account"))
    CAMPAIGN_ID = Identifier(nullable=False)
    AUDIENCE_GROUP = OneOf("TREATMENT", "CONTROL")
    ASSIGNED_DATE = Date()


class CampaignAliases(Table, table="bronze.campaign_aliases", key=("PLATFORM", "ALIAS"), erasure="none"):
    """One row per delivered version of another name of a campaign: what an ad platform, a mailer or a link calls it."""

    PLATFORM = String(max_length=255, description="Whose name it is: MAILCHIMP, META, UTM; names are compared alike")
    ALIAS = String(max_length=500)
    CAMPAIGN_ID = Identifier(nullable=False)
