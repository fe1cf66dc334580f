"""The medallion pipelines. Bronze and silver are laid out by domain, gold by question.

Where rows come from decides the file in ``bronze/`` and ``silver/``: ``sales``, ``behavior``, ``customers`` … What is
asked decides the file in ``gold/``: one question often needs several domains, as ``retention``, ``profitability`` or
``affinity`` do. Modules of a layer do not import each other; they meet by the names of tables, and what they share
stands beside the layers: ``vocabulary``, ``subjects``, ``features``, ``rules``.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.platform.errors import LakeError
from customer360.platform.graph import gives_as_of
from customer360.platform.lake import Lake

COMPLETE_SHARE = 0.1  # a day with fewer facts than this share of the median day is no sign that the data go so far


@gives_as_of("silver.subject_days")
def last_complete_day_end(lake: Lake) -> date:
    """The default ``as_of``: the data are complete before this date.

    It is the last day with a usual amount of facts; that day itself may have been cut off by the export and is left
    out. Days with only a few rows (a till with a wrong clock) do not move it.
    """
    days = lake.scan("silver.subject_days").group_by("on").len().sort("on").collect()
    found = days.filter(pl.col("len") >= COMPLETE_SHARE * pl.col("len").median())["on"].max()
    if not isinstance(found, date):
        raise LakeError("silver.subject_days is empty: there is no day to take as the end of the data; give --as-of")
    return found
