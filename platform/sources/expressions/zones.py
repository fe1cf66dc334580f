"""AT TIME ZONE over the texts of a file: a time of that place, or what its clocks show.

A text says which it is. One without an offset is a time of the zone; one with an offset is an instant, whatever the
zone. Where an instant is wanted, both give one; elsewhere (a date, a part of a time) both give what the zone's clocks
show. So the rows of a column may be written either way, and none of them is moved the wrong way.
"""

from __future__ import annotations

import polars as pl

from customer360.platform import tables
from customer360.platform.sources import values
from customer360.platform.sources.expressions import sql
from customer360.platform.sources.expressions.sql import Tree
from customer360.platform.sources.values import Reading, Said

TIME = tables.Timestamp(nullable=True)
ELSEWHERE = "Etc/GMT+12"  # any zone that is never UTC: a text without an offset means another instant there


def is_placed(tree: Tree) -> bool:
    """Whether a tree is ``… AT TIME ZONE …``, or its other name, a call of ``timezone``."""
    return str(tree.get("function_name", "")).lower() == "timezone" and len(tree["arguments"]) == 2


def placed(zone: Tree, local: str, instant: str, *, as_instant: bool) -> Tree:
    """A tree of the instants, or of what the zone's clocks show, over the columns that `told` makes."""
    where = sql.written(zone)
    here, fixed = f"CAST({local} AS TIMESTAMP)", f"CAST({instant} AS TIMESTAMPTZ)"
    moved = (f"timezone({where}, {here})", fixed) if as_instant else (here, f"timezone({where}, {fixed})")
    return sql.parsed(f"COALESCE({', '.join(moved)})")


def told(text: pl.Series, label: str, reading: Reading, said: Said) -> pl.DataFrame:
    """``local``: the times that name no offset, ``instant``: those that do, in UTC, each as text and null in the rows
    of the other. What is no time stands in ``local`` so that it fails where it is needed."""
    known = values.known(text.cast(pl.String), TIME, reading)

    def read(zone: str | None, said: Said) -> pl.Series:
        return values.read(known, label, TIME, reading.model_copy(update={"timezone": zone}), said)

    at = read(None, said)
    is_fixed = at.eq_missing(read(ELSEWHERE, Said()))
    as_text = at.dt.strftime("%Y-%m-%d %H:%M:%S%.6f")
    spoiled = pl.concat_str(pl.lit(sql.UNREADABLE), known)
    bad = at.is_null() & known.is_not_null()
    return pl.select(
        local=pl.when(bad).then(spoiled).when(~is_fixed).then(as_text),
        instant=pl.when(is_fixed & at.is_not_null()).then(as_text + "+00"),
    )
