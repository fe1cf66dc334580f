"""Visits of a person to a store, each once, whatever number of systems noticed it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

KEY = ("person_id", "store_id")
CLOCKS = timedelta(minutes=10)  # by which the clocks of networks and apps differ


def stays(visits: pl.LazyFrame, clocks: timedelta = CLOCKS) -> pl.LazyFrame:
    """One row per stay of a known person in a store: person_id, store_id, entered_at, and the visit_id and
    source_system that noticed it first.

    Rows of silver.store_visits that overlap, or begin within ``clocks`` of each other, are one
    stay; a row without its end is as long as ``clocks``.
    """
    entered = pl.col("entered_at")
    end = pl.max_horizontal("left_at", entered + clocks)
    known = visits.filter(pl.col("person_id").is_not_null()).sort(*KEY, "entered_at", "visit_id", "source_system")
    before = end.cum_max().shift(1).over(KEY)
    return known.filter((entered > before).fill_null(True)).select(*KEY, "entered_at", "visit_id", "source_system")
