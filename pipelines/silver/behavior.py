"""Events with their subject, sessions, and which accounts a device was logged in to."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.subjects import with_subject
from customer360.pipelines.vocabulary import SESSION_GAP_MINUTES, record_id
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table, Timestamp, personal


class VisitorLogins(Table, table="silver.visitor_logins", per="visitor_id", sort_by=("visitor_id", "first_at")):
    """One row per stretch of time in which one account was logged in on one device."""

    visitor_id = String(primary_key=True, metadata=personal("device"))
    source_system = String()
    customer_id = String(metadata=personal("account"))
    first_at = Timestamp(primary_key=True)
    last_at = Timestamp()
    next_at = Timestamp(nullable=True, description="First login of the next, different account on the device")
    previous_at = Timestamp(nullable=True, description="Last event of the account before")


@builds(VisitorLogins, reads={"bronze.events": ("VISITOR_ID", "CUSTOMER_ID", "EVENT_DATE", "_source_system")})
def visitor_logins(bronze_events: pl.LazyFrame) -> pl.LazyFrame:
    """Runs of events of one device under one account, in order of time."""
    known = (
        bronze_events.filter(pl.col("VISITOR_ID").is_not_null() & pl.col("CUSTOMER_ID").is_not_null())
        .select(visitor_id="VISITOR_ID", source_system="_source_system", customer_id="CUSTOMER_ID", at="EVENT_DATE")
        .sort("visitor_id", "at", "source_system", "customer_id")
    )
    account = pl.struct("source_system", "customer_id")
    runs = known.with_columns(run=(account != account.shift()).fill_null(True).cum_sum().over("visitor_id"))
    stretches = runs.group_by("visitor_id", "run").agg(
        pl.col("source_system", "customer_id").first(), first_at=pl.col("at").min(), last_at=pl.col("at").max()
    )
    return (
        stretches.sort("visitor_id", "run")
        .with_columns(
            next_at=pl.col("first_at").shift(-1).over("visitor_id"),
            previous_at=pl.col("last_at").shift(1).over("visitor_id"),
        )
        .unique(subset=["visitor_id", "first_at"], keep="first", maintain_order=True)
        .drop("run")
    )


class Events(Table, table="silver.events", per="event_id", sort_by=("occurred_at", "event_id")):
    """One row per behavioural event."""

    event_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    tracker_session_id = String(nullable=True)
    occurred_at = Timestamp()
    occurred_on = Date()
    event_type = String()
    page_url = String(nullable=True)
    product_id = String(nullable=True)
    category = String(nullable=True)
    search_query = String(nullable=True, metadata=personal("text"))
    seconds_on_page = Integer(nullable=True)
    scroll_depth = Float(nullable=True)
    device_type = String(nullable=True)
    browser = String(nullable=True)
    operating_system = String(nullable=True)
    country = String(nullable=True)
    city = String(nullable=True)
    referrer_host = String(nullable=True)


@builds(Events)
def events(bronze_events: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Silver names, the referrer's host parsed (fault 19), and the subject: anonymous visitors stay visitors (fault 14)."""
    same = ("event_id", "customer_id", "visitor_id", "event_type", "page_url", "product_id", "search_query", "scroll_depth",
            "device_type", "browser", "operating_system")  # fmt: skip
    facts = bronze_events.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        tracker_session_id="SESSION_ID",
        occurred_at="EVENT_DATE",
        occurred_on=pl.col("EVENT_DATE").dt.date(),
        category="CATEGORY_VIEWED",
        seconds_on_page="TIME_ON_PAGE",
        country="LOCATION_COUNTRY",
        city="LOCATION_CITY",
        referrer_host=pl.col("REFERRER_URL")
        .str.extract(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?([^/?#:]+)")
        .str.to_lowercase(),
        account=record_id("_source_system", "CUSTOMER_ID"),
    )
    alone = pl.concat_str(pl.lit("e:"), "event_id")
    return with_subject(
        facts, silver_identity_links, account="account", visitor="visitor_id", at="occurred_at", otherwise=alone
    ).drop("account")


class TrackerSessions(Table, table="silver.tracker_sessions", per="session_id", sort_by=("started_at", "session_id")):
    """One row per session as the tracker counted it."""

    session_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    started_at = Timestamp()
    ended_at = Timestamp(nullable=True)
    duration_seconds = Integer(nullable=True)
    page_view_count = Integer(nullable=True)
    bounce_rate = Float(nullable=True)
    has_converted = Boolean(nullable=True)
    conversion_amount = Money(nullable=True)
    traffic_source = String(nullable=True)
    campaign_id = String(nullable=True)


@builds(TrackerSessions)
def tracker_sessions(bronze_sessions: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """The tracker's own sessions with their subject."""
    same = ("session_id", "customer_id", "visitor_id", "bounce_rate", "traffic_source", "campaign_id")
    facts = bronze_sessions.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        started_at="SESSION_START",
        ended_at="SESSION_END",
        duration_seconds="SESSION_DURATION",
        page_view_count="PAGE_VIEWS",
        has_converted="CONVERSION_EVENT",
        conversion_amount="CONVERSION_VALUE",
        account=record_id("_source_system", "CUSTOMER_ID"),
    )
    alone = pl.concat_str(pl.lit("s:"), "session_id")
    return with_subject(
        facts, silver_identity_links, account="account", visitor="visitor_id", at="started_at", otherwise=alone
    ).drop("account")


class Sessions(Table, table="silver.sessions", per="subject_id", sort_by=("started_at", "session_id")):
    """One row per visit of one subject, built from events (fault 4)."""

    session_id = String(
        primary_key=True, description="The tracker's id and the subject, or subject and number for events without one"
    )
    subject_id = String(primary_key=True)
    person_id = String(nullable=True)
    started_at = Timestamp()
    ended_at = Timestamp()
    started_on = Date()
    duration_seconds = Integer()
    event_count = Integer()
    page_view_count = Integer()
    product_view_count = Integer()
    search_count = Integer()
    wishlist_add_count = Integer()
    cart_add_count = Integer()
    checkout_count = Integer()
    purchase_count = Integer()
    device_type = String(nullable=True)
    landing_referrer_host = String(nullable=True)
    traffic_source = String(nullable=True, description="From the tracker's own session, where given")
    campaign_id = String(nullable=True)


PAGE_EVENTS = ("PAGE_VIEW", "CATEGORY_VIEW", "PRODUCT_VIEW")


@builds(Sessions)
def sessions(silver_events: pl.LazyFrame, silver_tracker_sessions: pl.LazyFrame) -> pl.LazyFrame:
    """Visits: the tracker's session id where there is one, else a gap of silence ends a visit."""
    ordered = silver_events.sort("subject_id", "occurred_at", "event_id")
    silence = (pl.col("occurred_at") - pl.col("occurred_at").shift().over("subject_id")) > pl.duration(
        minutes=SESSION_GAP_MINUTES
    )
    untracked = pl.format("{}#{}", "subject_id", silence.fill_null(True).cum_sum().over("subject_id"))
    keyed = ordered.with_columns(session_id=pl.coalesce("tracker_session_id", untracked))
    kind = pl.col("event_type")
    built = keyed.group_by("subject_id", "session_id").agg(
        person_id=pl.col("person_id").first(),
        started_at=pl.col("occurred_at").min(),
        ended_at=pl.col("occurred_at").max(),
        event_count=pl.len().cast(pl.Int64),
        page_view_count=kind.is_in(PAGE_EVENTS).sum().cast(pl.Int64),
        product_view_count=(kind == "PRODUCT_VIEW").sum().cast(pl.Int64),
        search_count=(kind == "SEARCH").sum().cast(pl.Int64),
        wishlist_add_count=(kind == "WISHLIST_ADD").sum().cast(pl.Int64),
        cart_add_count=(kind == "CART_ADD").sum().cast(pl.Int64),
        checkout_count=(kind == "CHECKOUT_START").sum().cast(pl.Int64),
        purchase_count=(kind == "PURCHASE").sum().cast(pl.Int64),
        device_type=pl.col("device_type").drop_nulls().first(),
        landing_referrer_host=pl.col("referrer_host").drop_nulls().first(),
    )
    tracked = (
        silver_tracker_sessions.select("subject_id", "session_id", "traffic_source", "campaign_id")
        .sort("subject_id", "session_id", "traffic_source", "campaign_id")
        .unique(subset=["subject_id", "session_id"], keep="first", maintain_order=True)
    )
    return built.join(tracked, on=["subject_id", "session_id"], how="left").with_columns(
        started_on=pl.col("started_at").dt.date(),
        duration_seconds=(pl.col("ended_at") - pl.col("started_at")).dt.total_seconds(),
    )
