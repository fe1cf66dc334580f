"""Versions and statements that are dated ahead of their delivery, put in their place (see ``quality.ahead``)."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from customer360.platform import tables
from customer360.platform.run.delivery import DELIVERY, INPUT, ranked
from customer360.platform.tables import LANDED, Table, is_ahead


def redated(table: type[Table], rows: pl.DataFrame, margin: timedelta) -> tuple[pl.DataFrame, dict[str, int]]:
    """The rows, in their order, with versions and statements that are ahead put in their place; how many were, in all
    and by column.
    """
    declared, facts = tables.spec(table), {}
    for column in declared.stated:
        if count := int(rows.select(is_ahead(column, margin).sum()).item()):
            landed = pl.col(LANDED).cast(rows.schema[column])
            rows = rows.with_columns(pl.when(is_ahead(column, margin)).then(landed).otherwise(column).alias(column))
            facts[f"redated|{column}"] = count
    version = declared.version
    if version is None or version in declared.past or not rows.schema[version].is_temporal():
        pass
    elif count := int(rows.select(is_ahead(version, margin).sum()).item()):
        rows = _as_new_as_before(table, rows, version, margin)
        facts[f"redated|{version}"] = count
    return rows, {"redated": sum(facts.values()), **facts} if facts else {}


def _as_new_as_before(table: type[Table], rows: pl.DataFrame, version: str, margin: timedelta) -> pl.DataFrame:
    key = ["_source", "_source_system", *tables.spec(table).key]
    known = pl.when(~is_ahead(version, margin)).then(version)
    newest = known.cum_max().forward_fill().over(key)
    ordered = ranked(rows.with_row_index(tables.ROW)).sort(DELIVERY)
    placed = ordered.with_columns(pl.when(is_ahead(version, margin)).then(newest).otherwise(version).alias(version))
    return placed.sort(tables.ROW).drop(tables.ROW, INPUT)
