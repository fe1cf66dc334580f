"""Features of every person at a date, as a table: what models read."""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.pipelines.features import MEANINGS, features, unconverted_of_year
from customer360.platform.graph import builds
from customer360.platform.tables import Date, Float, Integer, String, Table


class CustomerFeatures(
    Table,
    table="gold.customer_features",
    per="person_id",
    partition_by=("as_of",),
    sort_by=("person_id",),
    serves="PROFILING",
):
    """One row per person and as_of date: what models read, from days strictly before as_of.

    Amounts are in the reporting currency, without what is unconverted.
    """

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    vars().update({name: Float(nullable=True, description=said) for name, said in MEANINGS.items()})
    unconverted_order_count_365d = Integer(nullable=True, description="Orders of a year that are in no amount")


@builds(CustomerFeatures)
def customer_features(silver_subject_days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """Point-in-time features of every person seen before ``as_of``."""
    unknown = unconverted_of_year(silver_subject_days, as_of)
    found = features(silver_subject_days, as_of).join(unknown, on="person_id", how="left", maintain_order="left")
    return found.with_columns(pl.col("unconverted_order_count_365d").fill_null(0), as_of=pl.lit(as_of))
