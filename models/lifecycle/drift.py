"""Has the world changed since the champion was trained? Inputs, predictions and calibration, with a stated false-alarm
rate.

Inputs are the features of one month alone (`WINDOW_DAYS` before a date), so that nothing ages: lifetime features of the
same customers grow by themselves. Each column's Kolmogorov-Smirnov distance is compared with what it is when months are
exchanged at random, person by person: who was seen in both months changes both rows together. The largest distance over
all columns, each in units of its own exchanged spread, decides, so any number of columns gives one false alarm in
1 / level months, however they depend on each other. Calibration is the mean error against that of the backtest. The
level is divided among the parts that could be judged.

The population stability index is reported beside it for reading; it has no level and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.models import frames
from customer360.models.base import Evaluation, Fitted, Model, Snapshot
from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Boolean, Date, Float, String, Table

LEVEL = 0.05  # of false alarms a check, over all its parts
WINDOW_DAYS = 28  # four whole weeks: no part of a week weighs more in one month than in the other
EXCHANGES = 400
BLOCK_CELLS = 4_000_000  # cells of exchanged labels worked on at once: 32 MB
DAYS, INTERACTIONS = "silver.subject_days", "gold.interactions"
# Of one month; windows longer than it say the same again.
MONTHLY = (
    "recency_days", "order_count", "gross_amount", "mean_order_amount", "units_per_order", "items_per_order",
    "mean_gap_days", "return_rate", "discount_rate", "online_order_share", "mobile_order_share",
    "session_count_30d", "view_count_30d", "search_count_30d", "cart_add_count_30d",
)  # fmt: skip
INPUTS, PREDICTIONS, CALIBRATION = "inputs", "predictions", "calibration"

Array = NDArray[np.float64]


class Drift(Table, table="gold.drift", partition_by=("model", "as_of"), sort_by=("part", "column")):
    """One row per model, date, part and watched column: how far it moved since the champion was trained."""

    model = String(primary_key=True, description="Name in the registry")
    version = String(description="Champion that was watched")
    reference_on = Date(description="The champion knew what happened before this day")
    as_of = Date(primary_key=True)
    part = String(primary_key=True, description="inputs, predictions or calibration")
    column = String(
        primary_key=True, description="Feature of a month; of predictions the score, of calibration mean_error"
    )
    distance = Float(description="Kolmogorov-Smirnov distance; for calibration the change of the mean error")
    stability_index = Float(nullable=True, description="Population stability index over ten reference quantiles")
    p_value = Float(description="Of the largest move in this part; columns of a part share the test")
    is_alarm = Boolean(description="The part moved by more than chance at its level, and this column with it")


@dataclass(frozen=True)
class Moved:
    """One part of a check: distance, index and whether it stands out, by column, and the p-value over all columns."""

    part: str
    distances: dict[str, float]
    indices: dict[str, float]
    outstanding: frozenset[str]
    p_value: float


@dataclass(frozen=True)
class Report:
    """A check of one model: its parts, the level of each, and what could not be judged with the reason."""

    model: str
    version: str
    reference_on: date
    as_of: date
    moved: tuple[Moved, ...]
    unknown: dict[str, str]
    level: float = LEVEL

    @property
    def part_level(self) -> float:
        return self.level / max(len(self.moved), 1)

    @property
    def alarms(self) -> list[Moved]:
        return [moved for moved in self.moved if moved.p_value <= self.part_level]

    def rows(self) -> pl.DataFrame:
        """Rows of `gold.drift`."""
        found = [
            {
                "model": self.model,
                "version": self.version,
                "reference_on": self.reference_on,
                "as_of": self.as_of,
                "part": moved.part,
                "column": column,
                "distance": distance,
                "stability_index": moved.indices.get(column),
                "p_value": moved.p_value,
                "is_alarm": moved in self.alarms and column in moved.outstanding,
            }
            for moved in self.moved
            for column, distance in moved.distances.items()
        ]
        return pl.DataFrame(found, schema=tables.schema(Drift))


def check(
    model: Model[Any, Any],
    fitted: Fitted,
    version: str,
    reference: Snapshot,
    current: Snapshot,
    calibration: Moved | str,
    seed: int = 0,
) -> Report:
    """Compare the month before `current.as_of` with the one before `reference.as_of`. `calibration` is that part
    (`calibration_moved`) or why it is not known."""
    found, unknown = [], {}
    parts = {INPUTS: lambda s: monthly_inputs(model, s), PREDICTIONS: lambda s: predicted(model, fitted, s)}
    for part, rows in parts.items():
        before, after = rows(reference), rows(current)
        if before.is_empty() or after.is_empty():
            unknown[part] = f"{before.height} rows before {reference.as_of}, {after.height} before {current.as_of}"
        else:
            found.append(moved(part, before, after, seed))
    if isinstance(calibration, Moved):
        found.append(calibration)
    else:
        unknown[CALIBRATION] = calibration
    return Report(model.name, version, reference.as_of, current.as_of, tuple(found), unknown)


def monthly_inputs(model: Model[Any, Any], snapshot: Snapshot) -> pl.DataFrame:
    """What the persons seen in the month before `snapshot.as_of` did in it: `person_id` and Float64 columns."""
    month = (
        pl.col("on").is_between(snapshot.as_of - timedelta(days=WINDOW_DAYS), snapshot.as_of, closed="left")
        & pl.col("person_id").is_not_null()
    )
    if DAYS in model.tables:
        return frames.features(snapshot[DAYS].filter(month), snapshot.as_of).select("person_id", *MONTHLY).collect()
    if INTERACTIONS in model.tables:
        counts = {
            f"{kind}_count": (pl.col("kind") == kind).sum().cast(pl.Float64)
            for kind in ("purchase", "view", "cart_add", "wishlist")
        }
        seen = snapshot[INTERACTIONS].filter(month).group_by("person_id")
        return seen.agg(**counts, product_count=pl.col("product_id").n_unique().cast(pl.Float64)).collect()
    return pl.DataFrame(schema={"person_id": pl.String})


def predicted(model: Model[Any, Any], fitted: Fitted, snapshot: Snapshot) -> pl.DataFrame:
    """The champion's score of every person at a date; of lists, the score of the first product."""
    found = model.predict(fitted, snapshot)
    if "rank" in found.columns:
        found = found.filter(pl.col("rank") == 1).group_by("person_id").agg(pl.col("score").mean())
    return found.select("person_id", "score")


def moved(part: str, before: pl.DataFrame, after: pl.DataFrame, seed: int = 0, exchanges: int = EXCHANGES) -> Moved:
    """Compare two frames of one row per person: `person_id` and numeric columns, nulls counting as a value of their
    own.

    The p-value is that of the largest standardised distance when persons' months are exchanged at random. A column
    stands out where its own distance passes the largest exchanged one at `LEVEL`.
    """
    names = [name for name in before.columns if name != "person_id"]
    rows = pl.concat([before.with_columns(month=pl.lit(0)), after.select(before.columns).with_columns(month=pl.lit(1))])
    labels = _exchanged(rows["person_id"], rows["month"].to_numpy(), exchanges, seed)
    observed, spread = {}, []
    for name in names:
        distances = _distances(rows[name].cast(pl.Float64).fill_null(-math.inf).fill_nan(-math.inf).to_numpy(), labels)
        scale = float(distances[1:].mean())
        if scale > 0:  # a column with one value cannot move
            observed[name] = (float(distances[0]), float(distances[0]) / scale)
            spread.append(distances[1:] / scale)
    if not observed:
        return Moved(part, dict.fromkeys(names, 0.0), {}, frozenset(), 1.0)
    largest = np.max(spread, axis=0)
    top = max(standardised for _, standardised in observed.values())
    p_value = float((1 + np.sum(largest >= top)) / (1 + exchanges))
    bound = float(np.quantile(largest, 1 - LEVEL))
    return Moved(
        part,
        {name: distance for name, (distance, _) in observed.items()},
        {name: stability_index(before[name], after[name]) for name in observed},
        frozenset(name for name, (_, standardised) in observed.items() if standardised >= min(bound, top)),
        p_value,
    )


def stability_index(before: pl.Series, after: pl.Series, bins: int = 10) -> float:
    """Population stability index over quantiles of `before`, nulls as a bin; half a row stands in for an empty bin."""
    known = before.drop_nulls().cast(pl.Float64).to_numpy()
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.array([])
    shares = []
    for column in (before, after):
        values = column.drop_nulls().cast(pl.Float64).to_numpy()
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        filled = np.maximum(np.append(counts, column.null_count()), 0.5)
        shares.append(filled / filled.sum())
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def mean_error(evaluation: Evaluation) -> dict[str, float]:
    """Mean of outcome minus score and its standard error, where scores were judged; kept as metrics of the run."""
    rows = evaluation.rows
    if rows is None or "truth" not in rows.columns or rows.height < 2:
        return {}
    judged = rows.with_columns(error=pl.col("truth").cast(pl.Float64) - pl.col("score"))
    if "category" in rows.columns:  # rows of one person depend on each other
        judged = judged.group_by("person_id").agg(pl.col("error").mean()).sort("person_id")
    error = judged["error"].to_numpy()
    return {"mean_error": float(error.mean()), "mean_error_se": float(error.std(ddof=1) / math.sqrt(len(error)))}


def calibration_moved(backtest: Mapping[str, float], evaluation: Evaluation) -> Moved | str:
    """The mean error of the champion's newest judged window against that of its backtest (metrics of its run)."""
    from scipy.stats import norm

    now = mean_error(evaluation)
    if not now:
        return "this model states no calibration: its outcome is not judged by person"
    if not {"mean_error", "mean_error_se"} <= backtest.keys():
        return "the champion's run does not state the error of its backtest"
    change = now["mean_error"] - backtest["mean_error"]
    spread = math.hypot(now["mean_error_se"], backtest["mean_error_se"])
    p_value = float(2 * norm.sf(abs(change) / spread)) if spread > 0 else float(change == 0)
    return Moved(CALIBRATION, {"mean_error": change}, {}, frozenset({"mean_error"}), p_value)


def store(lake: Lake, report: Report) -> None:
    """Write the rows of a report into `gold.drift`, in place of those of an equal check."""
    lake.ensure(Drift)
    scope = {"model": report.model, "as_of": report.as_of.isoformat()}
    rows, name = report.rows(), tables.spec(Drift).name
    adds = [lake.write_file(name, rows, dict(scope))] if rows.height else []
    lake.replace(name, adds, scope=scope, app=f"drift:{report.model}", app_version=report.as_of.toordinal())


def _exchanged(persons: pl.Series, months: NDArray[Any], exchanges: int, seed: int) -> NDArray[np.bool_]:
    """Row labels, shape (1 + exchanges, rows): the true month first, then with months exchanged person by person."""
    rng = np.random.default_rng(seed)
    _, index, count = np.unique(persons.to_numpy(), return_inverse=True, return_counts=True)
    both = count[index] == 2
    labels = np.empty((1 + exchanges, len(months)), dtype=bool)
    labels[0] = months == 1
    swapped = rng.random((exchanges, len(count))) < 0.5
    labels[1:, both] = labels[0, both] ^ swapped[:, index[both]]
    alone = np.flatnonzero(~both)
    for row in range(1, 1 + exchanges):
        labels[row, alone] = labels[0, rng.permutation(alone)]
    return labels


def _distances(values: Array, labels: NDArray[np.bool_]) -> Array:
    """Kolmogorov-Smirnov distance of the two groups of each row of labels; equal values are one step."""
    order = np.argsort(values, kind="stable")
    last = np.append(values[order][1:] != values[order][:-1], True)
    seen = np.arange(1, len(values) + 1)[None, last]
    found, step = [], max(1, BLOCK_CELLS // len(values))
    for start in range(0, len(labels), step):
        ordered = labels[start : start + step, order]
        ones = ordered.sum(axis=1, keepdims=True)
        counts = np.cumsum(ordered, axis=1, dtype=np.int32)[:, last]
        found.append(np.abs(counts / ones - (seen - counts) / (len(values) - ones)).max(axis=1))
    return np.concatenate(found).astype(np.float64)
