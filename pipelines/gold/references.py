"""Foreign keys of the source tables: how many rows name a parent that was not delivered. Nothing is dropped for it."""

from __future__ import annotations

import polars as pl

from customer360.platform.graph import builds
from customer360.platform.tables import Float, Integer, String, Table


class ReferenceCounts(Table, table="gold.reference_counts", sort_by=("child", "foreign_key")):
    """One row per foreign key between source tables: rows, rows without a reference, rows whose parent is missing."""

    child = String(primary_key=True, description="Silver table of the referring rows")
    foreign_key = String(primary_key=True)
    parent = String()
    row_count = Integer()
    null_count = Integer(description="Rows that refer to nothing, as the source allows")
    orphan_count = Integer(description="Rows that refer to a parent that was not delivered")
    orphan_rate = Float(nullable=True, description="Share of the rows that refer; null where none does")


@builds(
    ReferenceCounts,
    reads={
        "silver.transactions": ("source_system", "customer_id", "store_id", "online_order_id"),
        "silver.transaction_items": ("is_orphan", "product_id"),
        "silver.events": ("source_system", "customer_id", "product_id"),
        "silver.tracker_sessions": ("source_system", "customer_id", "campaign_id"),
        "silver.touches": ("source_system", "customer_id", "campaign_id"),
        "silver.preferences": ("source_system", "customer_id"),
        "silver.service_contacts": ("source_system", "customer_id", "ticket_id", "agent_id"),
        "silver.service_tickets": ("source_system", "customer_id", "ticket_id", "agent_id"),
        "silver.external_profiles": ("source_system", "customer_id"),
        "silver.external_sentiment": ("source_system", "customer_id"),
        "silver.customer_records": ("source_system", "customer_id"),
        "silver.products": ("product_id",),
        "silver.stores": ("store_id",),
        "silver.campaigns": ("campaign_id",),
        "silver.agents": ("source_system", "agent_id"),
        "silver.online_orders": ("source_system", "online_order_id", "customer_id"),
    },
)
def reference_counts(
    silver_transactions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_events: pl.LazyFrame,
    silver_tracker_sessions: pl.LazyFrame,
    silver_touches: pl.LazyFrame,
    silver_preferences: pl.LazyFrame,
    silver_service_contacts: pl.LazyFrame,
    silver_service_tickets: pl.LazyFrame,
    silver_external_profiles: pl.LazyFrame,
    silver_external_sentiment: pl.LazyFrame,
    silver_customer_records: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_stores: pl.LazyFrame,
    silver_campaigns: pl.LazyFrame,
    silver_agents: pl.LazyFrame,
    silver_online_orders: pl.LazyFrame,
) -> pl.LazyFrame:
    """Every relation of the specification's diagram that a row states by a key, and those of its column remarks."""
    customers = ("silver.customer_records", silver_customer_records, ("source_system", "customer_id"))
    products = ("silver.products", silver_products, ("product_id",))
    campaigns = ("silver.campaigns", silver_campaigns, ("campaign_id",))
    agents = ("silver.agents", silver_agents, ("source_system", "agent_id"))
    tickets = ("silver.service_tickets", silver_service_tickets, ("source_system", "ticket_id"))
    orders = ("silver.online_orders", silver_online_orders, ("source_system", "online_order_id"))
    stores = ("silver.stores", silver_stores, ("store_id",))
    relations = {
        "silver.transactions": (silver_transactions, (customers, stores, orders)),
        "silver.transaction_items": (silver_transaction_items, (products,)),
        "silver.events": (silver_events, (customers, products)),
        "silver.tracker_sessions": (silver_tracker_sessions, (customers, campaigns)),
        "silver.touches": (silver_touches, (customers, campaigns)),
        "silver.preferences": (silver_preferences, (customers,)),
        "silver.service_contacts": (silver_service_contacts, (customers, tickets, agents)),
        "silver.service_tickets": (silver_service_tickets, (customers, agents)),
        "silver.external_profiles": (silver_external_profiles, (customers,)),
        "silver.external_sentiment": (silver_external_sentiment, (customers,)),
        "silver.online_orders": (silver_online_orders, (customers,)),
    }
    counted = [_counted(child, rows, *parent) for child, (rows, parents) in relations.items() for parent in parents]
    # The header of a line is looked for when the line is built; its verdict is only counted here.
    lines = silver_transaction_items.select("is_orphan", is_null=pl.lit(False), rows=pl.lit(1, pl.Int64))
    return pl.concat([*counted, _summed("silver.transaction_items", "silver.transactions", "transaction_id", lines)])


def _counted(child: str, rows: pl.LazyFrame, parent: str, parents: pl.LazyFrame, key: tuple[str, ...]) -> pl.LazyFrame:
    """Distinct keys are looked up, not rows: events name few customers many times."""
    found = parents.select(key).unique().with_columns(is_found=pl.lit(True))
    named = rows.group_by(key).agg(rows=pl.len().cast(pl.Int64)).join(found, on=list(key), how="left")
    missing = pl.col(key[-1]).is_not_null() & pl.col("is_found").is_null()
    return _summed(child, parent, key[-1], named.select("rows", is_null=pl.col(key[-1]).is_null(), is_orphan=missing))


def _summed(child: str, parent: str, key: str, judged: pl.LazyFrame) -> pl.LazyFrame:
    rows = pl.col("rows")
    nulls, orphans = rows.filter("is_null").sum(), rows.filter("is_orphan").sum()
    return judged.select(
        child=pl.lit(child),
        foreign_key=pl.lit(key),
        parent=pl.lit(parent),
        row_count=rows.sum(),
        null_count=nulls,
        orphan_count=orphans,
        orphan_rate=pl.when(rows.sum() > nulls).then(orphans / (rows.sum() - nulls)),
    )
