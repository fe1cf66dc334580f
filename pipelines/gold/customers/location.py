"""Where a person lives, as coarsely as a town, which store is near, and which stores it comes to."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.geography import is_open, nearest, on_sphere
from customer360.pipelines.stays import stays
from customer360.platform.tables import Float, Integer, OneOf, String, Table, Timestamp, personal

WINDOW_DAYS = 365


class Location(Table, serves="PERSONALIZATION"):
    """Town and nearest store by the golden address; visits to stores only of who agreed to be located."""

    home_cell = String(
        nullable=True, metadata=personal("address"), description="H3 cell of resolution 4: a town and its surroundings"
    )
    located_by = OneOf("POSTAL_CODE", "CITY", "NONE", nullable=True, description="NONE: the address was not found")
    nearest_store_id = String(nullable=True, description="Of silver.stores; null where the address was not found")
    nearest_store_km = Float(nullable=True, description="From the middle of the postal code or city, to whole km")
    store_visit_count_365d = Integer(
        nullable=True, description="Noticed visits, each once; null: none was ever noticed"
    )
    last_visited_store_id = String(nullable=True, description="Of the latest noticed visit")
    location_until_at = Timestamp(nullable=True, description="Beginning of the latest noticed visit")


def location(
    profile: pl.LazyFrame, areas: pl.LazyFrame, stores: pl.LazyFrame, visits: pl.LazyFrame, as_of: date
) -> pl.LazyFrame:
    """Adds Location from silver.person_areas, silver.store_places and silver.store_visits."""
    noticed = stays(visits.filter(pl.col("entered_on") < as_of))
    recent = pl.col("entered_at").dt.date() >= as_of - timedelta(days=WINDOW_DAYS)
    came = (
        noticed.sort("entered_at", "visit_id")
        .group_by("person_id", maintain_order=True)
        .agg(
            store_visit_count_365d=recent.sum().cast(pl.Int64),
            last_visited_store_id=pl.col("store_id").last(),
            location_until_at=pl.col("entered_at").last(),
        )
    )
    open_ = stores.filter(pl.col("latitude").is_not_null(), is_open(as_of))
    found = areas.select("person_id", home_cell="coarse_cell", located_by="found_by")
    return (
        profile.join(found, on="person_id", how="left")
        .join(_near(areas, open_), on="person_id", how="left")
        .join(came, on="person_id", how="left")
    )


def _near(areas: pl.LazyFrame, stores: pl.LazyFrame) -> pl.LazyFrame:
    """The nearest store of each person who was found."""
    schema = {"person_id": pl.String(), "nearest_store_id": pl.String(), "nearest_store_km": pl.Float64()}
    place = ("latitude", "longitude")
    shops = stores.sort("store_id").select("store_id", *place)
    people = areas.filter(pl.col("latitude").is_not_null()).select("person_id", *place)

    def measured(rows: pl.DataFrame) -> pl.DataFrame:
        there, here = rows.filter(pl.col("store_id").is_not_null()), rows.filter(pl.col("person_id").is_not_null())
        if there.is_empty() or here.is_empty():
            return pl.DataFrame(schema=schema)
        homes, shops_at = (on_sphere(*(f[c].to_numpy() for c in place)) for f in (here, there))
        far, which = nearest(homes, shops_at, 1)
        stores_of = there["store_id"].gather(which[:, 0])
        return pl.DataFrame([here["person_id"], stores_of, pl.Series(far[:, 0].round())], schema=schema)

    return pl.concat([shops, people], how="diagonal").map_batches(measured, schema=schema)
