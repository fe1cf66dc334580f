"""Thresholds of transactions, baskets, payments and growth."""

from __future__ import annotations

from pydantic import Field

from customer360.platform.settings import Frozen


class TransactionRules(Frozen):
    """Bands of one transaction's total in the reporting currency; a band starts strictly above its floor."""

    high_value_above: float = 500
    medium_value_above: float = 100
    large_basket_above: float = 200
    medium_basket_above: float = 50


class PaymentRiskRules(Frozen):
    """Whose payments are looked at for fraud, and how often an alert may be false."""

    window_days: int = Field(default=365, gt=0)
    least_attempts: int = Field(default=3, ge=1)  # fewer are not judged
    quick_minutes: int = Field(default=60, gt=0)  # an attempt so soon after another is in quick succession
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)  # of alerts, so many by chance
    watch_below: float = Field(default=0.01, gt=0, lt=1)  # p-value of who is worth watching


class GrowthRules(Frozen):
    """What segments are compared on, and how often a gap may be called one by chance."""

    window_days: int = Field(default=365, gt=0)
    least_customers: int = Field(default=30, ge=2)  # of a segment; smaller ones are not judged
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)


class BasketRules(Frozen):
    """Which baskets are looked at for what is bought together, and when a pair counts."""

    window_days: int = Field(default=365, gt=0)
    largest: int = Field(
        default=60, ge=2
    )  # different things in a basket; larger ones are a reseller's, not a shopper's
    least_baskets: int = Field(default=5, ge=2)  # that hold a pair
    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1)
    partners: int = Field(default=50, gt=0)  # kept of each product
