"""Train and tune models from the lake: judge on the last known window, fit on all, register facts and files."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from customer360.models.base import Evaluation, Model, NoProgress, Params, Snapshot
from customer360.models.frames import HORIZON_DAYS
from customer360.models.lifecycle import drift, plots, tuning
from customer360.models.lifecycle import plan as declared
from customer360.models.lifecycle.card import card
from customer360.models.lifecycle.plan import params_of, plan_of, workers_of
from customer360.models.lifecycle.tuning import Tuned, TuningRun
from customer360.platform import telemetry
from customer360.platform.lake import Lake
from customer360.platform.run.executor import ray_session
from customer360.platform.settings import Settings


def registry_of(settings: Settings) -> Any:
    """The configured MLflow store. MLflow is imported here, on first use: it takes seconds."""
    from customer360.models.lifecycle.tracking import Registry, local_registry

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it creates
    if settings.models.tracking_uri:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # by itself it asks a dead server for minutes
        return Registry(settings.models.tracking_uri, f"{Path(settings.state).resolve().as_uri()}/mlflow/artifacts")
    return local_registry(Path(settings.state))


def train(settings: Settings, lake: Lake, model: Model[Any, Any], cut: date) -> Any:
    """Backtest at ``cut`` minus the horizon, fit at ``cut``, register. Returns what was logged.

    The backtest's model knows nothing after its own date; the registered one is fitted anew on everything before
    ``cut`` with the same parameters.
    """
    params, plan, workers = params_of(settings, model), plan_of(model), workers_of(settings, model)
    telemetry.event(f"training {model.name}", as_of=cut, workers=workers)
    judged_at = cut - timedelta(days=horizon_of(params))
    evaluation = backtest(lake, model, params, judged_at)
    evaluation = replace(evaluation, metrics=evaluation.metrics | drift.mean_error(evaluation))
    for name, verdict in evaluation.verdicts.items():
        telemetry.event(f"  {name}: {verdict}")
    versions = {table: lake.version(table) for table in model.tables}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "fitted"
        _fit(settings, lake, model, params, cut, versions, directory, workers)
        described = card(model, params, evaluation, cut, judged_at, versions, plan)
        logged = registry_of(settings).log_model_run(
            model, directory, params, evaluation, cut, versions, card=described, figures=plots.figures(evaluation)
        )
    telemetry.event(f"registered {model.name}", version=logged.version, champion=logged.is_champion)
    return logged


def tune(
    settings: Settings, lake: Lake, model: Model[Any, Any], cut: date, trial_count: int, *, resume: bool, apply: bool
) -> Tuned:
    """Search parameters on windows before the last one, log every trial, and ``apply`` the best for later trainings.

    Runs on Ray Tune, or in this process where the executor is local. Applied parameters are a file below the state
    folder; nothing is applied when no trial beat the parameters in force.
    """
    params, plan = params_of(settings, model), plan_of(model)
    run = TuningRun(
        model=model.name,
        as_of=cut,
        params=params,
        plan=plan,
        trial_count=trial_count,
        horizon_days=horizon_of(params),
        inputs=inputs_of(lake, model),
        versions={table: lake.version(table) for table in model.tables},
    )
    stopping = f"halving of {plan.budget}" if plan.budget else "none: the fit has no budget"
    telemetry.event(f"tuning {model.name}", trials=trial_count, judged_at=run.cuts[0], early_stopping=stopping)
    storage = Path(settings.state) / "tuning"
    if settings.execution.executor == "local":
        tuned = tuning.search(run, storage, on_ray=False, resume=resume)
    else:
        with ray_session(settings.execution, Path(settings.state)):
            tuned = tuning.search(run, storage, on_ray=True, resume=resume)
    figure = plots.trials([t.score for t in tuned.trials], run.objective.metric, tuned.incumbent.score)
    registry_of(settings).log_tuning(tuned, figure)
    telemetry.event(
        f"tuned {model.name}", metric=run.objective.metric, in_force=tuned.incumbent.score, best=tuned.best.score
    )
    if apply and tuned.best.drawn:
        telemetry.event("applied", file=declared.apply(settings, model, tuned.best.drawn))
    return tuned


def horizon_of(params: Params) -> int:
    """Days that follow a cut and judge it."""
    return int(getattr(params, "horizon_days", HORIZON_DAYS))


def inputs_of(lake: Lake, model: Model[Any, Any]) -> dict[str, list[str]]:
    """Parquet files by table, as a worker opens them."""
    return {table: [f"{lake.uri(table)}/{f.path}" for f in lake.files(table)] for table in model.tables}


def backtest(lake: Lake, model: Model[Any, Any], params: Params, at: date) -> Evaluation:
    """Fit with what was known at a past date and judge on what followed."""
    snapshot = snapshot_of(lake, model, at)
    return model.evaluate(model.fit(snapshot, params, NoProgress()), snapshot)


def snapshot_of(lake: Lake, model: Model[Any, Any], at: date) -> Snapshot:
    return Snapshot({table: lake.scan(table) for table in model.tables}, at)


def _fit(
    settings: Settings,
    lake: Lake,
    model: Model[Any, Any],
    params: Params,
    cut: date,
    versions: dict[str, int],
    directory: Path,
    workers: int,
) -> None:
    """Fit on Ray Train, or in this process where the executor is local."""
    if settings.execution.executor == "local":
        directory.mkdir(parents=True)
        model.fit(snapshot_of(lake, model, cut), params, NoProgress()).save(directory)
        return
    inputs = inputs_of(lake, model)
    with ray_session(settings.execution, Path(settings.state)):
        from customer360.models.lifecycle.on_ray import TrainingRun, train_on_ray  # imports Ray: after its token is set

        run = TrainingRun(model.name, cut, params, inputs, versions)
        train_on_ray(run, Path(settings.state) / "training", directory, workers=workers)
