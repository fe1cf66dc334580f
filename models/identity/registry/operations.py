"""What a steward's operations do to the registry, as events: merge, split, move, undo, override; and the end of
records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from customer360.models.identity.registry.core import (
    EVENTS,
    MERGE,
    MOVE,
    OVERRIDE,
    SPLIT,
    UNMERGE,
    Registry,
    RegistryError,
    numbered,
)
from customer360.models.identity.registry.succession import advance, led_on


def merge(registry: Registry, one: int, other: int, *, cause: str, actor: str) -> pl.DataFrame:
    """Make two persons one: who holds more records survives, then the older."""
    one, other = registry.current(one), registry.current(other)
    if one == other:
        raise RegistryError("the two are one person already")
    held = {person: registry.records_of(person) for person in (one, other)}
    for person, records in held.items():
        if not records:
            raise RegistryError(f"person {person} holds no records")
    kept, gone = sorted(held, key=lambda person: (-len(held[person]), person))
    return led_on(registry, _events(registry, [(MERGE, kept, gone, held[gone])], cause, actor))


def split(registry: Registry, person: int, records: Iterable[int], *, cause: str, actor: str) -> pl.DataFrame:
    """Part some records of a person from its others. The id stays with what was its own before others were merged into
    it, which take their former ids back; else with the larger part, at a tie the part not named."""
    person = registry.current(person)
    held, named = registry.records_of(person), sorted(set(records))
    if strange := sorted(set(named) - set(held)):
        raise RegistryError(f"records {strange} are not held by person {person}")
    rest = [record for record in held if record not in set(named)]
    if not named or not rest:
        raise RegistryError("a split leaves records on both sides")
    larger, smaller = (rest, named) if len(rest) >= len(named) else (named, rest)
    # Where nothing was merged into the person, all its records are its own.
    came = registry.former.filter(pl.col("record").is_in(held)).height
    clusters = _clusters(larger, smaller)
    return advance(registry, clusters, cause=cause, actor=actor, fixed=None if came else {0: person})


def move(registry: Registry, records: Iterable[int], to: int, *, cause: str, actor: str) -> pl.DataFrame:
    """Give records of one person to another. What empties a person is a merge."""
    named = sorted(set(records))
    holders = registry.members.filter(pl.col("record").is_in(named))
    if holders.height < len(named):
        raise RegistryError(f"records {sorted(set(named) - set(holders['record']))} are held by nobody")
    if holders["person"].n_unique() != 1:
        raise RegistryError(
            f"records {named} belong to {holders['person'].n_unique()} persons; move one person's at a time"
        )
    source, to = int(holders["person"][0]), registry.current(to)
    if source == to:
        raise RegistryError("the records are there already")
    rest = [record for record in registry.records_of(source) if record not in set(named)]
    there = registry.records_of(to) + named
    return advance(registry, _clusters(there, rest), cause=cause, actor=actor, fixed={0: to})


def undo(registry: Registry, events: Sequence[dict[str, Any]], *, cause: str, actor: str) -> pl.DataFrame:
    """Bring the records of earlier events (of one decision) back to where they were; those that have moved on since
    stay.

    Raises:
        RegistryError: the events took nothing from anybody, or none of their records is where they put them.
    """
    kinds = {event["kind"] for event in events}
    back = [
        e for e in events if e["kind"] in (MERGE, SPLIT, UNMERGE, MOVE) and None not in (e["person"], e["from_person"])
    ]
    if not back:
        kind = min(kinds)
        raise RegistryError(f"a {kind} cannot be undone: there is nothing before it; split or move the records instead")
    # A merged id comes back to life by undoing that very merge alone; otherwise its survivor stands for it.
    emptied = {event["from_person"] for event in back if event["kind"] == MERGE}
    revived = {event["from_person"] for event in back if event["records"]} & emptied
    where = dict(registry.members.filter(pl.col("record").is_in([r for e in back for r in e["records"]])).iter_rows())
    moves: dict[tuple[int, int], list[int]] = {}
    for event in back:
        holder, before = registry.current(int(event["person"])), int(event["from_person"])
        to = before if before in revived else registry.current(before)
        if here := [record for record in event["records"] if where.get(record) == holder]:
            moves.setdefault((holder, to), []).extend(here)
    numbers = ", ".join(str(event["event"]) for event in events)
    if not moves:
        raise RegistryError(f"none of the records of event {numbers} is where it put them")
    if not (moves := {way: records for way, records in moves.items() if way[0] != way[1]}):
        raise RegistryError("the records are there already")
    return led_on(registry, _events(registry, _transfers(registry, moves), cause, actor))


def override(registry: Registry, person: int, *, cause: str, actor: str) -> pl.DataFrame:
    """Note that a steward set an attribute; the value stands in the decision that `cause` names."""
    return _events(registry, [(OVERRIDE, registry.current(person), None, [])], cause, actor)


def retire(registry: Registry, records: Iterable[int], *, cause: str, actor: str) -> pl.DataFrame:
    """Take records out for good."""
    return advance(
        registry, pl.DataFrame(schema={"record": pl.Int64, "cluster": pl.Int64}), records, cause=cause, actor=actor
    )


def _clusters(*parts: list[int]) -> pl.DataFrame:
    rows = [(record, number) for number, part in enumerate(parts) for record in part]
    return pl.DataFrame(rows, schema={"record": pl.Int64, "cluster": pl.Int64}, orient="row")


_Row = tuple[str, int, int | None, list[int]]


def _transfers(registry: Registry, moves: dict[tuple[int, int], list[int]]) -> list[_Row]:
    """Records from one person to another: an unmerge where that opens a former id, a merge where it empties the
    first."""
    coming = {to for _, to in moves}
    going: dict[int, int] = {}
    for (source, _), records in moves.items():
        going[source] = going.get(source, 0) + len(records)
    opened, ended = set[int](), set[int]()
    rows: list[_Row] = []
    for (source, to), records in sorted(moves.items(), key=lambda item: (-len(item[1]), item[0])):
        is_emptied = going[source] == len(registry.records_of(source)) and source not in coming
        kind = MOVE
        if not registry.records_of(to) and to not in opened:
            kind = UNMERGE
            opened.add(to)
        elif is_emptied and source not in ended:
            kind = MERGE
            ended.add(source)
        rows.append((kind, to, source, sorted(records)))
    return rows


def _events(registry: Registry, rows: list[_Row], cause: str, actor: str) -> pl.DataFrame:
    made = [
        {"kind": kind, "person": person, "from_person": source, "records": records, "first": min(records, default=0)}
        for kind, person, source, records in rows
    ]
    schema = {k: EVENTS[k] for k in ("kind", "person", "from_person", "records")} | {"first": pl.Int64()}
    return numbered(registry, pl.DataFrame(made, schema=schema), cause=cause, actor=actor)
