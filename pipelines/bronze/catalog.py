"""Products and stock as the merchandise system exports them (the specification reads them without defining them)."""

from __future__ import annotations

from customer360.platform.tables import Currency, Date, Identifier, Integer, Money, String, Table, Timestamp


class Products(Table, table="bronze.products", key=("PRODUCT_ID",), erasure="none"):
    """One row per delivered version of a product."""

    PRODUCT_ID = Identifier(nullable=False)
    PRODUCT_NAME = String(nullable=True, max_length=500)
    CATEGORY = String(nullable=True, max_length=255)
    SUBCATEGORY = String(nullable=True, max_length=255)
    BRAND = String(nullable=True, max_length=255)
    SKU = Identifier(nullable=True)
    PRICE = Money(nullable=True, min=0)
    COST = Money(nullable=True, min=0)
    CURRENCY_CODE = Currency(nullable=True)
    DESCRIPTION = String(nullable=True)
    ATTRIBUTES = String(nullable=True, description="JSON object")
    LAUNCH_DATE = Date(nullable=True)
    PRODUCT_STATUS = String(nullable=True, max_length=100)


class Inventory(Table, table="bronze.inventory", key=("PRODUCT_ID", "STORE_ID"), version="UPDATED_AT", erasure="none"):
    """One row per delivered stock level of a product in a store."""

    PRODUCT_ID = Identifier(nullable=False)
    STORE_ID = Identifier(nullable=False)
    QUANTITY_ON_HAND = Integer(min=0)
    REORDER_POINT = Integer(nullable=True, min=0)
    UPDATED_AT = Timestamp(nullable=True)
