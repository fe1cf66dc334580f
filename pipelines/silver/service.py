"""Agents, tickets and contacts with their subject and how long things took."""

from __future__ import annotations

from typing import Any

import polars as pl

from customer360.pipelines.rules.service import ServiceRules
from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.texts import statements as texts
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds, joined_on
from customer360.platform.tables import Boolean, Date, Float, Integer, String, Table, Timestamp, personal

ACTIVITY: Activity = "validation"


class Agents(Table, table="silver.agents", per="agent_id", sort_by=("agent_id",)):
    """One row per support agent of one system."""

    agent_id = String(primary_key=True)
    source_system = String(primary_key=True)
    agent_name = String(nullable=True, metadata=personal("name"))
    team = String(nullable=True)
    hired_on = Date(nullable=True)
    agent_status = String(nullable=True)


@builds(Agents)
def agents(bronze_agents: pl.LazyFrame) -> pl.LazyFrame:
    """Current agents."""
    same = ("agent_id", "agent_name", "team", "agent_status")
    return bronze_agents.select(
        *(pl.col(c.upper()).alias(c) for c in same), source_system="_source_system", hired_on="HIRED_DATE"
    )


class ServiceTickets(Table, table="silver.service_tickets", per="ticket_id", sort_by=("created_at", "ticket_id")):
    """One row per ticket, as last delivered."""

    ticket_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    created_at = Timestamp()
    resolved_at = Timestamp(nullable=True)
    ticket_status = String()
    is_open = Boolean()
    priority = String(nullable=True)
    category = String(nullable=True)
    origin = String(nullable=True, description="Where the ticket came from (TICKET_SOURCE)")
    agent_id = String(nullable=True)
    first_response_minutes = Integer(nullable=True)
    resolution_minutes = Integer(nullable=True, description="As reported, else from creation to resolution")
    satisfaction = Integer(nullable=True, description="1 to 5")


TICKET_OWNER = Owner(at="created_at", otherwise=own_key("k", "ticket_id"))


@builds(ServiceTickets, follows=TICKET_OWNER.of, reached=TICKET_OWNER.reached)
def service_tickets(bronze_service_tickets: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Tickets with their subject."""
    took = (pl.col("RESOLUTION_DATE") - pl.col("CREATION_DATE")).dt.total_minutes()
    facts = bronze_service_tickets.select(
        *(pl.col(c.upper()).alias(c) for c in ("ticket_id", "customer_id", "ticket_status")),
        source_system="_source_system",
        created_at="CREATION_DATE",
        resolved_at="RESOLUTION_DATE",
        is_open=pl.col("TICKET_STATUS").is_in(["OPEN", "IN_PROGRESS"]),
        priority="TICKET_PRIORITY",
        category="TICKET_CATEGORY",
        origin="TICKET_SOURCE",
        agent_id="ASSIGNED_AGENT_ID",
        first_response_minutes="FIRST_RESPONSE_TIME",
        resolution_minutes=pl.coalesce("TOTAL_RESOLUTION_TIME", took),
        satisfaction="CUSTOMER_SATISFACTION",
    )
    return TICKET_OWNER.of(facts, silver_identity_links)


class ServiceContacts(
    Table, table="silver.service_contacts", per="interaction_id", sort_by=("occurred_at", "interaction_id")
):
    """One row per contact between a customer and the support desk."""

    interaction_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    ticket_id = String(nullable=True)
    is_orphan = Boolean(description="Names a ticket that was not delivered")
    occurred_at = Timestamp()
    occurred_on = Date()
    contact_type = String()
    channel = String(nullable=True)
    agent_id = String(nullable=True)
    subject_line = String(nullable=True, metadata=personal("text"))
    outcome = String(nullable=True)
    resolution_minutes = Integer(nullable=True)
    satisfaction = Integer(nullable=True, description="1 to 5")
    sentiment_score = Float(nullable=True, description="-1 to 1")
    priority = String(nullable=True)
    category = String(nullable=True)
    subcategory = String(nullable=True)
    needs_follow_up = Boolean()
    escalation_level = Integer(description="0: not escalated")
    text_language = String(nullable=True, description="ISO 639-1 of subject and description; null: not told")
    text_sentiment = Float(nullable=True, description="-1 to 1, read from them; null: not read in this language")
    text_terms = String(description="Terms of the rule file `service` that occur in them, with | between; else empty")


CONTACT_OWNER = Owner(at="occurred_at", otherwise=own_key("i", "interaction_id"))


@builds(
    ServiceContacts,
    rules="service",
    reads={"silver.service_tickets": ("ticket_id", "source_system")},
    follows=CONTACT_OWNER.of,
    reached=CONTACT_OWNER.reached,
    concerns={"silver.service_tickets": joined_on("ticket_id", "source_system")},
)
def service_contacts(
    bronze_service_interactions: pl.LazyFrame,
    silver_identity_links: pl.LazyFrame,
    silver_service_tickets: pl.LazyFrame,
    params: ServiceRules,
) -> pl.LazyFrame:
    """Contacts with their subject; one without its ticket is kept, as an orphan. The description is read and stays in
    bronze."""
    same = ("interaction_id", "customer_id", "ticket_id", "agent_id", "sentiment_score", "category", "subcategory")
    facts = bronze_service_interactions.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        occurred_at="INTERACTION_DATE",
        occurred_on=pl.col("INTERACTION_DATE").dt.date(),
        contact_type="INTERACTION_TYPE",
        channel="INTERACTION_CHANNEL",
        subject_line="INTERACTION_SUBJECT",
        outcome="INTERACTION_OUTCOME",
        resolution_minutes="RESOLUTION_TIME",
        satisfaction="SATISFACTION_SCORE",
        priority="PRIORITY_LEVEL",
        needs_follow_up=pl.col("FOLLOW_UP_REQUIRED").fill_null(False),
        escalation_level=pl.col("ESCALATION_LEVEL").fill_null(0),
        text__=pl.concat_str("INTERACTION_SUBJECT", "INTERACTION_DESCRIPTION", separator=".\n", ignore_nulls=True),
    )
    delivered = silver_service_tickets.select("ticket_id", "source_system", is_delivered=pl.lit(True))
    joined = (
        _read(facts, params)
        .join(delivered, on=["ticket_id", "source_system"], how="left")
        .with_columns(is_orphan=pl.col("ticket_id").is_not_null() & pl.col("is_delivered").is_null())
    )
    return CONTACT_OWNER.of(joined.drop("is_delivered"), silver_identity_links)


def _read(facts: pl.LazyFrame, rules: ServiceRules) -> pl.LazyFrame:
    """With language, sentiment and known terms of the text in its place."""
    rows = facts.collect()
    said = [text if text and text.strip() else None for text in rows["text__"]]
    known: dict[str | None, tuple[str | None, float | None, str]] = {}
    for text in sorted({text for text in said if text is not None}):
        language = texts.language_of(text)
        terms = texts.found_terms(text, rules.terms)
        known[text] = (
            language,
            texts.sentiment_of(text, language),
            "|".join(sorted({t for each in terms.values() for t in each})),
        )
    schema: dict[str, Any] = {"text_language": pl.String, "text_sentiment": pl.Float64, "text_terms": pl.String}
    read = pl.DataFrame([known.get(text, (None, None, "")) for text in said], schema=schema, orient="row")
    return rows.drop("text__").hstack(read).lazy()
