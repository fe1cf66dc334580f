"""What a model is: features, label, fit, predict, evaluate over lake tables as of a date.

A model is one module `models/<name>.py` that ends in `MODEL = register(Model(...))`, and one file of parameters
`configs/models/<name>.yaml`. Nothing lists the models: `find(name)` imports the module. Training, tracking and scoring
know models only through this file.
"""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict

from customer360.models.outputs import COLUMNS, INTERVAL, PAYLOADS, Output
from customer360.platform.errors import ModelError


class NotEnough(ModelError):
    """The data do not hold what a fit needs, yet: no fault, and no reason to stop what goes on beside it."""


class Params(BaseModel):
    """Parameters of a model: frozen, an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Snapshot:
    """Lake tables by name (`silver.subject_days`) and the date that separates past from future; rows after it serve as
    labels only.
    """

    tables: Mapping[str, pl.LazyFrame]
    as_of: date

    def __getitem__(self, table: str) -> pl.LazyFrame:
        if table not in self.tables:
            raise ModelError(f"the snapshot of {self.as_of} lacks {table}; it holds {sorted(self.tables)}")
        return self.tables[table]


class Fitted(Protocol):
    """A fitted model: everything needed to score, written as files whose bytes depend on data, parameters and seed
    alone.
    """

    def save(self, directory: Path) -> None: ...


class Progress(Protocol):
    """Where a long fit leaves unfinished work, so that a restart continues from it."""

    def restore(self) -> Path | None:
        """The directory kept last, or None at a fresh start."""

    def keep(self, write: Callable[[Path], None]) -> None:
        """Have `write` fill a directory and keep that."""


class NoProgress:
    """A fit that starts fresh and keeps nothing on the way."""

    def restore(self) -> Path | None:
        return None

    def keep(self, write: Callable[[Path], None]) -> None:
        return None


@dataclass(frozen=True)
class Evaluation:
    """Figures of one backtest; `verdicts` words each paired comparison as better, worse or no difference.

    `rows` are what was judged, for pictures and for comparing two versions on the same customers: `person_id`, `truth`,
    `score` of a score (and `category`, where a person has one score a category); `person_id`, `mode`, `recall`, `ndcg`
    of lists. They stay in memory: persons do not belong in the model store.
    """

    metrics: dict[str, float]
    verdicts: Mapping[str, str] = field(default_factory=dict)
    rows: pl.DataFrame | None = None


P = TypeVar("P", bound=Params)
F = TypeVar("F", bound=Fitted)


@dataclass(frozen=True)
class Model(Generic[P, F]):
    """A model as the rest of the platform sees it.

    `output` is the table that batch scores fill; None for a model that orders within requests alone, whose `predict`
    tells of drift (`person_id`, `score`). `training_cuts` is how many cuts a fit learns from at the least; 0 where it
    takes the past as a whole (see `lifecycle.history`). `fit` learns from what is known at
    `snapshot.as_of`; `predict` scores the persons known then; `evaluate` judges a model fitted at `snapshot.as_of` on
    what followed. `inputs` are the columns that one scored row is made of (the signature in the registry); `backend` is
    what joins several training workers (see `training`), and `shares_fit` says that `fit` divides its work among them.
    `score` gives the payload of rows with the columns of `inputs`, taken at a date, one row or millions; None where a
    row does not hold all that counts.
    """

    name: str
    target: str
    output: Output | None
    tables: tuple[str, ...]
    inputs: pl.Schema
    params: type[P]
    fit: Callable[[Snapshot, P, Progress], F]
    predict: Callable[[F, Snapshot], pl.DataFrame]
    evaluate: Callable[[F, Snapshot], Evaluation]
    load: Callable[[Path], F]
    backend: Literal["plain", "xgboost", "torch"] = "plain"
    shares_fit: bool = False
    training_cuts: int = 0
    score: Callable[[F, pl.DataFrame, date], pl.DataFrame] | None = None


MODELS: dict[str, Model[Any, Any]] = {}


def register(model: Model[P, F]) -> Model[P, F]:
    """Make a model known by its name; returns it. Raises ModelError when another model has the name."""
    if MODELS.setdefault(model.name, model) is not model:
        raise ModelError(f"two models are called {model.name}")
    return model


def find(name: str) -> Model[Any, Any]:
    """The model of `models/<name>.py`. Raises ModelError when there is none."""
    module = f"{__package__}.{name}"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # the module is there, something that it imports is not
            raise
    if name not in MODELS:
        raise ModelError(f"no model called {name}: {module} does not register one")
    return MODELS[name]


def predictions(
    model: Model[Any, Any], fitted: Fitted, snapshot: Snapshot, version: str, scored_at: datetime
) -> pl.DataFrame:
    """Score a snapshot: rows of the model's output table, columns as in `COLUMNS[model.output]`.

    Raises ModelError when the model fills no table, or its payload has other columns or types than
    `PAYLOADS[model.output]`; predictions may carry `INTERVAL` as well.
    """
    if model.output is None:
        raise ModelError(f"{model.name} fills no table")
    payload = model.predict(fitted, snapshot)
    if model.output == "gold.predictions" and payload.schema == PAYLOADS[model.output]:
        payload = payload.with_columns(**{name: pl.lit(None, kind) for name, kind in INTERVAL.items()})
    wanted = {**PAYLOADS[model.output], **(INTERVAL if model.output == "gold.predictions" else {})}
    if payload.schema != pl.Schema(wanted):
        raise ModelError(f"{model.name} returned {payload.schema}, {model.output} needs {PAYLOADS[model.output]}")
    stamps = {
        "model": model.name,
        "version": version,
        "target": model.target,
        "scored_at": scored_at,
        "as_of": snapshot.as_of,
    }
    stamped = payload.with_columns(**{name: pl.lit(value) for name, value in stamps.items()})
    return stamped.select(COLUMNS[model.output]).with_columns(pl.col(pl.Datetime).cast(pl.Datetime("us", "UTC")))


def fingerprint(directory: Path) -> str:
    """SHA-256 (hex) over the names and bytes of all files of a fitted model."""
    digest = hashlib.sha256()
    for path in sorted(file for file in directory.rglob("*") if file.is_file()):
        digest.update(f"{path.relative_to(directory)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
