"""Versions that are dated ahead of their delivery, put in their place (see ``quality.ahead``)."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from customer360.platform import tables
from customer360.platform.delivery import DELIVERY, INPUT, ranked
from customer360.platform.tables import Table, is_ahead


def redated(table: type[Table], rows: pl.DataFrame, margin: timedelta) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows, in their order, with versions that are ahead in their place; how many were, in all and by column."""
    version = tables.spec(table).version
    if version is None or version in tables.spec(table).past or not rows.schema[version].is_temporal():
        return rows, {}
    if not (count := int(rows.select(is_ahead(version, margin).sum()).item())):
        return rows, {}
    return _as_new_as_before(table, rows, version, margin), {"redated": count, f"redated|{version}": count}


def _as_new_as_before(table: type[Table], rows: pl.DataFrame, version: str, margin: timedelta) -> pl.DataFrame:
    key = ["_source", "_source_system", *tables.spec(table).key]
    known = pl.when(~is_ahead(version, margin)).then(version)
    newest = known.cum_max().forward_fill().over(key)
    ordered = ranked(rows.with_row_index(tables.ROW)).sort(DELIVERY)
    placed = ordered.with_columns(pl.when(is_ahead(version, margin)).then(newest).otherwise(version).alias(version))
    return placed.sort(tables.ROW).drop(tables.ROW, INPUT)
