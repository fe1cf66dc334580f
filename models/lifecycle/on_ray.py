"""Fitting a model on Ray Train: workers read Parquet, fit as in process, and the first hands back the fitted files.

A run is named by what goes into it (model, date, parameters, code, and the rows themselves: `content`). Starting it
again goes on from its last checkpoint; a finished run is not fitted twice. The worker reports once a checkpoint: every
report waits for the controller's poll (about two seconds), and Ray's own XGBoost callback reports each boosting round
whatever its frequency says. How many workers share a fit is no part of its name: a checkpoint of one serves two, and
their weights differ by rounding alone.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.xgboost import XGBoostTrainer

from customer360.models.base import Params, Snapshot, find, fingerprint
from customer360.models.lifecycle import content
from customer360.platform.errors import ModelError

TRAINERS: dict[str, type[DataParallelTrainer]] = {
    "plain": DataParallelTrainer,
    "xgboost": XGBoostTrainer,
    "torch": TorchTrainer,
}
FITTED, UNFINISHED = "fitted", "unfinished"  # what a checkpoint holds: a whole model, or work to go on from
MAX_FAILURES = 1  # a worker that dies once (memory, node) is started again from its checkpoint


@dataclass(frozen=True)
class TrainingRun:
    """What one fit reads. `inputs` are Parquet files (paths that every node can open) by lake table; `content` is
    their digest (`content.of_inputs`): the same content means the same run, wherever the files lie. `firms` are persons
    whose rows the fit is not given, `storage_options` open files of an object store."""

    model: str
    as_of: date
    params: Params
    inputs: Mapping[str, Sequence[str]]
    content: str
    firms: tuple[str, ...] = ()
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        recipe = content.recipe(find(self.model), self.as_of, self.params, self.content)
        return f"{self.model}-{self.as_of}-{recipe[:12]}"


@dataclass(frozen=True)
class Trained:
    """A fitted model on this machine: its files, their fingerprint, and whether a checkpoint was there to begin
    with."""

    directory: Path
    fingerprint: str
    resumed: bool


def train_on_ray(
    run: TrainingRun, storage: Path, directory: Path, cpus: float = 1.0, threads: int = 2, workers: int = 1
) -> Trained:
    """Fit on Ray Train and copy the fitted files to `directory` (replaced). Ray must be initialised.

    `storage` keeps checkpoints (a path that all nodes share), `cpus` is what each of the `workers` reserves, `threads`
    what Polars and BLAS may use in all of them together. Raises ModelError when the fit fails, with the worker's own
    error as its cause, when several workers cannot share it, and when the cluster is too small for them.
    """
    _check_workers(run.model, workers, cpus)
    threads = max(1, threads // workers)
    trainer = TRAINERS[find(run.model).backend](
        _fit_in_worker,
        train_loop_config=_as_config(run),
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": cpus}),
        run_config=RunConfig(
            name=run.name,
            storage_path=str(storage.resolve()),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            worker_runtime_env={"env_vars": {"POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}},
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise ModelError(f"training run {run.name} failed: {error}") from error
    if result.checkpoint is None:
        raise ModelError(f"training run {run.name} ended without a checkpoint in {storage}")
    return _fetch(result.checkpoint, directory)


class CheckpointProgress:
    """`base.Progress` over the checkpoints of the Ray Train worker that it runs in; `directory` is scratch space of
    that worker.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.resumed = False

    def restore(self) -> Path | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        found = Path(checkpoint.to_directory(self.directory / "restored")) / UNFINISHED
        self.resumed = found.exists()
        return found if self.resumed else None

    def keep(self, write: Callable[[Path], None]) -> None:
        report(UNFINISHED, write, {"resumed": self.resumed})


def report(kind: str, write: Callable[[Path], None], facts: dict[str, Any]) -> None:
    """Report one checkpoint: files that `write` puts in a folder `kind`, and facts beside them. Of workers that share a
    fit the first writes; the others hold the same and report with it, which Ray Train waits for.
    """
    if ray.train.get_context().get_world_rank() > 0:
        ray.train.report(facts)
        return
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / kind
        target.mkdir()
        write(target)
        (Path(scratch) / "facts.json").write_text(json.dumps(facts))
        ray.train.report(facts, checkpoint=Checkpoint.from_directory(scratch))


def _check_workers(name: str, workers: int, cpus: float) -> None:
    if workers == 1:
        return
    if not find(name).shares_fit:
        raise ModelError(f"{workers} workers cannot share a fit of {name}: each would fit the whole; take one worker")
    there = ray.cluster_resources().get("CPU", 0.0)
    if workers * cpus > there:  # Ray Train would wait for them and say nothing
        raise ModelError(f"{workers} workers need {workers * cpus:g} CPUs, Ray has {there:g}: take fewer workers")


def _as_config(run: TrainingRun) -> dict[str, Any]:
    """A run as plain values, which is what Ray carries to the worker."""
    return {
        "model": run.model,
        "as_of": run.as_of.isoformat(),
        "params": run.params.model_dump(mode="json"),
        "inputs": {table: list(paths) for table, paths in run.inputs.items()},
        # Ray Train shows a configuration's values in its state and dashboard: keys of a store are none of them
        "held": ray.put((run.firms, dict(run.storage_options))),
    }


def _fit_in_worker(config: dict[str, Any]) -> None:
    """The worker's part: read, fit, report the fitted model. A run whose last checkpoint is whole has nothing left to
    do.
    """
    if _is_whole(ray.train.get_checkpoint()):
        return
    model = find(config["model"])
    tables = content.opened(config["inputs"], *ray.get(config["held"]))
    snapshot = Snapshot(tables, date.fromisoformat(config["as_of"]))
    with tempfile.TemporaryDirectory() as scratch:
        progress = CheckpointProgress(Path(scratch))
        fitted = model.fit(snapshot, model.params(**config["params"]), progress)
        report(FITTED, fitted.save, {"resumed": progress.resumed})


def _is_whole(checkpoint: Checkpoint | None) -> bool:
    if checkpoint is None:
        return False
    with checkpoint.as_directory() as found:
        return (Path(found) / FITTED).exists()


def _fetch(checkpoint: Checkpoint, directory: Path) -> Trained:
    with checkpoint.as_directory() as found:
        facts = json.loads((Path(found) / "facts.json").read_text())
        if directory.exists():
            shutil.rmtree(directory)
        shutil.copytree(Path(found) / FITTED, directory)
    return Trained(directory, fingerprint(directory), bool(facts["resumed"]))
