"""What an experiment is: `configs/experiments.yaml` as checked values. A wrong key is refused with its line."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal, Self

import polars as pl
from pydantic import Field, StrictBool, StrictInt, StrictStr, ValidationInfo, field_validator, model_validator

from customer360.pipelines.rules import Purpose
from customer360.platform.conditions import ExpressionError, condition
from customer360.platform.settings import Frozen
from customer360.platform.tables import TABLES

Unit = Literal["person", "visitor"]
Share = Annotated[float, Field(ge=0, le=1)]
Known = StrictBool | StrictInt | StrictStr  # a value of an attribute; 1, true and "1" are three
FROZEN = "frozen"  # context of values that were checked when they were kept: contracts may have changed since
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
ROUNDING = 1e-9  # that shares may be off one


KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", str: "a text"}


def _kind_of(dtype: pl.DataType) -> type | None:
    """What a value of a column may be in a condition; None: columns of this type are in none."""
    if dtype == pl.Boolean:
        return bool
    return int if dtype.is_integer() else str if dtype in (pl.String, pl.Categorical, pl.Enum) else None


class Metric(Frozen):
    """A number by subject, of rows of a table with `subject_id` from exposure on; or the ratio of two such numbers.

    ``any``: whether there is a row; ``count``: how many; ``sum``: of ``value``, at most ``cap`` a subject. With ``per``
    the mean is that of all values over that of the metric that ``per`` names, as revenue per order.
    """

    description: str = ""
    table: str = "silver.transactions"
    at: str = "occurred_at"
    where: str = "True"
    measure: Literal["any", "count", "sum"] = "count"
    value: str | None = None
    cap: float | None = Field(default=None, gt=0)
    per: str | None = None
    better: Literal["higher", "lower"] = "higher"

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo) -> Self:
        if info.context == FROZEN:
            return self
        if (self.measure == "sum") != (self.value is not None):
            raise ValueError("measure: sum goes with a value, the column to add up, and no other measure does")
        if self.cap is not None and self.measure != "sum":
            raise ValueError("cap bounds a sum; it has no meaning for any or count")
        if self.table in TABLES:  # when the platform is composed
            self._stands_in(self.table)
        elif "gold.customer_360" in TABLES:
            raise ValueError(f"there is no table {self.table!r}")
        return self

    def _stands_in(self, table: str) -> None:
        columns = TABLES[table].columns()
        for column in ("subject_id", self.at, *([self.value] if self.value else [])):
            if column not in columns:
                raise ValueError(f"{table} has no column {column!r}")
        if not isinstance(columns[self.at].dtype, pl.Datetime):
            raise ValueError(f"at: {table}.{self.at} is no time")
        if self.value and not columns[self.value].dtype.is_numeric():
            raise ValueError(f"value: {table}.{self.value} is no number")
        try:
            condition(self.where, columns, date.min)
        except ExpressionError as fault:
            raise ValueError(f"where: {fault}") from None


class Holdout(Frozen):
    """Subjects who are in no experiment. No report compares them with the others; their exposures are not logged."""

    share: Share = 0.0
    salt: str = "holdout"


class Guardrail(Frozen):
    """A metric that must not get worse by more than ``margin``, a share of the control's."""

    metric: str
    margin: float = Field(gt=0, lt=1)


class Experiment(Frozen):
    """One question. ``arms`` in their order, the first is the control; the first of ``metrics`` decides.

    ``kind`` ab: fixed shares. bandit: shares follow what arms earned (``bandits``). interleaving: two rankers fill one
    list (``interleaving``); the arms are the models whose lists are mixed.
    """

    description: str = Field(min_length=1)
    kind: Literal["ab", "bandit", "interleaving"] = "ab"
    unit: Unit = "person"
    arms: dict[str, Share] = Field(min_length=2)
    share: float = Field(default=1.0, gt=0, le=1)  # of the subjects who qualify
    layer: str | None = None  # experiments of one layer share no subject
    slots: tuple[Share, Share] = (0.0, 1.0)  # from and to, of the layer
    where: dict[str, list[Known]] = {}  # attribute: values that qualify; of persons columns of gold.customer_360
    purpose: Purpose = "PERSONALIZATION"  # who refuses it is in no arm and in no figure
    salt: str = ""  # empty: the name
    metrics: list[str] = Field(min_length=1)
    guardrails: list[Guardrail] = []
    window_days: int = Field(default=14, ge=1, le=365)  # from exposure, in which an outcome counts
    covariate_days: int = Field(default=28, ge=0, le=365)  # before exposure, which reduce variance; 0: none do
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    power: float = Field(default=0.8, gt=0.5, lt=1)
    correction: Literal["holm", "benjamini_hochberg", "none"] = "holm"  # over metrics and arms, guardrails apart
    sequential: bool = True  # intervals that hold however often somebody looks; false: at one look, planned before
    minimum: int = Field(default=100, ge=2)  # subjects an arm with whole windows, below which no figure is told
    algorithm: Literal["thompson", "linucb"] = "thompson"  # of a bandit
    context: list[str] = []  # of linucb: number columns of gold.customer_360
    exploration: float = Field(default=0.05, gt=0, le=1)  # of a bandit: share of subjects who get any arm alike

    @field_validator("arms")
    @classmethod
    def _whole(cls, arms: dict[str, float]) -> dict[str, float]:
        if abs(sum(arms.values()) - 1) > ROUNDING:
            raise ValueError(f"the shares of the arms add up to {sum(arms.values()):g}, not to 1")
        if unnamed := [arm for arm in arms if not NAME.fullmatch(arm)]:
            raise ValueError(f"{unnamed[0]!r} is no name of an arm: small letters, digits and _, a letter first")
        if empty := [arm for arm, share in arms.items() if not share]:
            raise ValueError(f"arm {empty[0]} has share 0: nobody would be in it")
        return arms

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo) -> Self:
        if info.context == FROZEN:
            return self
        if self.slots[0] >= self.slots[1]:
            raise ValueError(f"slots {self.slots[0]:g} to {self.slots[1]:g} hold nobody")
        if self.layer is None and self.slots != (0.0, 1.0):
            raise ValueError("slots are a part of a layer; name the layer")
        if self.kind == "interleaving" and (len(self.arms) != 2 or self.unit != "person"):
            raise ValueError("interleaving mixes the lists of two models, for persons")
        if (self.algorithm == "linucb") != bool(self.context):
            raise ValueError("linucb needs a context, columns of gold.customer_360; thompson takes none")
        if self.algorithm == "linucb" and (self.kind != "bandit" or self.unit != "person"):
            raise ValueError("linucb is an algorithm of bandits over persons")
        self._check_context()
        self._check_where()
        return self

    def _check_context(self) -> None:
        view = TABLES.get("gold.customer_360")
        for column in self.context if view else ():
            if column not in view.columns() or not view.columns()[column].dtype.is_numeric():  # type: ignore[union-attr]
                raise ValueError(f"context: gold.customer_360 has no number column {column!r}")

    def _check_where(self) -> None:
        view = TABLES.get("gold.customer_360")
        if view is None or self.unit != "person":
            return  # of a visitor the caller says whatever it knows
        columns = view.columns()
        for name, values in self.where.items():
            kind = _kind_of(columns[name].dtype) if name in columns else None
            if kind is None:
                raise ValueError(
                    f"where: gold.customer_360 has no column {name!r} of text, whole numbers or yes and no"
                )
            if odd := [value for value in values if type(value) is not kind]:
                raise ValueError(f"where: {name} is {KINDS[kind]}, which {odd[0]!r} is not")

    @property
    def control(self) -> str:
        return next(iter(self.arms))


class ExperimentRules(Frozen):
    """Metrics and experiments by name, and who is held out of all of them."""

    version: int = 1
    holdout: Holdout = Holdout()
    metrics: dict[str, Metric] = {}
    experiments: dict[str, Experiment] = {}

    @model_validator(mode="after")
    def _refers(self) -> Self:
        faults = [
            f"{name!r} is no name of an experiment: small letters, digits and _, a letter first"
            for name in self.experiments if not NAME.fullmatch(name)
        ]  # fmt: skip
        for name, metric in self.metrics.items():
            if metric.per is not None and (metric.per not in self.metrics or self.metrics[metric.per].per is not None):
                faults.append(f"metrics.{name}: per {metric.per!r} is no metric that is not a ratio itself")
        for name, experiment in self.experiments.items():
            named = [*experiment.metrics, *(guard.metric for guard in experiment.guardrails)]
            faults += [f"experiments.{name}: there is no metric {m!r}" for m in named if m not in self.metrics]
            faults += self._reward_faults(name, experiment)
        units: dict[str, set[str]] = {}
        for experiment in self.experiments.values():
            units.setdefault(experiment.layer or "", set()).add(experiment.unit)
        faults += [f"layer {layer!r} has experiments over persons and over visitors, who cannot be kept apart"
                   for layer, both in units.items() if layer and len(both) > 1]  # fmt: skip
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _reward_faults(self, name: str, experiment: Experiment) -> list[str]:
        reward = self.metrics.get(experiment.metrics[0])
        if experiment.kind == "bandit" and experiment.algorithm == "thompson" and reward and reward.measure != "any":
            return [f"experiments.{name}: thompson learns from a metric that is yes or no, measure: any"]
        if experiment.kind != "ab" and reward and (reward.per or reward.better == "lower"):
            return [f"experiments.{name}: what a bandit or a mixed list earns is no ratio, and more of it is better"]
        table = TABLES.get(reward.table) if reward and experiment.kind == "interleaving" else None
        if reward and table is not None and "product_id" not in table.columns():
            return [f"experiments.{name}: {reward.table} has no product_id, by which what is taken of a list is known"]
        return []
