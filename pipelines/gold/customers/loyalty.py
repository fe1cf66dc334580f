"""A person's standing in the loyalty programme."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.platform.tables import Boolean, Date, Integer, String, Table, Timestamp


class Loyalty(Table, serves="OPERATION"):
    """Tier and points, as the master data says."""

    is_member = Boolean(
        nullable=True,
        description="An account has a card, a tier or points, or a receipt before as_of earned or redeemed some; false"
        " where a system that tells of such things knows the person without; null where none could say",
    )
    loyalty_tier = String(nullable=True)
    loyalty_points = Integer(nullable=True)
    registered_on = Date(nullable=True)
    loyalty_until_at = Timestamp(nullable=True, description="As identity_until_at; null for others than members")


def loyalty(
    profile: pl.LazyFrame,
    people: pl.LazyFrame,
    accounts: pl.LazyFrame,
    transactions: pl.LazyFrame,
    systems: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """Adds Loyalty to a profile with Identity."""
    known = people.select("person_id", "loyalty_tier", "loyalty_points", "registered_on")
    by_account = accounts.select("person_id", by_account="is_member")
    telling = systems.filter(pl.col("told_by") == "receipts").select("source_system", tells=True)
    earned = pl.any_horizontal(pl.col("loyalty_points_earned", "loyalty_points_redeemed").fill_null(0) != 0)
    by_receipt = (
        transactions.filter(pl.col("person_id").is_not_null(), pl.col("occurred_on") < as_of)
        .join(telling, on="source_system")
        .group_by("person_id")
        .agg(by_receipt=earned.any())
    )
    has_standing = pl.col("loyalty_tier").is_not_null() | (pl.col("loyalty_points") != 0)
    by_standing = pl.when(has_standing).then(True)
    member = pl.max_horizontal("by_account", "by_receipt", by_standing)  # true before false before unknown
    return (
        profile.join(known, on="person_id", how="left")
        .join(by_account, on="person_id", how="left")
        .join(by_receipt, on="person_id", how="left")
        .with_columns(is_member=member, loyalty_until_at=pl.when(member).then(pl.col("identity_until_at")))
    )
