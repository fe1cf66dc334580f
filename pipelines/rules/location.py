"""Catchments of stores."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from customer360.platform.settings import Frozen


class LocationRules(Frozen):
    """Catchments of stores, and from how many people on an area is spoken of."""

    least_people: int = Field(default=10, ge=2)  # areas of fewer customers are folded into larger ones
    window_days: int = Field(default=365, gt=0)
    distance_bands_km: list[Annotated[float, Field(gt=0)]] = Field(default=[5, 10, 25, 50], min_length=1)
    trade_area_share: float = Field(default=0.8, gt=0, lt=1)  # of a store's sales, held by its trade area
    visit_purchase_minutes: int = Field(default=240, gt=0)  # a purchase so long after entering is of the visit
    clock_minutes: int = Field(default=10, ge=0)  # by which clocks of tills and networks differ
    new_store_km: float = Field(default=25, gt=0)  # areas within lose sales to a new store; those beyond twice do not
    new_store_days: int = Field(default=182, ge=28)  # compared before and after the opening
    least_areas: int = Field(default=8, ge=3)  # on either side of a comparison
    reach_km: float = Field(default=50, gt=0)  # from which a new store is expected to draw customers
    white_space_size: int = Field(default=100, gt=0)  # places that are ranked
