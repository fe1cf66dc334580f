"""Resolution of a batch into what is resolved already: only what the batch touches is scored and clustered.

Sequence-neutral: with the same pins, any order and batching of the same records ends in the same edges and the same
partition as resolving all of them at once. A pair has an edge when the two records share a block key that no more
records share than its cap, as counted over all records there are; so when a key passes its cap, the edges that rest on
it alone are retracted, and when deletions bring it below, its pairs are scored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.models.identity.cluster import cluster, components
from customer360.models.identity.decide import ACCEPTED, cannot_link, decide
from customer360.models.identity.features import KEY_PREFIX, Features
from customer360.models.identity.model import IdentityModel
from customer360.models.identity.pairs import meeting
from customer360.models.identity.pins import Pins
from customer360.models.identity.predict import PAIR_SCHEMA, score
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.steward import NO_LINKS, Links

EDGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "record_l": pl.Int64, "record_r": pl.Int64,
    **{name: kind for name, kind in PAIR_SCHEMA.items() if not name.startswith("rid_")},
    "decision": pl.String, "reason": pl.String,
}  # fmt: skip
_VALUE = {"key": pl.Int32, "value": pl.Int64}
_TABLE_BITS = 20


@dataclass(frozen=True)
class State:
    """`frame`: evidence of all current records (`pins.evidence`) with their number `record`. `edges`: one row per pair
    that was scored or linked, `EDGES`, the left record the one whose id comes first. `crowded`: (key, value) of the
    block keys that more records share than their cap; `key` counts the key columns."""

    frame: pl.DataFrame
    edges: pl.DataFrame
    crowded: pl.DataFrame

    @staticmethod
    def empty(evidence: pl.DataFrame) -> State:
        """Of nobody, for records with such evidence."""
        frame = evidence.clear().with_columns(record=pl.lit(None, pl.Int64))
        return State(frame, pl.DataFrame(schema=EDGES), pl.DataFrame(schema=_VALUE))


@dataclass(frozen=True)
class Resolved:
    """State after a batch, and `clusters`: (record, cluster) of every record whose person the batch may have changed."""

    state: State
    clusters: pl.DataFrame
    scored_pairs: int


def resolve_batch(
    state: State,
    batch: pl.DataFrame,
    gone: Iterable[int],
    pins: Pins,
    rules: IdentityRules,
    links: Links = NO_LINKS,
    *,
    recheck: bool = False,
) -> Resolved:
    """Bring new, changed and deleted records into `state`.

    `batch`: evidence with `record`, of new records and new versions; `gone`: numbers of deleted records. `links`: what
    stewards decided; their records are resolved again. `recheck`: the versions that `batch` replaces are not in
    `state`, so every crowded key is counted again.
    """
    keys = tuple(c for c in state.frame.columns if c.startswith(KEY_PREFIX))
    if links.records.len():
        asked = state.frame.filter(pl.col("record").is_in(links.records.implode()))
        batch = pl.concat([batch, asked.join(batch, on="record", how="anti")], how="diagonal_relaxed")
    left = pl.concat([pl.Series("record", list(gone), pl.Int64), batch["record"]]).unique()
    old, stay = _parted(state.frame, left)
    touched = pl.concat([_values(batch, keys), _values(old, keys)]).select("key", "value").unique()
    if recheck:
        touched = pl.concat([touched, state.crowded]).unique()
    counts, hits = _counts(stay, batch, touched, keys, pins.caps)
    reopened = counts.filter("is_usable").join(state.crowded, on=["key", "value"], how="semi")
    again = hits.join(reopened, on=["key", "value"], how="semi")["record"].unique()
    if again.len():
        # Their pairs under the key were never scored; with all their keys known, they are scored like new records.
        returning, stay = _parted(stay, again)
        batch = pl.concat([batch, returning.select(batch.columns)])
        touched = pl.concat([touched, _values(batch, keys).select("key", "value")]).unique()
        counts, hits = _counts(stay, batch, touched, keys, pins.caps)
    crowded = pl.concat(
        [
            state.crowded.join(touched, on=["key", "value"], how="anti"),
            counts.filter("is_crowded").select("key", "value"),
        ]
    )
    frame = pl.concat([stay, batch.select(stay.columns)])
    touched_records = pl.concat([left, again]).unique()
    gone_edges, kept = _parted(state.edges, touched_records, "record_l", "record_r")
    lost, kept = _retracted(kept, frame, counts, state.crowded, hits, keys, pins)
    fresh = _linked(_scored(stay, batch, counts, hits, keys, pins.model, rules), links).select(list(EDGES))
    edges = pl.concat([kept, fresh])
    ends = [touched_records, *_ends(gone_edges), *_ends(lost), *_ends(fresh)]
    nodes = _component(pl.concat(ends).unique(), _accepted(edges))
    clusters = _clustered(frame.join(nodes, on="record", how="semi"), edges, keys, rules, links, pins.model.idle_vetoes)
    return Resolved(State(frame, edges, crowded), clusters, fresh.height)


def _parted(frame: pl.DataFrame, records: pl.Series, *columns: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `frame` that name one of `records` in `columns`, and the others: uncopied where all are others, as they
    mostly are."""
    named = frame.select(pl.any_horizontal(pl.col(columns or ("record",)).is_in(records.implode()))).to_series()
    if not named.any():
        return frame.clear(), frame
    return frame.filter(named), frame.filter(~named)


# ---- block keys -----------------------------------------------------------------------------------------------


def _values(frame: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """(key, value, record), one row per record and key that it has."""
    parts = [
        frame.lazy().select(key=pl.lit(n, pl.Int32), value=key, record="record").drop_nulls("value")
        for n, key in enumerate(keys)
    ]
    return pl.concat(pl.collect_all(parts)) if parts else pl.DataFrame(schema=_VALUE | {"record": pl.Int64})


def _counts(
    stay: pl.DataFrame, batch: pl.DataFrame, touched: pl.DataFrame, keys: tuple[str, ...], caps: dict[str, int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of the touched key values: (key, value, is_usable, is_crowded) over all records, and who of `stay` has them."""
    parts = []
    by_key = {int(n): part["value"] for (n,), part in touched.partition_by("key", as_dict=True).items()}
    for n, values in sorted(by_key.items()):
        found = _holding(stay.select("record", value=keys[n]), values)
        parts.append(found.select(key=pl.lit(n, pl.Int32), value="value", record="record"))
    hits = pl.concat(parts) if parts else pl.DataFrame(schema=_VALUE | {"record": pl.Int64})
    own = _values(batch, keys)
    limits = pl.DataFrame(
        {"key": range(len(keys)), "cap": [caps[key] for key in keys]}, schema_overrides={"key": pl.Int32}
    )
    sizes = pl.concat([hits, own]).group_by("key", "value").len("size").join(limits, on="key")
    counts = sizes.select(
        "key", "value", is_usable=pl.col("size").is_between(2, pl.col("cap")), is_crowded=pl.col("size") > pl.col("cap")
    )
    return counts, hits


def _holding(rows: pl.DataFrame, values: pl.Series) -> pl.DataFrame:
    """Rows (record, value) whose value is among `values`. A table of the values' last bits, which fits a processor's
    cache, rules out nearly all rows before they are looked up."""
    wanted = np.zeros(2**_TABLE_BITS, dtype=bool)
    wanted[values.to_numpy() % 2**_TABLE_BITS] = True
    maybe = np.flatnonzero(wanted[rows["value"].fill_null(0).to_numpy() % 2**_TABLE_BITS])
    return rows[maybe].filter(pl.col("value").is_in(values.implode()))


def _retracted(
    edges: pl.DataFrame, frame: pl.DataFrame, counts: pl.DataFrame, crowded: pl.DataFrame, hits: pl.DataFrame,
    keys: tuple[str, ...], pins: Pins,
) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """Edges that rested on keys which are crowded now alone, and the others; what rests on another key is filed under
    it."""
    closed = counts.filter("is_crowded").join(crowded, on=["key", "value"], how="anti")
    members = hits.join(closed, on=["key", "value"], how="semi")["record"].unique()
    if members.is_empty():
        return edges.clear(), edges
    inside = pl.all_horizontal(pl.col("record_l", "record_r").is_in(members.implode()))
    rows = frame.filter(pl.col("record").is_in(members.implode())).select("record", *keys)
    doubtful = edges.filter(inside & pl.col("match_weight").is_not_null())
    pairs = doubtful.select("record_l", "record_r")
    pairs = pairs.join(rows, left_on="record_l", right_on="record").join(
        rows, left_on="record_r", right_on="record", suffix="_r"
    )
    shared = pl.concat(
        [
            pairs.filter(pl.col(key) == pl.col(f"{key}_r")).select(
                "record_l", "record_r", key=pl.lit(n, pl.Int32), value=key
            )
            for n, key in enumerate(keys)
        ]
    )
    values = shared.select("key", "value").unique()
    usable = _counts(frame, frame.clear(), values, keys, pins.caps)[0].filter("is_usable")
    first = (
        shared.join(usable, on=["key", "value"], how="semi").group_by("record_l", "record_r").agg(pl.col("key").min())
    )
    names = {n: key.removeprefix(KEY_PREFIX) for n, key in enumerate(keys)}
    first = first.with_columns(rests_on=pl.col("key").replace_strict(names, return_dtype=pl.String)).drop("key")
    told = doubtful.join(first, on=["record_l", "record_r"], how="left").filter(
        pl.col("rests_on").ne_missing(pl.col("match_key"))
    )
    lost = told.filter(pl.col("rests_on").is_null()).select(edges.columns)
    moved = told.filter(pl.col("rests_on").is_not_null()).with_columns(match_key="rests_on").select(edges.columns)
    same = edges.join(told, on=["record_l", "record_r"], how="anti") if told.height else edges
    return lost, pl.concat([same, moved])


# ---- scores ---------------------------------------------------------------------------------------------------


def _scored(
    stay: pl.DataFrame, batch: pl.DataFrame, counts: pl.DataFrame, hits: pl.DataFrame, keys: tuple[str, ...],
    model: IdentityModel, rules: IdentityRules,
) -> pl.DataFrame:  # fmt: skip
    """Pairs with at least one record of the batch, scored and decided, as `EDGES`."""
    usable = counts.filter("is_usable")
    own = _values(batch, keys).join(usable, on=["key", "value"], how="semi")
    near = hits.join(own, on=["key", "value"], how="semi")
    columns = [name for name in stay.columns if name not in keys]
    there = stay.select(columns).join(near.select("record"), on="record", how="semi")
    features = _features(pl.concat([there, batch.select(columns)]), keys)
    held = pl.concat([near.with_columns(is_new=False), own.with_columns(is_new=True)])
    held = held.join(features.frame.select("record", "rid"), on="record").lazy()
    pairs = meeting(held.filter(key=n).select("value", "rid", "is_new") for n in range(len(keys)))
    decided = decide(score(pairs, features, model, rules), features, rules, model.idle_vetoes)
    numbers = features.frame["record"]
    return decided.select(
        numbers.gather(decided["rid_l"]).alias("record_l"),
        numbers.gather(decided["rid_r"]).alias("record_r"),
        *list(EDGES)[2:],
    )


def _features(frame: pl.DataFrame, keys: tuple[str, ...]) -> Features:
    ordered = frame.sort("record_id").with_row_index("rid").with_columns(pl.col("rid").cast(pl.Int64))
    return Features(ordered, keys, {})


def _linked(edges: pl.DataFrame, links: Links) -> pl.DataFrame:
    """Edges with what stewards decided about their pairs, and the pairs that only they linked."""
    if links.pairs.is_empty():
        return edges
    said = links.pairs.select("record_l", "record_r", said="decision", why="reason")
    how = {"on": ["record_l", "record_r"]}
    beyond = said.filter(pl.col("said") == ACCEPTED).join(edges, how="anti", **how)  # type: ignore[arg-type]
    known = edges.join(said, how="left", **how)  # type: ignore[arg-type]
    return pl.concat([known, beyond], how="diagonal_relaxed").with_columns(
        decision=pl.coalesce("said", "decision"), reason=pl.coalesce("why", "reason")
    )


# ---- clusters -------------------------------------------------------------------------------------------------


def _component(reached: pl.Series, edges: pl.DataFrame) -> pl.DataFrame:
    """(record): everybody whom accepted edges connect with those records."""
    border = reached
    while border.len():
        one, other = (edges.filter(pl.col(side).is_in(border.implode())) for side in ("record_l", "record_r"))
        next_to = pl.concat([one["record_r"], other["record_l"]]).alias("record").unique()
        border = next_to.filter(~next_to.is_in(reached.implode()))
        reached = pl.concat([reached, border])
    return pl.DataFrame({"record": reached})


def _ends(edges: pl.DataFrame) -> list[pl.Series]:
    accepted = _accepted(edges)
    return [accepted["record_l"].rename("record"), accepted["record_r"].rename("record")]


def _accepted(edges: pl.DataFrame) -> pl.DataFrame:
    return edges.lazy().filter(pl.col("decision") == ACCEPTED).select("record_l", "record_r").collect()


def _clustered(
    rows: pl.DataFrame,
    edges: pl.DataFrame,
    keys: tuple[str, ...],
    rules: IdentityRules,
    links: Links,
    idle: Collection[str],
) -> pl.DataFrame:
    """(record, cluster) of the given records, whole components of them."""
    features = _features(rows, keys)
    ids = features.frame.select("record", "rid")
    accepted = (
        edges.lazy()
        .filter(pl.col("decision") == ACCEPTED)
        .select("record_l", "record_r", "match_weight", "reason")
        .collect()
        .join(ids.rename({"record": "record_l", "rid": "rid_l"}), on="record_l")
        .join(ids.rename({"record": "record_r", "rid": "rid_r"}), on="record_r")
    )
    accepted = accepted.select("rid_l", "rid_r", links.weight_of(pl.col("reason"), pl.col("match_weight")))
    bars = links.bars(ids)
    connected = components(rows.height, accepted["rid_l"].to_numpy(), accepted["rid_r"].to_numpy())
    together = connected[bars.barred["rid_l"].to_numpy()] == connected[bars.barred["rid_r"].to_numpy()]
    barred = bars.barred.filter(pl.Series(together, dtype=pl.Boolean))

    def contradictions(within: pl.DataFrame) -> pl.DataFrame:
        doubted = within.join(bars.cleared, on=["rid_l", "rid_r"], how="anti")
        proven = cannot_link(doubted, features, rules, idle).filter("is_proof")
        return pl.concat([proven.select("rid_l", "rid_r"), barred]).unique().sort("rid_l", "rid_r")

    nothing = accepted.select("rid_l", "rid_r").clear()
    labels = cluster(rows.height, accepted, nothing, contradictions, rules.decision.max_cluster_size)
    clusters = ids.with_columns(cluster=pl.Series(labels, dtype=pl.Int64))
    names = ids.rename({"rid": "cluster", "record": "first"})
    return clusters.join(names, on="cluster").select("record", cluster="first")
