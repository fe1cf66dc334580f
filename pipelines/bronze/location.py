"""Stores as the master data lists them."""

from __future__ import annotations

from customer360.platform.tables import Country, Date, Float, Identifier, State, String, Table


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
