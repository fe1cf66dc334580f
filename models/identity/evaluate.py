"""How well clusters agree with the truth: over pairs of records, and per record (B-cubed)."""

from dataclasses import dataclass

import polars as pl


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
