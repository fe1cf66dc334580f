"""An identity model in MLflow: its levels, its picture, once a version, and nothing of a record."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.models.identity import IdentityRules, tracking
from customer360.models.identity.batch.pins import Pins, pinned

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # MLflow's own warnings are not ours
NAMES = ("Ann", "Bo", "Cy", "Dee")


@pytest.fixture(scope="module")
def pins() -> Pins:
    rows = [(f"r{n}", NAMES[n % 4], f"Quxley{n // 2}", f"{10000 + n % 7}") for n in range(40)]
    columns = ["record_id", "first_name", "last_name", "zip_code"]
    return pinned(pl.DataFrame(rows, schema=columns, orient="row"), IdentityRules())[0]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from customer360.models.lifecycle.tracking import local_registry

    return local_registry(tmp_path_factory.mktemp("state"))


def test_levels_prior_and_caps_are_logged_with_their_picture(registry: Any, pins: Pins, tmp_path: Path) -> None:
    import mlflow

    run_id = tracking.log(registry, pins)
    client = mlflow.MlflowClient(registry.uri)
    run = client.get_run(run_id)
    known = tracking.levels(pins)
    assert {name.split(".")[0] for name in known} >= {"given_name", "family_name"}
    for name, level in known.items():
        assert run.data.metrics[f"{name}.weight"] == pytest.approx(level["weight"])
    assert run.data.params["term_frequency_hash"] == pins.model.term_frequency_hash
    assert run.data.params["records"] == "40" and any(name.startswith("cap.") for name in run.data.params)
    assert client.get_experiment(run.info.experiment_id).name == tracking.EXPERIMENT
    picture = Path(client.download_artifacts(run_id, "plots/weights.png", str(tmp_path)))
    assert picture.stat().st_size > 5000
    model = json.loads(Path(client.download_artifacts(run_id, "model.json", str(tmp_path))).read_text())
    assert model["settings"] == pins.model.settings and "quxley" not in json.dumps(model).lower()
    assert tracking.log(registry, pins) == run_id, "an equal model is not logged twice"
