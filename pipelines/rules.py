"""The rule files: business thresholds that a buyer may tune, as typed values (law 10).

Each file in ``configs/rules/`` is one of these models; a wrong or unknown key is refused with its place. The version
stands in the fingerprint of every table that the rules shape.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from customer360.platform.settings import Frozen


class StandardizationRules(Frozen):
    """How source values become standard ones."""

    version: int = 1
    product_code_pattern: str = ".*"  # product codes that match are goods; others are postage, fees, vouchers


class ValueBand(Frozen):
    """A customer belongs to the first band whose floors are passed (all strictly)."""

    name: str
    spent_above: float
    orders_above: int = 0


class TransactionRules(Frozen):
    """Bands of one transaction's total in the lake's currency; a band starts strictly above its floor."""

    high_value_above: float = 500
    medium_value_above: float = 100
    large_basket_above: float = 200
    medium_basket_above: float = 50


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
    high_engagement_above: float = 30  # of 50; out of reach without a conversion (faults 16 and 32)


class StandingRules(Frozen):
    """Flags of a person at a date: days are limits that still count, floors are strict."""

    recent_days: int = Field(default=30, ge=0)
    high_value_above: float = 5000  # lifetime value by rule
    frequent_orders_above: int = 20
    active_user_days: int = Field(default=7, ge=0)
    frequent_sessions_above: int = 20
    top_engagement_share: float = Field(default=0.2, gt=0, lt=1)  # share of recent visitors who count as top engaged
    top_engagement_days: int = Field(default=90, gt=0)


class ReliabilityRules(Frozen):
    """How far an external profile is trusted: quality x source weight x a factor for each fact that the master knows."""

    source_weights: dict[str, float] = {"LINKEDIN": 0.8, "ENRICHMENT": 0.9, "FACEBOOK": 0.7, "TWITTER": 0.6}
    unknown_source_weight: float = Field(default=0.5, ge=0, le=1)
    unknown_quality: float = Field(default=0.5, ge=0, le=1)
    unchecked_factor: float = Field(default=0.9, ge=0, le=1)
    contradiction_factor: float = Field(default=0.3, ge=0, le=1)
    reliable_from: float = Field(default=0.5, ge=0, le=1)


class RetentionAction(Frozen):
    """An action for customers of whom so much is at stake at such a risk; the first whose floors are passed is taken."""

    name: str
    stake_from: float = 0
    risk_from: float = Field(default=0, ge=0, le=1)


class RetentionRules(Frozen):
    """Who stands on the retention worklist, and what is done; amounts in the lake's currency."""

    risk_from: float = Field(default=0.4, ge=0, le=1)
    stake_from: float = 20
    size: int = Field(default=1000, gt=0)  # customers that a team can work through
    late_from_gaps: float = 2  # silent for so many of the customer's own mean gaps
    declining_from: float = Field(default=0.5, ge=0, le=1)  # order trend of the last 90 days against those before
    actions: list[RetentionAction] = [
        RetentionAction(name="PERSONAL_CALL", stake_from=500),
        RetentionAction(name="WIN_BACK_OFFER", stake_from=100, risk_from=0.7),
        RetentionAction(name="LOYALTY_REWARD", stake_from=100),
    ]
    other_action: str = "REMINDER"


class EnrichmentRules(Frozen):
    """Thresholds of the customer view, of transactions, visits and external data."""

    version: int = 1
    value_segments: list[ValueBand] = [
        ValueBand(name="VIP", spent_above=10000, orders_above=50),
        ValueBand(name="GOLD", spent_above=5000, orders_above=25),
        ValueBand(name="SILVER", spent_above=2000, orders_above=10),
        ValueBand(name="BRONZE", spent_above=500),
    ]
    lowest_value_segment: str = "NEW"
    active_days: int = Field(default=90, gt=0)  # lifecycle: bought within
    lapsing_days: int = Field(default=180, gt=0)
    new_days: int = Field(default=60, gt=0)  # lifecycle: first purchase within
    engaged_sessions_30d: int = Field(default=4, gt=0)
    consent_default: bool = True  # whether a purpose that a person never answered is allowed
    transactions: TransactionRules = TransactionRules()
    sessions: SessionRules = SessionRules()
    standing: StandingRules = StandingRules()
    reliability: ReliabilityRules = ReliabilityRules()
    retention: RetentionRules = RetentionRules()
    referrers: dict[str, list[str]] = {  # channel type to hosts, the first that fits; `name.*` is the name under any ending
        "EMAIL": ["mail.google.com", "mail.yahoo.com", "outlook.live.com", "outlook.office.com"],
        "SEARCH": ["google.*", "bing.com", "duckduckgo.com", "search.yahoo.com", "ecosia.org", "baidu.com", "yandex.*"],
        "SOCIAL": ["facebook.com", "fb.com", "instagram.com", "twitter.com", "x.com", "t.co", "linkedin.com", "lnkd.in",
                   "pinterest.*", "tiktok.com", "youtube.com", "reddit.com"],
    }  # fmt: skip
    own_hosts: list[str] = []  # our own site as a referrer counts as DIRECT


RULE_FILES: dict[str, type[BaseModel]] = {"standardization": StandardizationRules, "enrichment": EnrichmentRules}
