"""How a version lies in the registry, and how MLflow's own users load it:
`mlflow.pyfunc.load_model("models:/churn@champion")`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml
from mlflow import pyfunc
from mlflow.models import Model as MlflowModel
from mlflow.models import ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from customer360.models.base import Fitted, Model, find
from customer360.models.lifecycle.fit import Fit
from customer360.models.outputs import PAYLOADS
from customer360.platform.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd

FLAVOUR = "customer360"
FITTED = "fitted"  # folder of a version that holds what `Fitted.save` wrote
AS_OF = "as_of"
# what has no scalar type in a signature (a list of reasons) is carried as text there
MLFLOW_TYPES: dict[pl.DataType, DataType] = {
    pl.Float64(): DataType.double,
    pl.Int64(): DataType.long,
    pl.Boolean(): DataType.boolean,
    pl.Date(): DataType.datetime,
}


class Flavour:
    """How MLflow writes a version: the fitted files, and the MLmodel file that names the model which can load them."""

    @staticmethod
    def save_model(path: str, mlflow_model: MlflowModel, directory: Path, fit: Fit) -> None:
        shutil.copytree(directory, Path(path) / FITTED)
        mlflow_model.signature = signature(fit.model)
        mlflow_model.add_flavor(FLAVOUR, model=fit.model.name, data=FITTED, **{AS_OF: fit.as_of.isoformat()})
        if fit.model.score is not None:
            pyfunc.add_to_model(mlflow_model, loader_module=_load_pyfunc.__module__)
        told = {name: value for name, value in mlflow_model.to_dict().items() if name != "artifact_path"}
        # its own `save` would write where the store lies, and a store may move
        (Path(path) / MLMODEL_FILE_NAME).write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")


def signature(model: Model[Any, Any]) -> ModelSignature:
    """What goes into a scored row and what comes out, for the registry's page; a date where single rows are scored."""
    asked = ParamSchema([ParamSpec(AS_OF, DataType.string, "")]) if model.score else None
    return ModelSignature(_columns(model.inputs), _columns(_returned(model)), asked)


def _returned(model: Model[Any, Any]) -> pl.Schema:
    return pl.Schema({"score": pl.Float64()}) if model.output is None else PAYLOADS[model.output]


def _columns(schema: pl.Schema) -> Schema:
    return Schema([ColSpec(MLFLOW_TYPES.get(kind, DataType.string), name) for name, kind in schema.items()])


@dataclass(frozen=True)
class Rows:
    """A fitted model over rows of features that were taken at `as_of`, unless the caller names another date."""

    model: Model[Any, Any]
    fitted: Fitted
    as_of: date

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The payload of the model's output table, one row for each of `model_input` (the columns of the signature).
        `params` may hold `as_of`, an ISO date. Raises ModelError for a column that is missing, or for what is no date.
        """
        rows = pl.from_pandas(model_input)
        missing = [name for name in self.model.inputs if name not in rows.columns]
        if missing:
            raise ModelError(f"{self.model.name} needs the columns {', '.join(missing)}")
        assert self.model.score is not None
        given = str((params or {}).get(AS_OF) or "") or self.as_of.isoformat()
        try:
            as_of = date.fromisoformat(given)
        except ValueError:
            raise ModelError(f"{AS_OF} is {given!r}, an ISO date is needed (2026-07-01)") from None
        typed = rows.with_columns(pl.col(name).cast(kind) for name, kind in self.model.inputs.items())
        return self.model.score(self.fitted, typed, as_of).to_pandas()


def _load_pyfunc(path: str) -> Rows:
    """What MLflow calls with the folder of a version."""
    told = MlflowModel.load(path).flavors[FLAVOUR]
    model = find(told["model"])
    return Rows(model, model.load(Path(path) / FITTED), date.fromisoformat(told[AS_OF]))
