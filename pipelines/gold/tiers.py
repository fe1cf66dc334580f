"""How members move between the tiers of the programme from month to month."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.inference.proportions import wilson
from customer360.pipelines.inference.verdicts import MEASURED, NOT_ENOUGH_EVIDENCE
from customer360.pipelines.rules.loyalty import LoyaltyRules
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table

NO_TIER = "NO_TIER"  # not in the programme yet, or no longer in any tier


class TierMigrations(
    Table, table="gold.tier_migrations", partition_by=("as_of",), sort_by=("month", "from_tier", "to_tier")
):
    """One row per month, pair of tiers and as_of date: the members who were in the one when the month began and in the
    other when it ended. Months that are over, as they were; a person of several accounts has the highest of its tiers.
    """

    as_of = Date(primary_key=True)
    month = Date(primary_key=True, description="First day of the month")
    from_tier = String(primary_key=True, description="When the month began")
    to_tier = String(primary_key=True, description="When it ended")
    direction = OneOf(
        "JOINED", "UP", "SAME", "DOWN", "LEFT", nullable=True,
        description="By the rule file's order of tiers; null where that does not know one of them",
    )  # fmt: skip
    member_count = Integer(description="Members who went that way")
    from_count = Integer(nullable=True, description="Members of from_tier; null for who joined")
    rate = Float(nullable=True, description="member_count / from_count; null where from_count is too few or none")
    rate_low = Float(nullable=True)
    rate_high = Float(nullable=True)
    status = OneOf(
        MEASURED,
        NOT_ENOUGH_EVIDENCE,
        "NO_RATE",
        description="NOT_ENOUGH_EVIDENCE: from_count below least_members of the rule file; NO_RATE: of who joined",
    )


@builds(TierMigrations, rules="loyalty")
def tier_migrations(silver_loyalty_tiers: pl.LazyFrame, as_of: date, params: LoyaltyRules) -> pl.LazyFrame:
    """Tiers at the first instant of each month against those at the first instant of the next."""
    this, months = as_of.replace(day=1), params.tier_history_months
    starts = pl.LazyFrame({"last": [this]}).select(
        month=pl.date_ranges(pl.col("last").dt.offset_by(f"-{months}mo"), pl.col("last"), "1mo")
    )
    at = starts.explode("month").with_columns(at=pl.col("month").cast(pl.Datetime("us", "UTC")))
    heights = {tier: height for height, tier in enumerate(params.tiers)}
    height = pl.col("tier").replace_strict(heights, default=None, return_dtype=pl.Int64)
    holds = (pl.col("valid_from") < pl.col("at")) & (
        pl.col("valid_to").is_null() | (pl.col("valid_to") >= pl.col("at"))
    )
    standing = (
        silver_loyalty_tiers.with_columns(member=pl.coalesce("person_id", "subject_id"), height=height)
        .join(at, how="cross")
        .filter(holds)
        .sort("height", "tier", nulls_last=False)
        .group_by("member", "month")
        .agg(pl.col("tier").last())
    )
    later = standing.select("member", month=pl.col("month").dt.offset_by("-1mo"), to_tier="tier")
    moved = standing.filter(pl.col("month") < this).join(later, on=["member", "month"], how="full", coalesce=True)
    counted = (
        moved.filter(pl.col("month") >= pl.lit(this).dt.offset_by(f"-{months}mo"))
        .group_by(
            "month",
            from_tier=pl.col("tier").fill_null(NO_TIER),
            to_tier=pl.col("to_tier").fill_null(NO_TIER),
        )
        .agg(member_count=pl.len().cast(pl.Int64))
    )
    count = pl.col("member_count").sum().over("month", "from_tier")
    known = counted.with_columns(from_count=pl.when(pl.col("from_tier") != NO_TIER).then(count))
    enough = pl.col("from_count") >= params.least_members
    low, high = wilson(pl.col("member_count"), pl.col("from_count"), params.confidence)
    return known.with_columns(
        as_of=pl.lit(as_of),
        direction=_direction(heights),
        rate=pl.when(enough).then(pl.col("member_count") / pl.col("from_count")),
        rate_low=pl.when(enough).then(low),
        rate_high=pl.when(enough).then(high),
        status=pl.when(pl.col("from_count").is_null())
        .then(pl.lit("NO_RATE"))
        .when(enough)
        .then(pl.lit(MEASURED))
        .otherwise(pl.lit(NOT_ENOUGH_EVIDENCE)),
    ).select(list(TierMigrations.columns()))


def _direction(heights: dict[str, int]) -> pl.Expr:
    here, there = (
        pl.col(c).replace_strict(heights, default=None, return_dtype=pl.Int64) for c in ("from_tier", "to_tier")
    )
    return (
        pl.when(pl.col("from_tier") == NO_TIER).then(pl.lit("JOINED"))
        .when(pl.col("to_tier") == NO_TIER).then(pl.lit("LEFT"))
        .when(pl.col("from_tier") == pl.col("to_tier")).then(pl.lit("SAME"))
        .when(there > here).then(pl.lit("UP"))
        .when(there < here).then(pl.lit("DOWN"))
    )  # fmt: skip
