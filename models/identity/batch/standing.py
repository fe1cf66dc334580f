"""What stands resolved in a lake, taken up again: which records changed since, and the edges and keys of the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.state import EDGES, PLACE, VERDICTS, State, alongside, at_places, key_columns
from customer360.models.identity.evidence.features import KEY_PREFIX
from customer360.models.identity.organisations.telling import ORGANISATION
from customer360.platform.lake import Lake

VERSIONED = "evidence_version"


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


def take_up(lake: Lake, evidence: pl.DataFrame, names: pl.DataFrame, held: pl.Series) -> Standing:
    """What stands in the lake, for the `evidence` of all records there are, `versioned`. `names`: (record, record_id)
    of the registry; `held`: numbers of the records that somebody holds."""
    ids = evidence.select("record_id")
    numbered = alongside(evidence, ids.join(names, on="record_id", how="left", maintain_order="left")["record"])
    gone = held.filter(~held.is_in(numbered["record"].implode()))
    stored = ("silver.identities", "silver.identity_edges", "silver.identity_keys")
    if not all(map(lake.exists, stored)):
        return Standing(State.empty(evidence), numbered, gone, held.clear().alias("record"))
    of_people = lake.scan("silver.identities").filter(pl.col("entity_type").ne_missing(ORGANISATION))
    before = of_people.select("record_id", before=VERSIONED).collect()
    was = ids.join(before, on="record_id", how="left", maintain_order="left")["before"]
    frame, batch = _parted(numbered, (numbered[VERSIONED] == was).fill_null(False))
    edges, weighed = _numbered(lake.scan("silver.identity_edges").collect(), frame.select("record", "record_id"))
    is_whole = pl.all_horizontal(pl.col("record_l", "record_r").is_not_null())
    cut = edges.filter(~is_whole).select(record=pl.coalesce("record_l", "record_r"))
    keys = {key: n for n, key in enumerate(key_columns(evidence))}
    crowded = lake.scan("silver.identity_keys").filter(pl.col("key").is_in(list(keys))).collect()
    crowded = crowded.select(pl.col("key").replace_strict(keys, return_dtype=pl.Int32), "value")
    if frame.is_empty():
        crowded = crowded.clear()
    state = State(frame, edges.filter(is_whole), weighed, crowded)
    near = cut["record"].drop_nulls().unique()
    only_came = gone.is_empty() and near.is_empty() and before.height == frame.height  # none that stood has changed
    return Standing(state, batch, gone, None if only_came else near)


def _parted(rows: pl.DataFrame, is_first: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of which that is true, and the others; uncopied where they lie before these, as they mostly do."""
    many = int(is_first.sum())
    if is_first.head(many).all():
        return rows.head(many), rows.slice(many)
    return rows.filter(is_first), rows.filter(~is_first)


def _numbered(rows: pl.DataFrame, ids: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Edges of a lake as `VERDICTS`, null for records that are not among `ids` (record, record_id), and their evidence,
    which stays as it was read."""
    edges = rows.drop("evidence").with_row_index(PLACE)
    for side in ("l", "r"):
        known = ids.rename({"record": f"record_{side}", "record_id": f"record_id_{side}"})
        edges = edges.join(known, on=f"record_id_{side}", how="left")
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
