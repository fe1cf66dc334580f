"""Thresholds of the customer view: value, standing, trust in others, risk, retention, consent."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from customer360.platform.settings import Frozen

Purpose = Literal["PERSONALIZATION", "PROFILING", "TRAINING", "EMAIL", "SMS", "PHONE", "PUSH"]


WHEN_NOT_ASKED: dict[str, str] = dict.fromkeys(get_args(Purpose), "deny") | dict.fromkeys(
    ("PERSONALIZATION", "PROFILING", "TRAINING"), "allow"
)


class ValueBand(Frozen):
    """A customer belongs to the first band whose floors are passed (all strictly)."""

    name: str
    spent_above: float
    orders_above: int = 0


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
    "payment_alert": 0.5,
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
    channel: Literal["EMAIL", "SMS", "PHONE", "PUSH"] | None = None  # only for whom it is permitted
    members_only: bool = False  # of the loyalty programme


class RetentionRules(Frozen):
    """Who stands on the retention worklist, and what is done; amounts in the reporting currency."""

    risk_from: float = Field(default=0.4, ge=0, le=1)
    stake_from: float = 20
    size: int = Field(default=1000, gt=0)  # customers that a team can work through
    late_from_gaps: float = 2  # silent for so many of the customer's own mean gaps
    declining_from: float = Field(default=0.5, ge=0, le=1)  # order trend of the last 90 days against those before
    actions: list[RetentionAction] = [
        RetentionAction(name="PERSONAL_CALL", stake_from=500, channel="PHONE"),
        RetentionAction(name="WIN_BACK_OFFER", stake_from=100, risk_from=0.7),
        RetentionAction(name="LOYALTY_REWARD", stake_from=100, members_only=True),
    ]
    other_action: str = "REMINDER"

    @model_validator(mode="after")
    def _told_apart(self) -> RetentionRules:
        names = [action.name for action in self.actions] + [self.other_action]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"actions need names of their own, other_action included; twice: {', '.join(twice)}")
        return self


class ConsentRules(Frozen):
    """What is done where nobody answered: silence is no consent, so contacts need a yes unless a buyer says otherwise.

    A purpose that a rule file does not name stays as in ``WHEN_NOT_ASKED``. What a person answered is never overruled;
    which of several answers holds is in ``pipelines.consents``.
    """

    when_not_asked: dict[Purpose, Literal["allow", "deny"]] = {}
