"""Recovery drills of the state folder, by command: what was lost, the command that mends it, and the same answers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from customer360.platform import access
from customer360.platform.errors import ModelError
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import doctor, jobs


def customer360(shop: Any, *words: str) -> Result:
    from customer360.serve.cli import app

    environment = {
        "CUSTOMER360__LAKE__ROOT": shop.lake.root,
        "CUSTOMER360__LAKE__BUCKETS": str(shop.lake.buckets),
        "CUSTOMER360__STATE": str(shop.state),
        "CUSTOMER360__EXECUTION__EXECUTOR": "local",
    }
    return CliRunner().invoke(app, list(words), env=environment)


def settings_of(shop: Any) -> Settings:
    lake = LakeSettings(root=shop.lake.root, buckets=shop.lake.buckets)
    return Settings(state=str(shop.state), lake=lake)


def answer(shop: Any) -> Any:
    found = shop.clients()("service").get("/v1/people/p_ann")
    return found.status_code, found.json().get("profile")


@pytest.mark.parametrize("lost", ["online", "online/CURRENT", "online/generations", "refusals", "identity"])
def test_a_lost_online_store_is_published_anew_from_the_lake(own_shop: Any, lost: str) -> None:
    own_shop.publish()
    before = answer(own_shop)
    place = own_shop.state / lost
    if place.is_dir():
        shutil.rmtree(place)
    elif place.exists():
        place.unlink()
    jobs.publish(settings_of(own_shop))  # what `score` and `run` end with
    assert before[0] == 200 and answer(own_shop) == before
    assert list(doctor.findings(settings_of(own_shop))) == []


def test_a_lost_or_damaged_model_store_is_told_of_and_stops_neither_runs_nor_answers(own_shop: Any) -> None:
    own_shop.publish()
    before = answer(own_shop)
    (own_shop.state / "mlflow").mkdir()
    database = own_shop.state / "mlflow" / "mlflow.db"
    database.write_bytes(os.urandom(4096))
    assert [f.file for f in doctor.findings(settings_of(own_shop))] == [str(database)]
    said = customer360(own_shop, "rollback", "churn")
    assert isinstance(said.exception, ModelError) and "mlflow.db cannot be read" in str(said.exception)
    assert answer(own_shop) == before
    shutil.rmtree(own_shop.state / "mlflow")
    assert answer(own_shop) == before and list(doctor.findings(settings_of(own_shop))) == []


def test_a_lost_model_store_comes_back_from_a_backup(own_shop: Any, tmp_path: Path) -> None:
    from customer360.models.lifecycle.tracking import local_registry

    local_registry(own_shop.state)._connect("churn")
    key = access.issue(own_shop.state, "one", "reader")
    assert customer360(own_shop, "backup", str(tmp_path / "backups")).exit_code == 0
    shutil.rmtree(own_shop.state)
    said = customer360(own_shop, "restore", str(tmp_path / "backups"), "--into", str(tmp_path / "back"))
    assert said.exit_code == 0, said.output
    back = tmp_path / "back" / "state"
    registry = local_registry(back)
    assert registry._client().get_experiment_by_name("churn").artifact_location.startswith(back.as_uri())
    assert access.verify(back, key).name == "one"
