"""What visitors do on the site and in the app, and what they were shown there, as the trackers report it."""

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

_OCTET, _HEX, _MAYBE = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])", "[0-9A-Fa-f]{1,4}", "[0-9A-Fa-f]{0,4}"
_SHORT = rf"{_HEX}(?::{_HEX})*::{_HEX}(?::{_HEX})*"
# Addresses of networks and of devices in them, alone or beside a port, a prefix or what names them. What only has dots
# or colons is none: v1.2.3.4, site:7:guest, hmac::abc.
ADDRESS = (
    rf"(?:^|[^0-9A-Za-z.]){_OCTET}(?:\.{_OCTET}){{3}}(?:$|[^0-9A-Za-z.]|\.(?:$|[^0-9]))"
    rf"|(?:^|[^0-9A-Za-z:])(?:{_MAYBE}(?::{_MAYBE}){{3,8}}|(?:[0-9A-Za-z]+:)?(?:{_SHORT}|{_HEX}(?::{_HEX}){{5,7}}))"
    r"(?:$|[^0-9A-Za-z:])"
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


class Devices(Table, table="bronze.devices", key=("OBSERVATION_ID",), past=("OBSERVED_AT",)):
    """One row per delivered observation of a device: what a browser or app said of itself and of where it was."""

    OBSERVATION_ID = Identifier(nullable=False)
    VISITOR_ID = Identifier(
        nullable=False, metadata=personal("device"), description="Cookie or device id, as of events"
    )
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: not logged in")
    OBSERVED_AT = Timestamp()
    USER_AGENT = String(nullable=True, max_length=4000, metadata=personal("agent"))
    DEVICE_TYPE = OneOf(*v.DEVICE_TYPES, nullable=True)
    SCREEN_WIDTH = Integer(nullable=True, min=1, description="Pixels")
    SCREEN_HEIGHT = Integer(nullable=True, min=1, description="Pixels")
    LANGUAGE = String(nullable=True, max_length=100, description="BCP 47, as en-US")
    TIME_ZONE = String(nullable=True, max_length=100, description="IANA, as Europe/Berlin")
    CONNECTION_TYPE = String(nullable=True, max_length=100, description="As the browser calls it: wifi, cellular, 4g")
    APP_VERSION = String(nullable=True, max_length=100, description="Null: a browser")
    NETWORK_ID = Identifier(
        nullable=True,
        metadata=personal("device"),
        description="A keyed digest of the network's address, made by the source; never the address itself",
    )

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("OBSERVED_AT")

    @dy.rule()
    def network_is_no_address(cls) -> pl.Expr:
        return ~pl.col("NETWORK_ID").str.contains(ADDRESS)


class Impressions(Table, table="bronze.impressions", key=("IMPRESSION_ID",), past=("SHOWN_AT",)):
    """One row per delivered version of an impression: a product in a list that was shown; with a click it may come
    again."""

    IMPRESSION_ID = Identifier(nullable=False)
    LIST_ID = Identifier(description="What was shown at once; of this API's answers the decision_id")
    CUSTOMER_ID = Identifier(nullable=True, metadata=personal("account"), description="Null: a visitor")
    VISITOR_ID = Identifier(nullable=True, metadata=personal("device"), description="Null with a null customer: nobody knows")  # fmt: skip # noqa: E501
    SHOWN_AT = Timestamp()
    PLACEMENT = String(nullable=True, max_length=100, description="home, product, cart, search, email, or the shop's word")  # fmt: skip # noqa: E501
    PRODUCT_ID = Identifier()
    POSITION = Integer(nullable=True, min=0, description="Within its list, counted from 0 or 1; null: not known")
    SCORE = Float(
        nullable=True,
        min=0,
        description="By which the list was ordered, without a trained ranker; of this API's answers the base_score",
    )
    STORE_ID = Identifier(nullable=True)
    REGION = String(nullable=True, max_length=255, description="As requests to this API name regions")
    DEVICE = String(nullable=True, max_length=50, description="As requests to this API name devices")
    SEEN_PRODUCT_IDS = String(
        nullable=True,
        max_length=8000,
        description="Products viewed or put in the cart in the session before, the newest first, parted by |; empty:"
        " none; null: not known",
    )
    CLICKED_AT = Timestamp(nullable=True, description="Null: not clicked")
    BOUGHT_AT = Timestamp(nullable=True, description="Null: not bought from the list")

    @dy.rule()
    def happened_in_sensible_time(cls) -> pl.Expr:
        return v.is_sensible("SHOWN_AT")
