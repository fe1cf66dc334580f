"""Metrics and alerts from counts."""

from __future__ import annotations

import random
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.platform import judging
from customer360.platform.errors import ContractError
from customer360.platform.quality.metrics import (
    ALL,
    MAD_TO_DEVIATION,
    DataQualityMetrics,
    Measurement,
    RuleCounts,
    alerts,
    metric_rows,
    rule_rows,
)

T0 = datetime(2024, 5, 1, tzinfo=UTC)
COUNTS = {"total": 10, "valid": 8, "invalid": 2, "duplicates": 1, "nulls": 3,
          "validity|contract|checked": 10, "validity|contract|passed": 8, "accuracy|x|checked": 0, "accuracy|x|passed": 0}  # fmt: skip  # noqa: E501
MEASURED = Measurement("bronze.orders", 4, T0, 1.5, 2, {"POS": COUNTS, ALL: COUNTS})
COLUMNS = ("SOURCE_SYSTEM", "TABLE_NAME", "METRIC_DATE", "TOTAL_RECORDS", "VALID_RECORDS", "INVALID_RECORDS", "DUPLICATE_RECORDS",  # noqa: E501
           "NULL_RECORDS", "QUALITY_SCORE", "PROCESSING_TIME_SECONDS")  # fmt: skip


def stored(rows: list[dict[str, Any]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=dict(DataQualityMetrics.create_empty().schema))
    return judging.require(DataQualityMetrics, frame)


def test_the_metrics_have_every_column_of_the_specification() -> None:
    assert {c.lower() for c in COLUMNS} <= set(DataQualityMetrics.columns())


def test_rows_keep_the_contract_and_carry_the_counts() -> None:
    row = stored(metric_rows(MEASURED, {"validity": 1})).to_dicts()[0]
    assert [row[f"{n}_records"] for n in ("total", "valid", "invalid", "duplicate", "null")] == [10, 8, 2, 1, 3]
    assert (float(row["quality_score"]), row["validity_score"], row["accuracy_score"]) == (80.0, 0.8, None)
    rules = pl.DataFrame(rule_rows(MEASURED), schema=dict(RuleCounts.create_empty().schema))
    assert judging.require(RuleCounts, rules).filter(pl.col("rule") == "contract")["passed_count"].to_list() == [8, 8]


def test_total_is_valid_and_invalid() -> None:
    wrong = Measurement("bronze.orders", 4, T0, 1.5, 2, {"POS": COUNTS | {"invalid": 1}})
    with pytest.raises(ContractError, match="total_is_valid_and_invalid"):
        stored(metric_rows(wrong, {}))


def history(*values: float | None) -> pl.DataFrame:
    rows = []
    for version, value in enumerate(values):
        row = metric_rows(MEASURED, {})[1]
        rows.append(
            row | {"table_version": version, "measured_at": T0 + timedelta(days=version), "validity_score": value}
        )
    return stored(rows)


def test_an_alert_opens_once_and_clears() -> None:
    found = alerts(
        history(0.99, 0.5, 0.4, None, 0.99, 0.99), {"validity": 0.9}, history=5, deviation=5, smallest_drop=0.01
    )
    (row,) = found.to_dicts()
    assert (row["dimension"], row["reason"], row["opened_version"], row["value"]) == ("validity", "floor", 1, 0.4)
    assert row["cleared_at"] == T0 + timedelta(days=4)


def test_a_drop_below_the_own_past_alerts_above_the_floor() -> None:
    past = (0.98, 0.985, 0.98, 0.975, 0.98)
    calm = alerts(history(*past, 0.975), {"validity": 0.5}, history=5, deviation=5, smallest_drop=0.01)
    assert calm.is_empty()
    (row,) = alerts(history(*past, 0.90), {"validity": 0.5}, history=5, deviation=5, smallest_drop=0.01).to_dicts()
    assert (row["reason"], row["value"], row["cleared_at"]) == ("deviation", 0.9, None)
    assert alerts(history(*past[:4], 0.90), {}, history=5, deviation=5, smallest_drop=0.01).is_empty(), (
        "too short a past"
    )


def bad_values(values: list[float], floor: float, drop: float) -> list[float]:
    """The definition, word by word: every value beside all good ones before it."""
    good, bad = list[float](), list[float]()
    for value in values:
        limit = floor
        if value >= floor and len(good) >= 5:
            usual = statistics.median(good)
            limit = usual - max(drop, 3 * MAD_TO_DEVIATION * statistics.median(abs(v - usual) for v in good))
        (bad if value < limit else good).append(value)
    return bad


@pytest.mark.parametrize("seed", range(40))
def test_medians_of_a_growing_past_are_those_of_the_whole_past(seed: int) -> None:
    rng = random.Random(seed)
    steps = rng.choice([(0.98, 0.99, 1.0), (0.5, 1.0), tuple(rng.random() for _ in range(30))])
    values = [rng.choice(steps) for _ in range(rng.randrange(5, 60))]
    found = alerts(history(*values), {"validity": 0.55}, history=5, deviation=3, smallest_drop=0.01)
    told, bad = set(found["value"].to_list()), bad_values(values, 0.55, 0.01)
    assert told <= set(bad) and bool(told) == bool(bad)
    opened = sorted(found["opened_version"].to_list())
    assert [values[version] for version in opened[:1]] == bad[:1]


def test_a_long_past_costs_what_it_is_long() -> None:
    count, rng = 8000, random.Random(7)
    at = [T0 + timedelta(minutes=5 * place) for place in range(count)]
    metrics = history(1.0).select(pl.all().repeat_by(count).explode(empty_as_null=False)).with_columns(
        table_version=pl.int_range(count), measured_at=pl.Series(at),
        validity_score=pl.Series([rng.uniform(0.9, 1.0) for _ in range(count)]),
    )  # fmt: skip
    began = time.process_time()
    alerts(metrics, {"validity": 0.5}, history=5, deviation=3, smallest_drop=0.01)
    assert time.process_time() - began < 0.7  # it took twice as long where each value looked at the whole past
