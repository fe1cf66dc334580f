"""What third parties say about customers: profiles of social networks and enrichment services, and sentiment."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.platform.tables import Date, Float, Identifier, Integer, OneOf, String, Table, Timestamp, personal


class ExternalProfiles(
    Table, table="bronze.external_profiles", key=("PROFILE_ID",), version="LAST_UPDATED", past=("PROFILE_DATE",)
):
    """One row per delivered version of a third party's profile of a customer."""

    PROFILE_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=False, metadata=personal("account"))
    DATA_SOURCE = OneOf("FACEBOOK", "TWITTER", "LINKEDIN", "ENRICHMENT")
    PROFILE_TYPE = OneOf("SOCIAL", "DEMOGRAPHIC", "PSYCHOGRAPHIC", nullable=True)
    PROFILE_DATE = Date(nullable=True)
    AGE_RANGE = OneOf("18-24", "25-34", "35-44", "45-54", "55+", nullable=True, metadata=personal("birth"))
    GENDER = String(nullable=True, max_length=100, metadata=personal("person"))
    EDUCATION_LEVEL = String(nullable=True, max_length=255, metadata=personal("person"))
    OCCUPATION = String(nullable=True, max_length=255, metadata=personal("person"))
    INCOME_RANGE = String(nullable=True, max_length=100, metadata=personal("person"))
    INTERESTS = String(nullable=True, max_length=4000, metadata=personal("text"), description="JSON array")
    LIFESTYLE_FACTORS = String(nullable=True, max_length=4000, metadata=personal("text"), description="JSON array")
    SOCIAL_MEDIA_ACTIVITY = OneOf("HIGH", "MEDIUM", "LOW", nullable=True)
    INFLUENCE_SCORE = Float(nullable=True, min=0, max=1)
    DATA_QUALITY_SCORE = Float(nullable=True, min=0, max=1)
    LAST_UPDATED = Timestamp(nullable=True)


class ExternalSentiment(Table, table="bronze.external_sentiment", key=("SENTIMENT_ID",), past=("SENTIMENT_DATE",)):
    """One row per delivered version of a day's sentiment of a customer about one matter."""

    SENTIMENT_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=False, metadata=personal("account"))
    DATA_SOURCE = String(nullable=True, max_length=255)
    SENTIMENT_DATE = Date()
    SENTIMENT_TYPE = OneOf("BRAND", "PRODUCT", "SERVICE", "COMPETITOR")
    SENTIMENT_SCORE = Float(min=-1, max=1)
    SENTIMENT_MAGNITUDE = Float(nullable=True, min=0, max=1)
    MENTION_COUNT = Integer(nullable=True, min=0)
    POSITIVE_MENTIONS = Integer(nullable=True, min=0)
    NEGATIVE_MENTIONS = Integer(nullable=True, min=0)
    NEUTRAL_MENTIONS = Integer(nullable=True, min=0)
    KEYWORDS = String(nullable=True, max_length=4000, metadata=personal("text"), description="JSON array")
    CONTEXT = String(nullable=True, metadata=personal("text"))

    @dy.rule()
    def mentions_add_up(cls) -> pl.Expr:
        parts = pl.col("POSITIVE_MENTIONS") + pl.col("NEGATIVE_MENTIONS") + pl.col("NEUTRAL_MENTIONS")
        return parts == pl.col("MENTION_COUNT")
