"""A person's standing in the loyalty programme."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.points import tiers_in_force
from customer360.platform.tables import Boolean, Date, Integer, String, Table, Timestamp

EXPIRING_DAYS = 30


class Loyalty(Table, serves="OPERATION"):
    """Tier and points by the programme's own books, where they know the person; else as the master data state."""

    is_member = Boolean(
        nullable=True,
        description="An account has a card, a tier or points, or a receipt before as_of earned or redeemed some; false"
        " where a system that tells of such things knows the person without; null where none could say",
    )
    loyalty_tier = String(
        nullable=True,
        description="By the tier changes where they know the person (the latest of several; null: none holds), else"
        " stated_tier",
    )
    stated_tier = String(nullable=True, description="As the master data state, which may be older than the books")
    loyalty_points = Integer(
        nullable=True, description="points_balance where the ledger knows the person, else stated_points"
    )
    stated_points = Integer(nullable=True, description="As the master data state; no ledger needs to know of these")
    registered_on = Date(nullable=True, description="Earliest registration of any account")
    points_balance = Integer(nullable=True, description="By the entries of the ledger; null: it has none of the person")
    points_expiring_30d = Integer(
        nullable=True, description="Of the balance, what can be spent within 30 days from as_of at the latest"
    )
    tier_since = Date(
        nullable=True,
        description="Since when loyalty_tier holds, by the tier changes; null: none does, or it is stated_tier",
    )
    loyalty_until_at = Timestamp(
        nullable=True, description="As identity_until_at, or a later entry of the ledger; null for others than members"
    )


def loyalty(
    profile: pl.LazyFrame,
    people: pl.LazyFrame,
    accounts: pl.LazyFrame,
    transactions: pl.LazyFrame,
    systems: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """Adds Loyalty to a profile with Identity."""
    known = people.select("person_id", "registered_on", stated_tier="loyalty_tier", stated_points="loyalty_points")
    by_account = accounts.select("person_id", by_account="is_member")
    telling = systems.filter(pl.col("told_by") == "receipts").select("source_system", tells=True)
    earned = pl.any_horizontal(pl.col("loyalty_points_earned", "loyalty_points_redeemed").fill_null(0) != 0)
    by_receipt = (
        transactions.filter(pl.col("person_id").is_not_null(), pl.col("occurred_on") < as_of)
        .join(telling, on="source_system")
        .group_by("person_id")
        .agg(by_receipt=earned.any())
    )
    has_standing = pl.col("stated_tier").is_not_null() | (pl.col("stated_points") != 0)
    by_standing = pl.when(has_standing).then(True)
    member = pl.max_horizontal("by_account", "by_receipt", by_standing)  # true before false before unknown
    return (
        profile.join(known, on="person_id", how="left")
        .join(by_account, on="person_id", how="left")
        .join(by_receipt, on="person_id", how="left")
        .with_columns(is_member=member, loyalty_until_at=pl.when(member).then(pl.col("identity_until_at")))
    )


def programme(profile: pl.LazyFrame, movements: pl.LazyFrame, tiers: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Adds to Loyalty what silver.loyalty_lot_movements and silver.loyalty_tiers know before ``as_of``, and with it the
    tier and points that count. Who has entries is a member."""
    cut = pl.lit(as_of).cast(pl.Datetime("us", "UTC"))
    known = pl.col("person_id").is_not_null()
    soon = pl.col("expires_on").is_between(as_of, as_of + timedelta(days=EXPIRING_DAYS))
    held = (
        movements.filter(known, pl.col("occurred_at") < cut)
        .group_by("person_id")
        .agg(
            points_balance=pl.col("points").sum(),
            points_expiring_30d=pl.col("points").filter(soon).sum(),
            entered_at=pl.col("occurred_at").max(),
        )
    )
    return (
        profile.join(held, on="person_id", how="left")
        .join(tiers_in_force(tiers, as_of), on="person_id", how="left")
        .with_columns(
            loyalty_tier=pl.when("has_tier_changes").then("tier").otherwise("stated_tier"),
            loyalty_points=pl.coalesce("points_balance", "stated_points"),
        )
        .with_columns(
            is_member=pl.when(
                pl.col("entered_at").is_not_null() | (pl.col("has_tier_changes") & pl.col("tier").is_not_null())
            )
            .then(True)
            .otherwise("is_member")
        )
        .with_columns(loyalty_until_at=pl.max_horizontal(pl.when("is_member").then("identity_until_at"), "entered_at"))
    )
