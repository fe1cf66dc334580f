"""Settings: the only reader of YAML and environment. Loaded once at the edge and passed down as values.

A settings file may name another with ``extends:``; differences are merged over it. Environment variables override
single keys: ``CUSTOMER360__LAKE__ROOT=s3://lake`` sets ``lake.root``. All faults are reported together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import reduce
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from customer360.platform.errors import ConfigError

ENVIRONMENT_PREFIX = "CUSTOMER360__"
_OPTIONS = "_options"  # ends the names of mappings of text, some of it secret


class Frozen(BaseModel):
    """Base of all settings: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_text(options: Any) -> Any:
    """Scalars of a mapping as the text that object stores take: ``true``, not ``True``."""
    if not isinstance(options, dict):
        return options
    return {
        k: str(v).lower() if isinstance(v, bool) else str(v) if isinstance(v, (int, float)) else v
        for k, v in options.items()
    }


StorageOptions = Annotated[dict[str, str], BeforeValidator(_as_text)]


class LakeSettings(Frozen):
    """Where the Delta lake lies and how its subject tables are split."""

    root: str = "data/lake"
    storage_options: StorageOptions = {}
    buckets: int = Field(default=16, ge=1, le=4096)


class RetrySettings(Frozen):
    """How often a unit of work is tried and how long it may take."""

    attempts: int = Field(default=3, ge=1)
    wait_seconds: float = Field(default=30.0, ge=0)
    unit_timeout_seconds: float = Field(default=7200.0, gt=0)


class ExecutionSettings(Frozen):
    """Where and how wide units run."""

    executor: Literal["ray", "local"] = "ray"
    ray_address: str | None = None  # None: a local Ray unless RAY_ADDRESS is set
    cpus: int | None = None
    object_store_megabytes: int = Field(default=512, ge=80)
    cpus_per_unit: float = Field(default=1.0, gt=0)
    exchange_megabytes: int = Field(default=64, ge=1)  # input of one unit of an exchange; more input means more units
    retry: RetrySettings = RetrySettings()


class SourceSettings(Frozen):
    """A configured source: which files become rows of which bronze table, and how their columns map."""

    table: str
    system: str = Field(pattern=r"^[A-Z0-9_]+$")  # namespace of the source's identifiers
    kind: Literal["files"] = "files"
    path: str  # glob below the landing root
    format: Literal["csv", "json", "parquet"]
    delimiter: str = Field(",", pattern=r"^[\x01-\x7f]$")
    mapping: dict[str, str] = {}  # contract column: SQL expression over the file's columns
    where: str = ""  # SQL condition over the file's columns; other records are not this source's and counted apart
    group_by: list[str] = []  # file columns; the mapping then aggregates (one row a group)
    description: str = ""


class ModelSettings(Frozen):
    """Tracking of models, and by name their parameters and the workers that share a fit."""

    tracking_uri: str = ""  # empty: sqlite below `state`
    parameters: dict[str, dict[str, Any]] = {}
    workers: dict[str, Annotated[int, Field(ge=1)]] = {}


class ServeSettings(Frozen):
    """The HTTP application."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    replicas: int = Field(default=1, ge=1)
    max_ongoing_requests: int = Field(default=64, ge=1)
    max_queued_requests: int = 128
    request_timeout_seconds: float = Field(default=2.0, gt=0)


class Settings(Frozen):
    """Everything that may be configured."""

    name: str = "customer360"
    landing: str = "data/sample/landing"
    landing_options: StorageOptions = {}
    state: str = "data/state"  # API keys, model registry, online store: what is not the lake
    lake: LakeSettings = LakeSettings()
    execution: ExecutionSettings = ExecutionSettings()
    sources: dict[str, SourceSettings] = {}
    rules: dict[str, str] = {}  # rule file by kind: identity, standardization, enrichment, validation, audiences
    models: ModelSettings = ModelSettings()
    serve: ServeSettings = ServeSettings()


def load(path: str | Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read settings from a file (default ``configs/local.yaml``) and the environment.

    Raises:
        ConfigError: every fault of the file, with its key, in one message.
    """
    environment = os.environ if environment is None else environment
    chosen = Path(path or environment.get("CUSTOMER360_CONFIG") or find("local.yaml"))
    merged = _merge(read_yaml(chosen), _from_environment(environment))
    try:
        return Settings.model_validate(merged)
    except ValidationError as fault:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}{_shown(e)}" for e in fault.errors()]
        raise ConfigError(f"{chosen}: {len(lines)} fault(s)\n" + "\n".join(lines)) from None


def _shown(fault: Any) -> str:
    """The faulty value for a message; storage options may be secrets and are not shown."""
    return "" if any(str(key).endswith(_OPTIONS) for key in fault["loc"]) else f" (is {fault['input']!r:.60})"


def read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """One YAML mapping with ``extends`` resolved; ``above`` are the files that extend this one.

    Raises:
        ConfigError: the file is absent, is no YAML (with line and column), no mapping, or extends itself.
    """
    if not path.exists() and find(path.name).exists():
        path = find(path.name)
    if path.resolve() in above:
        raise ConfigError(f"{path} extends itself, by way of {', '.join(map(str, above))}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"settings file {path} does not exist") from None
    except yaml.YAMLError as fault:
        raise ConfigError(f"{path} is not valid YAML: {fault}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping, not {type(content).__name__}")
    parent = content.pop("extends", None)
    return _merge(read_yaml(path.parent / parent, (*above, path.resolve())), content) if parent else content


def find(name: str) -> Path:
    """A file of ``configs/``: of the working directory first, else the one installed with the package."""
    local = Path("configs") / name
    if local.exists():
        return local
    packaged = Path(str(resources.files("customer360"))) if _is_package() else Path()
    for root in (packaged / "configs", Path(__file__).resolve().parents[1] / "configs"):
        if (root / name).exists():
            return root / name
    return local


def _is_package() -> bool:
    try:
        resources.files("customer360")
    except (ModuleNotFoundError, TypeError):
        return False
    return True


def _merge(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {
        key: _merge(below[key], above[key]) if key in below and key in above else {**below, **above}[key]
        for key in {**below, **above}
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = [
        reduce(
            lambda inner, key: {key: inner},
            reversed(name[len(ENVIRONMENT_PREFIX) :].lower().split("__")),
            _value(name, text),
        )
        for name, text in sorted(environment.items())
        if name.startswith(ENVIRONMENT_PREFIX)
    ]
    return reduce(_merge, found, {})


def _value(name: str, text: str) -> Any:
    """A variable's value as YAML; storage options are text as they stand (a key of digits is no number)."""
    if f"{_OPTIONS}__" in name.lower():
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise ConfigError(f"environment variable {name} is not valid YAML: {fault}") from None
