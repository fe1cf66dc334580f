"""Stores as the master data lists them, areas by postal code, and who was in a store."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import (
    Boolean,
    Country,
    Date,
    Float,
    Identifier,
    Integer,
    OneOf,
    State,
    String,
    Table,
    Timestamp,
    personal,
)


class Stores(Table, table="bronze.stores", key=("STORE_ID",), erasure="none"):
    """One row per delivered version of a store."""

    STORE_ID = Identifier(nullable=False)
    STORE_NAME = String(nullable=True, max_length=500)
    ADDRESS_LINE_1 = String(nullable=True, max_length=500)
    CITY = String(nullable=True, max_length=255)
    STATE_CODE = State(nullable=True)
    ZIP_CODE = Identifier(nullable=True)
    COUNTRY_CODE = Country(nullable=True)
    REGION = String(nullable=True, max_length=255)
    LATITUDE = Float(nullable=True, min=-90, max=90)
    LONGITUDE = Float(nullable=True, min=-180, max=180)
    OPENED_DATE = Date(nullable=True)
    CLOSED_DATE = Date(nullable=True, description="Last day of business; empty: it is open, as far as is known")


class AreaCentroids(
    Table, table="bronze.area_centroids", key=("POSTAL_CODE", "COUNTRY_CODE", "PLACE_NAME"), erasure="none"
):
    """One row per delivered version of a place of a postal code: where it lies, and how many live there.

    Public lists have this form (GeoNames' postal codes, the ZCTA gazetteer of the US Census Bureau); addresses are
    found in it without a call to anybody.
    """

    COUNTRY_CODE = Country(nullable=False)
    POSTAL_CODE = Identifier(nullable=False)
    PLACE_NAME = String(
        nullable=False, max_length=255, description="City or town; of a list without names the postal code again"
    )
    STATE_CODE = State(nullable=True)
    LATITUDE = Float(nullable=False, min=-90, max=90)
    LONGITUDE = Float(nullable=False, min=-180, max=180)
    POPULATION = Integer(nullable=True, min=0, description="Of the place; null where the list does not tell")

    @dy.rule()
    def lies_somewhere(cls) -> pl.Expr:
        return (pl.col("LATITUDE") != 0) | (pl.col("LONGITUDE") != 0)  # a list's way to say unknown; open sea


VISIT_SOURCES = ("WIFI", "BEACON", "APP", "CHECK_IN", "COUNTER")


class StoreVisits(Table, table="bronze.store_visits", key=("VISIT_ID",), past=("ENTERED_AT", "LEFT_AT")):
    """One row per delivered version of a visit to a store: of a known account, of a device, or counted at the door."""

    VISIT_ID = Identifier(nullable=False)
    STORE_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"))
    VISITOR_ID = Identifier(nullable=True, metadata=personal("device"), description="Device or cookie id")
    ENTERED_AT = Timestamp(nullable=False)
    LEFT_AT = Timestamp(nullable=True)
    VISIT_SOURCE = OneOf(*VISIT_SOURCES, description="COUNTER: people counted at the door, nobody told apart")
    PERSON_COUNT = Integer(nullable=True, min=0, description="Of a COUNTER the people since its last row; null: one")
    LOCATION_CONSENT = Boolean(
        nullable=True,
        description="Whether the person agreed to be located; null is no yes: the visit then counts, as nobody's",
    )

    @dy.rule()
    def entered_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("ENTERED_AT")

    @dy.rule()
    def left_after_entering(cls) -> pl.Expr:
        return pl.col("LEFT_AT") >= pl.col("ENTERED_AT")
