"""The producer of DATA_QUALITY_METRICS: it gathers the counts that the commits of record tables carry."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from customer360.platform import graph, tables
from customer360.platform.graph import Node, produces
from customer360.platform.lake import File, Lake
from customer360.platform.quality import metrics
from customer360.platform.quality.checks import Tally, added
from customer360.platform.quality.metrics import ALL, Alerts, DataQualityMetrics, Measurement, RuleCounts
from customer360.platform.run.incremental.changes import Changes
from customer360.platform.run.planning import Context

METRICS = tables.spec(DataQualityMetrics).name
RULE_COUNTS = tables.spec(RuleCounts).name


def record_nodes() -> list[Node]:
    """Builds that turn the rows of a bronze table into current records, in order of that table."""
    return sorted((n for n in graph.NODES.values() if n.records), key=lambda n: n.records or "")


def measured_versions(context: Context) -> str:
    """The version of every record table: their facts change even where their rows do not."""
    lake = context.lake
    return json.dumps({n.name: lake.version(n.name) for n in record_nodes() if lake.exists(n.name)})


@produces(
    RuleCounts,
    Alerts,
    DataQualityMetrics,
    inputs=("gold.reference_counts", "gold.agreement_counts"),
    of_reports=("gold.reference_counts", "gold.agreement_counts"),  # a second for each batch, of all tables
    after_records=True,
    rules="validation",
    version=measured_versions,
)
def data_quality_metrics(
    context: Context,
    gold_reference_counts: pl.LazyFrame,
    gold_agreement_counts: pl.LazyFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, Changes]:
    """One measurement a commit of a record table. The newest one is made again, as other tables may have changed
    since; of all others the rows stay where they are stored.
    """
    rules, lake = context.params, context.lake
    files = lake.files(METRICS)
    before, counted_before = lake.scan(METRICS, files).collect(), lake.scan(RULE_COUNTS).collect()
    related = _related(gold_reference_counts.collect(), gold_agreement_counts.collect())
    rows: list[dict[str, Any]] = []
    counted: list[dict[str, Any]] = []
    for node in record_nodes():
        if lake.exists(node.name):
            found = list(_measurements(context, node, before, related.get(node.name, {})))
            rows += [row for m in found for row in metrics.metric_rows(m, rules.weights)]
            counted += metrics.rule_rows(found[-1]) if found else []
    change = _changed(before, pl.DataFrame(rows, schema=dict(before.schema)), files)
    history = pl.concat([change.stays(before), change.rows])
    newest = pl.DataFrame(counted, schema=dict(counted_before.schema))
    kept = counted_before.join(newest, on="table_name", how="anti")
    alerts = metrics.alerts(history, rules.alerts.floors, **rules.alerts.model_dump(exclude={"floors"}))
    return pl.concat([kept, newest]), alerts, change


def _changed(before: pl.DataFrame, made: pl.DataFrame, files: Sequence[File]) -> Changes:
    """What measurements change in the stored rows, which ``files`` hold in this order: those that say the same stay."""
    key = DataQualityMetrics.primary_key()
    new = made.join(before, on=before.columns, how="anti", nulls_equal=True)
    goes = before.select(pl.struct(key).is_in(new.select(pl.struct(key)).to_series().implode())).to_series()
    return Changes(new, files, goes.arg_true().cast(pl.Int64), parted=True)


def _measurements(context: Context, node: Node, before: pl.DataFrame, related: Tally) -> Iterator[Measurement]:
    """Measurements of the commits from the newest known on, oldest first."""
    lake, bronze = context.lake, node.records or ""
    known = before.filter(pl.col("table_name") == bronze).sort("table_version").tail(1).to_dicts()
    since = known[0]["table_version"] if known else -1
    version = lake.version(bronze)
    # Counted anew from the whole log: a sum carried in a table of its own would count twice after a death between the
    # two.
    punctual = _deliveries(context, bronze)
    for commit in _commits(lake, node.name, since - 1):
        facts = json.loads(commit.get("customer360.facts", "{}"))
        if commit.get("customer360.app") != f"node:{node.name}" or "quality" not in facts:
            continue
        by_system = added([facts["quality"], punctual])
        by_system = {system: counts for system, counts in by_system.items() if "total" in counts}
        both = added([by_system, {s: c for s, c in related.items() if s in by_system}])
        together = added([*({ALL: counts} for counts in both.values()), {ALL: related.get(ALL, {})}])
        moment = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
        whole = both | together if both else {}
        yield Measurement(bronze, commit["version"], moment, facts.get("seconds", 0.0), version, whole)


def _commits(lake: Lake, name: str, after: int) -> list[dict[str, Any]]:
    """Commits of a table above version ``after``, oldest first, as far back as its log goes."""
    newer = lake.version(name) - max(after, -1)
    return list(reversed(lake.history(name, newer))) if newer > 0 else []


@dataclass
class _Counted:
    """Timed and late rows by application of the commits up to one, which its version and moment tell."""

    upto: tuple[int, int]
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)


_counted: dict[tuple[str, str], _Counted] = {}  # by lake and bronze table: what this process has counted


def _deliveries(context: Context, bronze: str) -> Tally:
    """Timed and punctual rows of the batches in a bronze table, by source system. A process reads each commit once: a
    log of 10,000 takes a second, and a resident process asks every round.
    """
    lake, place = context.lake, (context.lake.root, bronze)
    known = _counted.get(place)
    commits = _commits(lake, bronze, known.upto[0] - 1) if known else []
    if known is None or not commits or _place(commits[0]) != known.upto:  # unknown, or made anew since
        known, commits = _Counted((-1, 0)), _commits(lake, bronze, -1)
    for commit in (c for c in commits if _place(c) != known.upto):
        facts = json.loads(commit.get("customer360.facts", "{}"))
        if facts.get("timed"):
            app = commit.get("customer360.app") or ""
            timed, late = known.rows.get(app, (0, 0))
            known.rows[app] = timed + facts["timed"], late + facts["late"]
        known.upto = _place(commit)
    _counted[place] = known
    told = ((context.settings.sources.get(app.removeprefix("batch:")), rows) for app, rows in known.rows.items())
    return added([{source.system: _timely(timed, timed - late)} for source, (timed, late) in told if source])


def _place(commit: dict[str, Any]) -> tuple[int, int]:
    return commit["version"], commit["timestamp"]


def _timely(checked: int, passed: int) -> dict[str, int]:
    return {"timeliness|delivered_in_time|checked": checked, "timeliness|delivered_in_time|passed": passed}


def _related(references: pl.DataFrame, agreements: pl.DataFrame) -> dict[str, Tally]:
    """Counts over other tables, by record table and source system: foreign keys (of all together) and agreements."""
    found: dict[str, Tally] = {}
    for row in references.to_dicts():
        name = f"consistency|{row['foreign_key']} -> {row['parent']}"
        referring = row["row_count"] - row["null_count"]
        counts = found.setdefault(row["child"], {}).setdefault(ALL, {})
        counts |= {f"{name}|checked": referring, f"{name}|passed": referring - row["orphan_count"]}
    for row in agreements.to_dicts():
        name = f"accuracy|{row['check']}"
        counts = found.setdefault(row["child"], {}).setdefault(row["source_system"], {})
        counts |= {f"{name}|checked": row["compared_count"], f"{name}|passed": row["agreed_count"]}
    return found
