"""Measures of models, and whether a difference between two of them is more than noise.

Binary targets: `truth` is 0/1, `score` higher for more likely 1, both shape (n,). Rankings: frames of one row per
person and rank. Comparisons are paired bootstraps: the same resampled customers judge both sides, seeded, so a figure
can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from customer360.platform.errors import ModelError

RESAMPLES = 1000
LEVEL = 0.95
BLOCK_CELLS = 4_000_000  # cells of one block of resampling weights: 32 MB
RECALL_AT = 20
NDCG_AT = 10

Array = NDArray[np.float64]
Verdict = Literal["better", "worse", "no difference"]


@dataclass(frozen=True)
class Comparison:
    """Challenger minus baseline with its percentile interval; the verdict reads "higher is better"."""

    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference"

    def __str__(self) -> str:
        return f"{self.verdict}: {self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def auc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve; ties count half. Raises ModelError when only one class occurs."""
    from scipy.stats import rankdata

    y, s = _binary(truth), np.asarray(score, dtype=np.float64)
    ranks, positives = rankdata(s), y.sum()
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives)))


def pr_auc(truth: ArrayLike, score: ArrayLike) -> float:
    """Average precision; tied scores form one step. Its floor is the base rate."""
    y, s = _binary(truth), np.asarray(score, dtype=np.float64)
    order = np.argsort(-s, kind="stable")
    last_of_tie = np.append(np.diff(s[order]) != 0, True)
    hits, seen = np.cumsum(y[order])[last_of_tie], np.flatnonzero(last_of_tie) + 1
    return float(np.sum(np.diff(hits, prepend=0.0) * hits / seen) / y.sum())


def brier(truth: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared error of a probability; 0 is perfect."""
    return float(np.mean((np.asarray(probability, dtype=np.float64) - np.asarray(truth, dtype=np.float64)) ** 2))


def calibration_error(truth: ArrayLike, probability: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error over equally wide bins: mean |observed rate - stated probability| by rows."""
    y, p = np.asarray(truth, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    index = np.minimum((p * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=y - p, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def lift(truth: ArrayLike, score: ArrayLike, share: float = 0.1) -> float:
    """Rate of ones among the best-scored `share` of rows over the base rate; read it beside `lift_ceiling`."""
    y = _binary(truth)
    best = np.argsort(-np.asarray(score, dtype=np.float64), kind="stable")[: max(1, round(share * len(y)))]
    return float(y[best].mean() / y.mean())


def lift_ceiling(truth: ArrayLike, share: float = 0.1) -> float:
    """The largest lift that any order could reach at this base rate."""
    y = _binary(truth)
    top = max(1, round(share * len(y)))
    return float(min(top, y.sum()) / top / y.mean())


def binary_metrics(truth: ArrayLike, probability: ArrayLike) -> dict[str, float]:
    """All measures of a calibrated binary model, by name."""
    return {
        "auc": auc(truth, probability),
        "pr_auc": pr_auc(truth, probability),
        "brier": brier(truth, probability),
        "ece": calibration_error(truth, probability),
        "lift_10": lift(truth, probability),
        "lift_10_ceiling": lift_ceiling(truth),
        "base_rate": float(np.mean(np.asarray(truth, dtype=np.float64))),
        "mean_score": float(np.mean(np.asarray(probability, dtype=np.float64))),
        "row_count": float(np.size(probability)),
    }


def compare_auc(
    truth: ArrayLike,
    challenger: ArrayLike,
    baseline: ArrayLike,
    seed: int,
    resamples: int = RESAMPLES,
    groups: pl.Series | None = None,
) -> Comparison:
    """Paired bootstrap over rows of the difference in AUC; with `groups` (a person a row) over persons with all their
    rows, since the rows of one depend on each other.
    """
    y = _binary(truth)
    first, second = _weighted_auc(y, challenger), _weighted_auc(y, baseline)
    code = None if groups is None else groups.rank("dense").to_numpy().astype(np.int64) - 1
    return _compare(lambda weights: first(weights) - second(weights), len(y), seed, resamples, code)


def compare_means(challenger: ArrayLike, baseline: ArrayLike, seed: int, resamples: int = RESAMPLES) -> Comparison:
    """Paired bootstrap of the difference in means, for measures that each person has one value of (recall, squared
    error).
    """
    gain = np.asarray(challenger, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    return _compare(lambda weights: weights @ gain / len(gain), len(gain), seed, resamples)


def ranking_by_person(lists: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Recall@20 and NDCG@10 of every person in `truth`: `person_id`, `recall`, `ndcg`, sorted by person.

    `lists`: person_id, rank (from 1), product_id. `truth`: person_id, product_id, unique. Recall is hits / min(20,
    relevant), so 1 is within reach of everybody; gains are binary. A person without a list scores 0.
    """
    relevant = truth.group_by("person_id").agg(relevant=pl.len())
    gain = 1.0 / (pl.col("rank") + 1.0).log(2)
    found = (
        lists.join(truth, on=["person_id", "product_id"], how="semi")
        .group_by("person_id")
        .agg(hits=(pl.col("rank") <= RECALL_AT).sum(), gain=gain.filter(pl.col("rank") <= NDCG_AT).sum())
    )
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, NDCG_AT + 2)))])
    best = pl.DataFrame({"reach": np.arange(NDCG_AT + 1), "ideal": ideal})
    return (
        relevant.with_columns(reach=pl.col("relevant").clip(upper_bound=NDCG_AT).cast(pl.Int64))
        .join(best, on="reach", how="left")
        .join(found, on="person_id", how="left")
        .select(
            "person_id",
            recall=pl.col("hits").fill_null(0) / pl.col("relevant").clip(upper_bound=RECALL_AT),
            ndcg=pl.col("gain").fill_null(0.0) / pl.col("ideal"),
        )
        .sort("person_id")
    )


def coverage(lists: pl.DataFrame, catalogue_size: int) -> float:
    """Share of the catalogue that stands in somebody's first 20."""
    return lists.filter(pl.col("rank") <= RECALL_AT)["product_id"].n_unique() / catalogue_size


def gini(lists: pl.DataFrame, catalogue_size: int) -> float:
    """Inequality of exposure over the catalogue in the first 20: 0 all products alike, towards 1 a few only."""
    shown = lists.filter(pl.col("rank") <= RECALL_AT).group_by("product_id").len()["len"].to_numpy()
    counts = np.sort(np.concatenate([np.zeros(catalogue_size - len(shown)), shown]))
    place = np.arange(1, catalogue_size + 1)
    return float(2 * np.sum(place * counts) / (catalogue_size * counts.sum()) - (catalogue_size + 1) / catalogue_size)


def ranking_metrics(lists: pl.DataFrame, truth: pl.DataFrame, catalogue_size: int) -> dict[str, float]:
    """Means over the persons in `truth`, and how widely the lists of those persons spread."""
    persons = ranking_by_person(lists, truth)
    judged = lists.join(persons, on="person_id", how="semi")
    return {
        "recall_20": float(persons["recall"].to_numpy().mean()),
        "ndcg_10": float(persons["ndcg"].to_numpy().mean()),
        "coverage_20": coverage(judged, catalogue_size),
        "gini_20": gini(judged, catalogue_size),
        "person_count": float(persons.height),
    }


def _binary(truth: ArrayLike) -> Array:
    y = np.asarray(truth, dtype=np.float64)
    if not 0 < y.sum() < len(y):
        raise ModelError(f"{len(y)} rows hold {int(y.sum())} positives: a ranking needs both classes")
    return y


def _weighted_auc(y: Array, score: ArrayLike) -> Callable[[Array], Array]:
    """AUC under row weights: weights of shape (resamples, n) to shape (resamples,)."""
    s = np.asarray(score, dtype=np.float64)
    order = np.argsort(s, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(s[order]) != 0))
    positive = y[order]

    def area(weights: Array) -> Array:
        sorted_weights = weights[:, order]
        ones = np.add.reduceat(sorted_weights * positive, starts, axis=1)
        zeros = np.add.reduceat(sorted_weights * (1.0 - positive), starts, axis=1)
        below = np.cumsum(zeros, axis=1) - 0.5 * zeros
        pairs = ones.sum(axis=1) * zeros.sum(axis=1)
        area = np.sum(ones * below, axis=1)
        return np.divide(area, pairs, out=np.full(len(area), np.nan), where=pairs > 0)

    return area


def _compare(
    difference: Callable[[Array], Array], rows: int, seed: int, resamples: int, group: NDArray[np.int64] | None = None
) -> Comparison:
    """Percentile interval of a statistic of row weights; resamples are drawn in blocks of bounded memory. Rows of one
    `group` (numbers from 0) are drawn together. Resamples that the statistic says nothing of (of few positives some
    hold none) count for nothing.
    """
    rng, drawn = np.random.default_rng(seed), []
    block, units = max(1, BLOCK_CELLS // rows), rows if group is None else int(group.max()) + 1
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        picks = rng.integers(0, units, size=(size, units)) + units * np.arange(size)[:, None]
        weights = np.bincount(picks.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)
        drawn.append(difference(weights if group is None else weights[:, group]))
    low, high = np.nanquantile(np.concatenate(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Comparison(float(difference(np.ones((1, rows)))[0]), float(low), float(high))
