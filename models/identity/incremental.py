"""Resolution of a batch into what is resolved already: only what the batch touches is scored and clustered.

Sequence-neutral: with the same pins, any order and batching of the same records ends in the same edges and the same
partition as resolving all of them at once. A pair has an edge when the two records share a block key that no more
records share than its cap, as counted over all records there are; so when a key passes its cap, the edges that rest on
it alone are retracted, and when deletions bring it below, its pairs are scored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import polars as pl
from splink import DuckDBAPI, Linker

from customer360.models.identity.cluster import cluster, components
from customer360.models.identity.decide import (
    ACCEPTED,
    contradictions,
    decide,
    judge_links,
    overruled,
    with_dropped,
)
from customer360.models.identity.engine import engine
from customer360.models.identity.features import KEY_PREFIX, Features
from customer360.models.identity.model import SPLINK_LOG_LEVEL, IdentityModel
from customer360.models.identity.pins import Pins, adjusted_columns
from customer360.models.identity.predict import PAIR_SCHEMA, told
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.steward import NO_LINKS, Links
from customer360.models.identity.stitching import Tier, around, is_link, stitch, weight_of, without_score

EDGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "record_l": pl.Int64, "record_r": pl.Int64,
    **{name: kind for name, kind in PAIR_SCHEMA.items() if not name.startswith("rid_")},
    "decision": pl.String, "reason": pl.String,
}  # fmt: skip
_VALUE = {"key": pl.Int32, "value": pl.Int64}
_ENDS = ["record_l", "record_r"]


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
    asked = state.frame.filter(pl.col("record").is_in(links.records.implode()))
    batch = pl.concat([batch, asked.join(batch, on="record", how="anti")], how="diagonal_relaxed")
    left = pl.concat([pl.Series("record", list(gone), pl.Int64), batch["record"]]).unique()
    # Links by number are those of all records; who gains or loses one is resolved again like a new record.
    is_left = pl.col("record").is_in(left.implode())
    tier, near = _tier(state.frame.filter(~is_left), state.frame.filter(is_left), batch, rules)
    known = state.edges.filter(pl.all_horizontal(pl.col(_ENDS).is_in(near.implode())))
    relinked = state.frame.filter(
        ~is_left & pl.col("record").is_in(tier.changed(known, left, rules.stitching).implode())
    )
    batch = pl.concat([batch, relinked], how="diagonal_relaxed")
    left = pl.concat([left, relinked["record"]])
    old = state.frame.filter(pl.col("record").is_in(left.implode()))
    stay = state.frame.filter(~pl.col("record").is_in(left.implode()))
    touched = pl.concat([_values(batch, keys), _values(old, keys)]).select("key", "value").unique()
    if recheck:
        touched = pl.concat([touched, state.crowded]).unique()
    counts, hits = _counts(stay, batch, touched, keys, pins.caps)
    reopened = counts.filter("is_usable").join(state.crowded, on=["key", "value"], how="semi")
    again = hits.join(reopened, on=["key", "value"], how="semi").select("record").unique()
    if again.height:
        # Their pairs under the key were never scored; with all their keys known, they are scored like new records.
        batch = pl.concat([batch, stay.join(again, on="record", how="semi").select(batch.columns)])
        stay = stay.join(again, on="record", how="anti")
        touched = pl.concat([touched, _values(batch, keys).select("key", "value")]).unique()
        counts, hits = _counts(stay, batch, touched, keys, pins.caps)
        tier, near = _tier(stay, old, batch, rules)
    crowded = pl.concat(
        [
            state.crowded.join(touched, on=["key", "value"], how="anti"),
            counts.filter("is_crowded").select("key", "value"),
        ]
    )
    frame = pl.concat([stay, batch.select(stay.columns)])
    touched_records = pl.concat([left, again["record"]]).unique()
    ends = pl.col("record_l", "record_r").is_in(touched_records.implode())
    kept = state.edges.filter(~pl.any_horizontal(ends))
    scored = _retracted(kept, frame, counts, state.crowded, hits, keys, pins)
    kept = pl.concat([scored, without_score(kept.join(scored, on=_ENDS, how="anti"), rules.stitching)])
    fresh = _scored(stay, batch, counts, hits, keys, pins.model, rules)
    idle = pins.model.idle_vetoes
    edges = _stitched(pl.concat([kept, fresh]), tier, frame, keys, rules, idle)
    edges = with_dropped(_linked(edges, links), tier.dropped, _ENDS, rules.stitching, near)
    nodes = _component(touched_records, state.edges, edges)
    clusters = _clustered(frame.join(nodes, on="record", how="semi"), edges, keys, rules, links, idle)
    return Resolved(State(frame, edges, crowded), clusters, fresh.height)


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
        wanted = pl.col(keys[n]).is_in(values.implode())
        parts.append(stay.lazy().filter(wanted).select(key=pl.lit(n, pl.Int32), value=keys[n], record="record"))
    hits = pl.concat(pl.collect_all(parts)) if parts else pl.DataFrame(schema=_VALUE | {"record": pl.Int64})
    own = _values(batch, keys)
    limits = pl.DataFrame(
        {"key": range(len(keys)), "cap": [caps[key] for key in keys]}, schema_overrides={"key": pl.Int32}
    )
    sizes = pl.concat([hits, own]).group_by("key", "value").len("size").join(limits, on="key")
    counts = sizes.select(
        "key", "value", is_usable=pl.col("size").is_between(2, pl.col("cap")), is_crowded=pl.col("size") > pl.col("cap")
    )
    return counts, hits


def _masked(frame: pl.DataFrame, usable: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """The frame with only usable key values."""
    by_key = {int(n): part["value"] for (n,), part in usable.partition_by("key", as_dict=True).items()}
    nothing = pl.Series([], dtype=pl.Int64)
    return frame.with_columns(
        pl.when(pl.col(key).is_in(by_key.get(n, nothing).implode())).then(key).alias(key) for n, key in enumerate(keys)
    )


def _retracted(
    edges: pl.DataFrame, frame: pl.DataFrame, counts: pl.DataFrame, crowded: pl.DataFrame, hits: pl.DataFrame,
    keys: tuple[str, ...], pins: Pins,
) -> pl.DataFrame:  # fmt: skip
    """Edges without those that rested on keys which are crowded now; what rests on another key is filed under it."""
    closed = counts.filter("is_crowded").join(crowded, on=["key", "value"], how="anti")
    members = hits.join(closed, on=["key", "value"], how="semi")["record"].unique()
    if members.is_empty():
        return edges
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
    resting = doubtful.join(first, on=["record_l", "record_r"]).with_columns(match_key="rests_on").drop("rests_on")
    return pl.concat([edges.join(doubtful, on=["record_l", "record_r"], how="anti"), resting.select(edges.columns)])


# ---- scores ---------------------------------------------------------------------------------------------------


def _scored(
    stay: pl.DataFrame, batch: pl.DataFrame, counts: pl.DataFrame, hits: pl.DataFrame, keys: tuple[str, ...],
    model: IdentityModel, rules: IdentityRules,
) -> pl.DataFrame:  # fmt: skip
    """Pairs with at least one record of the batch, scored and decided, as `EDGES`."""
    usable = counts.filter("is_usable")
    own = _values(batch, keys).join(usable, on=["key", "value"], how="semi").select("key", "value").unique()
    near = hits.join(own, on=["key", "value"], how="semi").select("record").unique()
    local = pl.concat(
        [
            stay.join(near, on="record", how="semi").with_columns(is_new=pl.lit(False)),
            batch.select(stay.columns).with_columns(is_new=pl.lit(True)),
        ]
    )
    features = _features(_masked(local, usable, keys), keys)
    pairs = _predicted(features, model, rules)
    decided = decide(pairs, features, rules, model.idle_vetoes)
    numbers = features.frame["record"]
    return decided.select(
        numbers.gather(decided["rid_l"]).alias("record_l"),
        numbers.gather(decided["rid_r"]).alias("record_r"),
        *list(EDGES)[2:],
    )


def _features(frame: pl.DataFrame, keys: tuple[str, ...]) -> Features:
    ordered = frame.sort("record_id").with_row_index("rid").with_columns(pl.col("rid").cast(pl.Int64))
    return Features(ordered, keys, {})


def _predicted(features: Features, model: IdentityModel, rules: IdentityRules) -> pl.DataFrame:
    """Scores of new records with one another and with those that were there."""
    shares = {column: features.frame.select(column, f"tf_{column}").drop_nulls() for column in adjusted_columns(model)}
    rows = features.frame.drop("record_id", "record", *(f"tf_{column}" for column in shares))
    new, there = rows.filter("is_new").drop("is_new"), rows.filter(~pl.col("is_new")).drop("is_new")
    if not new.height or not model.settings["comparisons"]:
        return pl.DataFrame(schema=PAIR_SCHEMA)
    found = []
    with engine(rules.engine) as con:
        api = DuckDBAPI(con)
        fresh = api.register(new.to_arrow(), dataset_display_name="new_records")
        linker = Linker(fresh, model.settings, log_level=SPLINK_LOG_LEVEL, validate_settings=False)
        for column, share in shares.items():
            lookup = api.register(share.unique().to_arrow(), dataset_display_name=f"share_of_{column}")
            linker.table_management.register_term_frequency_lookup(lookup, column)
        weight = rules.decision.audit_weight
        within = linker.inference.predict_within(fresh, threshold_match_weight=weight)
        found.append(pl.DataFrame(pl.from_arrow(within.as_pyarrow_table())))
        if there.height:
            standing = api.register(there.to_arrow(), dataset_display_name="standing_records")
            between = linker.inference.predict_between(standing, fresh, threshold_match_weight=weight)
            found.append(pl.DataFrame(pl.from_arrow(between.as_pyarrow_table())))
    pairs = pl.concat([told(part, features, model) for part in found])
    low, high = pl.min_horizontal("rid_l", "rid_r"), pl.max_horizontal("rid_l", "rid_r")
    return pairs.with_columns(rid_l=low, rid_r=high).sort("rid_l", "rid_r")


def _tier(stay: pl.DataFrame, old: pl.DataFrame, batch: pl.DataFrame, rules: IdentityRules) -> tuple[Tier, pl.Series]:
    """Links by number among the records that a batch may link or part, and the numbers of these records."""
    near = around(stay, pl.concat([old, batch], how="diagonal_relaxed"), rules.stitching)
    rows = pl.concat([near, batch.select(near.columns)])
    return stitch(rows, rules.stitching), rows["record"]


def _stitched(
    edges: pl.DataFrame, tier: Tier, frame: pl.DataFrame, keys: tuple[str, ...], rules: IdentityRules,
    idle: Collection[str],
) -> pl.DataFrame:  # fmt: skip
    """Edges with the links by number that they lack, each judged by what else its two records say."""
    lacking = tier.lacking(edges, rules.stitching)
    if lacking.is_empty():
        return edges
    ends = pl.concat([lacking["record_l"], lacking["record_r"]]).unique()
    features = _features(frame.filter(pl.col("record").is_in(ends.implode())), keys)
    ids = features.frame.select("record", "rid")
    pairs = lacking.join(ids.rename({"record": "record_l", "rid": "rid_l"}), on="record_l")
    pairs = pairs.join(ids.rename({"record": "record_r", "rid": "rid_r"}), on="record_r")
    judged = judge_links(pairs.select("rid_l", "rid_r", "reason"), features, rules, idle)
    judged = judged.join(pairs.select("rid_l", "rid_r", *_ENDS), on=["rid_l", "rid_r"])
    return overruled(edges, judged.select(*_ENDS, "decision", "reason"), _ENDS)


def _linked(edges: pl.DataFrame, links: Links) -> pl.DataFrame:
    """Edges with what stewards decided about their pairs, and the pairs that only they linked."""
    told = links.pairs.filter(pl.col("decision") == ACCEPTED)
    parted = links.pairs.filter(pl.col("decision") != ACCEPTED).join(edges, on=_ENDS, how="semi")
    return overruled(edges, pl.concat([told, parted]), _ENDS)


# ---- clusters -------------------------------------------------------------------------------------------------


def _component(touched: pl.Series, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """(record): everybody who is connected with a touched record, or was with an edge that is gone or changed."""
    one, other = _accepted(before), _accepted(after)
    if touched.len() and one.is_empty():
        return pl.DataFrame({"record": pl.concat([touched, other["record_l"], other["record_r"]]).unique()})
    changed = pl.concat(
        [
            one.join(other, on=["record_l", "record_r"], how="anti"),
            other.join(one, on=["record_l", "record_r"], how="anti"),
        ]
    )
    reached = pl.concat([touched, changed["record_l"], changed["record_r"]]).unique()
    border = reached
    while border.len():
        next_to = pl.concat(
            [
                other.filter(pl.col("record_l").is_in(border.implode()))["record_r"].alias("record"),
                other.filter(pl.col("record_r").is_in(border.implode()))["record_l"].alias("record"),
            ]
        ).unique()
        border = next_to.filter(~next_to.is_in(reached.implode()))
        reached = pl.concat([reached, border])
    return pl.DataFrame({"record": reached})


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
