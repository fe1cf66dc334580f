"""Landing batches: manifest first, dead letters second, the bronze table last, so that a crash anywhere lands nothing twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from customer360.platform import ledger, quality, tables, telemetry
from customer360.platform.errors import RunError, SourceError
from customer360.platform.lake import Add, Lake, reached
from customer360.platform.ledger import Batch, NodeRun
from customer360.platform.quality import DeadLetters
from customer360.platform.run.executor import TRANSIENT, Executor, Failure
from customer360.platform.run.planning import checks_of
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Source, configured
from customer360.platform.sources.bronze import IngestUnit, Landed, mapping_faults, reading_of
from customer360.platform.sources.casting import nulled_text
from customer360.platform.sources.landing import Landing, landing_of
from customer360.platform.sources.values import Reading


@dataclass(frozen=True)
class SourceRun:
    """What became of one source in a run.

    ``nodes`` are for the record of the run: one a batch that landed, or the one that says that the source was current
    or failed. ``failure`` is why it failed, None where it did not.
    """

    name: str
    nodes: tuple[NodeRun, ...]
    failure: str | None = None


@dataclass
class _Intake:
    """A source on its way in: its fixed batches, and what the inputs of each have given so far, by batch number."""

    name: str
    source: Source
    batches: list[Batch] = field(default_factory=list)
    landed: dict[int, list[Landed]] = field(default_factory=dict)
    failure: str | None = None


def pending(lake: Lake, landing: Landing, name: str, source: Source) -> list[Batch]:
    """Batches that wait to be landed: those that a crash left, then one with what is new.

    The new one has no manifest yet, and no ``created_at``: until `fixed` makes both, what is new stays new.
    """
    known = ledger.batches(lake, name)
    waiting = [b for b in known if not _is_committed(lake, source, b)]
    new = source.discover(landing, known)
    if new.inputs:
        waiting.append(Batch(name, known[-1].seq + 1 if known else 1, "", new.inputs, cursor=new.cursor))
    return waiting


def fixed(lake: Lake, batch: Batch) -> Batch:
    """The batch with its manifest."""
    return batch if batch.created_at else ledger.open_batch(lake, batch.source, batch.inputs, cursor=batch.cursor)


def _is_committed(lake: Lake, source: Source, batch: Batch) -> bool:
    stored = lake.transaction(source.table, f"batch:{batch.source}")
    return stored is not None and stored >= batch.seq


def ingest(
    lake: Lake, settings: Settings, names: list[str], executor: Executor, rules: dict[str, Any]
) -> Iterator[SourceRun]:
    """Land every waiting batch of the named sources; all their inputs are read side by side.

    Raises:
        RunError: what was read of a batch is not what was landed, refused and left out of it; nothing after it lands.
    """
    landing = landing_of(settings)
    lake.ensure(DeadLetters)
    intakes = {name: _intake(lake, landing, name, configured(settings, name)) for name in names}
    start = time.perf_counter()
    units = [
        IngestUnit(
            lake, landing, intake.name, intake.source, batch, index, checks_of(rules, intake.source.table), reading
        )
        for intake in intakes.values()
        for reading in [_reading(lake, intake, rules)]
        for batch in intake.batches
        for index in range(len(batch.inputs) or 1)  # a batch of corrections is one unit
    ]
    waiting = [name for name, intake in intakes.items() if intake.batches]
    for place, result in telemetry.beating(executor.map(units), f"landing {telemetry.named(waiting)}"):
        unit = units[place]
        if isinstance(result, Failure):
            intakes[unit.name].failure = f"{unit.address}: {result.reason}"
        else:
            intakes[unit.name].landed.setdefault(unit.batch.seq, []).append(result)
            for note in result.notes:
                telemetry.event(f"{unit.name} {unit.address}: {note}")
            reached(f"after write bronze {unit.name}")
    for intake in intakes.values():
        yield from _settled(lake, intake, start)


def _reading(lake: Lake, intake: _Intake, rules: dict[str, Any]) -> Reading:
    known = ledger.last_facts(lake, intake.source.table, f"batch:{intake.name}") if intake.batches else {}
    return reading_of(intake.source, rules, known)


def _intake(lake: Lake, landing: Landing, name: str, source: Source) -> _Intake:
    """The waiting batches of a source, fixed; none when the source or its mapping is at fault: what is new stays new."""
    lake.ensure(tables.by_name(source.table))
    try:
        waiting = pending(lake, landing, name, source)
        # Without a mapping there is nothing to get wrong; a column that a source lacks shows as quarantined rows.
        inputs = [piece for b in waiting for piece in b.inputs] if source.mapping or source.group_by else []
        if faults := mapping_faults(landing, source, inputs):
            return _Intake(name, source, failure="; ".join(faults))
    except (SourceError, *TRANSIENT) as fault:
        return _Intake(name, source, failure=f"{type(fault).__name__}: {fault}")
    return _Intake(name, source, [fixed(lake, batch) for batch in waiting])


def _settled(lake: Lake, intake: _Intake, start: float) -> Iterator[SourceRun]:
    """Commit the batches of a source, in order; a source of which an input failed keeps them all waiting."""
    node = f"source {intake.name}"
    if intake.failure is not None:
        yield SourceRun(intake.name, (NodeRun(node, "failed", reason=intake.failure),), intake.failure)
        return
    nodes = []
    for batch in intake.batches:
        facts = commit_batch(lake, intake.source, batch, intake.landed.get(batch.seq, []))
        nodes.append(NodeRun(node, "built", time.perf_counter() - start, facts["landed"], facts))
        balance = quality.batch_balance(f"{intake.name} batch {batch.seq}", facts)
        telemetry.event(f"landed {balance.scope:<32}  {balance.text}")
        if lost := nulled_text(facts):
            telemetry.event(f"{intake.name} batch {batch.seq}: optional values null, their text in _rescued: {lost}")
        if not balance.holds:
            reason = f"conservation does not hold for batch {batch.seq}: {balance.text}"
            yield SourceRun(intake.name, tuple(nodes), reason)
            raise RunError({node: reason})
    yield SourceRun(intake.name, tuple(nodes) or (NodeRun(node, "current"),))


def commit_batch(lake: Lake, source: Source, batch: Batch, landed: list[Landed]) -> dict[str, int]:
    """Commit one batch: dead letters first, bronze last. Either is skipped if it holds the batch already."""
    counted = dict.fromkeys(key for part in landed for key in part.facts)
    facts = dict.fromkeys(("read", "landed", "dead", "collapsed", "left_out", "erased", "rescued"), 0)
    facts |= {k: sum(part.facts.get(k, 0) for part in landed) for k in counted}
    facts |= {"inputs": len(batch.inputs), "seq": batch.seq}
    dead: list[Add] = [a for part in landed for a in part.dead]
    bronze: list[Add] = [a for part in landed for a in part.bronze]
    app = f"batch:{batch.source}"
    if (lake.transaction("quality.dead_letters", app) or 0) < batch.seq:
        lake.append_batch("quality.dead_letters", dead, source=batch.source, seq=batch.seq, facts=facts)
    if (lake.transaction(source.table, app) or 0) < batch.seq:
        lake.append_batch(source.table, bronze, source=batch.source, seq=batch.seq, facts=facts)
    telemetry.ROWS.labels(table=source.table, outcome="landed").inc(facts["landed"])
    return facts
