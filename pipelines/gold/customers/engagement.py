"""How a person answers to messages."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl

from customer360.platform.tables import Boolean, Float, Integer, String, Table, Timestamp

WINDOW_DAYS = 365
COUNTS = ("message_count", "opened_count", "clicked_count")


class Engagement(Table, serves="OPERATION"):
    """Messages of the last year and the answers to them."""

    message_count = Integer(
        description="Messages that were first sent in the last 365 days, as silver.messages has them: one a campaign,"
        " channel and account, however often it was sent. Tables of campaigns (gold.campaign_performance) count each"
        " message that the platform names, else one a day of sending"
    )
    opened_count = Integer(description="Of these, opened")
    clicked_count = Integer(description="Of these, clicked")
    open_rate = Float(nullable=True, description="Null without messages")
    click_rate = Float(nullable=True, description="clicked_count / message_count; null without messages")
    median_minutes_to_open = Float(nullable=True, description="From sending, of the opened ones that tell it")
    responsive_channel = String(
        nullable=True,
        description="Channel whose messages are opened most often, by counts alone: a"
        " difference may be chance, and consent is not asked. What is shown and allowed: contact_channel",
    )
    has_unsubscribed = Boolean(description="Ever, from any campaign")
    engagement_until_at = Timestamp(nullable=True, description="Latest sending or answer")


def engagement(profile: pl.LazyFrame, messages: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Adds Engagement; an answer on ``as_of`` or later is not known yet. ``messages``: silver.messages."""
    known = messages.filter(pl.col("person_id").is_not_null()).with_columns(
        pl.when(pl.col(c) < midnight(as_of)).then(pl.col(c)).alias(c)
        for c in ("sent_at", "opened_at", "clicked_at", "unsubscribed_at")
    )
    sent = pl.col("sent_at") >= midnight(as_of - timedelta(days=WINDOW_DAYS))
    opened, clicked = pl.col("opened_at").is_not_null(), pl.col("clicked_at").is_not_null()
    moments = pl.max_horizontal("sent_at", "opened_at", "clicked_at", "unsubscribed_at")
    folded = known.group_by("person_id").agg(
        message_count=sent.sum().cast(pl.Int64),
        opened_count=(sent & opened).sum().cast(pl.Int64),
        clicked_count=(sent & clicked).sum().cast(pl.Int64),
        median_minutes_to_open=pl.col("minutes_to_open").filter(sent & opened).median(),
        has_unsubscribed=pl.col("unsubscribed_at").is_not_null().any(),
        engagement_until_at=moments.max(),
    )
    joined = profile.join(folded, on="person_id", how="left").join(
        _responsive(known.filter(sent), opened), on="person_id", how="left"
    )
    return joined.with_columns(pl.col(COUNTS).fill_null(0), pl.col("has_unsubscribed").fill_null(False)).with_columns(
        open_rate=pl.when(pl.col("message_count") > 0).then(pl.col("opened_count") / pl.col("message_count")),
        click_rate=pl.when(pl.col("message_count") > 0).then(pl.col("clicked_count") / pl.col("message_count")),
    )


def _responsive(sent: pl.LazyFrame, opened: pl.Expr) -> pl.LazyFrame:
    rates = sent.group_by("person_id", "channel").agg(rate=opened.mean().round(6), opens=opened.sum())
    best = rates.filter(pl.col("opens") > 0).sort(
        "person_id", "rate", "opens", "channel", descending=[False, True, True, False]
    )
    return best.group_by("person_id", maintain_order=True).agg(responsive_channel=pl.col("channel").first())


def midnight(day: date) -> datetime:
    """The instant at which a day begins, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
