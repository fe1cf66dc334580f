"""Stores, areas, where people live by postal code, and visits to stores."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.geography import place_key, postal_key, postal_prefix, with_cells
from customer360.pipelines.inference import sums
from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table, Timestamp, personal

ACTIVITY: Activity = "enrichment"
FOUND_BY = ("COORDINATES", "POSTAL_CODE", "CITY", "NONE")


class Stores(Table, table="silver.stores", per="store_id", sort_by=("store_id",)):
    """One row per store."""

    store_id = String(primary_key=True)
    store_name = String(nullable=True)
    address_line_1 = String(nullable=True)
    city = String(nullable=True)
    state_code = String(nullable=True)
    zip_code = String(nullable=True)
    country_code = String(nullable=True)
    region = String(nullable=True)
    latitude = Float(nullable=True)
    longitude = Float(nullable=True)
    opened_on = Date(nullable=True)
    closed_on = Date(nullable=True, description="Last day of business; null: it is open, as far as is known")


@builds(Stores)
def stores(bronze_stores: pl.LazyFrame) -> pl.LazyFrame:
    """Current stores."""
    dates = {"opened_on": "OPENED_DATE", "closed_on": "CLOSED_DATE"}
    same = [c for c in Stores.columns() if c not in dates]
    return bronze_stores.select(*(pl.col(c.upper()).alias(c) for c in same), **dates)


class PostalPlaces(Table, table="silver.postal_places", per="postal_code", sort_by=("country_code", "postal_code")):
    """One row per place of a postal code, as last delivered."""

    postal_code = String(primary_key=True, description="As delivered")
    country_code = String(primary_key=True)
    place_name = String(primary_key=True)
    source_system = String(primary_key=True)
    area_id = String(nullable=True, description="country_code/postal code in capitals and digits")
    state_code = String(nullable=True)
    latitude = Float()
    longitude = Float()
    population = Integer(nullable=True)


@builds(PostalPlaces)
def postal_places(bronze_area_centroids: pl.LazyFrame) -> pl.LazyFrame:
    """Current places of the retailer's own list."""
    same = ("postal_code", "country_code", "place_name", "state_code", "latitude", "longitude", "population")
    key = postal_key(pl.col("POSTAL_CODE"), pl.col("COUNTRY_CODE"))
    return bronze_area_centroids.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        area_id=pl.concat_str("COUNTRY_CODE", key, separator="/"),
    )


class Areas(Table, table="silver.areas", sort_by=("area_id",)):
    """One row per postal code: the middle of its places, the cells that it lies in, and who could live there."""

    area_id = String(primary_key=True)
    country_code = String()
    postal_key = String()
    latitude = Float()
    longitude = Float()
    population = Integer(nullable=True, description="Null where the list tells it of no place of the area")
    cell = String(description="H3 cell of resolution 6, about 36 square kilometres")
    coarse_cell = String(description="H3 cell of resolution 4, about 1,770 square kilometres")


@builds(Areas)
def areas(silver_postal_places: pl.LazyFrame) -> pl.LazyFrame:
    """Of a place that two systems list, however they write it, the row of the one that comes last by name.

    Population is that of one list, the last that tells it: two lists tell of the same people.
    """
    population, area = pl.col("population"), ["area_id", "country_code"]
    name = pl.concat_str(place_key(pl.col("place_name")).fill_null(""), pl.col("place_name").str.replace_all(r"\D", ""))
    rows = silver_postal_places.filter(pl.col("area_id").is_not_null()).sort("source_system", "postal_code")
    one = rows.with_columns(name__=name).unique(["area_id", "name__"], keep="last", maintain_order=True)
    lives = (
        rows.filter(population.is_not_null())
        .unique(["area_id", "source_system", "place_name"], keep="last", maintain_order=True)
        .group_by(*area, "source_system")
        .agg(population.sum())
        .sort("source_system")
        .unique(area, keep="last", maintain_order=True)
        .drop("source_system")
    )
    middle = (
        one.group_by(area).agg(sums.mean(pl.col("latitude", "longitude")).round(6)).join(lives, on=area, how="left")
    )
    return with_cells(middle.with_columns(postal_key=pl.col("area_id").str.slice(4)))


class Cities(Table, table="silver.cities", sort_by=("country_code", "place_key", "state_code")):
    """One row per city of the list of places, whose name is compared without case and accents."""

    country_code = String()
    state_code = String(nullable=True)
    place_key = String()
    latitude = Float(description="Middle of its places, by population where the list tells it of all")
    longitude = Float()
    cell = String()
    coarse_cell = String()


@builds(Cities)
def cities(silver_postal_places: pl.LazyFrame) -> pl.LazyFrame:
    """Cities and towns by name; a name twice in a state is one city."""
    people = pl.col("population")
    weight = pl.when(people.is_not_null().all() & (people.sum() > 0)).then(people).otherwise(1)
    middle = [((pl.col(c) * weight).sum() / weight.sum()).round(6).alias(c) for c in ("latitude", "longitude")]
    named = silver_postal_places.with_columns(
        pl.col("state_code").str.to_uppercase(), place_key=place_key(pl.col("place_name"))
    )
    held = named.filter(pl.col("place_key").is_not_null()).sort("source_system", "postal_code", "place_name")
    return with_cells(held.group_by("country_code", "state_code", "place_key", maintain_order=True).agg(middle))


class PersonAreas(Table, table="silver.person_areas", per="person_id", sort_by=("person_id",)):
    """One row per person: the area that its golden address lies in, and by what it was found.

    A place is that of the postal code, or the middle of the city. What fits two places fits none: a code without its
    country that two countries have, a city's name that two states have.
    """

    person_id = String(primary_key=True)
    found_by = OneOf(*FOUND_BY[1:], description="NONE: the address is unknown, incomplete, ambiguous, or in no list")
    area_id = String(nullable=True, metadata=personal("address"), description="Null where a city alone was found")
    latitude = Float(nullable=True, metadata=personal("address"), description="Of the area or city, not of the house")
    longitude = Float(nullable=True, metadata=personal("address"))
    cell = String(nullable=True, metadata=personal("address"), description="Null where a city alone was found")
    coarse_cell = String(nullable=True, metadata=personal("address"), description="A town and its surroundings")


WHERE = ("area_id", "latitude", "longitude", "cell", "coarse_cell")


def located(addresses: pl.LazyFrame, key: str, areas: pl.LazyFrame, cities: pl.LazyFrame) -> pl.LazyFrame:
    """Addresses (``key``, unique; zip_code, city, state_code, country_code) with ``found_by``, area_id, latitude,
    longitude, cell and coarse_cell."""
    country = pl.col("country_code")
    asked = addresses.select(
        key,
        "country_code",
        pl.col("state_code").str.to_uppercase(),
        postal_key=postal_key(pl.col("zip_code"), country.fill_null("")),
        place_key=place_key(pl.col("city")),
    ).with_columns(prefix=postal_prefix(pl.col("postal_key"), country))
    known = areas.select("country_code", "postal_key", *WHERE)
    only = known.filter(pl.len().over("postal_key") == 1).drop("country_code")
    towns = cities.select(
        "country_code", "place_key", *WHERE[1:3], "coarse_cell", city_state="state_code",
        area_id=pl.lit(None, pl.String), cell=pl.lit(None, pl.String),
    )  # fmt: skip
    by_code, by_name = ["country_code", "postal_key"], ["country_code", "place_key"]
    alone = towns.filter(pl.len().over(by_name) == 1)
    ways = (
        ("POSTAL_CODE", asked.join(known, on=by_code)),
        ("POSTAL_CODE", asked.drop("postal_key").rename({"prefix": "postal_key"}).join(known, on=by_code)),
        ("POSTAL_CODE", asked.filter(country.is_null()).join(only, on="postal_key")),
        ("CITY", asked.join(towns, on=by_name).filter(pl.col("state_code") == pl.col("city_state"))),
        ("CITY", asked.join(alone, on=by_name).filter(pl.any_horizontal(pl.col("state_code", "city_state").is_null()))),
    )
    found = [rows.select(key, *WHERE, found_by=pl.lit(by), rank__=pl.lit(n)) for n, (by, rows) in enumerate(ways)]
    best = pl.concat(found).sort(key, "rank__").unique(key, keep="first", maintain_order=True).drop("rank__")
    return addresses.join(best, on=key, how="left").with_columns(pl.col("found_by").fill_null("NONE"))


@builds(
    PersonAreas,
    reads={"silver.people": ("person_id", "city", "state_code", "zip_code", "country_code")},
)
def person_areas(silver_people: pl.LazyFrame, silver_areas: pl.LazyFrame, silver_cities: pl.LazyFrame) -> pl.LazyFrame:
    """Everybody, found or not."""
    return located(silver_people, "person_id", silver_areas, silver_cities).select(list(PersonAreas.columns()))


class StorePlaces(Table, table="silver.store_places", per="store_id", sort_by=("store_id",)):
    """One row per store: where it lies, by the master data's coordinates, else by its address."""

    store_id = String(primary_key=True)
    found_by = OneOf(*FOUND_BY)
    latitude = Float(nullable=True)
    longitude = Float(nullable=True)
    opened_on = Date(nullable=True)
    closed_on = Date(nullable=True, description="Last day of business; null: it is open, as far as is known")


@builds(StorePlaces)
def store_places(silver_stores: pl.LazyFrame, silver_areas: pl.LazyFrame, silver_cities: pl.LazyFrame) -> pl.LazyFrame:
    """Coordinates of 0, 0 are a system's way to know none."""
    told = pl.col("own_latitude").is_not_null() & pl.col("own_longitude").is_not_null()
    told &= (pl.col("own_latitude") != 0) | (pl.col("own_longitude") != 0)
    named = silver_stores.rename({"latitude": "own_latitude", "longitude": "own_longitude"})
    return located(named, "store_id", silver_areas, silver_cities).select(
        "store_id",
        "opened_on",
        "closed_on",
        *(pl.when(told).then(f"own_{c}").otherwise(c).alias(c) for c in ("latitude", "longitude")),
        found_by=pl.when(told).then(pl.lit("COORDINATES")).otherwise("found_by"),
    )


class StoreVisits(Table, table="silver.store_visits", per="visit_id", sort_by=("entered_at", "visit_id")):
    """One row per visit to a store, as last delivered, or per count at a door."""

    visit_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True, description="Null where the person did not agree to be located")
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    store_id = String()
    entered_at = Timestamp()
    entered_on = Date()
    left_at = Timestamp(nullable=True)
    dwell_minutes = Float(nullable=True)
    visit_source = String()
    person_count = Integer(description="People: of a counter as many as it counted, else one")
    is_consented = Boolean(description="The person said yes to being located; silence is no yes")


VISIT_OWNER = Owner(at="entered_at", visitor="visitor_id", otherwise=own_key("sv", "visit_id"))


@builds(StoreVisits, follows=VISIT_OWNER.of, reached=VISIT_OWNER.reached)
def store_visits(bronze_store_visits: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Visits with their subject; of who did not agree neither account nor device goes on."""
    agreed = pl.col("LOCATION_CONSENT").fill_null(False)
    entered, left, counter = pl.col("ENTERED_AT"), pl.col("LEFT_AT"), pl.col("VISIT_SOURCE") == "COUNTER"
    named = agreed & ~counter
    facts = bronze_store_visits.select(
        visit_id="VISIT_ID",
        source_system="_source_system",
        customer_id=pl.when(named).then("CUSTOMER_ID"),
        visitor_id=pl.when(named).then("VISITOR_ID"),
        store_id="STORE_ID",
        entered_at="ENTERED_AT",
        entered_on=entered.dt.date(),
        left_at="LEFT_AT",
        dwell_minutes=(left - entered).dt.total_seconds() / 60,
        visit_source="VISIT_SOURCE",
        person_count=pl.when(counter).then(pl.col("PERSON_COUNT").fill_null(1)).otherwise(1),
        is_consented=agreed,
    )
    return VISIT_OWNER.of(facts, silver_identity_links)
