"""Customer accounts as current records, one schema for all source systems."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.vocabulary import record_id
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Integer, String, Table, Timestamp, personal


class CustomerRecords(Table, table="silver.customer_records", per="customer_id", sort_by=("record_id",)):
    """One row per customer account of one source system, as last delivered; raw values, not yet standardized."""

    record_id = String(primary_key=True, metadata=personal("account"), description="source_system/customer_id")
    source_system = String()
    customer_id = String(metadata=personal("account"))
    first_name = String(nullable=True, metadata=personal("name"))
    last_name = String(nullable=True, metadata=personal("name"))
    email_address = String(nullable=True, metadata=personal("email"))
    phone_number = String(nullable=True, metadata=personal("phone"))
    date_of_birth = Date(nullable=True, metadata=personal("birth"))
    gender = String(nullable=True, metadata=personal("person"))
    address_line_1 = String(nullable=True, metadata=personal("address"))
    city = String(nullable=True, metadata=personal("address"))
    state_code = String(nullable=True)
    zip_code = String(nullable=True, metadata=personal("address"))
    country_code = String(nullable=True)
    customer_segment = String(nullable=True)
    loyalty_tier = String(nullable=True)
    loyalty_points = Integer(nullable=True)
    registered_on = Date(nullable=True)
    last_login_on = Date(nullable=True)
    customer_status = String(nullable=True)
    preferred_channel = String(nullable=True)
    preferred_store_id = String(nullable=True)
    last_updated_at = Timestamp(nullable=True)


@builds(CustomerRecords)
def customer_records(bronze_customers: pl.LazyFrame) -> pl.LazyFrame:
    """Silver names for the current version of every account."""
    renamed = {
        "PREFERRED_STORE": "preferred_store_id",
        "REGISTRATION_DATE": "registered_on",
        "LAST_LOGIN_DATE": "last_login_on",
        "LAST_UPDATED_DATE": "last_updated_at",
    }
    names = [c for c in CustomerRecords.columns() if c not in ("record_id", "source_system", *renamed.values())]
    return bronze_customers.select(
        record_id("_source_system", "CUSTOMER_ID").alias("record_id"),
        pl.col("_source_system").alias("source_system"),
        *(pl.col(c.upper()).alias(c) for c in names),
        *(pl.col(source).alias(silver) for source, silver in renamed.items()),
    )
