"""What stands resolved in a lake, taken up again: which records changed since, and the edges and keys of the others."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.state import EDGES, PLACE, VERDICTS, State, at_places, key_columns
from customer360.models.identity.evidence.features import KEY_PREFIX
from customer360.models.identity.organisations.telling import ORGANISATION
from customer360.platform.lake import Lake

_VERSIONED = "evidence_version"


@dataclass(frozen=True)
class Standing:
    """`state` of the records that did not change; `batch`: evidence of those that did; `gone`: numbers of those that
    are there no more; `near`: numbers of records of the state that had edges with either, None where records only
    came, so that nothing that stands has lost anything. All of them know their number in the registry as `record`."""

    state: State
    batch: pl.DataFrame
    gone: pl.Series
    near: pl.Series | None


def evidence_versions(evidence: pl.DataFrame, pins: Pins) -> pl.DataFrame:
    """(record_id, evidence_version): equal numbers mean that nothing which decides a record's pairs has changed."""
    seed = int(pins.version[:15], 16)
    parts = [c for c in evidence.columns if not c.startswith((KEY_PREFIX, "tf_")) and c not in ("record", "roots")]
    numbers = evidence.select(parts).hash_rows(seed=seed).reinterpret(signed=True)
    return evidence.select("record_id").with_columns(numbers.alias(_VERSIONED))


def take_up(lake: Lake, evidence: pl.DataFrame, pins: Pins, names: pl.DataFrame, held: pl.Series) -> Standing:
    """What stands in the lake, for the `evidence` of all records there are. `names`: (record, record_id) of the
    registry; `held`: numbers of the records that somebody holds."""
    numbered = evidence.hstack(
        evidence.select("record_id").join(names, on="record_id", how="left", maintain_order="left").select("record")
    )
    gone = held.filter(~held.is_in(numbered["record"].implode()))
    stored = ("silver.identities", "silver.identity_edges", "silver.identity_keys")
    if not all(map(lake.exists, stored)):
        return Standing(State.empty(evidence), numbered, gone, held.clear().alias("record"))
    of_people = lake.scan("silver.identities").filter(pl.col("entity_type").ne_missing(ORGANISATION))
    before = of_people.select("record_id", before=_VERSIONED).collect()
    now = evidence_versions(evidence, pins).join(before, on="record_id", how="left", maintain_order="left")
    frame, batch = _parted(numbered, (now[_VERSIONED] == now["before"]).fill_null(False))
    ids = frame.select("record", "record_id")
    edges, weighed = _numbered(lake.scan("silver.identity_edges").collect(), ids)
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
    edges = state.verdicts
    for side in ("l", "r"):
        known = state.frame.select(**{f"record_{side}": "record", f"record_id_{side}": "record_id"})
        edges = edges.join(known, on=f"record_{side}")
    edges = edges.with_columns(evidence=at_places(state.evidence, edges[PLACE]))
    return edges.select("record_id_l", "record_id_r", *list(EDGES)[2:])


def key_rows(state: State) -> pl.DataFrame:
    """The crowded keys by name, as `silver.identity_keys` has them."""
    names = dict(enumerate(key_columns(state.frame)))
    return state.crowded.select(pl.col("key").replace_strict(names, return_dtype=pl.String), "value")
