"""Rules of merchandisers, and how much each source and property counts, by placement: `configs/merchandising.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self
from zlib import crc32

import polars as pl
from pydantic import Field, field_validator, model_validator

from customer360.platform.conditions import ExpressionError, condition
from customer360.platform.settings import Frozen
from customer360.platform.tables import Column, Date, Float, Integer, String
from customer360.serve.realtime.ranking.asking import Asked, Placement

Action = Literal["pin", "boost", "bury", "hide", "least_age", "regions"]
SOURCES = ("model", "nearest", "together", "session", "own", "segment", "store", "hour", "popular", "new", "given")

# What a condition on products may name, and one on the moment.
PRODUCT: dict[str, Column] = {
    "product_id": String(),
    "name": String(nullable=True),
    "category": String(nullable=True),
    "subcategory": String(nullable=True),
    "brand": String(nullable=True),
    "price": Float(nullable=True),
    "currency": String(nullable=True),
    "launched_on": Date(nullable=True),
    "margin_rate": Float(nullable=True),
}
MOMENT: dict[str, Column] = {
    "placement": String(),
    "store_id": String(nullable=True),
    "region": String(nullable=True),
    "device": String(nullable=True),
    "hour": Integer(nullable=True),
    "age": Integer(nullable=True),
    "segment": String(nullable=True),
}
OPEN = {name: column for name, column in PRODUCT.items() if name != "margin_rate"}  # what a caller may name


class Rule(Frozen):
    """What is done to the products of a condition, on some placements, at some moments, between two days (both
    included)."""

    do: Action
    where: str
    when: str = ""
    placements: list[Placement] = []  # none: all
    since: date | None = None
    until: date | None = None
    position: int = Field(default=1, ge=1, le=50)  # of a pin: where the first of them stands
    factor: float = Field(default=2.0, gt=0, le=100)  # of a boost
    age: int = Field(default=18, ge=1, le=120)  # of least_age
    regions: list[str] = []  # of regions: where the products may be shown; an unknown region is none of them

    @model_validator(mode="after")
    def _checked(self) -> Self:
        for said, columns in ((self.where, PRODUCT), (self.when, MOMENT)):
            try:
                if said:
                    condition(said, columns, date.min)
            except ExpressionError as fault:
                raise ValueError(str(fault)) from None
        if self.do == "regions" and not self.regions:
            raise ValueError("regions: name the regions where these products may be shown")
        if self.since and self.until and self.since > self.until:
            raise ValueError(f"since {self.since} is after until {self.until}")
        return self

    def holds(self, asked: Asked) -> bool:
        """Whether the rule speaks of this request; on which products, its condition says."""
        if self.placements and asked.placement not in self.placements:
            return False
        if (self.since and asked.on < self.since) or (self.until and asked.on > self.until):
            return False
        return not self.when or _is_moment(self.when, _moment(asked, _named(self.when)), asked.on)

    def acts(self, asked: Asked) -> Action | None:
        """What it does to its products now; None: nothing. Limits of age and region hide, unless they are met."""
        match self.do:
            case "least_age":
                return None if asked.context.age is not None and asked.context.age >= self.age else "hide"
            case "regions":
                return None if asked.context.region in self.regions else "hide"
            case action:
                return action


def _moment(asked: Asked, names: tuple[str, ...]) -> tuple[tuple[str, str | int | None], ...]:
    return tuple((name, asked.placement if name == "placement" else getattr(asked.context, name)) for name in names)


@lru_cache(maxsize=1024)
def _named(when: str) -> tuple[str, ...]:
    """What of a moment a condition looks at."""
    return tuple(sorted(set(condition(when, MOMENT, date.min).meta.root_names())))


@lru_cache(maxsize=8192)
def _is_moment(when: str, moment: tuple[tuple[str, str | int | None], ...], on: date) -> bool:
    types = {name: pl.Int64 if isinstance(MOMENT[name], Integer) else pl.String for name, _ in moment}
    row = pl.DataFrame([dict(moment)], schema=types) if moment else pl.DataFrame({"always": [True]})
    return bool(row.select(condition(when, MOMENT, on).alias("holds")).item())


def check_asked(text: str) -> None:
    """Raises ExpressionError: a caller's condition on products is none."""
    condition(text, OPEN, date.min)


class Ranking(Frozen):
    """How much each source counts (`weights`: of the first of its list; 0: it is not asked), what a candidate gains by
    what it is, and how far the list is mixed."""

    weights: dict[str, Annotated[float, Field(ge=0)]] = {
        "model": 1.0, "nearest": 1.0, "together": 0.8, "session": 0.3, "own": 0.3, "segment": 0.25, "store": 0.25,
        "hour": 0.15, "popular": 0.1, "new": 0.15, "given": 1.0,
    }  # fmt: skip
    interest: float = Field(default=0.3, ge=0)  # share of the person's likeliest categories, or what somebody new said
    activity: float = Field(default=0.3, ge=0)  # share of the session's products in the category
    margin: float = Field(default=0.0, ge=0)  # times the margin rate
    freshness: float = Field(default=0.0, ge=0)  # times a share that halves every 30 days after the launch
    diversity: float = Field(default=0.2, ge=0, lt=1)  # what each further product of a category loses
    learned: bool = True  # the order of the trained ranker, where the publication has one for the placement
    most_per_category: int | None = Field(default=None, ge=1)  # of one category among those that are shown at once

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """As JSON holds it."""
        return self.model_dump(mode="json")

    @field_validator("weights")
    @classmethod
    def _are_sources(cls, weights: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(weights) - set(SOURCES)):
            raise ValueError(f"no sources are called {', '.join(unknown)}; there are {', '.join(SOURCES)}")
        return weights


class MerchandisingRules(Frozen):
    """Ranking by placement (`default` for the others), and rules by name. Of several rules on a product, hiding wins,
    then a pin, then burying; boosts multiply."""

    version: int = 1
    ranking: dict[Placement | Literal["default"], Ranking] = {}
    rules: dict[str, Rule] = {}

    @cached_property
    def digest(self) -> str:
        """Tells these rules from others."""
        return f"{crc32(self.model_dump_json().encode()):08x}"

    def of(self, placement: Placement) -> Ranking:
        """The ranking of a placement: what the file says, laid over the built-in one."""
        return self._rankings[placement]

    @cached_property
    def _rankings(self) -> Mapping[str, Ranking]:
        said = {str(name): ranking for name, ranking in self.ranking.items()}
        return {
            placement: _laid_over(built_in, said.get(placement) or said.get("default"))
            for placement, built_in in DEFAULT.items()
        }

    def holding(self, asked: Asked) -> Mapping[str, tuple[Action, Rule]]:
        """The rules that do something to this request, and what."""
        return {
            name: (action, rule)
            for name, rule in self.rules.items()
            if rule.holds(asked) and (action := rule.acts(asked)) is not None
        }


def _laid_over(built_in: Ranking, said: Ranking | None) -> Ranking:
    if said is None:
        return built_in
    named = {name: getattr(said, name) for name in said.model_fields_set}
    if "weights" in named:
        named["weights"] = built_in.weights | said.weights
    return built_in.model_copy(update=named)


_ALONE = {"given": 1.0, "model": 0.3, "nearest": 0.3, "session": 0.1, "own": 0.2, "segment": 0.1, "popular": 0.05}
DEFAULT: dict[str, Ranking] = {
    "home": Ranking(),
    "email": Ranking(),
    "product": Ranking(weights=Ranking().weights | {"together": 1.5, "model": 0.5}),
    "cart": Ranking(weights=Ranking().weights | {"together": 1.5, "model": 0.5}),
    "search": Ranking(weights=_ALONE, interest=0.1, activity=0.1, diversity=0.0),
}

__all__ = ["MOMENT", "OPEN", "PRODUCT", "ExpressionError", "MerchandisingRules", "Ranking", "Rule", "check_asked"]
