"""Which devices belong to whom, and which are shared."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Integer, String, Table, Timestamp, personal

ACTIVITY: Activity = "identity"


class DeviceLinks(
    Table, table="silver.device_links", per="identifier", bucketed=True, sort_by=("person_id", "first_at")
):
    """One row per person and device on which it was logged in."""

    person_id = String(primary_key=True)
    identifier = String(primary_key=True, metadata=personal("device"))
    first_at = Timestamp(description="Start of the person's first stretch on the device")
    person_count = Integer(description="People who were logged in on the device, ever")
    is_shared = Boolean()


@builds(DeviceLinks)
def device_links(silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Stretches of logins folded to person and device; a device with several people is shared."""
    folded = (
        silver_identity_links.filter(pl.col("kind") == "visitor")
        .group_by("identifier", "person_id")
        .agg(first_at=pl.col("valid_from").min())
        .with_columns(person_count=pl.len().over("identifier").cast(pl.Int64))
    )
    return folded.with_columns(is_shared=pl.col("person_count") > 1)
