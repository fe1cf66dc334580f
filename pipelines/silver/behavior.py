"""Events with their subject, sessions, and which accounts a device was logged in to."""

from __future__ import annotations

import re
from datetime import timedelta

import polars as pl

from customer360.pipelines import agents
from customer360.pipelines.rules import EnrichmentRules, SessionRules, StandardizationRules, ValidationRules
from customer360.pipelines.sessions import (
    ODD_EVENTS,
    PAGE_EVENTS,
    VISIT,
    automated,
    campaign_id,
    odd_event,
    traffic_source,
    with_sessions,
)
from customer360.pipelines.subjects import Owner
from customer360.pipelines.vocabulary import JOURNEY_STAGES, Activity, is_sensible
from customer360.platform.graph import builds
from customer360.platform.tables import (
    LANDED,
    Boolean,
    Date,
    Float,
    Integer,
    List,
    Money,
    OneOf,
    String,
    Table,
    Timestamp,
    is_ahead,
    personal,
)  # fmt: skip

ACTIVITY: Activity = "standardization"


class VisitorLogins(Table, table="silver.visitor_logins", per="visitor_id", sort_by=("visitor_id", "first_at")):
    """One row per stretch of time in which one account was logged in on one device."""

    visitor_id = String(primary_key=True, metadata=personal("device"))
    source_system = String()
    customer_id = String(metadata=personal("account"))
    first_at = Timestamp(primary_key=True)
    last_at = Timestamp()
    next_at = Timestamp(nullable=True, description="First login of the next, different account on the device")
    previous_at = Timestamp(nullable=True, description="Last event of the account before")


@builds(
    VisitorLogins,
    rules="validation",
    reads={"bronze.events": ("VISITOR_ID", "CUSTOMER_ID", "EVENT_DATE", "_source_system", LANDED)},
)
def visitor_logins(bronze_events: pl.LazyFrame, params: ValidationRules) -> pl.LazyFrame:
    """Runs of events of one device under one account, in order of time. Rows are not judged yet: a broken clock logs
    nobody in.
    """
    is_past = ~is_ahead("EVENT_DATE", timedelta(hours=params.ahead_hours))
    known = bronze_events.filter(
        pl.col("VISITOR_ID", "CUSTOMER_ID").is_not_null(), is_sensible("EVENT_DATE"), is_past
    ).select(visitor_id="VISITOR_ID", source_system="_source_system", customer_id="CUSTOMER_ID", at="EVENT_DATE")
    known = known.collect().lazy()  # which is asked for twice
    accounts = known.group_by("visitor_id", *ACCOUNT).agg(**STRETCH)
    of_device = pl.len().over("visitor_id")
    alone = accounts.filter(of_device == 1).with_columns(run=pl.lit(1, pl.UInt32))
    shared = known.join(accounts.filter(of_device > 1), on="visitor_id", how="semi")
    stretches = pl.concat([alone, _runs(shared).select(alone.collect_schema().names())])
    return (
        stretches.sort("visitor_id", "run")
        .with_columns(
            next_at=pl.col("first_at").shift(-1).over("visitor_id"),
            previous_at=pl.col("last_at").shift(1).over("visitor_id"),
        )
        .unique(subset=["visitor_id", "first_at"], keep="first", maintain_order=True)
        .drop("run")
    )


ACCOUNT = ("source_system", "customer_id")
STRETCH = {"first_at": pl.col("at").min(), "last_at": pl.col("at").max()}


def _runs(known: pl.LazyFrame) -> pl.LazyFrame:
    """Stretches of devices with several accounts, numbered; of one account all events are one, in whatever order, and
    most devices have one: to sort the events of all takes most of the build.
    """
    account = pl.struct(ACCOUNT)
    runs = known.sort("visitor_id", "at", *ACCOUNT).with_columns(
        run=(account != account.shift()).fill_null(True).cum_sum().over("visitor_id")
    )
    return runs.group_by("visitor_id", "run").agg(pl.col(ACCOUNT).first(), **STRETCH)


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
    device_type = String(
        nullable=True,
        description="By user agent and the tracker's word; tablets first, as their agents name a mobile, too",
    )
    browser = String(nullable=True, description="The tracker's word, else the family that the user agent names")
    operating_system = String(nullable=True, description="As browser")
    country = String(nullable=True)
    city = String(nullable=True)
    referrer_host = String(nullable=True)
    set_apart = OneOf(
        *ODD_EVENTS,
        nullable=True,
        description="Why it counts nowhere. DECLARED_BOT: its agent says that it is a machine; IMPOSSIBLE_DURATION:"
        " longer on one page than the rule file's traffic.longest_seconds_on_page; null: it counts",
    )


EVENT_OWNER = Owner(at="occurred_at", visitor="visitor_id", otherwise=pl.lit("e:") + pl.col("event_id"))


@builds(Events, rules="standardization", follows=EVENT_OWNER.of, reached=EVENT_OWNER.reached)
def events(
    bronze_events: pl.LazyFrame, silver_identity_links: pl.LazyFrame, params: StandardizationRules
) -> pl.LazyFrame:
    """Silver names, user agent and the referrer's host parsed, and the subject: anonymous visitors stay so many
    visitors, not one person.
    """
    same = (
        "event_id",
        "customer_id",
        "visitor_id",
        "event_type",
        "page_url",
        "product_id",
        "search_query",
        "scroll_depth",
    )
    agent = pl.col("agent__")
    parsed = bronze_events.with_columns(agent__=agents.parsed(pl.col("USER_AGENT")))
    facts = parsed.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        source_system="_source_system",
        tracker_session_id="SESSION_ID",
        occurred_at="EVENT_DATE",
        occurred_on=pl.col("EVENT_DATE").dt.date(),
        category="CATEGORY_VIEWED",
        seconds_on_page="TIME_ON_PAGE",
        device_type=agents.device_type(pl.col("USER_AGENT"), pl.col("DEVICE_TYPE")),
        browser=pl.coalesce("BROWSER", agent.struct.field("browser")),
        operating_system=pl.coalesce("OPERATING_SYSTEM", agent.struct.field("operating_system")),
        country="LOCATION_COUNTRY",
        city="LOCATION_CITY",
        referrer_host=pl.col("REFERRER_URL")
        .str.extract(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?([^/?#:]+)")
        .str.to_lowercase(),
        set_apart=odd_event(agent, params.traffic),
    )
    return EVENT_OWNER.of(facts, silver_identity_links)


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
    conversion_amount = Money(
        nullable=True,
        description="As the tracker counts it: it names no currency, so nothing adds it to amounts in the"
        " reporting currency",
    )
    traffic_source = String(nullable=True)
    campaign_id = String(nullable=True)


SESSION_OWNER = Owner(at="started_at", visitor="visitor_id", otherwise=pl.lit("s:") + pl.col("session_id"))


@builds(TrackerSessions, follows=SESSION_OWNER.of, reached=SESSION_OWNER.reached)
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
    )
    return SESSION_OWNER.of(facts, silver_identity_links)


class Sessions(Table, table="silver.sessions", per="subject_id", sort_by=("started_at", "session_id")):
    """One row per visit of one subject, counted from its events.

    The specification reads such columns from the events themselves, which have none: docs/specification.md#fault-4.
    """

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
    category_view_count = Integer()
    product_view_count = Integer()
    search_count = Integer()
    wishlist_add_count = Integer()
    cart_add_count = Integer()
    checkout_count = Integer()
    purchase_count = Integer()
    device_type = String(nullable=True)
    landing_referrer_host = String(nullable=True)
    traffic_source = String(nullable=True, description="Of the tracker's own session, else by the URL it began with")
    campaign_id = String(nullable=True, description="As traffic_source")
    actions = List(String(), description="Different types of its events, in order of their first")
    bounce_rate = Float(nullable=True, description="From the tracker's own session, where given")


@builds(Sessions, rules="standardization")
def sessions(
    silver_events: pl.LazyFrame, silver_tracker_sessions: pl.LazyFrame, params: StandardizationRules
) -> pl.LazyFrame:
    """Visits of humans, as `pipelines.sessions` tells them apart; the others are in silver.set_apart_sessions."""
    every = with_sessions(silver_events, params.traffic)
    keyed = every.join(automated(every, params.traffic), on=VISIT, how="anti", maintain_order="left")
    kind = pl.col("event_type")
    built = keyed.group_by("subject_id", "session_id").agg(
        person_id=pl.col("person_id").first(),
        started_at=pl.col("occurred_at").min(),
        ended_at=pl.col("occurred_at").max(),
        event_count=pl.len().cast(pl.Int64),
        page_view_count=kind.is_in(PAGE_EVENTS).sum().cast(pl.Int64),
        category_view_count=(kind == "CATEGORY_VIEW").sum().cast(pl.Int64),
        product_view_count=(kind == "PRODUCT_VIEW").sum().cast(pl.Int64),
        search_count=(kind == "SEARCH").sum().cast(pl.Int64),
        wishlist_add_count=(kind == "WISHLIST_ADD").sum().cast(pl.Int64),
        cart_add_count=(kind == "CART_ADD").sum().cast(pl.Int64),
        checkout_count=(kind == "CHECKOUT_START").sum().cast(pl.Int64),
        purchase_count=(kind == "PURCHASE").sum().cast(pl.Int64),
        device_type=pl.col("device_type").drop_nulls().first(),
        landing_referrer_host=pl.col("referrer_host").drop_nulls().first(),
        landing_campaign=campaign_id().drop_nulls().first(),
        landing_source=traffic_source().drop_nulls().first(),
        actions=kind.unique(maintain_order=True),
    )
    tracked = (
        silver_tracker_sessions.select("subject_id", "session_id", "traffic_source", "campaign_id", "bounce_rate")
        .sort("subject_id", "session_id", "traffic_source", "campaign_id", "bounce_rate")
        .unique(subset=["subject_id", "session_id"], keep="first", maintain_order=True)
    )
    return (
        built.join(tracked, on=["subject_id", "session_id"], how="left")
        .with_columns(
            traffic_source=pl.coalesce("traffic_source", "landing_source"),
            campaign_id=pl.coalesce("campaign_id", "landing_campaign"),
            started_on=pl.col("started_at").dt.date(),
            duration_seconds=(pl.col("ended_at") - pl.col("started_at")).dt.total_seconds(),
        )
        .drop("landing_campaign", "landing_source")
    )


class SessionFacts(Table, table="silver.session_facts", per="subject_id", sort_by=("started_at", "session_id")):
    """One row per visit: its class, intent, stage and engagement, as known when it ended.

    What depends on a date is in gold.visit_profiles.
    """

    session_id = String(primary_key=True)
    subject_id = String(primary_key=True)
    person_id = String(nullable=True)
    started_at = Timestamp()
    started_on = Date()
    duration_seconds = Integer()
    page_view_count = Integer()
    interaction_count = Integer(description="Events that are no page: clicks, scrolls, searches, cart and wish list")
    conversion_count = Integer(description="Purchases")
    bounce_rate = Float(description="The tracker's, else 1 for a single event and 0 for more")
    session_class = OneOf("BOUNCE", "ENGAGED", "ACTIVE", "SHORT", "QUICK")
    intent = OneOf("PURCHASE_INTENT", "INTEREST_INTENT", "BROWSE_INTENT", "SEARCH_INTENT", "GENERAL_BROWSE")
    device_type = OneOf("DESKTOP", "MOBILE", "TABLET", "UNKNOWN")
    journey_stage = OneOf(*JOURNEY_STAGES)
    channel_type = String(description="DIRECT, OTHER or a type of the rule file's referrers, by the host that led here")
    engagement_score = Float(description="0 to 50: duration, pages and interactions up to 10 each, 20 a conversion")
    pages_per_minute = Float(description="0 for a visit without duration")
    conversion_rate = Float(description="Conversions a page view; 0 without page views")
    session_number = Integer(description="1 for the subject's first visit")
    is_mobile = Boolean()
    is_high_engagement = Boolean(
        description="Above the specification's threshold, which only buyers reach; see is_top_engaged for others"
    )
    is_converter = Boolean(description="With a purchase of the tracker, whatever became of the order")
    is_returning = Boolean(description="Not the subject's first visit")
    quarter = Integer()
    month = Integer()
    day_of_week = Integer(description="1 is Sunday, 7 is Saturday, as in the specification")
    hour = Integer(description="UTC")


@builds(SessionFacts, rules="enrichment")
def session_facts(silver_sessions: pl.LazyFrame, params: EnrichmentRules) -> pl.LazyFrame:
    """The specification's behavioural logic (lines 1090-1423) on visits, anonymous ones included."""
    seconds, pages, bought = pl.col("duration_seconds"), pl.col("page_view_count"), pl.col("purchase_count")
    at, single = pl.col("started_at").dt, (pl.col("event_count") == 1).cast(pl.Float64)
    measured = silver_sessions.with_columns(
        interaction_count=pl.col("event_count") - pages,
        conversion_count=bought,
        bounce_rate=pl.coalesce("bounce_rate", single),
        device_type=pl.col("device_type").fill_null("UNKNOWN"),
        session_number=pl.struct("started_at", "session_id").rank("ordinal").over("subject_id").cast(pl.Int64),
    )
    classed = measured.with_columns(
        session_class=_session_class(params.sessions),
        intent=_intent(params.sessions),
        journey_stage=_journey_stage(params.sessions),
        channel_type=channel_type(pl.col("landing_referrer_host"), params),
        engagement_score=_engagement_score(),
        pages_per_minute=pl.when(seconds > 0).then(pages / (seconds / 60)).otherwise(0.0),
        conversion_rate=pl.when(pages > 0).then(bought / pages).otherwise(0.0),
        is_mobile=pl.col("device_type") == "MOBILE",
        is_converter=bought > 0,
        is_returning=pl.col("session_number") > 1,
        quarter=at.quarter(),
        month=at.month(),
        day_of_week=at.weekday().cast(pl.Int64) % 7 + 1,
        hour=at.hour(),
    )
    flagged = classed.with_columns(
        is_high_engagement=pl.col("engagement_score") > params.sessions.high_engagement_above
    )
    return flagged.select(list(SessionFacts.columns()))


def _session_class(rules: SessionRules) -> pl.Expr:
    seconds, pages = pl.col("duration_seconds"), pl.col("page_view_count")
    return (
        pl.when(pl.col("bounce_rate") > rules.bounce_above).then(pl.lit("BOUNCE"))
        .when((seconds > rules.engaged_seconds_above) & (pages > rules.engaged_pages_above)).then(pl.lit("ENGAGED"))
        .when((seconds > rules.active_seconds_above) & (pages > rules.active_pages_above)).then(pl.lit("ACTIVE"))
        .when(seconds > rules.short_seconds_above).then(pl.lit("SHORT"))
        .otherwise(pl.lit("QUICK"))
    )  # fmt: skip


def _intent(rules: SessionRules) -> pl.Expr:
    return (
        pl.when(pl.col("cart_add_count") > 0).then(pl.lit("PURCHASE_INTENT"))
        .when(pl.col("wishlist_add_count") > 0).then(pl.lit("INTEREST_INTENT"))
        .when(pl.col("product_view_count") > rules.browse_product_views_above).then(pl.lit("BROWSE_INTENT"))
        .when(pl.col("search_count") > rules.search_searches_above).then(pl.lit("SEARCH_INTENT"))
        .otherwise(pl.lit("GENERAL_BROWSE"))
    )  # fmt: skip


def _journey_stage(rules: SessionRules) -> pl.Expr:
    """The furthest stage that the visit's own event types reach; time alone makes a visit AWARENESS."""

    def any_of(*counts: str) -> pl.Expr:
        return pl.sum_horizontal(counts) > 0

    return (
        pl.when(any_of("purchase_count", "checkout_count")).then(pl.lit("CONVERSION"))
        .when(any_of("cart_add_count", "product_view_count", "wishlist_add_count")).then(pl.lit("CONSIDERATION"))
        .when(any_of("search_count", "category_view_count")).then(pl.lit("EVALUATION"))
        .when(pl.col("duration_seconds") > rules.aware_seconds_above).then(pl.lit("AWARENESS"))
        .otherwise(pl.lit("DISCOVERY"))
    )  # fmt: skip


def _engagement_score() -> pl.Expr:
    """The published scale 0 to 50: full marks need 50 minutes, 50 pages, 100 interactions or
    conversions, so that nobody is high who does not buy (docs/specification.md#fault-16).
    """
    parts = (("duration_seconds", 300), ("page_view_count", 5), ("interaction_count", 10))
    points = [pl.min_horizontal(pl.col(name) / unit, pl.lit(10.0)) for name, unit in parts]
    return pl.min_horizontal(pl.sum_horizontal(points) + pl.col("conversion_count") * 20, pl.lit(50.0)).round(2)


def channel_type(host: pl.Expr, params: EnrichmentRules) -> pl.Expr:
    """DIRECT without a referrer, else the first type of the rule file that names the host or a domain above it."""
    named = [
        pl.when(pl.any_horizontal(*(_is_of(host, h) for h in hosts))).then(pl.lit(kind))
        for kind, hosts in params.referrers.items()
        if hosts
    ]
    direct = host.fill_null("").eq("") | pl.any_horizontal(pl.lit(False), *(_is_of(host, h) for h in params.own_hosts))
    return pl.coalesce(pl.when(direct).then(pl.lit("DIRECT")), *named, pl.lit("OTHER"))


def _is_of(host: pl.Expr, name: str) -> pl.Expr:
    if not name.endswith(".*"):
        return (host == name) | host.str.ends_with(f".{name}")
    return host.str.contains(rf"(?:^|\.){re.escape(name[:-2])}\.(?:[a-z]{{2,3}}|com?\.[a-z]{{2}})$")
