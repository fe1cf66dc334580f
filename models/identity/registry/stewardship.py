"""What a steward does: merge, split, move, confirm or reject a pair, set a golden value, undo.

Each writes a decision, which every later resolution honours, and then changes the registry, so that ids answer by it at
once; profiles and facts follow with the next run. Decisions are about persons: what a record's person held when it was
made is bound by it. Everything is refused before anything is written, also what contradicts a decision that binds
(`rulings`). The caller holds the lake's run lock. A death between decision and registry is mended by the next run,
which finds the decision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from customer360.models.identity import registry
from customer360.models.identity.golden import ADDRESS, ATTRIBUTES, typed
from customer360.models.identity.registry import (
    RegistryError,
    Stored,
    UnknownId,
    core,
    decisions,
    operations,
    succession,
)
from customer360.models.identity.registry.conflicts import known_against
from customer360.models.identity.registry.contracts import StewardDecisions
from customer360.models.identity.registry.decisions import CANNOT_LINK, MUST_LINK, OVERRIDE, REASON, WITHDRAWAL
from customer360.models.identity.registry.kinds import require_one_kind
from customer360.models.identity.registry.rulings import Ruling, Rulings, told
from customer360.models.identity.stitching import LINK, LINK_WEIGHT
from customer360.models.identity.verdicts.cluster import cluster
from customer360.models.identity.verdicts.decide import ACCEPTED
from customer360.platform import tables
from customer360.platform.lake import Lake

_APP = "steward decisions"
SHOWN = 3  # of the names that a refusal repeats
Row = dict[str, Any]


class Contradiction(RegistryError):
    """A decision that others contradict, which bind until they are taken back."""


def merge(lake: Lake, seed: str, one: str, other: str, *, actor: str, reason: str) -> pl.DataFrame:
    """Make two persons (any ids that lead to them) one. Returns the events."""
    stored = registry.load(lake, seed)
    persons = stored.owner_number(one), stored.owner_number(other)
    if persons[0] == persons[1]:
        raise RegistryError(f"{one} and {other} are one person already")
    left, right = (stored.registry.records_of(person) for person in persons)
    _require_joinable(_rulings(stored), left, right, (), stored)
    events = operations.merge(stored.registry, *persons, cause=_next(lake), actor=actor)
    return _done(stored, events, "merge", [_decision(MUST_LINK, left, right)], actor, reason)


def split(lake: Lake, seed: str, person_id: str, record_ids: list[str], *, actor: str, reason: str) -> pl.DataFrame:
    """Part some records of a person from its others. Returns the events."""
    stored = registry.load(lake, seed)
    person, named = stored.owner_number(person_id), [stored.record(r) for r in record_ids]
    held = stored.registry.records_of(person)
    if strange := [name for name, record in zip(record_ids, named, strict=True) if record not in held]:
        some = ", ".join(list(dict.fromkeys(strange))[:SHOWN])
        raise RegistryError(f"{some}: no record of {stored.person_id(person)}")
    rest = [record for record in held if record not in set(named)]
    _require_partable(_rulings(stored), named, rest, stored)
    events = operations.split(stored.registry, person, named, cause=_next(lake), actor=actor)
    return _done(stored, events, "split", [_decision(CANNOT_LINK, named, rest)], actor, reason)


def move(lake: Lake, seed: str, record_ids: list[str], to: str, *, actor: str, reason: str) -> pl.DataFrame:
    """Give records of one person to another. Returns the events."""
    stored = registry.load(lake, seed)
    records, goal = [stored.record(r) for r in record_ids], stored.owner_number(to)
    if len(of := {_holder(stored, record) for record in records}) > 1:
        raise RegistryError(
            f"the records belong to {', '.join(map(stored.person_id, sorted(of)))}: move one's at a time"
        )
    rulings, there = _rulings(stored), stored.registry.records_of(goal)
    rest = [r for r in stored.registry.records_of(_holder(stored, records[0])) if r not in set(records)]
    _require_partable(rulings, records, rest, stored)
    _require_joinable(rulings, records, there, (), stored)
    events = operations.move(stored.registry, records, goal, cause=_next(lake), actor=actor)
    return _done(stored, events, "move", _sides(stored, events), actor, reason)


def confirm(lake: Lake, seed: str, one: str, other: str, *, actor: str, reason: str) -> pl.DataFrame:
    """Two records are one person: their persons merge where they are two. Returns the events.

    Raises:
        Contradiction: decisions say that they, or others that are one person with them, are two.
    """
    stored = registry.load(lake, seed)
    pair = _two(stored, one, other)
    left, right = (_holder(stored, record) for record in pair)
    if left == right:
        decision = _decision(MUST_LINK, [pair[0]], [pair[1]])
        return _done(stored, pl.DataFrame(schema=core.EVENTS), "confirm", [decision], actor, reason)
    one_side, other_side = (stored.registry.records_of(person) for person in (left, right))
    _require_joinable(_rulings(stored), one_side, other_side, pair, stored)
    events = operations.merge(stored.registry, left, right, cause=_next(lake), actor=actor)
    decision = _decision(MUST_LINK, _first(pair[0], one_side), _first(pair[1], other_side))
    return _done(stored, events, "confirm", [decision], actor, reason)


def reject(lake: Lake, seed: str, one: str, other: str, max_size: int, *, actor: str, reason: str) -> pl.DataFrame:
    """Two records are two persons: where one person holds both, its records part along the strongest edges that are
    left, and what decisions put together stays together. Returns the events.

    Raises:
        Contradiction: a decision that binds, or several together, make the two one person.
    """
    stored = registry.load(lake, seed)
    pair = _two(stored, one, other)
    left, right = (_holder(stored, record) for record in pair)
    if left != right:
        sides = [_first(n, stored.registry.records_of(p)) for n, p in zip(pair, (left, right), strict=True)]
        decision = _decision(CANNOT_LINK, *sides)
        return _done(stored, pl.DataFrame(schema=core.EVENTS), "reject", [decision], actor, reason)
    rulings = _rulings(stored)
    replaced = _require_rejectable(rulings, pair, stored)
    clusters = _parted(stored, stored.registry.records_of(left), pair, _rulings(stored, replaced), max_size)
    label = dict(clusters.iter_rows())
    one_side, other_side = (_first(end, [r for r, own in label.items() if own == label[end]]) for end in pair)
    events = succession.advance(stored.registry, clusters, cause=_next(lake), actor=actor)
    return _done(stored, events, "reject", [_decision(CANNOT_LINK, one_side, other_side, replaced)], actor, reason)


def override(
    lake: Lake, seed: str, person_id: str, attribute: str, value: Any, *, actor: str, reason: str
) -> pl.DataFrame:
    """Set a golden value, or give it back to the records with None. Returns the events.

    Raises:
        RegistryError: no such attribute, or the value does not fit its type.
    """
    text = golden_text(attribute, value)
    stored = registry.load(lake, seed)
    person = stored.owner_number(person_id)
    events = operations.override(stored.registry, person, cause=_next(lake), actor=actor)
    row = _decision(OVERRIDE, stored.registry.records_of(person), None) | {"attribute": attribute, "value": text}
    return _done(stored, events, "set", [row], actor, reason)


def golden_text(attribute: str, value: Any) -> str | None:
    """A golden value as it is stored, in JSON; None of None.

    Raises:
        RegistryError: no such attribute, or the value does not fit its type.
    """
    if attribute not in (*ATTRIBUTES, *ADDRESS):
        raise RegistryError(f"no golden attribute {attribute!r}; there are {', '.join((*ATTRIBUTES, *ADDRESS))}")
    if value is None:
        return None
    text = json.dumps(value)
    kind = tables.schema(tables.by_name("silver.people"))[attribute]
    try:
        typed(pl.Series([text]), kind)
    except pl.exceptions.PolarsError:
        raise RegistryError(f"{attribute} is a {kind}, which {value!r} is not") from None
    return text


# ---- taking back ----------------------------------------------------------------------------------------------


def undo(lake: Lake, seed: str, event: int, *, actor: str, reason: str) -> pl.DataFrame:
    """Take an event back, with all that came of the same decision: records return to where they were, and stay there.
    Returns the new events.

    Raises:
        RegistryError: there is no such event, or nothing of it can be taken back.
        Contradiction: another decision that binds forbids it.
    """
    stored = registry.load(lake, seed)
    past = registry.event_of(stored, event)
    if past["kind"] == core.OVERRIDE:
        return _without_value(stored, past, actor, reason)
    acts = registry.events_with(stored, past)
    events = operations.undo(stored.registry, acts, cause=f"{_next(lake)}, undo {event}", actor=actor)
    replaced = _in_force(stored, _decisions_of(acts))
    rulings, rows = _rulings(stored, replaced), _sides(stored, events)
    for row in rows:
        if row["kind"] == CANNOT_LINK:
            _require_partable(rulings, row["left"], row["right"], stored)
        else:
            _require_joinable(rulings, row["left"], row["right"], (), stored)
    rows = rows or [_decision(WITHDRAWAL, [], None)]
    rows[0]["withdraws"] = replaced or None
    return _done(stored, events, "undo", rows, actor, reason)


def _without_value(stored: Stored, past: Row, actor: str, reason: str) -> pl.DataFrame:
    """Take back a golden value, whoever holds its records by now: what was set before holds again, else what the
    records say."""
    every = decisions.decisions(stored.lake)
    made = every.filter(pl.format("decision {}", "decision") == past["cause"], pl.col("kind") == OVERRIDE)
    if made.is_empty() or made["value"][0] is None:
        raise RegistryError(f"the value that event {past['event']} set was erased or given back")
    number = int(made["decision"][0])
    if number in every["withdraws"].explode().drop_nulls():
        raise RegistryError(f"the value that event {past['event']} set was taken back before")
    holding = decisions.overrides(stored.lake, stored).filter(pl.col("decision") == number)["person_id"]
    person = stored.person(holding[0]) if holding.len() else int(past["person"])
    cause = f"{_next(stored.lake)}, undo {past['event']}"
    events = operations.override(stored.registry, person, cause=cause, actor=actor)
    return _done(stored, events, "undo", [_decision(WITHDRAWAL, [], None, [number])], actor, reason)


def withdraw(lake: Lake, seed: str, number: int, *, actor: str, reason: str) -> pl.DataFrame:
    """Take a decision back. What it changed is undone; where it changed nobody, the next run resolves without it.
    Returns the new events.

    Raises:
        RegistryError: there is no such decision, or it was taken back before.
    """
    stored = registry.load(lake, seed)
    made = decisions.decisions(lake)
    if made.filter(pl.col("decision") == number, pl.col("kind") != WITHDRAWAL).is_empty():
        raise UnknownId(f"there is no decision {number}; `identity decisions` lists them")
    if number in made["withdraws"].explode().drop_nulls():
        raise RegistryError(f"decision {number} was taken back before")
    together = _in_force(stored, [number])
    acts = registry.events_by(stored, f"decision {together[0]}")
    if acts:
        try:
            return undo(lake, seed, acts[0]["event"], actor=actor, reason=reason)
        except Contradiction:
            raise
        except RegistryError:
            pass  # its records have moved on since: what is left to take back is what it says of later runs
    row = _decision(WITHDRAWAL, [], None, together)
    return _done(stored, pl.DataFrame(schema=core.EVENTS), "undo", [row], actor, reason)


def _decisions_of(acts: Sequence[Row]) -> list[int]:
    """Numbers of the decisions that brought events about."""
    causes = {act["cause"].partition(",")[0].removeprefix("decision ") for act in acts}
    return sorted(int(cause) for cause in causes if cause.isdigit())


def _in_force(stored: Stored, numbers: Iterable[int]) -> list[int]:
    """Those of the decisions, and of the others that were made with them, that were not taken back."""
    made = decisions.decisions(stored.lake)
    gone = set(made["withdraws"].explode().drop_nulls())
    at = made.filter(pl.col("decision").is_in(list(numbers)))["decided_at"]
    mine = made.filter(pl.col("decided_at").is_in(at.implode()))["decision"]
    return sorted(set(mine) - gone)


# ---- contradictions -------------------------------------------------------------------------------------------


def _rulings(stored: Stored, without: Iterable[int] = ()) -> Rulings:
    return decisions.rulings_of(decisions.decisions(stored.lake), stored.names, without)


def _require_joinable(
    rulings: Rulings, left: Sequence[int], right: Sequence[int], pair: Sequence[int], stored: Stored
) -> None:
    """Raises Contradiction where a finding keeps the two sides apart; and where `pair`, two records, are one person
    only through others that a decision keeps apart. Raises RegistryError where one is of people and one of firms."""
    require_one_kind(stored, left, right)
    for number, pairs in sorted(rulings.between(left, right).items()):
        against = rulings.rulings[number]
        chains = [[r for near in pair for far in ends for r in rulings.path(near, far)] for ends in pairs]
        place = min(range(len(pairs)), key=lambda n: (len(chains[n]), pairs[n]))
        if against.binds(rulings.whole(left), rulings.whole(right)) or chains[place]:
            raise _contradiction("one person", [against, *chains[place]], pairs[place], stored)


def _require_partable(rulings: Rulings, left: Sequence[int], right: Sequence[int], stored: Stored) -> None:
    """Raises Contradiction where a finding makes a record of the one side one person with one of the other."""
    for number in rulings.links:
        ruling = rulings.rulings[number]
        is_cut = any(group & set(left) and group & set(right) for group in rulings.links[number])
        if is_cut and ruling.binds(left, right):
            raise _contradiction("two persons", [ruling], ruling.named, stored)


def _require_rejectable(rulings: Rulings, pair: tuple[int, int], stored: Stored) -> list[int]:
    """Numbers of the decision that the rejection takes the place of, if there is one.

    Raises:
        Contradiction: a finding, or more decisions than one, make the two one person.
    """
    path = rulings.path(*pair)
    if path and (len(rulings.linking(pair[0])) > 1 or path[0].is_finding):
        raise _contradiction("two persons", path if len(path) > 1 else rulings.linking(pair[0]), pair, stored)
    return [ruling.number for ruling in path]


def _contradiction(what: str, against: Iterable[Ruling], pair: Sequence[int], stored: Stored) -> Contradiction:
    names = dict(stored.names.filter(pl.col("record").is_in(list(pair))).iter_rows())
    distinct = list({r.number: r for r in against}.values())
    backs = " or ".join(f"`identity undo --decision {r.number}`" for r in sorted(distinct, key=lambda r: r.number))
    one, other = (names.get(record, "an erased record") for record in pair)
    said = "two persons" if what == "one person" else "one person"
    return Contradiction(
        f"this would make {one} and {other} {what}, but by {told(distinct)} they are {said}; take it back first: "
        + backs
    )


# ---- decisions ------------------------------------------------------------------------------------------------


def _two(stored: Stored, one: str, other: str) -> tuple[int, int]:
    if one == other:
        raise RegistryError(f"{one} is named twice: a decision is about two records")
    return stored.record(one), stored.record(other)


def _first(record: int, records: Sequence[int]) -> list[int]:
    return [record, *(other for other in records if other != record)]


def _sides(stored: Stored, events: pl.DataFrame) -> list[Row]:
    """What must hold so that a resolution does not bring moved records back: they belong to the person they came to,
    and not to the one they left."""
    after = stored.registry.apply(events)
    moved: dict[tuple[int, int], list[int]] = {}
    for row in events.to_dicts():
        if row["records"]:
            moved.setdefault((row["from_person"], row["person"]), []).extend(row["records"])
    found = []
    for (_, to), records in moved.items():
        gone = {r for person, _ in moved for r in stored.registry.records_of(person)}
        there = after.records_of(to)
        if rest := sorted(gone - set(there)):
            found.append(_decision(CANNOT_LINK, records, rest))
        if len(there) > 1:
            found.append(_decision(MUST_LINK, records, [r for r in there if r not in set(records)]))
    return found


def _decision(kind: str, left: list[int], right: list[int] | None, withdraws: list[int] | None = None) -> Row:
    return {
        "kind": kind,
        "left": left,
        "right": right,
        "attribute": None,
        "value": None,
        "withdraws": withdraws or None,
    }


def _done(stored: Stored, events: pl.DataFrame, command: str, made: list[Row], actor: str, reason: str) -> pl.DataFrame:
    lake, name = stored.lake, tables.spec(StewardDecisions).name
    lake.ensure(StewardDecisions)
    first = _next_number(lake)
    common = {"decided_at": datetime.now(UTC), "actor": actor, "reason": reason or None, "command": command}
    rows = [{"decision": first + n, **common, **row, **known_against(stored, row)} for n, row in enumerate(made)]
    frame = pl.DataFrame(rows, schema=tables.schema(StewardDecisions))
    lake.commit(
        name,
        [lake.write_file(name, frame, {})],
        app=_APP,
        app_version=int(frame["decision"][-1]) + 1,
        facts={"rows": frame.height},
    )
    registry.commit(stored, events, seal=True)
    return events


def _next(lake: Lake) -> str:
    return f"decision {_next_number(lake)}"


def _next_number(lake: Lake) -> int:
    """Numbers are not given twice, not even those of erased decisions."""
    name = tables.spec(StewardDecisions).name
    return (lake.transaction(name, _APP) or 0) if lake.exists(name) else 0


def _holder(stored: Stored, record: int) -> int:
    found = stored.registry.members.filter(pl.col("record") == record)["person"]
    if found.is_empty():
        name = stored.names.filter(pl.col("record") == record)["record_id"].item()
        raise RegistryError(f"{name} is held by nobody: its source delivers it no more")
    return int(found[0])


def _parted(stored: Stored, records: list[int], pair: tuple[int, int], rulings: Rulings, max_size: int) -> pl.DataFrame:
    """(record, cluster) of one person's records when two of them are two people."""
    ids = stored.names.filter(pl.col("record").is_in(records)).sort("record_id").with_row_index("rid")
    ids = ids.with_columns(pl.col("rid").cast(pl.Int64))
    edges = stored.lake.scan("silver.identity_edges").filter(pl.col("decision") == ACCEPTED).collect()
    edge_ends = edges.join(ids, left_on="record_id_l", right_on="record_id").join(
        ids, left_on="record_id_r", right_on="record_id", suffix="_r"
    )
    # A link without a score is by a verified number; what decisions say is in `rulings`.
    by_number = pl.when(pl.col("reason").str.starts_with(LINK)).then(LINK_WEIGHT)
    weight = pl.coalesce(by_number, "match_weight").alias("match_weight")
    natural = edge_ends.filter(~pl.col("reason").str.starts_with(REASON).fill_null(False))
    natural = natural.select("rid", "rid_r", weight).rename({"rid": "rid_l"}).drop_nulls("match_weight")
    rids = dict(ids.select("record", "rid").iter_rows())
    barred = [(a, b) for a, b, _ in rulings.pairs() if a in rids and b in rids] + [pair]
    bar = _local(barred, rids)
    whole = {frozenset(rulings.members(record) & rids.keys()) for record in records}
    must = _local([(min(g), r) for g in whole for r in g if r != min(g)], rids)
    natural = natural.join(bar, on=["rid_l", "rid_r"], how="anti")

    def contradiction(within: pl.DataFrame) -> pl.DataFrame:
        return bar.join(within, on=["rid_l", "rid_r"], how="semi")

    labels: np.ndarray = cluster(ids.height, natural, must, contradiction, max_size)
    return ids.select("record").with_columns(cluster=pl.Series(labels, dtype=pl.Int64))


def _local(pairs: Iterable[tuple[int, int]], rids: dict[int, int]) -> pl.DataFrame:
    rows = sorted({tuple(sorted((rids[a], rids[b]))) for a, b in pairs})
    return pl.DataFrame(rows, schema={"rid_l": pl.Int64, "rid_r": pl.Int64}, orient="row")
