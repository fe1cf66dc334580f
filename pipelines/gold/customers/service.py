"""What a person needed from the support desk, and how that went."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.gold.customers.engagement import midnight
from customer360.pipelines.inference import sums
from customer360.platform.tables import Float, Integer, Table, Timestamp

WINDOW_DAYS = 365


class Service(Table, serves="OPERATION"):
    """Tickets and contacts with the support desk."""

    ticket_count = Integer(description="Tickets ever")
    open_ticket_count = Integer(description="Not resolved before as_of")
    mean_resolution_hours = Float(nullable=True, description="Of tickets resolved before as_of")
    late_ticket_count = Integer(description="Of gold.ticket_outcomes: answered or solved after it was due, or overdue")
    reopened_ticket_count = Integer(description="Of gold.ticket_outcomes")
    reopen_rate = Float(nullable=True, description="Of the solved tickets of which it can be told; null: none")
    contact_count_365d = Integer(description="Contacts of the 365 days before as_of")
    escalation_count_365d = Integer(description="Contacts that were escalated")
    satisfaction = Float(nullable=True, description="Mean of all answers, 1 to 5: tickets and contacts")
    last_contact_at = Timestamp(nullable=True, description="Latest contact ever")
    service_until_at = Timestamp(nullable=True, description="Latest ticket, resolution or contact")


def service(
    profile: pl.LazyFrame, tickets: pl.LazyFrame, contacts: pl.LazyFrame, outcomes: pl.LazyFrame, as_of: date
) -> pl.LazyFrame:
    """Adds Service from silver.service_tickets, silver.service_contacts and gold.ticket_outcomes before ``as_of``."""
    cut = midnight(as_of)
    known = pl.col("person_id").is_not_null()
    resolved = (pl.col("resolved_at") < cut).fill_null(False)
    is_open = pl.when(pl.col("resolved_at").is_null()).then(pl.col("is_open")).otherwise(~resolved)
    asked = (
        tickets.filter(known, pl.col("created_at") < cut)
        .group_by("person_id")
        .agg(
            ticket_count=pl.len().cast(pl.Int64),
            open_ticket_count=is_open.sum().cast(pl.Int64),
            mean_resolution_hours=sums.mean(pl.col("resolution_minutes").filter(resolved)) / 60,
            ticket_stars=pl.col("satisfaction").filter(resolved).sum(),
            ticket_answers=pl.col("satisfaction").filter(resolved).count(),
            ticket_until_at=pl.max_horizontal("created_at", pl.when(resolved).then(pl.col("resolved_at"))).max(),
        )
    )
    is_late = pl.any_horizontal("is_response_late", "is_resolution_late").fill_null(False)
    went = (
        outcomes.filter(known)
        .group_by("person_id")
        .agg(
            late_ticket_count=is_late.sum().cast(pl.Int64),
            reopened_ticket_count=pl.col("is_reopened").sum().cast(pl.Int64),
            told_count=pl.col("is_reopened").count(),
        )
    )
    recent = pl.col("occurred_on") >= as_of - timedelta(days=WINDOW_DAYS)
    talked = (
        contacts.filter(known, pl.col("occurred_on") < as_of)
        .group_by("person_id")
        .agg(
            contact_count_365d=recent.sum().cast(pl.Int64),
            escalation_count_365d=(recent & (pl.col("escalation_level") > 0)).sum().cast(pl.Int64),
            contact_stars=pl.col("satisfaction").sum(),
            contact_answers=pl.col("satisfaction").count(),
            last_contact_at=pl.col("occurred_at").max(),
        )
    )
    counts = ("ticket_count", "open_ticket_count", "late_ticket_count", "reopened_ticket_count", "contact_count_365d",
              "escalation_count_365d")  # fmt: skip
    joined = profile
    for part in (asked, talked, went):
        joined = joined.join(part, on="person_id", how="left")
    answers = pl.sum_horizontal("ticket_answers", "contact_answers")
    return joined.with_columns(
        pl.col(counts).fill_null(0),
        reopen_rate=pl.when(pl.col("told_count") > 0).then(pl.col("reopened_ticket_count") / pl.col("told_count")),
        satisfaction=pl.when(answers > 0).then(pl.sum_horizontal("ticket_stars", "contact_stars") / answers),
        service_until_at=pl.max_horizontal("ticket_until_at", "last_contact_at"),
    )
