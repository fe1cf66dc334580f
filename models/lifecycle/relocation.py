"""The embedded model store on the move: MLflow writes whole addresses of files into its tables, and a store that was
copied or moved would go on with the files of its old place.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

MARK = "/mlflow/artifacts"  # what an address of the store has before the part that stays the same
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def relocate(database: Path, artifacts: str) -> int:
    """Let every address of files point below `artifacts` (a URI that ends in `/mlflow/artifacts`), where the store lies
    now. Returns how many were changed. A store that was not moved is only read.
    """
    with closing(sqlite3.connect(database)) as store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        changed = sum(_moved(store, table, column, artifacts) for table, column in ADDRESSES if table in tables)
        if changed:
            store.commit()
    return changed


def _moved(store: sqlite3.Connection, table: str, column: str, artifacts: str) -> int:
    # Tables and columns are the constants above; values are bound.
    there = f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE 'file:%' OR {column} LIKE '/%'"
    changed = 0
    for (address,) in store.execute(there).fetchall():
        _, mark, rest = address.rpartition(f"{MARK}/")
        if mark and address != (now := f"{artifacts}/{rest}"):
            done = store.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (now, address))
            changed += done.rowcount
    return changed
