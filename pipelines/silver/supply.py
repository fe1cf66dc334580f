"""Vendors, order lines with what came of them, goods receipts, and the stock of each day."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.money import converted, known_rate, with_rate
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table

ACTIVITY: Activity = "enrichment"


class Vendors(Table, table="silver.vendors", per="vendor_id", sort_by=("vendor_id",)):
    """One row per vendor, as last delivered."""

    vendor_id = String(primary_key=True)
    source_system = String(primary_key=True)
    vendor_name = String(nullable=True)
    country_code = String(nullable=True)
    vendor_status = String(nullable=True)


@builds(Vendors)
def vendors(bronze_vendors: pl.LazyFrame) -> pl.LazyFrame:
    """Current vendors."""
    same = ("vendor_id", "vendor_name", "country_code", "vendor_status")
    return bronze_vendors.select(*(pl.col(c.upper()).alias(c) for c in same), source_system="_source_system")


class PurchaseOrders(
    Table, table="silver.purchase_orders", per="purchase_order_id", sort_by=("ordered_on", "purchase_order_id")
):
    """One row per line of a purchase order, as last delivered."""

    purchase_order_id = String(primary_key=True)
    line_number = Integer(primary_key=True)
    source_system = String(primary_key=True)
    vendor_id = String()
    product_id = String()
    location_id = String(nullable=True)
    ordered_on = Date()
    promised_on = Date(nullable=True)
    promised_days = Integer(nullable=True, description="From order to promise")
    ordered_quantity = Integer()
    unit_cost = Money(nullable=True, description="As delivered, in currency")
    currency = String(nullable=True, description="As delivered; null: the reporting currency")
    exchange_rate = Float(nullable=True, description="Reporting currency for one of currency that day; null: no rate")
    reporting_unit_cost = Money(nullable=True, description="unit_cost in the reporting currency; null without a rate")
    is_cancelled = Boolean(description="By us: no fault of the vendor; as last delivered, of past days too")
    is_open = Boolean(description="More may come: neither closed nor cancelled, as last delivered")


@builds(PurchaseOrders)
def purchase_orders(bronze_purchase_orders: pl.LazyFrame, silver_reporting_rates: pl.LazyFrame) -> pl.LazyFrame:
    """Order lines with their cost at the rate of the day of the order."""
    same = (
        "purchase_order_id",
        "line_number",
        "vendor_id",
        "product_id",
        "location_id",
        "ordered_quantity",
        "unit_cost",
    )
    status = pl.col("ORDER_STATUS")
    facts = bronze_purchase_orders.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        ordered_on="ORDERED_DATE",
        promised_on="PROMISED_DATE",
        promised_days=(pl.col("PROMISED_DATE") - pl.col("ORDERED_DATE")).dt.total_days(),
        currency="CURRENCY_CODE",
        is_cancelled=status.eq_missing(pl.lit("CANCELLED")),
        is_open=~status.is_in(["CLOSED", "CANCELLED"]).fill_null(False),
    )
    rated = with_rate(facts, silver_reporting_rates, currency="currency", on="ordered_on", into="exchange_rate")
    return rated.with_columns(reporting_unit_cost=converted(pl.col("unit_cost"), known_rate()))


class Deliveries(Table, table="silver.deliveries", per="delivery_id", sort_by=("received_on", "delivery_id")):
    """One row per line of a goods receipt, as last delivered, with the order line that it answers."""

    delivery_id = String(primary_key=True)
    line_number = Integer(primary_key=True)
    source_system = String(primary_key=True)
    purchase_order_id = String()
    purchase_order_line = Integer()
    received_on = Date()
    received_quantity = Integer()
    rejected_quantity = Integer()
    accepted_quantity = Integer(description="received_quantity - rejected_quantity")
    rejection_reason = String(nullable=True)
    is_orphan = Boolean(description="No order line was delivered that it may answer")
    order_source_system = String(nullable=True, description="Of the order line, as the columns that follow")
    vendor_id = String(nullable=True)
    product_id = String(nullable=True)
    ordered_on = Date(nullable=True)
    promised_on = Date(nullable=True)
    lead_days = Integer(nullable=True, description="From order to receipt; null where it was received before ordered")
    late_days = Integer(nullable=True, description="After the promised day; negative: early")


ORDER_LINE = ("vendor_id", "product_id", "ordered_on", "promised_on")


@builds(
    Deliveries,
    reads={"silver.purchase_orders": ("purchase_order_id", "line_number", "source_system", *ORDER_LINE)},
)
def deliveries(bronze_deliveries: pl.LazyFrame, silver_purchase_orders: pl.LazyFrame) -> pl.LazyFrame:
    """Receipts with the times of their order line: of the same system, or where that orders nothing at all, as a
    warehouse receives what another system ordered, of the only one that has such a line. A system that orders never
    means another's order: the numbers of two systems may coincide."""
    rejected = pl.col("REJECTED_QUANTITY").fill_null(0)
    facts = bronze_deliveries.select(
        delivery_id="DELIVERY_ID",
        line_number="LINE_NUMBER",
        source_system="_source_system",
        purchase_order_id="PURCHASE_ORDER_ID",
        purchase_order_line="PURCHASE_ORDER_LINE",
        received_on="RECEIVED_DATE",
        received_quantity="RECEIVED_QUANTITY",
        rejected_quantity=rejected,
        accepted_quantity=pl.col("RECEIVED_QUANTITY") - rejected,
        rejection_reason="REJECTION_REASON",
    )
    line = ["purchase_order_id", "purchase_order_line"]
    lines = silver_purchase_orders.select(
        "purchase_order_id", *ORDER_LINE, purchase_order_line="line_number", order_source_system="source_system"
    )
    own = lines.with_columns(source_system="order_source_system")
    only = lines.filter(pl.len().over(line) == 1)
    orders = lines.select(source_system="order_source_system", orders__=pl.lit(True)).unique()
    lead = (pl.col("received_on") - pl.col("ordered_on")).dt.total_days()
    told = [c for c in lines.collect_schema() if c not in line]
    known = (
        facts.join(own, on=[*line, "source_system"], how="left")
        .join(only, on=line, how="left", suffix="_only")
        .join(orders, on="source_system", how="left")
        .with_columns(pl.when(pl.col("orders__").is_null()).then(f"{c}_only").otherwise(c).alias(c) for c in told)
        .drop("orders__", *(f"{c}_only" for c in told))
    )
    return known.with_columns(
        is_orphan=pl.col("vendor_id").is_null(),
        lead_days=pl.when(lead >= 0).then(lead),
        late_days=(pl.col("received_on") - pl.col("promised_on")).dt.total_days(),
    )


class StockDays(Table, table="silver.stock_days", per="product_id", sort_by=("product_id", "location_id", "on")):
    """One row per product, location and day with a snapshot: the stock at its end, as last delivered."""

    product_id = String(primary_key=True)
    location_id = String(primary_key=True)
    on = Date(primary_key=True)
    source_system = String(primary_key=True)
    quantity_on_hand = Integer(description="Below zero where more was sold than the system knew of")


@builds(StockDays)
def stock_days(bronze_stock_days: pl.LazyFrame) -> pl.LazyFrame:
    """Snapshots of stock."""
    return bronze_stock_days.select(
        product_id="PRODUCT_ID",
        location_id="LOCATION_ID",
        on="SNAPSHOT_DATE",
        source_system="_source_system",
        quantity_on_hand="QUANTITY_ON_HAND",
    )
