"""What every step of a model's life is given: one model, where it lives, and the date up to which it may know."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from customer360.models.base import Model, Params, Snapshot
from customer360.models.frames import HORIZON_DAYS
from customer360.models.lifecycle import content
from customer360.models.lifecycle.plan import Plan, params_of, plan_of
from customer360.pipelines.denied import denied
from customer360.platform import purposes
from customer360.platform.errors import ModelError
from customer360.platform.lake import Lake
from customer360.platform.settings import Settings

PEOPLE, ORGANISATION = "silver.people", "organisation"


@dataclass(frozen=True)
class ModelJob:
    """Settings, the lake, one model, and the date that separates known from unknown."""

    settings: Settings
    lake: Lake
    model: Model[Any, Any]
    cut: date

    @property
    def params(self) -> Params:
        """The parameters in force. Raises ConfigError."""
        return params_of(self.settings, self.model)

    @property
    def plan(self) -> Plan:
        return plan_of(self.model)

    @property
    def registry(self) -> Any:
        return registry_of(self.settings)

    @property
    def last_window(self) -> date:
        """Start of the newest window whose outcome is known."""
        return self.cut - timedelta(days=horizon_of(self.params))

    def snapshot(self, at: date) -> Snapshot:
        return snapshot_of(self.lake, self.model, at)

    def inputs(self) -> dict[str, list[str]]:
        """Parquet files by table, as a worker opens them."""
        return {
            table: [f"{self.lake.uri(table)}/{f.path}" for f in self.lake.files(table)] for table in self.model.tables
        }

    def versions(self) -> dict[str, int]:
        """Of every table that the model reads, now."""
        return {table: self.lake.version(table) for table in self.model.tables}

    def firms(self) -> tuple[str, ...]:
        """Whose rows a fit is not given, though they are in its files: firms, and who denies what the model is for."""
        return left_out(self.lake, self.model, fitting=True)

    def content(self) -> str:
        """Digest of the rows that the model reads, now. Raises ModelError where a file cannot be read."""
        return content.of_inputs(self.inputs(), self.firms(), self.lake.storage_options)

    def champion(self) -> str:
        """Raises ModelError when there is none."""
        version = self.registry.champion_version(self.model.name)
        if version is None:
            raise ModelError(f"{self.model.name} has no champion; `customer360 train {self.model.name}` makes one")
        return str(version)

    def challenger(self) -> str:
        """Raises ModelError when there is none."""
        version = self.registry.challenger_version(self.model.name)
        if version is None:
            raise ModelError(f"{self.model.name} has no challenger; `customer360 train {self.model.name}` makes one")
        return str(version)


def registry_of(settings: Settings) -> Any:
    """The configured MLflow store. MLflow is imported here, on first use: it takes seconds."""
    from customer360.models.lifecycle.tracking import Registry, local_registry

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it reports each table that it creates
    if settings.models.tracking_uri:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # by itself it asks a dead server for minutes
        return Registry(settings.models.tracking_uri, f"{Path(settings.state).resolve().as_uri()}/mlflow/artifacts")
    return local_registry(Path(settings.state))


class NothingRegistered:
    """What a store that was never made holds: to open MLflow for that takes seconds of every run."""

    def champion_version(self, name: str) -> str | None:
        return None

    def load_champion(self, name: str) -> None:
        return None

    def versions(self) -> list[Any]:
        return []


def registered(settings: Settings) -> Any:
    """The configured store, for who only looks into it."""
    is_made = bool(settings.models.tracking_uri) or Path(settings.state, "mlflow", "mlflow.db").exists()
    return registry_of(settings) if is_made else NothingRegistered()


def horizon_of(params: Params) -> int:
    """Days that follow a cut and judge it."""
    return int(getattr(params, "horizon_days", HORIZON_DAYS))


def snapshot_of(lake: Lake, model: Model[Any, Any], at: date) -> Snapshot:
    """The tables of a model as a fit is given them: nothing of an organisation's person (what firms buy, and when they
    leave, is no person's habit), nothing of who denies what the model is for, or that models learn from them."""
    without = left_out(lake, model, fitting=True)
    return Snapshot({table: content.without(lake.scan(table), without) for table in model.tables}, at)


def needs(model: Model[Any, Any], *, fitting: bool) -> frozenset[str]:
    """Purposes without which a model is given nothing of a person: those of the tables that it reads and fills, and of
    a fit TRAINING."""
    filled = [] if model.output is None else [model.output]
    return purposes.of_tables([*model.tables, *filled]) | ({"TRAINING"} if fitting else set())


def denying(lake: Lake, model: Model[Any, Any], *, fitting: bool) -> tuple[str, ...]:
    """Persons who deny one of the purposes that a model needs, sorted."""
    held = denied(lake).filter(pl.col("purpose").is_in(sorted(needs(model, fitting=fitting))))
    return tuple(held["person_id"].unique().sort())


def left_out(lake: Lake, model: Model[Any, Any], *, fitting: bool) -> tuple[str, ...]:
    """Persons whose rows a model neither learns from (``fitting``) nor scores, sorted."""
    return tuple(sorted({*firms_of(lake), *denying(lake, model, fitting=fitting)}))


def firms_of(lake: Lake) -> tuple[str, ...]:
    """Persons of a lake that are organisations, sorted; none where it has no people yet."""
    if not lake.exists(PEOPLE):
        return ()
    ids = lake.scan(PEOPLE).filter(pl.col("entity_type") == ORGANISATION).select("person_id").collect()["person_id"]
    return tuple(ids.drop_nulls().unique().sort())
