"""What it costs customers to get something resolved: contacts a resolution, repeats, and changes of channel."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.inference.proportions import design_effect, squares_of, wilson, z_of
from customer360.pipelines.inference.verdicts import MEASURED, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules.journey import JourneyRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

ALL = "ALL"
LEAST = 20  # tickets or contacts, below which nothing is told
CELL = ["month", "category"]
TICKET = ["ticket_id", "source_system"]


class CustomerEffort(Table, table="gold.customer_effort", partition_by=("as_of",), sort_by=("month", "category")):
    """One row per month, category of the matter (ALL: every one) and as_of date: tickets of the month that were
    resolved before as_of and took a contact, as gold.ticket_outcomes counts them (contacts up to the resolution) but of
    all that was delivered, not of a window, and contacts of the month whose time for a repeat is over. Categories as
    delivered, else as read from the words.
    """

    as_of = Date(primary_key=True)
    month = Date(primary_key=True, description="First day of the calendar month of the ticket, and of the contact")
    category = String(primary_key=True, description=f"{ALL}: every one; UNKNOWN: neither delivered nor read")
    status = OneOf(
        MEASURED,
        NOT_ENOUGH_EVIDENCE,
        description=f"NOT_ENOUGH_EVIDENCE: fewer than {LEAST} tickets; then their rates are null",
    )
    resolved_count = Integer(description="Tickets")
    contact_count = Integer(description="Contacts about these tickets")
    contacts_per_resolution = Float(nullable=True, description="contact_count / resolved_count")
    contacts_per_resolution_low = Float(nullable=True)
    contacts_per_resolution_high = Float(nullable=True)
    single_contact_count = Integer(description="Tickets that took one contact")
    single_contact_rate = Float(nullable=True, description="single_contact_count / resolved_count")
    single_contact_rate_low = Float(nullable=True)
    single_contact_rate_high = Float(nullable=True)
    switched_count = Integer(description="Tickets with contacts on more than one channel")
    switched_rate = Float(nullable=True, description="switched_count / resolved_count")
    switched_rate_low = Float(nullable=True)
    switched_rate_high = Float(nullable=True)
    followed_count = Integer(description="Contacts of known subjects, whose days for a repeat are over at as_of")
    repeat_count = Integer(description="Of these, followed by one of the same subject and category within these days")
    repeat_rate = Float(nullable=True, description="repeat_count / followed_count; null where there are too few. Its"
                        " interval is wider as contacts of one subject are alike")  # fmt: skip
    repeat_rate_low = Float(nullable=True)
    repeat_rate_high = Float(nullable=True)


@builds(
    CustomerEffort,
    rules="journey",
    reads={
        "silver.service_contacts": (
            "interaction_id", *TICKET, "subject_id", "occurred_at", "contact_type", "category",
        ),
        "silver.contact_categories": ("interaction_id", "source_system", "category_read"),
        "silver.service_tickets": (*TICKET, "created_at", "resolved_at", "category"),
        "silver.ticket_clocks": (*TICKET, "contact_count"),
    },
)  # fmt: skip
def customer_effort(
    silver_service_contacts: pl.LazyFrame,
    silver_contact_categories: pl.LazyFrame,
    silver_service_tickets: pl.LazyFrame,
    silver_ticket_clocks: pl.LazyFrame,
    as_of: date,
    params: JourneyRules,
) -> pl.LazyFrame:
    """Tickets by the month that they were made in, contacts by their own."""
    now = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    read = silver_contact_categories.select("interaction_id", "source_system", "category_read")
    contacts = (
        silver_service_contacts.filter(pl.col("occurred_at") < now)
        .join(read, on=["interaction_id", "source_system"], how="left")
        .with_columns(category=pl.coalesce("category", "category_read", pl.lit("UNKNOWN")))
    )
    made = silver_service_tickets.filter(pl.col("created_at") < now, pl.col("resolved_at") < now)
    solved = made.join(silver_ticket_clocks, on=TICKET)
    told = (
        contacts.join(solved.select(*TICKET, "resolved_at"), on=TICKET)
        .group_by(TICKET)
        .agg(
            channels=pl.col("contact_type").filter(pl.col("occurred_at") <= pl.col("resolved_at")).n_unique(),
            category_read=pl.col("category_read").sort_by("occurred_at", "interaction_id").drop_nulls().first(),
        )
    )
    tickets = solved.filter(pl.col("contact_count") > 0).join(told, on=TICKET, how="left").select(
        "channels",
        contacts="contact_count",
        month=_month("created_at"),
        category=pl.coalesce("category", "category_read", pl.lit("UNKNOWN")),
    )  # fmt: skip
    count = pl.col("contacts")
    resolved = _with_all(tickets).group_by(CELL).agg(
        resolved_count=pl.len().cast(pl.Int64), contact_count=count.sum(),
        spread=sums.deviation(count) / pl.len().sqrt(),
        single_contact_count=(count == 1).sum().cast(pl.Int64),
        switched_count=(pl.col("channels") > 1).sum().cast(pl.Int64),
    )  # fmt: skip
    both = resolved.join(_repeats(contacts, now, params), on=CELL, how="full", coalesce=True)
    counts = [c for c in CustomerEffort.columns() if c.endswith("_count")]
    return _rated(both.with_columns(pl.col(counts).fill_null(0)), params).with_columns(as_of=pl.lit(as_of)).select(
        list(CustomerEffort.columns())
    )  # fmt: skip


def _month(column: str) -> pl.Expr:
    return pl.col(column).dt.date().dt.truncate("1mo")


def _with_all(rows: pl.LazyFrame) -> pl.LazyFrame:
    return pl.concat([rows, rows.with_columns(category=pl.lit(ALL))])


def _repeats(contacts: pl.LazyFrame, now: pl.Expr, params: JourneyRules) -> pl.LazyFrame:
    window = pl.duration(days=params.repeat_days)
    following = pl.col("occurred_at").shift(-1).over("subject_id", "category") - pl.col("occurred_at")
    rows = (
        contacts.sort("subject_id", "occurred_at")
        .with_columns(is_repeated=(following <= window).fill_null(False))
        .filter(pl.col("occurred_at") + window < now, ~pl.col("subject_id").str.starts_with("i:"))
        .select("is_repeated", "category", "subject_id", month=_month("occurred_at"))
    )
    people = _with_all(rows).group_by(*CELL, "subject_id").agg(
        n=pl.len().cast(pl.Int64), a=pl.col("is_repeated").sum().cast(pl.Int64)
    )  # fmt: skip
    return people.group_by(CELL).agg(
        followed_count=pl.col("n").sum(), repeat_count=pl.col("a").sum(), squares=squares_of(pl.col("a"), pl.col("n"))
    )


def _rated(rows: pl.LazyFrame, params: JourneyRules) -> pl.LazyFrame:
    resolved, enough = pl.col("resolved_count"), pl.col("resolved_count") >= LEAST
    mean = pl.col("contact_count") / resolved
    half = z_of(params.confidence) * pl.col("spread")
    told = {
        "contacts_per_resolution": pl.when(enough).then(mean),
        "contacts_per_resolution_low": pl.when(enough).then(mean - half),
        "contacts_per_resolution_high": pl.when(enough).then(mean + half),
    }
    for name, of in (("single_contact", "resolved"), ("switched", "resolved"), ("repeat", "followed")):
        hits, base = pl.col(f"{name}_count"), pl.col(f"{of}_count")
        # One who asks again and again is one, however many of the contacts are its own.
        design = design_effect(hits, base, pl.col("squares").fill_null(0.0)) if name == "repeat" else pl.lit(1.0)
        low, high = wilson(hits / design, base / design, params.confidence)
        for suffix, value in (("rate", hits / base), ("rate_low", low), ("rate_high", high)):
            told[f"{name}_{suffix}"] = pl.when(base >= LEAST).then(value)
    return rows.with_columns(
        status=pl.when(enough).then(pl.lit(MEASURED)).otherwise(pl.lit(NOT_ENOUGH_EVIDENCE)), **told
    )
