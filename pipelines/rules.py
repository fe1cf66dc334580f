"""The rule files: business thresholds that a buyer may tune, as typed values.

Each file in ``configs/rules/`` is one of these models; a wrong or unknown key is refused with its place. The version
stands in the fingerprint of every table that the rules shape.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field, field_validator, model_validator

from customer360.platform.conditions import ExpressionError, condition
from customer360.platform.quality.checks import DIMENSIONS, Checks, Condition, Dimension
from customer360.platform.settings import Frozen
from customer360.platform.sources.values import Words
from customer360.platform.tables import TABLES, Table, pii_columns

Purpose = Literal["PERSONALIZATION", "PROFILING", "TRAINING", "EMAIL", "SMS", "PHONE", "PUSH"]
WHEN_NOT_ASKED: dict[str, str] = dict.fromkeys(get_args(Purpose), "deny") | dict.fromkeys(
    ("PERSONALIZATION", "PROFILING", "TRAINING"), "allow"
)


class StandardizationRules(Words):
    """How source values become standard ones."""

    version: int = 1
    product_code_pattern: str = ".*"  # product codes that match are goods; others are postage, fees, vouchers


class ValueBand(Frozen):
    """A customer belongs to the first band whose floors are passed (all strictly)."""

    name: str
    spent_above: float
    orders_above: int = 0


class TransactionRules(Frozen):
    """Bands of one transaction's total in the reporting currency; a band starts strictly above its floor."""

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
    high_engagement_above: float = 30  # of 50; out of reach without a conversion: docs/specification.md#fault-32


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
    """Trust in an external profile: quality x source weight x a factor for each fact that the master knows."""

    source_weights: dict[str, float] = {"LINKEDIN": 0.8, "ENRICHMENT": 0.9, "FACEBOOK": 0.7, "TWITTER": 0.6}
    unknown_source_weight: float = Field(default=0.5, ge=0, le=1)
    unknown_quality: float = Field(default=0.5, ge=0, le=1)
    unchecked_factor: float = Field(default=0.9, ge=0, le=1)
    contradiction_factor: float = Field(default=0.3, ge=0, le=1)
    reliable_from: float = Field(default=0.5, ge=0, le=1)


RISK_POINTS = {
    "return_rate": 0.3,
    "failed_order_rate": 0.3,
    "identity_confidence": 0.2,
    "open_ticket_count": 0.1,
    "escalation_count_365d": 0.1,
    "sentiment_score": 0.1,
    "shared_device_count": 0.1,
    "churn_probability": 0.1,
}


class RiskRules(Frozen):
    """Signs of risk: each counts its points where its threshold is passed; rates need ``least_orders`` orders."""

    points: dict[str, float] = RISK_POINTS  # a sign that a rule file leaves out counts nothing
    least_orders: int = Field(default=3, ge=1)
    return_rate_above: float = Field(default=0.3, ge=0, le=1)
    failed_order_rate_above: float = Field(default=0.2, ge=0, le=1)
    identity_confidence_below: float = Field(default=0.99, ge=0, le=1)
    sentiment_below: float = Field(default=-0.2, ge=-1, le=1)
    churn_probability_above: float = Field(default=0.7, ge=0, le=1)
    medium_from: float = Field(default=0.2, ge=0, le=1)
    high_from: float = Field(default=0.5, ge=0, le=1)

    @field_validator("points")
    @classmethod
    def _known(cls, points: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(points) - set(RISK_POINTS)):
            raise ValueError(f"unknown signs {unknown}; known are {sorted(RISK_POINTS)}")
        return points


class RetentionAction(Frozen):
    """An action for customers of whom so much is at stake at such a risk; the first with passed floors is taken."""

    name: str
    stake_from: float = 0
    risk_from: float = Field(default=0, ge=0, le=1)


class RetentionRules(Frozen):
    """Who stands on the retention worklist, and what is done; amounts in the reporting currency."""

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


class BasketRules(Frozen):
    """Which baskets are looked at for what is bought together, and when a pair counts."""

    window_days: int = Field(default=365, gt=0)
    largest: int = Field(
        default=60, ge=2
    )  # different things in a basket; larger ones are a reseller's, not a shopper's
    least_baskets: int = Field(default=5, ge=2)  # that hold a pair
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    partners: int = Field(default=50, gt=0)  # kept of each product


class ConsentRules(Frozen):
    """What is done where nobody answered: silence is no consent, so contacts need a yes unless a buyer says otherwise.

    A purpose that a rule file does not name stays as in ``WHEN_NOT_ASKED``. What a person answered is never overruled;
    which of several answers holds is in ``pipelines.consents``.
    """

    when_not_asked: dict[Purpose, Literal["allow", "deny"]] = {}


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
    rate_valid_days: int = Field(default=10, ge=0)  # an exchange rate is used for so many days after its own
    consent: ConsentRules = ConsentRules()
    consent_default: bool | None = None  # of rule files of before: one answer for every purpose that was not asked
    transactions: TransactionRules = TransactionRules()
    sessions: SessionRules = SessionRules()
    standing: StandingRules = StandingRules()
    reliability: ReliabilityRules = ReliabilityRules()
    risk: RiskRules = RiskRules()
    retention: RetentionRules = RetentionRules()
    baskets: BasketRules = BasketRules()
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


class CustomerQualityRules(Frozen):
    """What a person's record should hold, and when it is out of date."""

    attributes: dict[str, float] = {
        "email_address": 5, "phone_number": 4, "last_name": 3, "first_name": 2, "date_of_birth": 2, "address_line_1": 2,
        "zip_code": 2, "city": 1, "state_code": 1, "gender": 1,
    }  # fmt: skip  # column of silver.people to its worth for marketing and identity
    validity: dict[str, Condition] = {}  # attribute to the condition of its format
    consistency: dict[str, Condition] = {}
    fresh_days: int = Field(default=180, ge=0)  # timeliness is 1 up to here after the last sign of life
    stale_days: int = Field(default=1095, gt=0)  # and 0 from here
    needs_data_below: float = Field(default=80, ge=0, le=100)  # quality score of who is asked for more

    @model_validator(mode="after")
    def _ordered(self) -> CustomerQualityRules:
        if self.stale_days <= self.fresh_days:
            raise ValueError(f"stale_days ({self.stale_days}) must lie above fresh_days ({self.fresh_days})")
        if strange := sorted(set(self.validity) - set(self.attributes)):
            raise ValueError(f"validity names {strange}, which are no attributes")
        for name in ("silver.people", "silver.customer_records"):  # when the platform is composed
            if name in TABLES and (strange := sorted(set(self.attributes) - set(TABLES[name].columns()))):
                raise ValueError(f"attributes: {name} has no columns {strange}")
        return self


class AlertRules(Frozen):
    """When a dimension of a table is reported."""

    floors: dict[Dimension, float] = {}
    history: int = Field(default=5, ge=2)  # earlier measurements before the past counts
    deviation: float = Field(default=5, gt=0)  # robust standard deviations below the median of the past
    smallest_drop: float = Field(default=0.01, ge=0)


class ValidationRules(Checks):
    """What quality is measured by: checks of tables and of people, weights, alert floors."""

    version: int = 1
    weights: dict[Dimension, Annotated[float, Field(ge=0)]] = dict.fromkeys(DIMENSIONS, 1.0)
    amount_tolerance: float = Field(default=0.02, ge=0)
    catalogue_price_share: tuple[float, float] = (0.5, 1.5)
    customers: CustomerQualityRules = CustomerQualityRules()
    alerts: AlertRules = AlertRules()


class Audience(Frozen):
    """People of the customer view of whom a condition is true; see ``platform.expressions`` for the language."""

    description: str
    where: str
    columns: list[str] = []  # of the view that an export shows beside the person

    @property
    def condition(self) -> str:
        """In one line, as YAML may fold it."""
        return " ".join(self.where.split("\n"))


class AudienceRules(Frozen):
    """Audiences by name."""

    version: int = 1
    audiences: dict[str, Audience] = {}

    @model_validator(mode="after")
    def _checked(self) -> AudienceRules:
        """Every condition and column against the contract of the customer view, when the platform is composed."""
        view = TABLES.get("gold.customer_360")
        faults = (
            []
            if view is None
            else [f"{name}: {fault}" for name, a in self.audiences.items() for fault in _faults(a, view)]
        )
        if faults:
            raise ValueError("; ".join(faults))
        return self


def _faults(audience: Audience, view: type[Table]) -> list[str]:
    known = view.columns()
    found = [f"{column!r} is no column of gold.customer_360" for column in audience.columns if column not in known]
    found += [f"{c!r} is personal data; an export shows contacts with --contacts only" for c in audience.columns
              if c in pii_columns(view)]  # fmt: skip
    try:
        condition(audience.condition, known, date.min)
    except ExpressionError as fault:
        found.append(str(fault))
    return found


Right = Literal["access", "rectify", "erase", "restrict", "opt_out"]


class RightsRules(Frozen):
    """How long an answer to what people ask for may take, and what needs a proof of who asks."""

    version: int = 1
    law: str = "GDPR"  # of a request that names none
    days: dict[str, Annotated[int, Field(gt=0)]] = {"GDPR": 30, "CCPA": 45}
    without_identity: list[Right] = ["opt_out"]  # fulfilled without a proof: nobody can be harmed by them

    @model_validator(mode="after")
    def _law_is_known(self) -> RightsRules:
        if self.law not in self.days:
            raise ValueError(f"law {self.law!r} has no days; there are {', '.join(sorted(self.days))}")
        return self


Basis = Literal["contract", "legal obligation", "consent", "legitimate interest"]  # Article 6 (1) GDPR: b, c, a, f


class DomainPolicy(Frozen):
    """Who answers for the personal data of a domain, what they are there for, on what legal basis, for how long."""

    owner: str = Field(min_length=1)  # a role, not a name
    purpose: str = Field(min_length=1)
    basis: Basis
    keep_days: int | None = Field(default=None, gt=0)  # None: until the person is erased


def _domain(owner: str, purpose: str, basis: Basis) -> DomainPolicy:
    return DomainPolicy(owner=owner, purpose=purpose, basis=basis)


class PolicyRules(Frozen):
    """The policy of personal data by domain (the module that declares a source table), and where a table keeps its rows
    for another time than its domain. What persons may refuse is the contracts' matter (`platform.purposes`)."""

    version: int = 1
    domains: dict[str, DomainPolicy] = {
        "customers": _domain("customer data", "customer account", "contract"),
        "sales": _domain("finance", "sale, delivery and accounts", "contract"),
        "behavior": _domain("e-commerce", "running and measuring the shop", "legitimate interest"),
        "experiments": _domain("product", "which of two ways serves people better", "legitimate interest"),
        "engagement": _domain("marketing", "messages and what came of them", "consent"),
        "consent": _domain("data protection", "proof of what was allowed", "legal obligation"),
        "service": _domain("customer service", "answering questions and complaints", "contract"),
        "external": _domain("marketing", "what third parties say of customers", "legitimate interest"),
        "identity": _domain("customer data", "telling who is one person", "legitimate interest"),
        "quality": _domain("data engineering", "repair of records that were refused", "legitimate interest"),
    }
    keep_days: dict[str, int | None] = {}  # by table: bronze.events: 730


RULE_FILES: dict[str, type[BaseModel]] = {
    "policy": PolicyRules,
    "standardization": StandardizationRules,
    "enrichment": EnrichmentRules,
    "validation": ValidationRules,
    "audiences": AudienceRules,
    "rights": RightsRules,
}
