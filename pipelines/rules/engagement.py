"""How answers to messages are counted and judged."""

from __future__ import annotations

from pydantic import Field

from customer360.platform.settings import Frozen


class EngagementRules(Frozen):
    """How answers to messages are counted and judged; days are whole, of the moment that they begin with."""

    # what platforms put before a campaign's name, as names are compared: facebook_spring is spring
    campaign_prefixes: list[str] = [
        "utm", "cmp", "campaign", "email", "em", "sms", "push", "social", "paid", "ads", "fb", "facebook", "ig",
        "instagram", "meta", "google", "ga", "gads", "tiktok", "mc", "mailchimp", "klaviyo", "hubspot", "sfmc",
    ]  # fmt: skip
    conversion_days: int = Field(default=7, gt=0)  # a purchase so long after a click counts for its message
    response_days: int = Field(default=7, gt=0)  # an answer so long after sending counts in frequencies and preferences
    frequency_days: int = Field(default=28, gt=0)  # messages of so many days before one are its frequency
    holdout_days: int = Field(default=14, gt=0)  # from assignment, in which treated and held-back people are compared
    lookback_days: int = Field(default=30, gt=0)  # a touch so long before a purchase has a part in it
    half_life_days: float = Field(default=7, gt=0)  # attribution by time: a touch so much older counts half
    history_days: int = Field(default=365, gt=0)  # of purchases and messages that are looked at
    least: int = Field(default=100, ge=20)  # people (in each group) without whom no effect is claimed
    least_messages: int = Field(default=5, ge=2)  # to one person, below which it has no preference
    confidence: float = Field(default=0.95, gt=0.5, lt=1)  # of intervals and claims
