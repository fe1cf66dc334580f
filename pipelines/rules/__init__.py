"""The rule files: business thresholds that a buyer may tune, as typed values.

Each file in ``configs/rules/`` is one of these models; a wrong or unknown key is refused with its place. The version
stands in the fingerprint of every table that the rules shape.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from customer360.pipelines.rules.audiences import Audience, AudienceRules
from customer360.pipelines.rules.behavior import ActivityRules, DeviceRules, SessionRules, TimeZone, TrafficRules
from customer360.pipelines.rules.catalog import COLORS, AssortmentRules
from customer360.pipelines.rules.customers import (
    RISK_POINTS,
    WHEN_NOT_ASKED,
    ConsentRules,
    Purpose,
    ReliabilityRules,
    RetentionAction,
    RetentionRules,
    RiskRules,
    StandingRules,
    ValueBand,
)
from customer360.pipelines.rules.engagement import EngagementRules
from customer360.pipelines.rules.governance import Basis, DomainPolicy, PolicyRules, Right, RightsRules
from customer360.pipelines.rules.journey import JourneyRules
from customer360.pipelines.rules.location import LocationRules
from customer360.pipelines.rules.loyalty import LoyaltyRules
from customer360.pipelines.rules.market import MarketRules
from customer360.pipelines.rules.repairs import Repair, StandardizationRepairs
from customer360.pipelines.rules.sales import BasketRules, GrowthRules, PaymentRiskRules, TransactionRules
from customer360.pipelines.rules.service import ServiceRules
from customer360.pipelines.rules.supply import SupplyRules
from customer360.pipelines.rules.validation import AlertRules, CustomerQualityRules, ValidationRules
from customer360.pipelines.rules.voice import VoiceRules
from customer360.platform.settings import Frozen
from customer360.platform.sources.values import Words

__all__ = [
    "ActivityRules",
    "AlertRules",
    "AssortmentRules",
    "Audience",
    "AudienceRules",
    "Basis",
    "BasketRules",
    "COLORS",
    "ConsentRules",
    "CustomerQualityRules",
    "DeviceRules",
    "DomainPolicy",
    "EngagementRules",
    "EnrichmentRules",
    "GrowthRules",
    "LocationRules",
    "MarketRules",
    "PaymentRiskRules",
    "PolicyRules",
    "Purpose",
    "RISK_POINTS",
    "RULE_FILES",
    "ReliabilityRules",
    "Repair",
    "RetentionAction",
    "RetentionRules",
    "Right",
    "RightsRules",
    "RiskRules",
    "SessionRules",
    "StandardizationRules",
    "StandingRules",
    "SupplyRules",
    "TrafficRules",
    "TransactionRules",
    "ValidationRules",
    "ValueBand",
    "WHEN_NOT_ASKED",
]


class StandardizationRules(Words):
    """How source values become standard ones, and what counts as a visit."""

    version: int = 1
    traffic: TrafficRules = TrafficRules()
    product_code_pattern: str = ".*"  # product codes that match are goods; others are postage, fees, vouchers
    colors: dict[str, list[str]] = COLORS  # standard colour to what shops write for it, in small letters
    brands: dict[str, list[str]] = {}  # brand as it should stand to spellings that no rule finds
    category_precision: float = Field(default=0.9, gt=0, lt=1)  # of categories read from text, at the least
    repairs: StandardizationRepairs = StandardizationRepairs()


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
    reactivated_after_days: int = Field(default=180, gt=0)  # a purchase after more days without one is a return
    segment_history_months: int = Field(default=12, gt=0)  # month-to-month moves between RFM segments
    reporting_currency: str | None = Field(default=None, pattern="^[A-Z]{3}$")  # None: that of most transactions
    customer_time_zone: TimeZone | None = None  # IANA, of customers whose devices tell none; None: unknown
    rate_valid_days: int = Field(default=10, ge=0)  # an exchange rate is used for so many days after its own
    consent: ConsentRules = ConsentRules()
    consent_default: bool | None = None  # of rule files of before: one answer for every purpose that was not asked
    transactions: TransactionRules = TransactionRules()
    sessions: SessionRules = SessionRules()
    standing: StandingRules = StandingRules()
    reliability: ReliabilityRules = ReliabilityRules()
    risk: RiskRules = RiskRules()
    payment_risk: PaymentRiskRules = PaymentRiskRules()
    growth: GrowthRules = GrowthRules()
    retention: RetentionRules = RetentionRules()
    baskets: BasketRules = BasketRules()
    location: LocationRules = LocationRules()
    supply: SupplyRules = SupplyRules()
    devices: DeviceRules = DeviceRules()
    activity: ActivityRules = ActivityRules()
    engagement: EngagementRules = EngagementRules()
    assortment: AssortmentRules = AssortmentRules()
    market: MarketRules = MarketRules()
    # channel type to hosts, the first that fits; `name.*` is the name under any ending
    referrers: dict[str, list[str]] = {
        "EMAIL": ["mail.google.com", "mail.yahoo.com", "outlook.live.com", "outlook.office.com"],
        "SEARCH": ["google.*", "bing.com", "duckduckgo.com", "search.yahoo.com", "ecosia.org", "baidu.com", "yandex.*"],
        "SOCIAL": ["facebook.com", "fb.com", "instagram.com", "twitter.com", "x.com", "t.co", "linkedin.com", "lnkd.in",
                   "pinterest.*", "tiktok.com", "youtube.com", "reddit.com"],
    }  # fmt: skip
    own_hosts: list[str] = []  # our own site as a referrer counts as DIRECT

    def allows_unasked(self, purpose: str) -> bool:
        """Whether a purpose is allowed that a person was never asked about."""
        if self.consent_default is not None:
            return self.consent_default
        said = {str(name): answer for name, answer in self.consent.when_not_asked.items()}
        return said.get(purpose, WHEN_NOT_ASKED[purpose]) == "allow"


RULE_FILES: dict[str, type[BaseModel]] = {
    "policy": PolicyRules,
    "standardization": StandardizationRules,
    "enrichment": EnrichmentRules,
    "validation": ValidationRules,
    "audiences": AudienceRules,
    "service": ServiceRules,
    "voice": VoiceRules,
    "rights": RightsRules,
    "loyalty": LoyaltyRules,
    "journey": JourneyRules,
}
