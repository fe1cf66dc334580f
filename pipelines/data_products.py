"""Every table of the lake as a product: what a row is, who answers for it, how fresh and how good it is, what it is
made of. Told at the end of each run that built something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from customer360.pipelines.policy import uses
from customer360.pipelines.quality import METRICS
from customer360.pipelines.rules import PolicyRules
from customer360.platform import graph, ledger, tables
from customer360.platform.lake import Lake
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.quality.metrics import ALL
from customer360.platform.run.closing import closes_runs
from customer360.platform.run.control import write_rows
from customer360.platform.settings import Settings
from customer360.platform.tables import Boolean, Date, Float, Integer, List, OneOf, String, Table, Timestamp

LAYERS = ("bronze", "silver", "gold")
STATES = ("BUILT", "CURRENT", "RESTING", "FAILED", "BLOCKED")
KNOWN_STATES = {state.lower(): state for state in STATES}
NOBODY = "unassigned"


class DataProducts(Table, table="gold.data_products", sort_by=("table_name",)):
    """One row per table of bronze, silver and gold that stands in the lake: what it holds and how it stands."""

    table_name = String(primary_key=True, description="Name in the lake")
    layer = OneOf(*LAYERS, description="That it is of")
    description = String(description="The first sentences of its contract; they say what a row is")
    grain = List(String(), description="Columns that tell rows apart; none: the contract names none")
    domain = String(description="The business domain, of gold the question, that it belongs to")
    owner = String(description=f"By the rule file `policy`; {NOBODY}: it names nobody")
    has_personal_data = Boolean(
        description="Has columns tagged as personal, or tells of people one by one, by person_id or subject_id"
    )
    serves = List(String(), description="Purposes that it, or what is built of it, is used for")
    made_of = List(String(), description="Tables that it is built of")
    read_by = List(String(), description="Tables that are built of it")
    sources = List(String(), description="Configured sources below it")
    version = Integer(description="Of its Delta table")
    row_count = Integer(description="Of an edition a date, all dates together")
    size_bytes = Integer(description="Of the files of its version")
    updated_at = Timestamp(description="When its version was committed")
    as_of = Date(nullable=True, description="Date of its newest edition; null: it keeps none by date")
    state = OneOf(
        *STATES, nullable=True, description="In the newest run that asked for it; null: of none that is known"
    )
    state_at = Timestamp(nullable=True, description="When that run began")
    quality_score = Float(
        nullable=True, description="0 to 100: of the source table below it that is judged worst; null: none was judged"
    )
    worst_source = String(nullable=True, description="That bronze table")


@closes_runs(DataProducts)
def data_products(lake: Lake, settings: Settings, rules: Mapping[str, Any], record: Run) -> None:
    """Nothing is looked at where the run changed nothing and failed nowhere, and the one before came to its end."""
    name = tables.spec(DataProducts).name
    known = _known(lake, name)
    touched = {r.node: r for r in record.nodes}
    if known and not any(r.state != "current" for r in touched.values()) and _ended_before(lake, record):
        return
    standing = [t for t in sorted(tables.TABLES) if t.partition(".")[0] in LAYERS and t != name and lake.exists(t)]
    makers, readers = graph.producers_of(), graph.readers_of()
    made_of = {name: _made_of(makers.get(name, ())) for name in tables.TABLES}
    policy, scores, below = rules.get("policy", PolicyRules()), _scores(lake), _bronze_below(made_of)
    rows = []
    for table in standing:
        said = _state(touched, makers.get(table, ()))
        before = known.get(table, {})
        worst = min(((scores[b], b) for b in below[table] if b in scores), default=(None, None))
        rows.append(
            {
                **_declared(table, policy, readers),
                "made_of": sorted(made_of[table]),
                "read_by": sorted(readers.get(table, set())),
                "sources": sorted(n for n, s in settings.sources.items() if s.table in below[table]),
                **_stored(lake, table, before),
                "state": KNOWN_STATES.get(said.state, before.get("state")) if said else before.get("state"),
                "state_at": datetime.fromisoformat(record.started_at) if said else before.get("state_at"),
                "quality_score": worst[0],
                "worst_source": worst[1],
            }
        )
    write_rows(lake, DataProducts, rows)


def _ended_before(lake: Lake, record: Run) -> bool:
    """Whether the run before this one came as far as here: one that died may have built what nobody told of."""
    before = next((run for run in ledger.runs(lake, 2) if run.id != record.id), None)
    return before is None or (before.ended_at is not None and not before.error)


def _known(lake: Lake, name: str) -> dict[str, dict[str, Any]]:
    if not lake.exists(name):
        return {}
    return {row["table_name"]: row for row in lake.scan(name).collect().to_dicts()}


def _declared(name: str, policy: PolicyRules, readers: Mapping[str, set[str]]) -> dict[str, Any]:
    """What the contract and the rule file say."""
    table = tables.by_name(name)
    domain = table.__module__.rpartition(".")[2]
    layer = name.partition(".")[0]
    named = policy.domains.get(domain)
    owners = (policy.owners.get(name), policy.owners.get(domain), named and named.owner, policy.owners.get(layer))
    return {
        "table_name": name,
        "layer": layer,
        "description": tables.summary(table),
        "grain": list(table.primary_key() or tables.spec(table).key),
        "domain": domain,
        "owner": next((owner for owner in owners if owner), NOBODY),
        "has_personal_data": bool(tables.pii_columns(table)) or bool({*tables.SUBJECT_KEYS} & table.columns().keys()),
        "serves": list(uses(name, readers)),
    }


def _stored(lake: Lake, name: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """How the table stands; of a version that was told of before what was said then."""
    told = ("version", "row_count", "size_bytes", "updated_at", "as_of")
    version = lake.version(name)
    if before.get("version") == version:
        return {column: before[column] for column in told}
    files = lake.files(name)
    commit = lake.history(name, 1)[0]
    dates = [file.partition["as_of"] for file in files if file.partition.get("as_of")]
    return {
        "version": version,
        "row_count": sum(file.rows for file in files),
        "size_bytes": sum(file.size for file in files),
        "updated_at": datetime.fromtimestamp(commit["timestamp"] / 1000, UTC),
        "as_of": max((date.fromisoformat(d) for d in dates if d), default=None),
    }


def _state(touched: Mapping[str, NodeRun], makers: Iterable[str]) -> NodeRun | None:
    """What the run did about a table: of one that several nodes fill, the worst; of a bronze one nothing."""
    found = [touched[node] for node in makers if node in touched]
    return max(found, key=lambda r: ("current", "built", "resting", "blocked", "failed").index(r.state), default=None)


def _scores(lake: Lake) -> dict[str, float]:
    """The newest quality score of each bronze table."""
    if not lake.exists(METRICS):
        return {}
    newest = (
        lake.scan(METRICS)
        .filter(pl.col("source_system") == ALL, pl.col("quality_score").is_not_null())
        .sort("table_version")
        .group_by("table_name")
        .agg(pl.col("quality_score").last().cast(pl.Float64))
        .collect()
    )
    return dict(newest.iter_rows())


def _made_of(makers: Iterable[str]) -> set[str]:
    return {table for maker in makers for table in graph.NODES[maker].inputs}


def _bronze_below(made_of: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Of each table the bronze tables that it is made of, itself included where it is one."""
    found: dict[str, set[str]] = {}
    for name in made_of:
        seen, todo = {name}, [name]
        while todo:
            fresh = made_of.get(todo.pop(), set()) - seen
            seen |= fresh
            todo += fresh
        found[name] = {table for table in seen if table.startswith("bronze.")}
    return found
