"""What a model's file declares is checked before anything runs."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from customer360.models import base
from customer360.models.lifecycle import plan as declared
from customer360.models.lifecycle.plan import Choices, Limits, Plan, Range
from customer360.platform import settings as configuration
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings

FILES = sorted((Path(__file__).parents[3] / "configs" / "models").glob("*.yaml"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch):
    """Writes `configs/models/churn.yaml` of a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> base.Model:
        (tmp_path / "configs/models").mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs/models/churn.yaml").write_text(text)
        return base.find("churn")

    return write


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_model_on_file_can_be_tuned_and_judged(file: Path) -> None:
    plan = declared.plan_of(base.find(file.stem))
    assert plan.objective is not None and plan.search and plan.guardrails and plan.limits


def test_parameters_come_from_file_then_tuning_then_settings(files, tmp_path: Path) -> None:
    model = files("rounds: 10\nmax_depth: 2\nseed: 5\nbudget: rounds\n")
    settings = Settings(state=str(tmp_path / "state"))
    declared.apply(settings, model, {"rounds": 20, "max_depth": 4})
    chosen = settings.model_copy(update={"models": settings.models.model_copy(update={"parameters": {"churn": {"rounds": 30}}})})  # fmt: skip  # noqa: E501
    params = declared.params_of(chosen, model)
    assert (params.seed, params.max_depth, params.rounds) == (5, 4, 30)
    declared.applied_file(settings, model).unlink()
    assert declared.params_of(settings, model).max_depth == 2


def test_workers_share_only_fits_that_can_be_shared() -> None:
    settings = Settings.model_validate({"models": {"workers": {"two_tower": 2, "churn": 2, "clv": 1}}})
    found = [declared.workers_of(settings, base.find(name)) for name in ("two_tower", "clv", "hybrid")]
    assert found == [2, 1, 1]
    given = configuration.load(environment={"CUSTOMER360__MODELS__WORKERS__TWO_TOWER": "2"})
    assert declared.workers_of(given, base.find("two_tower")) == 2
    with pytest.raises(ConfigError, match=r"models\.workers\.churn is 2, but workers cannot share"):
        declared.workers_of(settings, base.find("churn"))
    here = Settings.model_validate({"models": {"workers": {"two_tower": 2}}, "execution": {"executor": "local"}})
    with pytest.raises(ConfigError, match=r"execution\.executor is local"):
        declared.workers_of(here, base.find("two_tower"))


def test_an_applied_part_of_a_mapping_keeps_the_rest(tmp_path: Path) -> None:
    model, settings = base.find("item_to_item"), Settings(state=str(tmp_path))
    before = declared.params_of(settings, model)
    declared.apply(settings, model, {"new_mix.popularity": 0.7})
    after = declared.params_of(settings, model)
    assert after.new_mix == before.new_mix.model_copy(update={"popularity": 0.7}) and after.all_mix == before.all_mix


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("search: {speed: [1, 2]}", "speed"),
        ("search: {max_depth: [2, deep]}", "max_depth"),
        ("search: {subsample: {low: 0.5, high: 1.5}}", "subsample"),
        ("search: {rounds: {low: 9, high: 3}}", "low 9 is not below high 3"),
        ("search: {rounds: {low: 0, high: 3, log: true}}", "begins above 0"),
        ("objective: {metric: auc, direction: up}", "direction"),
        ("budget: learning_rate", "learning_rate is no whole-number parameter"),
        ("guardrails: {ece: {most: 1}}", "most"),
    ],
)
def test_a_faulty_section_is_named(files, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        declared.plan_of(files(text))


def test_draws_keep_within_their_range() -> None:
    rng = np.random.default_rng(0)
    magnitudes = [Range(low=0.01, high=1.0, log=True).draw(rng) for _ in range(500)]
    assert min(magnitudes) >= 0.01 and max(magnitudes) <= 1.0
    assert 0.4 < np.mean(np.array(magnitudes) < 0.1) < 0.6  # half of them below the middle magnitude
    whole = {Range(low=2, high=4).draw(rng) for _ in range(200)}
    assert whole == {2, 3, 4} and all(isinstance(value, int) for value in whole)
    assert {Choices(choices=("a", "b")).draw(rng) for _ in range(50)} == {"a", "b"}


def test_limits_say_what_breaks_them() -> None:
    limits = Limits(min=0.2, max=0.6)
    assert limits.broken_by(0.4) is None
    assert "at least 0.2" in str(limits.broken_by(0.1)) and "at most 0.6" in str(limits.broken_by(0.7))
    assert limits.broken_by(None) == limits.broken_by(float("nan")) == "is not known"


def test_plans_hold_no_unknown_section() -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate(yaml.safe_load("gate: {ece: 1}"))
