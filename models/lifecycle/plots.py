"""Pictures of an evaluation: one function for all models, drawn from the judged rows or, without them, from metrics.

Scores of 0/1 outcomes give ROC, calibration, gain and deciles; amounts give gain and deciles; lists give recall and
coverage beside the baselines. Figures are made without pyplot, so that nothing is kept between calls; matplotlib is
imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from customer360.models.base import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECILES = 10
OURS, THEIRS, GUIDE = "#1f77b4", "#b0b7c3", "#888888"

Array = NDArray[np.float64]


def figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Figures by file name, e.g. `roc.png`; empty where neither rows nor known metrics are there."""
    rows = evaluation.rows
    if rows is None or "truth" not in rows.columns:
        return rankings(evaluation.metrics)
    truth, score = (rows[name].cast(pl.Float64).to_numpy() for name in ("truth", "score"))
    found = {"gain.png": gain(truth, score), "deciles.png": deciles(truth, score)}
    if set(np.unique(truth)) <= {0.0, 1.0}:
        found |= {"roc.png": roc(truth, score), "calibration.png": calibration(truth, score)}
    return found


def roc(truth: Array, score: Array) -> Figure:
    """True against false positive rate, ties as one step."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    hits = np.concatenate([[0], np.cumsum(truth[order])[last]]) / max(truth.sum(), 1)
    misses = np.concatenate([[0], np.cumsum(1 - truth[order])[last]]) / max((1 - truth).sum(), 1)
    figure, axes = _axes("ROC", "false positive rate", "true positive rate")
    axes.plot(misses, hits, color=OURS, label="model")
    axes.plot([0, 1], [0, 1], "--", color=GUIDE, label="by chance")
    axes.legend()
    return figure


def calibration(truth: Array, score: Array) -> Figure:
    """Observed rate against stated probability in ten bins of equal size, with 95 % binomial intervals."""
    figure, axes = _axes("Calibration", "stated probability", "observed rate")
    for part in np.array_split(np.argsort(score, kind="stable"), DECILES):
        if len(part):
            rate, stated = truth[part].mean(), score[part].mean()
            reach = 1.96 * np.sqrt(max(rate * (1 - rate), 1e-12) / len(part))
            axes.errorbar(stated, rate, yerr=reach, fmt="o", color=OURS, capsize=3)
    axes.plot([0, 1], [0, 1], "--", color=GUIDE)
    return figure


def gain(truth: Array, score: Array) -> Figure:
    """Share of all outcomes among the best-scored share of customers, beside the best order and chance."""
    share = np.arange(len(truth) + 1) / max(len(truth), 1)
    figure, axes = _axes("Cumulative gain", "share of customers, best score first", "share of outcome")
    for order, label, style in ((-score, "model", "-"), (-truth, "best order", ":")):
        reached = np.concatenate([[0], np.cumsum(truth[np.argsort(order, kind="stable")])])
        axes.plot(share, reached / (reached[-1] or 1), style, color=OURS, label=label)
    axes.plot([0, 1], [0, 1], "--", color=GUIDE, label="by chance")
    axes.legend()
    return figure


def deciles(truth: Array, score: Array) -> Figure:
    """Mean outcome and mean score of each tenth of customers, the best-scored first."""
    parts = [part for part in np.array_split(np.argsort(-score, kind="stable"), DECILES) if len(part)]
    place = np.arange(1, len(parts) + 1)
    figure, axes = _axes("Deciles", "tenth of customers, best score first", "mean")
    axes.bar(place - 0.2, [truth[part].mean() for part in parts], 0.4, color=THEIRS, label="observed")
    axes.bar(place + 0.2, [score[part].mean() for part in parts], 0.4, color=OURS, label="score")
    axes.set_xticks(place)
    axes.legend()
    return figure


def rankings(metrics: Mapping[str, float]) -> dict[str, Figure]:
    """Bars of the metrics that end in `recall_20` and in `coverage_20`: the model in each mode beside its baselines."""
    found = {}
    for measure, title in (("recall_20", "Recall@20"), ("coverage_20", "Coverage@20")):
        bars = {name.removesuffix(f"_{measure}"): value for name, value in metrics.items() if name.endswith(measure)}
        if bars:
            figure, axes = _axes(title, title, "")
            own = [name in ("new", "all", measure) for name in bars]
            axes.barh(list(bars), list(bars.values()), color=[OURS if mine else THEIRS for mine in own])
            axes.invert_yaxis()
            found[f"{measure.split('_')[0]}.png"] = figure
    return found


def trials(scores: list[float], metric: str, incumbent: float) -> Figure:
    """What each trial of a tuning reached, and the parameters in force."""
    figure, axes = _axes("Trials", "trial", metric)
    axes.plot(np.arange(len(scores)), scores, "o", color=OURS)
    axes.axhline(incumbent, linestyle="--", color=GUIDE, label="parameters in force")
    axes.legend()
    return figure


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
