"""Planning: the parts of a node's inputs, the fingerprint that says whether it is current, and its units."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from customer360.platform import graph, tables
from customer360.platform.errors import ConfigError
from customer360.platform.graph import Node
from customer360.platform.lake import File, Lake
from customer360.platform.lake.folds import standing, written
from customer360.platform.quality.ahead import MARGIN, margin_of
from customer360.platform.quality.checks import TableChecks
from customer360.platform.run.contents import held
from customer360.platform.run.deletions import Snapshot
from customer360.platform.run.executor import Executor
from customer360.platform.run.origins import Origin, origin_of
from customer360.platform.run.snapshots import of_table
from customer360.platform.run.touched import Touches
from customer360.platform.run.units import BuildUnit, InputPart, key_column, owner_column
from customer360.platform.settings import Settings
from customer360.platform.tables import SUBJECT_KEYS

PICKED = 4 * 1024 * 1024  # bytes of an input, up to which each unit of buckets picks its own rows


@dataclass(frozen=True)
class Context:
    """What a producer gets beside its input frames."""

    lake: Lake
    settings: Settings
    as_of: date | None
    params: Any = None
    executor: Executor | None = None  # where a producer may spread work; None: nowhere but in this process


@dataclass
class Job:
    """One node ready to run: its input files, reserved values, fingerprint and fixed partition."""

    node: Node
    inputs: dict[str, list[File]]
    reserved: dict[str, Any]
    partition: dict[str, str]
    fingerprint: str
    context: Context
    checks: TableChecks | None = None  # of the record table that it reads
    margin: timedelta = MARGIN  # how far a time may lie after the landing of its row
    parts: Sequence[Any] = ()  # of the fingerprint: code, what the inputs hold, and all else that decides the rows
    refreshed: bool = False  # asked for: nothing that stands is trusted
    stands: dict[str, Any] | None = None  # facts of the commit whose rows it only has to give to whose they are now
    staged: dict[str, dict[int, list[str]]] = field(default_factory=dict)  # exchange pieces by table and part
    snapshots: tuple[Snapshot, ...] = ()  # of the sources of what it reads judged
    origin: Origin | None = None  # of the commit that stands, once it is known that the node is not current
    replaced: tuple[str, ...] | None = None  # bronze rows that corrections stand for, where that was asked
    refuse: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by judged table: see `TableChecks.refuse`
    touches: Touches = field(default_factory=Touches)  # what its run has told of the inputs so far
    seconds: float = (
        0.0  # of processor time that went before its rows are made: inputs split, stored rows that followed
    )
    whole: str = ""  # why all rows are made anew of a table that stood, as far as it is known

    @property
    def app(self) -> str:
        return f"node:{self.node.name}"

    @property
    def app_version(self) -> int:
        return int(self.fingerprint[:15], 16)

    @cached_property
    def basis(self) -> str:
        """As the fingerprint, without what decides only whose the rows are. Of a node that is current nobody asks."""
        return self._digest_of(_basis_of)

    @cached_property
    def ground(self) -> str:
        """As the fingerprint, without the inputs of which it suffices to know what is new."""
        return self._digest_of(_ground_of)

    def _digest_of(self, told: Callable[[Lake, Node, str, list[File]], Any]) -> str:
        code, _, *rest = self.parts
        lake = self.context.lake
        return _digest([code, {name: told(lake, self.node, name, files) for name, files in self.inputs.items()}, *rest])

    @property
    def keeps_origin(self) -> bool:
        """Whether it is told what its rows are made from: of record tables, of tables by subject, of tables that go by
        the key of another grain, and of those that stand while nothing before their date has changed."""
        node = self.node
        by_subject = not node.is_producer and node.per in SUBJECT_KEYS and node.part is None
        return node.records is not None or by_subject or goes_by_key(node) or bool(node.past)

    @property
    def followed_version(self) -> int:
        """Version under which rows that only followed are committed: the node is not current by that."""
        return int(_digest(["followed", self.fingerprint])[:15], 16)

    @property
    def basis_app(self) -> str:
        return basis_app(self.node.name)

    @property
    def basis_version(self) -> int:
        return int(self.basis[:15], 16)


def goes_by_key(node: Node) -> bool:
    """Whether a build of another grain than the subject can be brought forward by the keys of its grain: each of its
    rows has one, and nothing else than its inputs as they lie decides them."""
    per = node.per
    if node.is_producer or per is None or per in SUBJECT_KEYS or node.records or node.judged or node.follows:
        return False
    is_keyed = per in node.table.primary_key() and any(key_column(t, per) for t in node.inputs)
    return is_keyed and not tables.spec(node.table).partition_by and not node.is_dated and node.part is None


def basis_app(name: str) -> str:
    """Application transaction under which a node's commits name their basis."""
    return f"basis:{name}"


def prepare(node: Node, context: Context, rules: dict[str, Any]) -> Job:
    """Fix what a node reads now, and fingerprint it: a node is current while what it was last made from is the same."""
    params = rules.get(node.rules) if node.rules else None
    reserved = {
        k: v for k, v in (("as_of", context.as_of), ("params", params)) if k in node.wants and not node.is_producer
    }
    inputs = {name: _input_files(context, name) for name in node.inputs}
    own = replace(context, params=params)
    partition = {node.part[0]: node.part[1]} if node.part else {}
    if tables.spec(node.table).is_dated:
        partition["as_of"] = str(context.as_of)
    parts: list[Any] = [
        graph.code_fingerprint(node.function, [*node.outputs, *_judged(node)]),
        {name: held(context.lake, node, name, files) for name, files in inputs.items()},
        plain_rules(params),
        str(context.as_of) if node.is_dated else None,
        node.version(own) if node.version else None,
        context.lake.buckets,
    ]
    checks = checks_of(rules, node.records) if node.records else None
    if checks:
        parts.append(plain(checks))
    refuse = {name: tuple(c.refuse) for name in node.judged if (c := checks_of(rules, name)) and c.refuse}
    if refuse:
        parts.append(plain(refuse))
    if any(tables.spec(tables.by_name(name)).names_times for name in node.judged):
        parts.append(str(margin_of(rules)))
    standing = tuple(s for name in node.judged for s in of_table(context.lake, context.settings, name))
    if standing:
        parts.append([plain(asdict(s)) for s in standing])
    job = Job(node, inputs, reserved, partition, _digest(parts), own, checks, margin_of(rules), parts)
    return replace(job, snapshots=standing, refuse=refuse)


def standing_origin(job: Job) -> Origin | None:
    """What the rows that stand were made from, where that is kept and known."""
    if not job.keeps_origin:
        return None
    lake = job.context.lake
    origin = origin_of(lake, job.node.name, lake.transaction(tables.spec(job.node.table).name, job.app))
    if origin is None:
        return None
    now = {name: standing(lake, name, files, job.inputs.get(name, ())) for name, files in origin.inputs.items()}
    return replace(origin, inputs=now)


def _ground_of(lake: Lake, node: Node, name: str, files: list[File]) -> list[str] | None:
    """What of an input decides every row of a table; None of one whose new rows concern their own keys alone."""
    is_apart = name in (node.records, *node.followed, *node.concerns, *node.past) or owner_column(name, node.per or "")
    return None if is_apart else held(lake, node, name, files)


def _basis_of(lake: Lake, node: Node, name: str, files: list[File]) -> Any:
    """What of an input decides the node's rows apart from whose they are: its files, unless it only says whose, or
    itself follows and is not asked whose its rows are. Those may have changed hands, but are the rows of their own
    basis."""
    maker, columns = graph.NODES.get(name), (node.reads or {}).get(name)
    is_asked = columns is None or not set(SUBJECT_KEYS).isdisjoint(columns)
    if maker is not None and maker.follows and (name in node.followed or not is_asked):
        return lake.transaction(name, basis_app(name)) or written(lake, name, files)
    return None if name in node.followed else written(lake, name, files)


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def checks_of(rules: dict[str, Any], table: str) -> TableChecks | None:
    """What the rule file `validation` measures the rows of a bronze table by, if it names the table."""
    validation = rules.get("validation")
    return validation.tables.get(table) if validation else None


def _judged(node: Node) -> list[type[tables.Table]]:
    """The bronze contracts that judge what the node reads: another rule gives other rows."""
    return [tables.by_name(name) for name in node.judged]


def _input_files(context: Context, name: str) -> list[File]:
    files = context.lake.files(name)
    if tables.spec(tables.by_name(name)).is_dated:
        files = [f for f in files if f.partition.get("as_of") == str(context.as_of)]
    return files


def is_current(job: Job) -> bool:
    """Whether the last commit of this node, to each of its tables, was made from exactly these inputs, code and values:
    a run that died may have left other rows in some."""
    lake, names = job.context.lake, [tables.spec(table).name for table in reversed(job.node.outputs)]
    return all(lake.transaction(name, job.app) == job.app_version for name in names)


def columns_of(job: Job, table: str) -> tuple[str, ...] | None:
    """The columns that the node reads of an input; None for all. What is judged is read whole."""
    return None if table in job.node.judged else (job.node.reads or {}).get(table)


def carried_bytes(job: Job, table: str) -> int:
    """Bytes of an input that an exchange has to move, about: files shrink with the share of columns read."""
    columns, everything = columns_of(job, table), len(tables.schema(tables.by_name(table)))
    share = len(columns) / everything if columns else 1.0
    return int(share * sum(f.size for f in job.inputs[table]))


def is_by_bucket(job: Job) -> bool:
    """Whether the node can run bucket by bucket: its grain is the subject, and its inputs are stored by it."""
    return job.node.per in SUBJECT_KEYS and any(map(is_bucketed, job.node.inputs)) and not exchanged(job)


def exchanged(job: Job) -> list[str]:
    """Inputs that must be split by the node's key: all that have its column, unless all of them are stored by it, or
    are so small that each unit picks its own rows."""
    per = job.node.per
    if per is None:
        return []
    keyed = [t for t in job.node.inputs if key_column(t, per)]
    are_apart = per in SUBJECT_KEYS and all(is_bucketed(t) or is_picked(job, t) for t in keyed)
    return [] if are_apart and any(map(is_bucketed, keyed)) else keyed


def is_picked(job: Job, table: str) -> bool:
    """Whether each unit of buckets reads an input whole that is not stored by bucket, and picks its own rows."""
    return not table.startswith("bronze.") and carried_bytes(job, table) <= PICKED


def is_bucketed(table: str) -> bool:
    return tables.spec(tables.by_name(table)).bucketed


def stored_part(job: Job, table: str, files: Iterable[File]) -> InputPart:
    """Files of an input with the columns that the node reads of it."""
    return InputPart(table=table, files=tuple(files), columns=columns_of(job, table))


def build_unit(job: Job, inputs: tuple[InputPart, ...], **options: Any) -> BuildUnit:
    """A unit that builds the job's node from a part of its inputs; ``options`` are further fields of it."""
    return BuildUnit(
        lake=job.context.lake,
        node=job.node,
        inputs=inputs,
        reserved=job.reserved,
        partition=job.partition,
        margin=job.margin,
        snapshots=job.snapshots,
        refuse=job.refuse,
        **options,
    )


KINDS = 16  # of rule files of which it is kept how they read
_rules_told: list[tuple[Any, Any]] = []  # the typed values of rule files, which never change, and as they read


def plain_rules(params: Any) -> Any:
    """As `plain`; many nodes have the values of one rule file, which take a millisecond to print."""
    for known, told in _rules_told:
        if known is params:
            return told
    told = plain(params)
    _rules_told[:] = [*_rules_told[1 - KINDS :], (params, told)]
    return told


def plain(value: Any) -> Any:
    """A value as JSON with a fixed order; sets are sorted, so that every process prints the same."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, (set, frozenset)):
        return sorted(str(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value if isinstance(value, (int, float, bool, type(None))) else str(value)


def why_all(job: Job, units: Sequence[Any]) -> str:
    """Why all rows of a table that stood are made anew by these units; empty where it did not stand, or they make
    some subjects anew beside the others.
    """
    if job.node.records or job.refreshed:
        return job.whole or ("asked for" if job.refreshed else "")
    if job.context.lake.transaction(tables.spec(job.node.table).name, job.app) is None:
        return ""
    if all(unit.known for unit in units):
        return ""
    if not is_by_bucket(job):
        return "it is not made subject by subject"
    if job.node.needs_date:
        return "it depends on the date, or on what its date's edition was not made from"
    return "most of what its subjects read is other files, or other inputs, code or rules"


def check_buckets(lake: Lake) -> None:
    """Refuse a lake that was made with another number of buckets than configured."""
    for name, table in tables.TABLES.items():
        if tables.spec(table).bucketed and lake.exists(name):
            if (stored := lake.buckets_of(name)) != lake.buckets:
                raise ConfigError(
                    f"{lake.root} was made with {stored} buckets, lake.buckets says {lake.buckets}; set it to {stored}"
                )
            return


def replaced_rows(job: Job) -> tuple[str, ...]:
    """Addresses of bronze rows that corrections stand for."""
    return corrected(job.context.lake, {t: job.inputs[t] for t in job.node.inputs if t.startswith("bronze.")})


def corrected(lake: Lake, files: Mapping[str, Sequence[File]]) -> tuple[str, ...]:
    """Addresses of the bronze rows that corrections in these files of bronze tables stand for."""
    found: set[str] = set()
    for table, some in files.items():
        if some:
            frame = lake.scan(table, list(some)).select("_replay_of")
            found |= set(frame.filter(pl.col("_replay_of").is_not_null()).collect()["_replay_of"])
    return tuple(sorted(found))


def groups(files: list[File], limit: int) -> list[tuple[File, ...]]:
    """Files in groups of about ``limit`` bytes."""
    found: list[list[File]] = []
    filled = limit
    for f in files:
        if filled >= limit:
            found.append([])
            filled = 0
        found[-1].append(f)
        filled += f.size
    return [tuple(g) for g in found]
