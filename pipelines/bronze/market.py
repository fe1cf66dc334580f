"""The world outside: weather, the economy, and what competitors ask for which product."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.platform.tables import (
    Boolean,
    Country,
    Currency,
    Date,
    Float,
    Identifier,
    Money,
    OneOf,
    State,
    String,
    Table,
    Timestamp,
)


class Weather(
    Table, table="bronze.weather", key=("STATION_ID", "WEATHER_DATE"), past=("WEATHER_DATE",), erasure="none"
):
    """One row per delivered version of a day's weather at a station, or of an area."""

    STATION_ID = Identifier(nullable=False, description="Of a station, or of the area where the source has none")
    WEATHER_DATE = Date()
    AREA_CODE = State(nullable=True)
    COUNTRY_CODE = Country(nullable=True)
    TEMPERATURE_MEAN = Float(nullable=True)
    TEMPERATURE_MIN = Float(nullable=True)
    TEMPERATURE_MAX = Float(nullable=True)
    TEMPERATURE_UNIT = OneOf("C", "F", "K", nullable=True, description="Null: C")
    PRECIPITATION = Float(nullable=True, min=0)
    PRECIPITATION_UNIT = OneOf("MM", "IN", nullable=True, description="Null: MM")
    SNOW_DEPTH = Float(nullable=True, min=0, description="In the unit of the precipitation")

    @dy.rule()
    def is_warmest_at_its_maximum(cls) -> pl.Expr:
        return pl.col("TEMPERATURE_MIN") <= pl.col("TEMPERATURE_MAX")


class EconomicIndicators(
    Table, table="bronze.economic_indicators", key=("SERIES_ID", "PERIOD", "RELEASED_AT"), past=("RELEASED_AT",),
    erasure="none",
):  # fmt: skip
    """One row per delivered version of a value of a series for a period, as it was released at a moment.

    A revision is a row of its own: what was known on a day is the newest release before it, never a later one.
    """

    SERIES_ID = Identifier(nullable=False)
    SERIES_NAME = String(nullable=True, max_length=500)
    PERIOD = Date(description="First day of the month, quarter or year that the value is of")
    VALUE = Float(nullable=True, description="Null: withdrawn, or not available")
    UNIT = String(nullable=True, max_length=100)
    FREQUENCY = OneOf("DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "ANNUAL", nullable=True)
    COUNTRY_CODE = Country(nullable=True)
    RELEASED_AT = Timestamp(description="First moment that anybody could know it")


class CompetitorPrices(
    Table, table="bronze.competitor_prices",
    key=("COMPETITOR_PRODUCT_ID", "COMPETITOR", "DATA_SOURCE", "OBSERVED_AT"), past=("OBSERVED_AT",), erasure="none",
):  # fmt: skip
    """One row per delivered version of a competitor's price for a product of theirs, as a source saw it at a moment."""

    COMPETITOR = String(max_length=255)
    COMPETITOR_PRODUCT_ID = Identifier(nullable=False, description="Their number, address or barcode of the product")
    DATA_SOURCE = String(max_length=255, description="Who saw it: a crawler, a portal, a panel")
    OBSERVED_AT = Timestamp()
    PRODUCT_NAME = String(nullable=True, max_length=1000)
    BRAND = String(nullable=True, max_length=255)
    CATEGORY = String(nullable=True, max_length=1000)
    GTIN = Identifier(nullable=True)
    PRICE = Money(description="What a customer pays, without delivery")
    CURRENCY_CODE = Currency(nullable=True)
    IS_AVAILABLE = Boolean(nullable=True)
    URL = String(nullable=True, max_length=2000)

    @dy.rule()
    def price_is_above_nothing(cls) -> pl.Expr:
        return pl.col("PRICE") > 0
