"""Contacts with customers, their tickets, and the agents who answer."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import (
    Boolean,
    Date,
    Float,
    Identifier,
    Integer,
    OneOf,
    String,
    Table,
    Timestamp,
    personal,
)

PRIORITIES = ("LOW", "MEDIUM", "HIGH", "URGENT")
LONGEST = 10 * 366 * 24 * 60  # minutes that something takes; beyond are milliseconds, or a number for "none"


class ServiceInteractions(
    Table, table="bronze.service_interactions", key=("INTERACTION_ID",), past=("INTERACTION_DATE",)
):
    """One row per delivered version of a contact between a customer and the support desk."""

    INTERACTION_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: not identified")
    TICKET_ID = Identifier(nullable=True, description="Null: answered without a ticket")
    INTERACTION_TYPE = OneOf("EMAIL", "PHONE", "CHAT", "SOCIAL", "IN_PERSON")
    INTERACTION_DATE = Timestamp()
    INTERACTION_CHANNEL = String(nullable=True, max_length=100)
    AGENT_ID = Identifier(nullable=True)
    INTERACTION_SUBJECT = String(nullable=True, max_length=1000, metadata=personal("text"))
    INTERACTION_DESCRIPTION = String(nullable=True, metadata=personal("text"))
    INTERACTION_OUTCOME = String(nullable=True, max_length=255)
    RESOLUTION_TIME = Integer(nullable=True, min=0, max=LONGEST, description="Minutes")
    SATISFACTION_SCORE = Integer(nullable=True, min=1, max=5)
    SENTIMENT_SCORE = Float(nullable=True, min=-1, max=1)
    PRIORITY_LEVEL = OneOf(*PRIORITIES, nullable=True)
    CATEGORY = OneOf("BILLING", "TECHNICAL", "PRODUCT", "GENERAL", nullable=True)
    SUBCATEGORY = String(nullable=True, max_length=255)
    FOLLOW_UP_REQUIRED = Boolean(nullable=True)
    ESCALATION_LEVEL = Integer(nullable=True, min=0)

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("INTERACTION_DATE")


class ServiceTickets(
    Table,
    table="bronze.service_tickets",
    key=("TICKET_ID",),
    version="LAST_UPDATED_DATE",
    past=("CREATION_DATE", "RESOLUTION_DATE"),
):
    """One row per delivered version of a ticket."""

    TICKET_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: not identified")
    TICKET_STATUS = OneOf("OPEN", "IN_PROGRESS", "RESOLVED", "CLOSED")
    TICKET_PRIORITY = OneOf(*PRIORITIES, nullable=True)
    CREATION_DATE = Timestamp()
    RESOLUTION_DATE = Timestamp(nullable=True)
    FIRST_RESPONSE_TIME = Integer(nullable=True, min=0, max=LONGEST, description="Minutes")
    TOTAL_RESOLUTION_TIME = Integer(nullable=True, min=0, max=LONGEST, description="Minutes")
    ASSIGNED_AGENT_ID = Identifier(nullable=True)
    TICKET_SOURCE = String(nullable=True, max_length=255)
    TICKET_CATEGORY = String(nullable=True, max_length=255)
    CUSTOMER_SATISFACTION = Integer(nullable=True, min=1, max=5)
    LAST_UPDATED_DATE = Timestamp(nullable=True, description="Orders versions: a ticket changes until it is closed")

    @dy.rule()
    def is_resolved_after_it_is_created(cls) -> pl.Expr:
        return pl.col("RESOLUTION_DATE") >= pl.col("CREATION_DATE")

    @dy.rule()
    def was_created_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("CREATION_DATE")


class Agents(Table, table="bronze.agents", key=("AGENT_ID",), erasure="none"):
    """One row per delivered version of a support agent.

    Other tables of the specification refer to it, which does not define it: docs/specification.md#fault-30.
    """

    AGENT_ID = Identifier(nullable=False)
    AGENT_NAME = String(nullable=True, max_length=500, metadata=personal("name"))
    TEAM = String(nullable=True, max_length=255)
    HIRED_DATE = Date(nullable=True)
    AGENT_STATUS = OneOf("ACTIVE", "INACTIVE", nullable=True)
