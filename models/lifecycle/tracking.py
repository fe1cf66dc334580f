"""Runs, models and the champion of each, in MLflow. Only the driver writes here: one writer to the SQLite store.

A version in the registry holds the files that `Fitted.save` wrote under `fitted/` (no pickle) and an MLmodel file with
the signature; it is loaded by the model's own `load`, and by MLflow's `pyfunc` where a model scores single rows. The
alias `champion` names the version in use.
"""

import json
import math
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.exceptions import MlflowException
from mlflow.models import Model as MlflowModel
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from customer360.models.base import Evaluation, Fitted, Model, Params, find, fingerprint
from customer360.models.lifecycle import content, embedded, relocation
from customer360.models.lifecycle.fit import Fit, marks
from customer360.models.lifecycle.flavour import FITTED, FLAVOUR, Flavour
from customer360.platform.errors import ModelError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from customer360.models.lifecycle.tuning import Tuned

CHAMPION, CHALLENGER = "champion", "challenger"
PLOTS, PAST, WITHHELD = "plots", "champions", "withheld.bin"
PAST_LENGTH, TAG_LENGTH = 50, 4000
DESCRIPTION_LENGTH = 5000  # what the registry takes
DIGEST_LENGTH = 36  # of a dataset, in MLflow


@dataclass(frozen=True)
class Logged:
    """One registered version: `is_champion` after this run."""

    name: str
    version: str
    run_id: str
    is_champion: bool


@dataclass(frozen=True)
class Version:
    """One registered version as the registry describes it; ``tags`` and ``metrics`` are those of its run."""

    name: str
    version: str
    registered_at: datetime
    run_id: str | None
    aliases: tuple[str, ...]
    tags: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Registry:
    """An MLflow store: `uri` (sqlite:///… or a server) and the folder or URI that takes artifacts of new
    experiments."""

    uri: str
    artifacts: str

    def log_model_run(
        self,
        fit: Fit,
        directory: Path,
        evaluation: Evaluation,
        *,
        promote: bool = False,
        refused: str = "",
        card: str = "",
        figures: Mapping[str, "Figure"] | None = None,
    ) -> Logged:
        """Log one fit and register its files (in `directory`) as a new version of its model.

        Recorded: what the fit was asked for, metrics, verdicts, the fingerprint of the files, the signature, marks of
        who was withheld, the model `card` (Markdown) and `figures` by file name. The version becomes champion when
        there is none and it was not `refused` (with a reason), or `promote` is set, else challenger. Raises ModelError
        when a table's version is missing.
        """
        model, as_of = fit.model, fit.as_of
        missing = set(model.tables) - set(fit.versions)
        if missing:
            raise ModelError(f"{model.name} was trained on tables without a stated version: {sorted(missing)}")
        self._connect(model.name)
        with _started(f"{model.name} {as_of}") as run:
            mlflow.log_params(_flat(fit.params.model_dump(mode="json")))
            mlflow.log_metrics(evaluation.metrics)
            mlflow.set_tags(
                {"as_of": as_of.isoformat(), "fingerprint": fingerprint(directory)}
                | ({"recipe": content.recipe(model, as_of, fit.params, fit.content)} if fit.content else {})
                | {f"data.{table}": str(version) for table, version in fit.versions.items()}
                | {f"verdict.{name}": verdict for name, verdict in evaluation.verdicts.items()}
            )
            if fit.content:
                mlflow.log_input(_dataset(fit), context="training")
            mlflow.log_dict({"metrics": evaluation.metrics, "verdicts": dict(evaluation.verdicts)}, "evaluation.json")
            for name, figure in (figures or {}).items():
                mlflow.log_figure(figure, f"{PLOTS}/{name}")
            if fit.withheld is not None:
                with tempfile.TemporaryDirectory() as scratch:
                    (Path(scratch) / WITHHELD).write_bytes(marks(fit.withheld))
                    mlflow.log_artifact(str(Path(scratch) / WITHHELD))
            if card:
                mlflow.log_text(card, "model_card.md")
            info = MlflowModel.log(
                artifact_path=None,
                name=model.name,
                flavor=Flavour,
                flavor_name=FLAVOUR,
                registered_model_name=model.name,
                directory=directory,
                fit=fit,
            )
        version = str(info.registered_model_version)
        if card:
            self._client().update_model_version(model.name, version, card[:DESCRIPTION_LENGTH])
        if promote or (not refused and self.champion_version(model.name) is None):
            self.promote(model.name, version)
        else:
            if refused:
                self.note(model.name, version, "gate", f"refused: {refused}")
            self._client().set_registered_model_alias(model.name, CHALLENGER, version)
        return Logged(model.name, version, run.info.run_id, self.champion_version(model.name) == version)

    def log_tuning(self, tuned: "Tuned", figure: "Figure") -> str:
        """Log a search: a parent run with the best parameters, and a child a trial. Returns the parent's run id."""
        run, best = tuned.run, tuned.best
        self._connect(run.model)
        with _started(f"tune {run.model} {run.as_of}") as parent:
            mlflow.log_params(_flat(run.params_at(best.index, best.rung).model_dump(mode="json")))
            mlflow.log_metrics(best.metrics | {"best_score": best.score, "score_in_force": tuned.incumbent.score})
            mlflow.set_tags(
                {"tuning": run.name, "as_of": run.as_of.isoformat(), "objective": run.objective.metric}
                | {"direction": run.objective.direction, "judged_from": min(run.cuts).isoformat()}
                | {f"data.{table}": str(version) for table, version in run.versions.items()}
            )
            mlflow.log_dict(best.drawn, "best.yaml")
            mlflow.log_figure(figure, f"{PLOTS}/trials.png")
            for trial in tuned.trials:
                with _started(f"trial {trial.index}", nested=True):
                    mlflow.log_params(_flat(trial.drawn))
                    mlflow.log_metrics({k: v for k, v in trial.metrics.items() if math.isfinite(v)})
                    mlflow.set_tags(
                        {"rung": str(trial.rung), "is_whole": str(trial.is_whole), "fault": trial.fault[:500]}
                    )
        return str(parent.info.run_id)

    def log_once(
        self,
        experiment: str,
        version: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        documents: Mapping[str, Any],
        figures: Mapping[str, "Figure"],
    ) -> str:
        """Log what the platform fitted and keeps elsewhere, with JSON `documents` by file name. Returns the run id,
        that of the earlier run where this version was logged before.
        """
        self._connect(experiment)
        (found,) = [e for e in self._client().search_experiments() if e.name == experiment]
        known = self._client().search_runs([found.experiment_id], f"tags.version = '{version}'")
        if known:
            return str(known[0].info.run_id)
        with _started(f"{experiment} {version}") as run:
            mlflow.log_params(_flat(params))
            mlflow.log_metrics(dict(metrics))
            for name, document in documents.items():
                mlflow.log_dict(document, name)
            for name, figure in figures.items():
                mlflow.log_figure(figure, f"{PLOTS}/{name}")
            mlflow.set_tag("version", version)  # last: a run that broke off is not taken for a whole one
        return str(run.info.run_id)

    def promote(self, name: str, version: str, reason: str = "") -> None:
        """Make a version the champion of its model; it is challenger no more. The model's tag `champions` keeps those
        before it, the latest last.
        """
        client, champion = self._client(), self.champion_version(name)
        if champion == version:
            return
        if champion is not None:
            self._set_past_champions(name, [*self._past_champions(name), champion])
        if self._alias(name, CHALLENGER) == version:
            client.delete_registered_model_alias(name, CHALLENGER)
        client.set_registered_model_alias(name, CHAMPION, version)
        self.note(name, version, "promoted", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {reason}".strip())

    def rollback(self, name: str, reason: str) -> str:
        """Put the previous champion back in use and return its version. Raises ModelError when there is none."""
        champion, previous = self.champion_version(name), self.previous_champion(name)
        if champion is None or previous is None:
            raise ModelError(f"{name} has no earlier champion to go back to")
        self._client().set_registered_model_alias(name, CHAMPION, previous)
        self._set_past_champions(name, self._past_champions(name)[:-1])
        self.note(name, champion, "rolled_back", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {reason}".strip())
        return previous

    def previous_champion(self, name: str) -> str | None:
        """The version that a rollback would put back, None when there is none."""
        past = self._past_champions(name)
        return past[-1] if past else None

    def note(self, name: str, version: str, key: str, text: str) -> None:
        """Leave a tag on a version: what was decided, and why."""
        self._client().set_model_version_tag(name, version, key, text[:TAG_LENGTH])

    def _run_or_none(self, run_id: str | None) -> Any:
        """A run; None where it was deleted for good."""
        try:
            return self._client().get_run(run_id) if run_id else None
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None

    def tag_run(self, run_id: str, key: str, text: str) -> None:
        """Leave a tag on a run, where there still is one."""
        try:
            self._client().set_tag(run_id, key, text[:TAG_LENGTH])
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise

    def as_of(self, name: str, version: str) -> date:
        """The date that a version was fitted at. Raises ModelError when the version does not exist."""
        return date.fromisoformat(self._run(name, version).tags["as_of"])

    def metrics(self, name: str, version: str) -> dict[str, float]:
        """The figures of a version's backtest."""
        return dict(self._run(name, version).metrics)

    def withheld(self, name: str, version: str) -> bytes | None:
        """Marks (`fit.marks`) of who refused when a version was fitted, None where it keeps none. Raises
        ModelError when the version does not exist, or its file cannot be read."""
        run_id = self._run_of(name, version).info.run_id
        try:
            if WITHHELD not in {artifact.path for artifact in self._client().list_artifacts(run_id)}:
                return None
            with tempfile.TemporaryDirectory() as scratch:
                return Path(self._client().download_artifacts(run_id, WITHHELD, scratch)).read_bytes()
        except (MlflowException, OSError) as fault:
            raise ModelError(f"{name} version {version}: {WITHHELD} of its run cannot be read: {fault}") from None

    def params(self, model: Model[Any, Any], version: str) -> Params:
        """The parameters of a version. Raises ModelError when the model does not take them any more."""
        stored = {name: _value(text) for name, text in self._run(model.name, version).params.items()}
        try:
            return model.params.model_validate(stored)
        except ValueError as fault:
            raise ModelError(f"{model.name} version {version} has parameters of another time: {fault}") from None

    def _run(self, name: str, version: str) -> Any:
        return self._run_of(name, version).data

    def _run_of(self, name: str, version: str) -> Any:
        try:
            return self._client().get_run(self._client().get_model_version(name, version).run_id)
        except MlflowException as error:
            raise ModelError(f"{name} has no version {version}: {error.message}") from None

    def _past_champions(self, name: str) -> list[str]:
        registered = self._registered(name)
        found: list[str] = json.loads(registered.tags.get(PAST, "[]")) if registered else []
        return found

    def _set_past_champions(self, name: str, versions: list[str]) -> None:
        self._client().set_registered_model_tag(name, PAST, json.dumps(versions[-PAST_LENGTH:]))

    def champion_version(self, name: str) -> str | None:
        """The version in use, None when the model has no champion."""
        return self._alias(name, CHAMPION)

    def challenger_version(self, name: str) -> str | None:
        """The version that was trained last and is not in use, None when there is none."""
        return self._alias(name, CHALLENGER)

    def _alias(self, name: str, alias: str) -> str | None:
        registered = self._registered(name)
        return str(registered.aliases[alias]) if registered and alias in registered.aliases else None

    def _registered(self, name: str) -> Any:
        """The model as the registry has it, None when it was never trained."""
        try:
            return self._client().get_registered_model(name)
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                return None
            raise

    def trained_by(self, name: str, recipe: str) -> str | None:
        """The newest version that was fitted by a recipe (`content.recipe`), None when there is none."""
        found = [v.version for v in self.versions(name) if v.tags.get("recipe") == recipe]
        return found[-1] if found else None

    def versions(self, name: str | None = None) -> list[Version]:
        """Every registered version of every model, or of one, by name, the oldest first."""
        client = self._client()
        found = []
        models = [m for m in client.search_registered_models() if name in (None, m.name)]
        for model in sorted(models, key=lambda m: m.name):
            # `search_model_versions` leaves aliases out; the model itself has them
            versions = client.search_model_versions(f"name='{model.name}'")
            for each in sorted(versions, key=lambda v: int(v.version)):
                run = self._run_or_none(each.run_id)
                aliases = tuple(sorted(a for a, v in model.aliases.items() if str(v) == str(each.version)))
                found.append(
                    Version(
                        model.name,
                        str(each.version),
                        datetime.fromtimestamp(each.creation_timestamp / 1000, UTC),
                        each.run_id,
                        aliases,
                        {k: v for k, v in sorted(run.data.tags.items()) if not k.startswith("mlflow.")} if run else {},
                        dict(sorted(run.data.metrics.items())) if run else {},
                    )
                )
        return found

    def load_champion(self, name: str) -> tuple[Fitted, str] | None:
        """The fitted champion and its version, None when there is none. Raises ModelError when its files are not those
        of the run.
        """
        version = self.champion_version(name)
        return None if version is None else (self.load(name, version), version)

    def load(self, name: str, version: str) -> Fitted:
        """One registered version, loaded by `find(name).load`."""
        self._point()  # a `models:/` address is resolved by the process-wide registry
        client = self._client()
        run = client.get_run(client.get_model_version(name, version).run_id)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                found = mlflow.artifacts.download_artifacts(
                    f"models:/{name}/{version}", dst_path=scratch, tracking_uri=self.uri
                )
            except (MlflowException, OSError) as fault:
                raise ModelError(f"{name} version {version}: its files are not in {self.artifacts}: {fault}") from None
            directory = Path(found) / FITTED
            if not directory.is_dir():
                raise ModelError(f"{name} version {version}: its files are not in {self.artifacts}; train it anew")
            stored, expected = fingerprint(directory), run.data.tags["fingerprint"]
            if stored != expected:
                raise ModelError(
                    f"{name} version {version}: files have fingerprint {stored[:12]}, the run recorded {expected[:12]}"
                )
            return find(name).load(directory)

    def _client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _point(self) -> None:
        """Point MLflow's process-wide state here."""
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)

    def _connect(self, experiment: str) -> None:
        """Point MLflow's process-wide state here and at the model's experiment, made on first use."""
        self._point()
        if self._client().get_experiment_by_name(experiment) is None:
            self._client().create_experiment(experiment, artifact_location=f"{self.artifacts.rstrip('/')}/{experiment}")
        mlflow.set_experiment(experiment)


def local_registry(state: Path) -> Registry:
    """The embedded store below a folder: `mlflow.db` and `artifacts/`. Raises ModelError where it is damaged."""
    folder = state.resolve() / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "mlflow.db"
    artifacts = (folder / "artifacts").as_uri()
    try:
        if embedded.is_half_made(database):
            embedded.make(database)
        relocation.relocate(database, artifacts)
    except sqlite3.DatabaseError as fault:
        raise ModelError(
            f"{database} cannot be read ({fault}): restore it (`customer360 restore`), or move the folder away and "
            f"train the models anew"
        ) from None
    return Registry(f"sqlite:///{database}", artifacts)


def _started(name: str, nested: bool = False) -> Any:
    """A run that does not say where the program lies, as MLflow would by itself: a store may move."""
    return mlflow.start_run(run_name=name, nested=nested, tags={"mlflow.source.name": "customer360"})


def _dataset(fit: Fit) -> MetaDataset:
    """The rows that a fit learned from: the tables at their versions, and the digest of what they hold. Where they lie
    is not said: a lake may move."""
    tables = {f"data.{table}": str(version) for table, version in fit.versions.items()}
    return MetaDataset(CodeDatasetSource(tables), name=f"{fit.model.name} inputs", digest=fit.content[:DIGEST_LENGTH])


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as text; a nested one as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in values.items()
    }


def _value(text: str) -> Any:
    """A parameter that `_flat` made text of."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
