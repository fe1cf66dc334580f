"""Lineage as commands ask for it: what the platform derives, with what only the layers above it know.

Which version of a model made a score, what it was trained on, which person an id means, which publication is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

from customer360.platform import audit, graph, ledger, online, privacy, stars, tables
from customer360.platform.erasure_list import keyed_digest
from customer360.platform.errors import ConfigError, LakeError
from customer360.platform.lake import Lake
from customer360.platform.lineage import history, reach, rows
from customer360.platform.lineage.columns import lineage_of
from customer360.platform.lineage.events import Event, Words, events_of
from customer360.platform.lineage.history import Version
from customer360.platform.lineage.plans import ANY, Uses
from customer360.platform.lineage.sinks import send, sinks_of
from customer360.platform.quality.ahead import margin_of
from customer360.platform.run import lake_of
from customer360.platform.run.planning import checks_of
from customer360.platform.run.snapshots import of_table
from customer360.platform.settings import Settings
from customer360.serve.compose import rules_of, state_folder

PROFILES, MODELS = "gold.customer_360", "gold.recommendation_models"
SCORED = ("model", "version")  # columns that name the version behind a row
SHOWN_POSITIONS = 5  # of records in a file, the first
REASONS = "reasons"  # column of scores: features with their values and what each contributed
LOOKED_AT = 10_000  # runs, the newest, among which one is looked for


@dataclass(frozen=True)
class Trained:
    """A registered version of a model, and what it was made of; ``data`` are Delta versions by table."""

    name: str
    version: str
    stage: str
    trained_as_of: date | None
    registered_at: datetime | None
    run_id: str | None
    data: dict[str, int]


@dataclass(frozen=True)
class Columns:
    """What columns are made of: uses by (table, column), nearest first. Of those in ``at_most`` it is not known which
    of these uses are so."""

    uses: dict[tuple[str, str], Uses] = field(default_factory=dict)
    at_most: frozenset[tuple[str, str]] = frozenset()

    @property
    def in_words(self) -> dict[str, list[str]]:
        found = {}
        for (table, column), uses in self.uses.items():
            said = [f"{use.table}.{use.column} ({use.how})" for use in sorted(uses)]
            found[f"{table}.{column}"] = [*said, *(["at most these"] if (table, column) in self.at_most else [])]
        return found


@dataclass(frozen=True)
class Traced:
    """Rows of a table, and what is behind them: ``steps`` table by table, ``files`` the deliveries that hold the
    records, ``models`` the versions that scored."""

    table: str
    row: pl.DataFrame
    columns: Columns
    steps: list[rows.Reached]
    files: pl.DataFrame
    scores: pl.DataFrame
    models: list[Trained]
    reasons: list[dict[str, Any]]  # model, feature, value, contribution: what a score says of itself


def columns_behind(settings: Settings, table: str, column: str) -> Columns:
    """What a column is made of, step by step to bronze.

    Raises:
        GraphError: there is no such column.
    """
    lineage = lineage_of(rules_of(settings))
    found = lineage.upstream(table, column)
    return Columns(found, frozenset(at for at in found if lineage.is_at_most(*at)))


def columns_reached(settings: Settings, table: str, column: str) -> dict[str, list[str]]:
    """Columns that are made of a column, by table; ``*`` where it decides the rows of one. Raises GraphError."""
    found: dict[str, list[str]] = {}
    for name, target in lineage_of(rules_of(settings)).downstream(table, column):
        found.setdefault(name, []).append(target)
    return {name: sorted(targets) for name, targets in sorted(found.items())}


def trace(
    settings: Settings, table: str, words: Sequence[str], column: str | None = None, as_of: date | None = None
) -> Traced:
    """What rows of a table, named by their key, were made of; with ``column`` only what that column is made of.

    Raises:
        LakeError: no such row stands, or the words name none.
        GraphError: the table has no such column.
    """
    lake, keys = lake_of(settings), rows.key_of(table, words)
    row = rows.rows_of(lake, table, keys, as_of)
    if row.is_empty():
        named = ", ".join(f"{c} = {v}" for c, v in keys.items())
        raise LakeError(f"{table} has no row with {named}; `customer360 history` shows what was delivered")
    _note(settings, f"lineage {table}", row)
    columns = columns_behind(settings, table, column) if column else Columns()
    only = _followed(columns) if column else None
    steps = rows.behind(lake, table, row, as_of, only)
    scores = _scores(row, column, steps, columns)
    wanted = {(str(m), str(v)) for m, v in scores.select(SCORED).rows()} if scores.height else set()
    models = [each for each in trained(lake) if (each.name, each.version) in wanted]
    return Traced(table, row, columns, steps, _files(steps), scores, models, _reasons(lake, steps, scores, as_of))


def _followed(columns: Columns) -> set[str]:
    """Tables that a column is made of; behind one of which it is not known which columns, all tables that it is."""
    found = set[str]()
    for use in (use for uses in columns.uses.values() for use in uses):
        found.add(use.table)
        if use.column == ANY:
            found = found.union(*tables_around(use.table, down=False).values())
    return found


def _scores(row: pl.DataFrame, column: str | None, steps: list[rows.Reached], columns: Columns) -> pl.DataFrame:
    """Rows that versions of models wrote, among those on the way; where a column is such a score, those with its very
    value."""
    found = [s.rows for s in steps if set(SCORED) <= set(s.rows.columns) and s.rows.height]
    if not found:
        return pl.DataFrame()
    every = pl.concat(found, how="diagonal_relaxed")
    is_score = any(use.column == "score" and use.is_direct for uses in columns.uses.values() for use in uses)
    if column is None or not is_score:
        return every
    value = row.select(score=pl.col(column).cast(pl.Float64, strict=False)).drop_nulls()
    return every.join(value, on="score", how="semi")


def _reasons(lake: Lake, steps: list[rows.Reached], scores: pl.DataFrame, as_of: date | None) -> list[dict[str, Any]]:
    """Features of the rows that scores stand in, with the values that they were made from, where a model tells."""
    found = []
    for name in (s.table for s in steps if REASONS in tables.schema(tables.by_name(s.table)) and s.rows.height):
        if set(SCORED) <= set(tables.schema(tables.by_name(name))):
            for who, model in scores.select("person_id", "model").unique().rows() if scores.height else ():
                for row in rows.rows_of(lake, name, {"person_id": who, "model": model}, as_of).to_dicts():
                    found += [{"model": model, **reason} for reason in row[REASONS] or ()]
    return found


def _files(steps: list[rows.Reached]) -> pl.DataFrame:
    """Files with the records of bronze rows: how many, and the place of the first."""
    parts = [
        s.rows.select(pl.lit(s.table).alias("table"), *rows.ADDRESS)
        for s in steps
        if s.table.startswith("bronze.") and s.rows.height
    ]
    if not parts:
        return pl.DataFrame()
    return (
        pl.concat(parts)
        .group_by("table", "_source", "_seq", "_file")
        .agg(records=pl.len(), positions=pl.col("_position").sort().head(SHOWN_POSITIONS))
        .sort("table", "_source", "_seq", "_file")
    )


def trained(lake: Lake) -> list[Trained]:
    """Registered versions of models as the lake lists them; none before anything was trained."""
    if not lake.exists(MODELS):
        return []
    return [
        Trained(
            row["name"], row["version"], row["stage"], row["trained_as_of"], row["registered_at"], row["run_id"],
            {each["name"]: int(each["version"]) for each in row["data_versions"] if str(each["version"]).isdecimal()},
        )
        for row in lake.scan(MODELS).collect().to_dicts()
    ]  # fmt: skip


@dataclass(frozen=True)
class Radius:
    """What a delivery reached, the versions of models that learnt from it, and the publication that shows it."""

    reach: reach.Reach
    models: list[Trained]
    publication: online.Generation | None


def blast_radius(settings: Settings, what: str) -> Radius:
    """Everything that a file, or ``SOURCE/BATCH``, touched. Raises SourceError where nothing is named so."""
    lake = lake_of(settings)
    found = reach.reach_of(lake, reach.find(lake, settings.sources, what))
    touched = {each.table for each in found.tables}

    def holds(versions: dict[str, int]) -> bool:
        return bool(reach.made_since(lake, {t: v for t, v in versions.items() if t in touched}, found.since))

    current = online.current(state_folder(settings))
    return Radius(
        found,
        [each for each in trained(lake) if holds(each.data)],
        current if current is not None and holds(dict(current.sources)) else None,
    )


def versions(settings: Settings, table: str, words: Sequence[str]) -> tuple[list[Version], list[Version], int]:
    """Every version of a record: as delivered, as stored, and how many stored ones before could not be read.

    Raises:
        LakeError: the words name no record of the table.
    """
    lake = lake_of(settings)
    bronze = history.records_table(table)
    delivered: list[Version] = []
    if bronze and lake.exists(bronze):
        rules = rules_of(settings)
        key = history.bronze_key(lake, table, words, rules)
        margin = margin_of(rules)
        checks = checks_of(rules, bronze)
        refuse = checks.refuse if checks else ()
        delivered = history.delivered(lake, bronze, key, of_table(lake, settings, bronze), margin, refuse)
        if delivered:
            audit.append(
                state_folder(settings), name=audit.user(), asked=f"history {bronze} {_named(lake, bronze, key)}"
            )
    kept: tuple[list[Version], int] = ([], 0)
    if table != bronze and lake.exists(table):
        kept = history.stored(lake, table, rows.key_of(table, words))
    _note(settings, f"history {table}", pl.DataFrame([v.values for v in kept[0]], infer_schema_length=None))
    return delivered, *kept


def _named(lake: Lake, table: str, key: dict[str, Any]) -> str:
    """A key as the audit holds it: of a personal column a digest that only this lake can make, since few account
    numbers are possible, and the audit outlives an erasure."""
    hidden = tables.pii_columns(tables.by_name(table))
    return " ".join(
        f"{c}=digest:{keyed_digest(lake, f'KEY/{c}/{value}', 16)}" if c in hidden else f"{c}={value}"
        for c, value in key.items()
    )


def covered(table: str, values: dict[str, Any], *, personal: bool) -> dict[str, Any]:
    """Values of a row with those of personal columns masked, unless they may be seen; what did not fit a bronze table
    may hold anything."""
    if personal:
        return values
    hidden = {*tables.pii_columns(tables.by_name(table)), *(["_rescued"] if table.startswith("bronze.") else [])}
    return {c: privacy.MASK if c in hidden and v is not None else v for c, v in values.items()}


def delivered_in(table: str) -> str:
    """The bronze table of a table's records, or the table itself where it has none."""
    return history.records_table(table) or table


def tables_around(table: str, *, down: bool) -> dict[str, list[str]]:
    """What tables are made of, from one down to bronze; or ``down``, what is made of them, up to the warehouse."""
    made = {tables.spec(o).name: set(node.inputs) for node in graph.NODES.values() for o in node.outputs}
    for node in graph.NODES.values():
        for output in node.outputs:
            made[tables.spec(output).name] |= set(node.inputs)
    made |= {load.name: set(load.inputs) for load in stars.LOADS.values()}
    if down:
        users: dict[str, set[str]] = {}
        for name, inputs in made.items():
            for each in inputs:
                users.setdefault(each, set()).add(name)
        made = users
    found, todo = dict[str, list[str]](), [table]
    while todo:
        name = todo.pop(0)
        if name not in found:
            found[name] = sorted(made.get(name, ()))
            todo += found[name]
    return {name: others for name, others in found.items() if others or name == table}


def events(settings: Settings, run: str | None) -> Iterator[Event]:
    """OpenLineage events of a run in the ledger, the newest unless one is named. Raises LakeError: there is none."""
    known = ledger.runs(lake_of(settings), 1 if run is None else LOOKED_AT)
    chosen = next((each for each in known if run in (None, each.id)), None)
    if chosen is None:
        there = ", ".join(each.id for each in known[:3]) or "none"
        raise LakeError(f"there is no run {run or ''} in the ledger; the newest are: {there}")
    return events_of(chosen, Words(settings, rules_of(settings)))


def deliver(settings: Settings, made: Iterable[Event]) -> int:
    """Deliver events to where the settings say. Raises ConfigError: nowhere; SinkFault: a server took one not."""
    sinks = sinks_of(settings.openlineage)
    if not sinks:
        raise ConfigError("openlineage: the settings name no file and no url to deliver events to")
    return send(made, sinks)


def note_personal(settings: Settings, asked: str) -> None:
    """A line in the audit: the values of personal columns are shown."""
    audit.append(state_folder(settings), name=audit.user(), asked=f"{asked} --personal")


def _note(settings: Settings, asked: str, found: pl.DataFrame) -> None:
    """A line in the audit for each person whose rows are shown, as over HTTP."""
    if "person_id" in found.columns:
        for person in found["person_id"].drop_nulls().unique().sort():
            audit.append(state_folder(settings), name=audit.user(), asked=asked, person=str(person))


def parted(name: str) -> tuple[str, str | None]:
    """A table and a column, where ``layer.table.column`` was asked for; else the name as it is."""
    table, _, column = name.rpartition(".")
    return (table, column) if table in tables.TABLES else (name, None)


def check_table(name: str) -> str:
    """The name of a table, with the nearest ones where there is none. Raises ContractError."""
    return tables.spec(tables.by_name(name)).name
