"""Landing batches: manifest first, dead letters second, the bronze table last, so that a crash anywhere lands nothing
twice.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from logging import DEBUG, INFO, WARNING
from types import MappingProxyType
from typing import Any

from customer360.platform import ledger, quality, schemas, tables, telemetry
from customer360.platform.delivery import natural
from customer360.platform.errors import RunError
from customer360.platform.known import Known, as_landed, known_of, look_together, noted
from customer360.platform.lake import Add, Lake, reached
from customer360.platform.ledger import Batch, Input, InputOutcome, NodeRun, Outcome
from customer360.platform.quality import DeadLetters
from customer360.platform.run.evolving import discarded_text, settle
from customer360.platform.run.executor import Executor, Failure
from customer360.platform.run.grouping import facts_with, gathered, parts_of
from customer360.platform.run.health import Lag, lag_of, newest_of
from customer360.platform.run.looking import Looked, is_remote, looked
from customer360.platform.run.losses import losses_of, tell_columns
from customer360.platform.run.planning import checks_of
from customer360.platform.run.snapshots import held, judged
from customer360.platform.schemas import DamagedSchema
from customer360.platform.settings import Settings, SourceSettings
from customer360.platform.sources.base import Discovery, Source, configured
from customer360.platform.sources.bronze import IngestUnit, Landed
from customer360.platform.sources.casting import nulled_text
from customer360.platform.sources.files import Files
from customer360.platform.sources.grouping import GROUPED, Grouped, is_grouped
from customer360.platform.sources.landing import Landing, landing_of
from customer360.platform.sources.mapping import joins
from customer360.platform.sources.spool import sweep
from customer360.platform.sources.stated import contract_faults, made_by, reading_of, schema_contract_of, usual_columns
from customer360.platform.sources.values import Reading

TOLD = 3  # of the files that only look new, and of the inputs that a note is on, those that a run names


@dataclass(frozen=True)
class SourceRun:
    """What became of one source in a run.

    ``nodes`` are for the record of the run: one a batch that landed, or the one that says that the source was current
    or failed. ``failure`` is why it failed, None where it did not; ``blocks`` says that rows which should be there are
    not, so that nothing may be built on its table. A file that cannot be read does not block: it is a dead letter.
    ``waits``: the source was reached, and somebody has to let in what it brings, or to correct its mapping.
    ``losses`` are batches that landed and lost more than `loss` of their rows, or a whole file. ``lag`` is what waits
    at the source after it, None where that is not known; ``newest`` the latest moment that its new rows name.
    """

    name: str
    nodes: tuple[NodeRun, ...]
    failure: str | None = None
    blocks: bool = True
    waits: bool = False
    losses: tuple[str, ...] = ()
    lag: Lag | None = None
    newest: str = ""


@dataclass
class _Intake:
    """A source on its way in: its fixed batches, and what the inputs of each have given so far, by batch number."""

    name: str
    source: Source
    batches: list[Batch] = field(default_factory=list)
    landed: dict[int, list[Landed]] = field(default_factory=dict)
    failure: str | None = None
    waits: bool = False  # its failure is one of the mapping
    facts: dict[str, Any] = field(default_factory=dict)  # of the batch before
    has_more: bool = False  # batches wait until it is known what schema the first one leaves
    lag: Lag | None = None  # what waited when it was looked at
    schema: schemas.Version | None = None  # what is known of it before the first of them
    notes: Counter[tuple[int, str]] = field(default_factory=Counter)  # on its inputs by level, and of how many

    def say(self, level: int, address: str, note: str) -> None:
        """Say a note on an input, one by one where it is on few of them."""
        self.notes[level, note] += 1
        telemetry.log.log(level if self.notes[level, note] <= TOLD else DEBUG, f"{self.name} {address}: {note}")

    def say_rest(self) -> None:
        for (level, note), count in self.notes.items():
            if count > TOLD:
                telemetry.log.log(level, f"{self.name}: {count - TOLD:,} more inputs: {note}")


def pending(lake: Lake, landing: Landing, name: str, source: Source) -> list[Batch]:
    """Batches that wait to be landed: those that a crash left, then one with what is new.

    The new one has no manifest yet, and no ``created_at``: until `fixed` makes both, what is new stays new.
    """
    known = known_of(lake, name, last_committed(lake, source, name))
    return with_new(name, known, source.discover(landing, known))


def with_new(name: str, known: Known, new: Discovery) -> list[Batch]:
    """The batches that wait, and one of what is new."""
    waiting = known.waiting
    if new.inputs:
        waiting.append(Batch(name, known.last + 1, "", new.inputs, cursor=new.cursor))
    return waiting


def look_ahead(lake: Lake, settings: Settings, names: Iterable[str]) -> None:
    """Read what the ledger knows of sources side by side, where each would wait for an object store; call it where the
    lake keeps that (`Lake.keeping`)."""
    landed = dict[str, int]()
    for name in names if lake.is_remote else ():
        with suppress(Exception):  # whoever asks for the source is told
            landed[name] = last_committed(lake, settings.sources[name], name)
    look_together(lake, landed)


def landed_inputs(lake: Lake, name: str) -> tuple[Input, ...]:
    """Inputs of a source's batches, with the state in which those that landed were read."""
    outcomes = ledger.outcomes(lake, name)
    return tuple(
        piece for b in ledger.batches(lake, name) for piece in as_landed(b, outcomes.get(b.seq), waits=False).inputs
    )


def _tell_touched(name: str, touched: tuple[Input, ...]) -> None:
    """Say which known inputs only look new; of many, the first."""
    for file in touched[:TOLD]:
        copy_of = file.detail.get("copy_of")
        what = f"is {copy_of} in another place" if copy_of else "was touched"
        telemetry.event(f"{file.name} of {name} {what}; its content is the one that landed")
    if len(touched) > TOLD:
        telemetry.event(f"and {len(touched) - TOLD:,} more files of {name}: no news, by their content")


def fixed(lake: Lake, batch: Batch) -> Batch:
    """The batch with its manifest."""
    return batch if batch.created_at else ledger.open_batch(lake, batch.source, batch.inputs, cursor=batch.cursor)


def last_committed(lake: Lake, source: SourceSettings, name: str) -> int:
    """Number of the last batch of a source that is in its bronze table, as all before it are; 0 for none."""
    return lake.transaction(source.table, f"batch:{name}") or 0


def ingest(
    lake: Lake,
    settings: Settings,
    names: list[str],
    executor: Executor,
    rules: dict[str, Any],
    rests: Mapping[str, Looked[Discovery]] = MappingProxyType({}),
) -> Iterator[SourceRun]:
    """Land every waiting batch of the named sources; all their inputs are read side by side. Sources that are slow to
    say what is new land after the others. ``rests`` are sources that are not asked, with what is taken for the answer.

    Raises:
        RunError: what was read of a batch is not what was landed, refused and left out of it; nothing after it lands.
    """
    landing = landing_of(settings)
    lake.ensure(DeadLetters)
    sources = {name: configured(settings, name) for name in names}
    for name in names:
        lake.ensure(tables.by_name(sources[name].table))
    known = {name: known_of(lake, name, last_committed(lake, source, name)) for name, source in sources.items()}

    def look(name: str) -> Discovery:
        return rests[name].get() if name in rests else sources[name].discover(landing, known[name])

    done: dict[str, _Intake] = {}
    for group in looked(settings, sources, look):
        intakes = {name: _intake(lake, landing, sources[name], known[name], each) for name, each in group.items()}
        yield from _land(lake, settings, landing, intakes, executor, rules)
        done |= intakes
    _sweep(lake, settings, done)
    if more := [intake.name for intake in done.values() if intake.has_more and intake.failure is None]:
        yield from ingest(lake, settings, more, executor, rules, rests)


def _land(
    lake: Lake, settings: Settings, landing: Landing, intakes: dict[str, _Intake], executor: Executor,
    rules: dict[str, Any],
) -> Iterator[SourceRun]:  # fmt: skip
    """Read what waits at some sources side by side, and commit each when all of it was read."""
    start = time.perf_counter()
    units = [
        IngestUnit(
            lake,
            landing,
            intake.name,
            intake.source,
            batch,
            index,
            checks_of(rules, intake.source.table),
            reading,
            usual=usual_columns(intake.source, intake.facts),
            parts=parts_of(batch),
            known=intake.schema.columns if intake.schema else None,
            variants=intake.schema.variants if intake.schema else (),
            schema_contract=schema_contract_of(intake.source),
        )
        for intake in sorted(
            intakes.values(), key=lambda each: is_remote(settings, each.source)
        )  # who waits comes last
        for reading in [_reading(lake, intake, rules)]
        for batch in intake.batches
        for index in range(len(batch.inputs) or 1)  # a batch of corrections is one unit
    ]
    left = Counter(unit.name for unit in units)
    settled = set[str]()
    waiting = [name for name, intake in intakes.items() if intake.batches]
    for place, result in telemetry.beating(executor.map(units), f"landing {telemetry.named(waiting)}"):
        unit = units[place]
        intake = intakes[unit.name]
        if isinstance(result, Failure):
            intake.failure = intake.failure or f"{unit.address}: {result.reason}"
        else:
            intake.landed.setdefault(unit.batch.seq, []).append(result)
            for note in result.notes:
                intake.say(INFO, unit.address, note)
            for warning in result.warnings:
                intake.say(WARNING, unit.address, warning)
            reached(f"after write bronze {unit.name}")
        left[unit.name] -= 1
        if not left[unit.name] and not is_grouped(intake.source):  # groups are gathered by units of their own
            settled.add(unit.name)
            yield from _finished(lake, landing, intake, start, executor, rules, settings.loss)
    for intake in intakes.values():
        if intake.name not in settled:
            yield from _finished(lake, landing, intake, start, executor, rules, settings.loss)


def _finished(
    lake: Lake, landing: Landing, intake: _Intake, start: float, executor: Executor, rules: dict[str, Any], loss: float
) -> Iterator[SourceRun]:
    """Commit what was read of a source, let it go there, and note it."""
    intake.say_rest()
    for run in _settled(lake, intake, start, executor, rules, loss):
        added = [add for landed in intake.landed.values() for part in landed for add in part.bronze]
        newest = newest_of(intake.source, added) if run.failure is None else ""
        yield replace(run, lag=intake.lag if run.failure is not None and run.blocks else {}, newest=newest)
    if intake.batches:
        ledger.bind(lake, intake.name)
        landed = last_committed(lake, intake.source, intake.name)
        for batch in intake.batches:
            if batch.seq <= landed:
                _release(landing, intake.name, intake.source, batch)
        noted(known_of(lake, intake.name, landed), landed)


def _sweep(lake: Lake, settings: Settings, intakes: dict[str, _Intake]) -> None:
    """Pages of no waiting batch go. A source that failed, or was not asked for, may still have one."""
    if any(isinstance(s, Source) and type(s).release is not Source.release for s in settings.sources.values()):
        done = {name for name, intake in intakes.items() if intake.failure is None}
        sweep(lake, settings.sources.keys() - done)


def _reading(lake: Lake, intake: _Intake, rules: dict[str, Any]) -> Reading:
    if intake.batches:
        intake.facts = ledger.last_facts(lake, intake.source.table, f"batch:{intake.name}")
    return reading_of(intake.source, rules, intake.facts)


def _intake(lake: Lake, landing: Landing, source: Source, known: Known, look: Looked[Discovery]) -> _Intake:
    """The waiting batches of a source, fixed; none when the source or its mapping is at fault: what is new
    stays new.
    """
    name = source.name
    try:
        new = look.get()
        waiting = with_new(name, known, new)
        lag = lag_of(piece for batch in waiting for piece in batch.inputs)
        if waiting and not lag:  # corrections are a batch without inputs
            lag = {"inputs": len(waiting)}
        faults = contract_faults(source) or joins.faults(landing, source.join)
        if not waiting and not known:
            nothing = f"nothing was found{f' at {source.path}' if isinstance(source, Files) else ''}"
            telemetry.log.warning(f"{name}: {nothing}")
            faults += [nothing] if faults else []
        if faults:
            return _Intake(name, source, failure="; ".join(faults), waits=True, lag=lag)
        _tell_touched(name, new.touched)
        noted(known, known.landed, new.touched)
        _release_last(lake, landing, name, source, known.landed)
        has_more = len(waiting) > 1 and schema_contract_of(source).orders_batches
        first = waiting[:1] if has_more else waiting
        schema = schemas.newest(lake, name) if first else None
        batches = [fixed(lake, batch) for batch in first]
        return _Intake(name, source, batches, lag=lag, has_more=has_more, schema=schema)
    except Exception as fault:  # noqa: BLE001 - whatever a source or its listing does, the other sources go on
        telemetry.log.debug(traceback.format_exc())
        return _Intake(name, source, failure=f"{type(fault).__name__}: {fault}")


def _release_last(lake: Lake, landing: Landing, name: str, source: Source, landed: int) -> None:
    """What a crash between a commit and its release left, goes. Of kinds that keep nothing, nothing is read."""
    if type(source).release is not Source.release and (last := ledger.batch(lake, name, landed)):
        gave = ledger.outcome(lake, name, landed)
        if not (gave and gave.dropped):  # what was taken back is not let go of
            _release(landing, name, source, last)


def _release(landing: Landing, name: str, source: Source, batch: Batch) -> None:
    """Let a source drop what is in bronze. Where that fails nothing is lost: the next run does it."""
    try:
        source.release(landing, batch)
    except Exception as fault:  # noqa: BLE001 - the batch is committed, and the other sources go on
        telemetry.log.debug(traceback.format_exc())
        telemetry.log.warning(
            f"{name}: batch {batch.seq} is in bronze, and its source was not told ({type(fault).__name__}: {fault}); "
            f"the next run tells it"
        )


def _settled(
    lake: Lake, intake: _Intake, start: float, executor: Executor, rules: dict[str, Any], loss: float
) -> Iterator[SourceRun]:
    """Commit the batches of a source, in order; a source of which an input failed for now keeps them all waiting."""
    node = f"source {intake.name}"
    if intake.failure is not None:
        nodes = [NodeRun(node, "failed", reason=intake.failure)]
        yield SourceRun(intake.name, tuple(nodes), intake.failure, waits=intake.waits)
        return
    nodes = []
    failures: list[str] = []
    losses: list[str] = []
    for batch in intake.batches:
        landed = intake.landed.get(batch.seq, [])
        try:
            waits = settle(lake, intake.name, intake.source, batch, landed)
        except DamagedSchema as fault:  # the other sources go on
            waits = f"{type(fault).__name__}: {fault}"
        if waits:
            intake.has_more = False
            nodes.append(NodeRun(node, "failed", time.perf_counter() - start, reason=waits))
            telemetry.log.error(f"failed {intake.name}: {waits}")
            yield SourceRun(intake.name, tuple(nodes), waits, waits=True)
            return
        try:
            grouped = _gathered(lake, intake, batch, landed, executor, rules)
        except RunError as fault:
            reason = f"batch {batch.seq}: {'; '.join(fault.failures.values())}"
            nodes.append(NodeRun(node, "failed", time.perf_counter() - start, reason=reason))
            yield SourceRun(intake.name, tuple(nodes), reason)
            return
        facts = commit_batch(lake, intake.source, batch, landed, grouped)
        failed = _failed_inputs(intake.name, batch, landed)
        is_lost = bool(failed) and len(failed) == len(batch.inputs)
        failures += failed if is_lost else []
        state = "failed" if is_lost else "built"
        reason = "; ".join(failed)
        nodes.append(NodeRun(node, state, time.perf_counter() - start, facts["landed"], facts, reason))
        tell_columns(intake.name, batch, landed, usual_columns(intake.source, intake.facts))
        losses += losses_of(f"{intake.name} batch {batch.seq}", facts, loss)
        intake.facts = facts
        balance = quality.batch_balance(f"{intake.name} batch {batch.seq}", facts)
        telemetry.told(
            f"landed {balance.scope:<32}  {balance.text}", "landed", source=intake.name, batch=batch.seq,
            rows=facts["landed"], holds=balance.holds,
        )  # fmt: skip
        if lost := nulled_text(facts):
            telemetry.event(f"{intake.name} batch {batch.seq}: optional values null, their text in _rescued: {lost}")
        if left_out := discarded_text(facts):
            telemetry.event(f"{intake.name} batch {batch.seq}: values left out by its schema contract: {left_out}")
        if not balance.holds:
            reason = f"conservation does not hold for batch {batch.seq}: {balance.text}"
            yield SourceRun(intake.name, tuple(nodes), reason)
            raise RunError({node: reason})
    failure = "; ".join(failures) or None
    stand = tuple(nodes) or (NodeRun(node, "current"),)
    yield SourceRun(intake.name, stand, failure, blocks=False, losses=tuple(losses))


def _gathered(
    lake: Lake, intake: _Intake, batch: Batch, landed: list[Landed], executor: Executor, rules: dict[str, Any]
) -> Grouped | None:
    """The groups that a batch touches, of a source that groups its records."""
    if not is_grouped(intake.source) or batch.inline:
        return None
    reading, checks = _reading(lake, intake, rules), checks_of(rules, intake.source.table)
    grouped = gathered(lake, executor, intake.source, batch, landed, reading, checks)
    for note in grouped.notes:
        telemetry.event(f"{intake.name} batch {batch.seq}: {note}")
    return grouped


def _failed_inputs(name: str, batch: Batch, landed: list[Landed]) -> list[str]:
    """Say which inputs of a batch are dead letters as a whole, and which hold another content than before."""
    for piece in batch.inputs:
        if since := piece.detail.get("changed_since"):
            telemetry.event(f"{piece.name} of {name} changed since batch {since}")
    failed = [f"{part.outcome.name}: {part.outcome.failure}" for part in landed if part.outcome.failure]
    for each in failed:
        telemetry.log.error(
            f"failed {name}: {each} (kept as a dead letter; `customer360 batch retry {name}` reads it again)"
        )
    return failed


def commit_batch(
    lake: Lake, source: Source, batch: Batch, landed: list[Landed], grouped: Grouped | None = None
) -> dict[str, int]:
    """Commit one batch: dead letters first, then the records of groups, bronze last. Each is skipped if it holds the
    batch already.
    """
    stands = judged(lake, batch.source, source, batch, landed)
    outcomes = (replace(part.outcome, snapshot=stands.get(part.outcome.name, "")) for part in landed)
    inputs = tuple(sorted(outcomes, key=lambda i: natural(i.name)))
    facts = added_facts(batch, inputs)
    dead: list[Add] = [a for part in landed for a in part.dead]
    bronze: list[Add] = [a for part in landed for a in part.bronze]
    if grouped is not None:
        facts, bronze = facts_with(facts, grouped), grouped.bronze
    refused = [*(a for part in landed for a in part.refused), *(grouped.refused if grouped else ())]
    app = f"batch:{batch.source}"
    outcome = Outcome(batch.source, batch.seq, inputs, facts, made_by(source))
    outcome.save(lake)
    for said in held(outcome):
        telemetry.log.error(
            f"held {batch.source}: the snapshot {said}; it deletes nothing until `customer360 batch confirm "
            f"{batch.source} {batch.seq}`"
        )
    if dead and (lake.transaction("quality.dead_letters", app) or 0) < batch.seq:
        lake.append_batch("quality.dead_letters", dead, source=batch.source, seq=batch.seq, facts=facts)
    if refused:
        lake.ensure(quality.ErasedRecords)
        if (lake.transaction(quality.ERASED, app) or 0) < batch.seq:
            lake.append_batch(quality.ERASED, refused, source=batch.source, seq=batch.seq)
    if grouped is not None and (lake.transaction(GROUPED, app) or 0) < batch.seq:
        lake.append_batch(GROUPED, grouped.kept, source=batch.source, seq=batch.seq)
    if (lake.transaction(source.table, app) or 0) < batch.seq:
        lake.append_batch(source.table, bronze, source=batch.source, seq=batch.seq, facts=facts)
    telemetry.ROWS.labels(table=source.table, outcome="landed").inc(facts["landed"])
    return facts


def added_facts(batch: Batch, inputs: tuple[InputOutcome, ...]) -> dict[str, int]:
    """The counts of a batch from those of its inputs."""
    counted = dict.fromkeys(key for piece in inputs for key in piece.facts)
    facts = dict.fromkeys(("read", "landed", "dead", "collapsed", "left_out", "erased", "rescued"), 0)
    facts |= {key: sum(piece.facts.get(key, 0) for piece in inputs) for key in counted}
    return facts | {"inputs": len(batch.inputs), "seq": batch.seq, "failed": sum(bool(i.failure) for i in inputs)}
