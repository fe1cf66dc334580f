"""Metrics and alerts from counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.platform import judging
from customer360.platform.errors import ContractError
from customer360.platform.quality.metrics import (
    ALL,
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
