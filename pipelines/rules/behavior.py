"""What is a visit and what is no human's; classes of visits, devices, series of activity."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, field_validator

from customer360.platform.settings import Frozen


def _is_a_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone, as UTC or Europe/Berlin")
    return name


TimeZone = Annotated[str, AfterValidator(_is_a_zone)]


class TrafficRules(Frozen):
    """What is a visit, and what is no human's (`pipelines.sessions`)."""

    # families as ua-parser names them, beside its own spiders
    automated_agents: list[str] = [
        "HeadlessChrome", "PhantomJS", "Python Requests", "Python-urllib", "aiohttp", "Scrapy", "curl", "Wget",
        "Go-http-client", "Apache-HttpClient", "ApacheBench", "Python aiohttp", "python-httpx",
        "Java", "libwww-perl", "axios", "node-fetch", "PostmanRuntime",
    ]  # fmt: skip
    longest_seconds_on_page: int = Field(default=86_400, gt=0)
    most_pages_per_minute: int = Field(default=60, gt=0)
    most_events_per_minute: int = Field(default=300, gt=0)
    midnight_zone: str | None = "UTC"  # IANA zone whose midnight ends a visit; None: it does not
    campaign_breaks: bool = True

    @field_validator("midnight_zone")
    @classmethod
    def _is_a_zone(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            raise ValueError(f"{name!r} is no IANA time zone, as UTC or Europe/Berlin; null: midnight ends no visit")
        return name


class SessionRules(Frozen):
    """Classes of a visit; durations in seconds, all floors strict."""

    bounce_above: float = Field(default=0.8, ge=0, le=1)  # bounce rate
    engaged_seconds_above: int = 1800
    engaged_pages_above: int = 10
    active_seconds_above: int = 300
    active_pages_above: int = 3
    short_seconds_above: int = 60
    browse_product_views_above: int = 5
    search_searches_above: int = 3
    aware_seconds_above: int = 120
    high_engagement_above: float = 30  # of 50; out of reach without a conversion: docs/specification.md#fault-32


class DeviceRules(Frozen):
    """When a device without a login is somebody's, by the networks that it shares (`gold.cross_device_links`)."""

    window_days: int = Field(default=365, gt=0)
    most_people: int = Field(default=5, ge=1)  # known people on a network in a month; with more it is no home
    least_devices: int = Field(default=30, ge=2)  # with a known owner, by which a level of evidence is judged
    least_precision: float = Field(default=0.8, gt=0, lt=1)  # that the lower bound of a level must reach


class ActivityRules(Frozen):
    """Series of daily visits: what is a trend, what is out of the ordinary."""

    window_days: int = Field(default=730, ge=56)  # of history that is looked at
    least_days: int = Field(default=56, ge=28)  # of a trend
    season_days: int = Field(default=540, ge=365)  # from which the season of the year is told from a trend
    least_visits: float = Field(default=1, gt=0)  # a day, below which nothing is said
    significance: float = Field(default=0.05, gt=0, lt=1)  # of trends and weekdays
    false_alarm_rate: float = Field(default=0.01, gt=0, lt=1)  # of a day of a series without an event
    alarm_history_days: int = Field(default=120, ge=30)  # of errors that a day is compared with
    forecast_confidence: float = Field(default=0.9, gt=0, lt=1)
