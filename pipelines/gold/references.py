"""Foreign keys of the source tables: how many rows name a parent that was not delivered. Nothing is dropped for it."""

from __future__ import annotations

import polars as pl

from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Float, Integer, String, Table

# Parents: the column that children name them by, and whether it is known within a source system alone.
PARENTS = {
    "silver.agents": ("agent_id", True),
    "silver.campaigns": ("campaign_id", False),
    "silver.customer_records": ("customer_id", True),
    "silver.loyalty_ledger": ("entry_id", True),
    "silver.online_orders": ("online_order_id", True),
    "silver.products": ("product_id", False),
    "silver.service_tickets": ("ticket_id", True),
    "silver.stores": ("store_id", False),
    "silver.transactions": ("transaction_id", True),
    "silver.vendors": ("vendor_id", True),
}
NAMED = {key: parent for parent, (key, _) in PARENTS.items()}  # parent by the usual name of a foreign key
OTHERWISE = {"location_id": "silver.stores", "preferred_store_id": "silver.stores",
             "reopens_ticket_id": "silver.service_tickets", "reverses_entry_id": "silver.loyalty_ledger"}  # fmt: skip
# Children and their foreign keys.
CHILDREN: dict[str, tuple[str, ...]] = {
    "silver.campaign_aliases": ("campaign_id",),
    "silver.campaign_audiences": ("customer_id", "campaign_id"),
    "silver.customer_changes": ("customer_id",),
    "silver.customer_records": ("preferred_store_id",),
    "silver.device_observations": ("customer_id",),
    "silver.events": ("customer_id", "product_id"),
    "silver.exposures": ("customer_id", "product_id"),
    "silver.external_profiles": ("customer_id",),
    "silver.external_sentiment": ("customer_id",),
    "silver.impressions": ("customer_id", "product_id", "store_id"),
    "silver.list_prices": ("product_id",),
    "silver.loyalty_ledger": ("customer_id", "reverses_entry_id"),
    "silver.loyalty_tier_changes": ("customer_id",),
    "silver.online_orders": ("customer_id",),
    "silver.payment_events": ("transaction_id",),
    "silver.preferences": ("customer_id",),
    "silver.product_codes": ("product_id",),
    "silver.purchase_orders": ("vendor_id", "product_id"),
    "silver.reviews": ("customer_id", "product_id", "store_id"),
    "silver.service_contacts": ("customer_id", "ticket_id", "agent_id"),
    "silver.service_tickets": ("customer_id", "agent_id"),
    "silver.social_posts": ("customer_id",),
    "silver.stock": ("product_id", "store_id"),
    "silver.stock_days": ("product_id",),
    "silver.stock_levels": ("product_id", "store_id"),
    "silver.store_visits": ("customer_id", "store_id"),
    "silver.survey_answers": ("customer_id", "transaction_id", "ticket_id"),
    "silver.ticket_chains": ("reopens_ticket_id",),
    "silver.touches": ("customer_id", "campaign_id"),
    "silver.touchpoint_records": ("customer_id", "campaign_id", "location_id"),
    "silver.tracker_sessions": ("customer_id", "campaign_id"),
    "silver.transaction_items": ("product_id",),
    "silver.transactions": ("customer_id", "store_id", "online_order_id"),
}
# What pays for, or asks about, what another system has.
OF_ANY_SYSTEM = {("silver.payment_events", "transaction_id"), ("silver.survey_answers", "transaction_id"),
                 ("silver.survey_answers", "ticket_id")}  # fmt: skip
# Parents that are looked for when the row is built, within its source system or not (a warehouse receives what another
# system ordered); the verdict, is_orphan, is only counted here.
JUDGED = {
    "silver.transaction_items": ("transaction_id", "silver.transactions", True),
    "silver.deliveries": ("purchase_order_id", "silver.purchase_orders", False),
}


class ReferenceCounts(Table, table="gold.reference_counts", sort_by=("child", "foreign_key")):
    """One row per foreign key between source tables: rows, rows without a reference, rows whose parent is missing."""

    child = String(primary_key=True, description="Silver table of the referring rows")
    foreign_key = String(primary_key=True, description="Column of the child")
    parent = String(description="Silver table that is referred to")
    parent_key = String(description="Column of the parent")
    is_within_system = Boolean(description="A key is that of one source system, and looked for there")
    row_count = Integer(description="Rows of the child, with or without a reference")
    null_count = Integer(description="Rows that refer to nothing, as the source allows")
    orphan_count = Integer(description="Rows that refer to a parent that was not delivered")
    orphan_rate = Float(nullable=True, description="Share of the rows that refer; null where none does")


def _is_within(child: str, key: str) -> bool:
    """Whether the parent is looked for in the source system of the row."""
    return PARENTS[OTHERWISE.get(key) or NAMED[key]][1] and (child, key) not in OF_ANY_SYSTEM


def _columns() -> dict[str, tuple[str, ...]]:
    """The columns that are read of each table."""
    read: dict[str, set[str]] = {parent: {key} for parent, (key, _) in PARENTS.items()}
    for child, keys in CHILDREN.items():
        read.setdefault(child, set()).update(keys)
    for child, keys in CHILDREN.items():
        for key in keys:
            parent = OTHERWISE.get(key) or NAMED[key]
            if _is_within(child, key):
                read[child].add("source_system")
                read[parent].add("source_system")
    for child, (key, _, _) in JUDGED.items():
        read.setdefault(child, set()).update((key, "is_orphan"))
    return {table: tuple(sorted(columns)) for table, columns in read.items()}


@builds(ReferenceCounts, reads=_columns())
def reference_counts(
    silver_agents: pl.LazyFrame,
    silver_campaign_aliases: pl.LazyFrame,
    silver_campaign_audiences: pl.LazyFrame,
    silver_campaigns: pl.LazyFrame,
    silver_customer_changes: pl.LazyFrame,
    silver_customer_records: pl.LazyFrame,
    silver_deliveries: pl.LazyFrame,
    silver_device_observations: pl.LazyFrame,
    silver_events: pl.LazyFrame,
    silver_exposures: pl.LazyFrame,
    silver_external_profiles: pl.LazyFrame,
    silver_external_sentiment: pl.LazyFrame,
    silver_impressions: pl.LazyFrame,
    silver_list_prices: pl.LazyFrame,
    silver_loyalty_ledger: pl.LazyFrame,
    silver_loyalty_tier_changes: pl.LazyFrame,
    silver_online_orders: pl.LazyFrame,
    silver_payment_events: pl.LazyFrame,
    silver_preferences: pl.LazyFrame,
    silver_product_codes: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    silver_purchase_orders: pl.LazyFrame,
    silver_reviews: pl.LazyFrame,
    silver_service_contacts: pl.LazyFrame,
    silver_service_tickets: pl.LazyFrame,
    silver_social_posts: pl.LazyFrame,
    silver_stock: pl.LazyFrame,
    silver_stock_days: pl.LazyFrame,
    silver_stock_levels: pl.LazyFrame,
    silver_store_visits: pl.LazyFrame,
    silver_stores: pl.LazyFrame,
    silver_survey_answers: pl.LazyFrame,
    silver_ticket_chains: pl.LazyFrame,
    silver_touches: pl.LazyFrame,
    silver_touchpoint_records: pl.LazyFrame,
    silver_tracker_sessions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_vendors: pl.LazyFrame,
) -> pl.LazyFrame:
    """Every relation that a row states by a key: of the specification's diagram, its remarks, and other feeds."""
    frames = {name.replace("_", ".", 1): frame for name, frame in locals().items()}
    counted = [_counted(frames, child, key) for child, keys in CHILDREN.items() for key in keys]
    judged = [
        _told((child, key, parent, key, is_within), frames[child], frames[child].filter("is_orphan"))
        for child, (key, parent, is_within) in JUDGED.items()
    ]
    return pl.concat([*counted, *judged])


def _counted(frames: dict[str, pl.LazyFrame], child: str, key: str) -> pl.LazyFrame:
    """Rows are looked up one by one: to find out first which different parents they name takes longer."""
    parent = OTHERWISE.get(key) or NAMED[key]
    parent_key, is_within = PARENTS[parent][0], _is_within(child, key)
    own = ["source_system", key] if is_within else [key]
    known = frames[parent].select(*own[:-1], pl.col(parent_key).alias(key))
    missing = frames[child].select(own).filter(pl.col(key).is_not_null()).join(known, on=own, how="anti")
    return _told((child, key, parent, parent_key, is_within), frames[child], missing)


def _told(relation: tuple[str, str, str, str, bool], rows: pl.LazyFrame, orphans: pl.LazyFrame) -> pl.LazyFrame:
    names = ("child", "foreign_key", "parent", "parent_key", "is_within_system")
    count = pl.len().cast(pl.Int64)
    nulls = pl.col(relation[1]).null_count().cast(pl.Int64)
    counts = [rows.select(row_count=count, null_count=nulls), orphans.select(orphan_count=count)]
    refer = pl.col("row_count") - pl.col("null_count")
    return pl.concat(counts, how="horizontal").select(
        **{name: pl.lit(said) for name, said in zip(names, relation, strict=True)},
        row_count="row_count",
        null_count="null_count",
        orphan_count="orphan_count",
        orphan_rate=pl.when(refer > 0).then(pl.col("orphan_count") / refer),
    )
