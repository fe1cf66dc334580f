"""After an erasure the model store says which runs changed and which versions may have learnt from the person."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.models import base
from customer360.platform import privacy
from customer360.platform.lake import Lake
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve.rights.learnt import SINCE, TAG, forget_in_models

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # MLflow's own warnings are not ours

ANN = privacy.Identifiers(texts=frozenset({"ann@x.test"}))


class Fitted:
    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "level.txt").write_text("1")


def test_runs_and_versions_say_so_and_the_champion_still_loads(tmp_path: Path, monkeypatch: Any) -> None:
    import mlflow

    from customer360.models.lifecycle.fit import Fit
    from customer360.models.lifecycle.tracking import local_registry

    toy: Any = base.Model(
        name="toy", target="churned_90d", output="gold.predictions", tables=("silver.subject_days",),
        inputs=pl.Schema({"person_id": pl.String}), params=base.Params, fit=lambda *_: Fitted(),
        predict=lambda *_: pl.DataFrame(schema=base.PAYLOADS["gold.predictions"]),
        evaluate=lambda *_: base.Evaluation({"auc": 0.8}, {}), load=lambda _: Fitted(),
    )  # fmt: skip
    monkeypatch.setitem(base.MODELS, "toy", toy)
    registry = local_registry(tmp_path / "state")
    files = tmp_path / "files"
    Fitted().save(files)
    fit = Fit(toy, base.Params(), date(2026, 1, 1), {"silver.subject_days": 1})
    logged = registry.log_model_run(fit, files, base.Evaluation({"auc": 0.8}, {}))
    client = mlflow.MlflowClient(registry.uri)
    client.log_text(logged.run_id, "row of ann@x.test", "rows/example.txt")
    client.set_tag(logged.run_id, "why", "asked by ann@x.test")
    left = tmp_path / "state/mlflow/artifacts/1" / ("f" * 32) / "artifacts/rows.txt"
    left.parent.mkdir(parents=True)
    left.write_text("of a run that `mlflow gc` took away: ann@x.test")
    lake = Lake(str(tmp_path / "lake"))
    settings = Settings(lake=LakeSettings(root=lake.root), state=str(tmp_path / "state"))
    changed = forget_in_models(settings, lake, [ANN])
    assert changed == {"model store, rewritten (files)": 2, "model store, texts": 1}
    assert left.read_text().endswith("took away: •••"), "nobody is left to tag, and nothing of the person"
    held = [f for f in (tmp_path / "state").rglob("*") if f.is_file() and b"ann@x.test" in f.read_bytes()]
    assert held == []
    tags = client.get_run(logged.run_id).data.tags
    assert tags["why"] == "asked by •••" and tags[TAG] == "a person was erased: files rewritten"
    assert client.get_model_version("toy", logged.version).tags[SINCE].startswith("1; ")
    assert registry.load_champion("toy") is not None


def test_an_installation_that_never_trained_is_left_alone(tmp_path: Path) -> None:
    settings = Settings(lake=LakeSettings(root=str(tmp_path / "lake")), state=str(tmp_path / "state"))
    assert forget_in_models(settings, Lake(str(tmp_path / "lake")), [ANN]) == {} and not (tmp_path / "state").exists()
