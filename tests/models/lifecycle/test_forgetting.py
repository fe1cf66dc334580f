"""An erased person leaves the model store: files and texts lose it, what a model fitted stays whole."""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.models.lifecycle.forgetting import Forgotten, covered, forget
from customer360.platform.errors import ModelError
from customer360.platform.traces import Traces, Value
from customer360.platform.traces.search import in_file

MASK = "•••"
WHO = Traces.of(
    [
        Value("e-mail", ("ann@x.test",)),
        Value("phone", ("2025550147",)),
        Value("name", ("ann", "quorvexly")),
        Value("account", ("POS/P00017",)),
    ]
)
RUN, MODEL = "0" * 31 + "1", "m-1"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("to ann@x.test, please", "to •••, please"),
        ('{"mail": "ANN@x.test", "n": 5}', '{"mail": "•••", "n": 5}'),
        ('{"phone": 2025550147, "n": 5}', '{"phone": "•••", "n": 5}'),
        ('[["ann", "quorvexly"], ["bob", "lee"]]', '[["•••"], ["bob", "lee"]]'),
        ('{"first": "Ann", "last": "Quorvexly", "is": true}', '{"first": "•••", "is": true}'),
    ],
)
def test_a_text_is_covered_and_json_stays_json(text: str, left: str) -> None:
    assert covered(text, WHO, MASK) == left


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store as MLflow lays it out, with somebody in it wherever people log rows."""
    run, model = tmp_path / f"artifacts/churn/{RUN}/artifacts", tmp_path / f"artifacts/churn/models/{MODEL}/artifacts"
    for folder in (run / "data", model / "fitted"):
        folder.mkdir(parents=True)
    (run / "notes.md").write_text("Wrong for ann@x.test and for bob@x.test")
    (run / "other.json").write_text('{"metrics": {"auc": 0.8}}')
    pl.DataFrame({"mail": ["ann@x.test", "bob@x.test"]}).write_parquet(run / "data/train.parquet")
    (run / "data/rows.csv.gz").write_bytes(gzip.compress(b"mail\nann@x.test\n"))
    (model / "input_example.json").write_text(
        json.dumps({"columns": ["mail", "phone"], "data": [["ann@x.test", 12025550147]]})
    )
    (model / "fitted/weights.json").write_text('{"POS/P00017": 0.5}')
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.executescript(
            f"""
            CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT, artifact_uri TEXT);
            CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT REFERENCES runs, PRIMARY KEY (key, run_uuid));
            CREATE TABLE logged_models (model_id TEXT PRIMARY KEY, source_run_id TEXT);
            CREATE TABLE metrics (key TEXT PRIMARY KEY, value FLOAT);
            INSERT INTO runs VALUES ('{RUN}', 'why ann@x.test', 'file:///ann@x.test/artifacts');
            INSERT INTO params VALUES ('who', '{{"first": "Ann", "last": "Quorvexly"}}', '{RUN}'), ('n', '5', '{RUN}');
            INSERT INTO logged_models VALUES ('{MODEL}', '{RUN}');
            INSERT INTO metrics VALUES ('auc', 0.8);
            """
        )
    return tmp_path


def test_nothing_of_the_person_is_left_but_in_what_was_fitted(store: Path) -> None:
    done = forget(store / "artifacts", store / "mlflow.db", WHO, MASK)
    assert (done.rewritten, done.removed, done.texts) == (2, 2, 2)
    assert set(done.runs) == {RUN}, "those of a logged model are of its run"
    left = [f for f in (store / "artifacts").rglob("*") if f.is_file() and in_file(WHO, f, f.name)]
    assert [f.name for f in left] == ["weights.json"]
    example = json.loads(next(store.rglob("input_example.json")).read_text())
    assert example == {"columns": ["mail", "phone"], "data": [[MASK, MASK]]}
    with closing(sqlite3.connect(store / "mlflow.db")) as database:
        assert database.execute("SELECT value FROM params ORDER BY key").fetchall() == [("5",), ('{"first": "•••"}',)]
        uri = database.execute("SELECT artifact_uri FROM runs").fetchone()[0]
        database.execute("UPDATE runs SET artifact_uri = ''")
        assert uri == "file:///ann@x.test/artifacts", "an address is changed by who moves the folder"
    assert forget(store / "artifacts", store / "mlflow.db", WHO, MASK) == Forgotten()


def test_others_are_left_as_they_are_and_a_damaged_store_is_said(store: Path) -> None:
    before = {f: f.read_bytes() for f in store.rglob("*") if f.is_file()}
    other = Traces.of([Value("e-mail", ("eve@x.test",))])
    assert forget(store / "artifacts", store / "mlflow.db", other, MASK) == Forgotten()
    assert {f: f.read_bytes() for f in store.rglob("*") if f.is_file()} == before
    assert forget(store / "none", store / "none.db", WHO, MASK) == Forgotten()
    (store / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(ModelError, match="cannot be taken out"):
        forget(store / "artifacts", store / "mlflow.db", WHO, MASK)


def test_a_link_that_leads_elsewhere_stays_for_the_proof_to_name(store: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine.csv"
    elsewhere.write_bytes(b"\0ann@x.test")
    link = tmp_path / f"artifacts/churn/{RUN}/artifacts/mine.csv"
    link.symlink_to(elsewhere)
    forget(tmp_path / "artifacts", None, WHO, MASK)
    assert link.exists() and elsewhere.read_bytes() == b"\0ann@x.test"


def test_a_disk_too_full_to_compact_the_database_leaves_no_text_in_its_pages(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            if sql == "VACUUM":
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *given)

    connect, database = sqlite3.connect, store / "mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, **named, factory=Full))
        with pytest.raises(ModelError, match=r"cannot be taken out \(database or disk is full\); erase again"):
            forget(store / "artifacts", database, WHO, MASK)
    for text in (b"why ann@x.test", b"Quorvexly"):
        assert text not in database.read_bytes()
    assert forget(store / "artifacts", database, WHO, MASK).texts == 0
