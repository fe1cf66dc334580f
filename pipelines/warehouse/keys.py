"""Keys that the three schemas share, so that their facts meet in the same dimensions."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.vocabulary import EARLIEST_DATE, LATEST_DATE
from customer360.platform.stars import UNKNOWN, UNKNOWN_NUMBER


def customer_key() -> pl.Expr:
    """The person; the unknown member for guests and visitors whom nobody knows."""
    return pl.col("person_id").fill_null(UNKNOWN)


def product_key() -> pl.Expr:
    return pl.col("product_id").fill_null(UNKNOWN)


def date_key(day: str) -> pl.Expr:
    """A day as the number yyyymmdd; the unknown member outside the calendar of dim_dates."""
    on = pl.col(day).cast(pl.Date)
    number = on.dt.year().cast(pl.Int64) * 10_000 + on.dt.month().cast(pl.Int64) * 100 + on.dt.day().cast(pl.Int64)
    return pl.when(on.is_between(EARLIEST_DATE, LATEST_DATE)).then(number).otherwise(UNKNOWN_NUMBER)


def time_key(instant: str) -> pl.Expr:
    """The hour of the day, UTC."""
    return pl.col(instant).dt.hour().cast(pl.Int64).fill_null(UNKNOWN_NUMBER)


def session_key() -> pl.Expr:
    """A tracker's session id may name visits of two subjects, where a device changed hands."""
    return pl.concat_str("session_id", pl.lit("@"), "subject_id")


def record_key(*identifier: str) -> pl.Expr:
    return pl.concat_str("source_system", *identifier, separator="/")
