"""The embedded model store: one SQLite file, made whole or not at all."""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import mlflow


def is_half_made(database: Path) -> bool:
    """Whether a store was never made whole: MLflow enters its first experiment last, and there is no run
    without one.
    """
    if not database.exists():
        return True
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as store:
        try:
            return store.execute("SELECT 1 FROM experiments LIMIT 1").fetchone() is None
        except sqlite3.OperationalError as fault:
            return "no such table" in str(fault)


def make(database: Path) -> None:
    """Make the store beside its place and move it there whole: killed while it makes its tables, MLflow leaves a file
    that it can neither use nor mend.
    """
    with tempfile.TemporaryDirectory(prefix="making-", dir=database.parent) as scratch:
        made = Path(scratch) / database.name
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{made}", registry_uri=f"sqlite:///{made}")
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
        with closing(sqlite3.connect(made)) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if database.exists():
            made.replace(database)
            return
        try:
            os.link(made, database)  # unlike a rename it keeps the store of another process that was faster
        except FileExistsError:
            return
