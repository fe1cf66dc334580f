"""What a source brings now against what is known of it, and what a person lets in of that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from customer360.platform import ledger, schemas, tables
from customer360.platform.errors import SourceError
from customer360.platform.evolution import Change, Seen, fate, learned, taken_in
from customer360.platform.lake import Lake
from customer360.platform.lake.retyping import changed_types
from customer360.platform.ledger import Input
from customer360.platform.run.control import write_schema_versions
from customer360.platform.run.evolving import mapping_lines, with_renames
from customer360.platform.run.executor import Executor
from customer360.platform.run.health import Board
from customer360.platform.run.ingest import pending
from customer360.platform.run.migrating import in_words, to_contract
from customer360.platform.schemas import Version, next_version
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Source, configured
from customer360.platform.sources.cards import cleared
from customer360.platform.sources.casting import fit
from customer360.platform.sources.landing import Landing, landing_of
from customer360.platform.sources.observed import Observer
from customer360.platform.sources.stated import marking, reading_of, schema_contract_of
from customer360.platform.sources.values import Reading


@dataclass(frozen=True)
class Difference:
    """How what waits at a source differs from what is known of it: each change, what becomes of it (``waits``,
    ``evolves``, ``discarded``), and lines of the mapping that a new name of a column would need."""

    source: str
    known: Version | None
    inputs: int
    changes: tuple[tuple[Change, str, tuple[str, ...]], ...]


def difference(lake: Lake, settings: Settings, name: str, rules: dict[str, Any]) -> Difference:
    """Read what waits at a source as a run would read it, and compare. Nothing is written.

    Raises:
        SourceError: there is no such source, or it cannot be reached or read.
    """
    source, known, found, seen = _look(lake, settings, name, rules)
    contract, used = schema_contract_of(source), {c for _, one in seen for c in one.used}
    told = []
    for change in found:
        lines = mapping_lines(source, change.column, change.renamed_to) if change.renamed_to else []
        told.append((change, fate(change, contract, used), tuple(lines)))
    return Difference(name, known, len(seen), tuple(told))


def _look(
    lake: Lake, settings: Settings, name: str, rules: dict[str, Any]
) -> tuple[Source, Version | None, list[Change], list[tuple[str, Seen]]]:
    if name not in settings.sources:
        raise SourceError(f"there is no source {name!r}; configured are {', '.join(sorted(settings.sources))}")
    source, landing = configured(settings, name).unwritten(), landing_of(settings)
    known = schemas.newest(lake, name)
    facts = ledger.last_facts(lake, source.table, f"batch:{name}")
    reading = reading_of(source, rules, facts)
    seen = [
        (piece.name, _seen(landing, source, piece, known, reading))
        for batch in pending(lake, landing, name, source)
        for piece in batch.inputs
    ]
    seen = [(place, one) for place, one in seen if one.columns]
    types = {c: str(t.dtype) for c, t in tables.by_name(source.table).columns().items()}
    variants, columns = known.variants if known else (), known.columns if known else None
    _, found = learned(columns, variants, seen, schema_contract_of(source), types)
    return source, known, with_renames(lake, name, source, found, [one for _, one in seen]), seen


def _seen(landing: Landing, source: Source, piece: Input, known: Version | None, reading: Reading) -> Seen:
    """What one input brings. What its mapping cannot be applied to is not cast: a run says why."""
    observer = Observer(source, known.columns if known else None, schema_contract_of(source))
    table, uncast = tables.by_name(source.table), Counter[str]()
    for records in cleared(source, source.pieces(landing, piece)):
        observer.look(records)
        if observer.contract.data_type != "evolve" and not observer.missing():
            fitted = fit(records.frame, table, marking(source, landing), reading)
            uncast.update({c: int(rows.sum()) for c, rows in fitted.uncast.items()})
    observer.uncast = uncast
    return observer.seen()


def accept(
    lake: Lake,
    settings: Settings,
    subject: str,
    columns: list[str],
    actor: str,
    executor: Executor,
    rules: dict[str, Any],
) -> list[str]:
    """Let in what of a source waits or was discarded, all of it or of some columns; of a bronze table, cast what is
    stored to its contract. Returns what was done, in lines. Needs the lake's run lock.

    Raises:
        SourceError: nothing waits, or nothing of a column that is named.
    """
    if subject in tables.TABLES and subject.startswith("bronze."):
        return _accept_contract(lake, settings, subject, actor, executor, rules)
    source = configured(settings, subject) if subject in settings.sources else None
    seq, found = schemas.waiting(lake, subject) if source else (0, [])
    if not found:
        source, _, found, seen = _look(lake, settings, subject, rules)
        used = {c for _, one in seen for c in one.used}
        found = [c for c in found if fate(c, schema_contract_of(source), used) != "evolves"]
    assert source is not None
    if unknown := sorted(set(columns) - {c.column for c in found}):
        named = ", ".join(dict.fromkeys(c.column for c in found)) or "nothing"
        raise SourceError(f"{subject}: nothing of {', '.join(unknown)} waits to be accepted; what waits: {named}")
    chosen = [c for c in found if not columns or c.column in columns]
    if not chosen:
        raise SourceError(f"{subject}: nothing waits to be accepted; it brings what is known of it")
    known = schemas.newest(lake, subject)
    now = taken_in(known.columns if known else {}, chosen, None, ())
    variants = tuple(
        dict.fromkeys([*(known.variants if known else ()), *(c.column for c in chosen if c.kind == "uncast")])
    )
    made = next_version(known, subject, source.table, now, chosen, variants=variants, by=actor, seq=seq or None)
    number = schemas.register(lake, made).number if made else (known.number if known else 0)
    rest = [c for c in found if c not in chosen]
    schemas.wait(lake, subject, seq, rest) if rest else schemas.settled(lake, subject)
    write_schema_versions(lake)
    _close_circuit(lake, settings, subject)
    lines = [f"{subject}: schema version {number}: {change}" for change in chosen]
    contract = schema_contract_of(source)
    for change in chosen:
        if change.renamed_to and (new := mapping_lines(source, change.column, change.renamed_to)):
            lines.append(f"map {change.renamed_to!r} before the next run: mapping: {{{', '.join(new)}}}")
    if any(getattr(contract, c.entity).startswith("discard") for c in chosen):
        again = f"`customer360 run --reland {subject}` reads what was left out so far"
        letters = "`customer360 quarantine export` and `quarantine replay` bring back what are dead letters"
        return [*lines, again if source.rereads != "never" else letters]
    then = f"still waits: {'; '.join(map(str, rest))}" if rest else "`customer360 run` lands what waits"
    return [*lines, then]


def _close_circuit(lake: Lake, settings: Settings, name: str) -> None:
    """The next run asks the source, also one that was left alone."""
    board = Board.of(lake)
    if board[name].open_since:
        board[name].close()
        board.save(lake, settings.sources)


def _accept_contract(
    lake: Lake, settings: Settings, table: str, actor: str, executor: Executor, rules: dict[str, Any]
) -> list[str]:
    contract = tables.by_name(table)
    changed = changed_types(lake, contract)
    if not changed:
        raise SourceError(f"{table}: nothing waits to be accepted; it is stored in the types of its contract")
    counts = to_contract(lake, settings, table, executor, rules)
    lake.ensure(contract)
    schemas.note_contract(lake, contract, by=actor)
    write_schema_versions(lake)
    return [
        f"{table}: {in_words(changed)}; {counts.get('cast', 0):,} values cast, {counts.get('uncast', 0):,} kept as text"
    ]
