"""Vendors and stock."""

from __future__ import annotations

from pydantic import Field

from customer360.platform.settings import Frozen


class SupplyRules(Frozen):
    """How vendors are judged, and stock is planned."""

    window_days: int = Field(default=365, gt=0)
    settle_days: int = Field(default=60, ge=0)  # younger orders tell no lead time: only the quick ones have come
    grace_days: int = Field(default=0, ge=0)  # after the promise still counts as on time
    full_from: float = Field(default=1.0, gt=0, le=1)  # of the ordered quantity
    least_lines: int = Field(default=10, ge=2)  # of a vendor that is ranked
    demand_days: int = Field(default=182, ge=28)
    least_demand_days: int = Field(default=56, ge=14)
    least_units: int = Field(default=20, ge=2)
    service_level: float = Field(default=0.95, gt=0.5, lt=1)  # share of order cycles without a stock-out
