"""Products that were shown, with the subject that they were shown to and what it did with them."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, List, String, Table, Timestamp, personal

ACTIVITY: Activity = "standardization"
BETWEEN = "|"  # products seen before


class Impressions(Table, table="silver.impressions", per="impression_id", sort_by=("shown_at", "impression_id")):
    """One row per product that stood in a list which was shown."""

    impression_id = String(primary_key=True)
    source_system = String(primary_key=True)
    list_id = String()
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    shown_at = Timestamp()
    on = Date(description="Day of shown_at, UTC")
    placement = String(nullable=True, description="In small letters")
    product_id = String()
    position = Integer(nullable=True, description="As delivered: from 0 or from 1")
    score = Float(nullable=True, description="By which the list was ordered, without a trained ranker")
    store_id = String(nullable=True)
    region = String(nullable=True)
    device = String(nullable=True, description="In small letters")
    seen_product_ids = List(
        String(), nullable=True, description="Before, in the session, the newest first; null: not known"
    )
    is_clicked = Boolean(description="Ever; what is bought from the list counts as clicked")
    is_bought = Boolean(description="From the list, ever")
    clicked_at = Timestamp(nullable=True, description="Null: not clicked, or bought without a click that was logged")
    bought_at = Timestamp(nullable=True)


IMPRESSION_OWNER = Owner(at="shown_at", visitor="visitor_id", otherwise=own_key("i", "list_id"))


@builds(Impressions, follows=IMPRESSION_OWNER.of, reached=IMPRESSION_OWNER.reached)
def impressions(bronze_impressions: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Impressions, each with the person of its account, else the owner of the device at that time. A list without
    either is a subject of its own."""
    same = ("impression_id", "list_id", "customer_id", "visitor_id", "shown_at", "product_id", "position", "score",
            "store_id", "region")  # fmt: skip
    seen = pl.col("SEEN_PRODUCT_IDS").str.split(BETWEEN).list.eval(
        pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != "")
    )  # fmt: skip
    facts = bronze_impressions.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        on=pl.col("SHOWN_AT").dt.date(),
        placement=pl.col("PLACEMENT").str.strip_chars().str.to_lowercase(),
        device=pl.col("DEVICE").str.strip_chars().str.to_lowercase(),
        seen_product_ids=seen,
        is_clicked=pl.col("CLICKED_AT").is_not_null() | pl.col("BOUGHT_AT").is_not_null(),
        is_bought=pl.col("BOUGHT_AT").is_not_null(),
        clicked_at="CLICKED_AT",
        bought_at="BOUGHT_AT",
    )
    return IMPRESSION_OWNER.of(facts, silver_identity_links)
