"""Vendors, what was ordered of them, what they delivered, and the stock of each day."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import (
    Country,
    Currency,
    Date,
    Identifier,
    Integer,
    Money,
    OneOf,
    Series,
    String,
    Table,
    Timestamp,
)


class Vendors(
    Table, table="bronze.vendors", key=("VENDOR_ID",), version="LAST_UPDATED_DATE", erasure="none",
    holds=Series(("VENDOR_ID",)),
):  # fmt: skip
    """One row per delivered version of a vendor. Contacts are persons, and stay in the purchasing system."""

    VENDOR_ID = Identifier(nullable=False)
    VENDOR_NAME = String(nullable=True, max_length=500)
    COUNTRY_CODE = Country(nullable=True)
    VENDOR_STATUS = String(nullable=True, max_length=100)
    LAST_UPDATED_DATE = Timestamp(nullable=True)


ORDER_STATUSES = ("OPEN", "CLOSED", "CANCELLED")


class PurchaseOrders(
    Table,
    table="bronze.purchase_orders",
    key=("PURCHASE_ORDER_ID", "LINE_NUMBER"),
    version="LAST_UPDATED_DATE",
    past=("ORDERED_DATE",),
    erasure="none",
):
    """One row per delivered version of a line of a purchase order."""

    PURCHASE_ORDER_ID = Identifier(nullable=False)
    LINE_NUMBER = Integer(nullable=False, min=0)
    VENDOR_ID = Identifier(nullable=False)
    PRODUCT_ID = Identifier(nullable=False)
    LOCATION_ID = Identifier(nullable=True, description="Store or distribution centre that the goods go to")
    ORDERED_DATE = Date(nullable=False)
    PROMISED_DATE = Date(nullable=True, description="By which the vendor promised the whole line")
    ORDERED_QUANTITY = Integer(nullable=False, min=1)
    UNIT_COST = Money(nullable=True, min=0)
    CURRENCY_CODE = Currency(nullable=True)
    ORDER_STATUS = OneOf(*ORDER_STATUSES, nullable=True, description="CANCELLED: by us, so no fault of the vendor")
    LAST_UPDATED_DATE = Timestamp(nullable=True)

    @dy.rule()
    def ordered_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("ORDERED_DATE")


class Deliveries(
    Table, table="bronze.deliveries", key=("DELIVERY_ID", "LINE_NUMBER"), past=("RECEIVED_DATE",), erasure="none"
):
    """One row per delivered version of a line of a goods receipt; an order line may be received in parts."""

    DELIVERY_ID = Identifier(nullable=False)
    LINE_NUMBER = Integer(nullable=False, min=0, description="Of the goods receipt")
    PURCHASE_ORDER_ID = Identifier(nullable=False)
    PURCHASE_ORDER_LINE = Integer(nullable=False, min=0)
    RECEIVED_DATE = Date(nullable=False)
    RECEIVED_QUANTITY = Integer(nullable=False, min=0, description="What came, the rejected included")
    REJECTED_QUANTITY = Integer(nullable=True, min=0, description="Of these, what inspection refused; null: none was")
    REJECTION_REASON = String(nullable=True, max_length=500)

    @dy.rule()
    def received_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("RECEIVED_DATE")

    @dy.rule()
    def rejected_what_came(cls) -> pl.Expr:
        return pl.col("REJECTED_QUANTITY") <= pl.col("RECEIVED_QUANTITY")


class StockDays(
    Table,
    table="bronze.stock_days",
    key=("PRODUCT_ID", "LOCATION_ID", "SNAPSHOT_DATE"),
    past=("SNAPSHOT_DATE",),
    erasure="none",
    holds=Series(("PRODUCT_ID", "LOCATION_ID")),
):
    """One row per delivered version of a product's stock in a store or distribution centre at the end of a day."""

    PRODUCT_ID = Identifier(nullable=False)
    LOCATION_ID = Identifier(nullable=False)
    SNAPSHOT_DATE = Date(nullable=False)
    QUANTITY_ON_HAND = Integer(nullable=False, description="Below zero where more was sold than the system knew of")
