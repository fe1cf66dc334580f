"""Identity resolution from customer records to persons: the steps in order.

Deterministic: the same records, rules and links give the same persons and edges bit for bit, in any row order.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import polars as pl

from customer360.models.identity.components import components
from customer360.models.identity.evidence.features import Features, IdentityInputError, build_features
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.stitching import Tier, hubs, is_link, stitch, weight_of, with_own
from customer360.models.identity.verdicts.cluster import cluster
from customer360.models.identity.verdicts.decide import (
    ACCEPTED,
    contradictions,
    decide,
    judge_links,
    overruled,
    with_dropped,
)
from customer360.models.identity.weighing.engine import engine, register
from customer360.models.identity.weighing.model import IdentityModel, train
from customer360.models.identity.weighing.predict import predict
from customer360.platform.run.executor import Executor

MUST_LINK = "must link"
_ENDS = ["rid_l", "rid_r"]


@dataclass(frozen=True)
class Resolution:
    """`assignments`: per record (record_id, cluster_key, person_id), sorted by record_id. `edges`: per scored or
    linked pair (record_id_l, record_id_r, match_weight, match_probability, match_key, decision, reason, evidence),
    sorted; weight and probability are null for a linked pair that was not scored. `seconds`: per phase. `dropped`: per
    block key the values that too many records share."""

    assignments: pl.DataFrame
    edges: pl.DataFrame
    model: IdentityModel
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    dropped: dict[str, int] = field(default_factory=dict)


def resolve(
    records: pl.DataFrame,
    rules: IdentityRules,
    *,
    model: IdentityModel | None = None,
    links: pl.DataFrame | None = None,
    executor: Executor | None = None,
) -> Resolution:
    """Resolve customer records (per source account, unique `record_id`) to persons.

    Trains on the records unless a `model` is given. Numbers that sources verified (`rules.stitching`) link before scores
    do. `links`: pairs (record_id_l, record_id_r) that are one person
    by other proof, such as a login; they hold against score and rules. Pairs that name unknown records are ignored.
    `executor`: runs the scoring of more pairs than `engine.max_local_pairs`.
    Raises IdentityInputError for bad record ids, IdentityModelError when training or blocking fails.
    """
    seconds: dict[str, float] = {}
    with timed(seconds, "features"):
        features = build_features(records, rules)
        numbers = hubs(features.frame, rules.stitching)
        features = replace(features, frame=with_own(features.frame, numbers, rules.stitching))
        tier = stitch(features.frame.with_columns(record="rid"), rules.stitching)
        must = _links(links, features)
    with timed(seconds, "train"):
        model = model or train(features, rules)
    with timed(seconds, "block+predict"):
        pairs = predict(features, model, rules, executor)
    with timed(seconds, "decide+cluster"):
        edges = _with_links(
            _stitched(decide(pairs, features, rules, model.idle_vetoes), tier, features, model, rules), must
        )
        labels = _clustered(edges, must, features, model, rules)
        assignments = _assignments(records, features, labels, rules)
    return Resolution(assignments, _named(edges, features), model, seconds, features.dropped_keys)


def _stitched(
    edges: pl.DataFrame, tier: Tier, features: Features, model: IdentityModel, rules: IdentityRules
) -> pl.DataFrame:
    """Edges with the links by number, and with those that fell."""
    named = {"record_l": "rid_l", "record_r": "rid_r"}
    judged = judge_links(tier.linked.rename(named), features, rules, model.idle_vetoes)
    every = features.frame["rid"]
    return with_dropped(overruled(edges, judged, _ENDS), tier.dropped.rename(named), _ENDS, rules.stitching, every)


def _clustered(
    edges: pl.DataFrame, must: pl.DataFrame, features: Features, model: IdentityModel, rules: IdentityRules
) -> np.ndarray:
    """Cluster label of each record."""
    weight = weight_of(pl.col("reason"), pl.col("match_weight"), rules.stitching)
    accepted = edges.filter(pl.col("decision") == ACCEPTED)
    cleared = accepted.filter(is_link(pl.col("reason"), rules.stitching)).select(_ENDS)
    groups = pl.Series(components(features.frame.height, cleared["rid_l"].to_numpy(), cleared["rid_r"].to_numpy()))
    return cluster(
        features.frame.height,
        accepted.with_columns(weight.alias("match_weight")).drop_nulls("match_weight"),
        must,
        lambda within: contradictions(within, cleared, groups, features, rules, model.idle_vetoes),
        rules.decision.max_cluster_size,
    )


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the wall time of the block to `seconds` under `phase`."""
    start = perf_counter()
    yield
    seconds[phase] = perf_counter() - start


def _links(links: pl.DataFrame | None, features: Features) -> pl.DataFrame:
    """(rid_l, rid_r), rid_l < rid_r, sorted, once each."""
    if links is None:
        return pl.DataFrame(schema={"rid_l": pl.Int64, "rid_r": pl.Int64})
    if absent := {"record_id_l", "record_id_r"} - set(links.columns):
        raise IdentityInputError(f"links lack the columns {sorted(absent)}")
    ids = features.frame.select("rid", "record_id")
    pairs = links.select("record_id_l", "record_id_r").join(ids, left_on="record_id_l", right_on="record_id")
    pairs = pairs.join(ids, left_on="record_id_r", right_on="record_id", suffix="_r")
    ordered = pairs.select(rid_l=pl.min_horizontal("rid", "rid_r"), rid_r=pl.max_horizontal("rid", "rid_r"))
    return ordered.filter(pl.col("rid_l") < pl.col("rid_r")).unique().sort("rid_l", "rid_r")


def _with_links(decided: pl.DataFrame, must: pl.DataFrame) -> pl.DataFrame:
    marked = must.with_columns(linked=pl.lit(True))
    edges = decided.join(marked, on=["rid_l", "rid_r"], how="full", coalesce=True)
    linked = pl.col("linked").is_not_null()
    return edges.with_columns(
        decision=pl.when(linked).then(pl.lit(ACCEPTED)).otherwise("decision"),
        reason=pl.when(linked).then(pl.lit(MUST_LINK)).otherwise("reason"),
    ).sort("rid_l", "rid_r")


def _assignments(records: pl.DataFrame, features: Features, labels: np.ndarray, rules: IdentityRules) -> pl.DataFrame:
    ids = features.frame["record_id"]
    members = pl.DataFrame({"record_id": ids, "label": labels}).with_row_index("rid")
    anchors = members
    if "registered_on" in records.columns:
        since = records.select("record_id", since=pl.col("registered_on").cast(pl.Date))
        anchors = members.join(since, on="record_id").sort("since", "rid", nulls_last=True)
    people = anchors.unique("label", keep="first", maintain_order=True)
    people = people.select("label", person_id=person_ids(people["record_id"], rules))
    named = members.with_columns(cluster_key=ids.gather(labels))  # a label is the first record of its cluster
    return named.join(people, on="label", maintain_order="left").select("record_id", "cluster_key", "person_id")


def person_ids(anchors: pl.Series, rules: IdentityRules) -> pl.Series:
    """Opaque ids of the persons whose first records are `anchors`: "p" and 16 hex digits."""
    with engine(rules.engine) as con:
        register(con, "people", pl.DataFrame({"anchor": anchors}).with_row_index("place"))
        told = con.sql("select place, 'p' || left(sha256(anchor), 16) as id from people").to_arrow_table()
    return pl.DataFrame(pl.from_arrow(told)).sort("place")["id"]


def _named(edges: pl.DataFrame, features: Features) -> pl.DataFrame:
    ids = features.frame["record_id"]
    return edges.select(
        ids.gather(edges["rid_l"]).alias("record_id_l"),
        ids.gather(edges["rid_r"]).alias("record_id_r"),
        "match_weight",
        "match_probability",
        "match_key",
        "decision",
        "reason",
        "evidence",
    )
