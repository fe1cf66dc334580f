"""Products and stock, current."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Integer, Money, String, Table, Timestamp

ACTIVITY: Activity = "enrichment"


class Products(Table, table="silver.products", per="product_id", sort_by=("product_id",)):
    """One row per product of the catalogue."""

    product_id = String(primary_key=True)
    product_name = String(nullable=True)
    category = String(nullable=True)
    subcategory = String(nullable=True)
    brand = String(nullable=True)
    sku = String(nullable=True)
    price = Money(nullable=True)
    cost = Money(nullable=True)
    currency = String(nullable=True)
    description = String(nullable=True)
    attributes = String(nullable=True)
    launched_on = Date(nullable=True)
    product_status = String(nullable=True)
    is_product = Boolean(description="False for codes that stand for postage, fees or vouchers")


@builds(Products, rules="standardization")
def products(bronze_products: pl.LazyFrame, params: StandardizationRules) -> pl.LazyFrame:
    """Current products; which codes are goods is a rule (`product_code_pattern`). Systems share one namespace: of a
    product that two list, the row of the source that comes last by name.
    """
    same = (
        "product_id",
        "product_name",
        "category",
        "subcategory",
        "brand",
        "sku",
        "price",
        "cost",
        "description",
        "attributes",
        "product_status",
    )
    named = bronze_products.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        currency="CURRENCY_CODE",
        launched_on="LAUNCH_DATE",
        is_product=pl.col("PRODUCT_ID").str.contains(params.product_code_pattern),
        source="_source",
    )
    newest = named.sort("source").unique(subset="product_id", keep="last", maintain_order=True)
    return newest.drop("source")


class Stock(Table, table="silver.stock", per="product_id", sort_by=("product_id", "store_id")):
    """One row per product and store: the stock last reported."""

    product_id = String(primary_key=True)
    store_id = String(primary_key=True)
    quantity_on_hand = Integer()
    reorder_point = Integer(nullable=True)
    is_in_stock = Boolean()
    updated_at = Timestamp(nullable=True)


@builds(Stock)
def stock(bronze_inventory: pl.LazyFrame) -> pl.LazyFrame:
    """Current stock by product and store; of what two systems report, the row of the source that comes last by name."""
    named = bronze_inventory.select(
        product_id="PRODUCT_ID",
        store_id="STORE_ID",
        quantity_on_hand="QUANTITY_ON_HAND",
        reorder_point="REORDER_POINT",
        is_in_stock=pl.col("QUANTITY_ON_HAND") > 0,
        updated_at="UPDATED_AT",
        source="_source",
    )
    newest = named.sort("source").unique(subset=["product_id", "store_id"], keep="last", maintain_order=True)
    return newest.drop("source")
