"""Products and stock as the merchandise system exports them (the specification reads them without defining them), and
the history of both: price lists by the moment they hold from, stock levels by the moment they were counted."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.platform.tables import Currency, Date, Identifier, Integer, Money, Series, String, Table, Timestamp


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


class Inventory(
    Table, table="bronze.inventory", key=("PRODUCT_ID", "STORE_ID"), version="UPDATED_AT", erasure="none",
    holds=Series(("PRODUCT_ID", "STORE_ID")),
):  # fmt: skip
    """One row per delivered stock level of a product in a store."""

    PRODUCT_ID = Identifier(nullable=False)
    STORE_ID = Identifier(nullable=False)
    QUANTITY_ON_HAND = Integer(min=0)
    REORDER_POINT = Integer(nullable=True, min=0)
    UPDATED_AT = Timestamp(nullable=True)


class ProductCodes(Table, table="bronze.product_codes", key=("PRODUCT_ID", "CODE"), erasure="none"):
    """One row per delivered version of a code that a product is known by outside: its barcode, a maker's number."""

    PRODUCT_ID = Identifier(nullable=False)
    CODE = Identifier(nullable=False)
    CODE_TYPE = String(nullable=True, max_length=100, description="GTIN, EAN, UPC, MPN, as the source calls it")


class ProductPrices(
    Table, table="bronze.product_prices", key=("PRODUCT_ID", "PRICE_TYPE", "VALID_FROM", "CURRENCY_CODE"),
    past=("VALID_FROM",), erasure="none",
    holds=Series(("PRODUCT_ID", "PRICE_TYPE", "CURRENCY_CODE"), ends="VALID_TO", resumes=True),
):  # fmt: skip
    """One row per delivered version of a price of a product: what it costs from a moment on."""

    PRODUCT_ID = Identifier(nullable=False)
    PRICE_TYPE = String(nullable=True, max_length=100, description="LIST, PROMOTION …; null: LIST")
    PRICE = Money(min=0)
    CURRENCY_CODE = Currency(nullable=True)
    VALID_FROM = Timestamp()
    VALID_TO = Timestamp(nullable=True, description="The first moment that it no longer holds; null: until the next")

    @dy.rule()
    def ends_after_it_begins(cls) -> pl.Expr:
        return pl.col("VALID_TO") > pl.col("VALID_FROM")


class StockLevels(
    Table, table="bronze.stock_levels", key=("PRODUCT_ID", "STORE_ID", "COUNTED_AT"), past=("COUNTED_AT",),
    erasure="none", holds=Series(("PRODUCT_ID", "STORE_ID")),
):  # fmt: skip
    """One row per delivered version of a stock level of a product in a store at a moment: changes or snapshots."""

    PRODUCT_ID = Identifier(nullable=False)
    STORE_ID = Identifier(nullable=False)
    COUNTED_AT = Timestamp()
    QUANTITY_ON_HAND = Integer(description="Below zero where a system sells what it has not booked")
