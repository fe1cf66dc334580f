"""Who may be contacted for marketing, over which contact point, and why not; and how that changed over time."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.campaigns import midnight
from customer360.pipelines.consents import (
    CHANNELS,
    GROUP,
    POINTS,
    RESTRICTED,
    UNSUBSCRIBABLE,
    WHOLES,
    allowing_points,
    answers_by_point,
    email_point,
    phone_point,
    standing,
)
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table, personal

REASONS = ("ALLOWED", "REFUSED", "NOT_ASKED", "RESTRICTED", "UNSUBSCRIBED", "NO_CONTACT_POINT")


class ContactPermissions(
    Table, table="gold.contact_permissions", per="person_id", partition_by=("as_of",), sort_by=("person_id", "channel"),
    serves="OPERATION",
):  # fmt: skip
    """One row per person, channel and as_of date: whether it may be contacted for marketing, and why not.

    Marketing chooses whom it writes to, so that who denies PERSONALIZATION is not contacted over any channel.

    The answers that hold when the table is built count, whatever their date (as in gold.denials), so that nobody is
    written to who has refused since. A refusal that lands later is known to exports of audiences and to the
    API at once, to this table from its next build.
    """

    person_id = String(primary_key=True)
    channel = OneOf(*CHANNELS, primary_key=True, description="That marketing would use")
    as_of = Date(primary_key=True)
    is_permitted = Boolean(description="Whether it may: the reason is ALLOWED")
    reason = OneOf(
        *REASONS,
        description="The first that holds: RESTRICTED by a request, REFUSED (the channel or PERSONALIZATION), NOT_ASKED"
        " where the rule file asks for a yes and no contact point of the golden record or of an answer gave one,"
        " UNSUBSCRIBED from a campaign before as_of (EMAIL, SMS, PUSH), NO_CONTACT_POINT: no address or number to reach"
        " the person by, else ALLOWED",
    )
    is_answered = Boolean(description="The person said yes or no; else the rule file decides")
    answered_on = Date(nullable=True, description="From when the answer holds; null without one, or without its date")
    contact_point = String(
        nullable=True,
        metadata=personal("text"),
        description="Where it may be contacted, as contact points are compared: the address or number of the golden"
        " record if it said yes, or an account without one did, or no yes is asked for; else one that said yes. Null"
        " where it may not, and of PUSH, which goes to the account",
    )


ANSWERED_ALWAYS = date(1970, 1, 1)  # from when an answer without a date holds: consent_intervals


@builds(
    ContactPermissions,
    rules="enrichment",
    reads={
        "silver.people": ("person_id", "email_address", "phone_number"),
        "silver.messages": ("person_id", "unsubscribed_at"),
    },
)
def contact_permissions(
    silver_people: pl.LazyFrame,
    silver_consent_intervals: pl.LazyFrame,
    silver_preferences: pl.LazyFrame,
    silver_messages: pl.LazyFrame,
    gold_denials: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Every person and channel."""
    points = {
        "EMAIL": email_point(pl.col("email_address")),
        "SMS": phone_point(pl.col("phone_number")),
        "PHONE": phone_point(pl.col("phone_number")),
        "PUSH": pl.lit(None, pl.String),
    }
    rows = pl.concat(
        [silver_people.select("person_id", channel=pl.lit(channel), golden=point) for channel, point in points.items()]
    )
    stated = (
        silver_consent_intervals.filter(pl.col("valid_to").is_null(), pl.col("purpose").is_in(CHANNELS))
        .group_by("person_id", channel="purpose")
        .agg(answered_on=pl.col("valid_from").max())
    )
    answers = standing(silver_consent_intervals).rename({"purpose": "channel"})
    left = silver_messages.filter(pl.col("unsubscribed_at") < midnight(as_of)).select("person_id").unique()
    unasked = {channel: params.allows_unasked(channel) for channel in CHANNELS}
    silent = pl.col("channel").replace_strict(unasked, return_dtype=pl.Boolean)
    key = ["person_id", "channel"]
    told = (
        rows.join(answers, on=key, how="left")
        .join(stated, on=key, how="left")
        .join(_barred(gold_denials), on=key, how="left")
        .join(left.with_columns(has_left=pl.lit(True)), on="person_id", how="left")
        .join(_said_yes(silver_preferences), left_on=key, right_on=GROUP, how="left")
    )
    said, golden, yes = pl.col("is_allowed"), pl.col("golden"), pl.col("allowing")
    is_asked = yes.list.contains(golden).fill_null(False) | pl.col("account_allows").fill_null(False) | silent
    point = pl.when(golden.is_null() | is_asked).then(golden).otherwise(yes.list.first())
    is_push, nobody = pl.col("channel") == "PUSH", golden.is_not_null() & pl.col("point").is_null()
    reason = (
        pl.when(pl.col("barred") == "RESTRICTED").then(pl.lit("RESTRICTED"))
        .when(~said | (pl.col("barred") == "REFUSED")).then(pl.lit("REFUSED"))
        .when((said.is_null() & ~silent) | (pl.col("barred") == "NOT_ASKED") | nobody).then(pl.lit("NOT_ASKED"))
        .when(pl.col("has_left").fill_null(False) & pl.col("channel").is_in(UNSUBSCRIBABLE))
        .then(pl.lit("UNSUBSCRIBED"))
        .when(~is_push & pl.col("point").is_null()).then(pl.lit("NO_CONTACT_POINT"))
        .otherwise(pl.lit("ALLOWED"))
    )  # fmt: skip
    permitted, dated = pl.col("reason") == "ALLOWED", pl.col("answered_on") > ANSWERED_ALWAYS
    return (
        told.with_columns(point=point, is_answered=said.is_not_null(), as_of=pl.lit(as_of))
        .with_columns(reason=reason)
        .with_columns(
            is_permitted=permitted,
            answered_on=pl.when(dated).then("answered_on"),
            contact_point=pl.when(permitted).then("point"),
        )
        .select(list(ContactPermissions.columns()))
    )


def _barred(denials: pl.LazyFrame) -> pl.LazyFrame:
    """By person and channel why nothing that it answered about the channel helps: ``barred``, a reason."""
    because, purpose = pl.col("because"), pl.col("purpose")
    words = {RESTRICTED: "RESTRICTED", "not asked": "NOT_ASKED"}
    heeded = denials.filter((purpose == "PERSONALIZATION") | (purpose.is_in(CHANNELS) & (because == RESTRICTED)))
    over = pl.when(purpose == "PERSONALIZATION").then(pl.lit(list(CHANNELS))).otherwise(pl.concat_list("purpose"))
    each = heeded.select("person_id", channel=over, barred=because.replace_strict(words, default="REFUSED"))
    rows = each.explode("channel")
    return rows.group_by("person_id", "channel").agg(
        barred=pl.when((pl.col("barred") == "RESTRICTED").any()).then(pl.lit("RESTRICTED"))
        .when((pl.col("barred") == "REFUSED").any()).then(pl.lit("REFUSED"))
        .otherwise(pl.lit("NOT_ASKED"))
    )  # fmt: skip


def _said_yes(preferences: pl.LazyFrame) -> pl.LazyFrame:
    """By person and channel whose yes it was: ``allowing`` addresses or numbers, in order; ``account_allows``: an
    account whose address is not known, which speaks for the person's."""
    said = preferences.filter(pl.col("preference_type") == "COMMUNICATION", pl.col("person_id").is_not_null())
    yes = allowing_points(answers_by_point(said, pl.lit(ANSWERED_ALWAYS)))
    known = pl.concat(
        said.select("person_id", purpose=pl.lit(channel), point=column, is_address=pl.lit(True))
        for channel, column in POINTS.items()
    ).unique()
    is_address = pl.col("is_address").fill_null(False)
    return (
        yes.join(known, on=[*GROUP, "point"], how="left")
        .group_by(GROUP)
        .agg(allowing=pl.col("point").filter(is_address).sort(), account_allows=(~is_address).any())
    )


class ConsentExposure(
    Table, table="gold.consent_exposure", partition_by=("as_of",), sort_by=("purpose", "counted_on", "answer")
):
    """One row per purpose, day and answer: how many persons had said yes, no or nothing by then.

    Days are the first of each month since the first dated answer, and the as_of date. What held on a day is what is
    known of it now: an answer that was delivered later counts from its own date.
    """

    purpose = String(primary_key=True, description="Channel or use of data that the answer is about")
    counted_on = Date(primary_key=True, description="Answers given before this day")
    answer = OneOf(
        "YES", "NO", "NONE", primary_key=True, description="NONE: never asked, never answered, or taken back"
    )
    as_of = Date(primary_key=True)
    person_count = Integer(description="Persons of whom that held on the day")
    share = Float(nullable=True, description="Of all persons of silver.people; null without any")


@builds(ConsentExposure, reads={"silver.people": ("person_id",)})
def consent_exposure(silver_people: pl.LazyFrame, silver_consent_intervals: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Intervals of persons that are known now."""
    held = silver_consent_intervals.filter(pl.col("valid_from") < as_of).join(silver_people, on="person_id", how="semi")
    first = held.filter(pl.col("valid_from") > ANSWERED_ALWAYS).select(pl.col("valid_from").min()).collect().item()
    begin = (first or as_of).replace(day=1)
    months = pl.date_range(begin, as_of, "1mo", eager=True)
    days = pl.concat([months, pl.Series([as_of])]).unique().sort().alias("counted_on")
    named = pl.LazyFrame({"purpose": WHOLES["ALL"]})
    purposes = pl.concat([named, held.select("purpose")]).unique()
    grid = purposes.join(days.to_frame().lazy(), how="cross")
    holds = (pl.col("valid_from") < pl.col("counted_on")) & (
        pl.col("valid_to").is_null() | (pl.col("valid_to") >= pl.col("counted_on"))
    )
    said = (
        grid.join(held, on="purpose").filter(holds).group_by("purpose", "counted_on").agg(
            YES=pl.col("is_allowed").sum().cast(pl.Int64), NO=(~pl.col("is_allowed")).sum().cast(pl.Int64)
        )
    )  # fmt: skip
    people = silver_people.select(people=pl.len().cast(pl.Int64))
    counted = grid.join(said, on=["purpose", "counted_on"], how="left").with_columns(pl.col("YES", "NO").fill_null(0))
    told = counted.join(people, how="cross").with_columns(NONE=pl.col("people") - pl.col("YES") - pl.col("NO"))
    share = pl.when(pl.col("people") > 0).then(pl.col("person_count") / pl.col("people"))
    return (
        told.unpivot(
            ["YES", "NO", "NONE"],
            index=["purpose", "counted_on", "people"],
            variable_name="answer",
            value_name="person_count",
        )
        .with_columns(as_of=pl.lit(as_of), share=share)
        .select(list(ConsentExposure.columns()))
    )
