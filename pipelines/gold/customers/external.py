"""What third parties say of a person, where they can be believed."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.platform.tables import Float, List, String, Table, Timestamp, personal

FACTS = ("occupation", "education_level", "income_range", "age_range")


class External(Table, serves="PERSONALIZATION"):
    """Facts from reliable third-party profiles: each from the most reliable one that has it."""

    occupation = String(nullable=True, metadata=personal("person"), description="As the third party words it")
    education_level = String(nullable=True, metadata=personal("person"), description="As the third party words it")
    income_range = String(nullable=True, metadata=personal("person"), description="As the third party words it")
    age_range = String(nullable=True, metadata=personal("birth"), description="As the third party words it")
    interests = List(
        String(), nullable=True, metadata=personal("person"), description="Of the most reliable profile that names any"
    )
    influence_score = Float(nullable=True, description="As the third party measures it")
    external_reliability = Float(nullable=True, description="0 to 1: of the most reliable profile")
    external_sources = List(String(), description="Sources of the reliable profiles")
    external_until_at = Timestamp(nullable=True, description="Latest update of a reliable profile")


def external(profile: pl.LazyFrame, profiles: pl.LazyFrame, reliability: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Adds External from silver.external_profiles and silver.profile_reliability; later profiles are not known yet."""
    key = ["person_id", "profile_id", "source_system"]
    trusted = reliability.filter("is_reliable").select(*key, "reliability_score")
    known = profiles.filter(pl.col("profiled_on").is_null() | (pl.col("profiled_on") < as_of))
    ordered = known.join(trusted, on=key).sort(
        "person_id", "reliability_score", "profiled_on", "profile_id", "source_system",
        descending=[False, True, True, False, False], nulls_last=True,
    )  # fmt: skip
    said = ordered.group_by("person_id", maintain_order=True).agg(
        *(pl.col(c).drop_nulls().first() for c in (*FACTS, "influence_score")),
        interests=pl.col("interests").filter(pl.col("interests").list.len() > 0).first(),
        external_reliability=pl.col("reliability_score").first(),
        external_sources=pl.col("data_source").unique().sort(),
        external_until_at=pl.col("last_updated_at").max(),
    )
    return profile.join(said, on="person_id", how="left").with_columns(pl.col("external_sources").fill_null([]))
