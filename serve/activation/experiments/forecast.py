"""How long an experiment would take: its metrics and its traffic as they were in the last complete window."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from customer360.platform import graph
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import scan_current
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.activation.experiments import outcomes, planning, register
from customer360.serve.activation.experiments.analysis import VIEW, explained
from customer360.serve.activation.experiments.assignment import Started
from customer360.serve.activation.experiments.effects import Outcomes
from customer360.serve.activation.experiments.planning import Baseline

DAYS = "silver.subject_days"
ARRIVALS_DAYS = 28  # over which subjects arrive for the forecast


@dataclass(frozen=True)
class Plan:
    """Of one metric: its baseline, the subjects that the asked-for effect needs over control and one arm, the days
    until they are exposed and their windows have passed (infinite: never), and the effect that four weeks would show,
    as a share of the mean."""

    metric: str
    baseline: Baseline
    subjects: float
    days: float
    detectable: float


def plan(settings: Settings, name: str, effect: float, as_of: date | None = None) -> list[Plan]:
    """What it takes to see a relative ``effect`` on each metric, at the level and power of the definition.

    Raises:
        ConfigError: the file defines no such experiment.
        NotPossible: the lake knows too few subjects to forecast from, or it is a bandit or a mixed list.
    """
    lake, known = lake_of(settings), register.rules(settings)
    definition = register.defined(settings, name)
    if definition.kind != "ab":
        raise register.NotPossible(f"experiment {name} is a {definition.kind}: only fixed shares (ab) are planned")
    day = as_of or graph.default_as_of(lake, settings.zones)
    of = Started(name, definition, known.metrics, known.holdout, datetime(1970, 1, 1, tzinfo=UTC))
    rows = _arrivals(lake, of, day)
    if rows.height < definition.minimum:
        raise register.NotPossible(
            f"{rows.height:,} subjects were active in the {ARRIVALS_DAYS} days whose windows have passed on {day}, "
            f"{definition.minimum:,} are needed to forecast {name} from"
        )
    taking = definition.share * (definition.slots[1] - definition.slots[0]) * (1 - known.holdout.share)
    return [_plan(lake, of, metric, rows, effect, taking) for metric in definition.metrics]


def _arrivals(lake: Lake, of: Started, as_of: date) -> pl.DataFrame:
    """Subjects by their first active day, as if they were exposed that morning."""
    end = as_of - timedelta(days=of.definition.window_days)
    days = lake.scan(DAYS).filter(pl.col("on") >= end - timedelta(days=ARRIVALS_DAYS), pl.col("on") < end)
    kind = pl.col("person_id").is_not_null() if of.definition.unit == "person" else pl.lit(True)
    first = days.filter(kind).group_by("subject_id").agg(pl.col("on").min(), pl.col("person_id").first()).collect()
    exposed_at = pl.col("on").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    arm = pl.lit(of.definition.control)
    first = _qualified(lake, of, outcomes.allowed(lake, first, (of.definition.purpose,)))
    never = pl.lit(None, pl.Datetime("us", "UTC"))
    return first.sort("subject_id").select("subject_id", "person_id", arm=arm, exposed_at=exposed_at, next_at=never)


def _qualified(lake: Lake, of: Started, first: pl.DataFrame) -> pl.DataFrame:
    """Those whom `where` lets in, by what is known of them now. Raises NotPossible where the lake does not know it."""
    where = of.definition.where
    if not where:
        return first
    if of.definition.unit == "visitor":
        raise register.NotPossible(
            f"experiment {of.name} asks what only a caller knows of a visitor ({', '.join(where)}): plan it without "
            "where, and divide subjects a day by the share who qualify"
        )
    asked = pl.all_horizontal(pl.col(name).is_in(values) for name, values in where.items())
    known = scan_current(lake, VIEW).filter(asked).select("person_id").collect()
    return first.join(known, on="person_id", how="semi")


def _plan(lake: Lake, of: Started, name: str, rows: pl.DataFrame, effect: float, taking: float) -> Plan:
    values = outcomes.by_arm(lake, of, of.metrics[name], rows)[of.definition.control]
    asked = of.definition
    test = planning.Test(asked.alpha, asked.power, asked.sequential)
    baseline = _baseline(values, rows.height * taking / ARRIVALS_DAYS)
    control = asked.arms[asked.control]
    other = min(share for arm, share in asked.arms.items() if arm != asked.control)
    parts = (control / (control + other), other / (control + other))
    wanted = effect * abs(baseline.mean)
    subjects = planning.subjects_for(wanted, baseline.variance, test, parts)
    daily = baseline.subjects_a_day * (control + other)
    four_weeks = [daily * 28 * part for part in parts]
    seen = planning.detectable(baseline.variance, test, *four_weeks) if baseline.variance else 0.0
    share = seen / abs(baseline.mean) if baseline.mean else math.inf
    return Plan(name, baseline, subjects, subjects / daily + asked.window_days, share)


def _baseline(values: Outcomes, subjects_a_day: float) -> Baseline:
    """Of all subjects at once; halves stand in for the arms where the covariate's coefficient is asked for."""
    even = np.arange(values.count) % 2 == 0
    halves = [_part(values, mine) for mine in (even, ~even)]
    took = explained(*halves)
    variance = values.variance_of(values.spread()) * (1 - took)
    return Baseline(values.mean, variance, took, subjects_a_day, values.count)


def _part(values: Outcomes, mine: np.ndarray) -> Outcomes:
    before = None if values.before is None else values.before[mine]
    per = None if values.per is None else values.per[mine]
    return replace(values, values=values.values[mine], per=per, before=before)
