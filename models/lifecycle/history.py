"""How much history a model needs: from the first purchase in the data to the date that it is trained as of.

A model that learns from outcomes needs, before its newest training cut, its ``min_history_days``, after it a window of
``horizon_days`` whose outcome is known, and another such window to be judged on. One that learns from the past as a
whole needs something before the window that judges it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from customer360.models.base import Model, NotEnough, Params
from customer360.models.lifecycle.job import ModelJob, horizon_of
from customer360.platform.lake import Lake

PURCHASES = {
    "silver.subject_days": pl.col("order_count") > 0,
    "gold.interactions": pl.col("kind") == "purchase",
}

SHOWN = "silver.impressions"  # of a model that learns from lists: what counts is when the first was shown


@dataclass(frozen=True)
class History:
    """Days of purchases (or of what else it learns from) that a model needs, and those that there are as of a date;
    None without any."""

    model: str
    needed: int
    known: int | None
    of: str = "purchase"

    @property
    def suffices(self) -> bool:
        return self.known is not None and self.known >= self.needed

    @property
    def text(self) -> str:
        """In a line, as training says it before it starts."""
        there = f"there is no {self.of}" if self.known is None else f"there are {self.known}"
        return f"{self.model} needs {self.needed} days from the first {self.of} on: {there}"


def days_needed(model: Model[Params, object], params: Params) -> int:  # type: ignore[type-var]
    """Days from the first purchase (or impression) to ``as_of`` without which a model cannot be trained and judged."""
    horizon = horizon_of(params)
    if not model.training_cuts:
        return horizon + 1
    step = int(getattr(params, "cut_step_days", horizon))
    return int(getattr(params, "min_history_days", 0)) + horizon + step * (model.training_cuts - 1) + horizon


def history(job: ModelJob) -> History:
    """What a model needs and has as of the date of its job.

    Raises:
        TableMissing: a table that the model reads was not built.
    """
    first = first_on(job)
    known = None if first is None else (job.cut - first).days
    of = "impression" if SHOWN in job.model.tables else "purchase"
    return History(job.model.name, days_needed(job.model, job.params), known, of)


def require_lists(job: ModelJob) -> None:
    """Raises NotEnough: the model learns from lists, and nobody logs them, or not for long enough."""
    if SHOWN in job.model.tables and not (told := history(job)).suffices:
        raise NotEnough(told.text)


def first_on(job: ModelJob) -> date | None:
    """The first day of what the model learns from; None where there is none, or it reads nothing of the kind."""
    if SHOWN in job.model.tables:
        return _first(job.lake, SHOWN, pl.lit(True)) if job.lake.exists(SHOWN) else None
    read = [table for table in job.model.tables if table in PURCHASES]
    found = [day for table in read if (day := _first(job.lake, table, PURCHASES[table]))]
    return min(found) if found else None


def _first(lake: Lake, table: str, counts: pl.Expr) -> date | None:
    found = lake.scan(table).filter(counts).select(pl.col("on").min()).collect().item()
    return found if isinstance(found, date) else None
