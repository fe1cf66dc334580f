"""Every contact between a customer and the retailer in one shape: visits, messages, service and receipts."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.warehouse.keys import customer_key, date_key, record_key, session_key, time_key

KINDS = ("VISIT", "MESSAGE", "SERVICE", "RECEIPT")
SOURCES = ("silver.session_facts", "silver.touches", "silver.service_contacts", "silver.transactions")


def touchpoint_key() -> pl.Expr:
    return pl.concat_str("kind", "channel", "action", separator="/")


def contacts(
    session_facts: pl.LazyFrame, touches: pl.LazyFrame, service_contacts: pl.LazyFrame, transactions: pl.LazyFrame
) -> pl.LazyFrame:
    """Contacts with subject, keys and what each kind measures (null for the others)."""
    visits = session_facts.select(
        "subject_id", "person_id", "duration_seconds",
        kind=pl.lit("VISIT"), interaction_id=session_key(), occurred_at="started_at",
        channel="channel_type", action=pl.lit("VISITED"),
    )  # fmt: skip
    messages = touches.select(
        "subject_id", "person_id", "occurred_at", "channel", "action", "is_response",
        kind=pl.lit("MESSAGE"), interaction_id=record_key("engagement_id"),
    )  # fmt: skip
    service = service_contacts.select(
        "subject_id", "person_id", "occurred_at", "channel", "satisfaction", "sentiment_score", "resolution_minutes",
        kind=pl.lit("SERVICE"), interaction_id=record_key("interaction_id"), action="contact_type",
    )  # fmt: skip
    completed = pl.col("transaction_status") == "COMPLETED"
    receipts = transactions.select(
        "subject_id", "person_id", "occurred_at", "gross_amount", "return_amount", "net_amount",
        kind=pl.lit("RECEIPT"), interaction_id=record_key("transaction_id"), channel="channel_group",
        action=pl.when(completed).then("transaction_type").otherwise("transaction_status"),
        is_purchase=pl.col("is_sale"),
    )  # fmt: skip
    together = pl.concat([visits, messages, service, receipts], how="diagonal")
    named = together.with_columns(
        pl.col("channel", "action").fill_null("UNKNOWN"), is_purchase=pl.col("is_purchase").fill_null(False)
    )
    return named.with_columns(
        customer_key=customer_key(),
        date_key=date_key("occurred_at"),
        time_key=time_key("occurred_at"),
        touchpoint_key=touchpoint_key(),
    )
