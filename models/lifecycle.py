"""Train a model from the lake: judge it on the last known window, fit it on all, register both facts and files."""

from __future__ import annotations

import logging
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from customer360.models.base import Evaluation, Model, NoProgress, Params, Snapshot
from customer360.models.frames import HORIZON_DAYS
from customer360.platform import settings as configuration
from customer360.platform import telemetry
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.settings import Settings


def registry_of(settings: Settings) -> Any:
    """The configured MLflow store. MLflow is imported here, on first use: it takes seconds."""
    from customer360.models.tracking import Registry, local_registry

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it creates
    if settings.models.tracking_uri:
        return Registry(settings.models.tracking_uri, f"{Path(settings.state).resolve().as_uri()}/mlflow/artifacts")
    return local_registry(Path(settings.state))


def params_of(settings: Settings, model: Model[Any, Any]) -> Params:
    """Parameters: the model's own file, overridden by ``models.parameters.<name>`` of the settings.

    Raises:
        ConfigError: a key is unknown or a value is out of range; the model and key are named.
    """
    file = configuration.find(f"models/{model.name}.yaml")
    defaults = configuration.read_yaml(file) if file.exists() else {}
    try:
        return model.params.model_validate({**defaults, **settings.models.parameters.get(model.name, {})})
    except ValidationError as fault:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors()]
        raise ConfigError(f"parameters of {model.name}:\n" + "\n".join(lines)) from None


def train(settings: Settings, lake: Lake, model: Model[Any, Any], cut: date) -> Any:
    """Backtest at ``cut`` minus the horizon, fit at ``cut``, register. Returns what was logged.

    The backtest's model knows nothing after its own date; the registered one is fitted anew on everything before
    ``cut`` with the same parameters.
    """
    params = params_of(settings, model)
    telemetry.event(f"training {model.name}", as_of=cut)
    evaluation = backtest(lake, model, params, cut - timedelta(days=HORIZON_DAYS))
    for name, verdict in evaluation.verdicts.items():
        telemetry.event(f"  {name}: {verdict}")
    versions = {table: lake.version(table) for table in model.tables}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "fitted"
        _fit(settings, lake, model, params, cut, versions, directory)
        logged = registry_of(settings).log_model_run(model, directory, params, evaluation, cut, versions)
    telemetry.event(f"registered {model.name}", version=logged.version, champion=logged.is_champion)
    return logged


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
) -> None:
    """Fit on a Ray Train worker, or in this process where the executor is local."""
    if settings.execution.executor == "local":
        directory.mkdir(parents=True)
        model.fit(snapshot_of(lake, model, cut), params, NoProgress()).save(directory)
        return
    from customer360.platform.run.executor import ray_session

    inputs = {table: [f"{lake.uri(table)}/{f.path}" for f in lake.files(table)] for table in model.tables}
    with ray_session(settings.execution, Path(settings.state)):
        from customer360.models.training import TrainingRun, train_on_ray  # imports Ray: after its token is set

        train_on_ray(
            TrainingRun(model.name, cut, params, inputs, versions), Path(settings.state) / "training", directory
        )
