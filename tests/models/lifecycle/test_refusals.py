"""Who refuses after a fit makes another one due, and what it learnt without them takes its place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from customer360.models import base
from customer360.models.lifecycle import drift, job, promotion, refusals
from customer360.models.lifecycle.fit import Fit, marks
from customer360.models.lifecycle.plan import Limits, Plan
from customer360.platform import tables
from customer360.platform.lake import BUCKET, Lake
from customer360.serve.compose import compose

CUT, BEFORE = date(2024, 7, 1), date(2024, 6, 1)


class Nothing(base.Params):
    level: float = 0.5


@dataclass(frozen=True)
class Level:
    level: float

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "level.txt").write_text(str(self.level))


def judged(fitted: Level, snapshot: base.Snapshot) -> base.Evaluation:
    """A better level has the smaller error for everybody."""
    rows = pl.DataFrame({"person_id": [f"p{i}" for i in range(50)], "truth": [2.0] * 50})
    return base.Evaluation({"quality": fitted.level}, rows=rows.with_columns(score=pl.lit(1.0 + fitted.level)))


TOY = base.Model(
    name="toy", target="spent", output="gold.predictions", tables=(drift.DAYS,),
    inputs=pl.Schema({"person_id": pl.String}), params=Nothing,
    fit=lambda snapshot, params, progress: Level(params.level),
    predict=lambda fitted, snapshot: pl.DataFrame({"person_id": ["p1"], "score": [fitted.level]}),
    evaluate=judged, load=lambda directory: Level(float((directory / "level.txt").read_text())),
)  # fmt: skip


def write(lake: Lake, name: str, rows: list[dict[str, object]]) -> None:
    contract = tables.by_name(name)
    wanted = tables.schema(contract)
    frame = pl.DataFrame([dict.fromkeys(wanted) | row for row in rows], schema=wanted)
    lake.ensure(contract)
    scope = {BUCKET: "0"} if tables.spec(contract).per else {}
    added = [lake.write_file(name, frame, dict(scope))] if rows else []
    lake.replace(name, added, scope=scope, app="test", app_version=lake.version(name) + 1)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> job.ModelJob:
    from customer360.models.lifecycle.tracking import local_registry

    compose()
    registry = local_registry(tmp_path / "state")
    monkeypatch.setitem(base.MODELS, "toy", TOY)
    monkeypatch.setattr(job, "registry_of", lambda settings: registry)
    plan = Plan(guardrails={"quality": Limits(min=0.05)}, retrain={"after_days": 1000, "on_drift": False})
    monkeypatch.setattr(job, "plan_of", lambda model: plan)
    monkeypatch.setattr(job, "params_of", lambda settings, model: Nothing())
    monkeypatch.setattr(job, "snapshot_of", lambda lake, model, day: base.Snapshot({}, day))
    monkeypatch.setattr(promotion, "first_on", lambda of: None)
    monkeypatch.setattr(promotion, "watch", lambda of: None)
    monkeypatch.setattr(job.ModelJob, "content", lambda of: "rows")
    lake = Lake(str(tmp_path / "lake"), {}, 2)
    seen = {"p1": BEFORE, "p2": BEFORE, "p3": CUT}  # p3 is known since after the fit
    write(lake, drift.DAYS, [{"person_id": p, "subject_id": p, "on": on} for p, on in seen.items()])
    return job.ModelJob(SimpleNamespace(), lake, TOY, CUT)


def refuse(toys: job.ModelJob, **purposes: str) -> None:
    rows = [{"person_id": person, "purpose": purpose, "because": "refused"} for person, purpose in purposes.items()]
    write(toys.lake, "gold.denials", rows)


def log(toys: job.ModelJob, folder: Path, level: float, withheld: tuple[str, ...] | None, promote: bool = False) -> str:
    Level(level).save(folder / f"{level}")
    fit = Fit(TOY, Nothing(level=level), CUT, {drift.DAYS: 1}, "rows of another time", withheld)
    logged = toys.registry.log_model_run(fit, folder / f"{level}", judged(Level(level), base.Snapshot({}, CUT)))
    if promote:
        toys.registry.promote("toy", logged.version)
    return str(logged.version)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # MLflow's own warnings are not ours
def test_a_refusal_of_whom_a_champion_knows_makes_another_due(
    toys: job.ModelJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log(toys, tmp_path, 0.5, withheld=("p2",))
    assert promotion.retrain(toys).kind == "kept"
    refuse(toys, p2="TRAINING", p3="TRAINING", p9="TRAINING", p1="EMAIL")
    assert refusals.since(toys, "1") == "", "left out already, known later, never seen, and a purpose of no fit"
    assert promotion.retrain(toys).reason == "nothing is due"

    refuse(toys, p2="TRAINING", p1="TRAINING")
    monkeypatch.setattr(promotion, "train", lambda of: SimpleNamespace(
        version=log(toys, tmp_path, 0.4, withheld=("p1", "p2")), is_champion=False))  # fmt: skip
    done = promotion.retrain(toys)
    assert done.kind == "promoted" and toys.champion() == "2"
    assert done.reason.startswith(
        "1 of the people before 2024-07-01 refuse training or what it rests on, and version 1"
    )
    assert "no guardrail is broken, and that weighs more than: worse than the champion" in done.reason
    assert promotion.retrain(toys).reason == "nothing is due"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_broken_guardrail_keeps_the_champion_though_people_refuse(
    toys: job.ModelJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log(toys, tmp_path, 0.5, withheld=())
    refuse(toys, p1="PROFILING")
    monkeypatch.setattr(promotion, "train", lambda of: SimpleNamespace(
        version=log(toys, tmp_path, 0.01, withheld=("p1",)), is_champion=False))  # fmt: skip
    done = promotion.retrain(toys)
    assert done.kind == "refused" and "guardrail broken: quality" in done.reason and toys.champion() == "1"
    monkeypatch.setattr(toys.registry.__class__, "trained_by", lambda *of: "2")
    again = promotion.retrain(toys)  # trained before by the same recipe: judged again, not trained again
    assert again.kind == "refused" and len(toys.registry.versions()) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_of_a_version_that_keeps_no_marks_whoever_refuses_counts(toys: job.ModelJob, tmp_path: Path) -> None:
    log(toys, tmp_path, 0.5, withheld=None)
    assert toys.registry.withheld("toy", "1") is None and refusals.since(toys, "1") == ""
    refuse(toys, p1="TRAINING")
    assert "1 of the people" in refusals.since(toys, "1") and "does not say whether" in refusals.since(toys, "1")


def test_marks_name_nobody() -> None:
    found = marks(["p2", "p1"])
    assert len(found) == 16 and found == marks(["p1", "p2"]) and b"p1" not in found
    assert marks([]) == b""
