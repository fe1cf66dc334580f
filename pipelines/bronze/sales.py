"""Receipts and their lines as tills, shop and app write them."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.pipelines.returns import sales_with_returns
from customer360.platform.tables import (
    Currency,
    Date,
    Float,
    Identifier,
    Integer,
    Money,
    OneOf,
    String,
    Table,
    Timestamp,
    numbered_within,
    personal,
)


class Transactions(
    Table,
    table="bronze.transactions",
    key=("TRANSACTION_ID",),
    version="LAST_UPDATED_DATE",
    past=("TRANSACTION_DATE",),
    erasure="anonymize",
    settle=sales_with_returns,
):
    """One row per delivered version of a transaction header."""

    TRANSACTION_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: guest checkout")
    CHANNEL = OneOf(*v.CHANNELS)
    TRANSACTION_DATE = Timestamp()
    TRANSACTION_TYPE = OneOf(*v.TRANSACTION_TYPES)
    TOTAL_AMOUNT = Money(
        description="Negative for returns and refunds, and where a purchase takes back more than it sells"
    )
    TAX_AMOUNT = Money(nullable=True)
    SHIPPING_AMOUNT = Money(nullable=True)
    CURRENCY_CODE = Currency(nullable=True)
    PAYMENT_METHOD = OneOf(*v.PAYMENT_METHODS, nullable=True)
    CARD_TYPE = OneOf(*v.CARD_TYPES, nullable=True)
    STORE_ID = Identifier(nullable=True)
    ONLINE_ORDER_ID = Identifier(nullable=True)
    LOYALTY_POINTS_EARNED = Integer(nullable=True)
    LOYALTY_POINTS_REDEEMED = Integer(nullable=True)
    DISCOUNT_AMOUNT = Money(nullable=True)
    PROMOTION_CODE = Identifier(nullable=True)
    COUPON_CODE = Identifier(nullable=True)
    TRANSACTION_STATUS = OneOf(*v.TRANSACTION_STATUSES)
    CASHIER_ID = Identifier(nullable=True)
    TERMINAL_ID = Identifier(nullable=True)
    RECEIPT_NUMBER = Identifier(nullable=True)
    REFUND_REASON = String(nullable=True, max_length=500)
    REFUNDED_AMOUNT = Money(
        nullable=True, min=0, description="All that was given back of this sale so far; may be more than the sale"
    )
    REFUNDED_CURRENCY = Currency(nullable=True, description="Of REFUNDED_AMOUNT; null: that of the sale")
    REFUNDED_DATE = Timestamp(
        nullable=True, description="When money was last given back; null: when the row was updated"
    )
    VISITOR_ID = Identifier(nullable=True, metadata=personal("device"), description="Browser or app that checked out")
    LAST_UPDATED_DATE = Timestamp(
        nullable=True,
        description="Update column: a status change or refund is a new version, which the date of sale does not show",
    )

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("TRANSACTION_DATE")


class TransactionItems(Table, table="bronze.transaction_items", key=("TRANSACTION_ID", "ITEM_ID"), erasure="anonymize"):
    """One row per delivered version of a line of a transaction."""

    ITEM_ID = Identifier(
        nullable=False,
        metadata=numbered_within("TRANSACTION_ID"),
        description="Where a source has no such column: 1, 2, … in the order of the receipt within its file",
    )
    TRANSACTION_ID = Identifier(nullable=False)
    PRODUCT_ID = Identifier(nullable=True)
    PRODUCT_NAME = String(nullable=True, max_length=500)
    CATEGORY = String(nullable=True, max_length=255)
    SUBCATEGORY = String(nullable=True, max_length=255)
    BRAND = String(nullable=True, max_length=255)
    SKU = Identifier(nullable=True)
    QUANTITY = Integer()
    UNIT_PRICE = Money(nullable=True)
    TOTAL_PRICE = Money(description="Negative for goods taken back, coupons and deposits: see silver.transaction_items")
    DISCOUNT_PERCENTAGE = Money(nullable=True, min=0, max=100)
    DISCOUNT_AMOUNT = Money(nullable=True)
    ITEM_RATING = Integer(nullable=True, min=1, max=5)
    ITEM_STATUS = OneOf(*v.ITEM_STATUSES, nullable=True, description="VOIDED: taken off the receipt, counts nowhere")
    SIZE = String(nullable=True, max_length=100)
    COLOR = String(nullable=True, max_length=100)
    WEIGHT = Money(nullable=True)


class OnlineOrders(
    Table,
    table="bronze.online_orders",
    key=("ONLINE_ORDER_ID",),
    version="LAST_UPDATED_DATE",
    past=("ORDER_DATE", "SHIPPED_DATE", "DELIVERED_DATE"),
    erasure="anonymize",
):
    """One row per delivered version of an order of the shop or app.

    Other tables of the specification refer to it, which does not define it: docs/specification.md#fault-30.
    """

    ONLINE_ORDER_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: guest checkout")
    VISITOR_ID = Identifier(nullable=True, metadata=personal("device"))
    ORDER_DATE = Timestamp()
    ORDER_STATUS = OneOf("PLACED", "PAID", "SHIPPED", "DELIVERED", "CANCELLED", "PAYMENT_FAILED")
    SHIPPING_METHOD = OneOf("STANDARD", "EXPRESS", "PICKUP", nullable=True)
    SHIP_CITY = String(nullable=True, max_length=255, metadata=personal("address"))
    SHIP_ZIP_CODE = Identifier(nullable=True, metadata=personal("address"))
    PROMISED_DATE = Date(nullable=True)
    SHIPPED_DATE = Timestamp(nullable=True)
    DELIVERED_DATE = Timestamp(nullable=True)
    TOTAL_AMOUNT = Money(nullable=True)
    CURRENCY_CODE = Currency(nullable=True)
    LAST_UPDATED_DATE = Timestamp(nullable=True)

    @dy.rule()
    def was_placed_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("ORDER_DATE")

    @dy.rule()
    def is_delivered_after_it_is_shipped(cls) -> pl.Expr:
        return pl.col("DELIVERED_DATE") >= pl.col("SHIPPED_DATE")


class ExchangeRates(
    Table, table="bronze.exchange_rates", key=("FROM_CURRENCY", "TO_CURRENCY", "RATE_DATE"), erasure="none"
):
    """One row per delivered version of the rate between two currencies on a day."""

    RATE_DATE = Date(nullable=False)
    FROM_CURRENCY = Currency(nullable=False)
    TO_CURRENCY = Currency(nullable=False)
    RATE = Float(min_exclusive=0, description="Units of TO_CURRENCY for one of FROM_CURRENCY")

    @dy.rule()
    def is_of_a_sensible_day(cls) -> pl.Expr:
        return v.is_sensible("RATE_DATE")
