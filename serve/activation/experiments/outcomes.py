"""Who was exposed to what, and what came of it, from the lake: facts of each subject from its own exposure on.

A subject is the person if known, else the visitor, so that facts of a person count whatever the device. Left out, and
counted, is who met two arms, who refuses the purpose of the experiment now, and whose window has not passed yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from customer360.pipelines.denied import denied
from customer360.pipelines.experiments import Metric
from customer360.platform import tables
from customer360.platform.conditions import condition
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.serve.activation.experiments.assignment import Started
from customer360.serve.activation.experiments.effects import Outcomes

EXPOSURES = "silver.exposures"
UNIT = ["subject_id", "edition"]  # of a bandit each edition is a choice of its own


@dataclass(frozen=True)
class Exposed:
    """Subjects with whole windows (``rows``: subject_id, person_id, edition, arm, exposed_at, propensity, next_at), and
    how many are not among them, and why. Of a bandit a row is a choice, and a subject has one of each edition that it
    met; ``next_at`` is when the next one was met, which earns what comes from then on."""

    rows: pl.DataFrame
    strangers: int  # exposures to an arm that the definition does not have
    mixed: int  # subjects who met two arms
    refused: int
    still_open: int

    def counts(self, arms: list[str]) -> list[int]:
        """Subjects by arm."""
        found = dict(self.rows.group_by("arm").len().iter_rows())
        return [int(found.get(arm, 0)) for arm in arms]


def until(as_of: date) -> datetime:
    """The moment before which the data are complete."""
    return datetime.combine(as_of, time(), ZoneInfo("UTC"))


def exposed(lake: Lake, of: Started, as_of: date) -> Exposed:
    """First exposures of an experiment before ``as_of``; of a bandit those of each edition."""
    rows = _log(lake, of, as_of).filter(pl.col("product_id").is_null())
    arms = pl.col("arm").is_in(list(of.definition.arms))
    met = rows.filter(arms).sort("exposed_at", "exposure_id")
    first = met.group_by(UNIT, maintain_order=True).agg(
        pl.col("person_id", "arm", "exposed_at", "propensity").first(), arms=pl.col("arm").n_unique()
    )
    first = first.with_columns(next_at=pl.col("exposed_at").shift(-1).over("subject_id", order_by="exposed_at"))
    pure = first.filter(pl.col("arms") == 1).drop("arms")
    kept = allowed(lake, pure, (of.definition.purpose,))
    whole = kept.filter(pl.col("exposed_at") + timedelta(days=of.definition.window_days) <= until(as_of))
    return Exposed(
        rows=whole,
        strangers=rows.filter(~arms).height,
        mixed=first.height - pure.height,
        refused=pure.height - kept.height,
        still_open=kept.height - whole.height,
    )


def _log(lake: Lake, of: Started, as_of: date) -> pl.DataFrame:
    if not lake.exists(EXPOSURES):
        return tables.by_name(EXPOSURES).create_empty().with_columns(pl.col("edition").fill_null(0))
    at, last = pl.col("exposed_at"), min(until(as_of), of.stopped_at or until(as_of))
    mine = (pl.col("experiment") == of.name) & (at >= of.started_at) & (at < last)
    edition = pl.col("edition").fill_null(0) if of.definition.kind == "bandit" else pl.lit(0, pl.Int64)
    return lake.scan(EXPOSURES).filter(mine).with_columns(edition=edition).collect()


def allowed(lake: Lake, rows: pl.DataFrame, purposes: tuple[str, ...]) -> pl.DataFrame:
    """Rows of whom nothing of these purposes is denied."""
    no = denied(lake).filter(pl.col("purpose").is_in(purposes)).select("person_id").unique()
    return rows.join(no, on="person_id", how="anti")


def may_teach(lake: Lake, found: Exposed) -> pl.DataFrame:
    """Rows of those who allow that models learn from them."""
    return allowed(lake, found.rows, ("TRAINING",))


def measured(lake: Lake, of: Started, metric: Metric, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with ``value`` and ``before``: of the window from exposure on, which ends where the next choice of the
    subject was met, and of the days before it."""
    day, asked = timedelta(days=1), of.definition
    at, exposed_at = pl.col(metric.at), pl.col("exposed_at")
    met = rows.with_row_index("row__")
    mine = met.lazy().select("row__", "subject_id", "exposed_at", "next_at")
    facts = _facts(lake, metric).join(mine, on="subject_id")
    ends = pl.min_horizontal(exposed_at + asked.window_days * day, "next_at")
    after = facts.filter(at >= exposed_at, at < ends)
    early = facts.filter(at < exposed_at, at >= exposed_at - asked.covariate_days * day)
    for name, part in (("value", after), ("before", early)):
        summed = part.group_by("row__").agg(_summed(metric).alias(name)).collect()
        met = met.join(summed, on="row__", how="left", maintain_order="left").with_columns(pl.col(name).fill_null(0.0))
    return met.drop("row__")


def _facts(lake: Lake, metric: Metric) -> pl.LazyFrame:
    contract = tables.by_name(metric.table)
    if gone := {"subject_id", metric.at, *([metric.value] if metric.value else [])} - {*contract.columns()}:
        raise ConfigError(f"{metric.table} has no column {min(gone)} any more, by which a metric was defined")
    if not lake.exists(metric.table):
        return contract.create_empty().lazy()
    return lake.scan(metric.table).filter(condition(metric.where, contract.columns(), date.min))


def _summed(metric: Metric) -> pl.Expr:
    if metric.measure != "sum" or metric.value is None:
        return pl.lit(1.0) if metric.measure == "any" else pl.len().cast(pl.Float64)
    total = pl.col(metric.value).cast(pl.Float64).sum()
    return total if metric.cap is None else pl.min_horizontal(total, pl.lit(metric.cap))


def by_arm(lake: Lake, of: Started, metric: Metric, rows: pl.DataFrame) -> dict[str, Outcomes]:
    """A metric's values by arm; of a ratio with those that it is per, and without a covariate."""
    found = measured(lake, of, metric, rows)
    per = measured(lake, of, of.metrics[metric.per], rows)["value"] if metric.per is not None else None
    has_before = of.definition.covariate_days > 0 and per is None
    made = {}
    for arm in of.definition.arms:
        mine = (found["arm"] == arm).to_numpy()
        values, before = (found[c].to_numpy().astype(np.float64)[mine] for c in ("value", "before"))
        below = per.to_numpy()[mine] if per is not None else None
        made[arm] = Outcomes(values, below, before if has_before else None, metric.measure == "any")
    return made


def credits_of(lake: Lake, of: Started, metric: Metric, as_of: date) -> tuple[pl.DataFrame, int]:
    """What subjects took of mixed lists: a row a subject with whole window, a column an arm; and how many are open."""
    shown = allowed(lake, _log(lake, of, as_of), (of.definition.purpose,)).filter(pl.col("product_id").is_not_null())
    window = timedelta(days=of.definition.window_days)
    whole = shown.filter(pl.col("exposed_at") + window <= until(as_of))
    met = whole.sort("exposed_at", "exposure_id").group_by("subject_id", "product_id", maintain_order=True)
    first = met.agg(pl.col("exposed_at", "arm").first())
    at = pl.col(metric.at)
    facts = _facts(lake, metric).join(first.lazy(), on=["subject_id", "product_id"])
    taken = facts.filter(at >= pl.col("exposed_at"), at < pl.col("exposed_at") + window)
    credit = taken.group_by("subject_id", "arm").agg(credit=pl.len().cast(pl.Float64)).collect()
    subjects = whole.select("subject_id").unique(maintain_order=True)
    for arm in of.definition.arms:
        mine = credit.filter(pl.col("arm") == arm).select("subject_id", pl.col("credit").alias(arm))
        subjects = subjects.join(mine, on="subject_id", how="left").with_columns(pl.col(arm).fill_null(0.0))
    return subjects, shown["subject_id"].n_unique() - subjects.height
