"""The report of an experiment: may its figures be believed, and what do they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from customer360.platform import graph
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import editions
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.activation import bandits
from customer360.serve.activation.bandits import LinUcb, Thompson
from customer360.serve.activation.experiments import effects, off_policy, outcomes, register
from customer360.serve.activation.experiments.assignment import Started
from customer360.serve.activation.experiments.effects import Effect, Interval, NoEffect, Outcomes
from customer360.serve.activation.experiments.interleaving import preference
from customer360.serve.activation.experiments.off_policy import Log, Value
from customer360.serve.activation.experiments.outcomes import Exposed

VIEW = "gold.customer_360"


@dataclass(frozen=True)
class Line:
    """A metric of an arm against the control: means, the ``difference`` and the same as a share of the control's mean
    (``effect``) with their bounds, the p-value of the difference corrected for all questions, the share of variance
    that the time before explained, and what follows. ``because``: why there is no effect."""

    metric: str
    arm: str
    control_mean: float
    mean: float
    effect: Interval | None = None
    difference: Interval | None = None
    p_value: float | None = None
    explained: float = 0.0
    verdict: str = ""
    because: str = ""


@dataclass(frozen=True)
class Report:
    """What is known of an experiment before ``as_of``. ``fault``: why there are no figures; then there are none."""

    of: Started
    as_of: date
    counts: dict[str, int]
    mismatch: float
    exposed: Exposed | None = None
    fault: str = ""
    lines: list[Line] = field(default_factory=list)
    guards: list[Line] = field(default_factory=list)
    preference: Interval | None = None  # of a mixed list
    policies: dict[str, dict[str, Value]] = field(default_factory=dict)  # of a bandit, by estimator


def report(settings: Settings, name: str, as_of: date | None = None) -> Report:
    """Figures of an experiment, of the data before ``as_of`` (default: the end of the last complete day).

    Raises:
        NotPossible: it has not started.
        LakeError: the data have no date yet.
    """
    lake = lake_of(settings)
    of = register.started(lake, name)
    day = as_of or graph.default_as_of(lake, settings.zones)
    if of.definition.kind == "interleaving":
        return _of_a_mixed_list(lake, of, day)
    found = outcomes.exposed(lake, of, day)
    arms = list(of.definition.arms)
    counts = dict(zip(arms, found.counts(arms), strict=True))
    if of.definition.kind == "bandit":
        return _of_a_bandit(lake, of, day, found, counts)
    chance = effects.mismatch(list(counts.values()), list(of.definition.arms.values()))
    fault = _fault(of, counts, chance)
    if fault:
        return Report(of, day, counts, chance, found, fault)
    lines = [each for metric in of.definition.metrics for each in _lines(lake, of, metric, found)]
    return Report(of, day, counts, chance, found, lines=judged(of, lines), guards=_guards(lake, of, found))


def _fault(of: Started, counts: Mapping[str, int], chance: float) -> str:
    fewest = min(counts, key=lambda arm: counts[arm])
    if counts[fewest] < of.definition.minimum:
        return (
            f"arm {fewest} has {counts[fewest]:,} subjects whose {of.definition.window_days} days have passed, "
            f"{of.definition.minimum:,} are needed: no figure is told before"
        )
    if chance < effects.MISMATCH:
        said = ", ".join(f"{arm} {count:,}" for arm, count in counts.items())
        return (
            f"the arms do not have the sizes that their shares say ({said}; chance {chance:.1e}): exposures of one arm "
            "are lost or too many, so that no figure can be believed; look for redirects, errors and caches of one arm"
        )
    return ""


def _lines(lake: Lake, of: Started, name: str, found: Exposed) -> list[Line]:
    by_arm = outcomes.by_arm(lake, of, of.metrics[name], found.rows)
    control = by_arm[of.definition.control]
    return [line(of, name, arm, control, treated) for arm, treated in by_arm.items() if arm != of.definition.control]


def line(of: Started, name: str, arm: str, control: Outcomes, treated: Outcomes) -> Line:
    """A metric of an arm against the control, not yet judged. What is told follows from the difference."""
    try:
        effect = effects.effect(control, treated)
    except NoEffect as fault:
        return Line(name, arm, control.mean, treated.mean, because=str(fault))
    told = _interval(of, effect)
    share, took = effects.as_share(effect, told), explained(control, treated)
    return Line(name, arm, control.mean, treated.mean, share, told, explained=took)


def _interval(of: Started, effect: Effect) -> Interval:
    asked = of.definition
    return effects.at_any_look(effect, asked.alpha) if asked.sequential else effects.at_one_look(effect, asked.alpha)


def explained(control: Outcomes, treated: Outcomes) -> float:
    """The share of the variance that the covariate takes away."""
    theta = effects.coefficient(control, treated)
    if not theta or control.before is None or treated.before is None:
        return 0.0
    before = np.concatenate([control.before, treated.before])
    values = np.concatenate([control.values, treated.values])
    return float(theta**2 * before.var() / values.var())


def judged(of: Started, lines: list[Line]) -> list[Line]:
    """The lines with corrected p-values and what follows from these."""
    told = [line for line in lines if line.effect is not None]
    p_values = effects.corrected([line.effect.p_value for line in told if line.effect], of.definition.correction)
    by_line = dict(zip(map(id, told), p_values, strict=True))
    return [_with_verdict(of, line, by_line.get(id(line))) for line in lines]


def _with_verdict(of: Started, line: Line, p_value: float | None) -> Line:
    if line.effect is None or p_value is None:
        return line
    gain = line.effect.estimate if of.metrics[line.metric].better == "higher" else -line.effect.estimate
    verdict = "no difference shown" if p_value > of.definition.alpha else "better" if gain > 0 else "worse"
    return Line(**{**vars(line), "p_value": p_value, "verdict": verdict})


def _guards(lake: Lake, of: Started, found: Exposed) -> list[Line]:
    """Guardrails: harmed where the whole interval is worse, safe where none of it is worse than the margin."""
    guards = []
    for guard in of.definition.guardrails:
        for line in _lines(lake, of, guard.metric, found):
            if line.effect is None or line.difference is None:
                guards.append(line)
                continue
            sign = 1 if of.metrics[guard.metric].better == "higher" else -1
            worst = min(sign * line.effect.low, sign * line.effect.high)
            best = max(sign * line.difference.low, sign * line.difference.high)
            verdict = (
                "harmed"
                if best < 0
                else "safe"
                if worst > -guard.margin
                else f"not shown to be within {guard.margin:.0%}"
            )
            guards.append(Line(**{**vars(line), "p_value": line.effect.p_value, "verdict": verdict}))
    return guards


def _of_a_mixed_list(lake: Lake, of: Started, day: date) -> Report:
    first, second = of.definition.arms
    taken, still_open = outcomes.credits_of(lake, of, of.metrics[of.definition.metrics[0]], day)
    credit = {arm: int((taken[arm] > 0).sum()) for arm in (first, second)}
    found = Report(of, day, credit, 1.0)
    if taken.height < of.definition.minimum:
        said = f"{taken.height:,} subjects saw a mixed list whose days have passed ({still_open:,} more are open)"
        return Report(of, day, credit, 1.0, fault=f"{said}, {of.definition.minimum:,} are needed")
    try:
        effect = preference(taken[first].to_numpy(), taken[second].to_numpy())
    except NoEffect as fault:
        return Report(of, day, credit, 1.0, fault=str(fault))
    return Report(**{**vars(found), "preference": _interval(of, effect)})


# ---- bandits ---------------------------------------------------------------------------------------------------


def _of_a_bandit(lake: Lake, of: Started, day: date, found: Exposed, counts: dict[str, int]) -> Report:
    if found.rows.height < of.definition.minimum:
        said = f"{found.rows.height:,} choices have whole windows, {of.definition.minimum:,} are needed"
        return Report(of, day, counts, 1.0, found, said)
    rows = outcomes.measured(lake, of, of.metrics[of.definition.metrics[0]], found.rows.sort(outcomes.UNIT))
    return Report(of, day, counts, 1.0, found, policies=_policies(of, rows))


def _policies(of: Started, rows: pl.DataFrame) -> dict[str, dict[str, Value]]:
    """What each arm alone, and all alike, would have earned a choice, by what was logged."""
    arms, alpha = list(of.definition.arms), of.definition.alpha
    shares = pl.col("arm").replace_strict(dict(of.definition.arms), return_dtype=pl.Float64)
    log = Log(
        arm=rows["arm"].replace_strict({arm: n for n, arm in enumerate(arms)}, return_dtype=pl.Int64).to_numpy(),
        propensity=rows.select(pl.coalesce("propensity", shares))["propensity"].to_numpy(),
        reward=rows["value"].to_numpy(),
        context=rows["before"].to_numpy()[:, None],
        subject=rows["subject_id"].rle_id().to_numpy(),
    )
    asked = {f"always {arm}": np.eye(len(arms))[n] for n, arm in enumerate(arms)} | {
        "all alike": np.ones(len(arms)) / len(arms)
    }
    estimators = {"IPS": off_policy.ips, "SNIPS": off_policy.snips, "DR": off_policy.doubly_robust}
    return {
        name: {how: told(log, np.tile(policy, (rows.height, 1)), alpha) for how, told in estimators.items()}
        for name, policy in asked.items()
    }


def learn(settings: Settings, name: str, *, actor: str, as_of: date | None = None) -> Started:
    """Let a bandit learn from every choice whose window has passed, by those who allow to be learnt from. It learns the
    same from the same log, however often and in whatever parts it came.

    Raises:
        NotPossible: it has not started, has stopped, or is no bandit.
    """
    lake = lake_of(settings)
    of = register.started(lake, name)
    if of.definition.kind != "bandit" or not of.is_running:
        raise register.NotPossible(f"experiment {name} is no running bandit: there is nothing that it learns")
    day = as_of or graph.default_as_of(lake, settings.zones)
    teaching = outcomes.may_teach(lake, outcomes.exposed(lake, of, day)).sort(outcomes.UNIT)
    rows = outcomes.measured(lake, of, of.metrics[of.definition.metrics[0]], teaching)
    return register.teach(settings, of, _learnt(lake, of, rows), actor=actor)


def _learnt(lake: Lake, of: Started, rows: pl.DataFrame) -> Thompson | LinUcb:
    asked, arms = of.definition, list(of.definition.arms)
    chosen, rewards = rows["arm"].to_list(), rows["value"].to_list()
    if asked.algorithm == "thompson":
        return bandits.thompson(arms, asked.exploration, chosen, rewards)
    return bandits.lin_ucb(arms, asked.context, asked.exploration, chosen, rewards, _contexts(lake, of, rows))


def _contexts(lake: Lake, of: Started, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """What the customer view said of each person before the choice: the newest edition that is no later."""
    columns = list(of.definition.context)
    parts = [pl.DataFrame(schema={"person_id": pl.String, "known_on": pl.Date} | dict.fromkeys(columns, pl.Float64))]
    stored = editions(lake.files(VIEW)) if lake.exists(VIEW) else {}
    latest = rows["exposed_at"].max() if rows.height else None
    for day, files in stored.items():
        if latest is not None and day <= latest.date() + timedelta(days=1):  # type: ignore[union-attr]
            known = lake.scan(VIEW, files).join(rows.lazy().select("person_id").unique(), on="person_id", how="semi")
            parts.append(
                known.select("person_id", pl.lit(day).alias("known_on"), pl.col(columns).cast(pl.Float64)).collect()
            )
    known_by = pl.concat(parts).sort("known_on")
    dated = rows.select("person_id", on=pl.col("exposed_at").dt.date()).with_row_index("row__").sort("on")
    joined = dated.join_asof(known_by, left_on="on", right_on="known_on", by="person_id", check_sortedness=False)
    return joined.sort("row__").select(columns).to_dicts()
