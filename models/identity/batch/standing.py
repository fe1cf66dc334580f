"""What stands resolved in a lake, taken up again: which records changed since, and the edges and keys of the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.models.identity.batch.finding import places_among
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.state import EDGES, PLACE, VERDICTS, State, alongside, at_places, key_columns
from customer360.models.identity.evidence.features import KEY_PREFIX
from customer360.models.identity.organisations.telling import ORGANISATION
from customer360.models.identity.registry.ids import same_until
from customer360.platform.lake import Lake

VERSIONED = "evidence_version"
NODE = "node:silver.identities"  # whose transactions the tables of identity name


@dataclass(frozen=True)
class Standing:
    """`state` of the records that did not change; `batch`: evidence of those that did; `gone`: numbers of those that
    are there no more; `near`: numbers of records of the state that had edges with either, None where records only
    came, so that nothing that stands has lost anything. All of them know their number in the registry as `record`."""

    state: State
    batch: pl.DataFrame
    gone: pl.Series
    near: pl.Series | None


def versioned(evidence: pl.DataFrame, pins: Pins) -> pl.DataFrame:
    """The evidence with `evidence_version`: equal numbers mean that nothing which decides a record's pairs has
    changed."""
    seed = int(pins.version[:15], 16)
    parts = [c for c in evidence.columns if not c.startswith((KEY_PREFIX, "tf_")) and c not in ("record", "roots")]
    numbers = evidence.select(parts).hash_rows(seed=seed).reinterpret(signed=True)
    return evidence.with_columns(numbers.alias(VERSIONED))


def numbers_of(ids: pl.Series, names: pl.DataFrame) -> pl.Series:
    """The number (`record`) of each record id, null for one without. `names`: (record, record_id). As far as both lie
    in one order, which they mostly do to the last, they are told without a table of everybody's ids."""
    same = same_until(ids, names["record_id"])
    rest, others = ids.slice(same), names.slice(same)
    if rest.is_empty():
        return names["record"].head(same)
    return pl.concat([names["record"].head(same), others["record"].gather(places_among(rest, others["record_id"]))])


def are_of_one_run(lake: Lake, names: Iterable[str]) -> bool:
    """Whether all of these tables of identity are there and were last made by one run: one that died left its own rows
    in some of them."""
    return all(map(lake.exists, names)) and len({lake.transaction(name, NODE) for name in names}) == 1


def take_up(
    lake: Lake, evidence: pl.DataFrame, names: pl.DataFrame, held: pl.Series, rows: pl.DataFrame | None = None
) -> Standing:
    """What stands in the lake, for the `evidence` of all records there are, `versioned`; nothing where its tables are
    not all of one run. `names`: (record, record_id) of the registry; `held`: numbers of the records that somebody
    holds. `rows`: of `silver.identities`, where these were read (`touched.Before`): then edges that stand come without
    what they rest on, which only who writes all anew asks for."""
    numbered = alongside(evidence, numbers_of(evidence["record_id"], names).alias("record"))
    gone = held.filter(~_among_numbers(held, numbered["record"]))
    stored = ("silver.identities", "silver.identity_edges", "silver.identity_keys")
    if not are_of_one_run(lake, stored):
        return Standing(State.empty(evidence), numbered, gone, held.clear().alias("record"))
    weighed = rows is None
    if rows is None:
        rows = lake.scan("silver.identities").select("record_id", "entity_type", VERSIONED).collect()
        rows = rows.with_columns(numbers_of(rows["record_id"], names).alias("record"))
    is_person = rows["entity_type"].ne_missing(ORGANISATION)
    before = rows if is_person.all() else rows.filter(is_person)
    frame, batch = _parted(numbered, _is_same(numbered, before, names))
    edges, resting = _numbered(_edges(lake, weighed), frame.select("record"), names)
    is_whole = pl.all_horizontal(pl.col("record_l", "record_r").is_not_null())
    cut = edges.filter(~is_whole).select(record=pl.coalesce("record_l", "record_r"))
    keys = {key: n for n, key in enumerate(key_columns(evidence))}
    crowded = _crowded(lake, keys)
    if frame.is_empty():
        crowded = crowded.clear()
    state = State(frame, edges if cut.is_empty() else edges.filter(is_whole), resting, crowded)
    near = cut["record"].drop_nulls().unique()
    only_came = gone.is_empty() and near.is_empty() and before.height == frame.height  # none that stood has changed
    return Standing(state, batch, gone, None if only_came else near)


def _parted(rows: pl.DataFrame, is_first: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of which that is true, and the others; uncopied where they lie before these, as they mostly do."""
    many = int(is_first.sum())
    if is_first.head(many).all():
        return rows.head(many), rows.slice(many)
    return rows.filter(is_first), rows.filter(~is_first)


def _is_same(numbered: pl.DataFrame, before: pl.DataFrame, names: pl.DataFrame) -> pl.Series:
    """Whether a record's evidence has the version that it had `before` (record, evidence_version)."""
    was = np.zeros(int(names["record"].max() or 0) + 1, dtype=np.int64)  # type: ignore[arg-type]
    known = np.zeros(len(was), dtype=bool)
    held = before.select("record", VERSIONED).drop_nulls()
    places = held["record"].to_numpy()
    was[places], known[places] = held[VERSIONED].to_numpy(), True
    records = numbered["record"].to_numpy()
    return pl.Series(known[records] & (was[records] == numbered[VERSIONED].to_numpy()))


def _among_numbers(numbers: pl.Series, others: pl.Series) -> pl.Series:
    """Whether each of some numbers of records is among others; both without nulls."""
    highest = max(0, *(int(each.max() or 0) for each in (numbers, others)))  # type: ignore[arg-type]
    is_there = np.zeros(highest + 1, dtype=bool)
    is_there[others.to_numpy()] = True
    return pl.Series(is_there[numbers.to_numpy()])


def _crowded(lake: Lake, keys: dict[str, int]) -> pl.DataFrame:
    """Crowded keys that stand, by the place of their key. Rows lie by key: each run of one is told at once."""
    rows = lake.scan("silver.identity_keys").collect()
    runs = rows["key"].rle().struct.unnest()
    place = runs["value"].replace_strict(keys, default=None, return_dtype=pl.Int32)
    rows = rows.select(pl.Series("key", np.repeat(place.fill_null(-1).to_numpy(), runs["len"].to_numpy())), "value")
    return rows.filter(pl.col("key") >= 0) if place.null_count() else rows


def _edges(lake: Lake, weighed: bool) -> pl.DataFrame:
    """Edges that stand, as they lie."""
    rows = lake.scan("silver.identity_edges")
    if weighed:
        return rows.collect()
    bare = rows.drop("evidence").collect()
    nothing = pl.Series("evidence", [], EDGES["evidence"]).extend_constant(None, bare.height)
    return bare.with_columns(nothing)


def _numbered(rows: pl.DataFrame, present: pl.DataFrame, names: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Edges of a lake as `VERDICTS`, null for records that are not `present` (record), and their evidence, which stays
    as it was read."""
    edges = rows.drop("evidence").with_row_index(PLACE)
    highest = int(names["record"].max() or 0)  # type: ignore[arg-type]
    is_here = np.zeros(highest + 1, dtype=bool)
    is_here[present["record"].to_numpy()] = True
    ends = pl.concat([edges["record_id_l"], edges["record_id_r"].alias("record_id_l")])
    record = names["record"].gather(places_among(ends, names["record_id"]))
    record = record.set(~pl.Series(is_here[record.fill_null(0).to_numpy()]), None)
    left, right = record.head(edges.height), record.slice(edges.height)
    edges = edges.with_columns(left.alias("record_l"), right.alias("record_r"))
    return edges.select(pl.col(name).cast(kind) for name, kind in VERDICTS.items()), rows["evidence"]


def edge_rows(state: State) -> pl.DataFrame:
    """The edges by record ids, as `silver.identity_edges` has them."""
    records, ids = state.frame["record"], state.frame["record_id"]
    edges = state.verdicts.with_columns(
        ids.gather(places_of(state.verdicts[f"record_{side}"], records)).alias(f"record_id_{side}") for side in "lr"
    ).sort("record_id_l", "record_id_r")
    edges = edges.with_columns(evidence=at_places(state.evidence, edges[PLACE]))
    return edges.select("record_id_l", "record_id_r", *list(EDGES)[2:])


def places_of(wanted: pl.Series, records: pl.Series) -> pl.Series:
    """Where in `records`, numbers without nulls that are dense or nearly, each of the `wanted` lies; all are there."""
    places = np.empty(int(records.max() or 0) + 1, dtype=np.int64)  # type: ignore[arg-type]
    places[records.to_numpy()] = np.arange(records.len())
    return pl.Series(places[wanted.to_numpy()])


def key_rows(state: State) -> pl.DataFrame:
    """The crowded keys by name, as `silver.identity_keys` has them."""
    names = dict(enumerate(key_columns(state.frame)))
    return state.crowded.select(pl.col("key").replace_strict(names, return_dtype=pl.String), "value")
