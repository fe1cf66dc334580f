"""DATA_QUALITY_METRICS: what the counts of the judged rows say about a table, commit by commit.

The counts themselves are facts of the commit that built a record table, so they are there exactly when its rows are.
The tables here are made of them and hold nothing else: making them again gives the same.

The five dimensions, each a share of checks passed, null where nothing could be checked:

- completeness: cells of the required and expected columns that are filled;
- accuracy: values that agree with what is known of the world, and rows that agree with other tables;
- consistency: rules among the values of a row that hold, and foreign keys whose parent was delivered;
- validity: rows that keep their contract, and values in a valid format;
- timeliness: rows that were delivered before they were older than the rule file allows (`checks.punctuality`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dataframely as dy
import polars as pl

from customer360.platform.quality.checks import DIMENSIONS, Dimension, Tally
from customer360.platform.tables import Date, Float, Integer, OneOf, String, Table, Timestamp

ALL = "ALL"  # stands for all source systems of a table together
MAD_TO_DEVIATION = 1.4826  # median absolute deviation to standard deviation, of normal values


class DataQualityMetrics(
    Table, table="quality.data_quality_metrics", sort_by=("table_name", "source_system", "table_version")
):
    """One row per source table, source system (ALL: together) and commit of the record table that was built of it.

    Counts are of all rows delivered so far that no correction stands for. Foreign keys count in the rows of ALL alone.
    """

    source_system = String(primary_key=True, description="ALL: every source system of the table")
    table_name = String(primary_key=True, description="The bronze table whose rows were judged")
    table_version = Integer(primary_key=True, description="Delta version of the record table built of them")
    metric_date = Date(description="UTC day of that commit")
    measured_at = Timestamp(description="Moment of that commit")
    total_records = Integer(min=0)
    valid_records = Integer(min=0, description="Keep the contract")
    invalid_records = Integer(min=0, description="In quality.quarantine, with the rules that they break")
    duplicate_records = Integer(min=0, description="Valid, and equal to another row in every column")
    null_records = Integer(min=0, description="Lack a value that the rule file requires (they may be valid)")
    quality_score = dy.Decimal(5, 2, nullable=True, description="0 to 100: weighted mean of the measured dimensions")
    completeness_score = Float(nullable=True, min=0, max=1)
    accuracy_score = Float(nullable=True, min=0, max=1)
    consistency_score = Float(nullable=True, min=0, max=1)
    validity_score = Float(nullable=True, min=0, max=1)
    timeliness_score = Float(nullable=True, min=0, max=1)
    processing_time_seconds = Float(
        description="Of judging and building, with parts of a second (most tables need less)"
    )
    bronze_version = Integer(description="Delta version of the bronze table up to which deliveries count in timeliness")

    @dy.rule()
    def total_is_valid_and_invalid(cls) -> pl.Expr:
        return pl.col("total_records") == pl.col("valid_records") + pl.col("invalid_records")


class RuleCounts(Table, table="quality.rule_counts", sort_by=("table_name", "source_system", "dimension", "rule")):
    """One row per source table, source system (ALL: together) and check, at the newest measurement."""

    source_system = String(primary_key=True)
    table_name = String(primary_key=True)
    dimension = OneOf(*DIMENSIONS, primary_key=True)
    rule = String(primary_key=True, description="A column (completeness), or the name of a rule, or a foreign key")
    checked_count = Integer(min=0)
    passed_count = Integer(min=0)
    table_version = Integer()


class Alerts(Table, table="quality.alerts", sort_by=("table_name", "dimension", "opened_version")):
    """One row per stretch of measurements in which a dimension of a table lay below its floor or far below its past."""

    table_name = String(primary_key=True)
    dimension = OneOf(*DIMENSIONS, primary_key=True)
    opened_version = Integer(primary_key=True, description="Version of the record table at the first bad measurement")
    opened_at = Timestamp()
    cleared_at = Timestamp(nullable=True, description="First good measurement; null: the alert stands")
    reason = OneOf("floor", "deviation")
    value = Float(description="At the last bad measurement")
    limit = Float(description="The value that it should not fall below, at that time")


@dataclass(frozen=True)
class Measurement:
    """Counts of one commit of a record table by source system, ALL included."""

    table_name: str
    table_version: int
    measured_at: datetime
    seconds: float
    bronze_version: int
    tally: Tally


def dimension_scores(counts: Mapping[str, int]) -> dict[Dimension, float | None]:
    """Share of passed checks by dimension from counts named ``dimension|rule|checked`` and ``…|passed``."""
    sums = {d: {"checked": 0, "passed": 0} for d in DIMENSIONS}
    for name, count in counts.items():
        dimension, _, rest = name.partition("|")
        if rest:
            sums[dimension][rest.rpartition("|")[2]] += count  # type: ignore[index]
    return {d: s["passed"] / s["checked"] if s["checked"] else None for d, s in sums.items()}


def weighted_score(scores: Mapping[Dimension, float | None], weights: Mapping[Dimension, float]) -> float | None:
    """0 to 100, over the dimensions that were measured; null when none with a weight was."""
    measured = [(s, weights.get(d, 0.0)) for d, s in scores.items() if s is not None]
    total = sum(w for _, w in measured)
    return round(100 * sum(s * w for s, w in measured) / total, 2) if total else None


def metric_rows(measurement: Measurement, weights: Mapping[Dimension, float]) -> list[dict[str, Any]]:
    """Rows for ``quality.data_quality_metrics``."""
    rows = []
    for system, counts in measurement.tally.items():
        scores = dimension_scores(counts)
        rows.append(
            {
                "source_system": system,
                "table_name": measurement.table_name,
                "table_version": measurement.table_version,
                "metric_date": measurement.measured_at.date(),
                "measured_at": measurement.measured_at,
                **{f"{n}_records": counts.get(n, 0) for n in ("total", "valid", "invalid")},
                "duplicate_records": counts.get("duplicates", 0),
                "null_records": counts.get("nulls", 0),
                "quality_score": weighted_score(scores, weights),
                **{f"{d}_score": s for d, s in scores.items()},
                "processing_time_seconds": measurement.seconds,
                "bronze_version": measurement.bronze_version,
            }
        )
    return rows


def rule_rows(measurement: Measurement) -> list[dict[str, Any]]:
    """Rows for ``quality.rule_counts``; checks that nothing could be measured by are there with zero."""
    return [
        {
            "source_system": system,
            "table_name": measurement.table_name,
            "dimension": name.split("|")[0],
            "rule": name.split("|")[1],
            "checked_count": count,
            "passed_count": counts.get(name.removesuffix("checked") + "passed", 0),
            "table_version": measurement.table_version,
        }
        for system, counts in measurement.tally.items()
        for name, count in counts.items()
        if name.endswith("|checked")
    ]


def alerts(
    metrics: pl.DataFrame,
    floors: Mapping[Dimension, float],
    *,
    history: int,
    deviation: float,
    smallest_drop: float,
) -> pl.DataFrame:
    """Alerts over the whole history of ``quality.data_quality_metrics``: each opens once and clears once.

    A value is bad below its floor, or more than ``deviation`` robust standard deviations (and ``smallest_drop``) below
    the median of at least ``history`` earlier values of the same table that were not bad themselves.
    """
    rows: list[dict[str, Any]] = []
    together = metrics.filter(pl.col("source_system") == ALL).sort("table_name", "table_version")
    suspects = _suspects(together, floors, smallest_drop)
    for (table_name,), measured in together.group_by("table_name", maintain_order=True):
        for dimension in (d for d in DIMENSIONS if (table_name, d) in suspects):
            series = measured.select("table_version", "measured_at", value=f"{dimension}_score").drop_nulls("value")
            found = _stretches(
                series.rows(), floors.get(dimension), history=history, deviation=deviation, smallest_drop=smallest_drop
            )
            rows += [{"table_name": table_name, "dimension": dimension, **stretch} for stretch in found]
    return pl.DataFrame(rows, schema=dict(Alerts.create_empty().schema))


def _suspects(metrics: pl.DataFrame, floors: Mapping[Dimension, float], smallest_drop: float) -> set[tuple[str, str]]:
    """Tables and dimensions of which a value can be bad: all others stay above their floor and within
    ``smallest_drop`` of their highest value, whatever came when. They are most, and are not gone through one by one.
    """
    found = set[tuple[str, str]]()
    for dimension in DIMENSIONS:
        value, floor = pl.col(f"{dimension}_score"), floors.get(dimension)
        told = metrics.group_by("table_name").agg(least=value.min(), most=value.max()).drop_nulls("least")
        below = pl.lit(False) if floor is None else pl.col("least") < floor
        bad = told.filter(below | (pl.col("least") < pl.col("most") - smallest_drop))
        found |= {(table, dimension) for table in bad["table_name"]}
    return found


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _median_deviation(ordered: Sequence[float], centre: float) -> float:
    """The median distance of ordered values to ``centre``, found among those below and those above it without a look
    at all of them."""
    count, border = len(ordered), bisect_left(ordered, centre)

    def distance(place: int) -> float:
        """The distance that has ``place`` smaller ones; of those below the nearest ``low`` are among them."""
        low, high = max(0, place + 1 - (count - border)), min(place + 1, border)
        while low < high:
            half = (low + high) // 2
            if centre - ordered[border - 1 - half] < ordered[border + place - half] - centre:
                low = half + 1
            else:
                high = half
        below = centre - ordered[border - low] if low else 0.0
        above = ordered[border + place - low] - centre if low <= place else 0.0
        return max(below, above)

    middle = count // 2
    return distance(middle) if count % 2 else (distance(middle - 1) + distance(middle)) / 2


def _stretches(
    series: Iterable[tuple[int, datetime, float]],
    floor: float | None,
    *,
    history: int,
    deviation: float,
    smallest_drop: float,
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    good: list[float] = []  # in order of value
    for version, moment, value in series:
        usual = _median(good) if good and len(good) >= history else None
        limit, reason = floor, "floor"
        if usual is not None and (floor is None or value >= floor):
            spread = _median_deviation(good, usual)
            limit, reason = usual - max(smallest_drop, deviation * MAD_TO_DEVIATION * spread), "deviation"
        stands = bool(found) and found[-1]["cleared_at"] is None
        if limit is not None and value < limit:
            if stands:
                found[-1] |= {"value": value, "limit": limit}
            else:
                opened = {"opened_version": version, "opened_at": moment, "cleared_at": None}
                found.append({**opened, "reason": reason, "value": value, "limit": limit})
            continue
        insort(good, value)
        if stands:
            found[-1]["cleared_at"] = moment
    return found
