"""Search of parameters: drawn at random from the model's `search`, judged on windows before the last one.

The last window before the date is what `evaluate` judges on, so it stays unseen: a trial is fitted two horizons before
the date (and further back, with `objective.windows`) and judged on the horizon that follows. Trial 0 is the parameters
in force. Where the model names a `budget`, a trial gets a ninth of it, then a third, then all, and the worse two thirds
are stopped at each step: ASHA on Ray, synchronous halving in this process; without a budget every trial runs to its
end. The same run (model, date, parameters, search, data) has the same folder, and starting it again resumes it.

On Ray a trial reserves less than a CPU and starts no task of its own, so trials never wait for each other's CPUs. Ray
is imported where a run needs it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from customer360.models.base import NoProgress, Params, Snapshot, find
from customer360.models.lifecycle import content
from customer360.models.lifecycle.plan import Objective, Plan, placed, typed
from customer360.platform import telemetry
from customer360.platform.errors import ModelError

RUNGS = (1, 3, 9)  # ninths of the budget
CPUS_PER_TRIAL = 0.5
MAX_FAILURES = 1  # a trial whose worker dies is begun again once
TRIALS_FILE = "trials.jsonl"


@dataclass(frozen=True)
class TuningRun:
    """What one search reads and does. `inputs` are Parquet files by lake table, `versions` the Delta version of each,
    `content` the digest of their rows: only a search over the same content, by the same code, is gone on with. `firms`
    are persons whose rows no trial is given, `storage_options` open files of an object store."""

    model: str
    as_of: date
    params: Params
    plan: Plan
    trial_count: int
    horizon_days: int
    inputs: Mapping[str, Sequence[str]]
    versions: Mapping[str, str | int]
    content: str = ""
    seed: int = 0
    firms: tuple[str, ...] = ()
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def objective(self) -> Objective:
        """Raises ModelError when the model's file states none."""
        if self.plan.objective is None:
            raise ModelError(f"{self.model} cannot be tuned: models/{self.model}.yaml has no section `objective`")
        return self.plan.objective

    @property
    def name(self) -> str:
        facts = [
            self.model,
            self.as_of.isoformat(),
            self.params.model_dump(mode="json"),
            self.plan.model_dump(mode="json"),
            self.trial_count,
            self.seed,
            self.content,
            content.of_code(find(self.model)),
        ]
        return f"{self.model}-{self.as_of}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"

    @property
    def cuts(self) -> list[date]:
        """Dates that trials are fitted at, the latest first; the outcome of each is known before the last window."""
        return [self.as_of - timedelta(days=self.horizon_days * (2 + back)) for back in range(self.objective.windows)]

    def drawn(self) -> list[dict[str, Any]]:
        """Parameters of each trial as differences to those in force; the first has none. Equal for equal runs.

        Raises ModelError when the model's file states nothing to search.
        """
        if not self.plan.search:
            raise ModelError(f"{self.model} cannot be tuned: models/{self.model}.yaml has no section `search`")
        rng = np.random.default_rng(self.seed)
        return [{}] + [
            {key: searched.draw(rng) for key, searched in self.plan.search.items()} for _ in range(self.trial_count - 1)
        ]

    def rungs(self, trial: int) -> tuple[int, ...]:
        """Steps that a trial is judged at. The parameters in force go to the end at once: all are measured by them."""
        return RUNGS if self.plan.budget and trial else RUNGS[-1:]

    def params_at(self, trial: int, rung: int) -> Params:
        """Parameters of a trial with the part of the budget that belongs to a rung."""
        model = find(self.model)
        whole = typed(model, placed(self.params.model_dump(), self.drawn()[trial]), f"trial {trial} of {self.model}")
        if not self.plan.budget:
            return whole
        part = max(1, round(getattr(whole, self.plan.budget) * rung / RUNGS[-1]))
        return typed(model, placed(whole.model_dump(), {self.plan.budget: part}))

    def judge(self, trial: int, rung: int) -> dict[str, float]:
        """Fit and evaluate at each inner cut; metrics are means over the cuts."""
        model, params = find(self.model), self.params_at(trial, rung)
        tables = content.opened(self.inputs, self.firms, self.storage_options)
        found = []
        for cut in self.cuts:
            snapshot = Snapshot(tables, cut)
            found.append(model.evaluate(model.fit(snapshot, params, NoProgress()), snapshot).metrics)
        if lacking := [metrics for metrics in found if self.objective.metric not in metrics]:
            raise ModelError(
                f"{self.model} has no metric {self.objective.metric}; there are {', '.join(sorted(lacking[0]))}"
            )
        shared = [name for name in found[0] if all(name in metrics for metrics in found)]
        return {name: float(np.mean([metrics[name] for metrics in found])) for name in shared}


@dataclass(frozen=True)
class Trial:
    """One trial. `rung` is how far it came: `RUNGS[-1]` is the end; `fault` says why it failed, if it did."""

    index: int
    drawn: dict[str, Any]
    rung: int
    score: float
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    fault: str = ""

    @property
    def is_whole(self) -> bool:
        return self.rung == RUNGS[-1] and not self.fault and math.isfinite(self.score)


@dataclass(frozen=True)
class Tuned:
    """Result of a search: every trial in order, and which of the whole ones is best; earlier ones win ties."""

    run: TuningRun
    trials: tuple[Trial, ...]

    @property
    def incumbent(self) -> Trial:
        return self.trials[0]

    @property
    def best(self) -> Trial:
        found = self.incumbent
        for trial in self.trials[1:]:
            if trial.is_whole and self.run.objective.better(trial.score, found.score):
                found = trial
        return found


def search(run: TuningRun, storage: Path, *, on_ray: bool, resume: bool = True) -> Tuned:
    """Run the trials, on Ray Tune (Ray must be initialised) or in this process, and return them all.

    `storage` keeps what a restart goes on from; without `resume` an earlier start of the same run is forgotten. Raises
    ModelError when the parameters in force cannot be judged: nothing could be compared.
    """
    if not resume:
        shutil.rmtree(storage / run.name, ignore_errors=True)
    trials = _on_ray(run, storage) if on_ray else _in_process(run, storage / run.name)
    if not trials[0].is_whole:
        raise ModelError(
            f"tuning {run.name}: the parameters in force cannot be judged: {trials[0].fault or 'no figure'}"
        )
    return Tuned(run, tuple(trials))


# ---- in this process ----------------------------------------------------------------------------------------------


def _in_process(run: TuningRun, folder: Path) -> list[Trial]:
    """Halving step by step; each judged step is a line of `trials.jsonl`, so that a restart repeats none."""
    folder.mkdir(parents=True, exist_ok=True)
    done = {(trial.index, trial.rung): trial for trial in _read(folder / TRIALS_FILE)}
    drawn, last = run.drawn(), {}
    alive = list(range(run.trial_count))
    for rung in RUNGS:
        judged = []
        for index in [i for i in alive if rung in run.rungs(i)]:
            trial = done.get((index, rung))
            if trial is None:
                trial = _judged(run, index, rung, drawn[index])
                _append(folder / TRIALS_FILE, trial)
            judged.append(trial)
            last[index] = trial
        # What no figure tells of is no contender: it would be before or behind any other, as it comes.
        contenders = [t for t in judged if not t.fault and t.index and math.isfinite(t.score)]
        contenders.sort(key=lambda trial: trial.score, reverse=run.objective.direction == "max")
        if contenders:
            kept = contenders[: math.ceil(len(contenders) / 3)]
            alive = [0, *sorted(trial.index for trial in kept)]
    return [last[index] for index in range(run.trial_count)]


def _judged(run: TuningRun, index: int, rung: int, drawn: dict[str, Any]) -> Trial:
    start = time.monotonic()
    try:
        metrics = run.judge(index, rung)
    except Exception as fault:  # noqa: BLE001 - parameters that cannot be fitted are a result of the search
        return Trial(index, drawn, rung, math.nan, fault=f"{type(fault).__name__}: {fault}")
    return Trial(index, drawn, rung, metrics[run.objective.metric], metrics, time.monotonic() - start)


def _read(file: Path) -> Iterator[Trial]:
    """Whole lines of an earlier start; one that a crash cut short is judged again."""
    if file.exists():
        for line in file.read_text().split("\n")[:-1]:
            yield Trial(**json.loads(line))


def _append(file: Path, trial: Trial) -> None:
    kept = "".join(f"{json.dumps(asdict(each))}\n" for each in (*_read(file), trial))
    partial = file.with_suffix(".partial")
    partial.write_text(kept)
    partial.replace(file)


# ---- on Ray Tune --------------------------------------------------------------------------------------------------


def set_torn_states_aside(folder: Path) -> None:
    """Rename what a death left half written: Ray Tune writes its state in place, and could not restore from it."""
    for file in folder.glob("experiment_state-*.json"):
        try:
            json.loads(file.read_bytes())
        except ValueError as fault:
            file.rename(file.with_suffix(".torn"))
            telemetry.event("search state torn, set aside", file=file.name, fault=fault)


def _on_ray(run: TuningRun, storage: Path) -> list[Trial]:
    os.environ.setdefault(
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1"
    )  # no TensorBoard or CSV files: MLflow has the figures
    import ray
    from ray import tune
    from ray.tune.logger import JsonLoggerCallback
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    trainable = tune.with_resources(tune.with_parameters(_trial, run=run), {"cpu": CPUS_PER_TRIAL})
    place = str((storage / run.name).resolve())
    set_torn_states_aside(storage / run.name)
    if tune.Tuner.can_restore(place):
        tuner = tune.Tuner.restore(place, trainable=trainable, resume_unfinished=True, restart_errored=True)
    else:
        halving = ASHAScheduler(time_attr="rung", max_t=RUNGS[-1], grace_period=RUNGS[0], reduction_factor=3)
        tuner = tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search(list(range(run.trial_count)))},
            tune_config=tune.TuneConfig(
                metric="score",
                mode=run.objective.direction,
                scheduler=halving if run.plan.budget else FIFOScheduler(),
                max_concurrent_trials=max(1, int(ray.cluster_resources().get("CPU", 1))),
            ),
            run_config=tune.RunConfig(
                name=run.name,
                storage_path=str(storage.resolve()),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                callbacks=[JsonLoggerCallback()],  # every report as it comes: what a restart knows of finished trials
                verbose=0,
            ),
        )
    drawn, found = run.drawn(), {}
    for result in tuner.fit():
        reported, index = result.metrics or {}, int((result.config or {})["trial"])
        fault = f"{type(result.error).__name__}: {result.error}" if result.error else ""
        found[index] = Trial(
            index,
            drawn[index],
            int(reported.get("rung", 0)),
            float(reported.get("score", math.nan)),
            dict(reported.get("judged", {})),
            float(reported.get("time_total_s", 0.0)),
            fault,
        )
    return [found[index] for index in range(run.trial_count)]


def _trial(config: dict[str, Any], run: TuningRun) -> None:
    """A trial on a Ray worker: one report a rung; the scheduler may end it at any of them."""
    from ray import tune

    for rung in run.rungs(config["trial"]):
        metrics = run.judge(config["trial"], rung)
        tune.report({"rung": rung, "score": metrics[run.objective.metric], "judged": metrics})
