"""Where a person stands on its way with the retailer."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.gold.customers.engagement import midnight
from customer360.pipelines.vocabulary import JOURNEY_STAGES
from customer360.platform.tables import Integer, OneOf, String, Table, Timestamp


class Journey(Table, serves="PROFILING"):
    """The last stage that a person reached, and what it did since it last bought; messages that were only sent are
    nothing that it did.
    """

    journey_stage = OneOf(*JOURNEY_STAGES, nullable=True, description="Of the last touchpoint; null: none is known")
    days_in_stage = Integer(nullable=True, description="Since the first of the touchpoints in a row of that stage")
    last_touch_channel = String(nullable=True, description="Of the last touchpoint")
    touches_since_purchase = Integer(
        nullable=True, description="Touchpoints since the last purchase; since ever where nothing was bought"
    )
    journey_until_at = Timestamp(nullable=True, description="Last touchpoint")


def journey(profile: pl.LazyFrame, touchpoints: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Adds Journey from silver.touchpoints before ``as_of``."""
    cut, at, stage = midnight(as_of), pl.col("occurred_at"), pl.col("stage")
    bought = at.filter(pl.col("kind") == "PURCHASE").max()
    told = (
        touchpoints.filter(pl.col("person_id").is_not_null(), "is_active", at < cut)
        .sort("person_id", "occurred_at", "sequence_number")
        .group_by("person_id", maintain_order=True)
        .agg(
            journey_stage=stage.last(),
            since=at.filter(stage.rle_id() == stage.rle_id().max()).min(),
            last_touch_channel=pl.col("channel").last(),
            touches_since_purchase=(at > bought).fill_null(True).sum().cast(pl.Int64),
            journey_until_at=at.last(),
        )
    )
    return profile.join(told, on="person_id", how="left").with_columns(
        days_in_stage=(pl.lit(as_of) - pl.col("since").dt.date()).dt.total_days()
    )
