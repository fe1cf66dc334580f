"""How well clusters agree with the truth: over pairs of records, and per record (B-cubed)."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.models.identity.components import components


@dataclass(frozen=True)
class Agreement:
    """Shares from 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def _sizes(clusters: pl.DataFrame, found: str, true: str) -> tuple[pl.DataFrame, pl.Series, pl.Series]:
    both = clusters.group_by(found, true).len("both").with_columns(pl.col("both").cast(pl.Int64))
    both = both.with_columns(found_size=pl.col("both").sum().over(found), true_size=pl.col("both").sum().over(true))
    return both, clusters[found].value_counts()["count"], clusters[true].value_counts()["count"]


def _pairs(sizes: pl.Series) -> int:
    wide = sizes.cast(pl.Int64)
    return int((wide * (wide - 1)).sum()) // 2


def pairwise(clusters: pl.DataFrame, found: str = "cluster_key", true: str = "entity_id") -> Agreement:
    """Precision and recall over all pairs of records that a cluster, or the truth, puts together.

    `clusters`: one row per record, with its cluster in `found` and its true entity in `true`. A side without any
    pair counts as 1.
    """
    both, found_sizes, true_sizes = _sizes(clusters, found, true)
    right, said, there = _pairs(both["both"]), _pairs(found_sizes), _pairs(true_sizes)
    return Agreement(right / said if said else 1.0, right / there if there else 1.0)


def b_cubed(clusters: pl.DataFrame, found: str = "cluster_key", true: str = "entity_id") -> Agreement:
    """Per record the share of its cluster that is its entity (precision), and of its entity that is in its cluster
    (recall), averaged over records. Same input as `pairwise`; no rows count as 1."""
    if clusters.is_empty():
        return Agreement(1.0, 1.0)
    both, _, _ = _sizes(clusters, found, true)
    shares = both.select(
        precision=(pl.col("both") ** 2 / pl.col("found_size")).sum() / clusters.height,
        recall=(pl.col("both") ** 2 / pl.col("true_size")).sum() / clusters.height,
    )
    return Agreement(*shares.row(0))


def exact_share(clusters: pl.DataFrame, found: str = "cluster_key", true: str = "entity_id") -> float:
    """Share of true entities whose records are one cluster and fill it. Same input as `pairwise`."""
    if clusters.is_empty():
        return 1.0
    both = clusters.with_columns(found_size=pl.len().over(found), true_size=pl.len().over(true))
    entities = both.group_by(true).agg(
        whole=(pl.col(found).n_unique() == 1) & (pl.col("found_size") == pl.col("true_size")).all()
    )
    return float(entities["whole"].sum()) / entities.height


def by_threshold(clusters: pl.DataFrame, edges: pl.DataFrame, steps: int = 25) -> pl.DataFrame:
    """Pairwise and B-cubed measures of the connected components of the edges from each weight on.

    `clusters`: record_id, entity_id. `edges`: record_id_l, record_id_r, match_weight, decision; vetoed pairs stay out.
    Columns: match_weight, then pair_ and b_cubed_ precision, recall and f1; rising by weight.
    """
    nodes = clusters.select("record_id", "entity_id").with_row_index("node").with_columns(pl.col("node").cast(pl.Int64))
    used = edges.filter((pl.col("decision") != "vetoed") & pl.col("match_weight").is_not_null())
    used = used.join(nodes.select(record_id_l="record_id", left="node"), on="record_id_l")
    used = used.join(nodes.select(record_id_r="record_id", right="node"), on="record_id_r")
    if used.is_empty():
        return pl.DataFrame(schema={"match_weight": pl.Float64})
    low, high = used["match_weight"].min(), used["match_weight"].quantile(0.98)
    rows = []
    for weight in np.unique(np.round(np.linspace(float(low), float(high), steps), 2)):  # type: ignore[arg-type]
        kept = used.filter(pl.col("match_weight") >= weight)
        labels = components(nodes.height, kept["left"].to_numpy(), kept["right"].to_numpy())
        found = nodes.with_columns(cluster_key=pl.Series(labels))
        pairs, cubed = pairwise(found), b_cubed(found)
        measures = {"pair": pairs, "b_cubed": cubed}
        rows.append(
            {"match_weight": float(weight)}
            | {
                f"{kind}_{name}": getattr(m, name)
                for kind, m in measures.items()
                for name in ("precision", "recall", "f1")
            }
        )
    return pl.DataFrame(rows)


def errors_by_kind(clusters: pl.DataFrame, edges: pl.DataFrame | None = None) -> pl.DataFrame:
    """(error, kind, pairs): wrong pairs of records by whether an edge or only a chain joins them, missed pairs by what
    became of them; most frequent first. `clusters`: record_id, cluster_key, entity_id; `edges` as in `by_threshold`,
    with reason."""
    known = edges if edges is not None else pl.DataFrame(schema=_EDGE_SCHEMA)
    decided = known.select("record_id_l", "record_id_r", "decision", "reason")
    wrong = _pairs_by(clusters, "cluster_key").filter(pl.col("entity_id") != pl.col("entity_id_r"))
    missed = _pairs_by(clusters, "entity_id").filter(pl.col("cluster_key") != pl.col("cluster_key_r"))
    chain = (
        pl.when(pl.col("decision") == "accepted").then(pl.lit("accepted pair")).otherwise(pl.lit("by a chain alone"))
    )
    lost = (
        pl.when(pl.col("decision").is_null())
        .then(pl.lit("never compared, or far below the threshold"))
        .when(pl.col("decision") == "vetoed")
        .then(pl.concat_str(pl.lit("vetoed: "), pl.col("reason").fill_null("")))
        .when(pl.col("decision") == "accepted")
        .then(pl.lit("accepted, but parted in clustering"))
        .otherwise(pl.lit("below the threshold"))
    )
    counted = [
        pairs.join(decided, left_on=["record_id", "record_id_r"], right_on=["record_id_l", "record_id_r"], how="left")
        .select(error=pl.lit(error), kind=kind)
        .group_by("error", "kind")
        .len("pairs")
        for error, pairs, kind in (("wrongly joined", wrong, chain), ("missed", missed, lost))
    ]
    return pl.concat(counted).sort(["pairs", "error", "kind"], descending=[True, False, False])


_EDGE_SCHEMA = {"record_id_l": pl.String, "record_id_r": pl.String, "decision": pl.String, "reason": pl.String}


def _pairs_by(clusters: pl.DataFrame, group: str) -> pl.DataFrame:
    rows = clusters.select("record_id", "cluster_key", "entity_id").filter(pl.len().over(group) > 1)
    pairs = rows.join(rows, on=group, suffix="_r").filter(pl.col("record_id") < pl.col("record_id_r"))
    other = "entity_id" if group == "cluster_key" else "cluster_key"
    return pairs.select("record_id", "record_id_r", other, f"{other}_r")


def stratified(edges: pl.DataFrame, number: int, seed: int = 7) -> pl.DataFrame:
    """About `number` of the edges, as many from each stratum: decision by bands of match weight of equal count, since
    the pairs near the threshold tell most. Adds `stratum` and `stratum_pairs`, the pairs that it stands for."""
    scored = edges.filter(pl.col("match_weight").is_not_null()).sort(pl.exclude(pl.List))
    band = (pl.col("match_weight").rank("ordinal") - 1) * 5 // pl.len()
    banded = scored.with_columns(stratum=pl.concat_str("decision", band.over("decision").cast(pl.Int64), separator=" "))
    banded = banded.with_columns(stratum_pairs=pl.len().over("stratum"))
    each = -(-number // max(banded["stratum"].n_unique(), 1))
    shuffled = banded.sample(fraction=1.0, shuffle=True, seed=seed)
    chosen = shuffled.filter(pl.int_range(pl.len()).over("stratum") < each)
    return chosen.sort("stratum", "match_weight").head(number) if chosen.height <= number else chosen.sort("stratum")


@dataclass(frozen=True)
class Estimated:
    """Value, lower and upper bound (95 %) of precision and recall; pairs with a label."""

    precision: tuple[float, float, float]
    recall: tuple[float, float, float]
    labelled: int


_YES = ("1", "true", "yes", "y", "match", "same")
_NO = ("0", "false", "no", "n", "different")


def estimated(sheet: pl.DataFrame, draws: int = 4000, seed: int = 7) -> Estimated:
    """Precision of the accepted pairs and recall among the scored pairs, from a sheet of `stratified` with `is_match`
    filled in (yes or no; others are skipped). Intervals: per stratum the share of matches is drawn from its
    Beta(matches + 1/2, others + 1/2), strata weighted by the pairs that they stand for."""
    answer = pl.col("is_match").cast(pl.String).str.strip_chars().str.to_lowercase()
    labelled = sheet.with_columns(answer=answer).filter(pl.col("answer").is_in(_YES + _NO))
    strata = labelled.group_by("stratum", maintain_order=True).agg(
        yes=pl.col("answer").is_in(_YES).sum().cast(pl.Int64),
        seen=pl.len().cast(pl.Int64),
        pairs=pl.col("stratum_pairs").cast(pl.Int64).first(),
        accepted=(pl.col("decision") == "accepted").first(),
    )
    if strata.is_empty() or not strata["accepted"].any():
        return Estimated((0.0, 0.0, 1.0), (0.0, 0.0, 1.0), labelled.height)
    yes, seen = strata["yes"].to_numpy(), strata["seen"].to_numpy()
    pairs, accepted = strata["pairs"].to_numpy().astype(float), strata["accepted"].to_numpy()
    drawn = np.random.default_rng(seed).beta(yes + 0.5, seen - yes + 0.5, size=(draws, len(yes)))

    def measures(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        matches = share * pairs
        right = matches[..., accepted].sum(axis=-1)
        return right / pairs[accepted].sum(), right / np.maximum(matches.sum(axis=-1), 1e-12)

    point, intervals = measures(yes / seen), [np.quantile(values, (0.025, 0.975)) for values in measures(drawn)]
    precision, recall = ((float(p), float(low), float(high)) for p, (low, high) in zip(point, intervals, strict=True))
    return Estimated(precision, recall, labelled.height)
