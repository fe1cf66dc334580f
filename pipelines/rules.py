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


class EnrichmentRules(Frozen):
    """Thresholds of the customer view."""

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


RULE_FILES: dict[str, type[BaseModel]] = {"standardization": StandardizationRules, "enrichment": EnrichmentRules}
