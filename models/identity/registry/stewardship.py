"""What a steward does: merge, split, move, confirm or reject a pair, set a golden value, undo.

Each writes a decision, which every later resolution honours, and then changes the registry, so that ids answer by it at
once; profiles and facts follow with the next run. Everything is refused before anything is written. The caller holds
the lake's run lock. A death between decision and registry is mended by the next run, which finds the decision.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from customer360.models.identity import registry
from customer360.models.identity.golden import ADDRESS, ATTRIBUTES, typed
from customer360.models.identity.registry import RegistryError, Stored, core, decisions
from customer360.models.identity.registry.contracts import StewardDecisions
from customer360.models.identity.registry.decisions import CANNOT_LINK, MUST_LINK, OVERRIDE
from customer360.models.identity.stitching import LINK, LINK_WEIGHT
from customer360.models.identity.verdicts.cluster import cluster
from customer360.models.identity.verdicts.decide import ACCEPTED
from customer360.platform import tables
from customer360.platform.lake import Lake


def merge(lake: Lake, seed: str, one: str, other: str, *, actor: str, reason: str) -> pl.DataFrame:
    """Make two persons (any ids that lead to them) one. Returns the events."""
    stored = registry.load(lake, seed)
    persons = stored.person(one), stored.person(other)
    events = core.merge(stored.registry, *persons, cause=_next(lake), actor=actor)
    sides = [stored.registry.records_of(person) for person in persons]
    return _done(stored, events, [_decision(MUST_LINK, *sides)], actor, reason)


def split(lake: Lake, seed: str, person_id: str, record_ids: list[str], *, actor: str, reason: str) -> pl.DataFrame:
    """Part some records of a person from its others. Returns the events."""
    stored = registry.load(lake, seed)
    person, named = stored.person(person_id), [stored.record(r) for r in record_ids]
    events = core.split(stored.registry, person, named, cause=_next(lake), actor=actor)
    rest = [record for record in stored.registry.records_of(person) if record not in set(named)]
    return _done(stored, events, [_decision(CANNOT_LINK, named, rest)], actor, reason)


def move(lake: Lake, seed: str, record_ids: list[str], to: str, *, actor: str, reason: str) -> pl.DataFrame:
    """Give records of one person to another. Returns the events."""
    stored = registry.load(lake, seed)
    records = [stored.record(r) for r in record_ids]
    events = core.move(stored.registry, records, stored.person(to), cause=_next(lake), actor=actor)
    return _done(stored, events, _sides(stored, events), actor, reason)


def confirm(lake: Lake, seed: str, one: str, other: str, *, actor: str, reason: str) -> pl.DataFrame:
    """Two records are one person: their persons merge where they are two. Returns the events."""
    stored = registry.load(lake, seed)
    pair = stored.record(one), stored.record(other)
    left, right = (_holder(stored, record) for record in pair)
    nothing = pl.DataFrame(schema=core.EVENTS)
    events = core.merge(stored.registry, left, right, cause=_next(lake), actor=actor) if left != right else nothing
    return _done(stored, events, [_decision(MUST_LINK, [pair[0]], [pair[1]])], actor, reason)


def reject(lake: Lake, seed: str, one: str, other: str, max_size: int, *, actor: str, reason: str) -> pl.DataFrame:
    """Two records are two persons: where one person holds both, its records part along the strongest edges that are
    left. Returns the events."""
    stored = registry.load(lake, seed)
    pair = stored.record(one), stored.record(other)
    left, right = (_holder(stored, record) for record in pair)
    events = pl.DataFrame(schema=core.EVENTS)
    if left == right:
        clusters = _parted(stored, stored.registry.records_of(left), pair, max_size)
        events = core.advance(stored.registry, clusters, cause=_next(lake), actor=actor)
    return _done(stored, events, [_decision(CANNOT_LINK, [pair[0]], [pair[1]])], actor, reason)


def override(
    lake: Lake, seed: str, person_id: str, attribute: str, value: Any, *, actor: str, reason: str
) -> pl.DataFrame:
    """Set a golden value, or give it back to the records with None. Returns the events.

    Raises:
        RegistryError: no such attribute, or the value does not fit its type.
    """
    if attribute not in (*ATTRIBUTES, *ADDRESS):
        raise RegistryError(f"no golden attribute {attribute!r}; there are {', '.join((*ATTRIBUTES, *ADDRESS))}")
    text = None if value is None else json.dumps(value)
    if text is not None:
        kind = tables.schema(tables.by_name("silver.people"))[attribute]
        try:
            typed(pl.Series([text]), kind)
        except pl.exceptions.PolarsError:
            raise RegistryError(f"{attribute} is a {kind}, which {value!r} is not") from None
    stored = registry.load(lake, seed)
    person = stored.person(person_id)
    events = core.override(stored.registry, person, cause=_next(lake), actor=actor)
    records = stored.registry.records_of(person)
    row = {"kind": OVERRIDE, "left": records, "right": None, "attribute": attribute, "value": text}
    return _done(stored, events, [row], actor, reason)


def undo(lake: Lake, seed: str, event: int, *, actor: str, reason: str) -> pl.DataFrame:
    """Take an event back: its records return to where they were, and stay there. Returns the new events.

    Raises:
        RegistryError: there is no such event, or nothing of it can be taken back.
    """
    stored = registry.load(lake, seed)
    past = registry.event_of(stored, event)
    if past["kind"] == core.OVERRIDE:
        made = decisions.decisions(lake).filter(pl.format("decision {}", "decision") == past["cause"])
        if made.is_empty():
            raise RegistryError(f"the value that event {event} set was erased")
        return override(
            lake, seed, stored.person_id(past["person"]), made["attribute"][0], None, actor=actor, reason=reason
        )
    events = core.undo(stored.registry, past, cause=f"{_next(lake)}, undo {event}", actor=actor)
    return _done(stored, events, _sides(stored, events), actor, reason)


# ---- decisions ------------------------------------------------------------------------------------------------


def _sides(stored: Stored, events: pl.DataFrame) -> list[dict[str, Any]]:
    """What must hold so that a resolution does not bring moved records back: they belong to the person they came to,
    and not to the one they left."""
    (row,) = events.to_dicts()
    moved = row["records"]
    rest = [r for r in stored.registry.records_of(row["from_person"]) if r not in set(moved)]
    found = [_decision(CANNOT_LINK, moved, rest)] if rest else []
    there = stored.registry.records_of(row["person"])
    return [*found, _decision(MUST_LINK, moved, there)] if there or len(moved) > 1 else found


def _decision(kind: str, left: list[int], right: list[int]) -> dict[str, Any]:
    return {"kind": kind, "left": left, "right": right, "attribute": None, "value": None}


def _done(stored: Stored, events: pl.DataFrame, made: list[dict[str, Any]], actor: str, reason: str) -> pl.DataFrame:
    lake, name = stored.lake, tables.spec(StewardDecisions).name
    lake.ensure(StewardDecisions)
    first = _next_number(lake)
    common = {"decided_at": datetime.now(UTC), "actor": actor, "reason": reason or None}
    rows = [{"decision": first + n, **common, **row} for n, row in enumerate(made)]
    if rows:
        frame = pl.DataFrame(rows, schema=tables.schema(StewardDecisions))
        lake.commit(
            name,
            [lake.write_file(name, frame, {})],
            app="steward decisions",
            app_version=int(frame["decision"][-1]) + 1,
            facts={"rows": frame.height},
        )
    registry.commit(stored, events)
    return events


def _next(lake: Lake) -> str:
    return f"decision {_next_number(lake)}"


def _next_number(lake: Lake) -> int:
    """Numbers are not given twice, not even those of erased decisions."""
    return lake.transaction(tables.spec(StewardDecisions).name, "steward decisions") or 0


def _holder(stored: Stored, record: int) -> int:
    found = stored.registry.members.filter(pl.col("record") == record)["person"]
    if found.is_empty():
        raise RegistryError(f"record {record} is held by nobody")
    return int(found[0])


def _parted(stored: Stored, records: list[int], pair: tuple[int, int], max_size: int) -> pl.DataFrame:
    """(record, cluster) of one person's records when two of them are two people."""
    ids = stored.names.filter(pl.col("record").is_in(records)).sort("record_id").with_row_index("rid")
    ids = ids.with_columns(pl.col("rid").cast(pl.Int64))
    edges = stored.lake.scan("silver.identity_edges").filter(pl.col("decision") == ACCEPTED).collect()
    local = edges.join(ids, left_on="record_id_l", right_on="record_id").join(
        ids, left_on="record_id_r", right_on="record_id", suffix="_r"
    )
    # A link without a score is by a verified number, or a steward's own and an older one than this.
    by_number = pl.when(pl.col("reason").str.starts_with(LINK)).then(LINK_WEIGHT)
    weight = pl.coalesce(by_number, "match_weight", pl.lit(0.0)).alias("match_weight")
    local = local.select("rid", "rid_r", weight).rename({"rid": "rid_l"})
    barred = ids.filter(pl.col("record").is_in(pair))["rid"].sort()
    bar = pl.DataFrame({"rid_l": barred[:1], "rid_r": barred[1:]})
    local = local.join(bar, on=["rid_l", "rid_r"], how="anti")
    nothing = pl.DataFrame(schema={"rid_l": pl.Int64, "rid_r": pl.Int64})

    def contradiction(within: pl.DataFrame) -> pl.DataFrame:
        return bar if within.height else nothing

    labels: np.ndarray = cluster(ids.height, local, nothing, contradiction, max_size)
    return ids.select("record").with_columns(cluster=pl.Series(labels, dtype=pl.Int64))
