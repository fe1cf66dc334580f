"""Cohorts: of the customers who first bought in a month, how many buy again, and what they have brought by then."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.money import UNSTATED
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, String, Table, Total

COUNTED = ("order_count", "unconverted_order_count", "gross_amount", "return_amount", "net_amount")


class Cohorts(Table, table="gold.cohorts", sort_by=("cohort_month", "age_months")):
    """One row per month of first purchase and age in months that is over: who of the cohort bought, and for how much.

    Customers are known persons; guests have no second purchase that could be seen. Ages that had not ended at as_of
    have no row. A row without a buyer is one: the month passed, and nobody bought.
    """

    cohort_month = Date(primary_key=True, description="First day of the calendar month of the first purchase")
    age_months = Integer(primary_key=True, min=0, description="Calendar months since; 0: the month itself")
    month = Date(description="First day of the calendar month that the row tells of")
    customer_count = Integer(min=1, description="Customers of the cohort, whenever they bought again")
    active_count = Integer(description="Of these, who bought in the month")
    retained_rate = Float(min=0, max=1, description="active_count / customer_count")
    currency = String(description=f"The reporting currency, of all amounts; {UNSTATED}: nothing names one")
    order_count = Integer(description="Completed purchases of the cohort in the month")
    unconverted_order_count = Integer(description="Orders whose currency has no rate: in order_count, in no amount")
    gross_amount = Total(description="Amounts are of the month that the money moved in")
    return_amount = Total(description="Given back in the month, whenever it was bought")
    net_amount = Total(description="Sold less given back in the month, exchanges at their difference")
    cumulative_net_amount = Total(description="net_amount of this age and all before")
    cumulative_net_per_customer = Float(description="cumulative_net_amount / customer_count")
    is_history_short = Boolean(
        description="The first sale of the data lies fewer than reactivated_after_days before the cohort's month:"
        " some of its customers may have bought before the data begin"
    )


@builds(Cohorts, rules="enrichment", reads={"silver.subject_days": ("person_id", "on", *COUNTED)})
def cohorts(
    silver_subject_days: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    as_of: date,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Calendar months that ended before ``as_of`` or with the day before it."""
    this_month = pl.lit(as_of.replace(day=1))
    past = silver_subject_days.filter(pl.col("on") < this_month)
    is_order = pl.col("order_count") > 0
    months = (
        past.filter(pl.col("person_id").is_not_null())
        .group_by("person_id", month=pl.col("on").dt.truncate("1mo"))
        .agg(pl.col(COUNTED).sum())
        .with_columns(cohort_month=pl.col("month").filter(is_order).min().over("person_id"))
        .filter(pl.col("month") >= pl.col("cohort_month"))  # money given back before any purchase is of no cohort
    )
    active = months.group_by("cohort_month", "month").agg(pl.col(COUNTED).sum(), active_count=is_order.sum())
    sizes = months.group_by("cohort_month").agg(customer_count=pl.col("person_id").n_unique())
    ages = sizes.with_columns(month=pl.date_ranges("cohort_month", this_month, "1mo", closed="left")).explode("month")
    customers = pl.col("customer_count")
    net = pl.col("cumulative_net_amount")
    return (
        ages.join(active, on=["cohort_month", "month"], how="left")
        .with_columns(pl.col("active_count", *COUNTED).fill_null(0))
        .sort("cohort_month", "month")
        .with_columns(
            age_months=pl.int_range(pl.len(), dtype=pl.Int64).over("cohort_month"),
            cumulative_net_amount=pl.col("net_amount").cum_sum().over("cohort_month"),
            retained_rate=pl.col("active_count") / customers,
        )
        .with_columns(cumulative_net_per_customer=net.cast(pl.Float64) / customers)
        .join(_currency(silver_reporting_currency), how="cross")
        .join(past.filter(is_order).select(since=pl.col("on").min()), how="cross")
        .with_columns(
            is_history_short=(pl.col("cohort_month") - pl.col("since")).dt.total_days() < params.reactivated_after_days
        )
        .select(list(Cohorts.columns()))
    )


def _currency(reporting: pl.LazyFrame) -> pl.LazyFrame:
    return pl.concat([reporting.select("currency"), pl.LazyFrame({"currency": [UNSTATED]})]).head(1)
