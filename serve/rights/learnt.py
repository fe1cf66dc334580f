"""What an erasure does to the model store: files and notes lose the person, runs and versions say so."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from customer360.models.lifecycle import forgetting
from customer360.models.lifecycle.job import registered
from customer360.platform import privacy, telemetry
from customer360.platform.lake import Lake
from customer360.platform.settings import Settings

TAG = "erasure"  # of a run whose files or texts changed
SINCE = "erased_since"  # of a version: how many people were erased after it was registered


def forget_in_models(settings: Settings, lake: Lake, people: Collection[privacy.Identifiers]) -> dict[str, int]:
    """Take people out of the model store, where it is a folder or a file here: a server's store is the server's.
    Files and texts that changed, by what was done to them.

    Raises:
        ModelError: its database cannot be changed.
    """
    place = _place(settings)
    if place is None:
        return {}
    database, artifacts = place
    runs: dict[str, str] = {}
    changed: dict[str, int] = {}
    for who in people:
        done = forgetting.forget(artifacts, database, who.traces, privacy.MASK)
        counts = {"rewritten": done.rewritten, "removed": done.removed, "texts": done.texts}
        for what, count in counts.items():
            if count:
                name = f"model store, {what} (files)" if what != "texts" else "model store, texts"
                changed[name] = changed.get(name, 0) + count
        runs |= done.runs
    store = registered(settings)
    for run, text in runs.items():
        store.tag_run(run, TAG, text)
    _say_who_learnt(store, privacy.erasures(lake), len(people))
    return changed


def _say_who_learnt(store: Any, ended: list[datetime], now: int) -> None:
    """Tag every version with the number of people who were erased since it was fitted: it may have learnt from them."""
    listed = []
    for version in store.versions():
        count = sum(each > version.registered_at for each in ended) + now
        store.note(
            version.name, version.version, SINCE, f"{count}; what was learnt from them leaves with the next training"
        )
        if version.aliases:
            listed.append(f"{version.name} {version.version} ({', '.join(version.aliases)})")
    if listed:
        telemetry.event(
            "models that were fitted before this erasure, until they are trained anew: " + ", ".join(listed)
        )


def _place(settings: Settings) -> tuple[Path | None, Path] | None:
    """Database and folder of the artifacts; no database where the store is files alone."""
    uri, home = settings.models.tracking_uri, Path(settings.state).resolve() / "mlflow"
    parts = urlsplit(uri or "")
    if not uri or parts.scheme == "sqlite":
        database = Path(uri.removeprefix("sqlite:///")).absolute() if uri else home / "mlflow.db"
        return (database, home / "artifacts") if database.exists() else None
    if "://" in uri and parts.scheme != "file":
        return None
    return None, Path(unquote(parts.path) if parts.scheme == "file" else uri).absolute()
