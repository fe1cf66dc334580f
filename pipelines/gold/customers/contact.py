"""How a person is best written to."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.gold.customers.consent import CONTACTS
from customer360.platform.tables import Boolean, Integer, OneOf, String, Table, Timestamp


class Contact(Table, serves="PROFILING"):
    """Over which channel and at which hour the person is likely to answer, as far as messages of a year tell."""

    contact_channel = String(
        nullable=True,
        description="Where its messages are answered best: the first of gold.channel_preferences, if its status is"
        " CLEAR and marketing may use it (may_email, may_sms, may_push, may_call); else null",
    )
    contact_channel_message_count = Integer(nullable=True, description="Messages over contact_channel")
    is_contact_channel_clear = Boolean(
        nullable=True,
        description="Whether one channel is above each other at the rule's confidence, be it allowed or not; null"
        " without messages",
    )
    best_send_hour = Integer(nullable=True, min=0, max=23, description="UTC; null where nothing tells one")
    best_send_hour_basis = OneOf(
        "PERSON", "SEGMENT", nullable=True,
        description="PERSON: clear of its own messages, else SEGMENT: the best of gold.response_rates, if hours differ",
    )  # fmt: skip
    best_send_hour_message_count = Integer(nullable=True, description="Messages at it that this rests on")
    contact_until_at = Timestamp(nullable=True, description="Latest sending or answer; null without messages")


def contact(
    profile: pl.LazyFrame, people: pl.LazyFrame, channels: pl.LazyFrame, hours: pl.LazyFrame, rates: pl.LazyFrame
) -> pl.LazyFrame:
    """Adds Contact to a profile with Consent and Engagement, from gold.channel_preferences,
    gold.send_hour_preferences and gold.response_rates."""
    first = pl.col("rank") == 1
    channel = channels.filter(first).select(
        "person_id",
        best_channel="channel",
        best_channel_message_count="message_count",
        is_contact_channel_clear=pl.col("status") == "CLEAR",
    )
    own = hours.filter(first, pl.col("status") == "CLEAR").select(
        "person_id", own_hour="send_hour", own_count="message_count"
    )
    best = rates.filter(pl.col("kind") == "HOUR", "is_best").sort("choice").unique("segment", keep="first")
    told = best.select("segment", hour=pl.col("choice").cast(pl.Int64), count="message_count")
    everybody = told.filter(pl.col("segment") == "ALL").select(hour_all="hour", count_all="count")
    segments = people.select("person_id", segment=pl.col("customer_segment").fill_null("UNSTATED"))
    joined = (
        profile.join(channel, on="person_id", how="left")
        .join(own, on="person_id", how="left")
        .join(segments, on="person_id", how="left")
        .join(told, on="segment", how="left")
        .join(everybody, how="left", on=pl.lit(1))
    )
    hour = pl.coalesce("own_hour", "hour", "hour_all")
    may = pl.any_horizontal((pl.col("best_channel") == purpose) & pl.col(c) for c, purpose in CONTACTS.items())
    is_told = pl.col("is_contact_channel_clear") & may
    return joined.with_columns(
        contact_channel=pl.when(is_told).then("best_channel"),
        contact_channel_message_count=pl.when(is_told).then("best_channel_message_count"),
        best_send_hour=hour,
        best_send_hour_message_count=pl.when(pl.col("own_hour").is_not_null()).then("own_count")
        .when(pl.col("hour").is_not_null()).then("count").otherwise("count_all"),
        contact_until_at=pl.when(pl.col("best_channel").is_not_null()).then("engagement_until_at"),
        best_send_hour_basis=pl.when(pl.col("own_hour").is_not_null()).then(pl.lit("PERSON"))
        .when(hour.is_not_null()).then(pl.lit("SEGMENT")),
    )  # fmt: skip
