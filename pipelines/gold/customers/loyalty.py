"""A person's standing in the loyalty programme."""

from __future__ import annotations

import polars as pl

from customer360.platform.tables import Boolean, Date, Integer, String, Table, Timestamp


class Loyalty(Table):
    """Tier and points, as the master data says."""

    is_member = Boolean(description="Has a tier or points")
    loyalty_tier = String(nullable=True)
    loyalty_points = Integer(nullable=True)
    registered_on = Date(nullable=True)
    loyalty_until_at = Timestamp(nullable=True, description="As identity_until_at; null for others than members")


def loyalty(profile: pl.LazyFrame, people: pl.LazyFrame) -> pl.LazyFrame:
    """Adds Loyalty to a profile with Identity."""
    member = pl.col("loyalty_tier").is_not_null() | pl.col("loyalty_points").is_not_null()
    known = people.select("person_id", "loyalty_tier", "loyalty_points", "registered_on")
    return profile.join(known, on="person_id", how="left").with_columns(
        is_member=member, loyalty_until_at=pl.when(member).then(pl.col("identity_until_at"))
    )
