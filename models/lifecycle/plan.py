"""What a model's file declares: parameters, how they are searched, what is judged, what it must not break, when it is
due.

`configs/models/<name>.yaml` holds the parameters at its top level, and beside them the sections of `Plan`. Parameters
come from that file, then from what a tuning applied (`<state>/models/<name>.yaml`), then from
`models.parameters.<name>` of the settings; the later wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from customer360.models.base import Model, Params
from customer360.platform import settings as configuration
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings


class Section(BaseModel):
    """Base of the sections: frozen, an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Choices(Section):
    """One of a few values, each as likely."""

    choices: tuple[Any, ...] = Field(min_length=1)

    def draw(self, rng: np.random.Generator) -> Any:
        return self.choices[int(rng.integers(len(self.choices)))]

    def ends(self) -> tuple[Any, ...]:
        """Every value, to be checked against the type of the parameter."""
        return self.choices


class Range(Section):
    """Any value between `low` and `high`, both included; whole numbers where both are; `log` draws magnitudes
    evenly."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _is_range(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0, not at {self.low}")
        return self

    def draw(self, rng: np.random.Generator) -> int | float:
        ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        found = float(rng.uniform(*ends))
        value = min(max(math.exp(found) if self.log else found, self.low), self.high)
        return round(value) if isinstance(self.low, int) and isinstance(self.high, int) else value

    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)


Searched = Annotated[Choices | Range, BeforeValidator(lambda v: {"choices": v} if isinstance(v, list) else v)]


class Objective(Section):
    """The metric of `evaluate` that decides, and which way is better; tuning takes its mean over `windows`."""

    metric: str
    direction: Literal["max", "min"]
    windows: int = Field(default=1, ge=1)

    def better(self, one: float, other: float) -> bool:
        return one > other if self.direction == "max" else one < other


class Limits(Section):
    """Bounds of a metric; a value beyond them breaks the guardrail, so does a metric that is absent or no number."""

    min: float | None = None
    max: float | None = None

    def broken_by(self, value: float | None) -> str | None:
        """Why, or None when the value keeps within the bounds."""
        if value is None or math.isnan(value):
            return "is not known"
        if self.min is not None and value < self.min:
            return f"is {value:.4g}, at least {self.min:g} is needed"
        if self.max is not None and value > self.max:
            return f"is {value:.4g}, at most {self.max:g} is allowed"
        return None


class Retrain(Section):
    """When a new challenger is due: the champion's age in days, or an alert of `drift`."""

    after_days: int = Field(default=30, ge=1)
    on_drift: bool = True


class Plan(Section):
    """What a model's file says beside its parameters. `budget` names the whole-number parameter whose size is the cost
    of a fit (rounds, epochs): trials get a part of it first, and the worse ones no more."""

    search: dict[str, Searched] = {}
    objective: Objective | None = None
    budget: str | None = None
    guardrails: dict[str, Limits] = {}
    baseline: str | None = Field(
        default=None, description="comparison of `evaluate` that a first champion may not lose"
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        description="how much worse a challenger's lower bound may be, in the units of the comparison",
    )
    retrain: Retrain = Retrain()
    limits: tuple[str, ...] = ()  # what the model is not good for: lines of its card

    def broken(self, metrics: Mapping[str, float]) -> str:
        """Every guardrail that figures break, in words; empty when all hold."""
        found = {name: limits.broken_by(metrics.get(name)) for name, limits in self.guardrails.items()}
        return "; ".join(f"{name} {why}" for name, why in found.items() if why)

    def refusal(self, metrics: Mapping[str, float], verdicts: Mapping[str, str]) -> str:
        """Why a model may not be the first champion; empty when it may. There is no version to compare it with: its
        baseline stands in for one.
        """
        if broken := self.broken(metrics):
            return f"guardrail broken: {broken}"
        if self.baseline is not None and verdicts.get(self.baseline) == "worse":
            return f"worse than its baseline ({self.baseline})"
        return ""


def params_of(settings: Settings, model: Model[Any, Any]) -> Params:
    """The parameters in force.

    Raises:
        ConfigError: a key is unknown or a value is out of range; the model and key are named.
    """
    applied = applied_file(settings, model)
    values = _content(model.name)[0]
    if applied.exists():
        values = _overridden(values, configuration.read_yaml(applied))
    return typed(model, _overridden(values, settings.models.parameters.get(model.name, {})))


def workers_of(settings: Settings, model: Model[Any, Any]) -> int:
    """Workers that share a fit of the model on Ray Train.

    Raises ConfigError when there are several and the model's fit cannot be shared, or fits run in this process.
    """
    workers = settings.models.workers.get(model.name, 1)
    asked = f"models.workers.{model.name} is {workers}"
    if workers > 1 and not model.shares_fit:
        raise ConfigError(f"{asked}, but workers cannot share its fit: each would fit the whole; take the key out")
    if workers > 1 and settings.execution.executor == "local":
        raise ConfigError(
            f"{asked}, but execution.executor is local, where a fit has one worker: set ray, or take it out"
        )
    return workers


def plan_of(model: Model[Any, Any]) -> Plan:
    """The sections of the model's file, checked against its parameters.

    Raises:
        ConfigError: a section is wrong, or the search names a parameter or value that the model does not take.
    """
    values, sections = _content(model.name)
    try:
        plan = Plan.model_validate(sections)
    except ValidationError as fault:
        raise ConfigError(f"models/{model.name}.yaml:\n" + _lines(fault)) from None
    for key, searched in plan.search.items():
        for value in searched.ends():
            typed(model, placed(values, {key: value}), f"search of {model.name}")
    if plan.budget is not None and not isinstance(getattr(typed(model, values), plan.budget, None), int):
        raise ConfigError(f"budget of {model.name}: {plan.budget} is no whole-number parameter")
    return plan


def typed(model: Model[Any, Any], values: Mapping[str, Any], what: str = "") -> Params:
    """Values as the model's parameters. Raises ConfigError, which names each faulty key."""
    try:
        return model.params.model_validate(values)
    except ValidationError as fault:
        raise ConfigError(f"{what or 'parameters of ' + model.name}:\n" + _lines(fault)) from None


def placed(values: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Values with drawn ones in their place; a key with dots reaches into a nested parameter."""
    found = dict(values)
    for key, value in drawn.items():
        first, _, rest = key.partition(".")
        found[first] = placed(found.get(first) or {}, {rest: value}) if rest else value
    return found


def apply(settings: Settings, model: Model[Any, Any], drawn: Mapping[str, Any]) -> Path:
    """Put drawn parameters in force for the next training. Returns the file, which may be deleted to go back."""
    file = applied_file(settings, model)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(yaml.safe_dump(placed({}, drawn), sort_keys=True))
    partial.replace(file)
    return file


def applied_file(settings: Settings, model: Model[Any, Any]) -> Path:
    """Where `apply` writes."""
    return Path(settings.state) / "models" / f"{model.name}.yaml"


def _content(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's file: parameters and sections. Without a file both are empty."""
    file = configuration.find(f"models/{name}.yaml")
    content = configuration.read_yaml(file) if file.exists() else {}
    sections = {key: content.pop(key) for key in list(Plan.model_fields) if key in content}
    return content, sections


def _overridden(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others over them; nested ones key by key, so that an applied part keeps the rest."""
    found = dict(below)
    for key, value in above.items():
        held = found.get(key)
        found[key] = _overridden(held, value) if isinstance(held, dict) and isinstance(value, Mapping) else value
    return found


def _lines(fault: ValidationError) -> str:
    return "\n".join(f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors())
