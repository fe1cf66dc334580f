"""Through which channel, and at which time of day and week, a person comes."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.gold.customers.value import CHANNELS
from customer360.pipelines.zones import local_time
from customer360.platform.tables import Float, OneOf, String, Table, Timestamp

WINDOW_DAYS = 365
DAY_PARTS = {"NIGHT": 0, "MORNING": 6, "AFTERNOON": 12, "EVENING": 18}  # by the hour that it begins
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


class Preference(Table, serves="PERSONALIZATION"):
    """Preferred channel, time of day and weekday, from orders and visits of the last year."""

    preferred_channel = String(nullable=True, description="Of most orders")
    stated_channel = String(nullable=True, description="As the master data says")
    store_order_share = Float(nullable=True, description="Of all orders ever, those in stores; null: never bought")
    online_order_share = Float(nullable=True, description="Likewise, online")
    mobile_order_share = Float(nullable=True, description="Likewise, by the app")
    usual_referral = String(nullable=True, description="Channel type that led to most visits")
    preferred_day_part = OneOf(
        *DAY_PARTS,
        nullable=True,
        description="In the person's own time: the zone of its devices (gold.technology_profiles), else the rule file's"
        " customer_time_zone; null where neither names one. NIGHT 0 to 6, MORNING to 12, AFTERNOON to 18, EVENING",
    )
    preferred_weekday = OneOf(*WEEKDAYS, nullable=True, description="In the person's own time, as preferred_day_part")
    preference_until_at = Timestamp(nullable=True, description="Latest order or visit that counted")


def preference(
    profile: pl.LazyFrame,
    people: pl.LazyFrame,
    orders: pl.LazyFrame,
    sessions: pl.LazyFrame,
    visits: pl.LazyFrame,
    technology: pl.LazyFrame,
    zone: str | None,
    as_of: date,
) -> pl.LazyFrame:
    """Adds Preference to a profile with Value.

    ``orders``: silver.transaction_facts, ``sessions``: silver.session_facts, ``visits``: gold.visit_profiles,
    ``technology``: gold.technology_profiles, ``zone``: of whom no device tells one. Among equals the earlier part of
    the day or week counts, which begins with Monday.
    """
    moments = pl.concat(
        [
            _moments(orders.filter("is_sale"), "occurred_at", "occurred_on", as_of),
            _moments(sessions, "started_at", "started_on", as_of),
        ]
    )
    told = technology.select("person_id", zone="main_time_zone")
    local = local_time(moments.join(told, on="person_id", how="left"), zone)
    part, weekday = pl.col("local").dt.hour() // 6, pl.col("local").dt.weekday()
    habits = local.group_by("person_id").agg(
        part=part.drop_nulls().mode().min(),
        weekday=weekday.drop_nulls().mode().min(),
        preference_until_at=pl.col("at").max(),
    )
    known = people.select("person_id", stated_channel=pl.col("preferred_channel"))
    return (
        profile.join(known, on="person_id", how="left")
        .join(habits, on="person_id", how="left")
        .join(visits.select("person_id", usual_referral="usual_channel_type"), on="person_id", how="left")
        .with_columns(
            preferred_channel=_channel(),
            preferred_day_part=pl.col("part").replace_strict(
                {hour // 6: name for name, hour in DAY_PARTS.items()}, default=None, return_dtype=pl.String
            ),
            preferred_weekday=pl.col("weekday").replace_strict(
                dict(enumerate(WEEKDAYS, 1)), default=None, return_dtype=pl.String
            ),
        )
    )


def _moments(frame: pl.LazyFrame, at: str, on: str, as_of: date) -> pl.LazyFrame:
    window = pl.col(on).is_between(as_of - timedelta(days=WINDOW_DAYS), as_of, closed="left")
    return frame.filter(pl.col("person_id").is_not_null(), window).select("person_id", at=pl.col(at))


def _channel() -> pl.Expr:
    """The channel of the largest share; the first in ``CHANNELS`` of equals."""
    shares = [pl.col(f"{c}_order_share") for c in CHANNELS]
    largest = pl.max_horizontal(shares)
    return pl.coalesce(
        pl.when(share == largest).then(pl.lit(name)) for share, name in zip(shares, CHANNELS.values(), strict=True)
    )
