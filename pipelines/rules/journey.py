"""The rule file `journey`: which touchpoint is of which stage, where a journey ends, and the funnels."""

from __future__ import annotations

from typing import Literal

import polars as pl
from pydantic import Field, field_validator, model_validator

from customer360.pipelines.vocabulary import JourneyStage
from customer360.platform.settings import Frozen

SEGMENTS = ("channel", "device_type")  # columns of the first step by which a funnel may be told


class Touch(Frozen):
    """Which touchpoints are meant: of one of the kinds, actions and channels that are named; none named means any."""

    kinds: list[str] = []
    actions: list[str] = []
    channels: list[str] = []

    @model_validator(mode="after")
    def _says_something(self) -> Touch:
        if not (self.kinds or self.actions or self.channels):
            raise ValueError("names no kinds, actions or channels, so it means every touchpoint")
        return self

    def matches(self) -> pl.Expr:
        """Whether a row of silver.touchpoints is one."""
        named = {"kind": self.kinds, "action": self.actions, "channel": self.channels}
        return pl.all_horizontal(pl.col(column).is_in(words) for column, words in named.items() if words)


class StageRule(Touch):
    """Touchpoints of a stage; the first rule that fits counts."""

    stage: JourneyStage


class Step(Touch):
    """A step of a funnel."""

    name: str = Field(min_length=1)


class Funnel(Frozen):
    """Steps that people go through within days of the first, each person once a month: the attempt that got furthest.

    ordered: in the order of the steps, other touchpoints between them; strict: each at once after the other, nothing
    else that the person did between; any: whichever comes first.
    """

    description: str = ""
    order: Literal["ordered", "strict", "any"] = "ordered"
    within_days: int = Field(default=7, gt=0)
    by: list[Literal["channel", "device_type"]] = []
    steps: list[Step]

    @field_validator("steps")
    @classmethod
    def _named_once(cls, steps: list[Step]) -> list[Step]:
        names = [step.name for step in steps]
        if len(steps) < 2 or len(set(names)) < len(names):
            raise ValueError(f"needs two steps at least, each with a name of its own, got {names}")
        return steps


STAGE_RULES = [
    StageRule(stage="SERVICE", actions=["COMPLAINT"]),
    StageRule(stage="LOYALTY", kinds=["LOYALTY", "FEEDBACK"]),
    StageRule(stage="LOYALTY", actions=["REVIEW", "REFERRAL"]),
    StageRule(stage="SERVICE", kinds=["SERVICE", "RETURN"]),
    StageRule(stage="CONVERSION", kinds=["PURCHASE"]),
    StageRule(
        stage="CONSIDERATION", kinds=["BROWSING"],
        actions=["PRODUCT_VIEW", "WISHLIST_ADD", "CART_ADD", "CART_REMOVE", "CHECKOUT_START"],
    ),
    StageRule(stage="CONSIDERATION", actions=["CONSULTATION", "SAMPLE", "TRIAL", "QUOTE"]),
]  # fmt: skip
ONLINE = Funnel(
    description="Visit, look, basket, order", within_days=7, by=["channel", "device_type"],
    steps=[
        Step(name="visit", kinds=["VISIT"]),
        Step(name="product", kinds=["BROWSING"], actions=["PRODUCT_VIEW"]),
        Step(name="basket", kinds=["BROWSING"], actions=["CART_ADD"]),
        Step(name="purchase", kinds=["PURCHASE"]),
    ],
)  # fmt: skip
MESSAGES = Funnel(
    description="Message, opening, click, purchase", within_days=14, by=["channel"],
    steps=[
        Step(name="delivered", kinds=["MESSAGE"], actions=["DELIVERED"]),
        Step(name="opened", kinds=["MESSAGE"], actions=["OPENED"]),
        Step(name="clicked", kinds=["MESSAGE"], actions=["CLICKED"]),
        Step(name="purchase", kinds=["PURCHASE"]),
    ],
)  # fmt: skip
SERVED = Funnel(
    description="Purchase, question, purchase again", within_days=90,
    steps=[
        Step(name="purchase", kinds=["PURCHASE"]),
        Step(name="service", kinds=["SERVICE"]),
        Step(name="next purchase", kinds=["PURCHASE"]),
    ],
)  # fmt: skip


class JourneyRules(Frozen):
    """Stages, journeys, funnels and paths."""

    version: int = 1
    stages: list[StageRule] = STAGE_RULES
    other_stage: JourneyStage = "AWARENESS"
    # of messages and of the feed: what happens to people and is nothing that they did; it makes no journey
    passive_actions: list[str] = ["SENT", "DELIVERED", "BOUNCED", "FAILED", "IMPRESSION"]
    gap_days: int = Field(default=30, gt=0)  # a journey ends after so many days of silence
    path_days: int = Field(default=30, gt=0)  # touchpoints so long before a purchase are its path
    path_steps: int = Field(default=6, gt=1)  # the last ones of a path that are told
    paths: int = Field(default=100, gt=0)  # the most frequent are told, the others together
    funnels: dict[str, Funnel] = {"online": ONLINE, "message": MESSAGES, "service": SERVED}
    history_months: int = Field(default=12, gt=1)  # of funnels
    least_entries: int = Field(default=50, ge=20)  # people at a step, before it is compared
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)  # of the steps that are called bottlenecks
    smallest_drop: float = Field(default=0.01, ge=0, lt=1)  # of a rate, that is worth telling
    confidence: float = Field(default=0.95, gt=0.5, lt=1)  # of every interval
    repeat_days: int = Field(default=7, gt=0)  # a contact so soon after another of the same matter is a repeat

    def stage(self) -> pl.Expr:
        """The stage of a row of silver.touchpoints."""
        chosen = [pl.when(rule.matches()).then(pl.lit(rule.stage)) for rule in self.stages]
        return pl.coalesce(*chosen, pl.lit(self.other_stage))
