"""Touchpoints of a subject with the retailer as one ordered stream: visits of shop and stores, pages, messages, sales,
service, points, feedback, and the feed for all others.

Visits of stores that were measured are told as silver.store_visits has them, with a yes to being located alone, and
feedback as silver.feedback counts it. What the feed tells of the same again is left out: a visit of the subject within
the session's gap of a measured one, at no other place; a statement that it names, or one of its kind within the gap,
whether silver.feedback counts that or has set it apart.
"""

from __future__ import annotations

import polars as pl

from customer360.pipelines.rules.journey import JourneyRules
from customer360.pipelines.sessions import of_humans
from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.vocabulary import JOURNEY_STAGES, SESSION_GAP_MINUTES, Activity
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Integer, OneOf, String, Table, Timestamp, personal

ACTIVITY: Activity = "standardization"

# What a visitor does on a page that is a step of a journey; other events are of the visit.
BROWSING = ("SEARCH", "CATEGORY_VIEW", "PRODUCT_VIEW", "WISHLIST_ADD", "CART_ADD", "CART_REMOVE", "CHECKOUT_START")
UNKNOWN = "UNKNOWN"
LOCATED = "STORE_VISIT"  # says where a person was
COMPLAINT = "COMPLAINT"  # a category of silver.feedback: who gives one star is no loyal customer for having reviewed
GAP = pl.duration(minutes=SESSION_GAP_MINUTES)
# What the feed calls feedback that silver.feedback has, too.
STATEMENTS = {"REVIEW": "REVIEW", "POST": "POST", "SOCIAL_POST": "POST", "SURVEY": "ANSWER",
              "SURVEY_RESPONSE": "ANSWER", "NPS": "ANSWER", "CSAT": "ANSWER"}  # fmt: skip


class TouchpointRecords(
    Table, table="silver.touchpoint_records", per="touchpoint_id", sort_by=("occurred_at", "touchpoint_id")
):
    """One row per touchpoint of the feed, as last delivered. A STORE_VISIT without a yes to being located is nobody's,
    as in silver.store_visits, and says neither where it was nor what it led to.
    """

    touchpoint_id = String(primary_key=True)
    source_system = String(primary_key=True)
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    occurred_at = Timestamp()
    occurred_on = Date()
    touchpoint_type = String()
    action = String()
    channel = String(nullable=True)
    campaign_id = String(nullable=True)
    location_id = String(nullable=True)
    reference_id = String(nullable=True)


RECORD_OWNER = Owner(at="occurred_at", visitor="visitor_id", otherwise=own_key("tp", "touchpoint_id"))


@builds(TouchpointRecords, follows=RECORD_OWNER.of, reached=RECORD_OWNER.reached)
def touchpoint_records(bronze_touchpoints: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
    """Touchpoints with their subject; words in upper case with underscores, so that one thing has one name."""
    same = ("touchpoint_id", "customer_id", "visitor_id", "campaign_id", "location_id", "reference_id")
    facts = bronze_touchpoints.select(
        *(_allowed(c).alias(c) for c in same),
        source_system="_source_system",
        occurred_at="TOUCHPOINT_DATE",
        occurred_on=pl.col("TOUCHPOINT_DATE").dt.date(),
        touchpoint_type=_word("TOUCHPOINT_TYPE"),
        action=pl.coalesce(_word("ACTION"), _word("TOUCHPOINT_TYPE")),
        channel=_word("CHANNEL"),
    )
    return RECORD_OWNER.of(facts, silver_identity_links)


def _allowed(column: str) -> pl.Expr:
    """The value; what tells who was where, with a yes to being located alone: silence is none."""
    value = pl.col(column.upper())
    if column not in ("customer_id", "visitor_id", "location_id", "reference_id"):
        return value
    agreed = pl.col("LOCATION_CONSENT").fill_null(False)
    return pl.when((_word("TOUCHPOINT_TYPE") != LOCATED) | agreed).then(value)


def _word(column: str) -> pl.Expr:
    plain = pl.col(column).str.strip_chars().str.to_uppercase().str.replace_all(r"[^\p{L}\p{N}]+", "_")
    return pl.when(plain.str.strip_chars("_") != "").then(plain.str.strip_chars("_"))


class Touchpoints(Table, table="silver.touchpoints", per="subject_id", sort_by=("occurred_at", "touchpoint_id")):
    """One row per touchpoint of a subject, in one order over all channels.

    Kinds: VISIT (of the shop's pages), STORE_VISIT, BROWSING (a step of a visit of a human; one for all that follow
    within the session's gap), MESSAGE, PURCHASE, RETURN, SERVICE, LOYALTY (points redeemed), FEEDBACK (COMPLAINT,
    or else REVIEW, POST or ANSWER; those of one moment are one), and the types of the feed.
    """

    subject_id = String(primary_key=True)
    touchpoint_id = String(primary_key=True)
    person_id = String(nullable=True)
    sequence_number = Integer(description="1 for the subject's first; touchpoints of one moment by their ids")
    occurred_at = Timestamp()
    occurred_on = Date()
    kind = String()
    action = String()
    channel = String(description="In upper case; UNKNOWN where the source says none")
    device_type = String(nullable=True, description="Of visits and browsing")
    stage = OneOf(*JOURNEY_STAGES, description="By the rule file journey")
    is_active = Boolean(description="The person did it; a message that was sent, or an advertisement, is none of that")
    campaign_id = String(nullable=True)
    reference_id = String(nullable=True, description="Transaction, ticket or document")
    seconds_since_last = Integer(nullable=True, description="Since the touchpoint before; null for the first")


@builds(
    Touchpoints,
    rules="journey",
    reads={
        "silver.events": ("subject_id", "person_id", "source_system", "event_id", "occurred_at", "event_type",
                          "device_type", "tracker_session_id", "set_apart"),
        "silver.set_apart_sessions": ("subject_id", "session_id", "started_at", "ended_at"),
        "silver.transactions": ("subject_id", "person_id", "source_system", "transaction_id", "occurred_at", "channel_group", "is_sale",  # noqa: E501
                                "is_return"),
        "silver.session_facts": ("subject_id", "person_id", "session_id", "started_at", "channel_type", "device_type"),
        "silver.touches": ("subject_id", "person_id", "source_system", "engagement_id", "occurred_at", "channel", "action", "status",  # noqa: E501
                           "campaign_id"),
        "silver.service_contacts": ("subject_id", "person_id", "source_system", "interaction_id", "occurred_at", "contact_type",  # noqa: E501
                                    "ticket_id"),
        "silver.loyalty_ledger": ("subject_id", "person_id", "source_system", "entry_id", "occurred_at", "entry_type", "reference_id"),  # noqa: E501
        "silver.store_visits": ("subject_id", "person_id", "source_system", "visit_id", "store_id", "entered_at",
                                "left_at", "visit_source", "is_consented"),
        "silver.feedback": ("subject_id", "person_id", "source_system", "statement_id", "kind", "occurred_at",
                            "channel", "is_own", "set_apart", "category"),
    },
)  # fmt: skip
def touchpoints(
    silver_session_facts: pl.LazyFrame,
    silver_events: pl.LazyFrame,
    silver_set_apart_sessions: pl.LazyFrame,
    silver_transactions: pl.LazyFrame,
    silver_touches: pl.LazyFrame,
    silver_service_contacts: pl.LazyFrame,
    silver_loyalty_ledger: pl.LazyFrame,
    silver_touchpoint_records: pl.LazyFrame,
    silver_store_visits: pl.LazyFrame,
    silver_feedback: pl.LazyFrame,
    params: JourneyRules,
) -> pl.LazyFrame:
    """What each channel knows, one under the other, in order of time."""
    measured = silver_store_visits.filter("is_consented", pl.col("visit_source") != "COUNTER")
    stated = silver_feedback.filter("is_own", pl.col("set_apart").is_null())
    parts = [
        _visits(silver_session_facts),
        _browsing(of_humans(silver_events, silver_set_apart_sessions)),
        _trade(silver_transactions),
        _messages(silver_touches),
        _service(silver_service_contacts),
        _loyalty(silver_loyalty_ledger),
        _store_visits(measured),
        _feedback(stated),
        _fed(silver_touchpoint_records, measured, silver_feedback),
    ]
    together = pl.concat(parts, how="diagonal").with_columns(pl.col("channel").str.to_uppercase().fill_null(UNKNOWN))
    ordered = together.sort("subject_id", "occurred_at", "touchpoint_id")
    since = pl.col("occurred_at") - pl.col("occurred_at").shift(1).over("subject_id")
    return ordered.with_columns(
        occurred_on=pl.col("occurred_at").dt.date(),
        sequence_number=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("subject_id"),
        seconds_since_last=since.dt.total_seconds(),
        stage=params.stage(),
        is_active=~pl.col("action").is_in(params.passive_actions),
    ).select(list(Touchpoints.columns()))


def _id(kind: str, key: str, system: str | None = "source_system") -> pl.Expr:
    parts = [pl.lit(f"{kind}:"), *([pl.col(system), pl.lit("/")] if system else []), pl.col(key)]
    return pl.concat_str(parts)


def _visits(sessions: pl.LazyFrame) -> pl.LazyFrame:
    return sessions.select(
        "subject_id", "person_id", "device_type",
        touchpoint_id=_id("VISIT", "session_id", None), occurred_at="started_at", kind=pl.lit("VISIT"),
        action=pl.lit("VISITED"), channel="channel_type",
    )  # fmt: skip


def _browsing(events: pl.LazyFrame) -> pl.LazyFrame:
    own = ["subject_id", "event_type"]
    since = pl.col("occurred_at") - pl.col("occurred_at").shift(1).over(own)
    return (
        events.filter(pl.col("event_type").is_in(BROWSING))
        .sort("occurred_at", "event_id", "source_system")
        .filter((since > pl.duration(minutes=SESSION_GAP_MINUTES)).fill_null(True))
        .select(
            "subject_id", "person_id", "occurred_at", "device_type",
            touchpoint_id=_id("BROWSING", "event_id"), kind=pl.lit("BROWSING"), action="event_type",
            channel=pl.lit("ONLINE"),
        )
    )  # fmt: skip


def _trade(transactions: pl.LazyFrame) -> pl.LazyFrame:
    kind = pl.when("is_sale").then(pl.lit("PURCHASE")).otherwise(pl.lit("RETURN"))
    return transactions.filter(pl.col("is_sale") | pl.col("is_return")).select(
        "subject_id", "person_id", "occurred_at",
        touchpoint_id=_id("TRADE", "transaction_id"), kind=kind, action=kind, channel="channel_group",
        reference_id="transaction_id",
    )  # fmt: skip


def _messages(touches: pl.LazyFrame) -> pl.LazyFrame:
    failed = (pl.col("status") != "SUCCESS").fill_null(False)
    return touches.select(
        "subject_id", "person_id", "occurred_at", "channel", "campaign_id",
        touchpoint_id=_id("MESSAGE", "engagement_id"), kind=pl.lit("MESSAGE"),
        action=pl.when(failed).then(pl.lit("FAILED")).otherwise(pl.col("action").str.to_uppercase()),
    )  # fmt: skip


def _service(contacts: pl.LazyFrame) -> pl.LazyFrame:
    return contacts.select(
        "subject_id", "person_id", "occurred_at",
        touchpoint_id=_id("SERVICE", "interaction_id"), kind=pl.lit("SERVICE"), action=pl.lit("ASKED"),
        channel="contact_type", reference_id="ticket_id",
    )  # fmt: skip


def _loyalty(ledger: pl.LazyFrame) -> pl.LazyFrame:
    return ledger.filter(pl.col("entry_type") == "REDEEM").select(
        "subject_id", "person_id", "occurred_at", "reference_id",
        touchpoint_id=_id("LOYALTY", "entry_id"), kind=pl.lit("LOYALTY"), action=pl.lit("REDEEMED"),
        channel=pl.lit("LOYALTY"),
    )  # fmt: skip


def _store_visits(visits: pl.LazyFrame) -> pl.LazyFrame:
    return visits.select(
        "subject_id", "person_id", occurred_at="entered_at",
        touchpoint_id=_id("STORE_VISIT", "visit_id"), kind=pl.lit(LOCATED), action=pl.lit(LOCATED),
        channel=pl.lit("STORE"),
    )  # fmt: skip


def _feedback(stated: pl.LazyFrame) -> pl.LazyFrame:
    moment = ["subject_id", "source_system", "kind", "occurred_at"]
    return stated.sort("statement_id").unique(moment, keep="first", maintain_order=True).select(
        "subject_id", "person_id", "occurred_at", "channel",
        touchpoint_id=pl.format("FEEDBACK:{}:{}/{}", "kind", "source_system", "statement_id"),
        kind=pl.lit("FEEDBACK"), reference_id="statement_id",
        action=pl.when(pl.col("category") == COMPLAINT).then(pl.lit(COMPLAINT)).otherwise("kind"),
    )  # fmt: skip


def _fed(records: pl.LazyFrame, measured: pl.LazyFrame, stated: pl.LazyFrame) -> pl.LazyFrame:
    key = ["touchpoint_id", "source_system"]
    word = pl.coalesce(
        pl.col(c).replace_strict(STATEMENTS, default=None, return_dtype=pl.String)
        for c in ("action", "touchpoint_type")
    )
    told = records.with_columns(word__=word)
    known = pl.concat([_visited_again(told, measured).select(key), _stated_again(told, stated).select(key)])
    return told.join(known, on=key, how="anti").select(
        "subject_id", "person_id", "occurred_at", "channel", "campaign_id", "reference_id", "action",
        touchpoint_id=_id("FEED", "touchpoint_id"), kind="touchpoint_type",
    )  # fmt: skip


def _visited_again(told: pl.LazyFrame, measured: pl.LazyFrame) -> pl.LazyFrame:
    """Records of the feed that tell of a visit that was measured: where a side does not say the place, of any."""
    store, named = pl.lit("at ") + pl.col("store_id"), pl.lit("at ") + pl.col("location_id")
    visits = measured.select(
        "subject_id",
        begin="entered_at",
        end=pl.coalesce("left_at", "entered_at"),
        place=pl.concat_list(pl.lit("any"), store.fill_null("unsaid")),
    )
    places = (
        pl.when(named.is_null()).then(pl.concat_list(pl.lit("any"))).otherwise(pl.concat_list(named, pl.lit("unsaid")))
    )
    records = told.filter(pl.col("touchpoint_type") == LOCATED).with_columns(place=places).explode("place")
    return _while(records, visits.explode("place"), ["subject_id", "place"])


def _stated_again(told: pl.LazyFrame, stated: pl.LazyFrame) -> pl.LazyFrame:
    """Records of the feed that tell of a statement that silver.feedback has."""
    records = told.filter(pl.col("word__").is_not_null())
    known = stated.select("subject_id", "statement_id", word__="kind", begin="occurred_at", end="occurred_at")
    left, right = (["subject_id", "word__", number] for number in ("reference_id", "statement_id"))
    by_number = records.join(known, left_on=left, right_on=right, how="semi")
    columns = by_number.collect_schema().names()
    return pl.concat([by_number, _while(records, known, ["subject_id", "word__"]).select(columns)])


def _while(records: pl.LazyFrame, spans: pl.LazyFrame, by: list[str]) -> pl.LazyFrame:
    """The records within the session's gap of a span from ``begin`` to ``end`` of the same ``by``. Of the spans that
    had begun the one that ends last says it, so that a subject of many records and spans is no product of the two."""
    last = pl.col("end").cum_max().over(by, order_by="begin")
    ended = spans.select(*by, begin=pl.col("begin") - GAP, end=last + GAP).sort("begin", "end")
    found = records.sort("occurred_at").join_asof(
        ended, left_on="occurred_at", right_on="begin", by=by, strategy="backward", check_sortedness=False
    )
    return found.filter(pl.col("occurred_at") <= pl.col("end"))
