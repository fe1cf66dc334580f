"""Cohorts: DuckDB counts the same, later days change nothing, and a planted retention is found."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import duckdb
import polars as pl
import pytest

from customer360.pipelines.gold.cohorts import cohorts
from customer360.pipelines.rules import EnrichmentRules

RULES = EnrichmentRules()
REPORTING = pl.LazyFrame({"currency": ["EUR"]})

INDEPENDENT = """
WITH firsts AS (
  SELECT person_id, date_trunc('month', min("on"))::DATE AS cohort FROM days
  WHERE person_id IS NOT NULL AND order_count > 0 GROUP BY ALL HAVING min("on") < $end),
facts AS (
  SELECT cohort, date_trunc('month', "on")::DATE AS month, person_id, order_count, net_amount
  FROM days JOIN firsts USING (person_id) WHERE "on" < $end AND "on" >= cohort)
SELECT cohort AS cohort_month, datediff('month', cohort, month) AS age_months,
       (SELECT count(*) FROM firsts f WHERE f.cohort = facts.cohort) AS customer_count,
       count(DISTINCT person_id) FILTER (order_count > 0) AS active_count, sum(order_count)::BIGINT AS order_count,
       sum(net_amount) AS net_amount,
       sum(sum(net_amount)) OVER (PARTITION BY cohort ORDER BY month) AS cumulative_net_amount
FROM facts GROUP BY cohort, month ORDER BY ALL
"""


def test_duckdb_counts_the_same(retailer) -> None:  # type: ignore[no-untyped-def]
    days = retailer.frame("silver.subject_days")
    ours = cohorts(days, retailer.frame("silver.reporting_currency"), retailer.as_of, RULES).collect()
    end = retailer.as_of.replace(day=1)
    with duckdb.connect() as base:
        base.register("days", days.collect().to_arrow())
        theirs = base.sql(INDEPENDENT, params={"end": end}).pl()
    silent = ours.join(theirs, on=["cohort_month", "age_months"], how="anti")
    assert silent.filter((pl.col("active_count") > 0) | (pl.col("net_amount") != 0)).is_empty()
    told = ours.join(theirs, on=["cohort_month", "age_months"], how="semi").sort("cohort_month", "age_months")
    assert told.height == theirs.height > 50
    for column in theirs.columns:
        assert told[column].to_list() == theirs[column].to_list(), column
    for (cohort,), ages in ours.group_by("cohort_month"):
        months = (end.year - cohort.year) * 12 + end.month - cohort.month
        assert ages["age_months"].sort().to_list() == list(range(months)), "every month that is over, and no other"
    assert set(ours["currency"]) == set(retailer.frame("silver.reporting_currency").collect()["currency"])


def days(people: int, monthly: list[float]) -> pl.LazyFrame:
    """People who first buy on the first of January or February; of them ``monthly`` shares buy again by age."""
    rows = []
    for person in range(people):
        first = date(2026, 1 + person % 2, 1)
        for age, share in enumerate(monthly):
            if person // 2 < share * people / 2:
                rows.append((f"P{person}", date(2026, first.month + age, 1) + timedelta(days=person % 20)))
    known = pl.DataFrame(rows, schema=["person_id", "on"], orient="row")
    amount = {c: pl.lit(Decimal("10.00")) for c in ("gross_amount", "net_amount")}
    return known.with_columns(
        **amount, return_amount=pl.lit(Decimal("0.00")), order_count=1, unconverted_order_count=0
    ).lazy()


def test_a_planted_retention_is_found() -> None:
    shares = [1.0, 0.5, 0.3, 0.3, 0.1]
    found = cohorts(days(200, shares), REPORTING, date(2026, 8, 1), RULES).collect()
    for month in (1, 2):
        own = found.filter(pl.col("cohort_month") == date(2026, month, 1)).sort("age_months")
        planted = [*shares, 0.0, 0.0][: 8 - month]
        assert own["retained_rate"].to_list() == pytest.approx(planted)
        running = [10 * sum(planted[: n + 1]) for n in range(len(planted))]
        assert own["cumulative_net_per_customer"].to_list() == pytest.approx(running)


def test_what_comes_later_changes_no_row() -> None:
    log, at = days(40, [1.0, 0.5, 0.25]), date(2026, 3, 20)
    told = cohorts(log, REPORTING, at, RULES).sort("cohort_month", "age_months").collect()
    assert told["month"].max() == date(2026, 2, 1)
    assert told.equals(
        cohorts(log.filter(pl.col("on") < at), REPORTING, at, RULES).sort("cohort_month", "age_months").collect()
    )
    later = cohorts(log, REPORTING, date(2026, 8, 1), RULES).collect()
    assert told.join(later, on=told.columns, how="anti", nulls_equal=True).is_empty()


def test_nobody_bought_yet() -> None:
    log = days(4, [1.0])
    assert cohorts(log, REPORTING, date(2026, 1, 31), RULES).collect().is_empty()
    assert cohorts(log.filter(pl.col("order_count") == 0), REPORTING, date(2026, 8, 1), RULES).collect().is_empty()
