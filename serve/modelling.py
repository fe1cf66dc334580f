"""What commands and submitted jobs do with models: train, tune and retrain them. They only log."""

from __future__ import annotations

from datetime import date
from typing import Any

from customer360.models.base import MODELS, Model, NotEnough
from customer360.models.lifecycle import promotion
from customer360.models.lifecycle import train as training
from customer360.models.lifecycle.history import History, history
from customer360.models.lifecycle.job import ModelJob
from customer360.models.lifecycle.promotion import Outcome
from customer360.models.lifecycle.tuning import Tuned
from customer360.pipelines import last_complete_day_end
from customer360.platform import telemetry
from customer360.platform.errors import ModelError
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings


def train(settings: Settings, name: str, as_of: date | None) -> None:
    """Train one model, or all, as of a date; the result is registered and judged.

    Of all, those that the data have no history for are left out, each with a line that says so.

    Raises:
        ModelError: the model is unknown; the known ones are named. Or no model has the history that it needs.
    """
    names = sorted(MODELS) if name == "all" else [name]
    models = [known_model(each) for each in names]
    lake = lake_of(settings)
    cut = as_of or last_complete_day_end(lake, settings.zones)
    short = []
    for job in (ModelJob(settings, lake, model, cut) for model in models):
        told = history(job)
        if not told.suffices:
            short.append(told.text)
            telemetry.event(f"not trained: {told.text}")
            continue
        telemetry.event(told.text)
        try:
            with telemetry.heartbeat(f"training {job.model.name} as of {cut}"):
                training.train(job)
        except NotEnough as lack:
            short.append(str(lack))
            telemetry.event(f"not trained: {lack}")
    if len(short) == len(models):
        reason = short[0] if len(short) == 1 else f"none of {len(short)} models has the history that it needs"
        raise ModelError(f"as of {cut}, {reason}; `customer360 models` lists what each needs")


def histories(settings: Settings, as_of: date | None) -> list[History]:
    """The history that each model needs, and what there is of it as of a date.

    Raises:
        TableMissing: the tables that models read were not built.
    """
    lake = lake_of(settings)
    cut = as_of or last_complete_day_end(lake, settings.zones)
    return [history(ModelJob(settings, lake, MODELS[name], cut)) for name in sorted(MODELS)]


def tune(settings: Settings, name: str, as_of: date | None, trial_count: int, *, resume: bool, apply: bool) -> Tuned:
    """Search the parameters of one model as of a date."""
    return training.tune(model_job(settings, name, as_of), trial_count, resume=resume, apply=apply)


def model_job(settings: Settings, name: str, as_of: date | None) -> ModelJob:
    """One model with what is needed to train, judge and promote it as of a date."""
    model, lake = known_model(name), lake_of(settings)
    return ModelJob(settings, lake, model, as_of or last_complete_day_end(lake, settings.zones))


def retrain(settings: Settings, name: str, as_of: date | None) -> list[Outcome]:
    """Retrain one model, or all, where it is due; see ``promotion.retrain``."""
    names = sorted(MODELS) if name == "all" else [name]
    return [promotion.retrain(model_job(settings, each, as_of)) for each in names]


def known_model(name: str) -> Model[Any, Any]:
    """A model by name. Raises ModelError that names the known ones."""
    if name not in MODELS:
        raise ModelError(f"no model {name!r}; there are {', '.join(sorted(MODELS))}")
    return MODELS[name]
