"""Ahead of its delivery: a time that a row names and that had not come when the row landed.

A clock that runs ahead must move nothing: no date of a run, no version, no consent. What counts as landing is when the
row's batch was made, which its manifest holds: the same whenever the row is judged. A margin is left for files whose
times are in a zone that nobody named, and for clocks that are a little off. Two kinds of columns are declared:

- ``past``: when something happened. Ahead, it breaks the rule ``happened_before_it_landed``: the row is in quarantine
  where the column is required, the value is null where it is optional.
- ``version``: orders the versions of a key. Ahead, it says nothing: the row counts as new as what its source had
  delivered of the key until then, so that it follows that, and whatever comes later follows it. It has no date where
  nothing came before.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import polars as pl

from customer360.platform import judging, tables
from customer360.platform.quality.checks import AHEAD_HOURS
from customer360.platform.tables import Table, is_ahead

RULE = "happened_before_it_landed"
MARGIN = timedelta(hours=AHEAD_HOURS)


def margin_of(rules: dict[str, Any]) -> timedelta:
    """How far a time may lie after the landing of its row: ``ahead_hours`` of the rule file ``validation``."""
    validation = rules.get("validation")
    return timedelta(hours=validation.ahead_hours) if validation else MARGIN


def refused_ahead(
    table: type[Table], rows: pl.DataFrame, margin: timedelta, refuse: Collection[str] = ()
) -> dict[str, int]:
    """``ahead``: how many bronze rows are refused for a time ahead of their landing alone; empty where none is.
    ``refuse`` as `judging.judge` has it."""
    failures = ahead(table, rows, margin)
    if failures.is_empty():
        return {}
    before, after = (judging.judge(table, rows, also, refuse).valid.height for also in (None, failures))
    count = before - after
    return {"ahead": count} if count else {}


def ahead(table: type[Table], rows: pl.DataFrame, margin: timedelta) -> pl.DataFrame:
    """Broken rules of the ``past`` columns, as ``judging.judge`` takes them: `FAILURES` of the rows by their number."""
    numbered = rows.with_row_index(tables.ROW)
    found = [
        numbered.filter(is_ahead(column, margin)).select(
            tables.ROW, rule=pl.lit(RULE), column=pl.lit(column), value=pl.lit(None, pl.String)
        )
        for column in tables.spec(table).past
    ]
    return pl.concat([pl.DataFrame(schema=judging.FAILURES), *found])
