"""What a model store keeps of a person beside what a model learnt: input examples, tables, notes and parameters that
somebody logged. They are rewritten without the person or, where they cannot be, removed.

The files of a fitted model stay as they are: they are known by their fingerprint, and go with the next training.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from customer360.models.lifecycle.relocation import ADDRESSES
from customer360.platform.backup.trees import files_below
from customer360.platform.errors import ModelError
from customer360.platform.traces import Traces
from customer360.platform.traces.search import in_bytes, in_file

FITTED = "fitted"  # as `flavour` names the folder, which imports MLflow
WAIT_SECONDS = 60


@dataclass
class Forgotten:
    """Files and texts of the database that changed; ``runs`` by id, with what was done to each."""

    rewritten: int = 0
    removed: int = 0
    texts: int = 0
    runs: dict[str, str] = field(default_factory=dict)


def forget(artifacts: Path, database: Path | None, traces: Traces, mask: str) -> Forgotten:
    """Take a person out of a store. Doing it again changes nothing.

    Raises:
        ModelError: the database is damaged, or somebody holds it for a minute.
    """
    done = Forgotten()
    owners: dict[str, set[str]] = {}
    for path in sorted(files_below(artifacts)):
        parts = path.relative_to(artifacts).parts
        if FITTED in parts or not path.is_file() or in_file(traces, path, path.name) is None:
            continue
        if _leads_out(path, artifacts):
            continue
        how = _without(path, traces, mask)
        setattr(done, how, getattr(done, how) + 1)
        if "artifacts" in parts[1:]:  # EXPERIMENT/RUN/artifacts/…, EXPERIMENT/models/MODEL/artifacts/…
            owners.setdefault(parts[parts.index("artifacts", 1) - 1], set()).add(how)
    said = {owner: f"a person was erased: files {' and '.join(sorted(hows))}" for owner, hows in owners.items()}
    if database is not None and database.exists():
        try:
            with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as store:
                done.texts = _cover(store, traces, mask)
                said = {_run_of(store, owner): text for owner, text in said.items()}
        except sqlite3.DatabaseError as fault:
            raise ModelError(f"{database}: the erased person cannot be taken out ({fault}); erase again") from None
    done.runs = said
    return done


def _leads_out(path: Path, home: Path) -> bool:
    """Whether a path leads, by links, to a file elsewhere: to take the link away would hide it from the proof."""
    return not path.resolve().is_relative_to(home.resolve())


def _without(path: Path, traces: Traces, mask: str) -> str:
    """Rewrite a file of text; remove any other, and one that would still tell the person."""
    data = path.read_bytes()
    try:
        text = data.decode() if b"\0" not in data else None
    except UnicodeDecodeError:
        text = None
    cleaned = covered(text, traces, mask) if text is not None else None
    if cleaned is None or in_bytes(traces, cleaned.encode(), path.name):
        path.unlink()
        return "removed"
    path.write_text(cleaned, encoding="utf-8")
    return "rewritten"


def covered(text: str, traces: Traces, mask: str) -> str | None:
    """A text in which a person is covered; JSON stays JSON. None where it would still tell the person."""
    plain = traces.without(text, mask)
    if _is_json(text) and not _is_json(plain):
        plain = json.dumps(_each(json.loads(text), lambda told: traces.without(told, mask)), ensure_ascii=False)
        plain = traces.without(plain, mask)
    return None if traces.kinds_in(plain) or (_is_json(text) and not _is_json(plain)) else plain


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _each(value: Any, cover: Callable[[str], str]) -> Any:
    """A JSON value with every text of it, and every number that changes, covered."""
    if isinstance(value, dict):
        return {cover(key): _each(inner, cover) for key, inner in value.items()}
    if isinstance(value, list):
        return [_each(inner, cover) for inner in value]
    if isinstance(value, bool) or value is None:
        return value
    told = value if isinstance(value, str) else json.dumps(value)
    changed = cover(told)
    return changed if isinstance(value, str) or changed != told else value


def _cover(store: sqlite3.Connection, traces: Traces, mask: str) -> int:
    """Cover the person in every text that is no key and no address, and leave no free page that holds it."""
    changed = 0
    store.execute("PRAGMA secure_delete=ON")  # should what follows the changes fail, no free page holds the text
    for table, column in _texts(store):
        # Names are those of the database itself; values are bound.
        found = store.execute(f"SELECT DISTINCT {column} FROM {table} WHERE typeof({column}) = 'text'").fetchall()
        for text in traces.suspects(pl.Series([text for (text,) in found], dtype=pl.String)):
            if traces.kinds_in(text):
                now = covered(text, traces, mask) or mask
                changed += store.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (now, text)).rowcount
    store.commit()
    if changed:
        store.execute("VACUUM")
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return changed


def _texts(store: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    found = []
    for table in tables:
        of_others = {row[3] for row in store.execute(f'PRAGMA foreign_key_list("{table}")')}
        for _, column, _, _, _, key in store.execute(f'PRAGMA table_info("{table}")'):
            if not key and column not in of_others and (table, column) not in ADDRESSES:
                found.append((f'"{table}"', f'"{column}"'))
    return found


def _run_of(store: sqlite3.Connection, owner: str) -> str:
    """The run that logged a model; any other owner of files is a run itself."""
    try:
        found = store.execute("SELECT source_run_id FROM logged_models WHERE model_id = ?", (owner,)).fetchone()
    except sqlite3.OperationalError:  # a store of a version of MLflow without such models
        return owner
    return str(found[0]) if found and found[0] else owner
