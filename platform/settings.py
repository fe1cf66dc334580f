"""Settings: the only reader of YAML and environment. Loaded once at the edge and passed down as values.

A settings file may name another with ``extends:``; differences are merged over it. Environment variables override
single keys: ``CUSTOMER360__LAKE__ROOT=s3://lake`` sets ``lake.root``. All faults are reported together.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from customer360.platform.configs import find as find
from customer360.platform.configs import merged, parsed
from customer360.platform.configs import read_yaml as read_yaml
from customer360.platform.connections import AnyConnection, Connection
from customer360.platform.errors import ConfigError
from customer360.platform.evolution import SchemaContract
from customer360.platform.issuers import Issuer, told_apart
from customer360.platform.kinds import class_of
from customer360.platform.schedules import Schedule
from customer360.platform.sinks import AlertSettings
from customer360.platform.systems import with_recipes

ENVIRONMENT_PREFIX = "CUSTOMER360__"
KINDS = "customer360.platform.sources"
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


class TableUpkeep(Frozen):
    """What a run does for the upkeep of one table, where it is another than of the lake; see `LakeSettings`."""

    fold_files: int | None = Field(default=None, ge=0)
    fold_hours: float | None = Field(default=None, ge=0)
    fold_megabytes: int | None = Field(default=None, ge=1)
    keep_days: int | None = Field(default=None, ge=7)


class LakeSettings(Frozen):
    """Where the Delta lake lies, how its subject tables are split, and what a run does for its upkeep."""

    root: str = "data/lake"
    storage_options: StorageOptions = {}
    buckets: int = Field(default=16, ge=1, le=4096)
    # A run folds the small files of a bronze table where a source left `fold_files` of them, or a quarter of that many
    # more than `fold_hours` ago; 0: it folds nothing. Files of `fold_megabytes` are not small
    fold_files: int = Field(default=100, ge=0)
    fold_hours: float = Field(default=24.0, ge=0)
    fold_megabytes: int = Field(default=64, ge=1)
    # Days that versions stay readable; once a day a run deletes what is older. null: runs delete nothing
    keep_days: int | None = Field(default=None, ge=7)
    tables: dict[str, TableUpkeep] = {}  # by table, what of the above is another there; null: it is not

    def of(self, table: str) -> LakeSettings:
        """The settings for one table."""
        own = self.tables.get(table, TableUpkeep()).model_dump(exclude_none=True)
        return self.model_copy(update=own)

    # Days that the records of runs are kept; the newest 1,000 always are. null: all
    keep_run_days: int | None = Field(default=400, ge=1)

    @property
    def fold_bytes(self) -> int:
        return self.fold_megabytes * 1024 * 1024


class RetrySettings(Frozen):
    """How often a unit of work is tried and how long it may take."""

    attempts: int = Field(default=3, ge=1)
    wait_seconds: float = Field(default=30.0, ge=0)
    unit_timeout_seconds: float = Field(default=7200.0, gt=0)


class CircuitSettings(Frozen):
    """When a source that is read from a server is left alone: after so many runs in a row in which it failed, for so
    long; then one run tries it. 0 failures: never.
    """

    failures: int = Field(default=5, ge=0)
    rest_minutes: float = Field(default=30.0, gt=0)


class ExecutionSettings(Frozen):
    """Where and how wide units run, and how long one source may keep the others waiting."""

    executor: Literal["ray", "local"] = "ray"
    ray_address: str | None = None  # None: a local Ray unless RAY_ADDRESS is set
    cpus: int | None = None
    object_store_megabytes: int = Field(default=512, ge=80)
    cpus_per_unit: float = Field(default=1.0, gt=0)
    exchange_megabytes: int = Field(default=64, ge=1)  # input of one unit of an exchange; more input means more units
    grace_seconds: float = Field(default=15.0, ge=0)  # for a source to say what is new, before the others land
    look_seconds: float = Field(default=1800.0, gt=0)  # for the same, after which the run goes on without it
    looks_at_once: int = Field(default=32, ge=1)
    report_interval_minutes: int = Field(default=15, ge=0)  # for which reports rest in runs of what is due; 0: not
    circuit: CircuitSettings = CircuitSettings()
    retry: RetrySettings = RetrySettings()


def _known(kind: str) -> str:
    try:
        kind_of(kind)
    except ConfigError as fault:
        raise PydanticCustomError("kind", "{reason}", {"reason": str(fault)}) from None
    return kind


def _zone(name: str) -> str:
    if name not in available_timezones():
        near = difflib.get_close_matches(name, available_timezones(), n=3)
        raise ValueError(f"{name!r} is no IANA time zone" + (f"; did you mean {', '.join(near)}?" if near else ""))
    return name


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Paths = Annotated[list[str], BeforeValidator(_as_list)]


class SourceSettings(Frozen):
    """What every configured source has: which bronze table it fills, and how its columns map.

    A kind of source extends this by its own keys and by how it is read (``sources.base.Source``).
    """

    connects: ClassVar[type[Connection] | None] = None  # what a kind that reads from a server reads from

    table: str
    system: str = Field(pattern=r"^[A-Z0-9_]+$")  # namespace of the source's identifiers
    kind: Annotated[str, AfterValidator(_known)] = "files"  # module of platform/sources, or a dotted module name
    connection: str = ""  # name of the server that it is read from, where its kind has one
    mapping: dict[str, str] = {}  # contract column: SQL expression (DuckDB's) over the source's columns
    where: str = ""  # SQL condition over the source's columns; other records are not this source's and counted apart
    group_by: Paths = []  # columns or expressions; the mapping then aggregates (one row a group)
    explode: Paths = []  # paths to lists inside of records: one row an element
    deleted: str = ""  # SQL condition over the source's columns; a record that it holds for says that its key is gone
    # append: what is delivered adds to what stands, or replaces it by key. snapshot: every file is the whole (with
    # `parts`, all files of a batch together are), so what is missing from the newest one is deleted. A snapshot that
    # is empty, cannot be read in full, or would delete a larger share than `may_delete` deletes nothing until
    # `customer360 batch confirm` says that it is right.
    mode: Literal["append", "snapshot"] = "append"
    parts: bool = False
    may_delete: float = Field(default=0.5, ge=0, le=1)
    timezone: Annotated[str, AfterValidator(_zone)] | None = (
        None  # IANA; times without an offset are local there. None: UTC
    )
    dates: Literal["day_first", "month_first"] | None = (
        None  # of dates like 1/2/2011; None: what the column itself says
    )
    decimal: Literal[".", ","] | None = (
        None  # the sign before the fraction of numbers; None: what the column itself says
    )
    # Columns that every file has; others that the mapping names are null where a file lacks them. None: all it names
    needs: list[str] | None = None
    # What it may change of its columns and their types: evolve, freeze, discard_row or discard_value, for both or each
    # as `{columns: freeze, data_type: evolve}`. None: what the contract of its table says
    schema_contract: SchemaContract | None = None
    late_after_minutes: float | None = Field(default=None, gt=0)  # without new rows; None: it is never late
    # Of a table that may be sent card data: columns that hold none, such as ids of 13 to 19 digits. All others are
    # searched for card numbers, which are masked before anything is written
    card_free: list[str] = []
    description: str = ""

    @property
    def is_in_order(self) -> bool:
        """Whether of two rows of a key the later one counts, whatever their version: so it is with a log of changes."""
        return False

    @model_validator(mode="after")
    def _deletes_whole_keys(self) -> Self:
        if self.deleted and self.group_by:
            raise ValueError("deleted: a record of a group_by source is a part of its row and cannot delete it")
        if self.parts and self.group_by:
            raise ValueError("parts: a snapshot of a source with group_by is one file")
        if self.group_by and self.schema_contract and self.schema_contract.data_type != "evolve":
            raise ValueError("schema_contract: data_type: a row of a group_by source is of many records, none of which "
                             "fails to cast; leave it to evolve")  # fmt: skip
        if self.parts and self.mode != "snapshot":
            raise ValueError("parts: belongs to mode: snapshot")
        return self


def kind_of(name: str) -> type[SourceSettings]:
    """The class of sources of a kind: the one class that extends `SourceSettings` in the module that the kind names.

    Raises:
        ConfigError: there is no such module, it holds no kind or several, or it needs one that is not installed.
    """
    return class_of(name, SourceSettings, KINDS, "source")


def _of_its_kind(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """A source as its kind checks it: unknown keys and wrong values are faults of the source's own keys."""
    if not isinstance(value, dict):
        return validate(value)
    try:
        return kind_of(str(value.get("kind", "files"))).model_validate(value)
    except ConfigError:  # the keys of an unknown kind cannot be judged, the others can: `kind` is among their faults
        return validate({key: value[key] for key in SourceSettings.model_fields if key in value})


AnySource = Annotated[SerializeAsAny[SourceSettings], WrapValidator(_of_its_kind)]


class MicroBatch(Frozen):
    """How the sources of a system and a bronze table that load in micro-batches do so, where they do not say."""

    system: str
    table: str
    interval_minutes: int = Field(default=15, ge=1)
    batch_size: int = Field(default=10_000, ge=1)
    parallel_partitions: int = Field(default=1, ge=1)
    enabled: bool = True


class ModelSettings(Frozen):
    """Tracking of models, and by name their parameters and the workers that share a fit."""

    tracking_uri: str = ""  # empty: sqlite below `state`
    parameters: dict[str, dict[str, Any]] = {}
    workers: dict[str, Annotated[int, Field(ge=1)]] = {}


class AutoscaleSettings(Frozen):
    """How replicas come and go on Ray: never fewer than ``serve.replicas``."""

    most: int = Field(ge=2)
    requests: float = Field(default=8.0, gt=0)  # under way in a replica at once, which are aimed at
    grow_seconds: float = Field(default=10.0, gt=0)  # that more are under way before replicas come
    shrink_seconds: float = Field(default=300.0, gt=0)  # that fewer are before replicas go


class ServeSettings(Frozen):
    """The HTTP application."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    replicas: int = Field(default=1, ge=1)
    autoscale: AutoscaleSettings | None = None  # null: as many replicas as `replicas` says
    max_ongoing_requests: int = Field(default=64, ge=1)
    max_queued_requests: int = 128
    request_timeout_seconds: float = Field(default=2.0, gt=0)
    header_timeout_seconds: float = Field(default=10.0, gt=0)  # for a whole head of a request
    max_body_kilobytes: int = Field(default=256, ge=1)
    requests_per_minute: int = Field(default=0, ge=0)  # by key and replica; 0: no limit
    public_url: str = Field(default="", pattern=r"^(https?://[^/\s]+)?$")  # as browsers know it, behind a proxy
    shared: str = ""  # object store or folder through which machines share what is published; empty: they do not
    shared_options: StorageOptions = {}
    follows: bool = False  # this machine serves what another one publishes there
    switch_seconds: float = Field(
        default=10.0, ge=0
    )  # after which machines put a new publication into service, together
    # Who else says who calls, by a name of ours: signed tokens (JWT) beside API keys
    issuers: Annotated[dict[str, Issuer], AfterValidator(told_apart)] = {}

    @model_validator(mode="after")
    def _follows_something(self) -> Self:
        if self.follows and not self.shared:
            raise ValueError("follows: name what to follow, the object store of `shared:`")
        return self

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.autoscale and self.autoscale.most <= self.replicas:
            raise ValueError(f"autoscale: most: {self.autoscale.most} is not above replicas: {self.replicas}")
        return self


class OpenLineageSettings(Frozen):
    """Where runs are told of as OpenLineage events; nowhere unless a file or a URL is named."""

    file: str = ""  # one JSON object a line, appended
    url: str = Field(default="", pattern=r"^(https?://[^/\s@]+(/\S*)?)?$")  # that takes events by POST
    api_key_env: str = ""  # environment variable that holds the key, sent as a bearer token
    namespace: str = ""  # of jobs; empty: `name` of the settings
    timeout_seconds: float = Field(default=5.0, gt=0)  # for one event


def _connection_fault(source: SourceSettings, connections: Mapping[str, Connection]) -> str:
    """What is wrong with the connection that a source names; empty where nothing is."""
    name, wanted = source.connection, source.connects
    if wanted is None:
        return f"kind {source.kind} has no connection" if name else ""
    if name not in connections:
        known = ", ".join(connections) or "none"
        return f"connection {name!r} does not stand under connections:, where there is {known}"
    if not isinstance(connections[name], wanted):
        return f"kind {source.kind} does not read from connection {name}, which is {connections[name].kind}"
    return ""


class Settings(Frozen):
    """Everything that may be configured."""

    name: str = "customer360"
    landing: str = "data/sample/landing"
    landing_options: StorageOptions = {}
    state: str = "data/state"  # API keys, model registry, online store: what is not the lake
    lake: LakeSettings = LakeSettings()
    execution: ExecutionSettings = ExecutionSettings()
    connections: dict[str, AnyConnection] = {}  # servers that sources read from, by name
    sources: dict[str, AnySource] = {}
    micro_batches: list[MicroBatch] = []  # the first of a system and table holds
    alerts: AlertSettings = AlertSettings()
    schedules: dict[str, Schedule] = {}  # commands that `customer360 daemon` starts by the clock, by name
    loss: float = Field(default=0.05, ge=0, le=1)  # share of a source's rows that a run may refuse without failing
    rules: dict[str, str] = {}  # rule file by kind: identity, standardization, enrichment, validation, audiences
    models: ModelSettings = ModelSettings()
    serve: ServeSettings = ServeSettings()
    openlineage: OpenLineageSettings = OpenLineageSettings()

    @model_validator(mode="after")
    def _connects(self) -> Self:
        faults = [
            f"sources.{name}: {fault}"
            for name, source in self.sources.items()
            if (fault := _connection_fault(source, self.connections))
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def zones(self) -> dict[str, str]:
        """IANA zone by source, where one is named."""
        return {name: source.timezone for name, source in self.sources.items() if source.timezone}


def load(path: str | Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read settings from a file (default ``configs/local.yaml``) and the environment.

    Raises:
        ConfigError: every fault of the file, with its key, in one message.
    """
    environment = os.environ if environment is None else environment
    chosen = Path(path or environment.get("CUSTOMER360_CONFIG") or find("local.yaml"))
    content = merged(read_yaml(chosen), _from_environment(environment))
    if "sources" in content:
        content["sources"] = with_recipes(content["sources"])
    try:
        return Settings.model_validate(content)
    except ValidationError as fault:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}{_shown(e)}" for e in fault.errors()]
        raise ConfigError(f"{chosen}: {len(lines)} fault(s)\n" + "\n".join(lines)) from None


def _shown(fault: Any) -> str:
    """The faulty value for a message; what may be a secret is not shown: storage options, and all of a connection."""
    hidden = fault["loc"][:1] in (("connections",), ("alerts",), ()) or any(
        str(key).endswith(_OPTIONS) for key in fault["loc"]
    )
    read_as_truth = fault["type"] == "string_type" and isinstance(fault["input"], bool)
    hint = (
        "; YAML reads yes, no, on and off so: write a column of that name in quotes, '\"no\"'" if read_as_truth else ""
    )
    return "" if hidden else f" (is {fault['input']!r:.60}){hint}"


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
    return reduce(merged, found, {})


def _value(name: str, text: str) -> Any:
    """A variable's value as YAML; storage options are text as they stand (a key of digits is no number)."""
    if f"{_OPTIONS}__" in name.lower():
        return text
    try:
        return parsed(text)
    except ValueError as fault:
        raise ConfigError(f"environment variable {name} is not valid YAML: {fault}") from None
