"""Batches that came in, taken up again: listed, read anew under today's settings, retried where files failed, dropped.

What is read anew takes the place of its rows in one commit a table, under the numbers of its batch: the order of
versions stays, and corrections go on standing for the rows that they name. Killed before the commit of the bronze
table, it changed nothing that counts, and is done again by the same command.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from customer360.platform import ledger, quality, schemas, telemetry
from customer360.platform.errors import RunError, SourceError
from customer360.platform.known import moves
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input, InputOutcome, Outcome
from customer360.platform.run.executor import Executor, Failure, LocalExecutor
from customer360.platform.run.grouping import noted, parts_anew, regrouped
from customer360.platform.run.ingest import added_facts, last_committed
from customer360.platform.run.planning import checks_of
from customer360.platform.run.rewriting import LETTERS, UNMADE, taken
from customer360.platform.run.snapshots import held, judged, newest
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Source, configured
from customer360.platform.sources.bronze import IngestUnit, Landed
from customer360.platform.sources.grouping import GROUPED, is_grouped
from customer360.platform.sources.landing import Landing, landing_of
from customer360.platform.sources.stated import is_of, made_by, reading_of, schema_contract_of


@dataclass(frozen=True)
class BatchLine:
    """One batch for who looks: its state, inputs, rows, dead letters, and why something of it sticks."""

    source: str
    seq: int
    state: str  # landed, waits, failed, held, corrections, dropped, ignored
    inputs: int
    rows: int | None
    dead: int | None
    reason: str

    @property
    def sticks(self) -> bool:
        return self.state in ("waits", "failed", "held")


@dataclass(frozen=True)
class Reread:
    """What became of inputs that were to be read again: how many were, rows before and after, and why others
    were not.
    """

    source: str
    inputs: int
    rows_before: int
    rows: int
    kept: tuple[str, ...]


def batch_lines(lake: Lake, settings: Settings, names: Iterable[str]) -> list[BatchLine]:
    """Every batch of some sources, oldest first."""
    last_reason = _last_reasons(lake)
    lines = []
    for name in names:
        source, outcomes = configured(settings, name), ledger.outcomes(lake, name)
        stands, landed = getattr(newest(lake, name, source), "seq", 0), last_committed(lake, source, name)
        for batch in ledger.batches(lake, name):
            outcome, facts = outcomes.get(batch.seq), dict[str, Any]()
            failed, waiting = (outcome.failed, held(outcome)) if outcome else ((), [])
            reason = "; ".join(failed)
            if outcome and outcome.dropped:
                state, reason = ("ignored" if outcome.dropped == ledger.IGNORED else "dropped"), outcome.trail[-1]
            elif batch.seq > landed:
                state, reason = "waits", last_reason.get(name, "a run that was to land it did not end; run again")
            else:
                state = "failed" if failed else "corrections" if batch.inline else "landed"
                if waiting and batch.seq > stands:
                    state, reason = "held", "; ".join([*failed, *waiting])
            facts = outcome.facts if outcome and state != "waits" else {}
            lines.append(
                BatchLine(name, batch.seq, state, len(batch.inputs), facts.get("landed"), facts.get("dead"), reason)
            )
    return lines


def _last_reasons(lake: Lake) -> dict[str, str]:
    """Why sources failed in the newest run that had to do with them."""
    found: dict[str, str] = {}
    for record in ledger.runs(lake, 5):
        for node in record.nodes:
            if node.node.startswith("source "):
                found.setdefault(node.node.removeprefix("source "), node.reason)
    return {name: reason for name, reason in found.items() if reason}


def outdated(lake: Lake, settings: Settings, names: Iterable[str]) -> dict[str, tuple[list[int], list[str]]]:
    """Sources of which rows landed under other settings: the numbers of these batches, and what differs (mapping,
    reader, contract). Batches of before this was kept are not judged."""
    found = {}
    for name in names:
        now = made_by(configured(settings, name))
        stale = {
            seq: [part for part, print_ in now.items() if outcome.made_by.get(part, print_) != print_]
            for seq, outcome in ledger.outcomes(lake, name).items()
            if not outcome.dropped and outcome.inputs and outcome.facts.get("inputs")
        }
        if seqs := sorted(seq for seq, parts in stale.items() if parts):
            found[name] = seqs, sorted({part for parts in stale.values() for part in parts})
    return found


def named_batches(seqs: list[int]) -> str:
    """Numbers of batches in words: the first and the last of many."""
    if len(seqs) == 1:
        return f"batch {seqs[0]}"
    return f"{len(seqs)} batches ({seqs[0]} to {seqs[-1]})"


def reland(lake: Lake, settings: Settings, name: str, executor: Executor, rules: dict[str, Any]) -> Reread:
    """Read every input of a source again that still is what it was, and replace its rows. Needs the lake's run lock.

    Raises:
        SourceError: what the source held is given once.
    """
    source = _source(settings, name)
    if source.rereads == "never":
        raise SourceError(
            f"{name} cannot be read again: what a source of kind {source.kind} held is given once; its rows stay"
        )
    batches = [b for b in _standing(lake, name, source) if b.inputs]
    return _reread(lake, settings, name, [(b, i) for b in batches for i in range(len(b.inputs))], executor, rules)


def retry(
    lake: Lake, settings: Settings, name: str, executor: Executor, rules: dict[str, Any], seq: int | None = None
) -> Reread:
    """Read the inputs of a source again that failed as a whole, of one batch or of all. Needs the lake's run lock.

    Raises:
        SourceError: nothing failed.
    """
    source, outcomes = _source(settings, name), ledger.outcomes(lake, name)
    chosen = []
    for batch in _standing(lake, name, source):
        if batch.seq in outcomes and seq in (None, batch.seq):
            failed = {i.name for i in outcomes[batch.seq].inputs if i.failure}
            chosen += [(batch, i) for i, piece in enumerate(batch.inputs) if piece.name in failed]
    if not chosen:
        where = f"batch {seq} of {name}" if seq else name
        raise SourceError(f"nothing of {where} failed; `customer360 batch list {name}` shows its batches")
    return _reread(lake, settings, name, chosen, executor, rules)


def retry_changed(
    lake: Lake, settings: Settings, name: str, executor: Executor, rules: dict[str, Any]
) -> Reread | None:
    """Retry what failed under another mapping, reader or contract than today's: that may have been its fault."""
    now = made_by(configured(settings, name))
    outcomes = ledger.outcomes(lake, name).values()
    failed = [o for o in outcomes if not is_of(o.made_by, now) and any(i.failure for i in o.inputs)]
    return retry(lake, settings, name, executor, rules) if any(not o.dropped for o in failed) else None


def drop(
    lake: Lake, settings: Settings, name: str, seq: int, *, ignore: bool = False, rules: dict[str, Any] | None = None
) -> int:
    """Take a batch back: its rows leave the lake in one commit a table. Its inputs are new again, or with ``ignore``
    they stay known and are never read. Returns rows that left. Needs the lake's run lock.

    Raises:
        SourceError: there is no such batch, or it was dropped before; or its inputs cannot be read again, and it is
            not to be ignored.
    """
    source, outcomes = _source(settings, name), ledger.outcomes(lake, name)
    batch = next((b for b in ledger.batches(lake, name) if b.seq == seq), None)
    before = outcomes.get(seq)
    if batch is None or (before and before.dropped):
        raise SourceError(f"{name} has no batch {seq} that stands; `customer360 batch list {name}` shows its batches")
    if not ignore:
        _check_that_it_comes_again(lake, source, name, batch)
    rows = 0
    if batch.seq <= last_committed(lake, source, name):
        refused = [quality.ERASED] if lake.exists(quality.ERASED) else []
        for table in (LETTERS, *refused, *([] if is_grouped(source) else [source.table])):
            out = taken(lake, table, name, pl.col(_columns(table)[0]) == seq, f"d{seq}")
            rows += out.rows if table == source.table else 0
            version = (lake.transaction(table, f"drop:{name}") or 0) + 1
            facts = {"dropped": seq, "rows": out.rows}
            lake.commit(table, out.rest, out.gone, app=f"drop:{name}", app_version=version, facts=facts)
        if is_grouped(source):
            attempt = max(lake.transaction(table, f"reread:{name}") or 0 for table in (GROUPED, source.table)) + 1
            made = regrouped(
                lake, LocalExecutor(settings.execution), source, name, [], attempt=attempt,
                reading=reading_of(source, rules), checks=checks_of(rules or {}, source.table), without=seq,
            )  # fmt: skip
            noted(lake, name, source, made)
            rows = before.facts["landed"] if before else 0
    stands = before or Outcome(name, seq, tuple(InputOutcome(i.name, {}) for i in batch.inputs), {})
    said = "ignored" if ignore else "dropped"
    note = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {said}, {rows} rows left {source.table}"
    became = ledger.IGNORED if ignore else ledger.AGAIN
    replace(stands, dropped=became, trail=(*stands.trail, note)).save(lake)
    return rows


def _source(settings: Settings, name: str) -> Source:
    if name not in settings.sources:
        raise SourceError(f"there is no source {name!r}; configured are {', '.join(sorted(settings.sources))}")
    return configured(settings, name)


def _check_that_it_comes_again(lake: Lake, source: Source, name: str, batch: Batch) -> None:
    """Raises SourceError where the source would not give what a batch held to the next one."""
    if source.rereads == "each" or batch.cursor is None:
        return
    outcomes = ledger.outcomes(lake, name)
    again = [seq for seq, outcome in outcomes.items() if outcome.dropped == ledger.AGAIN]
    later = [b.seq for b in ledger.batches(lake, name) if b.seq > batch.seq and b.cursor and b.seq not in again]
    ignored = f"`customer360 batch drop {name} {batch.seq} --ignore` takes its rows out for good"
    if source.rereads == "never" and batch.seq <= last_committed(lake, source, name):
        raise SourceError(
            f"batch {batch.seq} of {name} cannot be read again: what a source of kind {source.kind} held is given "
            f"once; {ignored}"
        )
    if later:
        first = "" if source.rereads == "never" else f"drop batch {later[-1]} and those before it first, or "
        raise SourceError(
            f"batch {batch.seq} of {name} would not be read again: the source goes on where batch {later[-1]} ended; "
            f"{first}{ignored}"
        )


def _standing(lake: Lake, name: str, source: Source) -> list[Batch]:
    """Batches that landed and were not dropped."""
    outcomes, landed = ledger.outcomes(lake, name), last_committed(lake, source, name)
    return [
        b for b in ledger.batches(lake, name) if b.seq <= landed and not (b.seq in outcomes and outcomes[b.seq].dropped)
    ]


# ---- reading again ----------------------------------------------------------------------------------------------


def _reread(
    lake: Lake,
    settings: Settings,
    name: str,
    chosen: list[tuple[Batch, int]],
    executor: Executor,
    rules: dict[str, Any],
) -> Reread:
    source, landing, outcomes = configured(settings, name), landing_of(settings), ledger.outcomes(lake, name)
    # of both tables: what is written must not have the name of a file that one of them holds already
    attempt = max(lake.transaction(table, f"reread:{name}") or 0 for table in (LETTERS, GROUPED, source.table)) + 1
    parts = parts_anew(lake, name, list({b.seq: b for b, _ in chosen}.values()))
    kept, units, places = [], [], _places(lake, name)
    known, contract = schemas.newest(lake, name), schema_contract_of(source).thawed
    columns, variants = (known.columns, known.variants) if known else (None, ())
    for batch, index in chosen:
        piece, there = batch.inputs[index], places.get((batch.seq, index), [])
        found, why = _found(landing, source, piece, outcomes.get(batch.seq), there)
        if why:
            kept.append(f"batch {batch.seq}: {piece.name} {why}; its rows stay as they are")
        else:
            checks = checks_of(rules, source.table)
            reading = reading_of(source, rules)
            units.append(IngestUnit(
                lake, found, name, source, batch, index, checks, reading, attempt, parts=parts,
                known=columns, variants=variants, schema_contract=contract,
            ))  # fmt: skip
    done: list[tuple[IngestUnit, Landed]] = []
    for place, result in telemetry.beating(executor.map(units), f"reading {name} again"):
        unit = units[place]
        if isinstance(result, Failure):
            kept.append(f"batch {unit.batch.seq}: {unit.address} could not be read: {result.reason}; its rows stay")
        elif result.outcome.failure and not _failed_before(outcomes.get(unit.batch.seq), unit.address):
            kept.append(f"batch {unit.batch.seq}: {unit.address} fails now: {result.outcome.failure}; its rows stay")
        else:
            done.append((unit, result))
    for line in kept:
        telemetry.log.warning(f"{name}: {line}")
    before = _replaced(lake, name, source, done, attempt)
    rows = sum(landed.facts["landed"] for _, landed in done)
    if not is_grouped(source):
        _note(lake, source, done, outcomes)
        return Reread(name, len(done), before, rows, tuple(kept))
    reading, checks = reading_of(source, rules), checks_of(rules, source.table)
    made = regrouped(lake, executor, source, name, done, attempt=attempt, reading=reading, checks=checks)
    _note(lake, source, done, outcomes)
    noted(lake, name, source, made)
    return Reread(name, len(done), made.before, sum(made.rows.values()), tuple(kept))


def _places(lake: Lake, name: str) -> dict[tuple[int, int], list[str]]:
    """Where inputs of a source lie by now, by batch and place in it; the newest place last."""
    found: dict[tuple[int, int], list[str]] = {}
    for seq, place, path in moves(lake, name).select("seq", "place", "name").iter_rows():
        found.setdefault((seq, place), []).append(path)
    return found


def _found(
    landing: Landing, source: Source, piece: Input, outcome: Outcome | None, places: list[str]
) -> tuple[Landing, str]:
    """The landing root in which an input is what was read, moved or not; else why it is not."""
    why = _unlike(landing, source, piece, outcome)
    for place in reversed(places) if why else ():
        moved = replace(landing, moved=((piece.name, place),))
        if place != piece.name and not _unlike(moved, source, piece, outcome):
            return moved, ""
    return landing, why


def _unlike(landing: Landing, source: Source, piece: Input, outcome: Outcome | None) -> str:
    """Why an input is not what was read, or was to be; empty where it is."""
    if not source.stand_alone:
        return ""
    now = landing.state_of(piece.name)
    if now is None:
        return "is gone"
    states = {i.name: i.state for i in outcome.inputs} if outcome else {}
    then = {**piece.detail, **states.get(piece.name, {})}
    if all(then.get(key) == now.detail[key] for key in ("size", "modified")):
        return ""
    return "" if then.get("sha256") == landing.digest_of(piece.name) else "holds another content now"


def _failed_before(outcome: Outcome | None, name: str) -> bool:
    return outcome is not None and any(i.name == name and i.failure for i in outcome.inputs)


def _replaced(lake: Lake, name: str, source: Source, done: list[tuple[IngestUnit, Landed]], attempt: int) -> int:
    """Commit what was read again in the place of what stood: dead letters first, bronze last. Returns rows that
    stood.
    """
    for unit, landed in done:
        balance = quality.batch_balance(unit.address, landed.facts)
        if not balance.holds:
            raise RunError({f"source {name}": f"conservation does not hold: {balance.text}"})
    if not done:
        return 0
    places = pl.DataFrame([(u.batch.seq, u.address) for u, _ in done], schema=["seq", "file"], orient="row")
    facts = {"inputs": len(done), "rows": sum(landed.facts["landed"] for _, landed in done)}
    letters, bronze = [a for _, x in done for a in x.dead], [a for _, x in done for a in x.bronze]
    refused = [a for _, x in done for a in x.refused]
    stood = [(LETTERS, letters)]
    if refused or lake.exists(quality.ERASED):
        lake.ensure(quality.ErasedRecords)
        stood.append((quality.ERASED, refused))
    for table, adds in (*stood, *([] if is_grouped(source) else [(source.table, bronze)])):
        keys = pl.struct(pl.col(old).alias(new) for old, new in zip(_columns(table), places.columns, strict=True))
        out = taken(lake, table, name, keys.is_in(places.to_struct().implode()), f"k{attempt}")
        app = f"reread:{name}"
        lake.commit(table, [*out.rest, *adds], out.gone, app=app, app_version=attempt, facts=facts)
    return out.rows


def _columns(table: str) -> tuple[str, str]:
    """Where a table keeps the number of the batch and the name of the input of a row."""
    return ("seq", "file") if table in UNMADE else ("_seq", "_file")


def _note(lake: Lake, source: Source, done: list[tuple[IngestUnit, Landed]], outcomes: dict[int, Outcome]) -> None:
    """Keep what the batches gave now."""
    by_batch: dict[int, list[tuple[IngestUnit, Landed]]] = {}
    for unit, landed in done:
        by_batch.setdefault(unit.batch.seq, []).append((unit, landed))
    for seq, parts in by_batch.items():
        batch, before = parts[0][0].batch, outcomes.get(seq)
        held_before = {i.name: i.snapshot for i in before.inputs} if before else {}
        stands = judged(lake, batch.source, source, batch, [landed for _, landed in parts])
        stands |= {name: said for name, said in held_before.items() if said}  # what was decided stays
        again = {x.outcome.name: replace(x.outcome, snapshot=stands.get(x.outcome.name, "")) for _, x in parts}
        held = {i.name: i for i in before.inputs} if before else {}
        inputs = tuple((held | again)[i.name] for i in batch.inputs if i.name in held | again)
        facts = added_facts(batch, inputs)
        trail = before.trail if before else ()
        note = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} read again: {len(parts)} of {len(batch.inputs)} inputs"
        Outcome(batch.source, seq, inputs, facts, made_by(source), trail=(*trail, note)).save(lake)
