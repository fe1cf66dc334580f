"""Schema CUSTOMER: who the customers are, what they bought, how they met us, what they are worth."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.gold.customers import Customer360
from customer360.pipelines.vocabulary import EARLIEST_DATE, LATEST_DATE
from customer360.pipelines.warehouse.keys import customer_key, date_key, product_key, record_key, time_key
from customer360.pipelines.warehouse.touchpoints import KINDS, SOURCES, contacts
from customer360.platform.stars import loads, references
from customer360.platform.tables import (
    Boolean,
    Column,
    Date,
    Float,
    Integer,
    List,
    Money,
    OneOf,
    String,
    Table,
    Timestamp,
    personal,
    pii_columns,
)


class DimDates(Table, table="customer.dim_dates", sort_by=("date_key",)):
    """One row per day of the calendar, 1990 to 2100."""

    date_key = Integer(primary_key=True, description="yyyymmdd")
    calendar_date = Date(nullable=True)
    year = Integer(nullable=True)
    quarter = Integer(nullable=True)
    month = Integer(nullable=True)
    week = Integer(nullable=True, description="ISO 8601, of iso_year")
    iso_year = Integer(nullable=True)
    day_of_month = Integer(nullable=True)
    day_of_week = Integer(nullable=True, description="1 is Sunday, 7 is Saturday, as in the specification")
    is_weekend = Boolean(nullable=True)


@loads(DimDates)
def dim_dates() -> pl.LazyFrame:
    """The whole calendar: no fact can fall outside, since contracts refuse such clocks."""
    day = pl.col("calendar_date").dt
    weekday = day.weekday().cast(pl.Int64)
    calendar = pl.LazyFrame().select(calendar_date=pl.date_range(EARLIEST_DATE, LATEST_DATE))
    return calendar.select(
        "calendar_date",
        date_key=date_key("calendar_date"),
        year=day.year(),
        quarter=day.quarter(),
        month=day.month(),
        week=day.week(),
        iso_year=day.iso_year(),
        day_of_month=day.day(),
        day_of_week=weekday % 7 + 1,
        is_weekend=weekday >= 6,
    )


class DimCustomers(Table, table="customer.dim_customers", per="person_id", sort_by=("customer_key",)):
    """One row per person, and per organisation with accounts, with what the master data say; what guests do belongs to
    the unknown member."""

    customer_key = String(primary_key=True, description="person_id")
    entity_type = String(nullable=True, description="person or organisation; null in editions of before")
    first_name = String(nullable=True, metadata=personal("name"))
    last_name = String(nullable=True, metadata=personal("name"))
    organisation_name = String(nullable=True, description="Of an organisation its name, of a person where it works")
    email_address = String(nullable=True, metadata=personal("email"))
    phone_number = String(nullable=True, metadata=personal("phone"))
    date_of_birth = Date(nullable=True, metadata=personal("birth"))
    gender = String(nullable=True, metadata=personal("person"))
    city = String(nullable=True, metadata=personal("address"))
    state_code = String(nullable=True)
    zip_code = String(nullable=True, metadata=personal("address"))
    country_code = String(nullable=True)
    customer_segment = String(nullable=True)
    loyalty_tier = String(nullable=True)
    registered_on = Date(nullable=True)
    preferred_channel = String(nullable=True)
    preferred_store_id = String(nullable=True)
    record_count = Integer(description="Accounts that were resolved to this person")
    source_systems = List(String(), nullable=True)
    is_contactable = Boolean(nullable=True)


@loads(DimCustomers, mirrors=("silver.people",))
def dim_customers(silver_people: pl.LazyFrame) -> pl.LazyFrame:
    return silver_people.rename({"person_id": "customer_key"}).select(list(DimCustomers.columns()))


class DimProducts(Table, table="customer.dim_products", sort_by=("product_key",)):
    """One row per product of the catalogue, or that a receipt names and no catalogue has (inferred)."""

    product_key = String(primary_key=True, description="product_id")
    product_name = String(nullable=True)
    category = String(nullable=True)
    subcategory = String(nullable=True)
    brand = String(nullable=True)
    sku = String(nullable=True)
    price = Money(nullable=True)
    cost = Money(nullable=True)
    currency = String(nullable=True)
    launched_on = Date(nullable=True)
    product_status = String(nullable=True)
    is_product = Boolean(nullable=True, description="False for codes that stand for postage, fees or vouchers")
    is_inferred = Boolean()


@loads(DimProducts, mirrors=("silver.products",), where="NOT is_inferred")
def dim_products(silver_products: pl.LazyFrame, silver_transaction_items: pl.LazyFrame) -> pl.LazyFrame:
    catalogue = silver_products.with_columns(product_key="product_id", is_inferred=pl.lit(False))
    named = silver_transaction_items.select(product_key="product_id").drop_nulls().unique()
    missing = named.join(catalogue, on="product_key", how="anti").with_columns(is_inferred=pl.lit(True))
    return pl.concat([catalogue, missing], how="diagonal").select(list(DimProducts.columns()))


class FactTransactions(
    Table, table="customer.fact_transactions", per="subject_id", sort_by=("date_key", "customer_key")
):
    """One row per receipt, guests included: their customer is the unknown member."""

    transaction_key = String(primary_key=True, description="source_system/transaction_id")
    customer_key = String(metadata=references("customer.dim_customers"))
    date_key = Integer(metadata=references("customer.dim_dates"))
    time_key = Integer(metadata=references("behavior.dim_times"))
    occurred_at = Timestamp()
    channel = String()
    channel_group = String()
    transaction_type = String()
    transaction_status = String()
    payment_method = String(nullable=True)
    store_id = String(nullable=True)
    promotion_code = String(nullable=True)
    currency = String(nullable=True, description="Of total, tax, shipping and discount; null: the reporting currency")
    refund_currency = String(nullable=True)
    exchange_rate = Float(nullable=True, description="Reporting currency for one of currency")
    is_sale = Boolean()
    is_return = Boolean()
    is_unconverted = Boolean(description="Moves money that is in no amount: its currency has no rate")
    total_amount = Money(description="As delivered: add it up by currency only")
    refunded_amount = Money(description="As delivered, in refund_currency")
    gross_amount = Money(description="Gross, return and net are in the reporting currency")
    return_amount = Money()
    net_amount = Money(description="The measure of revenue; only completed receipts have one")
    tax_amount = Money(nullable=True)
    shipping_amount = Money(nullable=True)
    discount_amount = Money(nullable=True)
    loyalty_points_earned = Integer(nullable=True)
    loyalty_points_redeemed = Integer(nullable=True)


@loads(FactTransactions, mirrors=("silver.transactions",))
def fact_transactions(silver_transactions: pl.LazyFrame) -> pl.LazyFrame:
    return silver_transactions.with_columns(
        transaction_key=record_key("transaction_id"),
        customer_key=customer_key(),
        date_key=date_key("occurred_on"),
        time_key=time_key("occurred_at"),
    ).select(list(FactTransactions.columns()))


class FactTransactionItems(
    Table, table="customer.fact_transaction_items", per="subject_id", sort_by=("date_key", "product_key")
):
    """One row per line of a receipt. Lines and receipts stay apart: a line's sums leave out tax and shipping."""

    item_key = String(primary_key=True, description="source_system/transaction_id/item_id")
    transaction_key = String(description="Of the receipt; an orphan's was not delivered")
    customer_key = String(metadata=references("customer.dim_customers"))
    product_key = String(metadata=references("customer.dim_products"))
    date_key = Integer(metadata=references("customer.dim_dates"), description="Of the receipt; unknown for an orphan")
    time_key = Integer(metadata=references("behavior.dim_times"))
    is_orphan = Boolean()
    is_sale = Boolean()
    is_return = Boolean()
    quantity = Integer()
    unit_price = Money(nullable=True)
    total_price = Money(description="As delivered, in currency")
    currency = String(nullable=True, description="Null: the reporting currency")
    gross_amount = Money(description="In the reporting currency")
    return_amount = Money()
    is_unconverted = Boolean(description="Moves money that is in no amount: its currency has no rate")
    discount_amount = Money(nullable=True)
    item_rating = Integer(nullable=True)


@loads(FactTransactionItems, mirrors=("silver.transaction_items",))
def fact_transaction_items(silver_transaction_items: pl.LazyFrame) -> pl.LazyFrame:
    return silver_transaction_items.with_columns(
        item_key=record_key("transaction_id", "item_id"),
        transaction_key=record_key("transaction_id"),
        customer_key=customer_key(),
        product_key=product_key(),
        date_key=date_key("occurred_on"),
        time_key=time_key("occurred_at"),
    ).select(list(FactTransactionItems.columns()))


class FactInteractions(
    Table, table="customer.fact_interactions", per="subject_id", sort_by=("date_key", "touchpoint_key")
):
    """One row per contact between a customer and the retailer: a visit, a message's event, a service contact, a
    receipt.
    """

    interaction_id = String(primary_key=True, description="session@subject, or source_system/id of the record")
    kind = OneOf(*KINDS, primary_key=True)
    customer_key = String(metadata=references("customer.dim_customers"))
    date_key = Integer(metadata=references("customer.dim_dates"))
    time_key = Integer(metadata=references("behavior.dim_times"))
    touchpoint_key = String(metadata=references("behavior.dim_touchpoints"))
    occurred_at = Timestamp()
    is_response = Boolean(nullable=True, description="Of a message's event: opened or clicked")
    duration_seconds = Integer(nullable=True, description="Of a visit")
    satisfaction = Integer(nullable=True, description="Of a service contact, 1 to 5")
    sentiment_score = Float(nullable=True)
    resolution_minutes = Integer(nullable=True)
    gross_amount = Money(nullable=True, description="Of a receipt; amounts are in the reporting currency")
    return_amount = Money(nullable=True)
    net_amount = Money(nullable=True)


@loads(FactInteractions, mirrors=SOURCES)
def fact_interactions(
    silver_session_facts: pl.LazyFrame,
    silver_touches: pl.LazyFrame,
    silver_service_contacts: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
) -> pl.LazyFrame:
    every = contacts(silver_session_facts, silver_touches, silver_service_contacts, silver_transactions)
    return every.select(list(FactInteractions.columns()))


class CustomerProfiles(Table, table="customer.customer_360", per="person_id", sort_by=("as_of", "person_id")):
    """One row per person and as_of date: every column of gold.customer_360."""

    person_id = String(primary_key=True, metadata=references("customer.dim_customers"))
    vars().update({n: c for n, c in Customer360.columns().items() if n != "person_id"})


@loads(CustomerProfiles, mirrors=("gold.customer_360",))
def customer_360(gold_customer_360: pl.LazyFrame) -> pl.LazyFrame:
    return gold_customer_360


def _value_measures() -> dict[str, Column]:
    """Every number and flag of the profile that is not personal: a new one becomes a measure by itself."""
    kept = (Integer, Float, Boolean, type(Money()))
    held = pii_columns(Customer360)
    return {n: c for n, c in Customer360.columns().items() if isinstance(c, kept) and n not in held}


class FactCustomerValues(
    Table, table="customer.fact_customer_values", per="person_id", sort_by=("date_key", "customer_key")
):
    """One row per person and as_of date: all numbers of the customer view, e.g. spending, lifetime value, churn."""

    customer_key = String(primary_key=True, metadata=references("customer.dim_customers"))
    date_key = Integer(primary_key=True, metadata=references("customer.dim_dates"), description="as_of")
    value_segment = String(nullable=True, description="Null, as the next, of who refuses to be profiled")
    lifecycle_stage = String(nullable=True)
    vars().update(_value_measures())


@loads(FactCustomerValues, mirrors=("gold.customer_360",))
def fact_customer_values(gold_customer_360: pl.LazyFrame) -> pl.LazyFrame:
    return gold_customer_360.with_columns(customer_key=customer_key(), date_key=date_key("as_of")).select(
        list(FactCustomerValues.columns())
    )
