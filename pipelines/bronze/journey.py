"""Touchpoints that no other feed tells of: those of stores, of print, of events, and of systems of others."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import Boolean, Identifier, String, Table, Timestamp, personal


class Touchpoints(Table, table="bronze.touchpoints", key=("TOUCHPOINT_ID",), past=("TOUCHPOINT_DATE",)):
    """One row per delivered version of a contact between a person and the retailer.

    Types, channels and actions are the source's own words; `configs/rules/journey.yaml` makes stages and steps of them.
    """

    TOUCHPOINT_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: not identified")
    VISITOR_ID = Identifier(
        nullable=True, metadata=personal("device"), description="Cookie or device, where one is known"
    )
    TOUCHPOINT_TYPE = String(max_length=100, description="STORE_VISIT, CALL, CATALOGUE, EVENT, REVIEW, …")
    TOUCHPOINT_DATE = Timestamp()
    CHANNEL = String(nullable=True, max_length=100)
    ACTION = String(nullable=True, max_length=100, description="What happened; null: the type says it")
    CAMPAIGN_ID = Identifier(nullable=True)
    LOCATION_ID = Identifier(nullable=True, description="Store, or where it was")
    LOCATION_CONSENT = Boolean(
        nullable=True,
        description="Of a STORE_VISIT, whether the person agreed to be located: null is no yes, and without one it is"
        " nobody's visit, at no place",
    )
    REFERENCE_ID = Identifier(nullable=True, description="Transaction, ticket or document that it belongs to")

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("TOUCHPOINT_DATE")
