"""With what a person comes by preference: kinds of device, browser, system, language."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.sessions import of_humans
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, String, Table

WINDOW_DAYS = 365
NATURE = ("device_type", "browser", "operating_system")
SAID = ("language", "time_zone")


class TechnologyProfiles(
    Table,
    table="gold.technology_profiles",
    per="person_id",
    partition_by=("as_of",),
    sort_by=("person_id",),
    serves="PROFILING",
):
    """One row per person with an event or an observation of a device in the 365 days before as_of."""

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    day_count = Integer(description="Days with an event or observation")
    technology_count = Integer(
        description="Different pairs of browser and operating system, as the feeds spell them: the tracker's words of"
        " events, the families of user agents of observations"
    )
    main_device_type = String(
        nullable=True, description="Of most days; the first by name of equals, as all main_ columns"
    )
    main_device_share = Float(nullable=True, min=0, max=1, description="Of the days whose device type is known")
    main_browser = String(nullable=True, description="Of most days with a known one")
    main_operating_system = String(nullable=True, description="Of most days with a known one")
    main_language = String(nullable=True, description="What the browser asks for: BCP 47")
    main_time_zone = String(nullable=True, description="Of most days with a known one, as devices name it")
    is_app_user = Boolean(description="Some observation named the version of an app")


@builds(
    TechnologyProfiles,
    reads={
        "silver.events": (
            "subject_id",
            "person_id",
            "occurred_at",
            "occurred_on",
            "tracker_session_id",
            "set_apart",
            *NATURE,
        ),
        "silver.device_observations": ("person_id", "observed_on", "is_bot", "app_version", *NATURE, *SAID),
        "silver.set_apart_sessions": ("subject_id", "person_id", "session_id", "started_at", "ended_at"),
    },
)
def technology_profiles(
    silver_events: pl.LazyFrame,
    silver_device_observations: pl.LazyFrame,
    silver_set_apart_sessions: pl.LazyFrame,
    as_of: date,
) -> pl.LazyFrame:
    """What is most often used is preferred; a day counts once, however long it was."""
    since, known = as_of - timedelta(days=WINDOW_DAYS), pl.col("person_id").is_not_null()
    recent = pl.col("occurred_on").is_between(since, as_of, closed="left")
    human = of_humans(silver_events.filter(known, recent), silver_set_apart_sessions)
    done = human.select("person_id", *NATURE, on="occurred_on")
    seen = silver_device_observations.filter(known, ~pl.col("is_bot")).select(
        "person_id", *NATURE, *SAID, on="observed_on", is_app=pl.col("app_version").is_not_null()
    )
    days = pl.concat([done, seen], how="diagonal").filter(pl.col("on").is_between(since, as_of, closed="left")).unique()
    main = {column: _of_most_days(column) for column in (*NATURE, *SAID)}
    type_days = pl.col("on").filter(pl.col("device_type").is_not_null()).n_unique()
    main_days = pl.col("on").filter(pl.col("device_type") == main["device_type"]).n_unique()
    return days.group_by("person_id").agg(
        as_of=pl.lit(as_of),
        day_count=pl.col("on").n_unique().cast(pl.Int64),
        technology_count=pl.struct("browser", "operating_system").n_unique().cast(pl.Int64),
        main_device_share=pl.when(type_days > 0).then(main_days / type_days),
        is_app_user=pl.col("is_app").fill_null(False).any(),
        **{f"main_{column}": value for column, value in main.items()},
    ).select(list(TechnologyProfiles.columns()))  # fmt: skip


def _of_most_days(column: str) -> pl.Expr:
    """The word that most days know, whichever feed told it and however often; the first by name of equals."""
    daily = pl.struct("on", column).filter(pl.col(column).is_not_null()).unique()
    return daily.struct.field(column).mode().sort().first()
