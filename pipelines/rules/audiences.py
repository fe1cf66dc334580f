"""The rule file `audiences`."""

from __future__ import annotations

from datetime import date

from pydantic import model_validator

from customer360.platform.conditions import ExpressionError, condition
from customer360.platform.settings import Frozen
from customer360.platform.tables import TABLES, Table, pii_columns


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
