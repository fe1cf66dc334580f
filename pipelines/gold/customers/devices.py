"""With what a person comes, and whether others use it too."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.gold.customers.engagement import midnight
from customer360.platform.tables import Boolean, Integer, String, Table, Timestamp


class Devices(Table, serves="OPERATION"):
    """Devices on which the person logged in."""

    device_count = Integer(description="Browsers or apps that the person was logged in on")
    shared_device_count = Integer(description="Of these, used by other people too")
    has_shared_device = Boolean(description="shared_device_count is above 0")
    main_device_type = String(nullable=True, description="Of most visits: DESKTOP, MOBILE, TABLET or UNKNOWN")
    is_mobile_user = Boolean(description="The last visit was on a mobile")
    main_browser = String(
        nullable=True, description="Of most days of the year before as_of; null, too, for who refuses to be profiled"
    )
    main_operating_system = String(nullable=True, description="As main_browser")
    main_language = String(nullable=True, description="As main_browser, what its browser asks for: BCP 47")
    is_app_user = Boolean(description="Some device came by an app")
    devices_until_at = Timestamp(nullable=True, description="Latest visit or login of a device")


TECHNOLOGY = ("main_browser", "main_operating_system", "main_language", "is_app_user")


def devices(
    profile: pl.LazyFrame, links: pl.LazyFrame, visits: pl.LazyFrame, technology: pl.LazyFrame, as_of: date
) -> pl.LazyFrame:
    """Adds Devices from silver.device_links before ``as_of``, gold.visit_profiles and gold.technology_profiles."""
    known = links.filter(pl.col("first_at") < midnight(as_of))
    used = known.group_by("person_id").agg(
        device_count=pl.len().cast(pl.Int64),
        shared_device_count=pl.col("is_shared").sum().cast(pl.Int64),
        linked_at=pl.col("first_at").max(),
    )
    came = visits.select("person_id", "is_mobile_user", "last_session_at", main_device_type="usual_device_type")
    return (
        profile.join(used, on="person_id", how="left")
        .join(came, on="person_id", how="left")
        .join(technology.select("person_id", *TECHNOLOGY), on="person_id", how="left")
        .with_columns(
            pl.col("device_count", "shared_device_count").fill_null(0),
            pl.col("is_mobile_user", "is_app_user").fill_null(False),
            devices_until_at=pl.max_horizontal("linked_at", "last_session_at"),
        )
        .with_columns(has_shared_device=pl.col("shared_device_count") > 0)
    )
