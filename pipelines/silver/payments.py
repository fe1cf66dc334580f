"""Payments: the states that each attempt reached, what it paid, and whose it is."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.money import MONEY, ZERO, converted, known_rate, with_rate
from customer360.pipelines.subjects import Owner, own_key
from customer360.pipelines.vocabulary import Activity
from customer360.platform.graph import builds, joined_on
from customer360.platform.tables import Boolean, Date, Float, Money, OneOf, String, Table, Timestamp, personal

ACTIVITY: Activity = "enrichment"
ENDS = ("CHARGEBACK", "REFUNDED", "CAPTURED", "VOIDED", "DECLINED", "AUTHORIZED")  # of several the first counts


class PaymentEvents(
    Table, table="silver.payment_events", per="payment_id", sort_by=("occurred_at", "source_system", "payment_id")
):
    """One row per state that an attempt to pay reached, as last delivered."""

    payment_id = String(primary_key=True, description="Of the payment, or of the refund, capture or chargeback itself")
    payment_status = String(primary_key=True)
    source_system = String(primary_key=True)
    attempt_id = String(description="payment_id of the attempt that the event belongs to")
    subject_id = String()
    person_id = String(nullable=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    visitor_id = String(nullable=True, metadata=personal("device"))
    transaction_id = String(nullable=True)
    occurred_at = Timestamp()
    occurred_on = Date()
    payment_method = String(nullable=True)
    card_brand = String(nullable=True, description="Upper case; AMEX and MASTERCARD however they are spelt")
    card_last4 = String(nullable=True, metadata=personal("person"))
    instrument_id = String(nullable=True, metadata=personal("person"), description="Token of card, wallet or account")
    bin_country = String(nullable=True)
    billing_country = String(nullable=True)
    shipping_country = String(nullable=True)
    amount = Money(description="As delivered, in currency")
    currency = String(nullable=True, description="As delivered; null: the reporting currency")
    exchange_rate = Float(nullable=True, description="Reporting currency for one of currency that day; null: no rate")
    reporting_amount = Money(nullable=True, description="amount in the reporting currency; null without a rate")
    decline_reason = String(nullable=True)
    device_hash = String(nullable=True, metadata=personal("device"))
    ip_hash = String(nullable=True, metadata=personal("device"))


EVENT_OWNER = Owner(at="occurred_at", visitor="visitor_id", otherwise=own_key("pay", "attempt_id"))
BRANDS = {
    "AMERICANEXPRESS": "AMEX", "AMERICAN EXPRESS": "AMEX", "AMERICAN_EXPRESS": "AMEX", "MASTER CARD": "MASTERCARD",
    "MASTER": "MASTERCARD", "MC": "MASTERCARD", "DINERSCLUB": "DINERS", "DINERS CLUB": "DINERS",
}  # fmt: skip


def rated_events(stored: pl.LazyFrame, changed: pl.LazyFrame) -> pl.LazyFrame:
    """Stored events that changed rows of silver.reporting_rates may concern: of their currency, from that day on."""
    since = changed.group_by("currency").agg(since__=pl.col("on").min())
    found = stored.join(since, on="currency", how="inner").filter(pl.col("occurred_on") >= pl.col("since__"))
    return found.drop("since__")


@builds(
    PaymentEvents,
    follows=EVENT_OWNER.of,
    reached=EVENT_OWNER.reached,
    concerns={"silver.reporting_rates": rated_events},
)
def payment_events(
    bronze_payments: pl.LazyFrame, silver_reporting_rates: pl.LazyFrame, silver_identity_links: pl.LazyFrame
) -> pl.LazyFrame:
    """Events with their subject, harmonized brands and amounts at the day's rate."""
    same = ("customer_id", "visitor_id", "transaction_id", "payment_status", "payment_method", "card_last4",
            "bin_country", "billing_country", "shipping_country", "amount", "decline_reason", "device_hash",
            "ip_hash")  # fmt: skip
    brand = pl.col("CARD_BRAND").str.strip_chars().str.to_uppercase()
    facts = bronze_payments.select(
        *(pl.col(c.upper()).alias(c) for c in same),
        payment_id="PAYMENT_ID",
        attempt_id=pl.coalesce("ORIGINAL_PAYMENT_ID", "PAYMENT_ID"),
        source_system="_source_system",
        occurred_at="PAYMENT_DATE",
        occurred_on=pl.col("PAYMENT_DATE").dt.date(),
        card_brand=brand.replace(BRANDS),
        instrument_id="CARD_TOKEN",
        currency="CURRENCY_CODE",
    )
    rated = with_rate(facts, silver_reporting_rates, currency="currency", on="occurred_on", into="exchange_rate")
    worth = rated.with_columns(reporting_amount=converted(pl.col("amount"), known_rate()))
    return EVENT_OWNER.of(worth, silver_identity_links)


class Payments(
    Table, table="silver.payments", per="attempt_id", sort_by=("attempted_at", "source_system", "attempt_id")
):
    """One row per attempt to pay: how far it came, and for which receipt.

    Money moves when it is captured. Where a source tells of the last state alone, the states before it have no time,
    and what was refunded counts as captured: no money goes back that never came.
    """

    attempt_id = String(primary_key=True, description="payment_id of its first event")
    source_system = String(primary_key=True)
    subject_id = String(description="Of the payer where known, else that of the receipt")
    person_id = String(nullable=True)
    transaction_id = String(nullable=True)
    match = OneOf(
        "SYSTEM", "NUMBER", "NONE", "AMBIGUOUS",
        description="How the receipt was found: by its number in the same system, in the only other one that has it,"
        " not at all, or in several systems, so that it is none",
    )  # fmt: skip
    attempted_at = Timestamp(description="First event")
    attempted_on = Date()
    last_at = Timestamp(description="Latest event")
    payment_status = OneOf(*ENDS, description="The furthest state: a chargeback outweighs a refund, that a capture")
    authorized_at = Timestamp(nullable=True)
    captured_at = Timestamp(nullable=True)
    captured_by_at = Timestamp(
        nullable=True, description="Latest moment of the capture: captured_at, else when money first went back"
    )
    declined_at = Timestamp(nullable=True)
    refunded_at = Timestamp(nullable=True, description="Latest refund")
    charged_back_at = Timestamp(nullable=True)
    payment_method = String(nullable=True)
    card_brand = String(nullable=True)
    instrument_id = String(nullable=True, metadata=personal("person"))
    device_hash = String(nullable=True, metadata=personal("device"))
    ip_hash = String(nullable=True, metadata=personal("device"))
    bin_country = String(nullable=True)
    billing_country = String(nullable=True)
    shipping_country = String(nullable=True)
    decline_reason = String(nullable=True)
    currency = String(nullable=True)
    amount = Money(
        description="Asked for first, as delivered, in currency; so are the next three, in which events in another"
        " currency count at the rate of their day"
    )
    captured_amount = Money()
    refunded_amount = Money()
    charged_back_amount = Money()
    reporting_amount = Money(nullable=True, description="amount in the reporting currency; null without a rate")
    captured_reporting_amount = Money(nullable=True)
    is_unconverted = Boolean(description="An event in another currency has no rate: its amount is in none of these")
    is_in_order = Boolean(
        description="No state came before one that it needs, and no more went back than was captured, as far as all of"
        " it is in one currency"
    )


KEY = ["attempt_id", "source_system"]
PAID_FOR = ("transaction_id", "source_system", "subject_id", "person_id")

# Of each the first that an event names counts.
FIRST = ("payment_method", "card_brand", "instrument_id", "device_hash", "ip_hash", "bin_country", "billing_country",
         "shipping_country", "decline_reason", "transaction_id", "currency")  # fmt: skip
READ = (*FIRST, "attempt_id", "source_system", "payment_id", "payment_status", "occurred_at", "subject_id", "person_id",
        "amount", "exchange_rate", "reporting_amount")  # fmt: skip
IN_ORDER = ("occurred_at", "payment_id", "payment_status")


@builds(
    Payments,
    reads={"silver.payment_events": READ, "silver.transactions": PAID_FOR},
    concerns={"silver.transactions": joined_on("transaction_id")},
)
def payments(silver_payment_events: pl.LazyFrame, silver_transactions: pl.LazyFrame) -> pl.LazyFrame:
    """Attempts with the receipt that they pay."""
    events = _in_one_currency(_numbered(silver_payment_events)).collect()
    attempts = _attempts(events.rechunk()).lazy()  # in one piece: of many each text is slow to find
    captured = pl.when((pl.col("captured_amount") == 0) & went_back()).then(
        pl.max_horizontal("refunded_amount", "charged_back_amount")
    ).otherwise("captured_amount")  # fmt: skip
    told = attempts.with_columns(
        payment_status=pl.col("payment_status").replace_strict(dict(enumerate(ENDS)), return_dtype=pl.String),
        captured_amount=captured,
        attempted_on=pl.col("attempted_at").dt.date(),
        is_in_order=_in_order(),
    ).with_columns(captured_reporting_amount=_captured_worth())
    return _with_receipt(told, silver_transactions).select(list(Payments.columns()))


def _numbered(events: pl.LazyFrame) -> pl.LazyFrame:
    """Events with their number in order of time, and that of their attempt. To sort whole rows, and to ask each attempt
    for its first text of many columns, takes several times what their numbers do.
    """
    return events.select(READ).with_columns(
        place__=pl.arg_sort_by(IN_ORDER).arg_sort(), attempt__=pl.struct(KEY).rank("dense")
    )


def _attempts(events: pl.DataFrame) -> pl.DataFrame:
    """Numbered events folded to attempts."""
    status, at, place = pl.col("payment_status"), pl.col("occurred_at"), pl.col("place__")
    is_known = pl.col("person_id").is_not_null()

    def total(state: str) -> pl.Expr:
        return pl.when(status == state).then("worth__").sum().cast(MONEY)

    def at_first(is_so: pl.Expr) -> pl.Expr:
        return pl.when(is_so).then(at).min()

    rank = status.replace_strict({s: n for n, s in enumerate(ENDS)}, return_dtype=pl.Int64)
    folded = events.group_by("attempt__").agg(
        *(pl.when(pl.col(c).is_not_null()).then(place).min().alias(c) for c in (*FIRST, "person_id")),
        *(at_first(status == s).alias(c) for s, c in FIRSTS.items()),
        captured_by_at=pl.coalesce(at_first(status == "CAPTURED"), at_first(status.is_in(["REFUNDED", "CHARGEBACK"]))),
        refunded_at=pl.when(status == "REFUNDED").then(at).max(),
        attempted_at=at.min(),
        last_at=at.max(),
        payment_status=rank.min(),
        place__=place.min(),
        subject_id=pl.coalesce(
            pl.when(is_known).then(place).min(), pl.when(~is_unnamed()).then(place).min(), place.min()
        ),
        authorized=total("AUTHORIZED"),
        captured_amount=total("CAPTURED"),
        refunded_amount=total("REFUNDED"),
        charged_back_amount=total("CHARGEBACK"),
        rate__=pl.col("rate__").first(),
        is_mixed__=pl.col("is_other__").any(),
        is_unconverted=pl.col("worth__").is_null().any(),
    )
    row = events["place__"].arg_sort()  # by place
    return folded.with_columns(
        *(events[c].gather(row.gather(folded[c])) for c in (*FIRST, "person_id", "subject_id")),
        *(events[c].gather(row.gather(folded["place__"])) for c in (*KEY, "amount", "reporting_amount")),
    )


def _in_one_currency(events: pl.LazyFrame) -> pl.LazyFrame:
    """Numbered events with their amount in the currency of their attempt, null where no rate tells it, and that
    currency's rate by the first event that is in it. What names no currency is in that of its attempt.
    """
    currency, place = pl.col("currency"), pl.col("place__")
    own = currency.min_by(pl.when(currency.is_not_null()).then(place))
    named = events.with_columns(own__=own.over("attempt__")).with_columns(
        is_other__=(currency != pl.col("own__")).fill_null(False)
    )
    is_named = currency.eq_missing(pl.col("own__"))
    rate = pl.col("exchange_rate").min_by(pl.when(is_named).then(place))
    rated = named.with_columns(rate__=rate.over("attempt__"))
    other = converted(pl.col("reporting_amount"), 1 / pl.col("rate__"))
    return rated.with_columns(worth__=pl.when("is_other__").then(other).otherwise("amount"))


def is_unnamed() -> pl.Expr:
    """Whether a subject is but the payment itself: it names no account and no device."""
    return pl.col("subject_id").str.starts_with("pay:")


FIRSTS = {"AUTHORIZED": "authorized_at", "CAPTURED": "captured_at", "DECLINED": "declined_at",
          "CHARGEBACK": "charged_back_at"}  # fmt: skip


def went_back() -> pl.Expr:
    """Whether money of an attempt was given or taken back."""
    return (pl.col("refunded_amount") > 0) | (pl.col("charged_back_amount") > 0)


def _captured_worth() -> pl.Expr:
    """What was captured, at the rate of the first event in the currency of the attempt."""
    rate = pl.when(pl.col("currency").is_null()).then(1.0).otherwise(pl.col("rate__"))
    return pl.when(pl.col("captured_amount") == 0).then(ZERO).otherwise(converted(pl.col("captured_amount"), rate))


def _in_order() -> pl.Expr:
    """Whether the states followed each other as they must; what has no time broke no order."""
    captured = pl.col("captured_at")
    late = (captured < pl.col("authorized_at")) | (pl.col("refunded_at") < captured)
    late = late.fill_null(False) | (pl.col("charged_back_at") < captured).fill_null(False)
    told = (pl.col("captured_amount") > 0) & ~pl.col("is_mixed__")  # at rates of two days hardly any sum is equal
    more = told & ((pl.col("refunded_amount") > pl.col("captured_amount")) | (
        pl.col("charged_back_amount") > pl.col("captured_amount")
    ))  # fmt: skip
    return ~late & ~more


def _with_receipt(attempts: pl.LazyFrame, receipts: pl.LazyFrame) -> pl.LazyFrame:
    """Attempts with how their receipt was found; the payer's own subject stands, else the receipt's."""
    own = receipts.select(
        "transaction_id", "source_system", subject__="subject_id", person__="person_id", own__=pl.lit(True)
    )
    anywhere = receipts.group_by("transaction_id").agg(
        systems__=pl.len(), other_subject__=pl.col("subject_id").first(), other_person__=pl.col("person_id").first()
    )
    numbers = attempts.select("attempt__", "transaction_id", "source_system")
    joined = numbers.join(own, on=["transaction_id", "source_system"], how="left").join(
        anywhere, on="transaction_id", how="left"
    )
    is_own, only = pl.col("own__").fill_null(False), pl.col("systems__") == 1
    match = (
        pl.when(is_own).then(pl.lit("SYSTEM")).when(only).then(pl.lit("NUMBER"))
        .when(pl.col("systems__") > 1).then(pl.lit("AMBIGUOUS")).otherwise(pl.lit("NONE"))
    )  # fmt: skip
    found = is_own | only.fill_null(False)
    receipts_of = joined.select(
        "attempt__",
        match=match,
        subject__=pl.when(is_own).then("subject__").when(found).then("other_subject__"),
        person__=pl.when(is_own).then("person__").when(found).then("other_person__"),
    )
    unknown = is_unnamed()
    return attempts.join(receipts_of, on="attempt__", how="left").with_columns(
        subject_id=pl.when(unknown).then(pl.coalesce("subject__", "subject_id")).otherwise("subject_id"),
        person_id=pl.when(unknown).then("person__").otherwise("person_id"),
    )
