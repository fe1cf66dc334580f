"""Stores, current."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, String, Table

ACTIVITY: Activity = "enrichment"


class Stores(Table, table="silver.stores", per="store_id", sort_by=("store_id",)):
    """One row per store."""

    store_id = String(primary_key=True)
    store_name = String(nullable=True)
    address_line_1 = String(nullable=True)
    city = String(nullable=True)
    state_code = String(nullable=True)
    zip_code = String(nullable=True)
    country_code = String(nullable=True)
    region = String(nullable=True)
    latitude = Float(nullable=True)
    longitude = Float(nullable=True)
    opened_on = Date(nullable=True)


@builds(Stores)
def stores(bronze_stores: pl.LazyFrame) -> pl.LazyFrame:
    """Current stores."""
    same = [c for c in Stores.columns() if c != "opened_on"]
    return bronze_stores.select(*(pl.col(c.upper()).alias(c) for c in same), opened_on="OPENED_DATE")
