"""What visitors do on the site and in the app, as the trackers report it."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from customer360.pipelines import vocabulary as v
from customer360.platform.tables import (
    Boolean,
    Country,
    Float,
    Identifier,
    Integer,
    Money,
    OneOf,
    String,
    Table,
    Timestamp,
    personal,
)


class Events(Table, table="bronze.events", key=("EVENT_ID",), past=("EVENT_DATE",)):
    """One row per delivered behavioural event."""

    EVENT_ID = Identifier(nullable=False, description="Of any form: a UUID has 36 characters")
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: not logged in")
    SESSION_ID = Identifier(nullable=True)
    EVENT_TYPE = OneOf(*v.EVENT_TYPES)
    EVENT_DATE = Timestamp()
    PAGE_URL = String(nullable=True, max_length=8000, description="URLs of campaigns are long")
    PAGE_TITLE = String(nullable=True, max_length=500)
    PRODUCT_ID = Identifier(nullable=True)
    CATEGORY_VIEWED = String(nullable=True, max_length=255)
    SEARCH_QUERY = String(nullable=True, max_length=500, metadata=personal("text"))
    TIME_ON_PAGE = Integer(nullable=True, min=0, description="Seconds")
    SCROLL_DEPTH = Float(nullable=True, min=0, max=1, description="Share of the page, 0 to 1")
    DEVICE_TYPE = OneOf(*v.DEVICE_TYPES, nullable=True)
    BROWSER = String(nullable=True, max_length=255)
    OPERATING_SYSTEM = String(nullable=True, max_length=255)
    LOCATION_COUNTRY = Country(nullable=True)
    LOCATION_CITY = String(nullable=True, max_length=255)
    REFERRER_URL = String(nullable=True, max_length=8000)
    VISITOR_ID = Identifier(
        nullable=True,
        metadata=personal("device"),
        description="Cookie or device id (not in the specification)",
    )
    USER_AGENT = String(nullable=True, max_length=4000, metadata=personal("agent"))

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("EVENT_DATE")


class Sessions(Table, table="bronze.sessions", key=("SESSION_ID",), past=("SESSION_START", "SESSION_END")):
    """One row per delivered version of a session as the tracker counted it."""

    SESSION_ID = Identifier(nullable=False)
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"))
    SESSION_START = Timestamp()
    SESSION_END = Timestamp(nullable=True)
    SESSION_DURATION = Integer(nullable=True, min=0, description="Seconds")
    PAGE_VIEWS = Integer(nullable=True, min=0)
    BOUNCE_RATE = Float(nullable=True, min=0, max=1)
    CONVERSION_EVENT = Boolean(nullable=True)
    CONVERSION_VALUE = Money(nullable=True)
    TRAFFIC_SOURCE = String(nullable=True, max_length=255)
    CAMPAIGN_ID = Identifier(nullable=True)
    VISITOR_ID = Identifier(nullable=True, metadata=personal("device"))

    @dy.rule()
    def ends_after_it_starts(cls) -> pl.Expr:
        return pl.col("SESSION_END") >= pl.col("SESSION_START")
