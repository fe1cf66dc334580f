"""Which versions of which models there are, as a table: what the registry knows, for who cannot ask it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from datetime import date
from typing import Any

import polars as pl

from customer360.models.base import MODELS
from customer360.models.lifecycle.job import registered
from customer360.platform.graph import produces
from customer360.platform.run.planning import Context
from customer360.platform.tables import Boolean, Date, Float, List, String, Struct, Table, Timestamp


class RecommendationModels(Table, table="gold.recommendation_models", sort_by=("name", "version")):
    """One row per registered version of a model: what it is, its data, how it was judged, whether it is used."""

    name = String(primary_key=True, description="In the registry")
    version = String(primary_key=True, description="In the registry")
    algorithm = String(nullable=True, description="In the model's own words; null for a model that is no longer here")
    target = String(nullable=True, description="What its scores are of")
    output = String(nullable=True, description="Table that it fills; null for one that orders products within requests")
    stage = String(description="Its alias in the registry, such as champion; registered without one")
    is_champion = Boolean(description="Whether scores are made with it")
    trained_as_of = Date(nullable=True, description="It knows what happened before this day")
    registered_at = Timestamp(description="When it came into the registry")
    run_id = String(nullable=True, description="Of the training, in MLflow")
    fingerprint = String(nullable=True, description="SHA-256 of its files")
    data_versions = List(
        Struct({"name": String(), "version": String()}), description="Delta version of each table read"
    )
    metrics = List(Struct({"name": String(), "value": Float(nullable=True)}), description="How it was judged")
    verdicts = List(Struct({"name": String(), "verdict": String()}), description="Paired comparisons, in words")


def _listed(context: Context) -> str:
    """Changes with any version, alias or figure of the registry."""
    found = [asdict(v) for v in registered(context.settings).versions()]
    return hashlib.sha256(repr(found).encode()).hexdigest()


@produces(RecommendationModels, version=_listed)
def recommendation_models(context: Context) -> pl.LazyFrame:
    """The registry's versions; no row before anything was trained."""
    rows = [_row(v) for v in registered(context.settings).versions()]
    return pl.LazyFrame(rows, schema={n: c.dtype for n, c in RecommendationModels.columns().items()})


def _row(version: Any) -> dict[str, Any]:
    model = MODELS.get(version.name)
    words = (sys.modules[model.fit.__module__].__doc__ or "").strip() if model else ""
    said = {
        kind: {k.removeprefix(kind): v for k, v in version.tags.items() if k.startswith(kind)}
        for kind in ("data.", "verdict.")
    }
    as_of = version.tags.get("as_of")
    return {
        "name": version.name,
        "version": version.version,
        "algorithm": words.split("\n")[0] or None,
        "target": model.target if model else None,
        "output": model.output if model else None,
        "stage": "champion" if "champion" in version.aliases else (version.aliases or ("registered",))[0],
        "is_champion": "champion" in version.aliases,
        "trained_as_of": date.fromisoformat(as_of) if as_of else None,
        "registered_at": version.registered_at,
        "run_id": version.run_id,
        "fingerprint": version.tags.get("fingerprint"),
        "data_versions": [{"name": n, "version": v} for n, v in sorted(said["data."].items())],
        "metrics": [{"name": n, "value": v} for n, v in sorted(version.metrics.items())],
        "verdicts": [{"name": n, "verdict": v} for n, v in sorted(said["verdict."].items())],
    }
