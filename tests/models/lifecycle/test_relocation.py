"""A model store that was copied or moved works on its own files, and on no others."""

import shutil
import sqlite3
from pathlib import Path

from customer360.models.lifecycle import relocation

ROWS = {
    "experiments": ("artifact_location", ["file:///old/state/mlflow/artifacts/churn", "/cwd/mlruns/0"]),
    "runs": ("artifact_uri", ["file:///old/state/mlflow/artifacts/churn/b9/artifacts", "s3://bucket/mlflow/artifacts/b"]),
    "model_versions": ("storage_location", ["file:///old/mlflow/artifacts/x/mlflow/artifacts/churn/models/m-5/artifacts"]),
}  # fmt: skip


def store(folder: Path) -> Path:
    folder.mkdir(parents=True)
    database = folder / "mlflow.db"
    with sqlite3.connect(database) as made:
        for table, (column, values) in ROWS.items():
            other = ", source TEXT" if table == "model_versions" else ""
            made.execute(f"CREATE TABLE {table} ({column} TEXT{other})")
            made.executemany(f"INSERT INTO {table} ({column}) VALUES (?)", [(value,) for value in values])
    return database


def held(database: Path) -> list[str]:
    with sqlite3.connect(database) as made:
        return [v for t, (c, _) in ROWS.items() for (v,) in made.execute(f"SELECT {c} FROM {t} ORDER BY rowid")]


def test_addresses_of_the_store_follow_it_and_others_stay(tmp_path: Path) -> None:
    database = store(tmp_path / "state" / "mlflow")
    here = (tmp_path / "state/mlflow/artifacts").as_uri()
    assert relocation.relocate(database, here) == 3
    assert held(database) == [
        f"{here}/churn", "/cwd/mlruns/0", f"{here}/churn/b9/artifacts", "s3://bucket/mlflow/artifacts/b",
        f"{here}/churn/models/m-5/artifacts",
    ]  # fmt: skip
    before = database.read_bytes()
    assert relocation.relocate(database, here) == 0 and database.read_bytes() == before
    copied = tmp_path / "copy" / "mlflow"
    shutil.copytree(database.parent, copied)
    assert relocation.relocate(copied / "mlflow.db", (copied / "artifacts").as_uri()) == 3
    assert database.read_bytes() == before
