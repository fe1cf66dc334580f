"""Which version is in use: judge registered versions, compare two, let the better one in, take a broken one back.

A window judges a version fairly only if the version knew nothing of it. A version fitted before the window is judged as
it is; a younger one by its recipe, its parameters fitted anew at the window's start. Comparisons are paired: the same
customers judge both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from customer360.models.base import Evaluation, NoProgress, NotEnough
from customer360.models.lifecycle import content, drift, evaluation, refusals
from customer360.models.lifecycle.evaluation import Comparison, Verdict
from customer360.models.lifecycle.history import first_on, require_lists
from customer360.models.lifecycle.job import ModelJob, horizon_of
from customer360.models.lifecycle.plan import Plan
from customer360.models.lifecycle.train import train
from customer360.platform import telemetry
from customer360.platform.errors import Customer360Error, ModelError

SEED = 0


@dataclass(frozen=True)
class Judged:
    """A version judged on the window from `at` on; `is_refitted` where only its recipe could be judged fairly."""

    version: str
    at: date
    is_refitted: bool
    evaluation: Evaluation


@dataclass(frozen=True)
class Figures:
    """Two versions by the figure of the objective on one window, where no row of their own judges a customer; read as
    `Comparison`, with no interval to either side.
    """

    metric: str
    one: float
    other: float
    is_more_better: bool

    @property
    def difference(self) -> float:
        return (self.one - self.other) if self.is_more_better else (self.other - self.one)

    @property
    def low(self) -> float:
        return self.difference

    @property
    def verdict(self) -> Verdict:
        if self.difference == 0:
            return "no difference"
        return "better" if self.difference > 0 else "worse"

    def __str__(self) -> str:
        return f"{self.verdict}: {self.metric} {self.one:.4f} against {self.other:.4f}, no interval: no row by customer"


@dataclass(frozen=True)
class Decision:
    """What the gate said of a challenger, and why."""

    model: str
    challenger: str
    champion: str | None
    is_promoted: bool
    reason: str
    comparison: Comparison | Figures | None = None


@dataclass(frozen=True)
class Outcome:
    """What `retrain` did with one model: `kind` is kept, promoted, refused, rolled back or failed."""

    model: str
    kind: str
    reason: str


def judge(job: ModelJob, version: str, at: date | None = None) -> Judged:
    """Judge a version on the window from `at` on, by default the newest known one."""
    at = at or job.last_window
    _require_window(job, at)
    snapshot = job.snapshot(at)
    is_refitted = job.registry.as_of(job.model.name, version) > at
    if is_refitted:
        fitted = job.model.fit(snapshot, job.registry.params(job.model, version), NoProgress())
    else:
        fitted = job.registry.load(job.model.name, version)
    return Judged(version, at, is_refitted, job.model.evaluate(fitted, snapshot))


def _require_window(job: ModelJob, at: date) -> None:
    if at > job.last_window:
        raise ModelError(
            f"the window from {at} has no outcome yet: it is {horizon_of(job.params)} days long and the data are read "
            f"up to {job.cut}; take {job.last_window} or earlier"
        )
    first = first_on(job)
    if first is not None and first >= at:
        raise ModelError(f"nothing is known before the window from {at}: the first day in the data is {first}")


def compare(job: ModelJob, one: Judged, other: Judged) -> Comparison | Figures:
    """The first over the second on the customers that both judged; above zero means the first is better.

    0/1 outcomes: difference in AUC. Amounts: reduction of the absolute error of a customer. Lists: difference in
    Recall@20 or NDCG@10 of the mode that the objective names (of all rows, where they have none).
    Without rows: the figure that the objective names. Raises ModelError when neither is there.
    """
    if one.evaluation.rows is None or other.evaluation.rows is None:
        return _figures(job, one, other)
    keys = ["person_id", *(name for name in ("mode", "category") if name in one.evaluation.rows.columns)]
    both = one.evaluation.rows.join(other.evaluation.rows, on=keys, suffix="_other").sort(keys)
    if both.is_empty():
        raise ModelError(f"versions {one.version} and {other.version} were judged on no customer in common")
    if "truth" not in both.columns:
        metric = job.plan.objective.metric if job.plan.objective else "new_recall_20"
        measure = "ndcg" if "ndcg" in metric else "recall"
        mode = "all" if metric.startswith("all") else "new"
        mine = both.filter(pl.col("mode") == mode) if "mode" in both.columns else both
        return evaluation.compare_means(mine[measure], mine[f"{measure}_other"], SEED)
    truth = both["truth"].cast(pl.Float64).to_numpy()
    first, second = both["score"].to_numpy(), both["score_other"].to_numpy()
    if set(both["truth"].unique()) <= {0, 1}:
        return evaluation.compare_auc(truth, first, second, SEED, groups=both["person_id"] if len(keys) > 1 else None)
    return evaluation.compare_means(-abs(first - truth), -abs(second - truth), SEED)


def _figures(job: ModelJob, one: Judged, other: Judged) -> Figures:
    objective = job.plan.objective
    metric = objective.metric if objective else "none"
    found = [judged.evaluation.metrics.get(metric) for judged in (one, other)]
    if objective is None or found[0] is None or found[1] is None:
        raise ModelError(
            f"evaluate of {job.model.name} keeps no rows, and its objective ({metric}) is not among its figures: its"
            " versions cannot be compared"
        )
    return Figures(metric, found[0], found[1], objective.direction == "max")


def broken_guardrails(plan: Plan, judged: Judged) -> str:
    """Every guardrail that the judged figures break, in words; empty when all hold."""
    return plan.broken(judged.evaluation.metrics)


def gate(job: ModelJob, challenger: str, forced: str = "", owed: str = "") -> Decision:
    """Judge a challenger against the champion on the newest known window and promote it if it is better.

    Promoted: no guardrail broken, and the interval of the paired difference lies above minus the model's `margin`.
    Where the champion breaks a guardrail itself, a challenger that is not worse is let in; where there is no champion,
    one that does not lose to the model's baseline. Where the champion learnt from people who refuse by now (`owed` says
    so), one that breaks no guardrail. A reason to promote it all the same (`forced`) is kept with what the gate said.
    """
    champion = job.registry.champion_version(job.model.name)
    if champion == challenger:
        raise ModelError(f"{job.model.name} version {challenger} is the champion already")
    theirs = judge(job, challenger)
    comparison = None
    if broken := broken_guardrails(job.plan, theirs):
        decision = False, f"guardrail broken: {broken}"
    elif champion is None:
        lost = job.plan.refusal(theirs.evaluation.metrics, theirs.evaluation.verdicts)
        decision = not lost, lost or "there is no champion, no guardrail is broken, and no baseline is better"
    else:
        ours = judge(job, champion)
        comparison = compare(job, theirs, ours)
        decision = _decide(comparison, job.plan.margin, broken_guardrails(job.plan, ours))
        if owed and not decision[0]:
            decision = True, f"{owed}; no guardrail is broken, and that weighs more than: {decision[1]}"
    is_promoted, reason = decision
    if forced and not is_promoted:
        is_promoted, reason = True, f"forced: {forced}; the gate had refused it: {reason}"
    if is_promoted:
        job.registry.promote(job.model.name, challenger, reason)
    job.registry.note(job.model.name, challenger, "gate", f"{'promoted' if is_promoted else 'refused'}: {reason}")
    telemetry.event(f"gate {job.model.name}", version=challenger, promoted=is_promoted, reason=reason)
    return Decision(job.model.name, challenger, champion, is_promoted, reason, comparison)


def _decide(comparison: Comparison | Figures, margin: float, champion_broken: str) -> tuple[bool, str]:
    if champion_broken and comparison.verdict != "worse":
        return (
            True,
            f"the champion breaks a guardrail ({champion_broken}) and the challenger is not worse: {comparison}",
        )
    if comparison.low > -margin:
        return True, f"{comparison}" + (f", within the margin of {margin:g}" if comparison.low <= 0 else "")
    if comparison.verdict == "worse":
        return False, f"worse than the champion: {comparison}"
    return False, f"not shown to be better than the champion: {comparison}"


def watch(job: ModelJob) -> Outcome | None:
    """Roll back when, on a whole window after its own date, the champion breaks a guardrail that its predecessor holds,
    or its predecessor is better by more than the model's `margin` and learnt from nobody who refuses by now.

    None when the champion holds, or when no such window is known yet, or nothing in it can judge.
    """
    name, champion, at = job.model.name, job.champion(), job.last_window
    if job.registry.as_of(name, champion) > at:
        return None
    previous = job.registry.previous_champion(name)
    if (ours := _judged(job, champion)) is None:
        return None
    theirs = _judged(job, previous) if previous is not None else None
    broken = broken_guardrails(job.plan, ours)
    holds = theirs is not None and not broken_guardrails(job.plan, theirs)
    if broken and not holds:
        return Outcome(name, "broken", f"version {champion}: {broken}; no earlier champion holds on {at}")
    if broken:
        reason = f"version {champion} broke a guardrail on the window from {at}: {broken}"
    elif (
        previous is not None
        and theirs is not None
        and holds
        and (gain := compare(job, theirs, ours)).low > job.plan.margin
        and not refusals.since(job, previous)
    ):
        reason = f"version {previous} before it is better than {champion} on the window from {at}: {gain}"
    else:
        return None
    job.registry.rollback(name, reason)
    telemetry.event(f"rolled back {name}", to=previous, reason=reason)
    return Outcome(name, "rolled back", reason)


def _judged(job: ModelJob, version: str) -> Judged | None:
    """A version on the newest known window; None where nothing in it can judge this one."""
    try:
        return judge(job, version)
    except NotEnough as fault:
        telemetry.event(f"watch {job.model.name}: nothing to judge version {version} by", reason=str(fault))
        return None


def check_drift(job: ModelJob) -> drift.Report:
    """Compare the newest month with the one that the champion was trained on, and store the report."""
    champion, name = job.champion(), job.model.name
    reference_on = job.registry.as_of(name, champion)
    if reference_on <= job.last_window:
        calibration: drift.Moved | str = drift.calibration_moved(
            job.registry.metrics(name, champion), judge(job, champion).evaluation
        )
    else:
        calibration = f"no whole window has passed since {reference_on}"
    fitted = job.registry.load(name, champion)
    reference, current = (job.snapshot(day) for day in (reference_on, job.cut))
    report = drift.check(job.model, fitted, champion, reference, current, calibration)
    drift.store(job.lake, report)
    return report


def due(job: ModelJob) -> str:
    """Why a new challenger is due: no champion, its age, or drift; empty when it is not."""
    champion = job.registry.champion_version(job.model.name)
    if champion is None:
        return "there is no champion"
    age = (job.cut - job.registry.as_of(job.model.name, champion)).days
    if age >= job.plan.retrain.after_days:
        return f"the champion is {age} days old, {job.plan.retrain.after_days} are allowed"
    if age > 0 and job.plan.retrain.on_drift and (alarms := check_drift(job).alarms):
        columns = sorted(column for moved in alarms for column in moved.outstanding)
        return f"drift of {', '.join(moved.part for moved in alarms)}: {', '.join(columns)}"
    return ""


def retrain(job: ModelJob) -> Outcome:
    """Unattended: take a broken champion back, train a challenger if one is due, and let the gate decide.

    A fault of one model is its outcome: the others go on.
    """
    try:
        return _retrain(job)
    except NotEnough as fault:
        telemetry.event(f"retrain {job.model.name}: nothing to learn from yet", reason=str(fault))
        return Outcome(job.model.name, "kept", str(fault))
    except Customer360Error as fault:
        telemetry.event(f"retrain {job.model.name} failed", reason=str(fault))
        return Outcome(job.model.name, "failed", str(fault))


def _retrain(job: ModelJob) -> Outcome:
    name = job.model.name
    champion = job.registry.champion_version(name)
    try:
        require_lists(job)
    except NotEnough as fault:
        if champion and (owed := refusals.since(job, champion)):
            return Outcome(name, "failed", f"{owed}, and no version can be trained without them: {fault}")
        raise
    watched = watch(job) if champion else None
    if watched and watched.kind == "rolled back":
        return watched
    owed = refusals.since(job, champion) if champion else ""
    reason = owed or (watched.reason if watched else due(job))
    if not reason:
        return Outcome(name, "kept", "nothing is due")
    if owed and not refusals.is_told(job, champion):  # it may have left them out: then its quality counts as ever
        owed = ""
    recipe = content.recipe(job.model, job.cut, job.params, job.content())
    if (known := job.registry.trained_by(name, recipe)) is not None:
        if owed and known != champion:
            return _outcome(gate(job, known, owed=owed), reason)
        same = f"version {known} was trained as of {job.cut} on the same rows, by the same code and parameters"
        return Outcome(name, "kept", f"{reason}; {same}")
    telemetry.event(f"retrain {name}", reason=reason)
    logged = train(job)
    if logged.is_champion:
        return Outcome(name, "promoted", f"{reason}; version {logged.version} is the first champion")
    if job.registry.champion_version(name) is None:
        return Outcome(name, "refused", f"{reason}; version {logged.version} may not be the first: see its backtest")
    return _outcome(gate(job, logged.version, owed=owed), reason)


def _outcome(decision: Decision, reason: str) -> Outcome:
    said = decision.reason if decision.reason.startswith(reason) else f"{reason}; {decision.reason}"
    return Outcome(decision.model, "promoted" if decision.is_promoted else "refused", said)
