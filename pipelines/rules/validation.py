"""The rule file `validation`: quality of customers, alerts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from customer360.platform.quality.checks import DIMENSIONS, Checks, Condition, Dimension
from customer360.platform.settings import Frozen
from customer360.platform.tables import TABLES


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
