"""Moments in the time of whom they are about."""

from __future__ import annotations

from functools import lru_cache

import polars as pl

UTC = "UTC"


def local_time(rows: pl.LazyFrame, otherwise: str | None) -> pl.LazyFrame:
    """Adds ``local``, the moment ``at`` (UTC) as clocks of ``zone`` show it (no zone of its own).

    ``zone`` is an IANA name or null; where it is null, or no name that is known, ``otherwise`` counts. Null where
    neither names one: an hour of UTC is nobody's time of day.
    """
    there = pl.struct("at", "zone").map_batches(lambda told: _local(told, otherwise), return_dtype=pl.Datetime("us"))
    return rows.with_columns(local=there)


def _local(told: pl.Series, otherwise: str | None) -> pl.Series:
    rows = told.struct.unnest().with_columns(pl.col("at").cast(pl.Datetime("us")).dt.replace_time_zone(UTC))
    known = {zone: zone if zone and is_zone(zone) else otherwise for zone in rows["zone"].unique()}
    used = pl.Series("used", [known[zone] for zone in rows["zone"]], pl.String)
    parts = rows.select("at", used).with_row_index("row").partition_by("used", as_dict=True)
    local = [part.select("row", local=_shown("at", zone)) for (zone,), part in parts.items()]
    if not local:
        return pl.Series("local", [], pl.Datetime("us"))
    return pl.concat(local).sort("row")["local"]


def _shown(at: str, zone: str | None) -> pl.Expr:
    """What clocks of a zone show at a moment; null of none."""
    if zone is None:
        return pl.lit(None, pl.Datetime("us"))
    return pl.col(at).dt.convert_time_zone(zone).dt.replace_time_zone(None)


@lru_cache(maxsize=1024)
def is_zone(name: str) -> bool:
    """Whether a name is a time zone, as browsers tell them."""
    try:
        pl.select(pl.lit(0).cast(pl.Datetime("us", UTC)).dt.convert_time_zone(name))
    except pl.exceptions.PolarsError:
        return False
    return True
