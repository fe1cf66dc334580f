"""Who is one person, of the records that a batch reaches: whole components of accepted pairs, grouped anew."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import polars as pl

from customer360.models.identity.batch.state import State, key_columns
from customer360.models.identity.components import components
from customer360.models.identity.evidence.features import Features, by_id
from customer360.models.identity.registry.decisions import REASON, Links, local
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.stitching import is_link, weight_of
from customer360.models.identity.verdicts.cluster import cluster
from customer360.models.identity.verdicts.decide import ACCEPTED, contradictions


def rows_of(frame: pl.DataFrame, records: pl.Series) -> pl.DataFrame:
    """Rows of some records. Picked by place: a join or filter would pass over every column of everybody."""
    if records.is_empty():
        return frame.clear()
    places = np.flatnonzero(frame["record"].is_in(records.implode()).to_numpy())
    return frame if len(places) == frame.height else frame[places]


def features_of(rows: pl.DataFrame) -> Features:
    """The rows numbered in order of their ids, without block keys."""
    ordered = by_id(rows.drop(key_columns(rows))).with_row_index("rid")
    return Features(ordered.with_columns(pl.col("rid").cast(pl.Int64)), ())


def _component(reached: pl.Series, edges: pl.DataFrame) -> pl.Series:
    """Everybody whom accepted edges connect with those records."""
    border = reached
    while border.len():
        one, other = (edges.filter(pl.col(side).is_in(border.implode())) for side in ("record_l", "record_r"))
        next_to = pl.concat([one["record_r"], other["record_l"]]).alias("record").unique()
        border = next_to.filter(~next_to.is_in(reached.implode()))
        reached = pl.concat([reached, border])
    return reached


def _kept_apart(
    labels: np.ndarray,
    natural: pl.DataFrame,
    must: pl.DataFrame,
    apart: pl.DataFrame,
    parted: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame],
    max_size: int,
) -> np.ndarray:
    """Persons that decisions united, and grouped anew where that would bring together what decisions part: first what
    is one person by decision, then by evidence."""
    left, right = apart["rid_l"].to_numpy(), apart["rid_r"].to_numpy()
    broken = np.unique(labels[left][labels[left] == labels[right]])
    if not len(broken):
        return labels
    nodes = np.flatnonzero(np.isin(labels, broken))
    places = pl.DataFrame({"rid": nodes, "place": np.arange(len(nodes))})

    def inside(pairs: pl.DataFrame) -> pl.DataFrame:
        here = pairs.join(places, left_on="rid_l", right_on="rid").join(
            places, left_on="rid_r", right_on="rid", suffix="_r"
        )
        return here.with_columns(rid_l="place", rid_r="place_r").drop("place", "place_r").sort("rid_l", "rid_r")

    def against(within: pl.DataFrame) -> pl.DataFrame:
        numbers = pl.Series(nodes)
        whole = within.select(rid_l=numbers.gather(within["rid_l"]), rid_r=numbers.gather(within["rid_r"]))
        return inside(parted(whole, must.unique()))

    found = cluster(len(nodes), inside(natural), inside(must), against, max_size)
    result = labels.copy()
    result[nodes] = nodes[found]
    return result


def accepted_of(edges: pl.DataFrame) -> pl.DataFrame:
    return edges.lazy().filter(pl.col("decision") == ACCEPTED).select("record_l", "record_r").collect()


def clustered(
    state: State, reached: pl.Series, rules: IdentityRules, links: Links, idle: Collection[str]
) -> pl.DataFrame:
    """(record, cluster) of the records that the batch reaches: whole components, named by a record of each cluster."""
    edges = state.verdicts
    frame = state.frame
    rows = rows_of(frame.drop(key_columns(frame)), _component(reached, accepted_of(edges)))
    features = features_of(rows)
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
    weight = weight_of(pl.col("reason"), pl.col("match_weight"), rules.stitching).alias("match_weight")
    # What a steward says of a pair is no evidence about others. A link without a score has no weight: it holds by
    # `must`.
    by_steward = pl.col("reason").str.starts_with(REASON).fill_null(False)
    natural = accepted.filter(~by_steward).select("rid_l", "rid_r", weight).drop_nulls("match_weight")
    must, apart = local(links.must, ids), local(links.apart, ids)
    told = pl.concat([must["rid_l"], must["rid_r"]]).unique()
    groups = pl.Series(components(rows.height, by_number["rid_l"].to_numpy(), by_number["rid_r"].to_numpy()))

    def parted(within: pl.DataFrame, cleared: pl.DataFrame) -> pl.DataFrame:
        against = contradictions(within, cleared, groups, features, rules, idle, told)
        held_apart = apart.join(within, on=["rid_l", "rid_r"], how="semi")
        return pl.concat([against, held_apart]).unique().sort("rid_l", "rid_r")

    size = rules.decision.max_cluster_size
    labels = cluster(rows.height, natural, must, lambda within: parted(within, by_number), size)
    together = local(links.together, ids)
    united = components(
        rows.height,
        np.concatenate([labels, together["rid_l"].to_numpy()]),
        np.concatenate([np.arange(rows.height), together["rid_r"].to_numpy()]),
    )
    labels = _kept_apart(united, natural, pl.concat([must, together]), apart, parted, size)
    clusters = ids.with_columns(cluster=pl.Series(labels, dtype=pl.Int64))
    names = ids.rename({"rid": "cluster", "record": "first"})
    return clusters.join(names, on="cluster").select("record", cluster="first")
