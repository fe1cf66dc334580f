"""A challenger is let in because it is better, refused with its reason, and taken back; retraining follows drift."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from customer360.models import base
from customer360.models.lifecycle import job, promotion, train
from customer360.models.lifecycle.evaluation import Comparison
from customer360.models.lifecycle.fit import Fit
from customer360.models.lifecycle.plan import Limits, Plan, plan_of
from customer360.models.lifecycle.tracking import Logged
from customer360.platform import telemetry
from customer360.platform.errors import ModelError
from customer360.platform.lake import Lake
from customer360.serve.compose import compose

CUT, FITTED_ON = date(2024, 7, 1), date(2024, 3, 1)
TABLE = "gold.interactions"


class ToyParams(base.Params):
    level: float = 0.5


@dataclass(frozen=True)
class Toy:
    level: float

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "level.txt").write_text(str(self.level))


def judged(fitted: Toy, snapshot: base.Snapshot) -> base.Evaluation:
    """`level` is the share of the score that is truth."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 400)
    rows = pl.DataFrame(
        {
            "person_id": [str(person) for person in range(400)],
            "truth": truth,
            "score": fitted.level * truth + (1 - fitted.level) * rng.random(400),
        }
    )
    return base.Evaluation({"quality": fitted.level}, rows=rows)


TOY = base.Model(
    name="toy", target="churned_90d", output="gold.predictions", tables=(TABLE,),
    inputs=pl.Schema({"person_id": pl.String}), params=ToyParams,
    fit=lambda snapshot, params, progress: Toy(params.level),
    predict=lambda fitted, snapshot: pl.DataFrame({"person_id": ["1", "2"], "score": [fitted.level] * 2}),
    evaluate=judged,
    load=lambda directory: Toy(float((directory / "level.txt").read_text())),
)  # fmt: skip


def interactions(day: date, views: int) -> base.Snapshot:
    """What 60 persons did in the month before a day."""
    on = day - timedelta(days=3)
    rows = [(str(p), on, "view", str(v)) for p in range(60) for v in range(views + p % 3)]
    frame = pl.DataFrame(rows, schema=["person_id", "on", "kind", "product_id"], orient="row")
    return base.Snapshot({TABLE: frame.lazy()}, day)


@pytest.mark.parametrize(
    ("low", "high", "margin", "broken", "let_in", "words"),
    [
        (0.01, 0.03, 0.0, "", True, "better"),
        (-0.01, 0.03, 0.0, "", False, "not shown to be better"),
        (-0.01, 0.03, 0.02, "", True, "within the margin"),
        (-0.05, -0.01, 0.0, "", False, "worse than the champion"),
        (-0.01, 0.03, 0.0, "ece is 0.2", True, "not worse"),
        (-0.05, -0.01, 0.0, "ece is 0.2", False, "worse than the champion"),
    ],
)
def test_the_gate_says_why(low: float, high: float, margin: float, broken: str, let_in: bool, words: str) -> None:
    decided, reason = promotion._decide(Comparison((low + high) / 2, low, high), margin, broken)
    assert decided is let_in and words in reason


@pytest.mark.parametrize(
    ("direction", "one", "other", "margin", "let_in", "words"),
    [
        ("max", 0.3, 0.2, 0.0, True, "better: quality 0.3000 against 0.2000"),
        ("max", 0.19, 0.2, 0.02, True, "within the margin"),
        ("max", 0.1, 0.2, 0.02, False, "worse than the champion"),
        ("min", 0.3, 0.2, 0.0, False, "worse than the champion"),
        ("max", 0.2, 0.2, 0.0, False, "not shown to be better"),
    ],
)
def test_versions_without_rows_are_compared_by_their_objective(
    monkeypatch, direction: str, one: float, other: float, margin: float, let_in: bool, words: str
) -> None:
    plan = Plan(objective={"metric": "quality", "direction": direction})
    monkeypatch.setattr(job, "plan_of", lambda model: plan)
    toy_job = job.ModelJob(SimpleNamespace(), SimpleNamespace(), TOY, CUT)
    sides = [promotion.Judged("1", CUT, False, base.Evaluation({"quality": value})) for value in (one, other)]
    decided, reason = promotion._decide(promotion.compare(toy_job, *sides), margin, "")
    assert decided is let_in and words in reason
    sides[1] = promotion.Judged("2", CUT, False, base.Evaluation({}))
    with pytest.raises(ModelError, match="objective \\(quality\\) is not among its figures"):
        promotion.compare(toy_job, *sides)


@pytest.mark.parametrize("is_champion", [True, False])
def test_a_training_says_how_good_it_is_and_what_keeps_it_from_being_champion(monkeypatch, is_champion: bool) -> None:
    registry = SimpleNamespace(
        log_model_run=lambda *rest, **named: Logged("toy", "2", "run", is_champion),
        champion_version=lambda name: "1",
        versions=lambda name: [],
    )
    said: dict[str, dict[str, object]] = {}
    monkeypatch.setattr(telemetry, "event", lambda message, **facts: said.update({message: facts}))
    monkeypatch.setattr(job, "registry_of", lambda settings: registry)
    monkeypatch.setattr(job, "plan_of", lambda model: Plan())
    monkeypatch.setattr(job, "params_of", lambda settings, model: ToyParams())
    monkeypatch.setattr(job, "horizon_of", lambda params: 90)
    monkeypatch.setattr(train, "workers_of", lambda settings, model: 1)
    monkeypatch.setattr(train, "snapshot_of", lambda lake, model, day: interactions(day, 2))
    monkeypatch.setattr(train, "denying", lambda *of, **how: set())
    monkeypatch.setattr(job.ModelJob, "content", lambda of: "rows")
    monkeypatch.setattr(train, "_fit", lambda *of: None)
    monkeypatch.setattr(train, "denying", lambda *of, **named: ())
    monkeypatch.setattr(job, "left_out", lambda *of, **named: ())
    train.train(
        job.ModelJob(
            SimpleNamespace(),
            SimpleNamespace(
                version=lambda table: 1,
                files=lambda table: [],
                uri=str,
                exists=lambda table: False,
                get=lambda key: None,
                objects=lambda folder: [],
                stamps=lambda folder: {},
                storage_options={},
            ),
            TOY,
            CUT,
        )
    )
    assert said["judged toy"].items() >= {"window_from": date(2024, 4, 2), "quality": "0.5"}.items()
    why = [message for message in said if "customer360 promote toy 2" in message and "version 1" in message]
    assert bool(why) is not is_champion


@pytest.fixture
def champions(monkeypatch, tmp_path: Path) -> job.ModelJob:
    from customer360.models.lifecycle.tracking import local_registry

    compose()
    registry, plan = local_registry(tmp_path / "state"), Plan(guardrails={"quality": Limits(min=0.05)})
    monkeypatch.setitem(base.MODELS, "toy", TOY)
    monkeypatch.setattr(job, "registry_of", lambda settings: registry)
    monkeypatch.setattr(job, "plan_of", lambda model: plan)
    monkeypatch.setattr(job, "params_of", lambda settings, model: ToyParams())
    monkeypatch.setattr(job, "horizon_of", lambda params: 90)
    monkeypatch.setattr(job, "snapshot_of", lambda lake, model, day: interactions(day, 2))
    monkeypatch.setattr(promotion, "first_on", lambda of: None)
    monkeypatch.setattr(job.ModelJob, "content", lambda of: "rows")
    return job.ModelJob(SimpleNamespace(), Lake(str(tmp_path / "lake")), TOY, CUT)


def log(champions: job.ModelJob, tmp_path: Path, level: float, as_of: date = FITTED_ON):
    folder = tmp_path / f"fitted{level}"
    Toy(level).save(folder)
    fit = Fit(TOY, ToyParams(level=level), as_of, {TABLE: 1})
    return champions.registry.log_model_run(fit, folder, judged(Toy(level), interactions(as_of, 2)))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # MLflow's own warnings are not ours
def test_the_life_of_a_champion(champions: job.ModelJob, monkeypatch, tmp_path: Path) -> None:
    log(champions, tmp_path, 0.3)
    worse, broken, better = (log(champions, tmp_path, level).version for level in (0.1, 0.01, 0.4))
    refused = promotion.gate(champions, worse)
    assert not refused.is_promoted and "worse than the champion" in refused.reason and champions.champion() == "1"
    assert "guardrail broken: quality" in promotion.gate(champions, broken).reason
    assert promotion.gate(champions, better).is_promoted and champions.champion() == better
    assert champions.registry.rollback("toy", "by hand") == "1" and champions.champion() == "1"
    with pytest.raises(ModelError, match="no earlier champion"):
        champions.registry.rollback("toy", "by hand")
    forced = promotion.gate(champions, worse, "the shop asked for it")
    assert forced.is_promoted and "forced: the shop asked for it; the gate had refused it: worse" in forced.reason
    kept = {v.version: v for v in champions.registry.versions()}[worse]
    assert "champion" in kept.aliases and champions.registry.rollback("toy", "by hand") == "1"

    monkeypatch.setattr(
        job, "plan_of", lambda model: Plan(retrain={"after_days": 1000}, guardrails={"quality": Limits(min=0.05)})
    )
    monkeypatch.setattr(promotion, "train", lambda *a: log(champions, tmp_path, 0.45, CUT))
    assert promotion.retrain(champions).kind == "kept"
    moved = lambda lake, model, day: interactions(day, 9 if day == CUT else 2)  # noqa: E731
    monkeypatch.setattr(job, "snapshot_of", moved)
    outcome = promotion.retrain(champions)
    assert outcome.kind == "promoted" and "drift of inputs" in outcome.reason and "view_count" in outcome.reason


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_first_champion_passes_the_gate_too_and_nothing_is_trained_twice(
    champions: job.ModelJob, monkeypatch, tmp_path: Path
) -> None:
    plan = Plan(guardrails={"quality": Limits(min=0.05)})
    assert "quality is 0.02" in plan.refusal({"quality": 0.02}, {})
    behind = Plan(baseline="error_over_rule")
    assert "worse than its baseline (error_over_rule)" in behind.refusal({}, {"error_over_rule": "worse"})
    assert not behind.refusal({}, {"error_over_rule": "no difference"}) and not behind.refusal({}, {})

    monkeypatch.setattr(job.ModelJob, "inputs", lambda of: {})
    monkeypatch.setattr(train, "workers_of", lambda settings, model: 1)
    monkeypatch.setattr(train, "_fit", lambda of, fit, directory, workers: Toy(fit.params.level).save(directory))
    monkeypatch.setattr(train, "snapshot_of", lambda lake, model, day: interactions(day, 2))
    monkeypatch.setattr(job.ModelJob, "versions", lambda of: {TABLE: 1})
    monkeypatch.setattr(job, "params_of", lambda settings, model: ToyParams(level=0.02))
    first = promotion.retrain(champions)
    assert first.kind == "refused" and champions.registry.champion_version("toy") is None
    again = promotion.retrain(champions)
    assert again.kind == "kept" and "version 1 was trained as of" in again.reason
    assert len(champions.registry.versions()) == 1
    assert not promotion.gate(champions, "1").is_promoted
    assert promotion.gate(champions, "1", "nothing else is there").is_promoted and champions.champion() == "1"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_window_without_an_outcome_or_a_past_is_refused_before_anything_is_fitted(
    champions: job.ModelJob, monkeypatch, tmp_path: Path
) -> None:
    log(champions, tmp_path, 0.3)
    with pytest.raises(ModelError, match=f"the window from {CUT} has no outcome yet.*take {champions.last_window}"):
        promotion.judge(champions, "1", CUT)
    monkeypatch.setattr(promotion, "first_on", lambda of: CUT)
    with pytest.raises(ModelError, match=f"nothing is known before the window .*the first day in the data is {CUT}"):
        promotion.judge(champions, "1")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_champion_that_breaks_a_guardrail_is_taken_back(champions: job.ModelJob, tmp_path: Path) -> None:
    log(champions, tmp_path, 0.3)
    champions.registry.promote("toy", log(champions, tmp_path, 0.02).version)
    outcome = promotion.retrain(champions)
    assert outcome.kind == "rolled back" and "quality is 0.02" in outcome.reason and champions.champion() == "1"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_champion_that_falls_behind_its_predecessor_is_taken_back(champions: job.ModelJob, tmp_path: Path) -> None:
    """Let in on one window, worse on the next: both hold every guardrail, and the interval says which is better."""
    log(champions, tmp_path, 0.3)
    champions.registry.promote("toy", log(champions, tmp_path, 0.2).version)
    outcome = promotion.retrain(champions)
    assert outcome.kind == "rolled back" and "version 1 before it is better than 2" in outcome.reason
    assert champions.champion() == "1" and promotion.watch(champions) is None


def stubbed(**registry) -> SimpleNamespace:
    """A job whose champion is version 2, of before its window."""
    known = {"as_of": lambda name, version: date(2026, 1, 1), "champion_version": lambda name: "2"} | registry
    plan = plan_of(TOY).model_copy(update={"guardrails": {"quality": Limits(min=0.1)}})
    return SimpleNamespace(
        model=TOY, champion=lambda: "2", last_window=date(2026, 4, 1), plan=plan, registry=SimpleNamespace(**known)
    )


@pytest.mark.parametrize("previous", [None, "1"])
def test_a_broken_champion_is_said_whatever_can_be_said_of_its_predecessor(monkeypatch, previous: str | None) -> None:
    def judge(of: object, version: str) -> promotion.Judged:
        if version == "1":
            raise base.NotEnough("no list of its horizon")
        return promotion.Judged(version, date(2026, 4, 1), False, base.Evaluation({"quality": 0.02}, {}))

    monkeypatch.setattr(promotion, "judge", judge)
    found = promotion.watch(stubbed(previous_champion=lambda name: previous))
    assert found is not None and found.kind == "broken" and "quality is 0.02" in found.reason


@pytest.mark.parametrize(("owed", "kind"), [("40 of the people refuse", "failed"), ("", "kept")])
def test_refusals_that_no_training_can_heed_are_said(monkeypatch, owed: str, kind: str) -> None:
    def none(of: object) -> None:
        raise base.NotEnough("29 days are needed: there are 12")

    monkeypatch.setattr(promotion, "require_lists", none)
    monkeypatch.setattr(promotion.refusals, "since", lambda of, version: owed)
    outcome = promotion.retrain(stubbed())
    assert outcome.kind == kind and owed in outcome.reason and "there are 12" in outcome.reason


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_window_that_the_champion_knew_takes_nothing_back(champions: job.ModelJob, tmp_path: Path) -> None:
    log(champions, tmp_path, 0.3)
    champions.registry.promote("toy", log(champions, tmp_path, 0.02, as_of=CUT).version)
    assert promotion.watch(champions) is None and champions.champion() == "2"
