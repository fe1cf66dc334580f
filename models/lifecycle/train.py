"""Train and tune models from the lake: judge on the last known window, fit on all, register facts and files."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from customer360.models.base import Evaluation, Model, NoProgress, Params
from customer360.models.lifecycle import drift, plots, tuning
from customer360.models.lifecycle import plan as declared
from customer360.models.lifecycle.card import card
from customer360.models.lifecycle.fit import Fit
from customer360.models.lifecycle.job import ModelJob, denying, horizon_of, needs, snapshot_of
from customer360.models.lifecycle.plan import workers_of
from customer360.models.lifecycle.tuning import Tuned, TuningRun
from customer360.platform import telemetry
from customer360.platform.lake import Lake
from customer360.platform.privacy import erasures
from customer360.platform.run.executor import ray_session


def train(job: ModelJob) -> Any:
    """Backtest at the cut minus the horizon, fit at the cut, register. Returns what was logged.

    The backtest's model knows nothing after its own date; the registered one is fitted anew on everything before
    the cut with the same parameters.
    """
    model, params, plan, workers = job.model, job.params, job.plan, workers_of(job.settings, job.model)
    telemetry.event(f"training {model.name}", as_of=job.cut, workers=workers)
    withheld = denying(job.lake, model, fitting=True)
    if withheld:
        said = " or ".join(sorted(needs(model, fitting=True))).lower()
        telemetry.event(f"  {len(withheld):,} people withheld from the fit: {said} refused")
    evaluation = backtest(job.lake, model, params, job.last_window)
    evaluation = replace(evaluation, metrics=evaluation.metrics | drift.mean_error(evaluation))
    telemetry.event(f"judged {model.name}", window_from=job.last_window, **_figures(evaluation))
    for name, verdict in evaluation.verdicts.items():
        telemetry.event(f"  {name}: {verdict}")
    fit = Fit(model, params, job.cut, job.versions(), job.content(), withheld)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "fitted"
        _fit(job, fit, directory, workers)
        versions = {each.version: each.registered_at for each in job.registry.versions(model.name)}
        described = card(fit, evaluation, job.last_window, plan, erasures(job.lake), versions)
        refused = plan.refusal(evaluation.metrics, evaluation.verdicts)
        logged = job.registry.log_model_run(
            fit, directory, evaluation, card=described, figures=plots.figures(evaluation), refused=refused
        )
    telemetry.event(f"registered {model.name}", version=logged.version, champion=logged.is_champion)
    if not logged.is_champion and refused and job.registry.champion_version(model.name) is None:
        telemetry.event(
            f"  {model.name} version {logged.version} is not in use: {refused}; `customer360 promote {model.name} "
            f"{logged.version} --force --reason TEXT` overrules that and keeps the reason"
        )
    elif not logged.is_champion:
        telemetry.event(
            f"  {model.name} has a champion, version {job.champion()}, and only the gate replaces one: "
            f"`customer360 promote {model.name} {logged.version}` compares both on the same customers"
        )
    return logged


def _figures(evaluation: Evaluation) -> dict[str, str]:
    """The metrics of a backtest as they are printed."""
    return {name: f"{value:.4g}" for name, value in evaluation.metrics.items()}


def tune(job: ModelJob, trial_count: int, *, resume: bool, apply: bool) -> Tuned:
    """Search parameters on windows before the last one, log every trial, and ``apply`` the best for later trainings.

    Runs on Ray Tune, or in this process where the executor is local. Applied parameters are a file below the state
    folder; nothing is applied when no trial beat the parameters in force.
    """
    model, params, plan, settings = job.model, job.params, job.plan, job.settings
    run = TuningRun(
        model=model.name,
        as_of=job.cut,
        params=params,
        plan=plan,
        trial_count=trial_count,
        horizon_days=horizon_of(params),
        inputs=job.inputs(),
        versions=job.versions(),
        content=job.content(),
        firms=job.firms(),
        storage_options=job.lake.storage_options,
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
    job.registry.log_tuning(tuned, figure)
    telemetry.event(
        f"tuned {model.name}", metric=run.objective.metric, in_force=tuned.incumbent.score, best=tuned.best.score
    )
    if apply and tuned.best.drawn:
        telemetry.event("applied", file=declared.apply(settings, model, tuned.best.drawn))
    return tuned


def backtest(lake: Lake, model: Model[Any, Any], params: Params, at: date) -> Evaluation:
    """Fit with what was known at a past date and judge on what followed."""
    snapshot = snapshot_of(lake, model, at)
    return model.evaluate(model.fit(snapshot, params, NoProgress()), snapshot)


def _fit(job: ModelJob, fit: Fit, directory: Path, workers: int) -> None:
    """Fit on Ray Train, or in this process where the executor is local."""
    settings = job.settings
    if settings.execution.executor == "local":
        directory.mkdir(parents=True)
        fit.model.fit(job.snapshot(fit.as_of), fit.params, NoProgress()).save(directory)
        return
    inputs, firms, options = job.inputs(), job.firms(), job.lake.storage_options
    with ray_session(settings.execution, Path(settings.state)):
        from customer360.models.lifecycle.on_ray import TrainingRun, train_on_ray  # imports Ray: after its token is set

        run = TrainingRun(fit.model.name, fit.as_of, fit.params, inputs, fit.content, firms, options)
        train_on_ray(run, Path(settings.state) / "training", directory, workers=workers)
