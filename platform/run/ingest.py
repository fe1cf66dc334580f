"""Landing batches: manifest first, dead letters second, the bronze table last (law 7)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from customer360.platform import ledger, quality, tables, telemetry
from customer360.platform.errors import RunError
from customer360.platform.lake import Add, Lake, reached
from customer360.platform.ledger import Batch, NodeRun
from customer360.platform.quality import DeadLetters
from customer360.platform.quality.checks import TableChecks
from customer360.platform.run.executor import Failure, LocalExecutor, RayExecutor
from customer360.platform.run.planning import checks_of
from customer360.platform.settings import Settings, SourceSettings
from customer360.platform.sources.files import Landed, Landing, check_mapping, ingest_file, unseen


@dataclass(frozen=True)
class IngestUnit:
    """Read one file of a batch."""

    lake: Lake
    landing: Landing
    name: str
    source: SourceSettings
    batch: Batch
    index: int
    checks: TableChecks | None = None

    def run(self) -> Landed:
        return ingest_file(self.lake, self.landing, self.name, self.source, self.batch, self.index, self.checks)


def is_committed(lake: Lake, source: SourceSettings, batch: Batch) -> bool:
    stored = lake.transaction(source.table, f"batch:{batch.source}")
    return stored is not None and stored >= batch.seq


def pending(lake: Lake, landing: Landing, name: str, source: SourceSettings, *, open_new: bool) -> list[Batch]:
    """Batches that wait to be landed: those that a crash left, then one with what is new (made only if ``open_new``)."""
    known = ledger.batches(lake, name)
    waiting = [b for b in known if not is_committed(lake, source, b)]
    new = unseen(landing.find(source.path), known)
    if new and open_new:
        waiting.append(ledger.open_batch(lake, name, new))
    elif new:
        waiting.append(Batch(name, known[-1].seq + 1 if known else 1, "", tuple(new)))
    return waiting


def _mapping_faults(lake: Lake, landing: Landing, name: str, source: SourceSettings) -> list[str]:
    """Faults of a mapping against the first new file, found before a batch takes the files: they stay new.

    Without a mapping there is nothing to get wrong; a column that a file lacks shows as quarantined rows.
    """
    if not (source.mapping or source.group_by):
        return []
    new = [f for b in pending(lake, landing, name, source, open_new=False) for f in b.files]
    return check_mapping(landing, source, new[:1])


def ingest(
    lake: Lake,
    settings: Settings,
    names: list[str],
    executor: LocalExecutor | RayExecutor,
    run: ledger.Run,
    rules: dict[str, Any],
) -> dict[str, str]:
    """Land every waiting batch of the named sources. Returns failures by source."""
    landing = Landing(settings.landing, tuple(settings.landing_options.items()))
    checks = {name: checks_of(rules, settings.sources[name].table) for name in names}
    lake.ensure(DeadLetters)
    todo: list[tuple[str, Batch]] = []
    failures: dict[str, str] = {}
    for name in names:
        source = settings.sources[name]
        lake.ensure(tables.by_name(source.table))
        if faults := _mapping_faults(lake, landing, name, source):
            failures[f"source {name}"] = "; ".join(faults)
            run.nodes.append(NodeRun(f"source {name}", "failed", reason=failures[f"source {name}"]))
            continue
        waiting = pending(lake, landing, name, source, open_new=True)
        todo += [(name, batch) for batch in waiting]
        if not waiting:
            run.nodes.append(NodeRun(f"source {name}", "current"))
    start = time.perf_counter()
    units = [
        IngestUnit(lake, landing, name, settings.sources[name], b, i, checks[name])
        for name, b in todo
        for i in range(len(b.files) or 1)
    ]
    landed: dict[tuple[str, int], list[Landed]] = {}
    for index, result in telemetry.beating(executor.map(units), f"landing {telemetry.named(dict(todo))}"):
        unit = units[index]
        if isinstance(result, Failure):
            failures[f"source {unit.name}"] = (
                f"{unit.batch.files[unit.index].path if unit.batch.files else unit.batch.inline}: {result.reason}"
            )
        else:
            landed.setdefault((unit.name, unit.batch.seq), []).append(result)
            reached(f"after write bronze {unit.name}")
    for name, batch in todo:
        if f"source {name}" in failures:
            run.nodes.append(NodeRun(f"source {name}", "failed", reason=failures[f"source {name}"]))
            continue
        facts = commit_batch(lake, settings.sources[name], batch, landed.get((name, batch.seq), []))
        run.nodes.append(
            NodeRun(
                f"source {name}", "built", time.perf_counter() - start, facts["landed"], {**facts, "seq": batch.seq}
            )
        )
        balance = quality.batch_balance(f"{name} batch {batch.seq}", facts)
        telemetry.event(f"landed {balance.scope:<32}  {balance.text}")
        if not balance.holds:
            raise RunError({f"source {name}": f"conservation does not hold for batch {batch.seq}: {balance.text}"})
    run.save(lake)
    return failures


def commit_batch(lake: Lake, source: SourceSettings, batch: Batch, landed: list[Landed]) -> dict[str, int]:
    """Commit one batch: dead letters first, bronze last. Either is skipped if it holds the batch already."""
    counted = dict.fromkeys(key for part in landed for key in part.facts)
    facts = dict.fromkeys(("read", "landed", "dead", "collapsed", "left_out", "erased", "rescued"), 0)
    facts |= {k: sum(part.facts.get(k, 0) for part in landed) for k in counted}
    facts |= {"files": len(batch.files), "seq": batch.seq}
    dead: list[Add] = [a for part in landed for a in part.dead]
    bronze: list[Add] = [a for part in landed for a in part.bronze]
    app = f"batch:{batch.source}"
    if (lake.transaction("quality.dead_letters", app) or 0) < batch.seq:
        lake.append_batch("quality.dead_letters", dead, source=batch.source, seq=batch.seq, facts=facts)
    if (lake.transaction(source.table, app) or 0) < batch.seq:
        lake.append_batch(source.table, bronze, source=batch.source, seq=batch.seq, facts=facts)
    telemetry.ROWS.labels(table=source.table, outcome="landed").inc(facts["landed"])
    return facts
