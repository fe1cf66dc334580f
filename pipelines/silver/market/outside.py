"""Weather in standard units, and economic series as they were known."""

from __future__ import annotations

import polars as pl

from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, String, Table, Timestamp

COLDEST, WARMEST = -89.2, 56.7  # degrees Celsius: the records of the World Meteorological Organization
WETTEST = 1825.0  # millimetres in 24 hours


class Weather(Table, table="silver.weather", per="station_id", sort_by=("station_id", "on")):
    """One row per station and day, in degrees Celsius and millimetres. Values beyond the world's records are null."""

    station_id = String(primary_key=True)
    on = Date(primary_key=True)
    source_system = String(primary_key=True)
    area_code = String(nullable=True)
    country_code = String(nullable=True)
    temperature_mean = Float(nullable=True, description="As delivered, else the middle of minimum and maximum")
    temperature_min = Float(nullable=True)
    temperature_max = Float(nullable=True)
    precipitation_mm = Float(nullable=True)
    snow_depth_mm = Float(nullable=True)
    is_plausible = Boolean(description="No value lies beyond the world's records")


@builds(Weather)
def weather(bronze_weather: pl.LazyFrame) -> pl.LazyFrame:
    """Units are those that the row names."""
    heat = {c: _celsius(pl.col(c.upper())) for c in ("temperature_mean", "temperature_min", "temperature_max")}
    wet = {"precipitation_mm": _millimetres("PRECIPITATION"), "snow_depth_mm": _millimetres("SNOW_DEPTH")}
    fits = [(heat[c].is_null() | heat[c].is_between(COLDEST, WARMEST)) for c in heat]
    fits.append(wet["precipitation_mm"].is_null() | (wet["precipitation_mm"] <= WETTEST))
    known = {c: pl.when(fit).then(heat[c]) for c, fit in zip(heat, fits, strict=False)}
    middle = (known["temperature_min"] + known["temperature_max"]) / 2
    return bronze_weather.select(
        station_id="STATION_ID", on="WEATHER_DATE", source_system="_source_system", area_code="AREA_CODE",
        country_code="COUNTRY_CODE", **known | {"temperature_mean": pl.coalesce(known["temperature_mean"], middle)},
        precipitation_mm=pl.when(fits[3]).then(wet["precipitation_mm"]), snow_depth_mm=wet["snow_depth_mm"],
        is_plausible=pl.all_horizontal(fits),
    )  # fmt: skip


def _celsius(value: pl.Expr) -> pl.Expr:
    unit = pl.col("TEMPERATURE_UNIT")
    return (
        pl.when(unit == "F").then((value - 32) / 1.8).when(unit == "K").then(value - 273.15).otherwise(value).round(2)
    )


def _millimetres(column: str) -> pl.Expr:
    return pl.when(pl.col("PRECIPITATION_UNIT") == "IN").then(pl.col(column) * 25.4).otherwise(pl.col(column)).round(3)


class EconomicIndicators(
    Table, table="silver.economic_indicators", per="series_id", sort_by=("series_id", "period", "released_at")
):
    """One row per series, period and release: what the value was, as of when."""

    series_id = String(primary_key=True)
    period = Date(primary_key=True)
    released_at = Timestamp(primary_key=True)
    source_system = String(primary_key=True)
    series_name = String(nullable=True)
    unit = String(nullable=True)
    frequency = String(nullable=True)
    country_code = String(nullable=True)
    value = Float(nullable=True)
    release_number = Integer(min=1, description="1: the first release for the period")
    revised_from = Float(nullable=True, description="Value of the release before")


@builds(EconomicIndicators)
def economic_indicators(bronze_economic_indicators: pl.LazyFrame) -> pl.LazyFrame:
    """Releases are numbered within a source system; a release before its period has begun is a forecast, and one."""
    same = ("series_id", "period", "released_at", "series_name", "unit", "frequency", "country_code", "value")
    key = ["source_system", "series_id", "period"]
    rows = bronze_economic_indicators.select(
        *(pl.col(c.upper()).alias(c) for c in same), source_system="_source_system"
    )
    ordered = rows.sort(*key, "released_at")
    return ordered.with_columns(
        release_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(key),
        revised_from=pl.col("value").shift().over(key),
    )
