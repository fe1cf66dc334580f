"""What a run leaves in MLflow, and which version is in use."""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from customer360.models import base
from customer360.models.lifecycle import content
from customer360.models.lifecycle.fit import Fit
from customer360.platform.errors import ModelError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # MLflow's own warnings are not ours

AS_OF = date(2024, 7, 1)
VERSIONS = {"silver.subject_days": 12}
EVALUATION = base.Evaluation({"auc": 0.81, "ece": 0.03}, {"auc_over_recency": "better"})


class ToyParams(base.Params):
    level: float = 0.5
    mix: dict[str, float] = {"own": 1.0}


@dataclass(frozen=True)
class Toy:
    level: float

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "level.txt").write_text(str(self.level))


TOY = base.Model(
    name="toy",
    target="churned_90d",
    output="gold.predictions",
    tables=("silver.subject_days",),
    inputs=pl.Schema({"person_id": pl.String, "recency_days": pl.Float64, "on": pl.Date}),
    params=ToyParams,
    fit=lambda snapshot, params, progress: Toy(params.level),
    predict=lambda fitted, snapshot: pl.DataFrame(schema=base.PAYLOADS["gold.predictions"]),
    evaluate=lambda fitted, snapshot: EVALUATION,
    load=lambda directory: Toy(float((directory / "level.txt").read_text())),
)


@pytest.fixture
def toy(monkeypatch) -> base.Model:
    monkeypatch.setitem(base.MODELS, "toy", TOY)
    return TOY


@pytest.fixture
def registry(tmp_path: Path):
    from customer360.models.lifecycle.tracking import local_registry

    return local_registry(tmp_path / "state")


def log(registry, tmp_path: Path, level: float, promote: bool = False):
    Toy(level).save(tmp_path / f"fitted{level}")
    fit = Fit(TOY, ToyParams(level=level), AS_OF, VERSIONS)
    return registry.log_model_run(fit, tmp_path / f"fitted{level}", EVALUATION, promote=promote)


def test_the_first_version_and_promoted_ones_are_champion(registry, toy, tmp_path: Path) -> None:
    assert registry.load_champion("toy") is None
    first, second = log(registry, tmp_path, 0.1), log(registry, tmp_path, 0.2)
    assert (first.version, first.is_champion, second.version, second.is_champion) == ("1", True, "2", False)
    assert registry.load_champion("toy") == (Toy(0.1), "1")
    assert log(registry, tmp_path, 0.3, promote=True).is_champion
    assert registry.load_champion("toy") == (Toy(0.3), "3")
    registry.promote("toy", "2")  # roll back
    assert registry.load_champion("toy") == (Toy(0.2), "2")
    assert registry.load("toy", "1") == Toy(0.1)


def test_a_run_records_what_went_in_and_came_out(registry, toy, tmp_path: Path) -> None:
    import mlflow

    logged = log(registry, tmp_path, 0.1)
    run = mlflow.MlflowClient(registry.uri).get_run(logged.run_id)
    assert run.data.params == {"level": "0.1", "mix": '{"own": 1.0}'}
    assert run.data.metrics == EVALUATION.metrics
    expected = {"as_of": "2024-07-01", "data.silver.subject_days": "12", "verdict.auc_over_recency": "better"}
    assert expected.items() <= run.data.tags.items()
    assert run.data.tags["fingerprint"] == base.fingerprint(tmp_path / "fitted0.1")
    info = mlflow.models.get_model_info(f"models:/toy/{logged.version}")
    assert info.signature.inputs.input_names() == ["person_id", "recency_days", "on"]
    assert info.signature.outputs.input_names() == ["person_id", "score", "reasons"]


def test_changed_files_are_refused(registry, toy, tmp_path: Path) -> None:
    log(registry, tmp_path, 0.1)
    stored = next((tmp_path / "state").rglob("level.txt"))
    stored.write_text("0.9")
    with pytest.raises(ModelError, match="toy version 1: files have fingerprint"):
        registry.load_champion("toy")


def test_a_copied_or_moved_store_works_on_its_own_files(registry, toy, tmp_path: Path) -> None:
    import shutil

    from customer360.models.lifecycle.tracking import local_registry

    log(registry, tmp_path, 0.1)
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    copied = local_registry(tmp_path / "copy")
    log(copied, tmp_path, 0.2)
    assert copied.load("toy", "2") == Toy(0.2) and len(registry.versions()) == 1
    assert not list((tmp_path / "state").rglob("fitted0.2")) and len(list((tmp_path / "state").rglob("level.txt"))) == 1
    (tmp_path / "copy").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "state")
    moved = local_registry(tmp_path / "moved")
    assert moved.load_champion("toy") == (Toy(0.1), "1")
    shutil.rmtree(tmp_path / "moved/mlflow/artifacts")
    with pytest.raises(ModelError, match=r"toy version 1: its files are not in file:.*moved/mlflow/artifacts"):
        moved.load_champion("toy")


def test_a_model_that_was_never_trained_has_no_champion_to_go_back_to(registry) -> None:
    with pytest.raises(ModelError, match="churn has no earlier champion to go back to"):
        registry.rollback("churn", "by hand")


def test_a_version_is_found_by_what_it_was_fitted_from(registry, toy, tmp_path: Path) -> None:
    Toy(0.1).save(tmp_path / "fitted")
    fit = Fit(TOY, ToyParams(level=0.1), AS_OF, VERSIONS, "rows")
    logged = registry.log_model_run(fit, tmp_path / "fitted", EVALUATION)
    assert registry.trained_by("toy", content.recipe(TOY, AS_OF, fit.params, "rows")) == logged.version
    assert registry.trained_by("toy", content.recipe(TOY, AS_OF, fit.params, "other rows")) is None


def test_every_table_needs_a_version(registry, toy, tmp_path: Path) -> None:
    Toy(0.1).save(tmp_path / "fitted")
    wide = replace(TOY, tables=("silver.subject_days", "gold.interactions"))
    with pytest.raises(ModelError, match=r"gold\.interactions"):
        registry.log_model_run(Fit(wide, ToyParams(), AS_OF, VERSIONS), tmp_path / "fitted", EVALUATION)


def test_a_champion_loads_where_mlflow_points_elsewhere(registry, toy, tmp_path: Path) -> None:
    """As in a fresh process, which logged nothing and whose MLflow knows no store yet."""
    import mlflow

    log(registry, tmp_path, 0.7)
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    mlflow.set_tracking_uri(elsewhere)
    mlflow.set_registry_uri(elsewhere)
    assert registry.load_champion("toy") == (Toy(0.7), "1")


def test_versions_are_listed_with_their_run_and_aliases(registry, toy, tmp_path: Path) -> None:
    assert registry.versions() == []
    log(registry, tmp_path, 0.1)
    log(registry, tmp_path, 0.2, promote=True)
    first, second = registry.versions()
    assert [(v.name, v.version, v.aliases) for v in (first, second)] == [("toy", "1", ()), ("toy", "2", ("champion",))]
    assert second.metrics == EVALUATION.metrics and second.tags["as_of"] == "2024-07-01"
    assert not [t for t in second.tags if t.startswith("mlflow.")] and second.registered_at.tzinfo is not None


def test_a_store_that_was_never_made_whole_is_made_anew(tmp_path: Path) -> None:
    """What a kill leaves while MLflow makes its tables: an empty file, or tables without the first experiment."""
    import shutil
    import sqlite3

    from customer360.models.lifecycle.tracking import local_registry

    empty, whole, half = (tmp_path / name / "mlflow/mlflow.db" for name in ("empty", "whole", "half"))
    empty.parent.mkdir(parents=True)
    empty.touch()
    assert local_registry(tmp_path / "empty").versions() == local_registry(tmp_path / "whole").versions() == []
    shutil.copytree(whole.parent, half.parent)
    with sqlite3.connect(half) as store:
        store.execute("DELETE FROM experiments")
        store.execute("DROP TABLE registered_models")
    assert local_registry(tmp_path / "half").versions() == []
    before = whole.stat()
    assert local_registry(tmp_path / "whole").versions() == [] and whole.stat().st_ino == before.st_ino
    assert [path.name for path in whole.parent.iterdir()] == ["mlflow.db"]


def test_a_store_whose_making_is_killed_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from customer360.models.lifecycle import embedded, tracking

    class Killed(BaseException):
        """The process dies."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(embedded.mlflow.MlflowClient, "search_registered_models", die)
    with pytest.raises(Killed):
        tracking.local_registry(tmp_path)
    assert not (tmp_path / "mlflow/mlflow.db").exists()
    monkeypatch.undo()
    assert tracking.local_registry(tmp_path).versions() == []
