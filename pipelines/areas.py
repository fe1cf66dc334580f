"""Areas that are large enough to be spoken of: k-anonymity of tables about where customers live.

An area with fewer than k people is folded into the larger one around it: a postal code into the rest of its H3 cell
of resolution 6, that into the rest of its cell of resolution 4, that into the rest of the whole. What is left there
with fewer than k people takes the smallest other row with it, so that no difference of rows gives it away (Sweeney,
k-anonymity, 2002; suppression as in Samarati's, 2001). A whole of fewer than k people has no row.
"""

from __future__ import annotations

import polars as pl

LEVELS = {"POSTAL_CODE": "area_id", "CELL": "cell", "COARSE_CELL": "coarse_cell"}
REST = "REST"
PLACE, LEVEL = "place", "level"


def folded(rows: pl.LazyFrame, by: list[str], people: str, least: int) -> pl.LazyFrame:
    """Rows (one an area and value of ``by``: area_id, cell, coarse_cell, each null where unknown, and ``people``, who
    is in no other row of the same ``by``) with ``level`` and ``place``: where they may be shown. Rows of a ``by`` with
    fewer than ``least`` people in all are left out.
    """
    one, whole = pl.lit(0), [*by, "one__"]
    told = rows.with_columns(one__=one, level=pl.lit(None, pl.String), place=pl.lit(None, pl.String))
    for level, column in LEVELS.items():
        free = pl.col(LEVEL).is_null() & pl.col(column).is_not_null()
        held = pl.col(people).filter(free).sum().over([*whole, column])
        large = free & (held >= least)
        told = told.with_columns(
            level=pl.when(large).then(pl.lit(level)).otherwise(LEVEL),
            place=pl.when(large).then(column).otherwise(PLACE),
        )
    told = told.with_columns(pl.col(LEVEL).fill_null(REST), pl.col(PLACE).fill_null(REST))
    sizes = told.group_by([*whole, LEVEL, PLACE]).agg(size__=pl.col(people).sum())
    ranked = sizes.sort("size__", LEVEL, PLACE).with_columns(
        rest__=pl.col("size__").filter(pl.col(LEVEL) == REST).sum().over(whole),
        rank__=pl.when(pl.col(LEVEL) != REST).then((pl.col(LEVEL) != REST).cum_sum().over(whole)),
        total__=pl.col("size__").sum().over(whole),
    )
    gives_way = (pl.col("rank__") == 1) & (pl.col("rest__") > 0) & (pl.col("rest__") < least)
    kept = ranked.filter(pl.col("total__") >= least).select(*by, LEVEL, PLACE, gone__=gives_way.fill_null(False))
    whom = [*by, LEVEL, PLACE]
    return told.join(kept, on=whom).with_columns(
        pl.when("gone__").then(pl.lit(REST)).otherwise(c).alias(c) for c in (LEVEL, PLACE)
    ).drop("gone__", "one__")  # fmt: skip
