"""A search judges on windows before the last one, stops what is worse, and repeats nothing after a restart."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from pydantic import Field

from customer360.models import base
from customer360.models.lifecycle import tuning
from customer360.models.lifecycle.plan import Choices, Objective, Plan
from customer360.models.lifecycle.tuning import TuningRun
from customer360.platform.errors import ModelError

AS_OF, HORIZON = date(2024, 7, 1), 30


class LevelParams(base.Params):
    level: int = 1
    rounds: int = Field(9, ge=1)


@dataclass(frozen=True)
class Level:
    params: LevelParams

    def save(self, directory: Path) -> None: ...


CALLS: list[tuple[int, int, date]] = []


def evaluate(fitted: Level, snapshot: base.Snapshot) -> base.Evaluation:
    params = fitted.params
    CALLS.append((params.level, params.rounds, snapshot.as_of))
    if params.level < 0:
        raise ModelError("a level below nothing")
    return base.Evaluation({"gain": params.level * params.rounds / 9})


MODEL = base.Model(
    name="level",
    target="level",
    output="gold.predictions",
    tables=("silver.subject_days",),
    inputs=pl.Schema({}),
    params=LevelParams,
    fit=lambda snapshot, params, progress: Level(params),
    predict=lambda fitted, snapshot: pl.DataFrame(schema=base.PAYLOADS["gold.predictions"]),
    evaluate=evaluate,
    load=lambda directory: Level(LevelParams()),
)


@pytest.fixture
def run(monkeypatch, tmp_path: Path) -> TuningRun:
    monkeypatch.setitem(base.MODELS, "level", MODEL)
    monkeypatch.setattr(base.importlib, "import_module", lambda name: None)
    CALLS.clear()
    path = tmp_path / "days.parquet"
    pl.DataFrame({"on": [AS_OF]}).write_parquet(path)
    plan = Plan(
        search={"level": Choices(choices=(2, 3, 4, 5, 6, -1))},
        objective=Objective(metric="gain", direction="max", windows=2),
        budget="rounds",
    )
    tables = {"silver.subject_days": [str(path)]}
    return TuningRun("level", AS_OF, LevelParams(), plan, 10, HORIZON, tables, {"silver.subject_days": 1})


def test_the_last_window_stays_unseen(run: TuningRun, tmp_path: Path) -> None:
    tuning.search(run, tmp_path, on_ray=False)
    assert {cut for *_, cut in CALLS} == {AS_OF - timedelta(days=2 * HORIZON), AS_OF - timedelta(days=3 * HORIZON)}


def test_the_best_is_found_and_the_worse_are_stopped(run: TuningRun, tmp_path: Path) -> None:
    tuned = tuning.search(run, tmp_path, on_ray=False)
    drawn = [trial["level"] for trial in run.drawn()[1:]]
    assert tuned.best.drawn["level"] == tuned.best.score == max(drawn)
    assert tuned.incumbent.is_whole and tuned.incumbent.score == 1
    assert 0 < sum(trial.is_whole for trial in tuned.trials[1:]) <= 1 + len(drawn) // 9
    assert {rounds for _, rounds, _ in CALLS} == {1, 3, 9}


def test_no_trial_sees_an_organisation(run: TuningRun, tmp_path: Path, monkeypatch) -> None:
    path, seen = tmp_path / "of.parquet", []
    pl.DataFrame({"person_id": ["p1", "firm", None]}).write_parquet(path)
    tables = {"silver.subject_days": [str(path)]}

    def fit(snapshot: base.Snapshot, params: LevelParams, progress: base.Progress) -> Level:
        seen.append(snapshot.tables["silver.subject_days"].collect()["person_id"].to_list())
        return Level(params)

    monkeypatch.setitem(base.MODELS, "level", replace(MODEL, fit=fit))
    replace(run, inputs=tables, firms=("firm",)).judge(0, 9)
    assert seen and all(persons == ["p1", None] for persons in seen)


def test_parameters_that_fail_are_a_result(run: TuningRun, tmp_path: Path) -> None:
    assert -1 in [trial["level"] for trial in run.drawn()[1:]]
    failed = [trial for trial in tuning.search(run, tmp_path, on_ray=False).trials if trial.fault]
    assert failed and all("a level below nothing" in trial.fault and not trial.is_whole for trial in failed)


def test_what_no_figure_tells_of_stops_nothing_better(run: TuningRun, tmp_path: Path, monkeypatch) -> None:
    """Levels without a figure stand first: they are neither kept nor do they order the others."""
    levels = [-2, -3, 2, -2, 3, 6, -3, 4, 5]
    monkeypatch.setattr(TuningRun, "drawn", lambda self: [{}, *({"level": level} for level in levels)])

    def told(fitted: Level, snapshot: base.Snapshot) -> base.Evaluation:
        level, gain = fitted.params.level, float(fitted.params.level * fitted.params.rounds)
        if level == -3 and snapshot.as_of != AS_OF - timedelta(days=2 * HORIZON):
            return base.Evaluation({"other": gain})  # on one window alone
        return base.Evaluation({"gain": float("nan") if level == -2 else gain})

    monkeypatch.setitem(base.MODELS, "level", replace(MODEL, evaluate=told))
    tuned = tuning.search(run, tmp_path, on_ray=False)
    assert tuned.best.drawn == {"level": 6} and tuned.best.is_whole
    assert not any(trial.is_whole for trial in tuned.trials[1:] if trial.drawn["level"] < 0)
    assert [trial.rung for trial in tuned.trials if trial.drawn.get("level") == -2] == [1, 1]


def test_a_broken_search_goes_on_where_it_stopped(run: TuningRun, tmp_path: Path, monkeypatch) -> None:
    whole = tuning.search(run, tmp_path / "whole", on_ray=False)
    judged, judge = len(CALLS), TuningRun.judge

    def breaks(self: TuningRun, trial: int, rung: int) -> dict[str, float]:
        if trial == 4:
            raise KeyboardInterrupt
        return judge(self, trial, rung)

    CALLS.clear()
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(TuningRun, "judge", breaks)
        tuning.search(run, tmp_path / "broken", on_ray=False)
    again = tuning.search(run, tmp_path / "broken", on_ray=False)
    assert [(t.index, t.rung, t.score) for t in again.trials if not t.fault] == [
        (t.index, t.rung, t.score) for t in whole.trials if not t.fault
    ]
    assert len(CALLS) == judged  # nothing was judged twice
    CALLS.clear()
    tuning.search(run, tmp_path / "broken", on_ray=False, resume=False)
    assert len(CALLS) == judged  # from the start


def test_what_cannot_be_searched_is_named(run: TuningRun, tmp_path: Path) -> None:
    nothing = replace(run, plan=run.plan.model_copy(update={"search": {}}))
    with pytest.raises(ModelError, match="no section `search`"):
        tuning.search(nothing, tmp_path, on_ray=False)
    blind = replace(run, plan=run.plan.model_copy(update={"objective": None}))
    with pytest.raises(ModelError, match="no section `objective`"):
        tuning.search(blind, tmp_path, on_ray=False)
    unknown = replace(run, plan=run.plan.model_copy(update={"objective": Objective(metric="auc", direction="max")}))
    with pytest.raises(ModelError, match=r"no metric auc; there are gain"):
        tuning.search(unknown, tmp_path, on_ray=False)


# ---- on Ray Tune --------------------------------------------------------------------------------------------------

SEARCH = """
import sys
from pathlib import Path
import ray
sys.path.insert(0, sys.argv[2])
from test_tuning import churn_run
from customer360.models.lifecycle import tuning
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False, logging_level="ERROR")
tuned = tuning.search(churn_run(Path(sys.argv[1])), Path(sys.argv[1]) / "tuning", on_ray=True)
print([(t.index, t.rung, round(t.score, 9)) for t in tuned.trials], tuned.best.index)
"""  # noqa: E501


def churn_run(folder: Path) -> TuningRun:
    """Six trials of churn on a small log written below a folder."""
    from test_on_ray import purchases

    path = folder / "days.parquet"
    if not path.exists():
        purchases(people=400).write_parquet(path)
    churn = base.find("churn")
    plan = Plan(
        search={"max_depth": Choices(choices=(2, 3)), "learning_rate": Choices(choices=(0.03, 0.1, 0.3))},
        objective=Objective(metric="auc", direction="max"),
        budget="rounds",
    )
    tables = {"silver.subject_days": [str(path)]}
    params = churn.params(min_history_days=60, rounds=30, threads=1)
    return TuningRun("churn", date(2023, 6, 1), params, plan, 6, 90, tables, {"silver.subject_days": 4})


def finished(folder: Path) -> dict[int, float]:
    """When each trial that has come to its end or was stopped reported last, as Ray Tune stored it.

    Empty while the file is being written.
    """
    found = {}
    for file in folder.rglob("experiment_state-*.json"):
        try:
            state = json.loads(file.read_text())
        except json.JSONDecodeError:
            return {}
        for stored, runtime in state["trial_data"]:
            if json.loads(stored)["status"] == "TERMINATED":
                found[json.loads(stored)["config"]["trial"]] = json.loads(runtime)["last_result_time"]
    return found


def test_a_torn_state_is_set_aside(tmp_path: Path) -> None:
    whole, torn = tmp_path / "experiment_state-1.json", tmp_path / "experiment_state-2.json"
    whole.write_text('{"trial_data": []}')
    torn.write_text('{"trial_da')
    tuning.set_torn_states_aside(tmp_path)
    assert [file.name for file in tmp_path.glob("experiment_state-*.json")] == [whole.name]
    assert torn.with_suffix(".torn").exists()


@pytest.mark.slow
def test_a_killed_search_on_ray_goes_on(tmp_path: Path) -> None:
    """The driver dies after its first finished trial; the restart keeps what was done and ends."""
    command = [sys.executable, "-c", SEARCH, str(tmp_path), str(Path(__file__).parent)]
    environment = os.environ | {"TUNE_GLOBAL_CHECKPOINT_S": "0"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 240
        before: dict[int, float] = {}
        while not before and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
            first.send_signal(signal.SIGSTOP)  # what is read now is what the death leaves
            before = finished(tmp_path)
            first.send_signal(signal.SIGCONT if not before else signal.SIGKILL)
        first.kill()
    assert before, "no trial ended before the time was up"
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert second.returncode == 0, second.stderr[-2000:]
    after = finished(tmp_path)
    assert len(after) == 6 and before.items() <= after.items(), "a finished trial was run again"
    assert "(0, 9, 0." in second.stdout  # the parameters in force came to the end
