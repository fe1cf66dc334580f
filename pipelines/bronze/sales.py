"""Receipts and their lines as tills, shop and app write them."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import Date, Integer, Money, OneOf, String, Table, Timestamp, personal


class Transactions(
    Table, table="bronze.transactions", key=("TRANSACTION_ID",), version="LAST_UPDATED_DATE", erasure="anonymize"
):
    """One row per delivered version of a transaction header."""

    TRANSACTION_ID = String(nullable=False, max_length=30)
    CUSTOMER_ID = String(nullable=True, max_length=20, metadata=personal("account"), description="Null: guest checkout")
    CHANNEL = OneOf(*v.CHANNELS)
    TRANSACTION_DATE = Timestamp()
    TRANSACTION_TYPE = OneOf(*v.TRANSACTION_TYPES)
    TOTAL_AMOUNT = Money(description="Negative for returns and refunds")
    TAX_AMOUNT = Money(nullable=True)
    SHIPPING_AMOUNT = Money(nullable=True)
    CURRENCY_CODE = String(nullable=True, max_length=3)
    PAYMENT_METHOD = OneOf(*v.PAYMENT_METHODS, nullable=True)
    CARD_TYPE = OneOf(*v.CARD_TYPES, nullable=True)
    STORE_ID = String(nullable=True, max_length=20)
    ONLINE_ORDER_ID = String(nullable=True, max_length=30)
    LOYALTY_POINTS_EARNED = Integer(nullable=True)
    LOYALTY_POINTS_REDEEMED = Integer(nullable=True)
    DISCOUNT_AMOUNT = Money(nullable=True)
    PROMOTION_CODE = String(nullable=True, max_length=20)
    COUPON_CODE = String(nullable=True, max_length=20)
    TRANSACTION_STATUS = OneOf(*v.TRANSACTION_STATUSES)
    CASHIER_ID = String(nullable=True, max_length=20)
    TERMINAL_ID = String(nullable=True, max_length=20)
    RECEIPT_NUMBER = String(nullable=True, max_length=50)
    REFUND_REASON = String(nullable=True, max_length=100)
    VISITOR_ID = String(
        nullable=True, max_length=40, metadata=personal("device"), description="Browser or app that checked out"
    )
    LAST_UPDATED_DATE = Timestamp(
        nullable=True,
        description="Update column: a status change or refund is a new version, which the date of sale does not show",
    )

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("TRANSACTION_DATE")


class TransactionItems(Table, table="bronze.transaction_items", key=("TRANSACTION_ID", "ITEM_ID"), erasure="none"):
    """One row per delivered version of a line of a transaction."""

    ITEM_ID = String(nullable=False, max_length=30)
    TRANSACTION_ID = String(nullable=False, max_length=30)
    PRODUCT_ID = String(nullable=True, max_length=20)
    PRODUCT_NAME = String(nullable=True, max_length=100)
    CATEGORY = String(nullable=True, max_length=50)
    SUBCATEGORY = String(nullable=True, max_length=50)
    BRAND = String(nullable=True, max_length=50)
    SKU = String(nullable=True, max_length=50)
    QUANTITY = Integer()
    UNIT_PRICE = Money(nullable=True)
    TOTAL_PRICE = Money(description="Negative for returned lines")
    DISCOUNT_PERCENTAGE = Money(nullable=True, min=0, max=100)
    DISCOUNT_AMOUNT = Money(nullable=True)
    ITEM_RATING = Integer(nullable=True, min=1, max=5)
    ITEM_STATUS = OneOf(*v.ITEM_STATUSES, nullable=True)
    SIZE = String(nullable=True, max_length=20)
    COLOR = String(nullable=True, max_length=20)
    WEIGHT = Money(nullable=True)


class OnlineOrders(
    Table, table="bronze.online_orders", key=("ONLINE_ORDER_ID",), version="LAST_UPDATED_DATE", erasure="anonymize"
):
    """One row per delivered version of an order of the shop or app.

    Other tables of the specification refer to it, which does not define it: docs/specification.md#fault-30.
    """

    ONLINE_ORDER_ID = String(nullable=False, max_length=30)
    CUSTOMER_ID = String(nullable=True, max_length=20, metadata=personal("account"), description="Null: guest checkout")
    VISITOR_ID = String(nullable=True, max_length=40, metadata=personal("device"))
    ORDER_DATE = Timestamp()
    ORDER_STATUS = OneOf("PLACED", "PAID", "SHIPPED", "DELIVERED", "CANCELLED", "PAYMENT_FAILED")
    SHIPPING_METHOD = OneOf("STANDARD", "EXPRESS", "PICKUP", nullable=True)
    SHIP_CITY = String(nullable=True, max_length=50, metadata=personal("address"))
    SHIP_ZIP_CODE = String(nullable=True, max_length=10, metadata=personal("address"))
    PROMISED_DATE = Date(nullable=True)
    SHIPPED_DATE = Timestamp(nullable=True)
    DELIVERED_DATE = Timestamp(nullable=True)
    TOTAL_AMOUNT = Money(nullable=True)
    CURRENCY_CODE = String(nullable=True, max_length=3)
    LAST_UPDATED_DATE = Timestamp(nullable=True)

    @dy.rule()
    def was_placed_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("ORDER_DATE")

    @dy.rule()
    def is_delivered_after_it_is_shipped(cls) -> pl.Expr:
        return pl.col("DELIVERED_DATE") >= pl.col("SHIPPED_DATE")
