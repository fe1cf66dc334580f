"""The model card: what a registered version is, what it learnt from, how good it is, and what it is not good for."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import yaml

from customer360.models.base import Evaluation, Model
from customer360.models.lifecycle.fit import Fit
from customer360.models.lifecycle.plan import Plan

LOW, HIGH = "_low", "_high"  # endings of a metric's interval


def card(
    fit: Fit,
    evaluation: Evaluation,
    judged_at: date | None,
    plan: Plan,
    erased: Sequence[datetime] = (),
    versions: Mapping[str, datetime] | None = None,
) -> str:
    """Markdown. `judged_at` is the date of the backtest: its model knew nothing later, and what followed judged it.
    `erased` are the moments at which people were erased before the fit, `versions` those at which the versions before
    were registered: some learnt from people who were erased since."""
    sections = {
        f"# {fit.model.name}": _about(fit.model),
        "## Data": _table(("table", "version"), sorted(fit.versions.items())),
        "## Judged": _judged(fit.as_of, judged_at, evaluation),
        "## Erased people": _erased(erased, versions or {}),
        "## Metrics": _table(("metric", "value", "95 % interval"), _metrics(evaluation.metrics)),
        "## Comparisons": _table(("comparison", "verdict"), sorted(evaluation.verdicts.items())),
        "## Limits": "\n".join(f"- {line}" for line in _limits(evaluation, plan)),
        "## Parameters": f"```yaml\n{yaml.safe_dump(fit.params.model_dump(mode='json'), sort_keys=True)}```",
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items() if text) + "\n"


def _about(model: Model[Any, Any]) -> str:
    """The description that the model's module begins with."""
    module = sys.modules.get(model.fit.__module__)
    paragraphs = (module.__doc__ or "").strip().split("\n\n")[:2] if module else []
    where = "used within requests" if model.output is None else f"written to `{model.output}`"
    described = "\n\n".join(re.sub(r"\s+", " ", paragraph) for paragraph in paragraphs)
    return f"{described}\n\nTarget `{model.target}`, {where}.".strip()


def _erased(erased: Sequence[datetime], versions: Mapping[str, datetime]) -> str:
    before = f"{len(erased)} before this fit, the last at {max(erased):%Y-%m-%d %H:%M} UTC: " if erased else ""
    nothing = "no row of theirs was read. " if erased else ""
    learnt = {name: sum(each > at for each in erased) for name, at in versions.items()}
    told = ", ".join(f"{name} ({count})" for name, count in learnt.items() if count)
    others = f"Versions that may have learnt from people who were erased since, and how many: {told}. " if told else ""
    return f"{before}{nothing}{others}What was learnt from people who are erased later leaves with the next training."


def _judged(as_of: date, judged_at: date | None, evaluation: Evaluation) -> str:
    if judged_at is None:
        return f"Fitted on what was known at {as_of}."
    counts = [f"{value:,.0f} {name}" for name, value in evaluation.metrics.items() if name.endswith("_count")]
    return (
        f"Fitted on what was known at {as_of}. The figures are of the same recipe fitted at {judged_at} and judged on "
        f"the window after it ({', '.join(counts) or 'count not stated'}); the registered model saw that window."
    )


def _metrics(metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
    ends = {name for name in metrics if name.endswith((LOW, HIGH)) and name.rsplit("_", 1)[0] in metrics}
    rows = []
    for name, value in metrics.items():
        if name not in ends:
            low, high = metrics.get(name + LOW), metrics.get(name + HIGH)
            interval = f"[{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
            rows.append((name, f"{value:.4g}", interval))
    return rows


def _limits(evaluation: Evaluation, plan: Plan) -> list[str]:
    """What the file states, and what the evaluation could not show."""
    unproven = [name for name, verdict in evaluation.verdicts.items() if verdict == "no difference"]
    worse = [name for name, verdict in evaluation.verdicts.items() if verdict == "worse"]
    found = list(plan.limits)
    if unproven:
        found.append(f"Not shown to differ from: {', '.join(unproven)}.")
    if worse:
        found.append(f"Worse than its baseline in: {', '.join(worse)}.")
    for metric, limits in plan.guardrails.items():
        if reason := limits.broken_by(evaluation.metrics.get(metric)):
            found.append(f"Guardrail {metric} is broken: it {reason}.")
    return [*found, "One window of one retailer; another season or assortment may give other figures."]


def _table(head: tuple[str, ...], rows: Any) -> str:
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
