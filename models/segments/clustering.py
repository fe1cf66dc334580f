"""K-means on robust scales, and how many clusters the data hold up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from customer360.platform.errors import ModelError

REACH = 3.0  # scaled values beyond are brought to it: a few wholesalers must not be a segment of their own
SMALLEST_SPREAD = 1e-6  # below it a feature is constant up to the last bits of its floats
NORMAL_QUARTILES = 1.349  # distance of the quartiles of a normal distribution in standard deviations
STARTS = 5  # of k-means on everybody
RATES = ("return_rate", "discount_rate")  # not of many magnitudes, so no logarithm

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Scales:
    """Medians and robust spreads by feature, of logarithms where values are of many magnitudes, and weights."""

    names: tuple[str, ...]
    medians: tuple[float, ...]
    spreads: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, people: pl.DataFrame, weights: dict[str, float]) -> Scales:
        """Features that do not vary, or weigh nothing, are left out. Raises ModelError when none is left."""
        kept = []
        for name, weight in weights.items():
            values = people.select(_plain(name)).to_series().drop_nulls()
            spread = _spread(values)
            if weight > 0 and spread > SMALLEST_SPREAD:
                kept.append((name, round(float(values.median()), 9), round(spread, 9), weight))  # type: ignore[arg-type]
        if not kept:
            raise ModelError(f"none of {', '.join(weights)} varies among {people.height} customers")
        names, medians, spreads, weighed = zip(*kept, strict=True)
        return cls(names, medians, spreads, weighed)

    def __call__(self, people: pl.DataFrame) -> Array:
        """Points, shape (n, features): 0 is the typical customer, who also stands for an unknown value."""
        columns = [
            ((_plain(name) - median) / spread).clip(-REACH, REACH).fill_null(0.0) * weight
            for name, median, spread, weight in zip(self.names, self.medians, self.spreads, self.weights, strict=True)
        ]
        scaled = people.select(column.alias(str(at)) for at, column in enumerate(columns))
        return np.ascontiguousarray(scaled.to_numpy(), dtype=np.float64)

    def deviations(self, centres: Array) -> Array:
        """Centres in robust standard deviations from the typical customer, whatever the weights."""
        return np.asarray(centres / np.array(self.weights), dtype=np.float64)


@dataclass(frozen=True)
class Choice:
    """A number of clusters: the mean adjusted Rand index of redraws against all customers, and the silhouette."""

    count: int
    stability: float
    silhouette: float


def choose(
    points: Array, fewest: int, most: int, redraws: int, sample_size: int, seed: int, stable: float, separate: float
) -> tuple[Array, tuple[Choice, ...]]:
    """Centres of the chosen number of clusters, and what was weighed up.

    The largest number whose stability is at least `stable` and whose silhouette is at least `separate` times the best
    of those; where none is stable, the most stable.
    """
    from sklearn.cluster import KMeans

    tried, centres = [], {}
    with threadpool_limits(1):  # sums over several threads end differently from run to run
        for count in range(fewest, most + 1):
            centres[count] = KMeans(count, n_init=STARTS, random_state=seed).fit(points).cluster_centers_
            stability = _stability(points, centres[count], redraws, sample_size, seed)
            label = nearest(points, centres[count])[0]
            tried.append(Choice(count, round(stability, 9), round(silhouette(points, label, sample_size, seed), 9)))
    steady = [choice for choice in tried if choice.stability >= stable]
    if steady:
        bar = separate * max(choice.silhouette for choice in steady)
        best = max((choice for choice in steady if choice.silhouette >= bar), key=lambda choice: choice.count)
    else:
        best = max(tried, key=lambda choice: choice.stability)
    return centres[best.count], tuple(tried)


def nearest(points: Array, centres: Array) -> tuple[Labels, Array]:
    """The nearest centre of each point, and how clearly: 1 - distance / distance to the next, 0 to 1."""
    squared = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    distance = np.sqrt(np.maximum(squared, 0))
    label = distance.argmin(axis=1).astype(np.int64)
    if len(points) == 0:
        return label, np.empty(0)
    first, second = np.partition(distance, 1, axis=1)[:, :2].T
    return label, np.where(second > 0, 1 - first / np.where(second > 0, second, 1), 0.0)


def silhouette(points: Array, label: Labels, sample_size: int, seed: int) -> float:
    """Mean silhouette of a sample; 0 where all are in one cluster."""
    from sklearn.metrics import silhouette_score

    rows = np.random.default_rng(seed).permutation(len(points))[:sample_size]
    if len(np.unique(label[rows])) < 2:
        return 0.0
    return float(silhouette_score(points[rows], label[rows]))


def _stability(points: Array, centres: Array, redraws: int, sample_size: int, seed: int) -> float:
    """Mean adjusted Rand index over redraws with replacement: clusters of the redraw against those of everybody, on
    everybody (on a sample of customers where there are many).
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(seed)
    judged = points[rng.permutation(len(points))[:sample_size]]
    reference, found = nearest(judged, centres)[0], []
    for _ in range(redraws):
        drawn = points[rng.integers(0, len(points), min(len(points), sample_size))]
        again = KMeans(len(centres), n_init=2, random_state=int(rng.integers(2**31))).fit(drawn)
        found.append(adjusted_rand_score(reference, nearest(judged, again.cluster_centers_)[0]))
    return float(np.mean(found))


def _plain(name: str) -> pl.Expr:
    value = pl.col(name).cast(pl.Float64)
    return value if name in RATES or name.endswith("_share") else value.clip(lower_bound=0).log1p()


def _spread(values: pl.Series) -> float:
    """From the quartiles; the standard deviation where half of the values are equal."""
    if values.is_empty():
        return 0.0
    low, high = values.quantile(0.25), values.quantile(0.75)
    robust = (float(high or 0) - float(low or 0)) / NORMAL_QUARTILES
    return robust if robust > SMALLEST_SPREAD else float(values.std(ddof=0) or 0)  # type: ignore[arg-type]
