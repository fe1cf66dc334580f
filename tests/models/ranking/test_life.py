"""The ranker in the life cycle of models: what it needs, and a shop that logs no lists."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import polars as pl
import pytest

from customer360.models import ranking
from customer360.models.base import NotEnough
from customer360.models.lifecycle import job, promotion
from customer360.models.lifecycle.card import _about
from customer360.models.lifecycle.history import history, require_lists
from customer360.models.lifecycle.plan import params_of, plan_of
from customer360.platform import tables
from customer360.platform.lake import BUCKET, Lake, partition_columns
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import modelling
from customer360.serve.compose import compose
from customer360.serve.publication import rankers
from customer360.serve.publication.rankers import RankerStore


@pytest.fixture
def of(lake: Lake) -> job.ModelJob:
    compose()
    return job.ModelJob(Settings(), lake, ranking.MODEL, date(2026, 5, 1))


def test_it_needs_personalization_and_a_fit_training() -> None:
    compose()
    assert job.needs(ranking.MODEL, fitting=False) == {"PERSONALIZATION"}
    assert job.needs(ranking.MODEL, fitting=True) == {"PERSONALIZATION", "TRAINING"}


def test_a_shop_without_a_log_is_told_so_and_nothing_fails(of: job.ModelJob) -> None:
    assert history(of).text == "ranking needs 29 days from the first impression on: there is no impression"
    with pytest.raises(NotEnough, match="there is no impression"):
        require_lists(of)
    outcome = promotion.retrain(of)
    assert (outcome.kind, outcome.reason) == ("kept", history(of).text)


def test_of_all_models_one_that_lacks_lists_is_left_out(monkeypatch: pytest.MonkeyPatch, of: job.ModelJob) -> None:
    """Its fit says what is missing; the others are trained."""
    done: list[str] = []

    def train(each: Any) -> None:
        if each.model.name == "ranking":
            raise NotEnough("ranking needs 500 shown lists")
        done.append(each.model.name)

    told = SimpleNamespace(suffices=True, text="enough")
    monkeypatch.setattr(modelling, "MODELS", {"churn": SimpleNamespace(name="churn"), "ranking": ranking.MODEL})
    monkeypatch.setattr(modelling, "history", lambda each: told)
    monkeypatch.setattr(modelling, "lake_of", lambda settings: of.lake)
    monkeypatch.setattr(modelling.training, "train", train)
    modelling.train(of.settings, "all", of.cut)
    assert done == ["churn"]


def test_a_log_that_stopped_leaves_the_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list of the last window can judge: nothing is broken, nothing failed."""
    registry = SimpleNamespace(as_of=lambda name, version: date(2026, 1, 1), previous_champion=lambda name: None)
    job_ = SimpleNamespace(model=ranking.MODEL, champion=lambda: "1", last_window=date(2026, 4, 1), registry=registry)

    def judge(of: Any, version: str) -> None:
        raise NotEnough("no list")

    monkeypatch.setattr(promotion, "judge", judge)
    assert promotion.watch(job_) is None  # type: ignore[arg-type]


def test_its_file_refuses_a_first_champion_that_is_not_shown_to_be_better() -> None:
    plan = plan_of(ranking.MODEL)
    assert "ndcg_gain_low" in plan.refusal({"ndcg_gain_low": -0.001}, {"over_shown": "no difference"})
    assert plan.refusal({"ndcg_gain_low": 0.001}, {"over_shown": "better"}) == ""
    assert params_of(Settings(), ranking.MODEL) == ranking.RankingParams()
    assert "used within requests" in _about(ranking.MODEL)


def write(lake: Lake, name: str, frame: pl.DataFrame) -> None:
    contract = tables.by_name(name)
    lake.ensure(contract)
    missing = {c: pl.lit(None, kind) for c, kind in tables.schema(contract).items() if c not in frame.columns}
    whole = frame.with_columns(**missing).select(list(tables.schema(contract))).cast(dict(tables.schema(contract)))
    scope = {BUCKET: "0"} if BUCKET in partition_columns(contract) else {}
    added = [lake.write_file(name, whole, dict(scope))]
    lake.replace(name, added, scope=scope, app="test", app_version=lake.version(name) + 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # MLflow's own warnings are not ours
def test_from_the_lake_to_the_file_that_serving_reads(
    lake: Lake, tmp_path: Path, shown_lists: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained without who refuses training, champion by its gate, published once for the same lake, read by serving."""
    compose()
    effects = {"device": 1.5, "activity": 3.0}
    for name, rows in shown_lists.tables(**effects).items():
        write(lake, name, rows.collect())
    refusing = pl.DataFrame({"person_id": [f"u{n}" for n in range(0, 1200, 3)]})
    refusing = refusing.with_columns(purpose=pl.lit("TRAINING"), because=pl.lit("refused"))
    write(lake, "gold.denials", refusing)
    state, cut = tmp_path / "state", shown_lists.CUT + timedelta(days=28)
    settings = Settings(
        state=str(state), lake=LakeSettings(root=lake.root, buckets=lake.buckets), execution={"executor": "local"},
        models={"parameters": {"ranking": {"min_lists": 100, "least_lists": 20}}},
    )  # fmt: skip
    modelling.train(settings, "ranking", cut)
    fitted, version = job.registered(settings).load_champion("ranking")
    given = job.ModelJob(settings, lake, ranking.MODEL, cut).snapshot(cut)["silver.impressions"].collect()
    taken = set(given["person_id"])
    assert taken and not taken & set(refusing["person_id"])
    monkeypatch.setattr(rankers, "current_edition", lambda *given: SimpleNamespace(as_of=cut))
    monkeypatch.setattr(rankers, "PROFILES", "silver.products")
    number = rankers.publish_ranker(lake, settings)
    assert number is not None and rankers.publish_ranker(lake, settings) == number == rankers.current(state)
    (state / rankers.HOME / str(number) / rankers.PRODUCTS).write_bytes(b"")  # as after a loss of power
    assert rankers.publish_ranker(lake, settings) == number
    read = RankerStore(state).of(SimpleNamespace(sources={rankers.SOURCE: number}))  # type: ignore[arg-type]
    assert read is not None and (read.version, read.fitted.record()) == (str(version), fitted.record())
    assert read.products.height == len(shown_lists.PRODUCTS)
