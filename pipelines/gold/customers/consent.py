"""What a person allowed, as of a date."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.tables import Boolean, List, String, Table, Timestamp

PURPOSES = {  # by the column that tells whether it is allowed
    "may_personalize": "PERSONALIZATION",
    "may_email": "EMAIL",
    "may_sms": "SMS",
    "may_call": "PHONE",
    "may_push": "PUSH",
}
NO_DATE = datetime(1970, 1, 1)


class Consent(Table):
    """Contacts and uses that are allowed."""

    unanswered_purposes = List(
        String(),
        nullable=True,
        description="Purposes that the person was never asked about or never answered: the rule file's"
        " `consent.when_not_asked` decides about them; null in editions of before",
    )
    may_personalize = Boolean()
    may_email = Boolean()
    may_sms = Boolean()
    may_call = Boolean()
    may_push = Boolean()
    may_sell = Boolean(description="Whether data may be sold: only after an explicit yes, whatever the rule file says")
    consent_until_at = Timestamp(nullable=True, description="Day of the latest answer; null where none is dated")


def consent(profile: pl.LazyFrame, intervals: pl.LazyFrame, params: EnrichmentRules, as_of: date) -> pl.LazyFrame:
    """Adds Consent: answers that hold on the last day before ``as_of``; unanswered purposes are named, and follow the
    rule file.
    """
    given = intervals.filter(pl.col("valid_from") < as_of)
    holds = pl.col("valid_to").is_null() | (pl.col("valid_to") >= as_of)
    allowed, purpose = pl.col("is_allowed"), pl.col("purpose")
    said = given.group_by("person_id").agg(
        *(allowed.filter(holds, purpose == p).first().alias(c) for c, p in PURPOSES.items()),
        may_sell=allowed.filter(holds, purpose == "SALE").first(),
        consent_until_at=pl.col("valid_from").max().cast(pl.Datetime("us")).replace(NO_DATE, None),
    )
    unanswered = [pl.when(pl.col(c).is_null()).then(pl.lit(p)) for c, p in PURPOSES.items()]
    return profile.join(said, on="person_id", how="left").with_columns(
        *(pl.col(c).fill_null(params.allows_unasked(p)) for c, p in PURPOSES.items()),
        pl.concat_list(unanswered).list.drop_nulls().alias("unanswered_purposes"),
        pl.col("may_sell").fill_null(False),
        pl.col("consent_until_at").dt.replace_time_zone("UTC"),
    )
