"""What a person allowed, as of a date."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from customer360.pipelines.consents import UNSUBSCRIBABLE
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.tables import Boolean, List, String, Table, Timestamp

PURPOSES = {  # by the column that tells whether it is allowed
    "may_personalize": "PERSONALIZATION",
    "may_email": "EMAIL",
    "may_sms": "SMS",
    "may_call": "PHONE",
    "may_push": "PUSH",
}
DERIVED = {"may_profile": "PROFILING", "may_train": "TRAINING"}  # each rests on the purpose before; see gold.denials
CONTACTS = {column: purpose for column, purpose in PURPOSES.items() if purpose != "PERSONALIZATION"}
NO_DATE = datetime(1970, 1, 1)


def _contact(channel: str) -> Boolean:
    left = ", nor unsubscribed from a campaign" if channel in UNSUBSCRIBABLE else ""
    return Boolean(
        description=f"Whether marketing may use {channel}: an answer or the rule file allows it, and the person denies"
        f" no PERSONALIZATION{left}. Whether there is an address, and which one said yes: gold.contact_permissions"
    )


class Consent(Table, serves="OPERATION"):
    """Contacts and uses that are allowed."""

    unanswered_purposes = List(
        String(),
        nullable=True,
        description="Purposes that the person was never asked about or never answered: the rule file's"
        " `consent.when_not_asked` decides about them; null in editions of before",
    )
    may_personalize = Boolean(description="Whether the person may be treated individually; no consent to be contacted")
    may_email = _contact("EMAIL")
    may_sms = _contact("SMS")
    may_call = _contact("PHONE")
    may_push = _contact("PUSH")
    may_profile = Boolean(
        nullable=True,
        description="Whether habits may be judged (scores, segments): the person's answer, else as may_personalize;"
        " null in editions of before",
    )
    may_train = Boolean(
        nullable=True, description="Whether models may learn from the person: the answer, else as may_profile"
    )
    may_sell = Boolean(description="Whether data may be sold: only after an explicit yes, whatever the rule file says")
    consent_until_at = Timestamp(nullable=True, description="Day of the latest answer; null where none is dated")


def consent(
    profile: pl.LazyFrame, intervals: pl.LazyFrame, denials: pl.LazyFrame, params: EnrichmentRules, as_of: date
) -> pl.LazyFrame:
    """Adds Consent: answers that hold on the last day before ``as_of``; unanswered purposes are named, and follow the
    rule file. What is denied now is not allowed on any day.
    """
    given = intervals.filter(pl.col("valid_from") < as_of)
    holds = pl.col("valid_to").is_null() | (pl.col("valid_to") >= as_of)
    allowed, purpose = pl.col("is_allowed"), pl.col("purpose")
    told = {**PURPOSES, **DERIVED, "may_sell": "SALE"}
    said = given.group_by("person_id").agg(
        *(allowed.filter(holds, purpose == p).first().alias(c) for c, p in told.items()),
        consent_until_at=pl.col("valid_from").max().cast(pl.Datetime("us")).replace(NO_DATE, None),
    )
    now = denials.group_by("person_id").agg((purpose == p).any().alias(f"{c}_denied") for c, p in told.items())
    unanswered = [pl.when(pl.col(c).is_null()).then(pl.lit(p)) for c, p in PURPOSES.items()]
    known = profile.join(said, on="person_id", how="left").join(now, on="person_id", how="left").with_columns(
        *(pl.col(c).fill_null(params.allows_unasked(p)) for c, p in PURPOSES.items()),
        pl.concat_list(unanswered).list.drop_nulls().alias("unanswered_purposes"),
        pl.col("may_sell").fill_null(False),
        pl.col("consent_until_at").dt.replace_time_zone("UTC"),
    )  # fmt: skip
    rests_on = {"may_profile": "may_personalize", "may_train": "may_profile"}
    for column, wider in rests_on.items():
        known = known.with_columns(
            pl.col(column).fill_null(pl.col(wider) & params.allows_unasked(DERIVED[column])).alias(column)
        )
    return known.with_columns(pl.col(c) & ~pl.col(f"{c}_denied").fill_null(False) for c in told).drop(
        f"{c}_denied" for c in told
    )


def contacts(profile: pl.LazyFrame) -> pl.LazyFrame:
    """Takes the contacts of Consent from those whom marketing must not choose (gold.contact_permissions), in a profile
    with Engagement."""
    left = pl.col("has_unsubscribed")
    return profile.with_columns(
        pl.col(column) & pl.col("may_personalize") & ~(left & pl.lit(channel in UNSUBSCRIBABLE))
        for column, channel in CONTACTS.items()
    )
