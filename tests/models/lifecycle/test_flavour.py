"""A registered version through MLflow's own loader: the same figures as the model's own."""

import subprocess
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from customer360.models import base
from customer360.models.lifecycle.fit import Fit
from customer360.platform.errors import ModelError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # MLflow's own warnings are not ours

AS_OF = date(2024, 7, 1)
INPUTS = pl.Schema({"person_id": pl.String, "recency_days": pl.Float64})


class DaysParams(base.Params):
    level: float = 0.5


@dataclass(frozen=True)
class Days:
    level: float

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "level.txt").write_text(str(self.level))


def scored(fitted: Days, rows: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Unknown recency stays unknown; the day of the month shows which date was asked for."""
    score = pl.col("recency_days") * fitted.level + as_of.day
    return rows.select("person_id", score=score)


MODEL = base.Model(
    name="days",
    target="churned_90d",
    output="gold.predictions",
    tables=("silver.subject_days",),
    inputs=INPUTS,
    params=DaysParams,
    fit=lambda snapshot, params, progress: Days(params.level),
    predict=lambda fitted, snapshot: pl.DataFrame(schema=base.PAYLOADS["gold.predictions"]),
    evaluate=lambda fitted, snapshot: base.Evaluation({}),
    load=lambda directory: Days(float((directory / "level.txt").read_text())),
    score=scored,
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch):
    from customer360.models.lifecycle.tracking import local_registry

    monkeypatch.setitem(base.MODELS, "days", MODEL)
    return local_registry(tmp_path / "state")


def logged(registry, tmp_path: Path, model=MODEL):
    Days(0.5).save(tmp_path / "fitted")
    fit = Fit(model, DaysParams(), AS_OF, {"silver.subject_days": 12}, "c0ffee" * 10)
    return registry.log_model_run(fit, tmp_path / "fitted", base.Evaluation({"auc": 0.8}))


def test_the_champion_scores_rows_as_the_model_does(registry, tmp_path: Path) -> None:
    import mlflow

    logged(registry, tmp_path)
    mlflow.set_tracking_uri(registry.uri)
    rows = pl.DataFrame({"person_id": ["a", "b", "c"], "recency_days": [10.0, None, 0.0]}, schema=INPUTS)
    loaded = mlflow.pyfunc.load_model("models:/days@champion")
    found = pl.from_pandas(loaded.predict(rows.to_pandas()))
    assert found.equals(scored(Days(0.5), rows, AS_OF))
    on_another_day = loaded.predict(rows.to_pandas(), params={"as_of": "2024-07-09"})
    assert pl.from_pandas(on_another_day)["score"].to_list() == [14.0, None, 9.0]
    with pytest.raises(ModelError, match="as_of is 'July', an ISO date is needed"):
        loaded.predict(rows.to_pandas(), params={"as_of": "July"})
    with pytest.raises(mlflow.exceptions.MlflowException, match="recency_days"):
        loaded.predict(rows.to_pandas()[["person_id"]])


def test_a_model_of_more_than_rows_has_no_such_flavour(registry, tmp_path: Path, monkeypatch) -> None:
    import mlflow

    whole = replace(MODEL, score=None)
    monkeypatch.setitem(base.MODELS, "days", whole)
    logged(registry, tmp_path, whole)
    mlflow.set_tracking_uri(registry.uri)
    assert set(mlflow.models.get_model_info("models:/days/1").flavors) == {"customer360"}
    assert registry.load_champion("days") == (Days(0.5), "1")


def test_a_run_names_its_data_and_no_place(registry, tmp_path: Path) -> None:
    import mlflow

    run_id = logged(registry, tmp_path).run_id
    run = mlflow.MlflowClient(registry.uri).get_run(run_id)
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.name == "days inputs" and ("c0ffee" * 10).startswith(given.dataset.digest)
    assert "silver.subject_days" in given.dataset.source
    assert not [key for key, value in run.data.tags.items() if value.startswith("/")]
    place = subprocess.run(["grep", "-rl", str(tmp_path), tmp_path / "state" / "mlflow" / "artifacts"],
                           capture_output=True, text=True)  # fmt: skip
    assert place.stdout == ""
