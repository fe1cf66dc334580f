"""The rule file `loyalty`: what a point is worth, the order of the tiers, and when there is enough to judge by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from customer360.platform.settings import Frozen


class LoyaltyRules(Frozen):
    """Thresholds of points, tiers and rewards."""

    version: int = 1
    point_value: float = Field(default=0.01, ge=0)  # of one point, when it is redeemed
    point_currency: str | None = Field(default=None, pattern="^[A-Z]{3}$")  # None: the reporting currency
    age_bands: list[Annotated[int, Field(gt=0)]] = [3, 6, 12, 24]  # months since points were earned; bands begin here
    least_accounts: int = Field(default=100, ge=20)  # with lots, before breakage is estimated
    settled_below: float = Field(default=0.02, ge=0, lt=1)  # share of points still open, from which breakage is final
    tiers: list[str] = ["BRONZE", "SILVER", "GOLD", "PLATINUM"]  # the lowest first
    tier_history_months: int = Field(default=12, gt=0)
    least_members: int = Field(default=20, gt=0)  # of a tier, before a rate of leaving it is told
    reward_window_days: int = Field(default=90, gt=0)  # spending after a redemption, and before it
    least_redemptions: int = Field(default=50, ge=20)  # comparable ones, before an effect is told
    confidence: float = Field(default=0.95, gt=0.5, lt=1)  # of every interval

    @model_validator(mode="after")
    def _ordered(self) -> LoyaltyRules:
        if self.age_bands != sorted(set(self.age_bands)):
            raise ValueError(f"age_bands must rise, got {self.age_bands}")
        if len(set(self.tiers)) != len(self.tiers):
            raise ValueError(f"tiers names one twice: {self.tiers}")
        return self
