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

from customer360.models.identity.batch.blocks import (
    BOTH,
    Met,
    divided,
    key_values,
    meet,
    meet_first,
    pairs_of,
    taken_out,
)
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.state import EDGES, TOLD, State, apart
from customer360.models.identity.components import components
from customer360.models.identity.evidence.features import KEY_PREFIX, Features, by_id
from customer360.models.identity.registry.decisions import NO_LINKS, Links
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.stitching import (
    NO_TIER,
    Tier,
    around,
    is_link,
    stitch,
    weight_of,
    without_score,
)
from customer360.models.identity.verdicts.cluster import cluster
from customer360.models.identity.verdicts.decide import (
    ACCEPTED,
    contradictions,
    decide,
    judge_links,
    overruled,
    with_dropped,
)
from customer360.models.identity.weighing.engine import one_engine
from customer360.models.identity.weighing.model import IdentityModel
from customer360.models.identity.weighing.predict import columns_read, score_planned
from customer360.platform.run.executor import Executor

_ENDS = ["record_l", "record_r"]


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
    recheck: pl.Series | None = None,
    executor: Executor | None = None,
) -> Resolved:
    """Bring new, changed and deleted records into `state`.

    `batch`: evidence with `record`, of new records and new versions; `gone`: numbers of deleted records. `links`: what
    stewards decided; their records are resolved again. `recheck`: given where the versions that `batch` replaces and
    the records that are gone are not in `state`: numbers of those that had edges with them, whose persons and links are
    told again; every crowded key is counted again, too. `executor`: runs the scoring of more pairs than
    `engine.max_local_pairs`.
    """
    keys = tuple(c for c in state.frame.columns if c.startswith(KEY_PREFIX))
    if links.records.len():
        asked = state.frame.filter(pl.col("record").is_in(links.records.implode()))
        batch = pl.concat([batch, asked.join(batch, on="record", how="anti")], how="diagonal_relaxed")
    left = pl.concat([pl.Series("record", list(gone), pl.Int64), batch["record"]]).unique()
    old, stay = taken_out(state.frame, left)
    # Links by number are those of all records; who gains or loses one is resolved again like a new record.
    met_gone = pl.Series("record", [], pl.Int64) if recheck is None else recheck.alias("record")
    near_gone = _rows_of(stay, met_gone)
    tier, near = _tier(stay, [old, near_gone], batch, rules)
    relinked, stay = taken_out(stay, tier.changed(_among(state.told, near), left, rules.stitching))
    if relinked.height:
        batch, old = (pl.concat([rows, relinked], how="diagonal_relaxed") for rows in (batch, old))
        left = pl.concat([left, relinked["record"]])
    met = Met(stay, batch, left)
    if state.frame.is_empty():
        met, pairs = meet_first(met, keys, pins.caps, rules.engine.threads)
    else:
        before = key_values(old, keys)
        met = meet(met, before, state.crowded, keys, pins.caps, recheck is not None, rules.engine.threads)
        pairs = pairs_of(met, keys)
    if met.batch.height > batch.height:  # with records whose links are told anew, too
        tier, near = _tier(met.stay, [old, near_gone], met.batch, rules)
    # Columns whose chunks end at different rows are copied whole by the next step that takes several.
    frame = pl.concat([met.stay, met.batch.select(stay.columns).rechunk()])
    parted, kept = taken_out(state.told, met.records, *_ENDS)
    lost, kept = _retracted(kept, met, keys)
    kept = pl.concat([kept, without_score(lost, rules.stitching)])
    idle = pins.model.idle_vetoes
    with one_engine(rules.engine):
        fresh, evidence = apart(_scored(pairs, frame, keys, pins.model, rules, executor), state.evidence.len())
        fresh = _stitched(fresh, kept, near, tier, frame, keys, rules, idle)
        fresh = _linked(fresh, links).select(list(TOLD))
        edges = with_dropped(pl.concat([kept, fresh]), tier.dropped, _ENDS, rules.stitching, near).select(list(TOLD))
        ends = pl.concat([met.records, met_gone, *_ends(parted), *_ends(lost), *_ends(fresh)]).unique()
        rows = _rows_of(frame.drop(keys), _component(ends, _accepted(edges)))
        clusters = _clustered(rows, edges, keys, rules, links, idle)
    after = State(frame, edges, pl.concat([state.evidence, evidence]), met.crowded)
    return Resolved(after.tidied(), clusters, fresh.height)


def _among(edges: pl.DataFrame, records: pl.Series) -> pl.DataFrame:
    """Edges of which both ends are among the records."""
    return edges.filter(pl.all_horizontal(pl.col(_ENDS).is_in(records.implode()))) if records.len() else edges.clear()


def _rows_of(frame: pl.DataFrame, records: pl.Series) -> pl.DataFrame:
    """Rows of some records. Picked by place: a join or filter would pass over every column of everybody."""
    places = np.flatnonzero(frame["record"].is_in(records.implode()).to_numpy())
    return frame if len(places) == frame.height else frame[places]


# ---- edges of crowded keys ----------------------------------------------------------------------------------------


def _retracted(edges: pl.DataFrame, met: Met, keys: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Edges that rest on no key but those that became crowded, and the others; what rests on another key now is filed
    under it."""
    names = pl.Series([key.removeprefix(KEY_PREFIX) for key in keys], dtype=pl.String)
    closed = met.closed.select("record", "value", match_key=names.gather(met.closed["key"]))
    members = closed["record"].unique().implode()
    pair = ["record_l", "record_r"]
    within = (
        edges.select(*pair, "match_key").with_row_index("row").filter(pl.all_horizontal(pl.col(pair).is_in(members)))
    )
    resting = within.join(closed, left_on=["record_l", "match_key"], right_on=["record", "match_key"])
    resting = resting.join(
        closed, left_on=["record_r", "match_key", "value"], right_on=["record", "match_key", "value"], how="semi"
    )
    if resting.is_empty():
        return edges.clear(), edges
    doubtful = np.zeros(edges.height, dtype=bool)
    doubtful[resting["row"].to_numpy()] = True
    first = _first_keys(resting.select(pair), met, keys)
    first = first.select(*pair, rests_on=names.gather(first["key"]))
    told = edges.filter(pl.Series(doubtful))
    moved = told.join(first, on=pair).with_columns(match_key="rests_on").select(edges.columns)
    return told.join(first, on=pair, how="anti"), pl.concat([edges.filter(pl.Series(~doubtful)), moved])


def _first_keys(pairs: pl.DataFrame, met: Met, keys: tuple[str, ...]) -> pl.DataFrame:
    """(record_l, record_r, key) of those pairs of `stay` that share a usable key: the first one."""
    rows = _rows_of(met.stay.select("record", *keys), pl.concat([pairs["record_l"], pairs["record_r"]]).unique())
    both = pairs.join(rows, left_on="record_l", right_on="record")
    both = both.join(rows, left_on="record_r", right_on="record", suffix="_r")
    shared = pl.concat(
        both.filter(pl.col(key) == pl.col(f"{key}_r")).select(
            "record_l", "record_r", key=pl.lit(n, pl.Int32), value=key
        )
        for n, key in enumerate(keys)
    )
    # A value that two records share is usable where it is not crowded.
    usable = shared.join(divided(met.crowded, shared)[0], on=BOTH, how="anti")
    return usable.group_by("record_l", "record_r").agg(pl.col("key").min()).sort("record_l", "record_r")


# ---- scores ---------------------------------------------------------------------------------------------------


def _scored(
    pairs: pl.DataFrame, frame: pl.DataFrame, keys: tuple[str, ...], model: IdentityModel, rules: IdentityRules,
    executor: Executor | None,
) -> pl.DataFrame:  # fmt: skip
    """`pairs` of rows of `frame`, scored and decided, as `EDGES`."""
    pairs, rids = _among_few(_by_id(pairs, frame["record_id"]))
    # What is fetched for many pairs is fetched from the few rows that they name.
    read = columns_read(model)
    scored = score_planned(
        pairs, frame.select(c for c in frame.columns if c in read)[rids], keys, model, rules, executor
    )
    scored = scored.with_columns(rid_l=rids.gather(scored["rid_l"]), rid_r=rids.gather(scored["rid_r"]))
    ends = pl.concat([scored["rid_l"], scored["rid_r"].alias("rid_l")]).unique().alias("rid")
    people = Features(frame.drop(keys)[ends].with_columns(ends), keys, {})
    decided = decide(scored, people, rules, model.idle_vetoes)
    numbers = frame["record"]
    return decided.select(
        numbers.gather(decided["rid_l"]).alias("record_l"),
        numbers.gather(decided["rid_r"]).alias("record_r"),
        *list(EDGES)[2:],
    )


def _among_few(pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """The pairs by places among the rows that they name, and these rows, sorted."""
    rids = pl.concat([pairs["rid_l"], pairs["rid_r"].alias("rid_l")]).unique().sort()
    places = {side: rids.search_sorted(pairs[side]).cast(pl.Int64) for side in ("rid_l", "rid_r")}
    return pairs.with_columns(**places), rids


def _by_id(pairs: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """The pairs with the record on the left whose id comes first, so that it does not matter who came first."""
    turned = ids.gather(pairs["rid_l"]) > ids.gather(pairs["rid_r"])
    left, right = pl.when(turned).then("rid_r").otherwise("rid_l"), pl.when(turned).then("rid_l").otherwise("rid_r")
    return pairs.with_columns(rid_l=left, rid_r=right)


def _people(rows: pl.DataFrame, keys: tuple[str, ...]) -> Features:
    """The rows numbered in order of their ids."""
    ordered = by_id(rows).with_row_index("rid").with_columns(pl.col("rid").cast(pl.Int64))
    return Features(ordered, keys, {})


def _tier(
    stay: pl.DataFrame, gone: list[pl.DataFrame], batch: pl.DataFrame, rules: IdentityRules
) -> tuple[Tier, pl.Series]:
    """Links by number among the records that a batch may link or part, and the numbers of these records."""
    if not rules.stitching.identifiers:
        return NO_TIER, pl.Series("record", [], pl.Int64)
    near = around(stay, pl.concat([*gone, batch], how="diagonal_relaxed"), rules.stitching)
    rows = pl.concat([near, batch.select(near.columns)])
    return stitch(rows, rules.stitching), rows["record"]


def _stitched(
    fresh: pl.DataFrame, kept: pl.DataFrame, near: pl.Series, tier: Tier, frame: pl.DataFrame, keys: tuple[str, ...],
    rules: IdentityRules, idle: Collection[str],
) -> pl.DataFrame:  # fmt: skip
    """Fresh edges with the links by number that they and those kept lack, each judged by what else its two records say."""
    lacking = tier.lacking(pl.concat([_among(kept, near), fresh]), rules.stitching)
    if lacking.is_empty():
        return fresh
    features = _people(_rows_of(frame, pl.concat([lacking["record_l"], lacking["record_r"]]).unique()), keys)
    ids = features.frame.select("record", "rid")
    pairs = lacking.join(ids.rename({"record": "record_l", "rid": "rid_l"}), on="record_l")
    pairs = pairs.join(ids.rename({"record": "record_r", "rid": "rid_r"}), on="record_r")
    judged = judge_links(pairs.select("rid_l", "rid_r", "reason"), features, rules, idle)
    judged = judged.join(pairs.select("rid_l", "rid_r", *_ENDS), on=["rid_l", "rid_r"])
    return overruled(fresh, judged.select(*_ENDS, "decision", "reason"), _ENDS)


def _linked(edges: pl.DataFrame, links: Links) -> pl.DataFrame:
    """Edges with what stewards decided about their pairs, and the pairs that only they linked."""
    told = links.pairs.filter(pl.col("decision") == ACCEPTED)
    parted = links.pairs.filter(pl.col("decision") != ACCEPTED).join(edges, on=_ENDS, how="semi")
    return overruled(edges, pl.concat([told, parted]), _ENDS)


# ---- clusters -------------------------------------------------------------------------------------------------


def _component(reached: pl.Series, edges: pl.DataFrame) -> pl.Series:
    """Everybody whom accepted edges connect with those records."""
    border = reached
    while border.len():
        one, other = (edges.filter(pl.col(side).is_in(border.implode())) for side in ("record_l", "record_r"))
        next_to = pl.concat([one["record_r"], other["record_l"]]).alias("record").unique()
        border = next_to.filter(~next_to.is_in(reached.implode()))
        reached = pl.concat([reached, border])
    return reached


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
    features = _people(rows, keys)
    ids = features.frame.select("record", "rid")
    accepted = (
        edges.lazy()
        .filter(pl.col("decision") == ACCEPTED)
        .select("record_l", "record_r", "match_weight", "reason")
        .collect()
        .join(ids.rename({"record": "record_l", "rid": "rid_l"}), on="record_l")
        .join(ids.rename({"record": "record_r", "rid": "rid_r"}), on="record_r")
    )
    by_number = accepted.filter(is_link(pl.col("reason"), rules.stitching)).select("rid_l", "rid_r")
    weight = weight_of(pl.col("reason"), pl.col("match_weight"), rules.stitching)
    accepted = accepted.select("rid_l", "rid_r", links.weight_of(pl.col("reason"), weight))
    bars = links.bars(ids)
    cleared = pl.concat([bars.cleared, by_number]).unique()
    groups = pl.Series(components(rows.height, by_number["rid_l"].to_numpy(), by_number["rid_r"].to_numpy()))
    connected = components(rows.height, accepted["rid_l"].to_numpy(), accepted["rid_r"].to_numpy())
    together = connected[bars.barred["rid_l"].to_numpy()] == connected[bars.barred["rid_r"].to_numpy()]
    barred = bars.barred.filter(pl.Series(together, dtype=pl.Boolean))

    def parted(within: pl.DataFrame) -> pl.DataFrame:
        against = contradictions(within, cleared, groups, features, rules, idle)
        return pl.concat([against, barred]).unique().sort("rid_l", "rid_r")

    nothing = accepted.select("rid_l", "rid_r").clear()
    labels = cluster(rows.height, accepted, nothing, parted, rules.decision.max_cluster_size)
    clusters = ids.with_columns(cluster=pl.Series(labels, dtype=pl.Int64))
    names = ids.rename({"rid": "cluster", "record": "first"})
    return clusters.join(names, on="cluster").select("record", cluster="first")
