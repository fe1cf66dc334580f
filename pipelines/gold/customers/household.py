"""With whom a person lives."""

from __future__ import annotations

import polars as pl

from customer360.platform.graph import builds
from customer360.platform.tables import Integer, String, Table, Timestamp

LARGEST = 8  # more people of one name at one address are a default value or a company, not a household


class Households(
    Table, table="gold.households", per="household_id", bucketed=True, sort_by=("person_id",), serves="OPERATION"
):
    """One row per person of a household: people who share surname and address, alone or with others."""

    person_id = String(primary_key=True)
    household_id = String(description="One for all who share surname and address")
    household_size = Integer(description=f"People with this surname at this address, at most {LARGEST}")


@builds(Households)
def households(silver_addresses: pl.LazyFrame) -> pl.LazyFrame:
    """Groups of people with one household key; larger groups than ``LARGEST`` are no household and are left out."""
    sized = silver_addresses.with_columns(household_size=pl.len().over("household_id").cast(pl.Int64))
    return sized.filter(pl.col("household_size") <= LARGEST).select(list(Households.columns()))


class Household(Table, serves="PERSONALIZATION"):
    """The household: people who share surname and address."""

    household_id = String(nullable=True, description="Null where surname or address is unknown")
    household_size = Integer(nullable=True, description="People with this surname at this address")
    household_until_at = Timestamp(nullable=True, description="As identity_until_at: of the address")


def household(profile: pl.LazyFrame, members: pl.LazyFrame) -> pl.LazyFrame:
    """Adds Household to a profile with Identity; ``members``: gold.households."""
    known = members.select("person_id", "household_id", "household_size")
    return profile.join(known, on="person_id", how="left").with_columns(
        household_until_at=pl.when(pl.col("household_id").is_not_null()).then(pl.col("identity_until_at"))
    )
